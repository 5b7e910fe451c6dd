"""Comments: what users say to each other about recordings, insights and so on."""

from etl.core.identity import Identity, Names
from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

COMMENT_TABLE = TableSpec(
    name="comments",
    about="One row per comment, also deleted ones; content is personal data.",
    key=("id",),
    identities=(
        Identity("item_id", Names.RECORDING),
        Identity("item_id", Names.PERSON, when=("scope", "Person")),
    ),
    mentions=("rich_content", "item_context"),
    fields=(
        Field("id", Kind.UUID, "PostHog's id of the comment."),
        Field("scope", Kind.TEXT, "What it is about: a recording, an insight, a ticket."),
        Field("item_id", Kind.TEXT, "Id of that, such as that of a recording."),
        Field("item_context", Kind.JSON, "Where in it, as JSON."),
        Field("source_comment", Kind.UUID, "Id of the comment that it answers."),
        Field("content", Kind.TEXT, "What it says. `forget` does not look into it."),
        Field("rich_content", Kind.JSON, "The same with its formatting, as JSON."),
        Field("version", Kind.BIGINT, "How often it was changed, a count."),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it."),
    ),
)

# Any value but false shows deleted ones, too. Comments on tickets are shown only if they are asked
# for (PostHog source, posthog/api/comments.py).
_DELETED_TOO = ("deleted", "true")

COMMENTS = Stream(
    name="comments",
    about="Comments, also deleted ones, and the users who made them",
    scope="comment:read",
    mode=Mode.SNAPSHOT,
    # What users say is personal data, and a change shows only if all of it is read.
    off=True,
    resources=(
        Resource(
            lists=(
                Address("comments/", params=(_DELETED_TOO,), prefix="projects"),
                Address(
                    "comments/",
                    params=(_DELETED_TOO, ("scope", "conversations_ticket")),
                    prefix="projects",
                ),
            ),
            one=Address("comments/{id}/", params=(_DELETED_TOO,), prefix="projects"),
            key=("id",),
            created="created_at",
            tables=(COMMENT_TABLE, USERS),
            transform=object_rows(COMMENT_TABLE, users=("created_by",)),
        ),
    ),
)
