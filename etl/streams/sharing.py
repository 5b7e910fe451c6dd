"""Who shared what: one sharing configuration for each recording, insight and dashboard."""

from etl.core.stream import Address, Mode, Parents, Resource, Stream, Watched
from etl.transformers import sharing


def _sharing(
    resource_type: str, table: str, *, expire: bool = False, prefix: str | None = None
) -> Resource:
    return Resource(
        lists=(Address(f"{table}/{{resource_id}}/sharing/", prefix=prefix),),
        key=("resource_type", "resource_id"),
        paged=False,
        parents=Parents(
            table,
            {"resource_id": "id"},
            constant={"resource_type": resource_type},
            expire=expire,
            # A link that was switched off must not be shown as open until its next check.
            watched=Watched(sharing.CONFIGURATIONS.name, "enabled"),
        ),
        tables=sharing.TABLES,
        secrets=sharing.SECRETS,
        transform=sharing.transform,
    )


RECORDING_SHARING = Stream(
    name="recording_sharing",
    about="Whether and how each recording is shared; one request per recording, in rotation",
    scope="sharing_configuration:read",
    mode=Mode.ROTATION,
    resources=(_sharing("recording", "session_recordings", expire=True),),
)

INSIGHT_SHARING = Stream(
    name="insight_sharing",
    about="Whether and how each insight is shared; one request per insight, in rotation",
    scope="sharing_configuration:read",
    mode=Mode.ROTATION,
    resources=(_sharing("insight", "insights"),),
)

DASHBOARD_SHARING = Stream(
    name="dashboard_sharing",
    about="Whether and how each dashboard is shared; one request per dashboard, in rotation",
    scope="sharing_configuration:read",
    mode=Mode.ROTATION,
    # As the dashboards themselves, see dashboards.py.
    resources=(_sharing("dashboard", "dashboards", prefix="projects"),),
)
