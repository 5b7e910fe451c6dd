"""What a perfect reader would have now of who is in a cohort, and who was seen with a group."""

from collections.abc import Iterator
from typing import Any

from etl.sandbox.world import Project

PEOPLE_TABLES = ("cohort_members", "group_related")
Row = dict[str, Any]


class PeopleTruth:
    """The truth about one project."""

    def __init__(self, project: Project) -> None:
        """Reads the store and the persons when it is asked."""
        self._project = project

    def rows(self, table: str) -> Iterator[Row]:
        """All rows of a table in the order of their key."""
        yield from {
            "cohort_members": self.cohort_members,
            "group_related": self.group_related,
        }[table]()

    def cohort_members(self) -> Iterator[Row]:
        """The persons that there are, of every cohort that was not deleted."""
        living = self._living()
        for number, cohort in sorted(self._project.store.cohorts.items()):
            for uuid in [] if cohort.deleted else sorted(set(cohort.persons) & living):
                yield {"cohort_id": number, "person_uuid": uuid}

    def group_related(self) -> Iterator[Row]:
        """Of every group with a key: persons that there are, and groups of the same name."""
        store, living = self._project.store, self._living()
        groups = [
            (index, key)
            for index, key in sorted(store.groups)
            if index in store.group_types and key
        ]
        persons: dict[tuple[int, str], list[str]] = {}
        for index, key, uuid in sorted(store.group_persons):
            persons.setdefault((index, key), []).append(uuid)
        for group in groups:
            at = {"group_type_index": group[0], "group_key": group[1]}
            for uuid in persons.get(group, []):
                if uuid in living:
                    yield at | _related(-1, uuid, uuid)
            for index, key in groups:
                if index != group[0] and key.split(":")[-1] == group[1].split(":")[-1]:
                    yield at | _related(index, key, None)

    def _living(self) -> set[str]:
        owners = self._project.owners
        return {owners.uuid(number) for number in owners.numbers()}


def _related(index: int, id: str, uuid: str | None) -> Row:
    return {"related_type_index": index, "related_id": id, "person_uuid": uuid}
