"""The numbers of the projects that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

from etl.core.budget import CRUD
from etl.errors import ConfigurationError
from etl.extractors.client import Client
from etl.extractors.protocol import Request, parse_object


async def project_ids_of(client: Client, projects: Sequence[str]) -> list[int]:
    """Return the numbers of the projects, each once. Raises EtlError."""
    numbers = [await project_id_of(client, project) for project in projects]
    return list(dict.fromkeys(numbers))


async def project_id_of(client: Client, project: str) -> int:
    """Return the number of a project; of @current the source has to say it. Raises EtlError."""
    if project != "@current":
        return int(project)
    request = Request("/api/projects/@current/", (), (CRUD,))
    found = parse_object((await client.fetch(request)).body).get("id")
    if not isinstance(found, int):
        raise ConfigurationError(
            "The server does not say which project is @current",
            remedy="Set POSTHOG_PROJECT_ID to the number in the project's settings",
        )
    return found
