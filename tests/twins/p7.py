"""Broken twins of P7: one bad record keeps others out, or is not accounted for."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_rejects.py::"
_TYPED = "tests/unit/transformers/test_typed.py::"
_DRIFT = "tests/contract/test_drift.py::"
_SET_ASIDE = _TESTS + "test_a_record_that_cannot_be_stored_is_set_aside_once_and_the_page_loads"

TWINS = [
    Twin(
        name="the staging table goes with the row that is refused",
        promise="P7",
        file="etl/loaders/rows.py",
        find="        for _, table in loads:\n"
        "            await driver.execute(table.statements.create_staging)\n"
        "        return loads, await self._do(batch, loads, lambda table: table.stage)\n",
        replace="""
        def create_and_stage(table: TableLoad) -> Step:
            async def step(first: int, end: int) -> None:
                await driver.execute(table.statements.create_staging)
                await table.stage(first, end)

            return step

        return loads, await self._do(batch, loads, create_and_stage)
""",
        caught_by="tests/adversary/test_refused_values.py::"
        "test_the_only_person_of_a_first_batch_is_set_aside_and_the_rest_loads",
    ),
    Twin(
        name="rows that Postgres refuses take their page along",
        promise="P7",
        file="etl/loaders/table_load.py",
        find="        if end - first == 1:\n            return [(first, exc.message)]\n",
        replace="        return [(place, exc.message) for place in range(first, end)]\n",
        caught_by="tests/contract/test_loader.py::"
        "test_a_row_that_postgres_refuses_does_not_keep_the_others_out[pool]",
    ),
    Twin(
        name="rows that Postgres refuses end the run",
        promise="P7",
        file="etl/loaders/database.py",
        find='    if state[:2] in ("22", "23", "54"):\n',
        replace='    if state[:2] in ("22", "23"):\n',
        caught_by=_SET_ASIDE + "[an id too long for an index]",
    ),
    Twin(
        name="nothing is repaired",
        promise="P7",
        file="etl/transformers/transformer.py",
        find="    if not dirty:\n",
        replace="    if dirty or not dirty:\n",
        caught_by=_TESTS + "test_what_postgres_cannot_hold_is_repaired_and_marked[NUL]",
    ),
    Twin(
        name="a repair is not marked",
        promise="P7",
        file="etl/transformers/transformer.py",
        find="            repaired.append(clean_name)\n",
        replace="            pass\n",
        caught_by=_TESTS + "test_what_postgres_cannot_hold_is_repaired_and_marked[NaN]",
    ),
    Twin(
        name="a page with a record that is no JSON is lost",
        promise="P7",
        file="etl/core/document.py",
        find="        return _decode_by_record(text), True\n",
        replace="        return {'results': []}, True\n",
        caught_by=_SET_ASIDE + "[not JSON]",
    ),
    Twin(
        name="a known reject is news each time",
        promise="P7",
        file="etl/loaders/rejects.py",
        find="        return len(items.keys() - known)\n",
        replace="        return len(items)\n",
        caught_by=_SET_ASIDE + "[text for a count]",
    ),
    Twin(
        name="a mended record stays in the rejects",
        promise="P7",
        file="etl/loaders/rejects.py",
        find="        if keys:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_record_is_resolved_once_it_is_mended",
    ),
    Twin(
        name="unknown fields are lost on the fast way",
        promise="P7",
        file="etl/transformers/typed.py",
        find="            forbid_unknown_fields=True,\n",
        replace="",
        caught_by=_TESTS + "test_a_field_that_nobody_knows_lands_in_extra",
    ),
    Twin(
        name="unknown fields are lost",
        promise="P7",
        file="etl/transformers/fields.py",
        find="        if not record.keys() <= self._known:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_field_that_nobody_knows_lands_in_extra",
    ),
    Twin(
        name="an unknown key leaves the fast way",
        promise="P7",
        file="etl/transformers/typed.py",
        find="[key for key in record if key not in self._keys and is_learnable(key)][:room]",
        replace="list[str]()",
        caught_by=_TYPED + "test_a_surprise_is_read_the_slow_way_once[change0]",
    ),
    Twin(
        name="a new field is told by every batch",
        promise="P7",
        file="etl/core/drift.py",
        find="        if key not in known:\n",
        replace="        if True:\n",
        caught_by=_DRIFT + "test_what_the_catalogue_did_not_expect_is_written_once[pool]",
    ),
]
