"""Broken twins of `forget`: something of a person is left, or comes back."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_forget.py::"
_NOTHING_LEFT = _TESTS + "test_nothing_of_a_forgotten_person_is_left_or_comes_back[uuid]"
_MERGED = _TESTS + "test_a_new_distinct_id_of_a_forgotten_person_takes_its_rows_along"

TWINS = [
    Twin(
        name="a person who was forgotten is loaded again",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="        if not known:\n            return batch\n",
        replace="        return batch\n",
        caught_by=_NOTHING_LEFT,
    ),
    Twin(
        name="rows are found by one step from the name that was given",
        promise="P11",
        file="etl/loaders/erasing.py",
        find="            reached |= new\n",
        replace="            reached, new = reached | new, set()\n",
        caught_by=_TESTS + "test_nothing_of_a_forgotten_person_is_left_or_comes_back[distinct id]",
    ),
    Twin(
        name="what is learned of a person is not kept",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="            await self.add(connection, project_id, gone - known, key)\n",
        replace="",
        caught_by=_MERGED,
    ),
    Twin(
        name="what was stored under a new name stays",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="            stored = await self._rows.erase(connection, project_id, new)\n",
        replace="            stored = await self._rows.find(connection, project_id, new)\n",
        caught_by=_MERGED,
    ),
    Twin(
        name="a reject of a forgotten person is kept",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="rejected=[item for item in batch.rejected if texts.isdisjoint(_named_by(item))]",
        replace="rejected=list(batch.rejected)",
        caught_by=_TESTS + "test_a_record_of_a_forgotten_person_is_not_kept_as_a_reject",
    ),
    Twin(
        name="`forget` does not wait for the loads in hand",
        promise="P11",
        file="etl/runs/removal.py",
        find="            await forgotten.lock(connection)\n",
        replace="",
        caught_by=_TESTS + "test_a_batch_that_is_being_loaded_cannot_bring_the_person_back",
    ),
    Twin(
        name="another key is taken for the key",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="        if key_id_of(key) != key_id:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_without_the_key_every_load_stops",
    ),
]
