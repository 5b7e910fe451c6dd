"""Dashboards, and who may edit them. Which insights are on them, the insights themselves say.

A single dashboard is never asked for: that writes `last_accessed_at` and may calculate its insights
(PostHog source, posthog/api/dashboards/dashboard.py).
"""

from etl.core.stream import Address, Field, Kind, Mode, Parents, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

DASHBOARD_TABLE = TableSpec(
    name="dashboards",
    about="One row per dashboard, also the unlisted ones; see the view dashboard_insights for what "
    "is on it.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the dashboard."),
        Field("name", Kind.TEXT, "Name."),
        Field("description", Kind.TEXT, "Description."),
        Field("pinned", Kind.BOOLEAN, "Whether it comes first in the list.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field(
            "is_shared",
            Kind.BOOLEAN,
            "Whether anyone with a link may open it, see sharing_configurations.",
            null_keeps=True,
        ),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it.", null_keeps=True),
        Field(
            "creation_mode",
            Kind.TEXT,
            "How it was made: default, template, duplicate or unlisted. The app does not list "
            "unlisted ones.",
            null_keeps=True,
        ),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
        Field(
            "restriction_level",
            Kind.BIGINT,
            "Who may edit it: 21 everyone in the project, 37 only collaborators.",
            null_keeps=True,
        ),
        Field(
            "access_control_version",
            Kind.TEXT,
            "Which kind of access control it has: v1 or v2.",
            null_keeps=True,
        ),
        Field("folder", Kind.TEXT, "Folder that it is in; empty: the topmost.", null_keeps=True),
        Field("team_id", Kind.BIGINT, "Id of its environment.", null_keeps=True),
        Field(
            "last_accessed_at",
            Kind.INSTANT,
            "When anyone last opened it.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_viewed_at",
            Kind.INSTANT,
            "When the key's owner last looked at it.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_refresh",
            Kind.INSTANT,
            "When its insights were last calculated.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "effective_restriction_level",
            Kind.BIGINT,
            "The restriction that applies in the end.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "effective_privilege_level",
            Kind.BIGINT,
            "What the key's owner may do, by collaboration: 21 view, 37 edit.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "user_access_level",
            Kind.TEXT,
            "What the key's owner may do.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)

COLLABORATOR_TABLE = TableSpec(
    name="dashboard_collaborators",
    about="One row per dashboard and user who was allowed to edit it. PostHog shows active users "
    "only, so a user who was deactivated looks removed and is marked in _deleted_at.",
    key=("dashboard_id", "id"),
    fields=(
        Field("dashboard_id", Kind.BIGINT, "Id of the dashboard, see dashboards."),
        Field("id", Kind.UUID, "PostHog's id of the permission."),
        Field("user", Kind.BIGINT, "Id of the user, see users."),
        Field("level", Kind.BIGINT, "What the user may do: 21 view, 37 edit."),
        Field("added_at", Kind.INSTANT, "When the user was added."),
        Field("updated_at", Kind.INSTANT, "When the level was last changed."),
    ),
)

# Newer servers do not register dashboards under the other prefix (PostHog source,
# products/dashboards/backend/routes.py).
_PREFIX = "projects"

DASHBOARDS = Stream(
    name="dashboards",
    about="Dashboards, also unlisted ones, and the users who made them",
    scope="dashboard:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # The plain list leaves out unlisted dashboards. A server that does not know the
            # parameter answers the same twice (PostHog source, posthog/api/dashboards/
            # dashboard.py).
            lists=(
                Address("dashboards/", prefix=_PREFIX),
                Address("dashboards/", params=(("creation_mode", "unlisted"),), prefix=_PREFIX),
            ),
            key=("id",),
            created="created_at",
            # Pinned ones come first, then by name: names may be equal.
            order="name",
            tables=(DASHBOARD_TABLE, USERS),
            transform=object_rows(DASHBOARD_TABLE, users=("created_by",)),
        ),
    ),
)

DASHBOARD_COLLABORATORS = Stream(
    name="dashboard_collaborators",
    about="Who was allowed to edit which dashboard; one request for each dashboard. Only servers "
    "with PostHog's enterprise code offer it",
    scope="dashboard:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # A bare array (PostHog source, ee/api/dashboard_collaborator.py).
            lists=(Address("dashboards/{dashboard_id}/collaborators/", prefix=_PREFIX),),
            key=("dashboard_id", "id"),
            paged=False,
            created="added_at",
            parents=Parents("dashboards", {"dashboard_id": "id"}),
            tables=(COLLABORATOR_TABLE, USERS),
            transform=object_rows(COLLABORATOR_TABLE, users=("user",)),
        ),
    ),
)
