"""What an endpoint of the API is, and the steps of every request to one."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from aiohttp import web

from etl.sandbox.auth import Key, authorize
from etl.sandbox.clock import to_datetime
from etl.sandbox.errors import ApiError, method_not_allowed, not_found
from etl.sandbox.faults import NO_FAULT, Fault
from etl.sandbox.state import State
from etl.sandbox.store import Store
from etl.sandbox.tenants import Tenant

STATE = web.AppKey("state", State)
FAULT = web.RequestKey("fault", Fault)
CLASSES = web.RequestKey("classes", tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was authorized."""

    request: web.Request
    state: State
    key: Key
    fault: Fault
    now_us: int
    tenant: Tenant | None
    """The project of the address; None for addresses without one."""

    @property
    def project(self) -> Tenant:
        """The project, for endpoints that always have one."""
        assert self.tenant is not None
        return self.tenant

    @property
    def store(self) -> Store:
        """What people made in the project."""
        return self.project.data.store

    @property
    def is_cloud(self) -> bool:
        """Whether to answer as the real server does, not as the documentation says."""
        return self.state.options.flavour == "cloud"

    @property
    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return to_datetime(self.now_us)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and path that answers.

    path: begins with /api/, or is relative to a project; then it answers under both prefixes. It
    has no last slash; requests may have one.
    scope: None is closed to personal keys; empty needs none. Several have a space between.
    classes: the budgets that a request draws from.
    """

    method: str
    path: str
    scope: str | None
    act: Callable[[Call], Awaitable[web.Response]]
    classes: tuple[str, ...] = ("crud",)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All full paths under which it answers, without the last slash."""
        if self.path.startswith("/api/"):
            return (self.path,)
        return tuple(f"/api/{prefix}/{{project_id}}{self.path}" for prefix in _PREFIXES)


_PREFIXES = ("projects", "environments")
_PARAMETER = re.compile(r"{(\w+)}")


def add_endpoints(app: web.Application, endpoints: tuple[Endpoint, ...]) -> None:
    """Makes the endpoints answer; other methods get 405, other addresses under /api 404."""
    routes = [(address, e) for e in endpoints for address in e.addresses]
    for address, group in groupby(sorted(routes, key=lambda r: r[0]), key=lambda r: r[0]):
        sharing = [endpoint for _, endpoint in group]
        for path in (address, address + "/"):
            # Any text except a slash: aiohttp's own pattern excludes braces.
            resource = app.router.add_resource(_PARAMETER.sub(r"{\1:[^/]+}", path))
            for endpoint in sharing:
                resource.add_route(endpoint.method, _walk(endpoint))
            resource.add_route("*", _refuse_method)
    # Line ends too, which a dot does not match.
    app.router.add_route("*", r"/api/{rest:[\s\S]*}", _not_there)


def _walk(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        state = request.app[STATE]
        request[CLASSES] = endpoint.classes
        try:
            key = await state.keys.authenticate(request)
            tenant = _tenant(request, state, key) if "project_id" in request.match_info else None
            authorize(key, endpoint.scope, tenant.id if tenant else None)
            state.limits.take(key.text, endpoint.classes)
            fault = request.get(FAULT, NO_FAULT)
            call = Call(request, state, key, fault, state.clock.now_us(), tenant)
            return await endpoint.act(call)
        except ApiError as error:
            return error.response()

    return answer


def _tenant(request: web.Request, state: State, key: Key) -> Tenant:
    """The project of the address. A project token in the query overrides it.

    Source: PostHog source, api/routing.py.
    """
    wanted = request.match_info["project_id"]
    token = request.query.get("token")
    if token is not None:
        found = [t for t in state.tenants.values() if t.token == token]
    elif wanted == "@current":
        allowed = key.projects if key.projects is not None else tuple(state.tenants)
        found = [t for n, t in state.tenants.items() if n in allowed]
    else:
        found = [t for n, t in state.tenants.items() if wanted.isdecimal() and n == int(wanted)]
    if not found:
        raise not_found("Project not found.")
    return found[0]


async def _refuse_method(request: web.Request) -> web.Response:
    return method_not_allowed(request.method).response()


async def _not_there(request: web.Request) -> web.Response:
    return not_found("Endpoint not found.").response()
