"""The ceiling: the same typed rows from memory, by binary COPY and the same guarded upsert.

usage: python ceiling.py SOURCE_URL DSN cursor|offset

Fetching and typing are done first and not counted: the seconds printed are of loading alone.
"""

import asyncio
import json
import resource
import sys
import time
from datetime import UTC, datetime

import aiohttp
import asyncpg
import orjson

from etl.core.page import Page
from etl.loaders.statements import PLAN_SETTINGS, load_statements
from etl.streams.recordings import SESSION_RECORDINGS


async def batches(url, kind):
    params = {"limit": 1000}
    if kind == "cursor":
        params |= {"date_from": "2020-01-01T00:00:00Z", "date_to": "2100-01-01T00:00:00Z"}
    headers = {"Authorization": "Bearer phx_bench"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(
                f"{url}/api/projects/1/session_recordings/", params=params
            ) as answer:
                page = orjson.loads(await answer.read())
            yield SESSION_RECORDINGS.resources[0].transform(
                Page(page["results"], False, datetime.now(UTC), 0)
            )
            if not page.get("has_next") and not page.get("next"):
                return
            if kind == "cursor":
                params["after"] = page["next_cursor"]
            else:
                params["offset"] = params.get("offset", 0) + len(page["results"])


async def main(url, dsn, kind):
    rows = [batch.rows async for batch in batches(url, kind)]
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=lambda data: data[1:],
    )
    statements = {
        spec.name: load_statements(spec, "posthog", "posthog_etl")
        for spec in SESSION_RECORDINGS.tables
    }
    began, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for tables in rows:
        async with connection.transaction():
            for name, value in PLAN_SETTINGS.items():
                await connection.execute(f"SET LOCAL {name} = {value}")
            for name, table_rows in tables.items():
                statement = statements[name]
                await connection.execute(statement.create_staging)
                await connection.copy_records_to_table(
                    statement.staging,
                    schema_name="pg_temp",
                    columns=statement.columns[
                        3:
                    ],  # not the place, when it was asked for, nor the hash
                    records=table_rows,
                )
                now = datetime.now(UTC)
                source_at = [now] if statement.takes_source_at else []
                await connection.fetch(statement.upsert, 1, now, 0, len(table_rows), *source_at)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
    print(json.dumps({"seconds": time.monotonic() - began, "cpu_s": used}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
