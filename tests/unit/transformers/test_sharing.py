"""Sharing configurations and their passwords, in every documented version."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.document import Unreadable
from etl.core.page import Batch
from etl.streams import STREAMS
from etl.transformers.sharing import hide_tokens
from tests.fixtures.records import JSON
from tests.support.batches import batch_of, batch_of_answer, rows_of

RESOURCE = STREAMS["insight_sharing"].resources[0]
INSIGHT = {"resource_type": "insight", "resource_id": 14}
NOON_TEXT, NOON = "2026-05-04T12:00:00Z", datetime(2026, 5, 4, 12, tzinfo=UTC)
TOKEN = "tok-0123456789-abcdefghijklmno"
PASSWORD = "correct horse battery staple"
TOKEN_HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
PASSWORDS = [
    {
        "id": 3,
        "created_at": NOON_TEXT,
        "note": "for the board",
        "created_by_email": "ada@example.com",
        "is_active": True,
    }
]
THREE = {"created_at": NOON_TEXT, "enabled": True, "access_token": TOKEN}
SIX = {**THREE, "settings": {"legend": True}, "password_required": True}
NEVER = {"created_at": None, "enabled": False, "access_token": TOKEN, "share_passwords": []}
ROW = {
    "resource_type": "insight",
    "resource_id": "14",
    "enabled": True,
    "created_at": NOON,
    "access_token_sha256": TOKEN_HASH,
}
PASSWORD_ROW = {
    **{name: ROW[name] for name in ("resource_type", "resource_id")},
    **{**PASSWORDS[0], "id": "3", "created_at": NOON},
}
OWNER = '["insight", "14"]'


def batch_from(record: Any, *, dirty: bool = False, **parent: Any) -> Batch:
    """The batch of an answer about an insight."""
    return batch_of(RESOURCE, [record], INSIGHT | parent, dirty=dirty)


def configurations(batch: Batch) -> list[dict[str, Any]]:
    """Its rows of sharing_configurations."""
    return rows_of(batch, "sharing_configurations")


def passwords(batch: Batch) -> list[dict[str, Any]]:
    """Its rows of share_passwords."""
    return rows_of(batch, "share_passwords")


def test_an_answer_of_three_fields_is_a_configuration() -> None:
    """Older servers leave out the passwords, so stored passwords stay."""
    batch = batch_of_answer(RESOURCE, json.dumps(THREE).encode(), INSIGHT)
    assert (configurations(batch), passwords(batch)) == ([ROW], [])
    assert (batch.whole, batch.rejected) == ({}, [])


@pytest.mark.parametrize("settings", [None, {"legend": True}])
def test_an_answer_of_six_fields_brings_its_passwords(settings: Any) -> None:
    """The list is complete: a stored password that is not in it is gone."""
    batch = batch_from({**SIX, "settings": settings, "share_passwords": PASSWORDS, "new": 1})
    more = {} if settings is None else {"settings": settings}
    assert configurations(batch) == [ROW | more | {"password_required": True, "extra": {"new": 1}}]
    assert passwords(batch) == [PASSWORD_ROW]
    assert batch.whole == {"share_passwords": [OWNER]}


@pytest.mark.parametrize(
    ("value", "expected", "whole"),
    [
        (PASSWORDS, 1, True),
        ([], 0, True),
        (json.dumps(PASSWORDS), 1, True),
        ("[]", 0, True),
        ("string", 0, False),
        ("{}", 0, False),
        ("[" * 100_000, 0, False),
        ("9" * 5000, 0, False),
        ("", 0, False),
        (None, 0, False),
        ({}, 0, False),
        (3, 0, False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_passwords_come_as_list_as_text_or_not_at_all(
    value: Any, expected: int, whole: bool
) -> None:
    """A text that cannot be read as a list says nothing and is not kept."""
    batch = batch_from({**SIX, "share_passwords": value})
    assert (len(passwords(batch)), bool(batch.whole)) == (expected, whole)
    assert batch.rejected == []
    assert "extra" not in configurations(batch)[0]


@pytest.mark.parametrize("resource_id", [14, "14", "0195-odd id/with slash"])
def test_the_id_of_a_resource_is_a_text(resource_id: Any) -> None:
    """Insights have a number, recordings a text."""
    (row,) = configurations(batch_from(THREE, resource_id=resource_id))
    assert row["resource_id"] == str(resource_id)


@pytest.mark.parametrize("password_id", [3, "3"])
def test_the_id_of_a_password_is_a_text(password_id: Any) -> None:
    """It is a number in the answer and a text in addresses."""
    batch = batch_from({**SIX, "share_passwords": [{"id": password_id}]})
    assert [row["id"] for row in passwords(batch)] == ["3"]


def test_the_token_of_what_was_never_shared_is_no_news() -> None:
    """PostHog makes up another one for every answer."""
    one, other = batch_from(NEVER), batch_from({**NEVER, "access_token": TOKEN[::-1]})
    assert one.rows == other.rows
    assert "access_token_sha256" not in configurations(one)[0]


def test_a_new_token_shows_in_its_hash() -> None:
    """So a replaced link is a change."""
    (row,) = configurations(batch_from({**THREE, "access_token": TOKEN + "2"}))
    assert row["access_token_sha256"] != TOKEN_HASH


def test_a_record_set_aside_is_known_by_the_key_its_row_would_have() -> None:
    """So the reject is resolved when the record loads."""
    (item,) = batch_from({**THREE, "enabled": "perhaps"}).rejected
    assert item.key == OWNER
    (row,) = batch_from(THREE).rows["sharing_configurations"]
    assert RESOURCE.row_key(row) == OWNER


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ([{"note": "a"}], "share_passwords: a password without an id"),
        ([{"id": ""}], "share_passwords: a password without an id"),
        (["text"], "share_passwords: a password without an id"),
        ([*PASSWORDS, {"id": 4, "note": 5}], "share_passwords: note: expected text, got 5"),
    ],
)
def test_a_password_that_cannot_be_stored_costs_its_configuration(wrong: Any, reason: str) -> None:
    """All of it is rejected, and no stored password is marked deleted."""
    batch = batch_from({**SIX, "share_passwords": wrong})
    assert [item.reason for item in batch.rejected] == [reason]
    assert (configurations(batch), passwords(batch), batch.whole) == ([], [], {})


@pytest.mark.parametrize("as_text", [False, True], ids=["list", "text"])
def test_a_password_that_was_repaired_is_marked(as_text: bool) -> None:
    """Also if it came inside a text that was not repaired before."""
    damaged = [{"id": 3, "note": "a\0\ud83d"}]
    value = json.dumps(damaged) if as_text else damaged
    batch = batch_from({**SIX, "share_passwords": value}, dirty=not as_text)
    (row,) = passwords(batch)
    assert (row["note"], row["_repaired"]) == ("a\ufffd\ufffd", ["share_passwords"])
    assert "_repaired" not in configurations(batch)[0]


# --- secrets ----------------------------------------------------------------------------------


def leaks(batch: Batch) -> list[str]:
    """The secrets that can still be found in anything that is stored."""
    seen = repr(batch)
    return [secret for secret in (TOKEN, PASSWORD) if secret in seen]


ODD: dict[str, dict[str, Any]] = {
    "as documented": SIX,
    "never shared": NEVER,
    "without a date": {"enabled": True, "access_token": TOKEN},
    "as an object": {**SIX, "access_token": {"token": TOKEN}},
    "as a list": {**SIX, "access_token": [[TOKEN]]},
    "in another object": {**SIX, "settings": {"access_token": TOKEN, "password": PASSWORD}},
    "in a link": {**SIX, "url": f"https://eu.posthog.com/shared/{TOKEN}", TOKEN: [TOKEN]},
    "a password in clear": {**SIX, "password": PASSWORD, "raw_password": [PASSWORD]},
    "among the passwords": {
        **SIX,
        "share_passwords": [{**PASSWORDS[0], "password": PASSWORD, "note": f"it is {PASSWORD}"}],
    },
    "deep among the passwords": {
        **SIX,
        "share_passwords": [{"id": 1, "more": [{"raw_password": PASSWORD}]}],
    },
    "among the passwords as text": {
        **SIX,
        "share_passwords": json.dumps([{**PASSWORDS[0], "password": PASSWORD}]),
    },
    "instead of the passwords": {**SIX, "share_passwords": PASSWORD},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("wrong", [{}, {"enabled": "perhaps"}], ids=["", "rejected"])
@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
def test_no_token_and_no_password_is_stored(name: str, wrong: dict[str, Any], dirty: bool) -> None:
    """Not in a row, not in `extra`, not in rejects, not in the reason."""
    batch = batch_from({**ODD[name], **wrong}, dirty=dirty)
    assert leaks(batch) == []
    assert bool(batch.rejected) == bool(wrong)


def test_passwords_that_are_no_objects_are_not_set_aside_in_clear() -> None:
    """A list of the passwords themselves."""
    batch = batch_from({**SIX, "share_passwords": [PASSWORD]})
    assert leaks(batch) == []
    assert batch.rejected[0].payload["share_passwords"] == [None]


def test_of_what_is_no_object_only_a_hash_is_set_aside() -> None:
    """Its key is a hash of its content, which is the same in a replay."""
    others = [TOKEN, [THREE], Unreadable(f'{{"access_token": "{TOKEN}"', "not JSON")]
    batch = batch_of(RESOURCE, others, INSIGHT)
    assert leaks(batch) == []
    again = batch_of(RESOURCE, [item.payload for item in batch.rejected], {}, dirty=True)
    assert [item.key for item in again.rejected] == [item.key for item in batch.rejected]
    assert len({item.key for item in batch.rejected}) == len(others)


SECRETS = st.recursive(
    JSON | st.just(TOKEN) | st.just(PASSWORD),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "id", "password"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*SIX, "new"]), JSON, max_size=4),
    SECRETS,
    st.lists(st.fixed_dictionaries({"id": JSON, "password": SECRETS}), max_size=2),
    st.booleans(),
)
def test_nothing_is_stored_of_a_secret_whatever_else_a_configuration_holds(
    others: dict[str, Any], secret: Any, listed: list[Any], as_text: bool
) -> None:
    """A second pass changes nothing."""
    record = {**SIX, **others, "access_token": secret, "raw_password": secret, "x": [secret]}
    record["share_passwords"] = json.dumps(listed) if as_text else listed
    hidden = hide_tokens(record)
    # Not with ==: a NaN is not equal to itself.
    assert sorted(map(repr, hide_tokens(hidden).items())) == sorted(map(repr, hidden.items()))
    batch = batch_from(record, dirty=True)
    assert leaks(batch) == []
    assert len(batch.rejected) + len(batch.rows["sharing_configurations"]) == 1
