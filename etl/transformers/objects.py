"""Turn objects into rows: one row per record, and one row for each user it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etl.core.page import Batch, Page
from etl.core.stream import Field, Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import REPLACEMENT, FieldReader, to_bigint, to_json
from etl.transformers.secrets import plain_names, withhold_text
from etl.transformers.transformer import Collector, transform_page

USERS = TableSpec(
    name="users",
    about="One row per user of PostHog that another row names, as last seen there.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's numeric id of the user."),
        Field("uuid", Kind.UUID, "The user's uuid.", null_keeps=True),
        Field("distinct_id", Kind.TEXT, "The user's own distinct id.", null_keeps=True),
        Field("first_name", Kind.TEXT, "First name.", null_keeps=True),
        Field("last_name", Kind.TEXT, "Last name.", null_keeps=True),
        Field("email", Kind.TEXT, "Email address.", null_keeps=True),
        Field(
            "is_email_verified",
            Kind.BOOLEAN,
            "Whether the email address is verified.",
            null_keeps=True,
        ),
        Field(
            "hedgehog_config",
            Kind.JSON,
            "The user's hedgehog, as JSON; text other than colour, skin, accessories and direction "
            "is kept as hash and length.",
            null_keeps=True,
            plain=("color", "skin", "accessories", "fixed_direction"),
        ),
        Field("role_at_organization", Kind.TEXT, "Role, as the user named it.", null_keeps=True),
    ),
)

_users = FieldReader(USERS)
_OF_USERS = {each.name: plain_names(each) for each in USERS.fields if each.kind is Kind.JSON}


def object_rows(
    table: TableSpec,
    *,
    key: Sequence[str] | None = None,
    users: Sequence[str] = (),
) -> Callable[[Page], Batch]:
    """Return the transformer of records that are rows of `table`.

    key: the fields that are the key of a record; by default the table's own key. A field with
    another name fills the key column at the same place.
    users: the fields that hold a user or a user's id; the column keeps the id.
    """
    names = tuple(key or table.key)
    columns = dict(zip(names, table.key, strict=True))
    renamed = tuple(columns) != table.key
    reader = FieldReader(table)
    places = [table.columns.index(name) for name in table.key]
    tables = (table, USERS) if users else (table,)

    def add(collector: Collector, record: Mapping[str, Any], repaired: list[str]) -> None:
        if renamed:
            others = {name: value for name, value in record.items() if name not in columns}
            record = others | {columns[name]: record[name] for name in names}
        found, more = {}, {}
        for name in users:
            found[name], unknown = _user(collector, name, record.get(name), repaired)
            if unknown:
                more[name] = unknown
        record = {**record, **found}
        values, extra = reader.read(record)
        collector.note(reader.drift(record))
        extra |= more
        row = (*values, to_json(extra) if extra else None, repaired or None)
        collector.add(table.name, tuple(row[place] for place in places), 0, row)

    def transform(page: Page) -> Batch:
        return transform_page(page, tables, names, add)

    return transform


def _user(
    collector: Collector, name: str, value: Any, repaired: list[str]
) -> tuple[int | None, Mapping[str, Any]]:
    """Add the user. Return the user's id, and the fields without a column, for the record.

    Several streams show the same user, and some leave out fields. The row must be the same from all
    of them, so a field that any of them leaves out is left out of the row. Older servers give only
    the id. A deleted user is null.
    """
    if value is None:
        return None, {}
    try:
        if not isinstance(value, dict):
            return to_bigint(value), {}
        withheld = {
            name: withhold_text(value[name], known)
            for name, known in _OF_USERS.items()
            if name in value
        }
        user = {**value, **withheld}
        values, extra = _users.read(user)
        collector.note(_users.drift(user))
        if values[0] is None:
            raise InvalidRecord("id: missing")
    except InvalidRecord as exc:
        raise InvalidRecord(f"{name}: {exc.message}") from exc
    marks = [
        field.name
        for field, held in zip(USERS.fields, values, strict=True)
        if name in repaired and type(held) is str and REPLACEMENT in held
    ]
    collector.add(USERS.name, values[0], 0, (*values, None, marks or None))
    user_id: int = values[0]
    return user_id, extra
