"""What a project knows of its events and properties: their names, types and descriptions.

A single definition is never asked for: where the plan has descriptions, that can create the row
that holds them (PostHog source, posthog/api/event_definition.py and property_definition.py).
"""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

# In every definition, if the plan has descriptions; without it the server leaves these out. Those
# that a user can empty do not keep their value: null then says that they are empty.
_DESCRIBED = (
    Field("description", Kind.TEXT, "Description."),
    Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
    Field("verified", Kind.BOOLEAN, "Whether a user confirmed it.", null_keeps=True),
    Field("verified_at", Kind.INSTANT, "When it was confirmed."),
    Field("verified_by", Kind.BIGINT, "Id of the user who confirmed it, see users."),
    Field("hidden", Kind.BOOLEAN, "Whether the app hides it.", null_keeps=True),
    Field("updated_at", Kind.INSTANT, "When a user last changed it.", null_keeps=True),
    Field("updated_by", Kind.BIGINT, "Id of the user who last changed it, see users."),
)

EVENT_DEFINITION_TABLE = TableSpec(
    name="event_definitions",
    about="One row per name of an event, also hidden ones. Deleted for good when a user deletes "
    "it; PostHog makes another row when it sees the event again.",
    key=("id",),
    fields=(
        Field("id", Kind.UUID, "PostHog's id of the definition."),
        Field("name", Kind.TEXT, "Name of the event."),
        Field("created_at", Kind.INSTANT, "When PostHog first saw the event; null if never."),
        Field(
            "last_seen_at",
            Kind.INSTANT,
            "When PostHog last saw the event.",
            volatile=True,
            null_keeps=True,
        ),
        *_DESCRIBED,
        Field("owner", Kind.BIGINT, "Id of the user who looks after it, see users."),
        Field(
            "last_updated_at",
            Kind.INSTANT,
            "When the definition last changed, also by itself.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "default_columns",
            Kind.TEXTS,
            "Columns that the app shows for it.",
            null_keeps=True,
        ),
        Field("primary_property", Kind.TEXT, "Property that the app shows next to its name."),
        Field(
            "enforcement_mode",
            Kind.TEXT,
            "What PostHog does with events that do not fit it.",
            null_keeps=True,
        ),
        Field("is_action", Kind.BOOLEAN, "Whether it is an action.", null_keeps=True),
        Field("action_id", Kind.BIGINT, "Id of the action."),
        Field("created_by", Kind.BIGINT, "Id of the user who made the action, see users."),
        Field("post_to_slack", Kind.BOOLEAN, "Whether it is sent to Slack.", null_keeps=True),
        Field(
            "is_calculating",
            Kind.BOOLEAN,
            "Whether the action is being calculated.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_calculated_at",
            Kind.INSTANT,
            "When the action was last calculated.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)

PROPERTY_DEFINITION_TABLE = TableSpec(
    name="property_definitions",
    about="One row per property of events, persons, groups or sessions, also hidden ones. PostHog "
    "leaves out a few event properties such as $set, and adds properties that it computes.",
    key=("type", "group_type_index", "id"),
    fields=(
        Field("type", Kind.TEXT, "Whose property it is: event, person, group or session."),
        # PostHog's own index has -1 here (PostHog source, models/property_definition.py).
        Field(
            "group_type_index",
            Kind.BIGINT,
            "Index of the group type, see group_types; -1 for other types. Properties that PostHog "
            "computes are shown for all five indices, whether or not there is such a type.",
        ),
        Field("id", Kind.TEXT, "PostHog's id: a UUID, or $builtin_ and the name if computed."),
        Field("name", Kind.TEXT, "Name of the property."),
        Field("property_type", Kind.TEXT, "Type of its values, such as String or DateTime."),
        Field("is_numerical", Kind.BOOLEAN, "Whether its values are numbers.", null_keeps=True),
        *_DESCRIBED,
        Field("virtual", Kind.BOOLEAN, "True if PostHog computes it.", null_keeps=True),
        Field(
            "is_seen_on_filtered_events",
            Kind.BOOLEAN,
            "Always null in this list.",
            null_keeps=True,
        ),
    ),
)


def drop_previews(record: dict[str, Any]) -> dict[str, Any]:
    """Return a definition without the addresses of its pictures. Safe to repeat.

    They are signed anew for every answer, and anyone may open them.
    """
    return {name: value for name, value in record.items() if name != "media_preview_urls"}


def _of_type(type: str, group_type_index: int = -1) -> Address:
    """Return the list of the properties of one type; the rows do not say their type."""
    params = [("type", type)]
    if group_type_index >= 0:
        params.append(("group_type_index", str(group_type_index)))
    return Address(
        "property_definitions/",
        params=tuple(params),
        # The server does not register it under the other prefix (PostHog source, rest_router.py).
        prefix="projects",
        given={"type": type, "group_type_index": group_type_index},
    )


# A project has at most five group types (PostHog source, posthog/constants.py). All are asked for:
# the stored group types may be out of date, or not be read at all.
_GROUP_TYPES = range(5)

EVENT_DEFINITIONS = Stream(
    name="event_definitions",
    about="The names of all events, with what users wrote about them",
    scope="event_definition:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # The default order goes by the day last seen, and moves while the list is read. Without
            # `exclude_hidden` hidden ones are shown too (PostHog source,
            # posthog/api/event_definition.py).
            lists=(
                Address(
                    "event_definitions/",
                    params=(("ordering", "name"),),
                    prefix="projects",
                ),
            ),
            key=("id",),
            created="created_at",
            order="name",
            tables=(EVENT_DEFINITION_TABLE, USERS),
            redact=drop_previews,
            transform=object_rows(
                EVENT_DEFINITION_TABLE,
                users=("created_by", "owner", "updated_by", "verified_by"),
            ),
        ),
    ),
)

PROPERTY_DEFINITIONS = Stream(
    name="property_definitions",
    about="The properties of events, persons, groups and sessions, with what users wrote about "
    "them",
    scope="property_definition:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # Confirmed ones come first, then by name, which is unique within a type.
            lists=(
                _of_type("event"),
                _of_type("person"),
                _of_type("session"),
                *(_of_type("group", index) for index in _GROUP_TYPES),
            ),
            key=("type", "group_type_index", "id"),
            order="name",
            tables=(PROPERTY_DEFINITION_TABLE, USERS),
            transform=object_rows(PROPERTY_DEFINITION_TABLE, users=("updated_by", "verified_by")),
        ),
    ),
)
