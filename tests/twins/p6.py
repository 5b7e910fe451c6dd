"""Broken twins of P6: a deletion is invented, or not seen."""

from tests.twins.twin import Twin

_EXTRACTOR = "etl/extractors/recordings.py"
_SYNC = "etl/runs/windows.py"
_JUDGING = "etl/runs/judging.py"
_LOAD = "etl/runs/load.py"
_ABSENCE = "etl/loaders/absence.py"
_SNAPSHOTS = "etl/runs/snapshot.py"
_TESTS = "tests/acceptance/test_deletions.py::"
_SEEN = "tests/adversary/test_absence.py::"
_CUT = "tests/adversary/test_cut_sessions.py::"
_LISTED = _SEEN + "test_what_the_server_lists_is_alive_whatever_its_expiry_says[cursor]"
_SEVERAL = _SEEN + "test_many_suspects_are_asked_for_over_several_syncs"
_WITNESS = _SEEN + "test_a_server_that_finds_no_record_by_its_key_proves_nothing[{}]"

_PEOPLE = "tests/acceptance/test_streams_people.py::"

TWINS = [
    Twin(
        name="what a stream sees does not keep another one from marking it",
        promise="P6",
        file="etl/loaders/rows.py",
        find="                leases.c.stream.in_(meeting(lease.unit.stream)),\n",
        replace="                leases.c.stream == lease.unit.stream,\n",
        caught_by=_PEOPLE + "test_a_person_whom_a_recording_shows_after_the_question_is_not_marked",
    ),
    Twin(
        name="a firewall's page counts as PostHog's own answer",
        promise="P6",
        file="etl/extractors/protocol.py",
        find="        return None\n    if not isinstance(document, dict):\n        return None\n"
        "    kind, code",
        replace='        return "error"\n'
        "    if not isinstance(document, dict):\n        return None\n    kind, code",
        caught_by="tests/adversary/test_foreign_answers.py::"
        "test_resources_that_a_firewall_refuses_stay_due",
    ),
    Twin(
        name="a 404 that names the project stops a rotation unasked",
        promise="P12",
        file="etl/runs/rotation.py",
        find="if names_the_project(exc) and await single.is_project_gone():",
        replace="if names_the_project(exc):",
        caught_by="tests/adversary/test_foreign_answers.py::"
        "test_a_404_that_names_the_project_is_believed_when_the_project_is_gone",
    ),
    Twin(
        name="what a list does not show, were it empty, is taken for deleted",
        promise="P6",
        file=_JUDGING,
        find="            found = await ask(batch, known)\n",
        replace="            found = await ask(batch, known)\n"
        "            page = replace(found.page, records=[], evidence=None)\n"
        "            found = Confirmation(page, list(batch), [], [])\n",
        caught_by=_TESTS + "test_what_a_list_leaves_out_by_mistake_is_not_taken_for_deleted",
    ),
    Twin(
        name="an answer by ids is believed without its witness",
        promise="P6",
        file=_EXTRACTOR,
        find="            if witness in shown and ",
        replace="            if ",
        caught_by=_TESTS
        + "test_an_answer_by_ids_without_its_witness_proves_nothing[an empty answer]",
    ),
    Twin(
        name="a project that is not found is taken for a recording that is gone",
        promise="P6",
        file="etl/extractors/protocol.py",
        find="        and _OF_THE_PROJECT.search(error.message) is None\n    )\n\n\n"
        "def is_record_closed",
        replace="    )\n\n\ndef is_record_closed",
        caught_by=_TESTS + "test_a_question_that_is_not_answered_marks_nothing",
    ),
    Twin(
        name="what expired is taken for deleted",
        promise="P6",
        file="etl/loaders/absence.py",
        find="        for statement in statements.expire:\n",
        replace="        for statement in ():\n",
        caught_by=_TESTS + "test_a_recording_past_its_time_is_expired_and_left_alone[cloud]",
    ),
    Twin(
        name="the guard never trips",
        promise="P6",
        file="etl/core/guard.py",
        find="        return vanished > self.rows and ",
        replace="        return False and ",
        caught_by=_TESTS + "test_more_than_a_fifth_at_once_is_withheld_until_it_is_accepted[cloud]",
    ),
    Twin(
        name="the guard has no floor",
        promise="P6",
        file="etl/core/guard.py",
        find="        return vanished > self.rows and ",
        replace="        return ",
        caught_by=_TESTS + "test_in_a_small_project_a_few_deletions_are_no_mistake",
    ),
    Twin(
        name="what a backfill withholds is forgotten",
        promise="P6",
        file=_SYNC,
        find="            await self._loader.withhold(self.lease)\n",
        replace="            pass\n",
        caught_by=_TESTS + "test_what_a_backfill_withholds_is_judged_by_the_next_sync",
    ),
    Twin(
        name="what is seen again stays deleted",
        promise="P6",
        file="etl/loaders/statements.py",
        find='    alive = ", _deleted_at = NULL"\n',
        replace='    alive = ""\n',
        caught_by=_TESTS + "test_a_recording_that_comes_back_is_alive_again[cloud]",
    ),
    Twin(
        name="what goes on with the start at which a page ends is taken for absent",
        promise="P6",
        file="etl/core/place.py",
        find=" else self.low + _TICK\n",
        replace=" else self.low\n",
        caught_by="tests/acceptance/test_edges.py::"
        "test_five_hundred_recordings_with_one_start_are_all_loaded_and_missed[cloud]",
    ),
    Twin(
        name="a filter that proves to be none leaves the pages before in doubt of nothing",
        promise="P6",
        file=_EXTRACTOR,
        find="        if place.filters and not filters and not begins:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_list_without_a_date_filter_shows_old_deletions_though_most_rows_"
        "are_young[pages]",
    ),
    Twin(
        name="what is listed expires when its time has come",
        promise="P6",
        file=_ABSENCE,
        find="AND {started} < $5::timestamptz AND ({at} > coalesce($6::timestamptz, '-infinity') ",
        replace="AND (coalesce($5::timestamptz, $6::timestamptz, now()) IS NOT NULL ",
        caught_by=_LISTED,
    ),
    Twin(
        name="what was marked expired by mistake stays so, though it is listed",
        promise="P6",
        file="etl/loaders/statements.py",
        find='    changed += f" OR (t._expired_at IS NOT NULL AND {source_at} IS NOT NULL)"\n',
        replace="",
        caught_by=_LISTED,
    ),
    Twin(
        name="expiry has no guard",
        promise="P6",
        file=_JUDGING,
        find="            if set(found.gone) < set(expiring.sample):\n",
        replace="            if False:\n",
        caught_by=_SEEN + "test_many_that_would_expire_and_are_still_there_are_withheld",
    ),
    Twin(
        name="many suspects are not asked for by their keys",
        promise="P6",
        file=_SNAPSHOTS,
        find="        if asks:\n",
        replace="        if asks and absence.suspects <= FEW:\n",
        caught_by=_SEEN + "test_fifty_insights_that_are_hidden_stay_and_one_that_is_gone_is_marked",
    ),
    Twin(
        name="the questions of one sync have no limit",
        promise="P6",
        file=_JUDGING,
        find="            found = await ask(batch, known)\n"
        "            self._questions += max(1, client.requests - before)\n",
        replace="            found = await ask(batch, known)\n"
        "            self._questions += client.requests - client.requests\n",
        caught_by=_SEVERAL,
    ),
    Twin(
        name="the next sync asks again for what the last one asked for",
        promise="P6",
        file=_LOAD,
        find="            checked=[*last.checked, *answers.existing],\n",
        replace="            checked=last.checked,\n",
        caught_by=_SEVERAL,
    ),
    Twin(
        name="the guard counts one command",
        promise="P6",
        file=_JUDGING,
        find=".trips(vanished + absence.lost, absence.alive + absence.lost)\n",
        replace=".trips(vanished, absence.alive)\n",
        caught_by=_SEEN + "test_the_guard_counts_what_a_stream_lost_within_a_day_whatever_commands_"
        "did_it",
    ),
    Twin(
        name="what was accepted counts again",
        promise="P6",
        file=_JUDGING,
        find="        if self._accepts:\n            self.accepted.at = await",
        replace="        if False:\n            self.accepted.at = await",
        caught_by=_SEEN + "test_what_was_accepted_does_not_count_again",
    ),
    Twin(
        name="a recording that is not found needs no witness",
        promise="P6",
        file="etl/extractors/single.py",
        find="    proven = proven or await finds_one(client, request_of, witnesses)\n",
        replace="    proven = True\n",
        caught_by=_WITNESS.format("session_recordings"),
    ),
    Twin(
        name="an insight that is not found needs no witness",
        promise="P6",
        file="etl/extractors/single.py",
        find="    proven = proven or await finds_one(client, request_of, witnesses)\n",
        replace="    proven = True\n",
        caught_by=_WITNESS.format("insights"),
    ),
    Twin(
        name="what was accepted counts as lost when a later sync marks it",
        promise="P6",
        file=_JUDGING,
        find="                self.accepted.at = await self._tools.history.database_now()\n",
        replace="                pass\n",
        caught_by=_SEEN + "test_what_was_accepted_is_marked_over_several_syncs_and_accepted_once",
    ),
    Twin(
        name="what was accepted is forgotten when a question fails",
        promise="P6",
        file=_JUDGING,
        find="            self.accepted.remaining[table] = unasked\n",
        replace="            self.accepted.remaining[table] = self._tally.unasked\n",
        caught_by=_SEEN + "test_a_question_that_failed_leaves_the_others_accepted",
    ),
    Twin(
        name="each reading of a sync has questions of its own",
        promise="P6",
        file=_JUDGING,
        find='        gone, failed, why = 0, list[str](), ""\n',
        replace='        gone, failed, why = 0, list[str](), ""\n        self._questions = 0\n',
        caught_by=_SEEN + "test_the_readings_of_one_sync_share_the_questions_that_it_may_ask",
    ),
    Twin(
        name="what was listed after its time lives for ever where no sync reads again",
        promise="P6",
        file=_SYNC,
        find="            if elsewhere and place.window.since <= oldest:\n",
        replace="            if False:\n",
        caught_by=_SEEN + "test_what_was_listed_after_its_time_is_marked_once_the_server_drops_it",
    ),
    Twin(
        name="a cut record whose question failed is settled",
        promise="P5",
        file=_JUDGING,
        find="                settled = [seen[key] for key in keys if key in answered]\n",
        replace="                settled = [seen[key] for key in keys]\n",
        caught_by=_CUT + "test_a_cut_session_whose_question_fails_is_asked_for_again",
    ),
    Twin(
        name="a cut record that nothing is answered about fails the run",
        promise="P12",
        file=_JUDGING,
        find="                    left |= dict.fromkeys(rest, exc.message)\n"
        "                    break\n",
        replace="                    raise exc\n",
        caught_by=_CUT + "test_a_server_that_answers_by_no_key_keeps_back_cut_sessions_alone",
    ),
    Twin(
        name="three records that fail are taken for the server",
        promise="P12",
        file="etl/extractors/single.py",
        find="                answers = await finds_one(client, request_of, others)\n",
        replace="                answers = not others\n",
        caught_by=_SEEN
        + "test_insights_that_always_fail_keep_none_of_the_others_from_being_marked",
    ),
    Twin(
        name="a question by ids that fails is not asked singly",
        promise="P12",
        file=_EXTRACTOR,
        find="                if len(keys) == 1 or not isinstance(exc, SourceOverloaded):\n",
        replace="                if not isinstance(exc, SourceOverloaded):\n"
        "                    raise\n"
        "                if len(keys) == 1:\n",
        caught_by=_SEEN
        + "test_recordings_are_asked_for_singly_where_the_question_by_ids_always_fails",
    ),
    Twin(
        name="suspects whose request failed come first each time",
        promise="P6",
        file=_ABSENCE,
        find="ORDER BY greatest(c.checked_at, c.tried_at) NULLS FIRST",
        replace="ORDER BY c.checked_at NULLS FIRST",
        caught_by=_SEEN + "test_what_was_asked_for_in_vain_comes_after_what_was_not_asked_for",
    ),
    Twin(
        name="blocked playlists count wherever they are",
        promise="P12",
        file="etl/extractors/snapshot.py",
        find="                if foreign >= FOREIGN_PARENTS:\n",
        replace="                if is_foreign and place.skipped + 1 >= FOREIGN_PARENTS:\n",
        caught_by="tests/adversary/test_foreign_answers.py::"
        "test_playlists_that_a_firewall_blocks_here_and_there_keep_no_other_back",
    ),
    Twin(
        name="what is stored last brings back what the run had read at its beginning",
        promise="P6",
        file=_SYNC,
        find="swept=None, traits=traits)",
        replace="swept=None, traits=self._traits)",
        caught_by=_SEEN
        + "test_what_is_accepted_is_kept_when_the_same_sync_looks_for_older_recordings",
    ),
]
