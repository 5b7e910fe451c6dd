"""All persons, and their distinct ids."""

from etl.core.budget import CLICKHOUSE
from etl.core.stream import Address, Costly, Mode, Owned, Resource, Stream
from etl.transformers import persons

PERSONS = Stream(
    name="persons",
    about="All persons, and their distinct ids",
    scope="person:read",
    mode=Mode.SNAPSHOT,
    off=True,
    costly=Costly(
        100_000,
        "Every sync reads all persons. The query persons_by_query, which reads only new ones, or a "
        "slower schedule is cheaper",
    ),
    resources=(
        Resource(
            lists=(Address("persons/"),),
            one=Address("persons/{uuid}/"),
            key=("uuid",),
            created="created_at",
            # The documentation names 240 a minute and 1,200 an hour.
            budget_classes=(CLICKHOUSE,),
            retrieve_classes=(CLICKHOUSE,),
            tables=persons.TABLES,
            transform=persons.transform,
            redact=persons.without_actor,
            owned=(Owned("person_distinct_ids", "person_uuid"),),
        ),
    ),
)
