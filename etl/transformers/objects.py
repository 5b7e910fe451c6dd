"""Objects as they come: one row a record, and a row for each user that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etl.core.page import Batch, Page
from etl.core.stream import Field, Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import FieldReader, to_bigint, to_json
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
        Field("is_email_verified", Kind.BOOLEAN, "Whether it is verified.", null_keeps=True),
        Field("hedgehog_config", Kind.JSON, "The user's hedgehog, as JSON.", null_keeps=True),
        Field("role_at_organization", Kind.TEXT, "Role, as the user named it.", null_keeps=True),
    ),
)

_read_user = FieldReader(USERS.fields).read


def object_rows(
    table: TableSpec,
    *,
    key: Sequence[str] | None = None,
    users: Sequence[str] = (),
    ignored: Sequence[str] = (),
    only: bool = False,
) -> Callable[[Page], Batch]:
    """Return the transformer of records that are rows of `table`.

    key: the fields that name a record, the table's own key unless given; a field of another name
    fills the key column in its place. users: fields that hold a user, or its id; the column keeps
    the id. ignored: fields that are not kept. only: fields that no column has are not kept.
    """
    names = tuple(key or table.key)
    columns = dict(zip(names, table.key, strict=True))
    reader = FieldReader(table.fields, known=(*ignored, *names)).read
    tables = (table, USERS) if users else (table,)

    def add(collector: Collector, record: Mapping[str, Any], repaired: list[str]) -> None:
        if any(name != column for name, column in columns.items()):
            record = {columns.get(name, name): value for name, value in record.items()}
        found = {}
        for name in users:
            found[name] = _user(collector, name, record.get(name), repaired)
        values, extra = reader({**record, **found})
        row = (*values, to_json(extra) if extra and not only else None, repaired or None)
        place = {field.name: at for at, field in enumerate(table.fields)}
        collector.add(table.name, tuple(row[place[name]] for name in table.key), 0, row)

    return lambda page: transform_page(page, tables, names, add)


def _user(collector: Collector, name: str, value: Any, repaired: list[str]) -> int | None:
    """Add the user and return its id; older servers give only that, and deleted ones are null."""
    if value is None:
        return None
    try:
        if not isinstance(value, dict):
            return to_bigint(value)
        values, extra = _read_user(value)
        if values[0] is None:
            raise InvalidRecord("id: missing")
    except InvalidRecord as exc:
        raise InvalidRecord(f"{name}: {exc.message}") from exc
    marks = [name] if name in repaired else None
    row = (*values, to_json(extra) if extra else None, marks)
    collector.add(USERS.name, values[0], 0, row)
    user_id: int = values[0]
    return user_id
