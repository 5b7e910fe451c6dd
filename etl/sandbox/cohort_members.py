"""The members of a cohort: persons as a list of actors shows them."""

from aiohttp import web

from etl.sandbox.cohorts import asked_cohort
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.persons import page_of_persons

_LISTED_IDS = 10


async def _members(call: Call) -> web.Response:
    """Also of a cohort that was deleted. Ids of persons who are gone leave pages short."""
    number_of = call.project.data.owners.number_of
    numbers = [number_of(uuid) for uuid in asked_cohort(call).persons]
    return page_of_persons(call, numbers, _LISTED_IDS)


# Under projects only (PostHog source, rest_router.py).
_PATH = "/api/projects/{project_id}/cohorts/{id}/persons"
ENDPOINTS = (Endpoint("GET", _PATH, "cohort:read person:read", _members),)
