"""All resources of the sandbox. A new one is a file of its own and a line here."""

from etl.sandbox import (
    closed,
    cohorts,
    group_activity,
    group_properties,
    groups,
    insights,
    persons,
    playlists,
    projects,
    queries,
    recordings,
    secret_keys,
    sessions,
    sharing,
    subscriptions,
)
from etl.sandbox.endpoints import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *projects.ENDPOINTS,
    *recordings.ENDPOINTS,
    *sharing.ENDPOINTS,
    *subscriptions.ENDPOINTS,
    *groups.ENDPOINTS,
    *group_properties.ENDPOINTS,
    *group_activity.ENDPOINTS,
    *persons.ENDPOINTS,
    *cohorts.ENDPOINTS,
    *insights.ENDPOINTS,
    *playlists.ENDPOINTS,
    *secret_keys.ENDPOINTS,
    *sessions.ENDPOINTS,
    *queries.ENDPOINTS,
    *closed.ENDPOINTS,
)
