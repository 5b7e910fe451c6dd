"""The status page in a real browser: with and without JavaScript, for eyes, ears and fingers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.books import until
from tests.support.browser import TAB, Browser, missing, open_browser
from tests.support.command import Command
from tests.support.page import WINDOWS, books_of, put_trouble, served_page
from tests.support.postgres import Databases, database_of
from tests.support.serving import serving
from tests.support.sql import select

pytestmark = pytest.mark.skipif(
    bool(missing()),
    reason=f"not there: {', '.join(missing())} (on Debian: apt-get install chromium "
    "chromium-driver), so nothing was tested in a browser",
)

TOKEN = "a-token-that-is-long-enough"
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>" + "long" * 60
WIDTHS = (320, 390, 768, 1000, 1160, 1280)
# Enough for text of any size (WCAG 2.2, 1.4.3).
CONTRAST = 4.5

# A library that finds what keeps people out: of contrast, names, roles, order.
AXE = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
LOOKS = (Path(__file__).parents[1] / "support" / "looks.js").read_text(encoding="utf-8")


@dataclass
class Page:
    """A served page with the runs on it, and the browser that looks at it."""

    browser: Browser
    url: str
    dsn: str
    runs: dict[str, str]

    async def go(self, path: str = "/") -> None:
        """Load a page of it."""
        await self.browser.go(self.url + path)

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Return what a function of looks.js says of the page."""
        given = ", ".join(map(json.dumps, arguments))
        return await self.browser.evaluate(f"{LOOKS}.{name}({given})")

    async def text(self, of: str = "main") -> str:
        """Return the text of an element, blanks put together."""
        found = await self.browser.evaluate(f"document.querySelector({of!r}).textContent")
        return " ".join(found.split())

    async def shows(self, words: str, *, by_itself: bool = False) -> None:
        """Return once `words` are in the content; at once looked for, as when a tab is opened."""

        async def there() -> bool:
            if not by_itself:
                await self.look()
            return words in await self.text()

        await until(there, f"the page shows {words!r}", within_s=20)

    async def look(self) -> None:
        """Let the page look again, as one does that is turned to."""
        await self.browser.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    @property
    def paths(self) -> list[str]:
        """Every kind of page there is."""
        shown = ("rejected", "window", "hostile")
        runs = [f"/runs/{self.runs[name]}" for name in shown]
        streams = [f"/streams/1/{name}" for name in (WINDOWS, "insights")]
        return ["/", *runs, *streams, "/runs?since=30d", "/rejects", *self.lost]

    @property
    def lost(self) -> list[str]:
        """Addresses of nothing; the browser says so, too."""
        return ["/runs/none", "/runs?stream=insight"]


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests here."""
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def troubled(browser: Browser, databases: Databases, template: str) -> AsyncIterator[Page]:
    """A page with one of everything that can be wrong, and texts that mean no good."""
    dsn = await databases.create_database(template)
    async with books_of(dsn) as books:
        runs = await put_trouble(books)
        runs["hostile"] = await books.run("playlists", "failed", unit=HOSTILE, reason=HOSTILE)
    async with served_page(dsn, alerts_webhook_url="http://127.0.0.1:9/alerts") as url:
        yield Page(browser, url, dsn, runs)
    await databases.drop_database(dsn)


async def as_new(browser: Browser) -> None:
    """Put the browser into the state that every test begins with."""
    await browser.scripts(on=True)
    await browser.resize(1280)
    await browser.prefer(color_scheme="light")
    await browser.complaints()


@pytest_asyncio.fixture
async def trouble(troubled: Page) -> Page:
    """The page of the troubled database, in a browser as new."""
    await as_new(troubled.browser)
    return troubled


@pytest_asyncio.fixture
async def page(browser: Browser, dsn: str) -> AsyncIterator[Page]:
    """The page of an empty database, in a browser as new."""
    await as_new(browser)
    async with served_page(dsn) as url:
        yield Page(browser, url, dsn, {})
        await browser.go("about:blank")


# --- with and without JavaScript --------------------------------------------------------------


async def test_the_page_is_complete_without_javascript(trouble: Page) -> None:
    """It has the same text as with it, but for what only a script can do."""
    await trouble.browser.scripts(on=False)
    for path in trouble.paths:
        await trouble.go(path)
        assert not await trouble.browser.evaluate("'looked' in main.dataset || !pause.hidden")
        without = await trouble.text()
        if path == "/":
            assert "9 streams failed" in without.replace("2 of ", "")
            assert "The key lacks the scope subscription:read" in without
            assert "goes on at" in without
            assert "At this pace all that is missing" in without
            assert "not known complete" in without
            assert "failed groups of project 1, since" in without
            assert "0 left of 60 an hour" in without
            assert "next sync in 3.1 d, at " in without
        await trouble.browser.scripts(on=True)
        await trouble.go(path)
        with_script = await trouble.text()
        await trouble.browser.scripts(on=False)
        # Lengths of time have gone on meanwhile.
        assert blurred(with_script) == blurred(without)


def blurred(text: str) -> str:
    """Return `text` without its numbers."""
    return re.sub(r"\d[\d,.:]*( s| min| h)?", "#", text)


async def test_the_browser_has_nothing_to_complain_about(trouble: Page) -> None:
    """No error, no violation of the policy, on any page; of one that is not there its 404."""
    for scheme in ("light", "dark"):
        await trouble.browser.prefer(color_scheme=scheme)
        for path in trouble.paths:
            await trouble.go(path)
            complaints = await trouble.browser.complaints()
            if path in trouble.lost:
                complaints = [said for said in complaints if not re.search("40[04]", said)]
            assert complaints == []


async def test_what_is_hostile_does_nothing(trouble: Page) -> None:
    """Neither as an element, nor would the policy let it."""
    for path in ("/", f"/runs/{trouble.runs['hostile']}"):
        await trouble.go(path)
        assert "<script>document.title" in await trouble.text()
        found = await trouble.browser.evaluate(
            "[document.title === 'taken', document.querySelectorAll('img, main script').length]"
        )
        assert found == [False, 0]
        assert await trouble.ask("intrude") == [None, False]
        assert len(await trouble.browser.complaints()) == 2


async def test_the_page_follows_what_happens(page: Page) -> None:
    """A run begins, ends, and another fails, without a reload; the reader's place stays."""
    await page.go()
    await page.shows("Nothing has run yet")
    await page.browser.evaluate("void (window.marker = 1)")
    async with books_of(page.dsn) as books:
        run = await books.run(status="running", ago_s=1)
        await page.shows("1 stream running, first load under way")
        await page.browser.press(TAB)
        await page.browser.evaluate(f"document.querySelector('#bar-{run} a').focus()")
        await page.browser.evaluate("document.querySelector('details').open = true")
        await books.end(run, records_read=77, requests=5)
        await page.shows("The only stream succeeded", by_itself=True)
        await books.run(status="failed", ago_s=0, reason="Something broke: 42")
        await page.shows("Something broke: 42")
        kept = "[window.marker, document.querySelector('details').open]"
        assert await page.browser.evaluate(kept) == [1, True]
        assert await page.ask("focus") == [f"runs/{run}", True]
        assert await page.browser.evaluate("document.querySelectorAll('.bar.failed').length") == 2
        assert "1 of 1 stream failed" in await page.text("[role=status] h1")
        await page.browser.evaluate(f"document.querySelector('#stream-1-{WINDOWS}').click()")
        await page.shows(f"{WINDOWS}: failed")
        await page.browser.evaluate("void (window.marker = 1)")
        await page.browser.evaluate("document.querySelector('details').open = true")
        await books.run(ago_s=-1, requests=4321)
        await page.shows(f"{WINDOWS}: succeeded")
        assert await page.browser.evaluate(kept) == [1, True]
        for path in ("/runs", f"/runs?stream={WINDOWS}&status=succeeded"):
            await page.go(path)
            assert "4,321" in await page.text()
    assert await page.browser.complaints() == []


