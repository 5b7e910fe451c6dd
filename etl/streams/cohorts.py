"""Cohorts: sets of persons, as their filters or their last calculation define them."""

from typing import Any

from etl.core.identity import Identity, Names
from etl.core.stream import Address, Field, Kind, Mode, Parents, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows
from etl.transformers.reduced import ids_only, without_inside

COHORT_TABLE = TableSpec(
    name="cohorts",
    about="One row per cohort; who is in it, cohort_members tells.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the cohort."),
        Field("name", Kind.TEXT, "Name."),
        Field("description", Kind.TEXT, "Description."),
        Field("filters", Kind.JSON, "Who belongs to it, as JSON; without compiled code."),
        Field("groups", Kind.JSON, "Who belongs to it, in the old form, as JSON."),
        Field("query", Kind.JSON, "The query it was made from, as JSON."),
        Field("is_static", Kind.BOOLEAN, "Whether its persons were listed once and for all."),
        Field("cohort_type", Kind.TEXT, "How it is calculated."),
        Field("condition_type", Kind.TEXT, "Which conditions it has.", null_keeps=True),
        Field("experiment_set", Kind.JSON, "Ids of experiments that use it.", null_keeps=True),
        Field(
            "deleted",
            Kind.BOOLEAN,
            "Whether a user deleted it. PostHog does not list deleted ones, so those that were "
            "deleted before the first sync are not here.",
            null_keeps=True,
        ),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        # What tells whether the members have changed; null for static ones.
        Field("version", Kind.BIGINT, "Number of the calculation that is shown."),
        Field("last_calculation", Kind.INSTANT, "When it was last calculated."),
        *(
            Field(name, kind, f"{about}; only as fresh as _updated_at.", volatile=True)
            for name, kind, about in (
                ("count", Kind.BIGINT, "Persons in it, a count"),
                ("pending_version", Kind.BIGINT, "Number of the calculation that was begun last"),
                (
                    "last_backfill_person_properties_at",
                    Kind.INSTANT,
                    "When it was last filled from person properties",
                ),
                ("is_calculating", Kind.BOOLEAN, "Whether it is being calculated"),
                ("errors_calculating", Kind.BIGINT, "Calculations that failed in a row, a count"),
                ("last_error_message", Kind.TEXT, "Why the last calculation failed"),
            )
        ),
    ),
)

MEMBER_TABLE = TableSpec(
    name="cohort_members",
    about="Who is in which cohort, as it was last calculated. A person who is deleted or merged "
    "leaves a cohort here with its next calculation.",
    key=("cohort_id", "person_uuid"),
    identities=(Identity("person_uuid", Names.PERSON),),
    fields=(
        Field("cohort_id", Kind.BIGINT, "Id of the cohort, see cohorts."),
        Field("person_uuid", Kind.UUID, "The person's uuid, see persons."),
    ),
)

# Compiled from the filters by the server, so they are large and change with its version (PostHog
# source, posthog/api/cohort.py).
_COMPILED = ("bytecode", "bytecode_error", "conditionHash")


def without_compiled(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without the code that the server compiles from its filters."""
    if "filters" not in record:
        return record
    return {**record, "filters": without_inside(record["filters"], *_COMPILED)}


def only_person(record: dict[str, Any]) -> dict[str, Any]:
    """Return only the uuid of a member: another stream reads the person."""
    return ids_only({"person_uuid": record.get("uuid", record.get("id"))})


COHORTS = Stream(
    name="cohorts",
    about="Cohorts, and the users who made them",
    scope="cohort:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # Registered under projects only (PostHog source, rest_router.py).
            lists=(Address("cohorts/", prefix="projects"),),
            # The list hides deleted ones, a retrieve shows them (posthog/api/cohort.py).
            one=Address("cohorts/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            tables=(COHORT_TABLE, USERS),
            transform=object_rows(COHORT_TABLE, users=("created_by",)),
            redact=without_compiled,
        ),
    ),
)

COHORT_MEMBERS = Stream(
    name="cohort_members",
    about="Who is in which cohort; whole lists of persons, of which only the ids are kept",
    # The list is one of cohorts and shows persons (PostHog source, posthog/api/cohort.py).
    scope="cohort:read person:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            lists=(Address("cohorts/{cohort_id}/persons/", prefix="projects"),),
            key=("cohort_id", "person_uuid"),
            # A static cohort has no calculation, so it is read at every sync.
            parents=Parents(
                "cohorts",
                {"cohort_id": "id"},
                where="t.deleted IS NOT TRUE",
                unchanged=("version", "last_calculation"),
            ),
            tables=(MEMBER_TABLE,),
            redact=only_person,
            transform=object_rows(MEMBER_TABLE),
        ),
    ),
)
