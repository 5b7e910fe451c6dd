"""What records leave out before anything else sees them."""

from __future__ import annotations

from etl.streams.actions import drop_computed
from etl.streams.feature_flags import reduce_flag
from etl.transformers.reduced import id_of, without, without_inside


def test_fields_are_left_out_and_the_record_stays_as_it_was() -> None:
    """At the top, or at any depth."""
    record = {"a": 1, "b": [{"a": 2, "c": {"a": 3, "d": 4}}]}
    assert without(record, "a") == {"b": record["b"]}
    assert without_inside(record, "a") == {"b": [{"c": {"d": 4}}]}
    assert record["a"] == 1


def test_an_object_becomes_its_id_and_anything_else_stays() -> None:
    """A server may send only the id, or nothing; nothing is kept of an object without an id."""
    found = [id_of(each) for each in ({"id": 7, "key": "k"}, 7, None, {"key": "k"})]
    assert found == [7, 7, None, None]


def test_an_action_loses_only_what_the_server_computes() -> None:
    """Whatever form its steps have."""
    steps = [{"event": "a", "selector": "b", "selector_regex": "c"}]
    record = {"id": 1, "steps": steps, "creation_context": None}
    assert drop_computed(record) == {"id": 1, "steps": [{"event": "a", "selector": "b"}]}
    assert drop_computed({"id": 1, "steps": "odd"}) == {"id": 1, "steps": "odd"}
    assert drop_computed({"id": 1}) == {"id": 1}


def test_a_flag_keeps_no_encrypted_payload_whatever_it_stands_in() -> None:
    """A key that may decrypt them gets them in plain text."""
    for marked in (True, "true", 1):
        record = {
            "id": 1,
            "has_encrypted_payloads": marked,
            "filters": {"groups": [], "payloads": {"true": "secret"}},
            "was": [{"filters": {"payloads": {"true": "secret"}}}],
        }
        assert "secret" not in str(reduce_flag(record))
    plain = {"has_encrypted_payloads": False, "filters": {"payloads": {"true": "plain"}}}
    assert reduce_flag(plain) == plain


def test_a_variant_may_have_the_name_of_a_field_that_conditions_lose() -> None:
    """Only conditions on properties lose names of cohorts and groups."""
    filters = {"payloads": {"cohort_name": "a payload"}}
    assert reduce_flag({"filters": filters}) == {"filters": filters}
