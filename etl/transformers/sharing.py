"""Sharing configurations and their passwords. Access tokens are secrets: only hashes stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from etl.core.identity import Identity, Names
from etl.core.page import Batch, Page
from etl.core.stream import Field, Kind, Secrets, TableSpec, key_text
from etl.errors import InvalidRecord
from etl.transformers.fields import FieldReader, repair, scalar_text, sha256, to_json
from etl.transformers.secrets import drop_named, known_fields
from etl.transformers.transformer import Collector, transform_page

_OF_RECORDINGS = (Identity("resource_id", Names.RECORDING, when=("resource_type", "recording")),)

CONFIGURATIONS = TableSpec(
    name="sharing_configurations",
    about="One row per recording, insight or dashboard that was checked: whether anyone with a "
    "link may open it.",
    key=("resource_type", "resource_id"),
    identities=_OF_RECORDINGS,
    fields=(
        Field("resource_type", Kind.TEXT, "recording, insight or dashboard."),
        Field("resource_id", Kind.TEXT, "Id of the recording, insight or dashboard, as text."),
        Field("enabled", Kind.BOOLEAN, "Whether it is shared."),
        Field("created_at", Kind.INSTANT, "When sharing was first set up; null if never."),
        Field(
            "access_token_sha256",
            Kind.TEXT,
            "SHA-256 of the token in the link, in hexadecimal; null where nothing is shared.",
        ),
        # Every key that PostHog defines there is true or false.
        Field(
            "settings",
            Kind.JSON,
            "How it is shown, as JSON; text inside is kept as hash and length.",
            null_keeps=True,
        ),
        Field(
            "password_required", Kind.BOOLEAN, "Whether it asks for a password.", null_keeps=True
        ),
        Field("user_access_level", Kind.TEXT, "What the key's owner may do.", null_keeps=True),
    ),
)

PASSWORDS = TableSpec(
    name="share_passwords",
    about="One row per active password of what is shared; never the password.",
    key=("resource_type", "resource_id", "id"),
    identities=_OF_RECORDINGS,
    fields=(
        Field("resource_type", Kind.TEXT, "recording, insight or dashboard."),
        Field("resource_id", Kind.TEXT, "Id of the recording, insight or dashboard, as text."),
        Field("id", Kind.TEXT, "PostHog's id of the password."),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("note", Kind.TEXT, "Note."),
        Field("created_by_email", Kind.TEXT, "Email of who made it, or deleted user."),
        Field("is_active", Kind.BOOLEAN, "Whether the password is accepted.", null_keeps=True),
    ),
)

TABLES = (CONFIGURATIONS, PASSWORDS)
_SECRET = ("access_token", "password", "raw_password")

_configurations = FieldReader(CONFIGURATIONS, known=("share_passwords",))
_passwords = FieldReader(PASSWORDS)


def hide_tokens(record: dict[str, Any]) -> dict[str, Any]:
    """Return a sharing configuration without its token and passwords. Safe to repeat.

    Before anything is shared, PostHog makes up another token for every answer (PostHog source,
    posthog/api/sharing.py). Such a token is dropped, because its hash would say nothing.
    """
    passwords = _listed(record.get("share_passwords"))
    others = {name: value for name, value in record.items() if name != "share_passwords"}
    if passwords is not None:  # else the field is missing, or holds text that is not a list
        others["share_passwords"] = [each if isinstance(each, dict) else None for each in passwords]
    hidden = drop_named(others, _SECRET)
    token = record.get("access_token")
    if token is not None:
        saved = record.get("created_at") is not None
        hidden["access_token_sha256"] = sha256(token, bare=True) if saved else None
    return hidden


SECRETS = Secrets(hide_tokens, known_fields(CONFIGURATIONS, share_passwords=PASSWORDS))


def transform(page: Page) -> Batch:
    """Return configurations and passwords of a page. Pure; safe to repeat."""
    # The id of an insight is a number. As text it equals the row's key, also for a rejected record.
    records = [_with_text_id(record) for record in page.records]
    return transform_page(replace(page, records=records), TABLES, CONFIGURATIONS.key, _add)


def _with_text_id(record: Any) -> Any:
    if isinstance(record, dict) and type(record.get("resource_id")) is int:
        return {**record, "resource_id": str(record["resource_id"])}
    return record


def _add(collector: Collector, record: Mapping[str, Any], repaired: list[str]) -> None:
    values, extra = _configurations.read(record)
    collector.note(_configurations.drift(record))
    marks = [name for name in repaired if name != "share_passwords"]
    row = (*values, to_json(extra) if extra else None, marks or None)
    key = (values[0], values[1])
    collector.add(CONFIGURATIONS.name, key, 0, row)
    # If it came as text, its content has not been repaired yet.
    passwords, dirty = repair(record.get("share_passwords"))
    if passwords is None:
        return  # older servers leave it out
    for each in passwords:
        if not isinstance(each, dict) or each.get("id") in (None, ""):
            raise InvalidRecord("share_passwords: a password without an id")
        own = {**each, **dict(zip(CONFIGURATIONS.key, key, strict=True))}
        own["id"] = scalar_text(each["id"])
        try:
            values, extra = _passwords.read(own)
        except InvalidRecord as exc:
            raise InvalidRecord(f"share_passwords: {exc.message}") from exc
        collector.note(_passwords.drift(own))
        marks = ["share_passwords"] if dirty or "share_passwords" in repaired else []
        row = (*values, to_json(extra) if extra else None, marks or None)
        collector.add(PASSWORDS.name, (*key, values[2]), 0, row)
    collector.whole(PASSWORDS.name, key_text(key))


def _listed(value: Any) -> list[Any] | None:
    """Return the list of passwords; some documentation shows it as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None
