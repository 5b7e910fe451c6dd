"""A PostHog server whose behaviour a test can change. It does only what real servers were seen to
do.

It shares no code with the pipeline or the sandbox. Every attribute may be changed at any time.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlencode
from zlib import crc32

from aiohttp import web

from tests.adversary.foreign import Answer, Predicate, error
from tests.adversary.hogql import HogQL
from tests.adversary.rows import Piece, Recording, sharing

JSON = dict[str, Any]
Ranked = tuple[datetime, Recording, Sequence[Piece]]
_DEFAULT_ROWS = 50
_GROUPS_A_PAGE = 100
_DATES = {"date_from", "date_to"}
_KNOWN = _DATES | {
    *("limit", "offset", "session_ids", "distinct_ids", "person_uuid", "events", "actions"),
    *("properties", "console_log_filters", "having_predicates", "comment_text", "operand"),
    *("filter_test_accounts", "session_recording_id", "hide_viewed_recordings", "order"),
    "order_direction",
}
_NULL_BY_IDS = ("ongoing", "activity_score", "expiry_time", "recording_ttl")
_FORBIDDEN = "You do not have access to this resource."


@dataclass(frozen=True)
class Asked:
    """A request. path: below the project, with its last slash. number: counts from 1."""

    number: int
    path: str
    query: dict[str, str]
    http: web.Request = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass
class Stored:
    """The records of a list, in its order. hidden: keys that the key's owner may not see."""

    key: str
    rows: list[JSON] = field(default_factory=list)
    hidden: set[Any] = field(default_factory=set)

    def find(self, key: str) -> JSON | None:
        """Return the record with this key, as written in an address."""
        return next((row for row in self.rows if str(row[self.key]) == key), None)

    def is_hidden(self, key: str) -> bool:
        """Tell whether the key's owner may not see it."""
        return key in map(str, self.hidden)


