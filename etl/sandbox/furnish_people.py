"""Generates who was seen with groups."""

import random
from collections.abc import Callable
from itertools import islice

from etl.sandbox.kinds_people import GroupPerson
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store

# Only of so many groups, a count.
_MOST_GROUPS = 20


def furnish_group_persons(
    store: Store, options: SandboxOptions, project: int, uuid_of: Callable[[int], str]
) -> None:
    """Adds up to three persons to each of the first groups."""
    # A stream of its own, so that other records stay what they were.
    draw, pool = random.Random(f"{options.seed}:{project}:group persons"), options.person_pool
    for index, key in islice(store.groups, _MOST_GROUPS):
        for number in draw.sample(range(pool), min(pool, draw.randrange(4))):
            store.add(GroupPerson(index, key, uuid_of(number)))
