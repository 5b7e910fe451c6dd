"""The base of the ratios: the least that moves these rows, and keeps no promise.

usage: python prototype.py SOURCE_URL DSN cursor|offset [SINCE]

aiohttp fetches pages while two connections load earlier ones, five pages a transaction: msgspec
types them, COPY stages them, an upsert takes them over. Each row keeps a hash of its record's
bytes; what has not changed is neither typed nor sent. There are no leases, checkpoints, rejects,
guards, windows or deletions, and it believes every answer.
"""

import asyncio
import sys
from datetime import datetime
from hashlib import blake2b
from operator import attrgetter

import aiohttp
import asyncpg
import msgspec
import uvloop

PAGE_ROWS = 1000
PAGES_A_BATCH = 5
LOADERS = 2
FETCHERS = 4  # only a list by offset can be fetched by several

TYPES = {
    "id": ("text", str),
    "distinct_id": ("text", str),
    "viewed": ("boolean", bool),
    "recording_duration": ("bigint", int),
    "active_seconds": ("bigint", int),
    "inactive_seconds": ("bigint", int),
    "start_time": ("timestamptz", datetime),
    "end_time": ("timestamptz", datetime),
    "click_count": ("bigint", int),
    "keypress_count": ("bigint", int),
    "mouse_activity_count": ("bigint", int),
    "console_log_count": ("bigint", int),
    "console_warn_count": ("bigint", int),
    "console_error_count": ("bigint", int),
    "start_url": ("text", str),
    "retention_period_days": ("bigint", int),
    "expiry_time": ("timestamptz", datetime),
    "snapshot_source": ("text", str),
    "snapshot_library": ("text", str),
    "ongoing": ("boolean", bool),
    "activity_score": ("float8", float),
}
PERSON_TYPES = {
    "id": ("bigint", int),
    "uuid": ("text", str),
    "name": ("text", str),
    "distinct_ids": ("text[]", list[str]),
    "properties": ("jsonb", msgspec.Raw),
    "created_at": ("timestamptz", datetime),
    "last_seen_at": ("timestamptz", datetime),
}


def struct(name, types, **more):
    fields = []
    for field, of in {**{field: of for field, (_, of) in types.items()}, **more}.items():
        raw = of is msgspec.Raw  # in no union
        fields.append((field, of, msgspec.Raw(b"null")) if raw else (field, of | None, None))
    return msgspec.defstruct(name, fields, gc=False)


PERSON = struct("Person", PERSON_TYPES)
# recording_ttl is a number on today's servers, and text in the documentation.
RECORDING = struct("Recording", TYPES, viewers=msgspec.Raw, recording_ttl=str | int, person=PERSON)
COLUMNS = [*TYPES, "viewers", "recording_ttl", "person_id", "hash"]
values_of = attrgetter(*TYPES)


class Page(msgspec.Struct):
    results: list[msgspec.Raw]
    count: int | None = None
    next_cursor: str | None = None


class Head(msgspec.Struct):
    id: str


read_page = msgspec.json.Decoder(Page).decode
read_head = msgspec.json.Decoder(Head).decode
read_recording = msgspec.json.Decoder(RECORDING).decode


def tables():
    """Return the statements that make the tables."""
    recordings = [f"{name} {kind}" for name, (kind, _) in TYPES.items()]
    persons = [f"{name} {kind}" for name, (kind, _) in PERSON_TYPES.items()]
    more = "viewers jsonb, recording_ttl text, person_id bigint, hash bytea, PRIMARY KEY (id)"
    return (
        f"CREATE TABLE IF NOT EXISTS recordings ({', '.join(recordings)}, {more});"
        f"CREATE TABLE IF NOT EXISTS persons ({', '.join(persons)}, PRIMARY KEY (id))"
    )


