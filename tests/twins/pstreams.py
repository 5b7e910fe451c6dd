"""Broken twins of what reads everything besides recordings: snapshots and rotations."""

from tests.twins.twin import Twin

_SNAPSHOT = "etl/extractors/snapshot.py"
_JUDGING = "etl/runs/snapshot.py"
_ROTATION = "etl/runs/rotation.py"
_PROTOCOL = "etl/extractors/protocol.py"
_ALL = "tests/acceptance/test_streams.py::"
_CRASH = "tests/acceptance/test_streams_crash.py::"
_DELETIONS = "tests/acceptance/test_streams_deletions.py::"
_TURNS = "tests/acceptance/test_streams_rotation.py::"
_SECRETS = "tests/acceptance/test_streams_secrets.py::"
_DASHBOARDS = "tests/acceptance/test_streams_dashboards.py::"
_TROUBLE = "tests/acceptance/test_streams_trouble.py::"

_KILLED = _CRASH + "test_a_snapshot_killed_at_one_point_after_another_ends_with_the_truth[{}]"
_ASKED_FOR = _DELETIONS + (
    "test_what_a_list_never_shows_is_asked_for_by_its_key_and_not_marked[cloud]"
)
_READ_AGAIN = _DELETIONS + (
    "test_what_one_answer_leaves_out_is_looked_for_by_a_second_reading_and_not_marked[cloud]"
)
_PRINTED = _SECRETS + "test_no_secret_of_the_source_is_printed_or_stored[cloud]"
_SET_ASIDE = _TROUBLE + (
    "test_a_record_that_cannot_be_stored_keeps_no_other_out_and_is_not_taken_for_gone[{}]"
)

