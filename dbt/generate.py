"""Write the sources and the staging models of the dbt package from the catalogue.

    python dbt/generate.py            # write them
    python dbt/generate.py --check    # write nothing; exit 1 and name the files that are stale

A stream that was added to the catalogue needs no other work here. The marts are written by hand.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Table

from etl.core.statuses import REJECTS
from etl.core.stream import OF_VERIFY, TableSpec
from etl.loaders.tables import Tables
from etl.streams import STREAMS, TABLE_SPECS
from etl.streams.presets import PRESETS
from etl.streams.queries import query_stream

STAGING = Path(__file__).parent / "models" / "staging"
PAGES = Path(__file__).parents[1] / "docs" / "generate.py"
DATA, BOOK, QUERIES = "posthog", "posthog_etl", "posthog_queries"

# The bookkeeping that tells of the data. The other tables serve the pipeline alone.
_BOOKKEEPING = ("runs", "watermarks", "drift", "checks")
# A hash tells nothing of the data; rows with the instant of a deletion are left out.
_LEFT_OUT = ("_hash", "_deleted_at")

_MADE = "Made by dbt/generate.py: change the catalogue and run `make docs`."

_DATA_SCHEMA = "{{ var('posthog_schema', 'posthog') }}"
_BOOK_SCHEMA = (
    "{{ var('posthog_bookkeeping_schema', none) or (var('posthog_schema', 'posthog') ~ '_etl') }}"
)
_QUERIES_SCHEMA = (
    "{{ var('posthog_queries_schema', none) or (var('posthog_schema', 'posthog') ~ '_queries') }}"
)
_DATABASE = "{{ var('posthog_database', none) or target.database }}"

# Of each project the latest success of each stream; of these the earliest. A run shows what was
# there when it began. A stream that never succeeded is as old as can be. One that never ran is
# off, and counts like the latest success of any other.
_LOADED_AT = """
with judged as (
  select max(started_at) filter (where status = 'succeeded') as loaded_at
  from "{schema}".runs
  where stream in ({streams})
    and unit not in ({units})
    and unit not like '%/%'
    and stream <> all (string_to_array('{off}', ','))
    and ('{projects}' = '' or project_id::text = any (string_to_array('{projects}', ',')))
  group by project_id, stream
)
select coalesce(
  (select min(coalesce(loaded_at, timestamptz '1970-01-01 00:00:00+00')) from judged),
  (select max(started_at) from "{schema}".runs where status = 'succeeded')
) as max_loaded_at
""".strip()


def sources() -> str:
    """Return the file with the sources: data and ready queries with freshness, the bookkeeping."""
    tables = Tables(DATA)
    data = {
        "name": DATA,
        "description": "What posthog-etl copied from PostHog.",
        "database": _DATABASE,
        "schema": _DATA_SCHEMA,
        "config": {"freshness": _freshness()},
        "tables": [
            {
                **_described(tables.data[name]),
                "config": {"loaded_at_query": _loaded_at(_filling(name))},
            }
            for name in TABLE_SPECS
        ]
        + [_view(name, about, columns) for name, (about, columns, _) in _views().items()],
    }
    book = {
        "name": BOOK,
        "description": "The bookkeeping of posthog-etl.",
        "database": _DATABASE,
        "schema": _BOOK_SCHEMA,
        "tables": [_described(_bookkeeping(name)) for name in _BOOKKEEPING],
    }
    queries = {
        "name": QUERIES,
        "description": "Tables of the ready queries. Each is there once its query has run.",
        "database": _DATABASE,
        "schema": _QUERIES_SCHEMA,
        "config": {"freshness": _freshness()},
        "tables": [
            {
                **_described(tables.queried.table(stream.tables[0])),
                "config": {"loaded_at_query": _loaded_at([stream.name])},
            }
            for stream in map(query_stream, PRESETS.values())
        ],
    }
    return _yaml({"version": 2, "sources": [data, queries, book]})


def models() -> str:
    """Return the file that describes and tests the staging models."""
    tables = Tables(DATA)
    found = [
        _model(f"stg_posthog__{name}", tables.data[name], spec)
        for name, spec in TABLE_SPECS.items()
    ]
    found += [_model(f"stg_posthog_etl__{name}", _bookkeeping(name), None) for name in _BOOKKEEPING]
    return _yaml({"version": 2, "models": found})


def staging_sql() -> Mapping[str, str]:
    """Return the staging models by file name."""
    tables = Tables(DATA)
    found = {f"stg_posthog__{name}.sql": _select(DATA, tables.data[name]) for name in TABLE_SPECS}
    for name in _BOOKKEEPING:
        found[f"stg_posthog_etl__{name}.sql"] = _select(BOOK, _bookkeeping(name))
    return found


def files() -> Mapping[str, str]:
    """Return all files that are made, by name."""
    return {"_sources.yml": sources(), "_models.yml": models(), **staging_sql()}


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return the exit code."""
    made = files()
    there = {path.name for path in STAGING.iterdir()}
    stale = [
        name
        for name, text in made.items()
        if name not in there or (STAGING / name).read_text(encoding="utf-8") != text
    ]
    surplus = sorted(there - made.keys())
    check = "--check" in arguments
    for name in (*stale, *surplus):
        if not check and name in made:
            (STAGING / name).write_text(made[name], encoding="utf-8")
        elif not check:
            (STAGING / name).unlink()
        done = "written" if name in made else "deleted"
        said = "is stale: run `make docs`" if check else done
        sys.stdout.write(f"dbt/models/staging/{name} {said}\n")
    return 1 if check and (stale or surplus) else 0


