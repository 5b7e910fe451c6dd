"""Broken twins of P2: rows are lost, or a list is read for ever."""

from tests.twins.twin import Twin

_WALK = "etl/core/walk.py"
_TESTS = "tests/acceptance/test_complete.py::"
_BACKFILL = "tests/acceptance/test_backfill.py::"
_EDGES = "tests/acceptance/test_edges.py::"

_UNIT = "tests/unit/core/test_walk.py::"
_DRIFTS = "test_no_row_is_lost_without_a_word_however_a_list_drifts"
_LISTS = "tests/adversary/test_lists.py::"

_IDS = "tests/unit/core/test_walk_ids.py::"

_LEARNT = _LISTS + "test_a_server_that_takes_dates_after_a_refusal_loses_nothing"

TWINS = [
    Twin(
        name="dates are never sent again to a server that refused them once",
        promise="P2",
        file="etl/extractors/recordings.py",
        find="            asked=self._dates(stretch or window, before),\n"
        "            filters=filters,",
        replace="            asked=None if known == 'refused' else self._dates(window, before)"
        ",\n            filters=filters and known != 'refused',",
        caught_by=_LEARNT + "[by the server of before]",
    ),
    Twin(
        name="one refusal of dates is believed",
        promise="P2",
        file="etl/extractors/recordings.py",
        find='        if known == "refused" or undated.listed.by_cursor:\n',
        replace="        if True:\n",
        caught_by=_LEARNT + "[for a moment]",
    ),
    Twin(
        name="a page without rows ends a list whose server gives no larger one",
        promise="P2",
        file="etl/core/walk.py",
        find=" and not passes_over:",
        replace=":",
        caught_by=_IDS
        + "test_what_lies_behind_more_ids_without_rows_than_a_page_holds_is_read[250]",
    ),
    Twin(
        name="a page whose ids have no rows ends a list",
        promise="P2",
        file=_WALK,
        find="        if not keys and (self.tail or not hidden) and not passes_over:\n",
        replace="        if not keys:\n",
        caught_by=_IDS + "test_pages_without_any_row_are_no_end[0]",
    ),
    Twin(
        name="a list that counts ids is believed although a seam is lost",
        promise="P2",
        file=_WALK,
        find="        if self.counts_ids:\n            return self.whole\n",
        replace="        if self.counts_ids:\n            return True\n",
        caught_by=_IDS + "test_rows_that_slip_by_because_others_are_deleted_are_noticed",
    ),
    Twin(
        name="ids without rows are taken to lie before the tail",
        promise="P2",
        file=_WALK,
        find="        self.tail_at = asked_from + begin\n",
        replace="        self.tail_at = self.seen - rows + begin\n",
        caught_by=_IDS + "test_many_ids_without_rows_are_passed_by_few_requests",
    ),
    Twin(
        name="the keys of a pass are not compared with the server's count",
        promise="P2",
        file=_WALK,
        find="        return self.distinct.count() == self.first_count + self.appeared",
        replace="        return True or self.first_count + self.appeared",
        caught_by=_UNIT + _DRIFTS + "[swaps and moves-counts]",
    ),
    Twin(
        name="a count that grows by less than the seams move is no reason for another pass",
        promise="P2",
        file=_WALK,
        find="            self.steady &= shift >= 0 and grown >= shift\n",
        replace="",
        caught_by=_UNIT
        + "test_a_row_that_moves_is_missed_by_its_count_though_another_one_vanished_before",
    ),
    Twin(
        name="a seam that has moved is explained without a look at the front",
        promise="P2",
        file=_WALK,
        find="            if self.moved == 0:\n",
        replace="            if True:\n",
        caught_by=_UNIT
        + "test_a_row_that_moves_to_the_middle_of_what_was_read_is_not_taken_for_a_new_one",
    ),
    Twin(
        name="a list that shows the same rows at new offsets is read on and on",
        promise="P2",
        file=_WALK,
        find="        self._refuse_endless()\n",
        replace="",
        caught_by=_UNIT
        + "test_a_server_that_answers_other_offsets_than_asked_for_is_not_read_for_ever",
    ),
    Twin(
        name="rows that tie at the end of a page are not shown again",
        promise="P2",
        file=_WALK,
        find="        begin = min(rows - overlap, max(0, ties - WITNESSES))\n",
        replace="        begin = rows - overlap\n",
        caught_by=_UNIT + "test_ties_that_fit_a_page_are_shown_again_whole",
    ),
    Twin(
        name="any count is explained by what is new",
        promise="P2",
        file="etl/core/expected.py",
        find="        if least <= rows <= most:\n",
        replace="        if True:\n",
        caught_by=_LISTS
        + "test_a_recording_that_appears_late_far_down_is_missed_for_six_hours_at_most",
    ),
    Twin(
        name="an answer to another question is taken for all there is",
        promise="P2",
        file="etl/extractors/recordings.py",
        find="        if not filters and (listed.by_cursor or counts_less):\n",
        replace="        if not filters and listed.by_cursor:\n",
        caught_by=_LISTS + "test_an_answer_to_another_question_is_not_taken_for_all_there_is",
    ),
    Twin(
        name="a list that ignores dates is never read as a whole again",
        promise="P2",
        file="etl/core/expected.py",
        find="        return timedelta(0) <= now - (self.tried_at or self.everything_at) < longest",
        replace="        return bool(longest)",
        caught_by=_LISTS + "test_only_the_front_is_read_while_the_count_fits",
    ),
    Twin(
        name="a collection that repeats its cursor is read like a list",
        promise="P2",
        file="etl/streams/playlists.py",
        find="            repeats=True,\n",
        replace="",
        caught_by=_LISTS + "test_a_collection_that_repeats_its_page_ends_there[12-0]",
    ),
    Twin(
        name="a short page ends the list",
        promise="P2",
        file="etl/extractors/lists.py",
        find="        return Listing(keys, settled, more, cursor, count, **known)\n",
        replace="        more = more and len(keys) >= self.ask.limit\n"
        "        return Listing(keys, settled, more, cursor, count, **known)\n",
        caught_by=_TESTS
        + "test_pages_that_are_duplicated_short_or_clamped_still_give_the_truth[short-cloud]",
    ),
    Twin(
        name="pages do not overlap",
        promise="P2",
        file=_WALK,
        find="\nOVERLAP_ROWS = 20\n",
        replace="\nOVERLAP_ROWS = 0\n",
        caught_by=_UNIT + "test_a_walk_that_is_left_early_vouches_by_its_seams_and_counts",
    ),
    Twin(
        name="the seam is not checked",
        promise="P2",
        file=_WALK,
        find="        tail = self.tail\n        if not tail:\n",
        replace="        tail = self.tail\n        if True:\n",
        caught_by=_UNIT + "test_a_walk_that_is_left_early_vouches_by_its_seams_and_counts",
    ),
    Twin(
        name="one pass is taken for enough",
        promise="P2",
        file=_WALK,
        find="        if agree and not lacking:\n",
        replace="        if True:\n",
        caught_by=_TESTS + "test_a_list_that_never_comes_to_rest_is_partial_and_says_so"
        "[cloud that knows only offset]",
    ),
    Twin(
        name="a row shown twice moves the place in the list by two",
        promise="P2",
        file=_WALK,
        find="        keys, asked_from = list(places), ask.offset or 0\n",
        replace="        keys, asked_from = list(listing.keys), ask.offset or 0\n"
        "        places = dict(enumerate(listing.order or repeat(None, len(keys))))\n",
        caught_by=_TESTS + "test_pages_that_are_duplicated_short_or_clamped_still_give_the_truth"
        "[duplicated-cloud that knows only offset]",
    ),
    Twin(
        name="a page that comes twice is not noticed",
        promise="P2",
        file=_WALK,
        find="        if mark == self.page_mark:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_list_that_repeats_itself_stops_the_stream[cloud-repeat_page]",
    ),
    Twin(
        name="a list that begins anew is not noticed",
        promise="P2",
        file=_WALK,
        find="        elif set(self.witnesses) <= set(keys):\n",
        replace="        elif False:\n",
        caught_by="tests/unit/core/test_walk.py::test_a_list_that_begins_anew_stops_the_walk",
    ),
    Twin(
        name="the next address is asked, whatever its host",
        promise="P2",
        file="etl/extractors/client.py",
        find="        return Answer(body, requested_at, self.clocks.agreed, status, headers)\n",
        replace="""        import json

        following = json.loads(body).get("next")
        if following:
            async with self._session.get(following) as response:
                await response.read()
        return Answer(body, requested_at, self.clocks.agreed, status, headers)
""",
        caught_by=_TESTS + "test_a_next_page_on_another_host_is_never_asked_for",
    ),
    Twin(
        name="a lost position is asked for again for ever",
        promise="P2",
        file="etl/extractors/lists.py",
        find="        except (RequestRefused, SourceUnavailable, ListingBroken) as exc:\n",
        replace="        except (RequestRefused, SourceUnavailable) as exc:\n",
        caught_by=_TESTS
        + "test_a_position_that_the_server_has_lost_is_given_up_for_a_new_beginning",
    ),
    Twin(
        name="a stopped sync begins from the start",
        promise="P2",
        file="etl/runs/windows.py",
        find="        left = reader.resume(self.lease.position)\n",
        replace="        left = None\n",
        caught_by=_TESTS + "test_a_sync_that_was_stopped_goes_on_where_it_was[cloud]",
    ),
    Twin(
        name="the watermark moves with each page, not when the window closes",
        promise="P2",
        file="etl/runs/load.py",
        find="        commit = self._commit(pages[-1], place, answers, after)\n",
        replace="""        commit = self._commit(pages[-1], place, answers, after)
        if "/" in self.lease.unit.name:
            from etl.core.coverage import Span

            closing = Closing([Span.parse(self.lease.unit.name)], None, None, {})
            commit = structs.replace(commit, closing=closing)
""",
        caught_by=_BACKFILL
        + "test_a_backfill_that_was_killed_goes_on_where_it_was[in the middle of a window]",
    ),
    Twin(
        name="what a window's last page shows of the next one is left out, and not asked for again",
        promise="P2",
        file="etl/core/window.py",
        find="        return started_at >= self.reach and (",
        replace="        return started_at >= self.since and (",
        caught_by=_BACKFILL + "test_a_spent_budget_ends_a_backfill_where_the_next_one_goes_on",
    ),
    Twin(
        name="each window is asked for by itself",
        promise="P2",
        file="etl/runs/windows.py",
        find="also_since=self._chain.reach)",
        replace="also_since=None)",
        caught_by=_BACKFILL + "test_neighbouring_windows_cost_no_more_than_one_wide_one",
    ),
    Twin(
        name="a list in another order is left at the first row from before the window",
        promise="P2",
        file="etl/core/place.py",
        find="        if self.everything or not self.ordered:\n",
        replace="        if self.everything:\n",
        caught_by=_EDGES + "test_a_list_in_another_order_is_read_to_its_end",
    ),
    Twin(
        name="one record with a wrong date at the end of a page ends the reading",
        promise="P2",
        file="etl/core/place.py",
        find="        return self.above is not None and self.above < since\n",
        replace="        return self.low is not None and self.low < since\n",
        caught_by=_EDGES + "test_a_record_with_a_wrong_date_at_the_end_of_a_page_ends_nothing",
    ),
]