def upsert(table, columns):
    names = ", ".join(columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    return (
        f"INSERT INTO {table} ({names}) SELECT {names} FROM staged_{table} ORDER BY id "
        f"ON CONFLICT (id) DO UPDATE SET {changes}"
    )


async def by_cursor(session, url, since, batches):
    params = {"limit": PAGE_ROWS, "date_from": since, "date_to": "2100-01-01T00:00:00Z"}
    batch = []
    while True:
        async with session.get(url, params=params) as answer:
            page = read_page(await answer.read())
        batch.append(page.results)
        if len(batch) == PAGES_A_BATCH or page.next_cursor is None:
            await batches.put(batch)
            batch = []
        if page.next_cursor is None:
            return
        params["after"] = page.next_cursor


async def by_offset(session, url, batches):
    async def page_at(offset):
        params = {"limit": PAGE_ROWS, "offset": offset}
        async with session.get(url, params=params) as answer:
            return read_page(await answer.read())

    first = await page_at(0)
    await batches.put([first.results])
    offsets = iter(range(PAGE_ROWS, first.count, PAGE_ROWS))

    async def fetch():
        batch = []
        for offset in offsets:
            batch.append((await page_at(offset)).results)
            if len(batch) == PAGES_A_BATCH:
                await batches.put(batch)
                batch = []
        if batch:
            await batches.put(batch)

    await asyncio.gather(*(fetch() for _ in range(FETCHERS)))


async def load(pool, batches, is_empty):
    async with pool.acquire() as connection:
        for table in ("recordings", "persons"):
            await connection.execute(f"CREATE TEMP TABLE staged_{table} (LIKE {table})")
        while (batch := await batches.get()) is not None:
            raws = [raw for page in batch for raw in page]
            hashes = [blake2b(raw, digest_size=8).digest() for raw in raws]
            same = set() if is_empty else await stored(connection, raws)
            records, persons = [], {}
            for raw, hashed in zip(raws, hashes, strict=True):
                if hashed not in same:
                    recording = read_recording(raw)
                    person = recording.person
                    persons[person.id] = person
                    viewers = bytes(recording.viewers).decode()
                    ttl = str(recording.recording_ttl)
                    records.append((*values_of(recording), viewers, ttl, person.id, hashed))
            if records:
                await write(connection, records, persons.values())
        batches.put_nowait(None)  # for the other loader


async def stored(connection, raws):
    """Return the hashes of these records as they are stored."""
    rows = await connection.fetch(
        "SELECT hash FROM recordings WHERE id = ANY($1)", [read_head(raw).id for raw in raws]
    )
    return {row["hash"] for row in rows}


async def write(connection, records, persons):
    rows = [msgspec.structs.astuple(person) for person in persons]
    # The encoder of jsonb takes text.
    rows = [(*row[:4], bytes(row[4]).decode(), *row[5:]) for row in rows]
    async with connection.transaction():
        await connection.copy_records_to_table(
            "staged_recordings", records=records, columns=COLUMNS
        )
        await connection.copy_records_to_table(
            "staged_persons", records=rows, columns=[*PERSON_TYPES]
        )
        await connection.execute(upsert("persons", [*PERSON_TYPES]))
        await connection.execute(upsert("recordings", COLUMNS))
        await connection.execute("TRUNCATE staged_recordings, staged_persons")


async def main(url, dsn, kind, since="2020-01-01T00:00:00Z"):
    address = f"{url}/api/projects/1/session_recordings/"
    batches = asyncio.Queue(2)
    async with asyncpg.create_pool(dsn, min_size=LOADERS, max_size=LOADERS) as pool:
        await pool.execute(tables())
        is_empty = not await pool.fetchval("SELECT EXISTS (SELECT FROM recordings)")
        loaders = [asyncio.create_task(load(pool, batches, is_empty)) for _ in range(LOADERS)]
        headers = {"Authorization": "Bearer phx_bench"}
        async with aiohttp.ClientSession(headers=headers, read_bufsize=2**18) as session:
            if kind == "cursor":
                await by_cursor(session, address, since, batches)
            else:
                await by_offset(session, address, batches)
        await batches.put(None)
        await asyncio.gather(*loaders)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
