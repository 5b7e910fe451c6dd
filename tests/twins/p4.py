"""Broken twins of P4: rows are written although nothing has changed."""

from tests.twins.twin import Twin

_STATEMENTS = "etl/loaders/statements.py"
_TESTS = "tests/acceptance/test_quiet.py::"

TWINS = [
    Twin(
        name="unchanged rows are written again",
        promise="P4",
        file=_STATEMENTS,
        find="t._deleted_at IS NOT NULL OR ({held}) IS DISTINCT FROM ({read})",
        replace="true",
        caught_by=_TESTS + "test_a_sync_without_news_writes_no_row[by content-cloud]",
    ),
    Twin(
        name="a field that moves by itself is compared",
        promise="P4",
        file=_STATEMENTS,
        find="if name not in volatile and name not in spec.key]\n",
        replace="if name not in spec.key]\n",
        caught_by=_TESTS + "test_a_field_that_moves_by_itself_is_no_news[by content]",
    ),
    Twin(
        name="unchanged rows are locked, which is logged",
        promise="P4",
        file=_STATEMENTS,
        find='        AND (t.project_id IS NULL OR ({news("s", _STAGED_AT)}))',
        replace="        ",
        caught_by=_TESTS + "test_a_sync_without_news_writes_next_to_no_wal[by content]",
    ),
]
