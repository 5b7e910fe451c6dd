"""Broken twins of configured queries: rows lost at edges of pages, in caches, by silent caps."""

from tests.twins.twin import Twin

_TESTS = "tests/adversary/test_queries.py::"
_TIES = _TESTS + "test_ties_at_the_edges_of_pages_are_neither_lost_nor_doubled[utc-3]"
_CORE = "etl/core/query.py"
_READER = "etl/extractors/query_reader.py"

TWINS = [
    Twin(
        name="a page begins after the time of the last row, whatever its key is",
        promise="P2",
        file=_CORE,
        find="            conditions.append(f\"({columns}) > ({', '.join(constants)})\")\n",
        replace='            conditions.append(f"{quoted(spec.order[0])} > {constants[0]}")\n',
        caught_by=_TIES,
    ),
    Twin(
        name="a page that is not full is the end of a query",
        promise="P2",
        file=_READER,
        find="            place = place.past(last, kinds, len(rows.rows), size)\n",
        replace="            is_full = len(rows.rows) >= place.rows\n"
        "            place = place.past(last, kinds, len(rows.rows), size)\n"
        "            place = place if is_full else replace(place, ended=True)\n",
        caught_by=_TIES,
    ),
    Twin(
        name="a query is read by OFFSET",
        promise="P2",
        file=_CORE,
        find='values, f"LIMIT {place.rows}")',
        replace='values, f"LIMIT {place.rows} OFFSET 0")',
        caught_by=_TIES,
    ),
    Twin(
        name="an answer of the query cache is taken",
        promise="P5",
        file="etl/extractors/query_protocol.py",
        find='"force_async" if in_background else "force_blocking"',
        replace='"async" if in_background else "blocking"',
        caught_by=_TESTS + "test_an_answer_of_the_cache_is_never_taken",
    ),
    Twin(
        name="the settle lag of a query is ignored",
        promise="P5",
        file="etl/core/query.py",
        find="    until = now - spec.settle\n",
        replace="    until = now\n",
        caught_by=_TESTS + "test_a_row_that_is_visible_late_is_read_within_the_settle_lag",
    ),
    Twin(
        name="a query that was stopped is sent again unchanged",
        promise="P8",
        file="etl/extractors/queries.py",
        find="                    self._in_background = True\n                    raise\n",
        replace="                    self._in_background = True\n"
        "                    if attempt:\n"
        "                        raise\n"
        "                    continue\n",
        caught_by=_TESTS + "test_a_query_that_fails_is_never_sent_again_unchanged",
    ),
    Twin(
        name="a row for which an answer had no room is gone",
        promise="P6",
        file=_READER,
        find="[] if shown else list(keys), [], [])",
        replace="[key for key in keys if key not in shown], [], [])",
        caught_by=_TESTS + "test_only_what_is_gone_is_marked_where_limit_is_lowered[3]",
    ),
    Twin(
        name="the rows of another query are taken",
        promise="P2",
        file="etl/extractors/queries.py",
        find='if state.id not in ("", query_id):',
        replace="if not state:",
        caught_by=_TESTS + "test_a_status_of_another_query_is_not_taken",
    ),
    Twin(
        name="a copy of an event before a merge makes the query wrong",
        promise="P2",
        file=_READER,
        find="                if self._spec.later_wins\n",
        replace="                if False\n",
        caught_by=_TESTS + "test_the_same_row_twice_and_an_older_copy_of_it_are_one_row",
    ),
    Twin(
        name="no place is left to people",
        promise="P8",
        file="etl/loaders/slots.py",
        find="PLACES = 2\n",
        replace="PLACES = 3\n",
        caught_by="tests/acceptance/test_queries.py::test_one_place_is_left_to_people",
    ),
    Twin(
        name="the tables of queries are forgotten by forget",
        promise="P11",
        file="etl/loaders/query_tables.py",
        find="    return [*TABLE_SPECS.values(), *await tables_there(connection, tables)]\n",
        replace="    return [*TABLE_SPECS.values()]\n",
        caught_by="tests/acceptance/test_query_tables.py::"
        "test_forget_deletes_a_person_from_the_tables_of_queries_and_keeps_them_away",
    ),
    Twin(
        name="a stream that nobody named and that never was makes a sync partial",
        promise="P3",
        file="etl/runs/report.py",
        find="    if not available:\n",
        replace="    if True:\n",
        caught_by="tests/unit/test_report.py::"
        "test_a_stream_that_nobody_named_and_that_never_was_is_no_reason_for_partial"
        "[nobody named it]",
    ),
    Twin(
        name="who shares a session with a forgotten person is forgotten, too",
        promise="P11",
        file="etl/core/query.py",
        find="    if set(whose.values()) != {Names.RECORDING}:\n",
        replace="    if False:\n",
        caught_by="tests/unit/core/test_query.py::"
        "test_a_session_says_whose_a_row_is_only_where_nothing_else_does[columns0-named0]",
    ),
    Twin(
        name="a row is asked for only where the reading was",
        promise="P6",
        file="etl/core/query.py",
        find="    anywhere = replace(place, since=None, part=None, reach=None)\n",
        replace="    anywhere = place\n",
        caught_by="tests/acceptance/test_queries.py::"
        "test_a_row_that_changes_while_all_is_read_anew_is_not_taken_for_gone",
    ),
    Twin(
        name="a deletion is looked for only where the recording was",
        promise="P13",
        file="etl/core/digest.py",
        find=" OR is_deleted = 1) GROUP BY",
        replace=") GROUP BY",
        caught_by="tests/acceptance/test_verify_digest.py::"
        "test_what_was_deleted_at_the_source_is_surplus[of the past]",
    ),
    Twin(
        name="a longer reach begins where a shorter one has ended",
        promise="P2",
        file="etl/core/query.py",
        find="swept.get(str(int(age.total_seconds())), start)",
        replace="swept.get(str(int(age.total_seconds())), known)",
        caught_by="tests/acceptance/test_queries.py::"
        "test_a_longer_reach_brings_in_what_a_shorter_one_left_out",
    ),
]