async def test_a_real_sync_appears_on_the_page(page: Page, command: Command) -> None:
    """From the sandbox into the same database, while somebody looks."""
    await page.go()
    result = await command.run("sync")
    assert result.code == 0, result.err
    await page.shows("The only stream succeeded")
    # Rows are counted anew every ten seconds.
    await page.shows("300")
    noted = await select(
        page.dsn,
        "SELECT r.complete_until = upper(w.complete) AS all_of_it FROM posthog_etl.runs AS r "
        "JOIN posthog_etl.watermarks AS w USING (project_id, stream)",
    )
    assert [row["all_of_it"] for row in noted] == [True]
    await page.go(f"/streams/1/{WINDOWS}?over=1d")
    text = await page.text()
    assert re.search(r"lag: [\d.]+ s to [\d.]+ s, in the end", text)
    assert re.search(r"inserted: 0 rows to [\d,]+ rows", text)
    assert await page.browser.complaints() == []


async def test_updates_can_be_paused(page: Page) -> None:
    """What moves by itself must be stoppable (WCAG 2.2, 2.2.2)."""
    await page.go()
    await page.browser.evaluate("pause.click()")
    assert await page.text("#pause") == "Go on updating"
    async with books_of(page.dsn) as books:
        await books.run()
    # A look that is asked for while paused is none.
    await page.look()
    assert "Nothing has run yet" in await page.text()
    await page.browser.evaluate("pause.click()")
    await page.shows("The only stream succeeded")


