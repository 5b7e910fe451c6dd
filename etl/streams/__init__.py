"""The catalogue: every stream there is. A new stream is one entry here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etl.core.stream import Mode, Stream, TableSpec
from etl.streams.actions import ACTIONS
from etl.streams.activity import ACTIVITY_LOG, SUBSCRIPTION_DELIVERIES
from etl.streams.annotations import ANNOTATIONS
from etl.streams.cohorts import COHORT_MEMBERS, COHORTS
from etl.streams.comments import COMMENTS
from etl.streams.dashboards import DASHBOARD_COLLABORATORS, DASHBOARDS
from etl.streams.definitions import EVENT_DEFINITIONS, PROPERTY_DEFINITIONS
from etl.streams.experiments import EXPERIMENTS
from etl.streams.feature_flags import FEATURE_FLAGS
from etl.streams.groups import GROUP_ACTIVITY, GROUP_PROPERTIES, GROUP_RELATED, GROUPS
from etl.streams.insights import INSIGHTS
from etl.streams.organization import ORGANIZATION_MEMBERS, PROJECTS
from etl.streams.persons import PERSONS
from etl.streams.playlists import PLAYLISTS
from etl.streams.recordings import SESSION_RECORDINGS
from etl.streams.secret_keys import PROJECT_SECRET_API_KEYS
from etl.streams.session_properties import SESSION_PROPERTIES
from etl.streams.sharing import DASHBOARD_SHARING, INSIGHT_SHARING, RECORDING_SHARING
from etl.streams.subscriptions import SUBSCRIPTIONS
from etl.streams.surveys import SURVEYS

# In the order in which they are read: a stream comes after those that it builds on.
STREAMS: Mapping[str, Stream] = {
    stream.name: stream
    for stream in (
        SESSION_RECORDINGS,
        PERSONS,
        SUBSCRIPTIONS,
        GROUPS,
        GROUP_PROPERTIES,
        GROUP_ACTIVITY,
        GROUP_RELATED,
        COHORTS,
        COHORT_MEMBERS,
        INSIGHTS,
        DASHBOARDS,
        DASHBOARD_COLLABORATORS,
        PLAYLISTS,
        PROJECT_SECRET_API_KEYS,
        SESSION_PROPERTIES,
        EVENT_DEFINITIONS,
        PROPERTY_DEFINITIONS,
        ANNOTATIONS,
        ACTIONS,
        FEATURE_FLAGS,
        SURVEYS,
        EXPERIMENTS,
        COMMENTS,
        PROJECTS,
        ORGANIZATION_MEMBERS,
        ACTIVITY_LOG,
        SUBSCRIPTION_DELIVERIES,
        RECORDING_SHARING,
        INSIGHT_SHARING,
        DASHBOARD_SHARING,
    )
}

TABLE_SPECS: Mapping[str, TableSpec] = {
    table.name: table for stream in STREAMS.values() for table in stream.tables
}


def meeting(name: str) -> tuple[str, ...]:
    """Return the streams whose runs have to heed each other: this one, and those that it meets.

    Two streams meet if one completes the other: both see a record whose absence one of them judges.
    """
    if name not in STREAMS:
        return (name,)
    ours = STREAMS[name]
    return tuple(
        other.name
        for other in STREAMS.values()
        if other is ours or ours.completes(other) or other.completes(ours)
    )


def catalogue() -> list[dict[str, Any]]:
    """Return every stream with its tables, the scopes a key needs, and how it is read."""
    return [
        {
            "stream": stream.name,
            "about": stream.about,
            "tables": [table.name for table in stream.tables],
            "scope": stream.scope,
            "mode": _mode(stream),
            "cursor": _cursor(stream),
        }
        for stream in STREAMS.values()
    ]


def _mode(stream: Stream) -> str:
    mode = f"windows by {stream.started}" if stream.mode is Mode.WINDOWS else stream.mode.value
    return f"{mode}, off by default" if stream.off else mode


def _cursor(stream: Stream) -> str:
    if stream.mode is Mode.ROTATION:
        return "none: one request a resource"
    paged = any(resource.paged for resource in stream.resources)
    return "the server's, else limit and offset" if paged else "none: one answer"
