"""What events show of people and groups together."""

from dataclasses import dataclass


@dataclass(slots=True)
class GroupPerson:
    """A person whom events of the last 90 days show with a group."""

    group_type_index: int
    group_key: str
    uuid: str