async def test_a_database_that_is_away_is_said_and_the_page_comes_back(
    page: Page, databases: Databases
) -> None:
    """What was there stays to be read meanwhile."""
    async with books_of(page.dsn) as books:
        await books.run()
    await page.go()
    name = database_of(page.dsn)
    allow = f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {{}}'
    await select(databases.dsn, allow.format("false"))
    await select(
        databases.dsn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        name,
    )

    async def said() -> bool:
        await page.look()
        return "cannot be read" in await page.text("#lost")

    async def well() -> bool:
        await page.look()
        return await page.text("#lost") == ""

    await until(said, "the page says that the database is away", within_s=20)
    assert "The only stream succeeded" in await page.text()
    await select(databases.dsn, allow.format("true"))
    await until(well, "the page is back", within_s=40)


# --- for eyes ---------------------------------------------------------------------------------


async def test_nothing_is_wider_than_the_window(trouble: Page) -> None:
    """Down to the narrowest phone."""
    for width in WIDTHS:
        await trouble.browser.resize(width)
        for path in trouble.paths:
            await trouble.go(path)
            found = await trouble.ask("wide")
            assert found == [width, []], (width, path)


async def test_light_and_dark_differ_and_both_can_be_read(trouble: Page) -> None:
    """Every text stands out from what is behind it, whatever its colour."""
    grounds = set()
    for scheme in ("light", "dark"):
        await trouble.browser.prefer(color_scheme=scheme)
        for path in trouble.paths:
            await trouble.go(path)
            found = await trouble.ask("faint", CONTRAST)
            assert found["seen"] >= 5
            assert found["faint"] == [], (scheme, path)
            grounds.add(
                await trouble.browser.evaluate("getComputedStyle(document.body).backgroundColor")
            )
    assert len(grounds) == 2


async def test_nothing_moves_for_who_prefers_that(trouble: Page) -> None:
    """What runs breathes for everybody else."""
    await trouble.go()
    assert await trouble.ask("moving") > 0
    await trouble.browser.prefer(reduced_motion="reduce")
    assert await trouble.ask("moving") == 0


async def test_an_outcome_shows_without_its_colour(trouble: Page) -> None:
    """Bars and days of different states differ in shape, too."""
    await trouble.go()
    assert await trouble.ask("shapes", ".key .bar") == 5
    assert await trouble.ask("shapes", ".calendar .legend .day") == 4


