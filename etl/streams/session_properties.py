"""Properties of sessions, and some of their values."""

from etl.core.budget import CLICKHOUSE
from etl.core.stream import Address, Field, Kind, Mode, Parents, Resource, Stream, TableSpec
from etl.streams.groups import values_of
from etl.transformers.objects import object_rows

SESSION_PROPERTY_DEFINITIONS = TableSpec(
    name="session_property_definitions",
    about="One row per property that sessions have; the same in every project of a server.",
    key=("name",),
    fields=(
        Field("name", Kind.TEXT, "Name of the property."),
        Field("id", Kind.TEXT, "The server's id of the property: its name.", null_keeps=True),
        Field("property_type", Kind.TEXT, "Type of its values.", null_keeps=True),
        Field("is_numerical", Kind.BOOLEAN, "Whether its values are numbers.", null_keeps=True),
        Field(
            "is_seen_on_filtered_events",
            Kind.BOOLEAN,
            "Always null in this list.",
            null_keeps=True,
        ),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
    ),
)

SESSION_PROPERTY_VALUES = TableSpec(
    name="session_property_values",
    about="Values of session properties, as the server lists them.",
    key=("key", "value"),
    fields=(
        Field("key", Kind.TEXT, "Name of the property."),
        Field("value", Kind.TEXT, "The value: text as it is, anything else as JSON."),
    ),
)

SESSION_PROPERTIES = Stream(
    name="session_properties",
    about="The properties that sessions have, and some of their values",
    scope="query:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            lists=(Address("sessions/property_definitions/"),),
            key=("name",),
            paged=False,
            tables=(SESSION_PROPERTY_DEFINITIONS,),
            transform=object_rows(SESSION_PROPERTY_DEFINITIONS),
        ),
        Resource(
            lists=(Address("sessions/values/", params=(("key", "{key}"),)),),
            key=("key", "value"),
            paged=False,
            records=values_of,
            budget_classes=(CLICKHOUSE,),
            parents=Parents("session_property_definitions", {"key": "name"}),
            tables=(SESSION_PROPERTY_VALUES,),
            transform=object_rows(SESSION_PROPERTY_VALUES),
        ),
    ),
)