TWINS = [
    Twin(
        name="shared resources are not checked first",
        promise="P5",
        file="etl/streams/sharing.py",
        find='            watched=Watched(sharing.CONFIGURATIONS.name, "enabled"),\n',
        replace="",
        caught_by="tests/adversary/test_foreign_answers.py::"
        "test_a_share_that_was_switched_off_is_not_listed_after_the_next_sync",
    ),
    Twin(
        name="text under a name that nobody knows is stored where secrets are",
        promise="P11",
        file="etl/transformers/secrets.py",
        find="is_kept = _is_known(value, known) or not value or is_hash(value)",
        replace="is_kept = True",
        caught_by="tests/adversary/test_unknown_fields.py::"
        "test_unknown_text_is_a_hash_where_secrets_are",
    ),
    Twin(
        name="text inside a JSON field is stored where secrets are",
        promise="P11",
        file="etl/transformers/secrets.py",
        find="    if path in admitted:\n",
        replace='    if path in admitted or (isinstance(known, Mapping) and "id" not in known):\n',
        caught_by="tests/adversary/test_unknown_fields.py::"
        "test_text_inside_a_json_field_is_a_hash_where_secrets_are",
    ),
    Twin(
        name="text in a user's hedgehog is stored by the streams that have no secrets",
        promise="P11",
        file="etl/transformers/objects.py",
        find="user = {**value, **withheld}",
        replace="user = value",
        caught_by="tests/adversary/test_unknown_fields.py::"
        "test_text_inside_a_json_field_is_a_hash_where_secrets_are",
    ),
    Twin(
        name="records are not given what their list says of them",
        promise="P1",
        file=_SNAPSHOT,
        find="resource.lists[place.list_number].given}",
        replace="resource.lists[0].given}",
        caught_by=_DASHBOARDS
        + "test_short_pages_and_a_last_page_that_is_longer_leave_nothing_out[3]",
    ),
    Twin(
        name="unlisted dashboards are not read",
        promise="P6",
        file="etl/streams/dashboards.py",
        find='                Address("dashboards/", params=(("creation_mode", "unlisted"),), '
        "prefix=_PREFIX),\n",
        replace="",
        caught_by=_DASHBOARDS
        + "test_what_is_hidden_and_shown_again_stays_one_row[an unlisted dashboard]",
    ),
    Twin(
        name="signed addresses of pictures are stored",
        promise="P11",
        file="etl/streams/definitions.py",
        find="            redact=drop_previews,\n",
        replace="",
        caught_by=_PRINTED,
    ),
    Twin(
        name="a resumed snapshot skips the parent in hand",
        promise="P1",
        file=_SNAPSHOT,
        find="        if in_hand is not None:\n            yield in_hand\n",
        replace="",
        caught_by=_KILLED.format("by cursor"),
    ),
    Twin(
        name="checks are committed before the answers",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="        await self._check_off(connection, lease, commit)\n",
        replace="        async with self._database.transaction() as early:\n"
        "            await self._check_off(early, lease, commit)\n",
        caught_by=_CRASH
        + "test_a_rotation_killed_at_one_point_after_another_asks_only_for_what_is_left",
    ),
    Twin(
        name="a list ends with its first page",
        promise="P2",
        file=_PROTOCOL,
        find="        more = bool(following)\n",
        replace="        more = False\n",
        caught_by=_DELETIONS + "test_a_next_address_on_another_host_is_never_followed[cloud]",
    ),
    Twin(
        name="the made-up token of what is not shared is stored",
        promise="P4",
        file="etl/transformers/sharing.py",
        find="sha256(token, bare=True) if saved else None",
        replace="sha256(token, bare=True)",
        caught_by=_TURNS
        + "test_the_random_token_of_what_is_not_shared_is_no_change_and_not_stored[cloud]",
    ),
    Twin(
        name="a rotation asks the newest only",
        promise="P5",
        file="etl/loaders/parents.py",
        find="            .limit(limit - len(turn)),\n",
        replace="            .limit(0),\n",
        caught_by=_TURNS + "test_new_ones_that_keep_coming_keep_nobody_waiting_for_ever",
    ),
    Twin(
        name="what a snapshot did not show is marked without asking for it",
        promise="P6",
        file=_JUDGING,
        find="        if asks:\n"
        "            await self._ask_for(absence, FEW, single.confirm, first)\n"
        "        elif",
        replace="        if",
        caught_by=_ASKED_FOR,
    ),
    Twin(
        name="what cannot be asked for is marked without a second reading",
        promise="P6",
        file=_JUDGING,
        find="        if not asks or first.records == 0:\n",
        replace="        if first.records == 0:\n",
        caught_by=_READ_AGAIN,
    ),
    Twin(
        name="the suspects are not cleared by what is seen",
        promise="P6",
        file="etl/loaders/absence.py",
        find="            await driver.execute(statements.clear, *key, keys)\n",
        replace="",
        caught_by=_READ_AGAIN,
    ),
    Twin(
        name="a list that had to be given up is judged all the same",
        promise="P6",
        file=_JUDGING,
        find="            if place.complete:\n                place = await self._judge(",
        replace="            if place:\n                place = await self._judge(",
        caught_by=_DELETIONS
        + "test_after_an_offset_list_that_had_to_be_given_up_nothing_is_marked",
    ),
    Twin(
        name="a playlist that may not be seen counts as empty",
        promise="P6",
        file=_SNAPSHOT,
        find="                yield self._empty(place, self._unjudged(place))\n",
        replace="",
        caught_by=_DELETIONS
        + "test_a_playlist_that_may_not_be_seen_leaves_only_what_is_in_it_unjudged",
    ),
    Twin(
        name="a record that may not be seen is taken for gone",
        promise="P6",
        file="etl/extractors/single.py",
        find="            if is_record_gone(exc):\n",
        replace="            if is_record_gone(exc) or is_record_closed(exc):\n",
        caught_by=_DELETIONS + "test_a_question_that_is_not_answered_marks_nothing",
    ),
    Twin(
        name="a record without its key counts as none",
        promise="P7",
        file=_JUDGING,
        find="        self._vouches &= all(item.named for item in batch.rejected)\n",
        replace="",
        caught_by=_SET_ASIDE.format("the key"),
    ),
    Twin(
        name="a webhook's address is stored",
        promise="P11",
        file="etl/streams/subscriptions.py",
        find="secrets=Secrets(hide_webhook, ",
        replace="secrets=Secrets(dict, ",
        caught_by=_PRINTED,
    ),
    Twin(
        name="an access token is stored as it is",
        promise="P11",
        file="etl/transformers/sharing.py",
        find="sha256(token, bare=True) if saved else None",
        replace="token if saved else None",
        caught_by=_PRINTED,
    ),
    Twin(
        name="what an error quotes is passed on",
        promise="P11",
        file=_PROTOCOL,
        find="    text = _SECRETIVE.sub(HIDDEN, str(text)[: 10 * _LONGEST_TEXT])\n",
        replace="",
        caught_by=_SECRETS + "test_what_an_error_quotes_is_not_passed_on",
    ),
    Twin(
        name="one that may not be seen ends the rotation",
        promise="P12",
        file=_ROTATION,
        find="            self._refused.append(exc)\n",
        replace="            raise exc\n",
        caught_by=_TURNS + "test_one_that_may_not_be_seen_stops_none_of_the_others",
    ),
]