# --- for fingers ------------------------------------------------------------------------------


async def tabbed(page: Page, limit: int = 1000) -> list[str]:
    """Press Tab through the page; return where it stopped, each with a focus that can be seen."""
    stops: list[str] = []
    while len(stops) < limit:
        await page.browser.press(TAB)
        found = await page.ask("focus")
        if found is None:
            return stops

        async def seen() -> bool:
            return bool((await page.ask("focus"))[1])  # once it is scrolled to

        if not found[1]:
            await until(seen, f"the focus is seen at {found[0]}", within_s=5)
        stops.append(found[0])
    raise AssertionError(f"Tab goes on for ever: {stops[-10:]}")


async def test_tab_reaches_everything_without_javascript(trouble: Page) -> None:
    """In the order in which it stands; the way past the head comes first."""
    await trouble.browser.scripts(on=False)
    for path in ("/", f"/runs/{trouble.runs['forbidden']}"):
        await trouble.go(path)
        stops = await tabbed(trouble)
        assert stops == await trouble.ask("reachable", False)
        assert stops[0] == "#main"


async def test_tab_stops_once_at_a_row_of_bars_and_arrows_go_on(trouble: Page) -> None:
    """At the newest one; so the way through the page is short."""
    for path in ("/", f"/runs/{trouble.runs['forbidden']}"):
        await trouble.go(path)
        stops = await tabbed(trouble)
        assert stops == await trouble.ask("reachable", True)
        bars = await trouble.browser.evaluate(
            "[...document.querySelector('[data-roving]').querySelectorAll('a')].map((a) => a.href)"
        )
        await trouble.browser.evaluate(
            "document.querySelector('[data-roving] [tabindex=\"0\"]').focus()"
        )
        reached = []
        for _ in bars:
            reached.append(await trouble.browser.evaluate("document.activeElement.href"))
            await trouble.browser.press(
                {"key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37}
            )
        assert reached == bars[::-1]


async def test_a_click_on_a_bar_shows_its_run(trouble: Page) -> None:
    """And from there the way leads back to its stream."""
    await trouble.go()
    run = trouble.runs["rejected"]
    await trouble.browser.evaluate(f"document.querySelector('#bar-{run} a').click()")
    await trouble.shows("What happened")
    assert await trouble.browser.evaluate("location.pathname") == f"/runs/{run}"
    text = await trouble.text()
    assert "insights: partial" in text
    assert "1 rejected: click_count: not a number" in text
    await trouble.browser.evaluate("document.querySelector('nav a').click()")
    await trouble.shows("Needs a look")
    assert await trouble.browser.evaluate("location.hash") == "#line-1-insights"
    assert await trouble.browser.evaluate("document.querySelector(location.hash) !== null")


# --- for ears ---------------------------------------------------------------------------------


async def tree_of(page: Page) -> list[dict[str, Any]]:
    """Return what a screen reader is told: role, name and properties of each node."""
    nodes = (await page.browser.cdp("Accessibility.getFullAXTree"))["nodes"]
    return [
        {
            "role": node["role"]["value"],
            "name": node.get("name", {}).get("value", "").strip(),
            **{p["name"]: p["value"].get("value") for p in node.get("properties", ())},
        }
        for node in nodes
        if not node["ignored"]
    ]


async def test_a_screen_reader_is_told_everything(trouble: Page) -> None:
    """Landmarks, one h1, headings without gaps, names for all that can be used or is a picture."""
    for width in (320, 1280):
        await trouble.browser.resize(width)
        for path in trouble.paths:
            await trouble.go(path)
            tree = await tree_of(trouble)
            roles = [node["role"] for node in tree]
            assert [roles.count(role) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
            levels = await trouble.ask("headings")
            assert levels.count(1) == 1
            assert levels[0] == 1
            assert all(after - before <= 1 for before, after in pairwise(levels))
            assert roles.count("heading") == len(levels)
            nameless = [
                node
                for node in tree
                if node["role"]
                in ("link", "button", "image", "img", "heading", "table", "region", "columnheader")
                and not node["name"]
            ]
            assert nameless == []
            lang = "[document.documentElement.lang, document.title.length > 15]"
            assert await trouble.browser.evaluate(lang) == ["en", True]
            assert await trouble.ask("doubledIds") == []


async def test_tables_are_tables_at_every_width(trouble: Page) -> None:
    """Also where they look like cards: rows, headers of columns and rows, cells."""
    for width in (320, 1280):
        await trouble.browser.resize(width)
        await trouble.go()
        tree = await tree_of(trouble)
        tables = [node["name"] for node in tree if node["role"] == "table"]
        assert [name.split(":")[0] for name in tables] == [
            "Streams of project 1",
            "Streams of project 2",
        ]
        streams = [node["name"] for node in tree if node["role"] == "rowheader"]
        assert streams[0] == WINDOWS
        assert len(streams) == 9
        assert [node["role"] for node in tree].count("columnheader") == 16
        assert [node["role"] for node in tree].count("cell") == 9 * 7


async def faults(page: Page) -> list[str]:
    """Return what axe-core calls serious or worse, each with the first element it is about."""
    await page.browser.evaluate(AXE + ";0")
    found = await page.browser.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_axe_finds_nothing_serious_on_any_page(
    trouble: Page, width: int, scheme: str
) -> None:
    """Parts that fold are opened, so that what is in them counts."""
    await trouble.browser.resize(width)
    await trouble.browser.prefer(color_scheme=scheme)
    for path in trouble.paths:
        await trouble.go(path)
        await trouble.browser.evaluate(
            "document.querySelectorAll('details').forEach(d => d.open = 1)"
        )
        assert await faults(trouble) == [], path


async def test_bars_and_days_have_words(trouble: Page) -> None:
    """Each bar says how its run ended and how long it took; each month which days are missing."""
    await trouble.go()
    tree = await tree_of(trouble)
    links = [node["name"] for node in tree if node["role"] == "link"]
    bars = [name for name in links if re.search(r" read(, \d+ rejected)?$", name)]
    assert len(bars) == await trouble.browser.evaluate("document.querySelectorAll('a.bar').length")
    assert any(re.fullmatch(r"partial, .* UTC, 20 s, 400 read, 2 rejected", name) for name in bars)
    months = [node["name"] for node in tree if node["role"] in ("image", "img")]
    assert any(re.search(r"20\d\d: .*missing: \d+ to \d+", name) for name in months)


# --- the login form -----------------------------------------------------------------------------


async def test_who_logs_in_sees_the_page_that_was_wanted_until_logged_out(
    page: Page, command: Command
) -> None:
    """Without JavaScript; the form has a label, the cookie is not for scripts."""
    guarded = command.with_settings(
        POSTHOG_ETL_SERVE_TOKEN=TOKEN,
        POSTHOG_ETL_SCHEDULE="0 0 1 1 *",
        POSTHOG_ETL_AUTO_MIGRATE="0",
    )
    browser = page.browser
    await browser.scripts(on=False)
    async with serving(guarded) as service:
        at = Page(browser, service.url, page.dsn, {})
        await at.go("/runs?stream=insights")
        assert await at.text("h1") == "Log in"
        assert await browser.evaluate("document.querySelector('label').control.name") == "token"
        await browser.submit(token="wrong")
        assert await at.text("[role=alert]") == "That is not the token."
        await browser.submit(token=TOKEN)
        assert await browser.evaluate("location.pathname + location.search") == (
            "/runs?stream=insights"
        )
        assert "Runs" in await at.text("h1")
        assert await browser.evaluate("document.cookie") == ""
        await browser.submit(form="footer form")
        assert await at.text("h1") == "Log in"
        await browser.scripts(on=True)
        await at.go()
        assert await at.text("h1") == "Log in"
        assert await faults(at) == []