@dataclass
class Adversary:
    """The server. It listens at `url`.

    envelope: the form of the recordings list: cursor (new), older (has_next, offset only),
    documented (count and next).
    dates: whether dates are honoured, ignored, or refused as unknown (the last two: documented
    only).
    clamp: the most rows per page.
    ties: how rows with equal starts are ordered: "stable", or "by offset" with `shuffle` as the
    seed.
    counts, count_off_by: whether documented lists have a count, and by how much it is wrong.
    lists_expired: which expired recordings are still listed.
    bare_ids: whether answers by ids leave fields null.
    collections: whether items of a collection come as "ids" (all at once, without limit and cursor)
    or as "pages".
    offset: how far the server's clock is off.
    skew(number): how much further the Date header of a request is off; None for no header.
    before_list: called before each list is answered.
    rewrite: changes the text of each JSON answer.
    answers: further addresses below the project, each with a document or a function.
    """

    url: str = ""
    project_id: int = 1
    envelope: str = "cursor"
    dates: str = "honoured"
    clamp: int | None = None
    ties: str = "stable"
    shuffle: int = 0
    counts: bool = True
    count_off_by: int = 0
    lists_expired: bool = False
    bare_ids: bool = False
    collections: str = "ids"
    offset: timedelta = timedelta(0)
    skew: Callable[[int], timedelta | None] = lambda _number: timedelta(0)
    before_list: list[Callable[[Asked], Any]] = field(default_factory=list)
    rewrite: Callable[[str], str] | None = None
    recordings: dict[str, Recording] = field(default_factory=dict)
    insights: Stored = field(default_factory=lambda: Stored("id"))
    subscriptions: Stored = field(default_factory=lambda: Stored("id"))
    playlists: Stored = field(default_factory=lambda: Stored("short_id"))
    secret_keys: Stored = field(default_factory=lambda: Stored("id"))
    groups: Stored = field(default_factory=lambda: Stored("group_key"))
    group_types: list[JSON] = field(default_factory=list)
    items: dict[str, list[str]] = field(default_factory=dict)
    shares: dict[str, JSON] = field(default_factory=dict)
    unshareable: set[str] = field(default_factory=set)
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    rules: list[list[Any]] = field(default_factory=list)
    hogql: HogQL = field(default_factory=HogQL)

    def __post_init__(self) -> None:
        self.hogql.clock = lambda: self.now
        self.lists = {
            "insights": self.insights,
            "subscriptions": self.subscriptions,
            "session_recording_playlists": self.playlists,
            "project_secret_api_keys": self.secret_keys,
        }
        self.answers = {
            "groups/activity/": {"results": []},
            "groups/property_definitions/": {},
            "groups/property_values/": {"results": [], "refreshing": False},
            "sessions/property_definitions/": {"count": 0, "results": []},
            "sessions/values/": {"results": [], "refreshing": False},
            **self.answers,
        }

    @property
    def now(self) -> datetime:
        """The server's clock."""
        return datetime.now(UTC) + self.offset

    def add(self, *recordings: Recording) -> None:
        """Store recordings; replace those with the same ids."""
        self.recordings.update((each.id, each) for each in recordings)

    def when(self, asked: Predicate | str, answer: Answer, times: int | None = None) -> None:
        """Give another answer to matching requests, `times` times. A text: part of the path."""
        matches = (lambda each: asked in each.path) if isinstance(asked, str) else asked
        self.rules.append([matches, answer, times])

    def asked(self, path: str = "") -> list[Asked]:
        """Return the requests for an address below the project; all requests without a path."""
        return [each for each in self.requests if path in ("", each.path)]

    @property
    def pages(self) -> list[Asked]:
        """The requests for pages of the recordings list, without requests by ids."""
        return [e for e in self.asked("session_recordings/") if "session_ids" not in e.query]

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        prefix, scope, project, path = _parts(http)
        body = await http.read()
        asked = Asked(len(self.requests) + 1, path, dict(http.query), http, body)
        self.requests.append(asked)

        def proceed() -> web.Response:
            if not http.headers.get("Authorization", "").startswith("Bearer "):
                words = "Authentication credentials were not provided."
                return error(401, "not_authenticated", words)
            found = self._answer(prefix, scope, project, asked)
            if isinstance(found, web.Response):
                return found
            text = json.dumps(found)
            text = self.rewrite(text) if self.rewrite else text
            return web.Response(text=text, content_type="application/json")

        for rule in self.rules:
            matches, answer, times = rule
            if times != 0 and matches(asked):
                rule[2] = None if times is None else times - 1
                return await answer(asked, proceed)
        return proceed()

    async def _date(self, http: web.Request, response: web.StreamResponse) -> None:
        number = next(each.number for each in reversed(self.requests) if each.http is http)
        skew = self.skew(number)
        response.headers.popall("Date", None)
        if skew is not None:
            response.headers["Date"] = f"{self.now + skew:%a, %d %b %Y %H:%M:%S GMT}"

    def _answer(self, prefix: str, scope: str, project: str, asked: Asked) -> Any:
        if (prefix, scope, project) == ("api", "personal_api_keys", "@current"):
            return {"id": "key", "label": "adversary", "scopes": ["*"], "scoped_teams": []}
        if prefix != "api" or scope not in ("projects", "environments"):
            return error(404, "not_found", "Endpoint not found.")
        if project not in (str(self.project_id), "@current"):
            return error(404, "not_found", "Project not found.")
        if not asked.path:
            return {"id": self.project_id, "name": "Adversary", "timezone": "UTC"}
        if asked.path in self.answers:
            found = self.answers[asked.path]
            return found(asked) if callable(found) else found
        name, *rest = (unquote(each) for each in asked.path.strip("/").split("/"))
        if name == "query":
            return self.hogql.answer(asked, rest)
        if asked.http.method != "GET":
            return error(405, "method_not_allowed", "Method not allowed.")
        if name == "session_recordings" and len(rest) < 2:
            return self._recording(rest[0]) if rest else self._recordings(asked)
        if name in ("session_recordings", "insights") and rest[1:] == ["sharing"]:
            return self._sharing(name, rest[0])
        if name == "groups_types" and not rest:
            return self.group_types
        if name == "groups" and rest in ([], ["find"]):
            return self._groups(asked, find=bool(rest))
        if name == "session_recording_playlists" and rest[1:] == ["recordings"]:
            return self._items(rest[0], asked)
        if name in self.lists and len(rest) < 2:
            return self._record(name, rest[0]) if rest else self._list(name, asked)
        return error(404, "not_found", "Endpoint not found.")

    # Recordings

    def _recordings(self, asked: Asked) -> Any:
        self._hooks(asked)
        known = _KNOWN | {"after"} if self.envelope == "cursor" else _KNOWN
        known = {"limit", "offset"} if self.dates == "refused" else known
        if self.dates != "ignored" and (unknown := asked.query.keys() - known):
            words = [{"type": "extra_forbidden", "loc": sorted(unknown), "msg": "Not permitted"}]
            return error(400, "invalid_input", json.dumps(words), kind="validation_error")
        ids = asked.query.get("session_ids") if self.dates == "honoured" else None
        if ids is None:
            return self._page(asked, self._ranked(asked))
        ranked = {each[1].id: each for each in self._ranked(asked, named=True)}
        found = [ranked[each] for each in dict.fromkeys(json.loads(ids)) if each in ranked]
        return self._page(asked, found, by_ids=True)

    def _ranked(self, asked: Asked, named: bool = False) -> list[Ranked]:
        """Return the listed recordings in order, each with its pieces inside the dates."""
        since, until = self._asked_dates(asked, named=named)
        found = []
        for each in self.recordings.values():
            if self.lists_expired or each.expires_at > self.now:
                pieces = [p for p in each.pieces if since <= p.start <= until]
                if pieces:
                    found.append((min(p.start for p in pieces), each, pieces))
        at = asked.query.get("offset", "0")
        if self.ties == "by offset" and not self._by_cursor(asked):
            found.sort(key=lambda r: (r[0], self._mixed(at, r[1].id)), reverse=True)
        else:
            found.sort(key=lambda r: (r[0], r[1].id), reverse=True)
        return found

    def _asked_dates(self, asked: Asked, named: bool) -> tuple[datetime, datetime]:
        first, last = (datetime(year, 1, 1, tzinfo=UTC) for year in (1900, 9999))
        if self.dates != "honoured":
            return first, last
        since = asked.query.get("date_from")
        if since is None and not (named and self.envelope == "cursor"):
            since = "-3d"
        until = asked.query.get("date_to")
        return (
            first if since is None else _instant(since, self.now),
            last if until is None else _instant(until, self.now),
        )

    def _by_cursor(self, asked: Asked) -> bool:
        return self.envelope == "cursor" and "offset" not in asked.query

    def _limit(self, asked: Asked, default: int) -> int:
        limit = int(asked.query.get("limit", default))
        limit = limit if limit > 0 else default
        return limit if self.clamp is None else min(limit, self.clamp)

    def _page(self, asked: Asked, ranked: list[Ranked], by_ids: bool = False) -> Any:
        limit, count = self._limit(asked, _DEFAULT_ROWS), len(ranked)
        at = int(asked.query.get("offset", 0))
        if (after := asked.query.get("after")) and self._by_cursor(asked):
            start, last = json.loads(base64.b64decode(after))
            ranked = [r for r in ranked if (r[0].isoformat(), r[1].id) < (start, last)]
        page, more = ranked[at : at + limit], len(ranked) > at + limit
        rows = [each.row(self.now, pieces) for _, each, pieces in page]
        if by_ids and self.bare_ids:
            rows = [{**row, **dict.fromkeys(_NULL_BY_IDS)} for row in rows]
        if self.envelope == "documented":
            return self._documented(asked, rows, at, count, limit)
        cursor = {}
        if self._by_cursor(asked) and more:
            place = json.dumps([page[-1][0].isoformat(), page[-1][1].id])
            cursor = {"next_cursor": base64.b64encode(place.encode()).decode()}
        return {"results": rows, "has_next": more, **cursor, "version": 4}

    def _recording(self, id: str) -> Any:
        each = self.recordings.get(id)
        if each is None or (each.expires_at <= self.now and not self.lists_expired):
            return error(404, "not_found", "Recording not found")
        return {**each.row(self.now), "activity_score": None}

    # Other lists

    def _list(self, name: str, asked: Asked) -> JSON:
        self._hooks(asked)
        stored = self.lists[name]
        rows = [row for row in stored.rows if not stored.is_hidden(str(row[stored.key]))]
        if name == "subscriptions":
            wanted = asked.query.get("deleted") == "true"
            rows = [row for row in rows if row["deleted"] == wanted]
        at, limit = int(asked.query.get("offset", 0)), self._limit(asked, 100)
        if self.ties == "by offset":
            rows.sort(key=lambda row: self._mixed(at, row[stored.key]))
            rows.sort(key=lambda row: row["created_at"], reverse=True)
        return self._documented(asked, rows[at : at + limit], at, len(rows), limit)

    def _documented(
        self, asked: Asked, rows: list[JSON], at: int, count: int, limit: int
    ) -> dict[str, Any]:
        further = {**asked.query, "limit": limit, "offset": at + limit}
        more = f"{self.url}{asked.http.rel_url.raw_path}?{urlencode(further)}"
        counted = {"count": count + self.count_off_by} if self.counts else {}
        following = more if at + limit < count else None
        return {**counted, "next": following, "previous": None, "results": rows}

    def _record(self, name: str, key: str) -> Any:
        if self.lists[name].is_hidden(key):
            return error(403, "permission_denied", _FORBIDDEN)
        found = self.lists[name].find(key)
        return error(404, "not_found", "Not found.") if found is None else found

    def _items(self, short_id: str, asked: Asked) -> Any:
        """Return the recordings of a playlist."""
        if isinstance(found := self._record("session_recording_playlists", short_id), web.Response):
            return found
        self._hooks(asked)
        ids = self.items.get(short_id, [])
        there = [self.recordings[id] for id in ids if id in self.recordings]
        ranked = [(each.start, each, each.pieces) for each in there]
        if self.collections == "pages":
            at = asked.query.get("offset", "0") if self.ties == "by offset" else ""
            ranked.sort(key=lambda r: (r[0], self._mixed(at, r[1].id)), reverse=True)
            return self._page(asked, ranked)
        rows = [each.row(self.now) for each in there]
        return {"results": rows, "has_next": True, "next_cursor": "c2FtZQ==", "version": 4}

    def _groups(self, asked: Asked, find: bool) -> Any:
        if "group_type_index" not in asked.query:
            return error(400, "invalid_input", "group_type_index is required")
        self._hooks(asked)
        index = int(asked.query["group_type_index"])
        rows = [row for row in self.groups.rows if row["group_type_index"] == index]
        if find:
            row = next((r for r in rows if r["group_key"] == asked.query.get("group_key")), None)
            return error(404, "not_found", "Not found.") if row is None else row
        at = int(asked.query.get("cursor") or 0)
        end = at + min(_GROUPS_A_PAGE, self.clamp or _GROUPS_A_PAGE)
        query = urlencode({**asked.query, "cursor": end})
        more = f"{self.url}{asked.http.rel_url.raw_path}?{query}" if end < len(rows) else None
        return {"next": more, "previous": None, "results": rows[at:end]}

    def _sharing(self, name: str, key: str) -> Any:
        if f"{name}/{key}" in self.unshareable:
            return error(403, "permission_denied", _FORBIDDEN)
        if name == "insights" and isinstance(found := self._record(name, key), web.Response):
            return found
        never = sharing(secrets.token_urlsafe(20), enabled=False, created_at=None)
        return self.shares.get(f"{name}/{key}", never)

    def _mixed(self, at: Any, key: Any) -> int:
        return crc32(f"{self.shuffle}/{at}/{key}".encode())

    def _hooks(self, asked: Asked) -> None:
        for hook in self.before_list:
            hook(asked)


def _parts(http: web.Request) -> tuple[str, str, str, str]:
    """Return ("api", "projects", the project, the path below it with its last slash)."""
    prefix, scope, project, *rest = [*http.rel_url.raw_path.strip("/").split("/"), "", "", ""]
    path = "/".join(rest).strip("/")
    return prefix, scope, unquote(project), f"{path}/" if path else ""


def _instant(text: str, now: datetime) -> datetime:
    """Return a date as the list reads it: an instant, or `-3d`, `-5h`."""
    if text.startswith("-"):
        return now - int(text[1:-1]) * {"d": timedelta(days=1), "h": timedelta(hours=1)}[text[-1]]
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@asynccontextmanager
async def listening(server: Adversary | None = None, **options: Any) -> AsyncIterator[Adversary]:
    """Listen on a free port until the block ends."""
    server = Adversary(**options) if server is None else server
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server._handle)
    app.on_response_prepare.append(server._date)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