def _freshness() -> dict[str, Any]:
    return {
        f"{what}_after": {
            "count": f"{{{{ var('posthog_{what}_after_hours', {hours}) | int }}}}",
            "period": "hour",
        }
        for what, hours in (("warn", 6), ("error", 24))
    }


def _filling(table: str) -> Sequence[str]:
    return [
        stream.name
        for stream in STREAMS.values()
        if any(spec.name == table for spec in stream.tables)
    ]


def _loaded_at(streams: Sequence[str]) -> str:
    return _LOADED_AT.format(
        schema=_BOOK_SCHEMA,
        streams=", ".join(f"'{name}'" for name in streams),
        units=", ".join(f"'{unit}'" for unit in (*OF_VERIFY, REJECTS)),
        off="{{ var('posthog_streams_off', '') }}",
        projects="{{ var('posthog_projects', '') }}",
    )


def _views() -> Mapping[str, tuple[str, Mapping[str, str], str]]:
    found: Mapping[str, tuple[str, Mapping[str, str], str]]
    found = runpy.run_path(str(PAGES))["views"]()
    return found


def _view(name: str, about: str, columns: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "description": about,
        # It is as fresh as the tables that it is made of.
        "config": {"freshness": None},
        "columns": [{"name": column, "description": said} for column, said in columns.items()],
    }


def _bookkeeping(name: str) -> Table:
    tables = Tables(DATA)
    return tables.metadata.tables[f"{tables.bookkeeping}.{name}"]


def _shown(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in _LEFT_OUT]


def _described(table: Table) -> dict[str, Any]:
    return {
        "name": str(table.name),
        "description": table.comment,
        "columns": [
            {"name": str(column.name), "quote": True, "description": column.comment}
            for column in table.columns
        ],
    }


def _model(name: str, table: Table, spec: TableSpec | None) -> dict[str, Any]:
    key = [str(column.name) for column in table.primary_key.columns]
    living = " Without rows that are gone at the source." if spec is not None else ""
    columns = [
        {
            "name": str(column.name),
            "quote": True,
            "description": column.comment,
            **({"data_tests": ["not_null"]} if column.name in key else {}),
        }
        for column in table.columns
        if column.name in _shown(table)
    ]
    return {
        "name": name,
        "description": f"{table.comment}{living}",
        "data_tests": [{"posthog_unique_together": {"arguments": {"columns": key}}}],
        "columns": columns,
    }


def _select(source: str, table: Table) -> str:
    columns = ",\n".join(f'    "{name}"' for name in _shown(table))
    lines = [
        f"-- {_MADE}",
        "select",
        columns,
        f"from {{{{ source('{source}', '{table.name}') }}}}",
    ]
    if "_deleted_at" in table.columns:
        lines.append("where _deleted_at is null")
    return "\n".join(lines) + "\n"


def _yaml(document: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return f"# {_MADE}\n{text}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
