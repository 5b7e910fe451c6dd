"""Personal API keys: which keys the sandbox accepts, and what each may do."""

import hashlib
from dataclasses import dataclass, field

from aiohttp import web

from etl.sandbox.clock import HOUR_US, Clock
from etl.sandbox.errors import forbidden, unauthorized
from etl.sandbox.options import SandboxOptions


def fingerprint(key: str) -> str:
    """Return a short hash by which the request log distinguishes keys without storing them."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


@dataclass(slots=True)
class Key:
    """A personal API key.

    scopes: what it may do; `*` is everything.
    projects: the ids of the projects that it may read; None is all.
    """

    text: str = field(repr=False)
    scopes: tuple[str, ...] = ("*",)
    projects: tuple[int, ...] | None = None
    active: bool = True
    created_us: int = 0
    last_used_us: int | None = None

    def allows(self, scope: str) -> bool:
        """Tell whether the key has this scope. A write scope includes read; `*` includes all."""
        resource, _, action = scope.partition(":")
        wanted = {"*", scope} | ({f"{resource}:write"} if action == "read" else set())
        return not wanted.isdisjoint(self.scopes)


async def sent_key(request: web.Request) -> tuple[str, str] | None:
    """Return the first key found and its place: header, body field or query, in this order.

    Source: PostHog source, auth.py.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip(), "Authorization header"
    if request.can_read_body and "json" in request.content_type:
        try:
            body = await request.json()
        except ValueError:
            body = None
        if isinstance(body, dict) and body.get("personal_api_key"):
            return str(body["personal_api_key"]), "body"
    if "personal_api_key" in request.query:
        return request.query["personal_api_key"], "query string"
    return None


class Keys:
    """The keys that the sandbox knows."""

    def __init__(self, options: SandboxOptions, clock: Clock) -> None:
        """Hold the key of the options, which has every scope."""
        self._clock = clock
        self._flavour = options.flavour
        self._keys: dict[str, Key] = {}
        self.put(Key(options.key))

    def put(self, key: Key) -> None:
        """Add a key, or replace the one with the same text."""
        key.created_us = self._clock.now_us()
        self._keys[key.text] = key

    async def authenticate(self, request: web.Request) -> Key:
        """Return the key of a request. Raises ApiError 401."""
        sent = await sent_key(request)
        if sent is None:
            raise unauthorized("not_authenticated", "Authentication credentials were not provided.")
        text, place = sent
        key = self._keys.get(text)
        if key is None and self._flavour == "docs":
            error = unauthorized("invalid_personal_api_key", "The provided API key is invalid.")
            del error.body["attr"]
            raise error
        if key is None:
            raise unauthorized(
                "authentication_failed",
                f"Personal API key found in request {place} is invalid.",
            )
        if not key.active:
            raise unauthorized("authentication_failed", "User inactive or deleted.")
        now_us = self._clock.now_us()
        if key.last_used_us is None or now_us - key.last_used_us > HOUR_US:
            key.last_used_us = now_us
        return key


def authorize(key: Key, scope: str | None, project: int | None) -> None:
    """Raise ApiError 403 unless the key has this scope and may read this project.

    Several scopes have a space between. A scope of None is refused to every key; an empty one needs
    no scope.
    """
    if project is not None and key.projects is not None and project not in key.projects:
        raise forbidden(f"API key does not have access to the requested project: ID {project}.")
    if scope is None:
        raise forbidden("This action does not support personal API key access")
    for each in scope.split():
        if not key.allows(each):
            raise forbidden(f"API key missing required scope '{each}'")
