"""Persons: a list that counts ids and not rows, and one person."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from etl.sandbox.clock import to_datetime
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, not_found
from etl.sandbox.fragments import display_name
from etl.sandbox.lists import DEFAULT_LIMIT, bend, page_link, single, size_of_page, whole

READ = "person:read"
_LISTED_IDS = 1000
_CLASSES = ("clickhouse",)


def _shown(call: Call, number: int, most_ids: int | None) -> dict[str, Any]:
    person = call.project.data.owners.person(number)
    seen_us = person.last_seen_us
    row: dict[str, Any] = {
        "id": person.id,
        "uuid": person.uuid,
        "name": display_name(person),
        "distinct_ids": person.distinct_ids[:most_ids],
        "properties": person.properties,
        "created_at": to_datetime(person.created_us),
        "is_identified": bool(person.properties.get("is_signed_up")),
    }
    if call.is_cloud:
        row["last_seen_at"] = None if seen_us is None else to_datetime(seen_us)
    return row


def listed_person(call: Call, number: int, most_ids: int) -> dict[str, Any]:
    """As an actor: the id is the UUID (PostHog source, posthog/queries/actor_base_query.py)."""
    row = _shown(call, number, most_ids)
    row |= {"id": row["uuid"], "type": "person"}
    return row | {"matched_recordings": [], "value_at_data_point": None}


def page_of_persons(call: Call, numbers: Sequence[int | None], most_ids: int) -> web.Response:
    """A page without count: limit and offset go by ids, and ids without a person drop out.

    There is more if the page is full of ids, so the last page may be empty. numbers: the person of
    each id; None if the id has none.
    """
    query = call.request.query
    limit = size_of_page(call, whole(query.get("limit")) or DEFAULT_LIMIT)
    offset = whole(query.get("offset"))
    cut = numbers[offset : offset + limit]
    owners = call.project.data.owners
    found = [
        listed_person(call, number, most_ids)
        for number in cut
        if number is not None and owners.is_there(number)
    ]
    rows = bend(call, found)
    following = None
    if len(cut) == limit:
        following = page_link(call, limit, offset + limit, call.fault.next_host)
    previous = page_link(call, limit, max(0, offset - limit) or None) if offset else None
    return json_response({"results": rows, "next": following, "previous": previous})


async def _list(call: Call) -> web.Response:
    """Newest first. Persons of the future are left out."""
    owners = call.project.data.owners
    numbers = [n for n in owners.listed() if owners.created_us(n) <= call.now_us]
    return page_of_persons(call, numbers, _LISTED_IDS)


async def _retrieve(call: Call) -> web.Response:
    """With all distinct ids, and the numeric id."""
    number = call.project.data.owners.number_of(call.request.match_info["uuid"])
    if number is None:
        raise not_found("Not found.")
    return single(call, _shown(call, number, None))


ENDPOINTS = (
    Endpoint("GET", "/persons", READ, _list, _CLASSES),
    Endpoint("GET", "/persons/{uuid}", READ, _retrieve, _CLASSES),
)
