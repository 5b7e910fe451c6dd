"""Broken twins of P2: rows are lost, or a list is read for ever."""

from tests.twins.twin import Twin

_WALK = "etl/core/walk.py"
_TESTS = "tests/acceptance/test_complete.py::"
_BACKFILL = "tests/acceptance/test_backfill.py::"
_EDGES = "tests/acceptance/test_edges.py::"

TWINS = [
    Twin(
        name="a short page ends the list",
        promise="P2",
        file="etl/extractors/extractor.py",
        find="                more=listed.more,\n",
        replace="                more=listed.more and len(listed.records) >= ask.limit,\n",
        caught_by=_TESTS
        + "test_pages_that_are_duplicated_short_or_clamped_still_give_the_truth[short-cloud]",
    ),
    Twin(
        name="pages do not overlap",
        promise="P2",
        file=_WALK,
        find="\nOVERLAP_ROWS = 20\n",
        replace="\nOVERLAP_ROWS = 0\n",
        caught_by=_TESTS
        + "test_a_seam_that_breaks_alike_in_two_passes_loses_nothing[fewer than pages overlap]",
    ),
    Twin(
        name="the seam is not checked",
        promise="P2",
        file=_WALK,
        find="        if self.tail and not set(self.tail) & set(keys):\n",
        replace="        if False:\n",
        caught_by=_TESTS
        + "test_a_seam_that_breaks_alike_in_two_passes_loses_nothing[more than that]",
    ),
    Twin(
        name="one pass is taken for enough",
        promise="P2",
        file=_WALK,
        find="        if whole or agree:\n",
        replace="        if True:\n",
        caught_by=_TESTS + "test_a_list_that_never_comes_to_rest_is_partial_and_says_so"
        "[cloud that knows only offset]",
    ),
    Twin(
        name="a row shown twice moves the place in the list by two",
        promise="P2",
        file=_WALK,
        find="        self.seen = asked_from + len(keys)\n",
        replace="        self.seen = asked_from + len(listing.keys)\n",
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
        find="        return Answer(body, requested_at, self.clocks.agreed)\n",
        replace="""        import json

        following = json.loads(body).get("next")
        if following:
            async with self._session.get(following) as response:
                await response.read()
        return Answer(body, requested_at, self.clocks.agreed)
""",
        caught_by=_TESTS + "test_a_next_page_on_another_host_is_never_asked_for",
    ),
    Twin(
        name="a lost position is asked for again for ever",
        promise="P2",
        file="etl/extractors/extractor.py",
        find="            except (RequestRefused, SourceUnavailable, ListingBroken) as exc:\n",
        replace="            except (RequestRefused, SourceUnavailable) as exc:\n",
        caught_by=_TESTS
        + "test_a_position_that_the_server_has_lost_is_given_up_for_a_new_beginning",
    ),
    Twin(
        name="a stopped sync begins from the start",
        promise="P2",
        file="etl/runs/windows.py",
        find="        left = extractor.resume(self.lease.position)\n",
        replace="        left = None\n",
        caught_by=_TESTS + "test_a_sync_that_was_stopped_goes_on_where_it_was[cloud]",
    ),
    Twin(
        name="the watermark moves with each page, not when the window closes",
        promise="P2",
        file="etl/runs/windows.py",
        find="        if page.forecast_records is not None and self.forecast is None:\n",
        replace="""        if self._chain is not None:
            closing = Closing([Span.parse(self.lease.unit.window)], None, None, {})
            commit = Commit(page.observed_at, page.position, 0, 0, closing=closing)
            await self._loader.load(self.lease, Batch([]), commit)
        if page.forecast_records is not None and self.forecast is None:
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
        find="also_since=None if self._chain is None else self._chain.reach)",
        replace="also_since=None)",
        caught_by=_BACKFILL + "test_neighbouring_windows_cost_no_more_than_one_wide_one",
    ),
    Twin(
        name="a list in another order is left at the first row from before the window",
        promise="P2",
        file="etl/extractors/reading.py",
        find="        return self.ordered and self.filters and self.above is not None",
        replace="        return self.filters and self.above is not None",
        caught_by=_EDGES + "test_a_list_in_another_order_is_read_to_its_end",
    ),
    Twin(
        name="one record with a wrong date at the end of a page ends the reading",
        promise="P2",
        file="etl/extractors/reading.py",
        find=" and self.above is not None and self.above < since\n",
        replace=" and self.low is not None and self.low < since\n",
        caught_by=_EDGES + "test_a_record_with_a_wrong_date_at_the_end_of_a_page_ends_nothing",
    ),
]
