"""Broken twins of P12: one stream's trouble becomes everybody's."""

from tests.twins.twin import Twin

_TESTS = (
    "tests/acceptance/test_honest.py::"
    "test_a_stream_that_is_not_to_be_had_says_how_to_fix_it_and_the_others_go_on"
)

TWINS = [
    Twin(
        name="an unavailable stream is a failure",
        promise="P12",
        file="etl/errors.py",
        find='''this key cannot read this stream. Other streams go on."""

    exit_code = EXIT_PARTIAL
''',
        replace='''this key cannot read this stream. Other streams go on."""

    exit_code = EXIT_FAILED
''',
        caught_by=_TESTS + "[402]",
    ),
    Twin(
        name="an unavailable stream ends the others",
        promise="P12",
        file="etl/runs/projects.py",
        find="r.ending.exit_code == KeyRefused.exit_code",
        replace="r.ending.exit_code in (3, KeyRefused.exit_code)",
        caught_by=_TESTS + "[missing scope]",
    ),
    Twin(
        name="nobody says how to fix it",
        promise="P12",
        file="etl/extractors/protocol.py",
        find="kind, remedy = StreamUnavailable, _stream_remedy(status, said)",
        replace='kind, remedy = StreamUnavailable, ""',
        caught_by=_TESTS + "[402]",
    ),
]
