"""Who may see what `serve` shows: whoever shows the token, in a header or by the login form.

Without a token only this machine may ask, and only under its own names. Otherwise a foreign web
page could read the answers through a name that DNS resolves to this machine (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from math import ceil
from time import monotonic

from aiohttp import web
from yarl import URL

from etl.core.source import is_own_machine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Makes the login page: what leads to the first page (`../`), where to go afterwards, what was
# wrong, and the status.
LoginPage = Callable[[str, str, str | None, int], web.Response]

HEALTHZ = "/healthz"
LOGIN, LOGOUT = "/login", "/logout"
COOKIE = "posthog_etl"
FIELD, WANTED = "token", "next"
# Bytes. A form has a token and an address.
LARGEST_FORM = 16_384
# What the login page loads; it is the same for everybody.
_STATIC = "/static/"
# Lifetime of the cookie: weeks, because people keep the page open.
_COOKIE_AGE_S = 30 * 86_400
# So many wrong tokens are looked at from one address within so many seconds.
_MOST_WRONG, _WRONG_AGE_S = 5, 60.0
# So many addresses are remembered.
_MOST_ADDRESSES = 1_000

_FOREIGN = "This form is of another site. Open the page's own address"
_WRONG = "That is not the token."
_IN_THE_ADDRESS = "A token in the address is not accepted: others could read it. Enter it here."


class Guard:
    """Accepts requests with the token: by a header, or by the cookie that the login form sets."""

    def __init__(self, token: str | None, page: LoginPage) -> None:
        self._token = None if token is None else token.encode()
        self._page = page
        self._wrong = _Wrong()
        # Derived from the token, so that browsers do not store the token itself.
        self._cookie = (
            "" if token is None else hmac.digest(token.encode(), b"cookie", hashlib.sha256).hex()
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the login form; none without a token."""
        if self._token is None:
            return []
        return [
            web.get(LOGIN, self._form),
            web.post(LOGIN, self._login),
            web.post(LOGOUT, self._logout),
        ]

    @web.middleware
    async def let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the request, or say why it is refused."""
        if request.path == HEALTHZ:
            return await handler(request)
        if self._token is None:
            if not is_own_machine(_name_of(request.host)):
                return refusal(403, "Set POSTHOG_ETL_SERVE_TOKEN to allow other names")
            return await handler(request)
        if request.path in (LOGIN, LOGOUT) or request.path.startswith(_STATIC):
            return await handler(request)
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(shown.strip()):
            return await handler(request)
        if self._has_cookie(request):
            return await handler(request)
        if "text/html" not in request.headers.get("Accept", ""):
            refused = refusal(401, "Show the token: Authorization: Bearer …")
        else:
            said = _IN_THE_ADDRESS if FIELD in request.query else None
            refused = self._page(_above(request.path), _wanted(request), said, 401)
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    async def _form(self, request: web.Request) -> web.Response:
        wanted = request.query.get(WANTED, "/")
        return self._go(wanted) if self._has_cookie(request) else self._page("", wanted, None, 200)

    async def _login(self, request: web.Request) -> web.Response:
        if not _is_own_form(request):
            return refusal(403, _FOREIGN)
        if request.content_type != "application/x-www-form-urlencoded":
            return refusal(415, "Send a form: application/x-www-form-urlencoded")
        try:
            form = await request.post()
        except (LookupError, ValueError):  # an unknown charset, or text that is not in it
            return refusal(400, "This form cannot be read")
        token, wanted = (str(form.get(name, "")) for name in (FIELD, WANTED))
        address = request.remote or ""
        if wait_s := self._wrong.wait_s(address):
            said = f"Too many wrong tokens. Try again in {wait_s} seconds."
            refused = self._page("", wanted, said, 429)
            refused.headers["Retry-After"] = str(wait_s)
            return refused
        if not self._is_token(token.strip()):
            self._wrong.add(address)
            return self._page("", wanted, _WRONG, 401)
        response = self._go(wanted)
        response.set_cookie(
            COOKIE,
            self._cookie,
            max_age=_COOKIE_AGE_S,
            httponly=True,
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
            # Not Strict: a link on another site would then come without the cookie.
            samesite="Lax",
        )
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        if not _is_own_form(request):
            return refusal(403, _FOREIGN)
        response = self._go("login")
        response.del_cookie(COOKIE)
        return response

    def _go(self, wanted: str) -> web.Response:
        """Lead to a page of this server, whatever `wanted` says.

        The address is relative, so it also holds behind a proxy that serves the page below a path.
        """
        # A path that begins with // would name another host, and one with a colon a scheme.
        inner = URL("./" + wanted.lstrip("/\\"))
        return web.Response(status=303, headers={"Location": str(inner)})

    def _is_token(self, text: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def _has_cookie(self, request: web.Request) -> bool:
        cookie = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(cookie.encode("utf-8", "replace"), self._cookie.encode())


class _Wrong:
    """The wrong tokens of the last minute, by the address they came from."""

    def __init__(self) -> None:
        self._seen = OrderedDict[str, deque[float]]()

    def add(self, address: str) -> None:
        """Note one. The addresses that were quiet for longest are forgotten."""
        self._seen.setdefault(address, deque(maxlen=_MOST_WRONG)).append(monotonic())
        self._seen.move_to_end(address)
        while len(self._seen) > _MOST_ADDRESSES:
            self._seen.popitem(last=False)

    def wait_s(self, address: str) -> int:
        """Return how long an address has to wait, in seconds; 0 if it may try."""
        seen = self._seen.get(address)
        if seen is None or len(seen) < _MOST_WRONG:
            return 0
        return max(0, ceil(seen[0] + _WRONG_AGE_S - monotonic()))


def refusal(status: int, why: str) -> web.Response:
    """Return an answer of one line."""
    return web.Response(status=status, text=why + "\n")


def _is_own_form(request: web.Request) -> bool:
    """Tell whether a form was sent from a page of this server, or by a program.

    Browsers send one of these headers with each form, and pages cannot forge them. On plain HTTP
    under another name it is Origin alone, which is `null` if the page may send no referrer: so the
    policy of our pages is same-origin.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def _above(path: str) -> str:
    """Return what leads from a page to the first one: `../` for each step."""
    return "../" * (path.count("/") - 1)


def _wanted(request: web.Request) -> str:
    """Return the page that was asked for, without a token."""
    rest = [(name, value) for name, value in request.query.items() if name != FIELD]
    return str(request.rel_url.with_query(rest or None))


def _name_of(host: str) -> str:
    try:
        return URL(f"http://{host}").host or ""
    except ValueError:
        return ""
