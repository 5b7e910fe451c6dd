"""Broken twins of what reads the things that product teams make."""

from tests.twins.twin import Twin

_PRODUCT = "tests/acceptance/test_streams_product.py::"

TWINS = [
    Twin(
        name="a list without next is asked for more when its count is reached",
        promise="P2",
        file="etl/extractors/lists.py",
        find="more = (self.ask.offset or 0) + len(self.listed.records) < count",
        replace="more = len(self.listed.records) < count",
        caught_by=_PRODUCT + "test_a_list_that_has_a_count_and_no_next_is_read_to_its_count[cloud]",
    ),
    Twin(
        name="a flag that is called all the time looks as if nobody used it",
        promise="P5",
        file="etl/loaders/statements.py",
        find="        if field.after_days is not None:\n",
        replace="        if field.after_days == 0:\n",
        caught_by=_PRODUCT
        + "test_a_flag_that_is_called_is_written_once_a_day_and_not_with_every_call",
    ),
    Twin(
        name="a flag is written each time that it is called",
        promise="P4",
        file="etl/loaders/statements.py",
        find=" + interval '{field.after_days} days' <= {at}",
        replace=" < {at}",
        caught_by=_PRODUCT
        + "test_a_flag_that_is_called_is_written_once_a_day_and_not_with_every_call",
    ),
    Twin(
        name="only one half of a list that hides archived flags is read",
        promise="P6",
        file="etl/streams/feature_flags.py",
        find='                Address("feature_flags/", params=(("archived", "true"),), '
        'prefix="projects"),\n',
        replace="",
        caught_by=_PRODUCT
        + "test_what_is_changed_hidden_or_deleted_is_as_the_source_has_it[feature_flags-cloud]",
    ),
    Twin(
        name="a survey changes with each flag and action in it",
        promise="P4",
        file="etl/streams/surveys.py",
        find="            redact=reduce_survey,\n",
        replace="",
        caught_by=_PRODUCT
        + "test_what_is_changed_hidden_or_deleted_is_as_the_source_has_it[surveys-cloud]",
    ),
    Twin(
        name="a payload that is encrypted is stored where the key may decrypt it",
        promise="P11",
        file="etl/streams/feature_flags.py",
        find='lambda each: without(each, "payloads")',
        replace="lambda each: each",
        caught_by=_PRODUCT
        + "test_a_payload_that_is_encrypted_is_nowhere_even_if_the_key_may_decrypt_it",
    ),
    Twin(
        name="the name of a person who was forgotten stays in what others say",
        promise="P11",
        file="etl/streams/comments.py",
        find='    mentions=("rich_content", "item_context"),\n',
        replace="",
        caught_by=_PRODUCT
        + "test_what_is_said_about_a_person_who_was_forgotten_is_gone_and_stays_away",
    ),
]
