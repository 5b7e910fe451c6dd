"""The digest of Postgres is the one of Python, for any ids in any order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.coverage import Span
from etl.core.digest import Digest, Doubtful
from etl.loaders.database import Database
from etl.loaders.digest import DayDigests, ExplainedDays
from etl.loaders.leases import Unit
from etl.loaders.tables import Tables
from etl.streams.recordings import SESSION_RECORDINGS
from tests.support.sql import select

TABLE = SESSION_RECORDINGS.tables[0]
MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = [Span(MIDNIGHT + timedelta(days=n), MIDNIGHT + timedelta(days=n + 1)) for n in range(3)]
# What Postgres can store: no NUL, no half surrogates.
IDS = st.sets(
    st.one_of(
        st.uuids().map(str),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
    ),
    max_size=40,
)
INSERT = (
    "INSERT INTO posthog.session_recordings (project_id, id, start_time, expiry_time, "
    "_observed_at, _first_seen_at, _updated_at, _xid) SELECT 1, id, $2, $3, now(), now(), now(), "
    "0 FROM unnest($1::text[]) AS i (id)"
)


def digest_of(ids: Sequence[str]) -> Digest:
    """The digest as it is defined, without Postgres."""
    found = Digest(len(ids))
    for each in ids:
        digits = hashlib.md5(each.encode(), usedforsecurity=False).hexdigest()
        found = Digest(
            len(ids), found.high ^ int(digits[:16], 16), found.low ^ int(digits[16:], 16)
        )
    return found


async def stored(database: Database, now: datetime = MIDNIGHT) -> dict[Span, Digest]:
    """What Postgres says of each day."""
    return await DayDigests(database, Tables("posthog")).stored(1, TABLE, DAYS, now)


async def test_the_digest_of_postgres_is_the_one_of_python(dsn: str, database: Database) -> None:
    """Of any ids, in any order."""
    seen = list[set[str]]()

    @settings(max_examples=30)
    @given(IDS)
    def collect(ids: set[str]) -> None:
        seen.append(ids)

    collect()
    for ids in seen:
        await select(dsn, "TRUNCATE posthog.session_recordings")
        mixed = random.sample(sorted(ids), len(ids))
        await select(dsn, INSERT, mixed, MIDNIGHT + timedelta(hours=30), None)
        assert await stored(database) == ({DAYS[1]: digest_of(sorted(ids))} if ids else {})


async def test_what_is_gone_has_expired_or_has_no_start_does_not_count(
    dsn: str, database: Database
) -> None:
    """By its own expiry, and without one by the rule of the source: 30 days after its day."""
    noon = MIDNIGHT + timedelta(hours=12)
    await select(dsn, INSERT, ["alive"], noon, MIDNIGHT + timedelta(days=9))
    await select(dsn, INSERT, ["deleted", "marked"], noon, MIDNIGHT + timedelta(days=9))
    await select(dsn, INSERT, ["expired"], noon, MIDNIGHT + timedelta(days=5))
    await select(dsn, INSERT, ["by rule"], noon, None)
    await select(dsn, INSERT, ["nowhere"], None, None)
    await select(dsn, INSERT, ["outside"], MIDNIGHT - timedelta(seconds=1), None)
    table = "UPDATE posthog.session_recordings SET"
    await select(dsn, f"{table} _deleted_at = now() WHERE id = 'deleted'")
    await select(dsn, f"{table} _expired_at = now() WHERE id = 'marked'")
    at = MIDNIGHT + timedelta(days=5)
    assert await stored(database, at) == {DAYS[0]: digest_of(["alive", "by rule"])}
    assert await stored(database, at + timedelta(days=30)) == {}


async def test_what_was_explained_is_kept_until_it_is_forgotten(
    dsn: str, database: Database
) -> None:
    """With both digests, to the last bit."""
    unit, days = Unit(1, SESSION_RECORDINGS.name, "verify"), ExplainedDays(Tables("posthog"))
    first = {DAYS[0]: Doubtful(Digest(3, 2**64 - 1, 0), Digest(2, 1, 2**63))}
    second = {DAYS[0]: Doubtful(digest_of("abc"), Digest()), DAYS[2]: first[DAYS[0]]}
    digests = DayDigests(database, Tables("posthog"))
    for explained in (first, second):
        async with database.transaction() as connection:
            await days.keep(connection, unit, explained, MIDNIGHT)
        assert await digests.explained(unit) == explained
    assert await digests.explained(Unit(2, SESSION_RECORDINGS.name, "verify")) == {}
    async with database.transaction() as connection:
        await days.forget(connection, unit, [DAYS[0]])
    assert await digests.explained(unit) == {DAYS[2]: second[DAYS[2]]}
