"""Compares what a list of recordings counts with what of it was read."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from msgspec.structs import replace

from etl.core.expected import Counted, lacking_after, lacking_of
from etl.core.place import RecordingsPlace
from etl.loaders.leases import Unit
from etl.runs.report import Tally
from etl.runs.work import Tools
from etl.streams import STREAMS

# The only list of the stream, as traits name it.
LIST = ""


async def compare_count(
    tools: Tools,
    unit: Unit,
    place: RecordingsPlace,
    traits: MutableMapping[str, Any],
    tally: Tally,
    before: Counted | None,
) -> None:
    """Note in `traits` and `tally` what the server counts, and what of that was not met.

    place: where the reading ended. before: what the last reading was found to count.
    Raises DestinationError.
    """
    client = tools.client
    if not place.leaves_early:
        lacking = lacking_after(lacking_of(traits), {LIST: place.unaccounted})
        traits["lacking"] = {name: each.as_json() for name, each in lacking.items()}
        traits["accepted_count"] = {LIST: place.accepted}
        tally.lacking = list(lacking.values())
    if place.count is None or tally.withheld is not None or tally.unasked:
        # What is stored here and not there is not judged yet, so a count would prove nothing.
        traits["counted"] = None
    elif not place.complete:
        if before is not None:
            traits["counted"] = replace(before, tried_at=client.source_now).as_json()
    elif not place.leaves_early or before is None:
        # What a server counts that leaves out what is older is compared with nothing.
        if not place.filters or place.exhausted:
            now = client.source_now
            counted = Counted(place.count, now, client.now, min(place.began_at, now))
            traits["counted"] = counted.as_json()
    else:
        change = await tools.history.change_since(
            unit, STREAMS[unit.stream].tables[0], before, client.source_now
        )
        counted = before.after_front(place.count, client.source_now, client.now, change)
        traits["counted"] = counted.as_json()
    found = Counted.of(traits)
    tally.miscounted = 0 if found is None or place.filters else found.unaccounted
