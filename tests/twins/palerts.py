"""Broken twins of the alerts: what is told, how often, and what it may hold."""

from tests.twins.twin import Twin

_ALERTS = "tests/acceptance/test_alerts.py::"
_BOOK = "tests/integration/test_alert_book.py::"
_CORE = "tests/unit/core/test_alerts.py::"
_METRICS = "tests/unit/test_metrics.py::"
_HISTORY = "test_over_any_history_each_beginning_and_each_end_is_told[pool]"

TWINS = [
    Twin(
        name="an alert that is over is not told",
        promise="P14",
        file="etl/core/alerts.py",
        find="[key for key in open_now if key not in found]",
        replace="[]",
        caught_by=_BOOK + _HISTORY,
    ),
    Twin(
        name="what failed, succeeded and failed again is told in another order",
        promise="P14",
        file="etl/loaders/alerts.py",
        find="sorted(lines, key=_order)",
        replace="sorted(lines, key=lambda line: (line.event, line.began_at))",
        caught_by=_BOOK + _HISTORY,
    ),
    Twin(
        name="a repetition is not said to be one",
        promise="P14",
        file="etl/loaders/alerts.py",
        find="SET holder = $3::uuid, tried = true, ",
        replace="SET holder = $3::uuid, ",
        caught_by=_ALERTS
        + "test_one_that_dies_between_telling_and_noting_is_followed_by_one_that_says_so",
    ),
    Twin(
        name="a message that a channel refused is taken for told",
        promise="P14",
        file="etl/alerting.py",
        find="await self._noted(lambda: self._book.untold(name, lines, maybe=maybe))",
        replace="await self._noted(lambda: self._book.told(name, lines))",
        caught_by=_ALERTS + "test_a_broken_channel_fails_no_run_and_is_told_later",
    ),
    Twin(
        name="every process tells what another is telling",
        promise="P14",
        file="etl/loaders/alerts.py",
        find="AND l.told_at IS NULL AND l.holder <> $3::uuid ",
        replace="AND false AND l.holder <> $3::uuid ",
        caught_by=_BOOK + "test_of_several_processes_at_once_exactly_one_tells[pool]",
    ),
    Twin(
        name="a broken channel fails the run",
        promise="P14",
        file="etl/channels/webhook.py",
        find='            raise NotTold(\n                f"{host} cannot be reached: {why}",\n',
        replace="            raise SystemExit(1)\n"
        '            raise NotTold(\n                "",\n',
        caught_by=_ALERTS + "test_a_broken_channel_fails_no_run_and_is_told_later",
    ),
    Twin(
        name="a command that has failed tells nothing",
        promise="P14",
        file="etl/cli/shared.py",
        find="    except asyncio.CancelledError:\n        tells = False",
        replace="    except (EtlError, asyncio.CancelledError):\n        tells = False",
        caught_by=_ALERTS + "test_a_database_that_cannot_be_asked_fails_no_command",
    ),
    Twin(
        name="serve evaluates at its start only",
        promise="P14",
        file="etl/alerting.py",
        find="EVERY = timedelta(minutes=1)",
        replace="EVERY = timedelta(days=1)",
        caught_by=_ALERTS + "test_serve_tells_within_a_minute_what_nobody_ran_a_command_for",
    ),
    Twin(
        name="a stream that never succeeded is never stale",
        promise="P14",
        file="etl/core/alerts.py",
        find="    since = each.succeeded_at or each.watched_since\n",
        replace="    since = each.succeeded_at\n",
        caught_by=_BOOK
        + "test_a_stream_that_never_succeeded_is_stale_once_it_was_waited_for_too_long[pool]",
    ),
    Twin(
        name="the alerts of another project are taken for over",
        promise="P14",
        file="etl/loaders/alerts.py",
        find="WHERE ended_at IS NULL AND project_id = ANY($1::bigint[])",
        replace="WHERE ended_at IS NULL AND $1::bigint[] IS NOT NULL",
        caught_by=_BOOK + "test_the_alerts_of_another_configuration_are_left_alone[pool]",
    ),
    Twin(
        name="the name of any field is told",
        promise="P11",
        file="etl/core/alerts.py",
        find="named = _FIELD.fullmatch(name)",
        replace="named = name",
        caught_by=_CORE + "test_the_name_of_a_field_that_may_be_somebodys_data_is_not_told",
    ),
    Twin(
        name="a webhook that repeats its address gets it into the log",
        promise="P11",
        file="etl/channels/webhook.py",
        find="self._hidden(_plain(said))[:_SHOWN_CHARACTERS]",
        replace="_plain(said)[:_SHOWN_CHARACTERS]",
        caught_by="tests/acceptance/test_secrets.py::"
        "test_neither_the_address_of_a_webhook_nor_the_password_for_e_mails_is_shown[55]",
    ),
    Twin(
        name="a stream that never succeeded has no freshness",
        promise="P3",
        file="etl/service/metrics.py",
        find="            self._freshness.labels(*each).set(math.inf)\n",
        replace="",
        caught_by=_METRICS
        + "test_every_stream_that_is_to_be_read_has_a_freshness_also_if_it_never_succeeded",
    ),
    Twin(
        name="a rule for Prometheus names a metric that was renamed",
        promise="P3",
        file="etl/service/metrics.py",
        find='            "differences",\n',
        replace='            "differing_rows",\n',
        caught_by=_METRICS
        + "test_what_is_shipped_for_prometheus_and_grafana_names_only_metrics_and_labels_there_are",
    ),
    Twin(
        name="a failed run is one event among others in the log",
        promise="P3",
        file="etl/runs/sync.py",
        find="_LEVELS = {FAILED: logging.ERROR, ",
        replace="_LEVELS = {",
        caught_by=_ALERTS + "test_a_failed_run_is_an_error_in_the_log_and_a_partial_one_a_warning",
    ),
]
