"""Broken twins of `forget`: something of a person is left, or comes back."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_forget.py::"
_ADVERSARY = "tests/adversary/test_forget.py::"
_NOTHING_LEFT = _TESTS + "test_nothing_of_a_forgotten_person_is_left_or_comes_back[uuid]"
_MERGED = _TESTS + "test_a_new_distinct_id_of_a_forgotten_person_takes_its_rows_along"

TWINS = [
    Twin(
        name="stored rows are followed by one step from the name that was given",
        promise="P11",
        file="etl/loaders/erasing.py",
        find="            reached |= new\n",
        replace="            reached, new = reached | new, set()\n",
        caught_by=_ADVERSARY + "test_a_person_is_found_by_each_of_several_distinct_ids",
    ),
    Twin(
        name="what a column names in some rows, it names in all",
        promise="P11",
        file="etl/loaders/erasing.py",
        find="    if identity.when is None:\n        return text\n",
        replace="    if identity:\n        return text\n",
        caught_by=_ADVERSARY
        + "test_what_was_done_to_a_recording_is_found_whatever_its_id_looks_like",
    ),
    Twin(
        name="a person who was forgotten is loaded again",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="        if not known:\n            return batch\n",
        replace="        return batch\n",
        caught_by=_NOTHING_LEFT,
    ),
    Twin(
        name="what is learned of a person is not kept",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="        await self.add(connection, project_id, gone - set(known), key)\n",
        replace="",
        caught_by=_MERGED,
    ),
    Twin(
        name="what was stored under a new name stays",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="await self._rows.erase(connection, project_id, new)\n",
        replace="await self._rows.find(connection, project_id, new)\n",
        caught_by=_MERGED,
    ),
    Twin(
        name="a reject of a forgotten person is kept",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="            if not is_owned(item.key, item.payload, gone)\n",
        replace="",
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
        find="        if key_id_of(key) == key_id:\n",
        replace="        if key:\n",
        caught_by=_TESTS + "test_without_the_key_every_load_stops",
    ),
    Twin(
        name="a load that learns a name does not wait for the load before",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="            await self.lock(connection)\n            gone = await self._learn",
        replace="            gone = await self._learn",
        caught_by=_ADVERSARY + "test_a_load_that_learns_a_name_waits_for_the_loads_in_hand",
    ),
    Twin(
        name="names are followed by one step",
        promise="P11",
        file="etl/loaders/forgotten.py",
        find="        while new := gone - settled:\n",
        replace="        for new in (gone - settled,):\n",
        caught_by=_ADVERSARY + "test_names_that_stored_rows_connect_are_followed_to_the_end",
    ),
    Twin(
        name="a reject that mentions the person is deleted",
        promise="P11",
        file="etl/loaders/erasing.py",
        find="            if is_owned(key, payload, person.identifiers):\n                await",
        replace="            if True:\n                await",
        caught_by=_ADVERSARY + "test_a_reject_of_another_stays_without_the_name",
    ),
    Twin(
        name="a removal deletes the rows before it forgets how far it was read",
        promise="P3",
        file="etl/loaders/project_rows.py",
        find="        for name in _PROGRESS:\n            await driver",
        replace="        for name in ():\n            await driver",
        caught_by=_ADVERSARY
        + "test_a_removal_that_was_interrupted_leaves_nothing_that_is_called_complete",
    ),
]
