"""All resources that the sandbox answers for: a new one is a file of its own and a line here."""

from etl.sandbox import projects, recordings
from etl.sandbox.endpoints import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *projects.ENDPOINTS,
    *recordings.ENDPOINTS,
)
