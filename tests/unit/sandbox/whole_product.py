"""What a simple reader of a project reads of what product teams made; for sandbox tests."""

from collections.abc import Awaitable, Callable

from tests.unit.sandbox.reader import Row

Walk = Callable[..., Awaitable[list[Row]]]


async def product_tables(walk: Walk) -> dict[str, list[Row]]:
    """All rows by table, in any order; users are not yet replaced by their ids."""
    found = {"annotations": await walk("annotations/", limit=4)}
    found["actions"] = await walk("actions/")
    for row in found["actions"]:
        row.pop("creation_context", None)
        for step in row["steps"]:
            step.pop("selector_regex", None)
    return found
