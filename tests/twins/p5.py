"""Broken twins of P5: what is older, or cut, replaces what is newer and whole."""

from tests.twins.twin import Twin

_WINDOW = "etl/core/window.py"
_EXTRACTOR = "etl/extractors/recordings.py"
_STATEMENTS = "etl/loaders/statements.py"
_CLOCKS = "tests/adversary/test_clocks.py::"
_EDGES = "tests/acceptance/test_edges.py::"
_CUTS = "etl/loaders/cuts.py"
_CUT = "tests/adversary/test_cut_sessions.py::"
_AHEAD = "tests/adversary/test_wrong_clocks.py::"
_WINDOWS = _EDGES + "test_sessions_at_the_edges_of_windows_are_whole_whatever_is_read_when"

_UNCHANGED = "tests/contract/test_unchanged_rows.py::"

TWINS = [
    Twin(
        name="a null in an answer by ids overwrites what is known",
        promise="P5",
        file="etl/transformers/recordings.py",
        find='"Whether data arrived in the last 5 minutes.", null_keeps=True',
        replace='"Whether data arrived in the last 5 minutes."',
        caught_by="tests/adversary/test_bare_answers.py::"
        "test_what_an_answer_by_ids_leaves_null_overwrites_nothing",
    ),
    Twin(
        name="an older reading replaces a newer one",
        promise="P5",
        file=_STATEMENTS,
        find='        return f"t._observed_at <= {observed_at} AND {differs(',
        replace='        return f"{observed_at} IS NOT NULL AND {differs(',
        caught_by="tests/contract/test_loader.py::"
        "test_of_two_readings_the_one_observed_later_stays[pool]",
    ),
    Twin(
        name="a session cut by the edge of the lookback is loaded",
        promise="P5",
        file=_WINDOW,
        find="return started_at >= self.reach and (",
        replace="return True or (",
        caught_by=_EDGES + "test_the_lookback_of_a_sync_cuts_no_session",
    ),
    Twin(
        name="no margin is read before the window",
        promise="P5",
        file=_WINDOW,
        find="        return Span(since, until)\n",
        replace="        return Span(self.reach, until)\n",
        caught_by=_EDGES + "test_the_lookback_of_a_sync_cuts_no_session",
    ),
    Twin(
        name="no margin is read after the window, so that a session across its end is its half",
        promise="P5",
        file=_WINDOW,
        find="        margin = timedelta() if self.starts_only else MARGIN\n",
        replace="        margin = timedelta()\n",
        caught_by=_WINDOWS + "[newest]",
    ),
    Twin(
        name="the end of the dates asked for is taken as exclusive, and the window trusts in it",
        promise="P5",
        file=_WINDOW,
        find=" and (self.until is None or started_at < self.until)\n",
        replace=" and (self.until is None or started_at <= self.until)\n",
        caught_by=_WINDOWS + "[oldest]",
    ),
    Twin(
        name="one wrong date ends the trust in the filter",
        promise="P5",
        file=_EXTRACTOR,
        find="    return count > max(1, len(starts) // 10)\n",
        replace="    return count > 0\n",
        caught_by="tests/acceptance/test_complete.py::"
        "test_one_record_with_a_wrong_date_does_not_end_the_trust_in_the_filter",
    ),
    Twin(
        name="the last half of a session that expires by piece replaces the whole",
        promise="P5",
        file=_STATEMENTS,
        find="{source_at} + interval '25 hours' AND \"",
        replace="{source_at} - interval '9999 days' AND \"",
        caught_by="tests/acceptance/test_deletions.py::"
        "test_an_older_server_that_expires_by_piece_does_not_shrink_what_we_have"
        "[an expiry is named]",
    ),
    Twin(
        name="the tail of a session whose pieces are days apart replaces the whole",
        promise="P5",
        file=_CUTS,
        find='        f"t.{started} < $3::timestamptz AND ',
        replace='        f"false AND t.{started} < $3::timestamptz AND ',
        caught_by=_CUT + "test_a_session_whose_pieces_are_days_apart_stays_whole_at_every_sync",
    ),
    Twin(
        name="the head of a session whose pieces are days apart replaces its tail",
        promise="P5",
        file=_CUTS,
        find='        f"OR t.{ended} > $4::timestamptz AND ',
        replace='        f"OR false AND t.{ended} > $4::timestamptz AND ',
        caught_by=_CUT + "test_a_backfill_newest_first_joins_the_head_to_the_tail[cursor]",
    ),
    Twin(
        name="a session that comes cut is asked about at every sync",
        promise="P5",
        file=_CUTS,
        find="WHERE c.seen <> excluded.seen",
        replace="WHERE c.seen <> ''",
        caught_by=_CUT + "test_a_session_whose_pieces_are_days_apart_stays_whole_at_every_sync",
    ),
    Twin(
        name="what is dated years ahead is never asked for",
        promise="P5",
        file="etl/runs/windows.py",
        find="            await self._read_ahead(reader, place, watermark)\n",
        replace="            pass\n",
        caught_by=_AHEAD
        + "test_recordings_years_ahead_are_loaded_within_the_hour_and_delay_nothing",
    ),
    Twin(
        name="the tail doubts recordings dated ahead of it",
        promise="P5",
        file="etl/core/place.py",
        find="            highest = self.asked[1]  #",
        replace="            highest = _FAR  #",
        caught_by=_AHEAD + "test_one_that_vanishes_there_is_marked_and_the_others_are_not",
    ),
    Twin(
        name="what lies ahead is read at every sync",
        promise="P5",
        file="etl/core/outliers.py",
        find="    return _is_due(mark, min(hours * _HOUR, _DAY), now)\n",
        replace="    return hours > 0\n",
        caught_by=_AHEAD + "test_what_lies_ahead_costs_one_request_an_hour_and_plan_knows_it",
    ),
    Twin(
        name="nobody says that there are recordings before start",
        promise="P5",
        file="etl/runs/windows.py",
        find="            await self._look_before(reader)\n",
        replace="            pass\n",
        caught_by=_AHEAD + "test_recordings_before_start_leave_a_hint_and_its_command_loads_them",
    ),
    Twin(
        name="nothing is read again",
        promise="P5",
        file=_WINDOW,
        find="    oldest = tail_until - age\n",
        replace="    oldest = tail_until\n",
        caught_by="tests/acceptance/test_current.py::"
        "test_a_recording_that_changes_after_it_was_seen_is_read_again[a view-cloud]",
    ),
    Twin(
        name="the server's clock is trusted alone",
        promise="P5",
        file="etl/core/clocks.py",
        find="        return next((low for low, high in pairs if high - low <= TOLERANCE), None)\n",
        replace="        return self.source or next(pairs)[0]\n",
        caught_by=_CLOCKS + "test_one_wrong_date_header_changes_nothing[the first-behind]",
    ),
    Twin(
        name="the watermark moves where no two clocks agree",
        promise="P5",
        file="etl/runs/windows.py",
        find="        known = place.complete and not self._clocks_disagree()\n",
        replace="        known = place.complete\n",
        caught_by=_CLOCKS + "test_where_no_two_clocks_agree_the_run_is_partial_and_names_all_three"
        "[windows]",
    ),
    Twin(
        name="a watermark in the future stays there",
        promise="P5",
        file="etl/runs/work.py",
        find="    if not any(at is not None and at > latest for at in (end, tail)):\n",
        replace="    if True:\n",
        caught_by=_CLOCKS + "test_a_watermark_that_a_wrong_clock_wrote_heals_without_reading_"
        "everything_anew",
    ),
    Twin(
        name="a row counts as asked for as late as the last page of its transaction",
        promise="P5",
        file="etl/loaders/statements.py",
        find='_STAGED_AT = f"coalesce(s.{_OBSERVED_AT}, $2::timestamptz)"\n',
        replace='_STAGED_AT = "$2::timestamptz"\n',
        caught_by="tests/contract/test_pages_together.py::"
        "test_each_row_says_when_it_was_asked_for[pool]",
    ),
    Twin(
        name="a row that was marked gone is passed over because its content is as it was",
        promise="P5",
        file="etl/loaders/unchanged.py",
        find="        f\"AND {is_alive(spec, 't')}\"\n",
        replace="",
        caught_by=_UNCHANGED + "test_what_was_marked_gone_revives[pool-_deleted_at]",
    ),
    Twin(
        name="a recording is passed over whatever has become of its person",
        promise="P5",
        file="etl/core/hashes.py",
        find="key in stored[name] for name, key, _ in record.others\n",
        replace="True for name, key, _ in record.others\n",
        caught_by=_UNCHANGED + "test_a_recording_whose_person_changed_is_loaded[pool]",
    ),
    Twin(
        name="a row that was passed over does not count as seen",
        promise="P5",
        file="etl/loaders/rows.py",
        find="await self._unchanged.note(connection, project_id, unchanged)",
        replace="pass",
        caught_by=_UNCHANGED
        + "test_a_run_that_stalled_does_not_bring_back_what_it_read_in_between[pool]",
    ),
    Twin(
        name="a batch is not compared again after the one before it has written",
        promise="P5",
        file="etl/loaders/rows.py",
        find="unchanged and (wrote or others or met_others):",
        replace="unchanged and (others or met_others):",
        caught_by=_UNCHANGED
        + "test_what_changes_after_it_was_compared_is_loaded[pool-the batch before]",
    ),
    Twin(
        name="a batch is not compared again after another run has written and ended",
        promise="P5",
        file="etl/loaders/rows.py",
        find="unchanged and (wrote or others or met_others):",
        replace="unchanged and (wrote or others):",
        caught_by=_UNCHANGED + "test_what_changes_after_it_was_compared_is_loaded"
        "[pool-a run that has ended since]",
    ),
    Twin(
        name="a hash is kept although the row was written from another record",
        promise="P5",
        file="etl/loaders/statements.py",
        find='        changes += f", {_HASH} = excluded.{_HASH}"\n',
        replace="        pass\n",
        caught_by=_UNCHANGED
        + "test_a_distinct_id_that_moved_and_came_back_belongs_to_its_person[pool]",
    ),
    Twin(
        name="rows of a batch that its pages show differently are compared",
        promise="P5",
        file="etl/core/hashes.py",
        find="        shown[key] = Seen(None, at)\n",
        replace="        shown[key] = Seen(row_hash, at)\n",
        caught_by="tests/unit/core/test_hashes.py::test_a_record_is_left_out_if_all_its_rows"
        "_are_stored_as_every_page_shows_them",
    ),
    Twin(
        name="a recording that another run stored meanwhile is not compared with ours",
        promise="P5",
        file=_STATEMENTS,
        find="        insert=_insert(spec, table, staging) + _in_key_order(spec),\n",
        replace='        insert=_insert(spec, table, staging) + " ON CONFLICT DO NOTHING",\n',
        caught_by="tests/contract/test_loader.py::"
        "test_a_recording_that_another_run_stores_meanwhile_is_compared_with_theirs"
        "[pool-seen before ours]",
    ),
    Twin(
        name="rows are compared by a scan of the table",
        promise="P5",
        file="etl/loaders/unchanged.py",
        find='f"LEFT JOIN {quoted(schema)}',
        replace='f"JOIN {quoted(schema)}',
        caught_by=_UNCHANGED
        + "test_each_key_is_looked_up_in_a_table_that_was_never_analysed[pool]",
    ),
]
