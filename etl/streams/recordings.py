"""Session recordings, with the persons inside them."""

from etl.core.budget import CLICKHOUSE, RECORDINGS_LIST
from etl.core.stream import Address, Mode, Resource, Stream
from etl.transformers import recordings

SESSION_RECORDINGS = Stream(
    name="session_recordings",
    about="Session recordings, their persons and the persons' distinct ids",
    scope="session_recording:read",
    mode=Mode.WINDOWS,
    started="start_time",
    resources=(
        Resource(
            lists=(Address("session_recordings/"),),
            one=Address("session_recordings/{id}/"),
            key=("id",),
            budget_classes=(RECORDINGS_LIST, CLICKHOUSE),
            retrieve_classes=(CLICKHOUSE,),
            tables=recordings.TABLES,
            transform=recordings.transform,
            reader=recordings.RecordingReader,
        ),
    ),
)
