"""Comments: by cursor, 100 at a time, whatever limit is sent. Some are hidden.

Source: PostHog source, posthog/api/comments.py.
"""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_product import Comment
from etl.sandbox.lists import by_cursor, newest_first, single
from etl.sandbox.staff import shown_user

READ = "comment:read"
_OF_TICKETS = "conversations_ticket"
_PLAIN = (
    "id", "content", "rich_content", "version", "created_at", "item_id", "item_context", "scope",
    "source_comment", "deleted",
)  # fmt: skip


def _shown(call: Call, comment: Comment) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(comment, name) for name in _PLAIN}
    return row | {"created_by": shown_user(call, comment.created_by)}


def _visible(call: Call) -> list[Comment]:
    """Deleted ones only if asked for; those on tickets only under their own scope."""
    query = call.request.query
    found = list(call.store.comments.values())
    if query.get("deleted", "false") == "false":
        found = [each for each in found if each.deleted is False]
    if scope := query.get("scope"):
        return [each for each in found if each.scope == scope]
    return [each for each in found if each.scope != _OF_TICKETS]


async def _list(call: Call) -> web.Response:
    """Newest first."""
    found = _visible(call)
    found.sort(key=lambda each: newest_first(each.created_at, each.id), reverse=True)
    return by_cursor(
        call,
        found,
        lambda each: newest_first(each.created_at, each.id),
        lambda each: _shown(call, each),
    )


async def _retrieve(call: Call) -> web.Response:
    """With the same filters as a list."""
    wanted = call.request.match_info["id"]
    for each in _visible(call):
        if each.id == wanted:
            return single(call, _shown(call, each))
    raise not_found("Not found.")


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/comments", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/comments/{id}", READ, _retrieve),
)
