"""Take the picture of the status page: sync from a sandbox and open the page.

    python docs/page_picture.py

Needs Chromium and chromedriver. It uses its own database and removes it afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import running
from etl.streams import STREAMS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.browser import open_browser  # noqa: E402
from tests.support.command import Command  # noqa: E402
from tests.support.page import served_page  # noqa: E402
from tests.support.postgres import run_databases  # noqa: E402

PICTURE = ROOT / "docs" / "status-page.png"
WIDTH, HEIGHT = 1280, 1300
SYNCS = 10
BLIND_FOR = "subscriptions"
NEXT_SYNC_IN = timedelta(minutes=12)


async def take_picture() -> None:
    """Sync some months, with a key that lacks the scope of one stream; take the picture."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = (today - timedelta(days=150)).isoformat()
    options = SandboxOptions(port=0, recordings=6_000, days=120)
    with run_databases() as databases:
        dsn = await databases.create_database()
        database = Database(parse_database_url(dsn), Timeouts())
        await migrate(database, Tables("posthog"))
        await database.close()
        async with running(options) as sandbox:
            scopes = {stream.scope for stream in STREAMS.values()} - {STREAMS[BLIND_FOR].scope}
            sandbox.control.put_key("phx_blind", ["project:read", *sorted(scopes)])
            command = Command(
                sandbox.url, dsn, POSTHOG_ETL_START=start, POSTHOG_ETL_DISABLED_STREAMS=""
            )
            for turn in range(SYNCS):
                key = "phx_blind" if turn in (4, SYNCS - 1) else "phx_sandbox"
                await command.with_settings(POSTHOG_PERSONAL_API_KEY=key).run("sync")
            await command.run("verify", "--deep", "session_recordings", "groups")
            page = served_page(dsn, next_sync_in=NEXT_SYNC_IN, start=start)
            async with open_browser() as browser, page as url:
                await browser.resize(WIDTH, HEIGHT)
                await browser.go(url)
                PICTURE.write_bytes(await browser.screenshot(whole=False))


if __name__ == "__main__":
    asyncio.run(take_picture())
