"""Broken twins of P13: a comparison overlooks a difference, invents one, or repairs too much."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_verify.py::"
_TAMPERED = _TESTS + "test_whatever_was_done_to_the_copy_is_found_and_repaired[{}]"
_TROUBLE = "tests/acceptance/test_verify_trouble.py::"
_BARE = (
    "tests/adversary/test_bare_answers.py::"
    "test_a_repair_loads_what_the_list_shows_if_an_answer_by_ids_leaves_it_null[{}]"
)
_COMPARING = "etl/loaders/comparing.py"
_DIFFERENCES = "etl/loaders/differences.py"
_RUNS = "etl/runs/comparing.py"
_CHOICE = "etl/core/slices.py"
_IN_TIME = "tests/unit/core/test_slices.py::test_all_of_the_past_is_verified_in_time"
_SLICES = "tests/acceptance/test_slices.py::"
_NO_CODE = "test_what_was_never_available_and_what_there_is_none_of_change_no_exit_code"
_DIGEST = "tests/acceptance/test_verify_digest.py::"
_OVERLAP = _SLICES + "test_slices_that_overlap_neither_hide_a_difference_nor_leave_it_standing"
_REPAIRED = _SLICES + "test_a_slice_repairs_what_differs_only_if_that_is_set[{}]"
_UNDATED = _SLICES + "test_a_server_without_dates_has_all_of_its_past_verified_by_one_reading[{}]"

TWINS = [
    Twin(
        name="the digest of a day ignores the ids",
        promise="P13",
        file="etl/core/digest.py",
        find="        if both.source == both.here:\n",
        replace="        if both.source.records == both.here.records:\n",
        caught_by=_DIGEST + "test_ids_that_are_exchanged_between_days_are_found",
    ),
    Twin(
        name="a difference that the list has explained is looked into again each time",
        promise="P13",
        file="etl/core/digest.py",
        find="        elif explained.get(day) != both:\n",
        replace="        elif both:\n",
        caught_by=_DIGEST + "test_what_the_list_explains_is_looked_into_once",
    ),
    Twin(
        name="a day that was explained once is never looked into again",
        promise="P13",
        file="etl/core/digest.py",
        find="        elif explained.get(day) != both:\n",
        replace="        elif day not in explained:\n",
        caught_by=_DIGEST + "test_what_the_list_explains_is_looked_into_once",
    ),
    Twin(
        name="where a query counts more than is stored, it is believed that the list hides that",
        promise="P13",
        file="etl/core/digest.py",
        find="        elif explained.get(day) != both:\n",
        replace="        elif explained.get(day) != both and both.source < both.here:\n",
        caught_by=_DIGEST + "test_a_row_that_is_not_stored_costs_the_list_of_its_day_only",
    ),
    Twin(
        name="a query counts what was deleted at the source",
        promise="P13",
        file="etl/core/digest.py",
        find='f"WHERE gone = 0 AND (',
        replace='f"WHERE gone >= 0 AND (',
        caught_by=_DIGEST + "test_what_was_deleted_at_the_source_is_surplus[up to now]",
    ),
    Twin(
        name="a difference that stands is kept as explained",
        promise="P13",
        file=_COMPARING,
        find="for day, of in closing.doubtful.items() if day not in differing}",
        replace="for day, of in closing.doubtful.items()}",
        caught_by=_DIGEST + "test_a_difference_that_stands_is_found_each_time",
    ),
    Twin(
        name="what the list explained is kept though the rows are others by then",
        promise="P13",
        file=_COMPARING,
        find="for day, of in settled.items() if now.get(day, NO_IDS) == of.here}",
        replace="for day, of in settled.items()}",
        caught_by=_DIGEST + "test_a_row_that_comes_before_the_list_is_read_explains_nothing",
    ),
    Twin(
        name="what an answer by query does not show counts as none",
        promise="P13",
        file="etl/core/digest.py",
        find=" if last is not None and day <= last}",
        replace="}",
        caught_by=_DIGEST + "test_a_limit_that_is_lowered_in_silence_hides_no_day",
    ),
    Twin(
        name="a query that is refused ends the comparison",
        promise="P13",
        file="etl/runs/digest.py",
        find="        except (SourceError, BudgetSpent, ValueError) as exc:\n",
        replace="        except ValueError as exc:\n",
        caught_by=_DIGEST + "test_if_the_endpoint_refuses_the_lists_are_used[403]",
    ),
    Twin(
        name="a comparison that goes on forgets which days were equal by query",
        promise="P13",
        file=_RUNS,
        find="                self._believe(kept.days.outcome)\n",
        replace="                pass\n",
        caught_by=_DIGEST + "test_an_interrupted_comparison_goes_on_with_what_the_digests_said",
    ),
    Twin(
        name="the list of a day that differs is read with the day above it",
        promise="P13",
        file="etl/core/window.py",
        find="        margin = timedelta() if self.starts_only else MARGIN\n",
        replace="        margin = MARGIN\n",
        caught_by="tests/unit/core/test_window.py::test_every_session_is_loaded_whole_by_the_window_"
        "it_starts_in_and_by_no_other_window",
    ),
    Twin(
        name="where digests differ, the list compares no starts",
        promise="P13",
        file=_RUNS,
        find="        self._days = days\n        self._comparer.compare_starts()\n",
        replace="        self._days = days\n",
        caught_by=_DIGEST + "test_ids_that_are_exchanged_between_days_are_found",
    ),
    Twin(
        name="where no list is read, rows without a start are not looked for",
        promise="P13",
        file=_RUNS,
        find="        if not self._spans:\n            await self._judge_without_start(reader)\n",
        replace="",
        caught_by=_DIGEST + "test_a_row_without_a_start_is_asked_for_by_its_key",
    ),
    Twin(
        name="what belongs to a row that is not stored is not looked for",
        promise="P13",
        file="etl/runs/comparing.py",
        find="        await differences.note_orphans(unit)\n",
        replace="",
        caught_by="tests/acceptance/test_verify_trouble.py::"
        "test_sharing_of_something_that_is_not_stored_is_surplus",
    ),
    Twin(
        name="a rotation without resources was never read",
        promise="P13",
        file="etl/runs/comparing.py",
        find="        if not has_run and not (await self._rotation_state(parents)).oldest_check:\n",
        replace="        if not (await self._rotation_state(parents)).oldest_check:\n",
        caught_by=_TROUBLE + _NO_CODE,
    ),
    Twin(
        name="a comparison does not say that a stream is not available",
        promise="P13",
        file="etl/runs/comparing.py",
        find="        if why is None:\n            return Ending(\n",
        replace="        if why or not why:\n            return Ending(\n",
        caught_by=_TROUBLE + _NO_CODE,
    ),
    Twin(
        name="contents are not compared",
        promise="P13",
        file=_DIFFERENCES,
        find="        if compared.deep:\n",
        replace="        if not compared:\n",
        caught_by=_TAMPERED.format("a value altered"),
    ),
    Twin(
        name="hashes are believed where contents are compared",
        promise="P13",
        file=_COMPARING,
        find="        all_typed = self._deep or self._rows.starts\n",
        replace="        all_typed = self._rows.starts\n",
        caught_by=_TAMPERED.format("a value altered"),
    ),
    Twin(
        name="a repair leaves null what an answer by ids leaves null",
        promise="P13",
        file="etl/runs/verify.py",
        find="        reports += await _read_again(given, "
        "await _days_of_unfilled(given, request, found))\n",
        replace="",
        caught_by=_BARE.format("rows"),
    ),
    Twin(
        name="a repair that was unsure is none, whatever the comparison after it says",
        promise="P13",
        file="etl/runs/verify.py",
        find="        found.repaired = not after.found.differences\n",
        replace="        found.repaired = not after.found.differences and not any("
        "each.reason for each in endings)\n",
        caught_by="tests/adversary/test_unsure_repair.py::"
        "test_a_repair_that_was_unsure_of_the_list_is_judged_by_the_comparison_after_it",
    ),
    Twin(
        name="an answer that leaves a field null counts as equal",
        promise="P13",
        file=_DIFFERENCES,
        find=' AND NOT m.lacks" if compared.deep',
        replace='" if compared.deep',
        caught_by=_BARE.format("values"),
    ),
    Twin(
        name="a repair believes the list about what is gone",
        promise="P13",
        file="etl/runs/repairing.py",
        find="        if absence is not None and absence.suspects:\n"
        "            await self._ask_for(absence, AT_ONCE, ask, place)\n",
        replace="",
        caught_by=_TAMPERED.format("rows that the source never had"),
    ),
    Twin(
        name="what a list does not show counts without a question",
        promise="P13",
        file="etl/runs/judging.py",
        find="            found = await ask(batch, known)\n",
        replace="            found = await ask(batch, known)\n"
        "            page = replace(found.page, records=[], evidence=None)\n"
        "            found = Confirmation(page, list(batch), [], [])\n",
        caught_by=_TESTS + "test_what_a_list_leaves_out_by_mistake_is_not_surplus",
    ),
    Twin(
        name="what has expired counts as surplus",
        promise="P13",
        file=_COMPARING,
        find="        if (dropped := self._statements.drop_expired) is not None:\n",
        replace="        if not (dropped := self._statements.drop_expired):\n",
        caught_by=_TESTS + "test_what_has_expired_is_not_missed",
    ),
    Twin(
        name="a row that another run reads now counts as missing",
        promise="P13",
        file=_RUNS,
        find="for name in held if name not in COMPARISONS]",
        replace="for name in held if name in COMPARISONS[:0]]",
        caught_by=_TESTS + "test_rows_that_another_run_reads_now_are_on_their_way",
    ),
    Twin(
        name="an interrupted comparison begins anew",
        promise="P13",
        file=_RUNS,
        find="        return kept if (kept.since, kept.until) == asked else None\n",
        replace="        return None if asked else kept\n",
        caught_by=_TESTS + "test_a_comparison_that_was_interrupted_goes_on",
    ),
    Twin(
        name="what was never read counts as missing",
        promise="P13",
        file=_RUNS,
        find="        return list(Coverage(complete.spans).within(Span(since, until)))[::-1]\n",
        replace="        return [Span(since - timedelta(days=20), until)]\n",
        caught_by=_TESTS + "test_rows_are_compared_only_where_they_are_known_complete",
    ),
    Twin(
        name="a comparison that goes on believes what it found before",
        promise="P13",
        file=_RUNS,
        find="            await self._comparer.differences.doubt(self.lease.unit)\n"
        "            await self._compare(reader, left.window, watermark, left)\n",
        replace="            await self._compare(reader, left.window, watermark, left)\n",
        caught_by=_TROUBLE + "test_what_was_loaded_during_an_interruption_is_no_difference",
    ),
    Twin(
        name="a recording that goes takes the doubt about its person along",
        promise="P13",
        file=_DIFFERENCES,
        find='            f"AND d.table_name = {literal(spec.name)}",\n',
        replace='            f"AND {literal(spec.name)} IS NOT NULL",\n',
        caught_by=_TROUBLE + "test_a_person_stays_in_doubt_when_the_recording_that_showed_it_goes",
    ),
    Twin(
        name="after a repair answers are believed without a witness",
        promise="P13",
        file=_RUNS,
        find="witness=known[0] if known else None)",
        replace="witness=None)",
        caught_by=_TROUBLE
        + "test_a_repair_is_not_believed_on_the_word_of_a_server_that_finds_nothing",
    ),
    Twin(
        name="a slice always takes the newest days",
        promise="P13",
        file=_CHOICE,
        find="        for _, first in sorted(rest):\n",
        replace="        for first in [len(cells) - 1] * bool(rest):\n",
        caught_by=_IN_TIME,
    ),
    Twin(
        name="what is late has to wait for its turn",
        promise="P13",
        file=_CHOICE,
        find="    return now - every + min(_AHEAD, every / 4)\n",
        replace="    return now - 100 * every\n",
        caught_by=_IN_TIME,
    ),
    Twin(
        name="a slice knows no budget",
        promise="P13",
        file=_CHOICE,
        find="self._taken and self._requests + cost > most",
        replace="self._taken and self._requests + cost < 0",
        caught_by="tests/unit/core/test_slices.py::test_a_slice_takes_no_more_than_the_budget",
    ),
    Twin(
        name="a look at a part of a window hides what was found in all of it",
        promise="P13",
        file="etl/loaders/verified.py",
        find="@> tstzrange(r.since, r.until)",
        replace="&& tstzrange(r.since, r.until)",
        caught_by=_OVERLAP,
    ),
    Twin(
        name="a difference stands for a whole month",
        promise="P13",
        file="etl/loaders/reconciliations.py",
        find="in found.counts.items() if span and each.differences}\n",
        replace="in found.counts.items() if span and not each}\n",
        caught_by=_OVERLAP,
    ),
    Twin(
        name="equal keys are taken for equal contents",
        promise="P13",
        file="etl/loaders/verified.py",
        find='_DEEP = f"AND l.how NOT IN {_KEYS}"\n',
        replace='_DEEP = ""\n',
        caught_by=_OVERLAP,
    ),
    Twin(
        name="verification draws on the whole budget",
        promise="P13",
        file="etl/extractors/capped.py",
        find="[*classes, *map(share_of, classes)]",
        replace="[*classes]",
        caught_by=_SLICES + "test_slices_take_no_more_than_their_share_and_go_on_in_the_next_hour",
    ),
    Twin(
        name="a slice keeps its worker while a sync is due",
        promise="P13",
        file="etl/service/execute.py",
        find="                job.command == VERIFICATION\n                and await",
        replace="                job.command == BACKFILL\n                and await",
        caught_by=_SLICES + "test_a_slice_gives_way_to_a_sync_and_then_goes_on",
    ),
    Twin(
        name="a slice that gave way begins anew",
        promise="P13",
        file="etl/runs/slices.py",
        find="if since is None or kept.until is None else Span(since, kept.until)",
        replace="if since is None or kept.until is None else None",
        caught_by=_SLICES + "test_a_slice_gives_way_to_a_sync_and_then_goes_on",
    ),
    Twin(
        name="a slice repairs nothing, whatever is set",
        promise="P13",
        file="etl/upkeep.py",
        find="settings.limits_with_share, settings.verify_repair)",
        replace="settings.limits_with_share, False)",
        caught_by=_REPAIRED.format("cloud"),
    ),
    Twin(
        name="a slice repairs unasked",
        promise="P13",
        file="etl/upkeep.py",
        find="settings.limits_with_share, settings.verify_repair)",
        replace="settings.limits_with_share, True)",
        caught_by=_REPAIRED.format("docs"),
    ),
    Twin(
        name="where dates are ignored, what every sync reads again is verified",
        promise="P13",
        file="etl/runs/slices.py",
        find="    if given.stream.mode is not Mode.WINDOWS:\n        return [await",
        replace="    if given.stream.mode is not Mode.ROTATION:\n        return [await",
        caught_by=_UNDATED.format("ignored"),
    ),
    Twin(
        name="where dates are refused, the whole list is read for each day",
        promise="P13",
        file="etl/runs/slices.py",
        find="    return stream.mode is Mode.WINDOWS and filters\n",
        replace="    return stream.mode is Mode.WINDOWS and (filters or bool(watermark.traits))\n",
        caught_by=_UNDATED.format("refused"),
    ),
    Twin(
        name="a repair that was broken off is not made up",
        promise="P13",
        file="etl/runs/slices.py",
        find="            for span in [*again, *await _next_slice",
        replace="            for span in [*again[:0], *await _next_slice",
        caught_by=_SLICES + "test_what_a_slice_did_not_repair_has_its_turn_again_the_next_night",
    ),
]
