"""The HTTP routes of the status page: GET and HEAD only. And the look of the login form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web

from etl.app import Destination
from etl.errors import DestinationError
from etl.logs import Redactor
from etl.service.access import LoginPage
from etl.service.page.filters import BadFilter, Given
from etl.service.page.look import Look
from etl.service.page.render import STATIC, Renderer, static
from etl.service.page.words import iso
from etl.settings import Settings

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def routes(
    destination: Destination, settings: Settings, ticks: Mapping[str, datetime]
) -> Sequence[web.RouteDef]:
    """Return the page's routes. `destination` stays open as long as they are served.

    ticks: when each schedule ticks next; looked into each time.

    While the database does not answer, the page says so, with status 503.
    """
    views = _Views(
        Look(destination, settings, ticks),
        Renderer(Redactor(*settings.secret_texts), guarded=settings.serve_token is not None),
    )
    # Without an expression of its own a part of the path may hold no braces.
    stream = "{project}/{stream:[^/]+}"
    return [
        web.get("/", views.overview),
        web.get("/live", views.live),
        web.get("/runs", views.runs),
        web.get("/live/runs", views.live_runs),
        web.get("/runs/{id}", views.run),
        web.get("/live/runs/{id}", views.live_run),
        web.get(f"/streams/{stream}", views.stream),
        web.get(f"/live/streams/{stream}", views.live_stream),
        web.get("/rejects", views.rejects),
        web.get("/static/{name}", views.static),
    ]


def login_page(settings: Settings) -> LoginPage:
    """Return what makes the login page."""
    renderer = Renderer(Redactor(*settings.secret_texts))

    def page(root: str, wanted: str, said: str | None, status: int) -> web.Response:
        return _html(renderer.login(root, wanted, said), status=status)

    return page


class _Views:
    def __init__(self, look: Look, renderer: Renderer) -> None:
        self._look = look
        self._renderer = renderer
        self._static = {name: static(name) for name in STATIC}

    async def overview(self, request: web.Request) -> web.StreamResponse:
        return await self._overview(request, live=False)

    async def live(self, request: web.Request) -> web.StreamResponse:
        return await self._overview(request, live=True)

    async def run(self, request: web.Request) -> web.StreamResponse:
        return await self._run(request, live=False)

    async def live_run(self, request: web.Request) -> web.StreamResponse:
        return await self._run(request, live=True)

    async def runs(self, request: web.Request) -> web.StreamResponse:
        return await self._runs(request, live=False)

    async def live_runs(self, request: web.Request) -> web.StreamResponse:
        return await self._runs(request, live=True)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, live=False)

    async def live_stream(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, live=True)

    async def rejects(self, request: web.Request) -> web.StreamResponse:
        try:
            page = await self._look.rejects(_given(request))
        except BadFilter as exc:
            return self._bad_filter(exc, "rejects", "", live=False)
        except DestinationError as exc:
            return self._database_away(exc, "", live=False)
        return _answer(request, self._renderer.rejects(page), page.at)

    async def static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in STATIC:
            return self._nothing_here("../")
        return web.Response(
            body=self._static[name], content_type=STATIC[name], charset="utf-8", headers=HEADERS
        )

    async def _overview(self, request: web.Request, *, live: bool) -> web.StreamResponse:
        try:
            overview = await self._look.overview()
        except DestinationError as exc:
            return self._database_away(exc, "", live=live)
        return _answer(request, self._renderer.overview(overview, live=live), overview.at)

    async def _run(self, request: web.Request, *, live: bool) -> web.StreamResponse:
        try:
            page = await self._look.run(request.match_info["id"])
        except DestinationError as exc:
            return self._database_away(exc, "../", live=live)
        if page is None:
            return self._nothing_here("../")
        return _answer(request, self._renderer.run(page, live=live), page.run["now"])

    async def _runs(self, request: web.Request, *, live: bool) -> web.StreamResponse:
        try:
            page = await self._look.runs(_given(request))
        except BadFilter as exc:
            return self._bad_filter(exc, "runs", "", live=live)
        except DestinationError as exc:
            return self._database_away(exc, "", live=live)
        return _answer(request, self._renderer.runs(page, live=live), page.at)

    async def _stream(self, request: web.Request, *, live: bool) -> web.StreamResponse:
        root, project, name = "../../", request.match_info["project"], request.match_info["stream"]
        try:
            page = await self._look.stream(project, name, _given(request))
        except BadFilter as exc:
            return self._bad_filter(exc, "", root, live=live)
        except DestinationError as exc:
            return self._database_away(exc, root, live=live)
        if page is None:
            said = f"Project {project} has no stream {name!r} that is configured and has run."
            return _html(self._renderer.error_page("Not found", said, root=root), status=404)
        return _answer(request, self._renderer.stream(page, live=live), page.at)

    def _bad_filter(
        self, exc: BadFilter, page: str, root: str, *, live: bool
    ) -> web.StreamResponse:
        title = "This cannot be shown"
        text = self._renderer.error_page(title, str(exc), root=root, live=live, again=page)
        return _html(text, status=400)

    def _database_away(self, exc: DestinationError, root: str, *, live: bool) -> web.StreamResponse:
        title = "The database cannot be read"
        text = self._renderer.error_page(title, str(exc), root=root, live=live)
        return _html(text, status=503)

    def _nothing_here(self, root: str) -> web.StreamResponse:
        said = "There is no such page, or the run is so old that it was removed."
        return _html(self._renderer.error_page("Not found", said, root=root), status=404)


def _given(request: web.Request) -> Given:
    """Return the filters of the address."""
    return tuple(request.query.items())


def _answer(request: web.Request, text: str, at: datetime) -> web.StreamResponse:
    """Answer with `text`, or with 304 if the browser has the same text."""
    tag = hashlib.sha256(text.encode()).hexdigest()[:32]
    if any(known.value == tag for known in request.if_none_match or ()):
        response = web.Response(status=304, headers=HEADERS)
    else:
        response = _html(text)
        response.enable_compression()
    response.etag = tag
    # Sent as a header: in the text it would change every answer.
    response.headers["X-As-Of"] = iso(at)
    return response


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)
