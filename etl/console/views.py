"""Each result for people: a table, and sentences below it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from etl.console.table import Styled, Table, say
from etl.console.words import span
from etl.core.drift import differences
from etl.core.forecast import Number, Sure
from etl.core.statuses import shown_status
from etl.core.stream import TAIL

if TYPE_CHECKING:
    from etl.core.reconciling import Found
    from etl.loaders.parents import RotationState
    from etl.loaders.queue import Jobs
    from etl.loaders.row_counts import Count
    from etl.runs.check import Finding
    from etl.runs.report import Report
    from etl.runs.unit_forecast import Plan

_COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "waiting": "cyan"}


def show_reports(reports: Sequence[Report]) -> None:
    """Print what a sync did: a row per unit, and below it why a unit did not succeed."""
    table = Table(
        *("project", "stream", "unit", "status", "read", "inserted", "updated", "rejected"),
        *("requests", "forecast", "seconds", "complete until"),
    )
    for report in reports:
        table.add_row(
            str(report.project_id),
            report.stream,
            report.unit,
            _coloured(report.ending.status),
            f"{report.records_read:,}",
            f"{report.rows_inserted:,}",
            f"{report.rows_updated:,}",
            f"{report.rejected:,}",
            f"{report.requests:,}",
            _forecast(report.forecast_requests, report.forecast_exact),
            f"{report.seconds:.1f}",
            _instant(report.complete_until),
        )
    table.print()
    if len(reports) > 1:
        records = _counted(sum(each.records_read for each in reports), "record")
        requests = _counted(sum(each.requests for each in reports), "request")
        say(f"Total: {records} read, {requests}")
    for report in reports:
        if report.ending.reason:
            say(f"{report.stream}: {report.ending.reason}")
    now: dict[int | str, dict[str, Count]] = {}
    for report in reports:
        now.setdefault(report.project_id, {}).update(report.rows)
    for project_id, counts in now.items():
        if counts:
            rows = ", ".join(
                f"{name} {'' if count.exact else 'about '}{count.rows:,}"
                for name, count in counts.items()
            )
            of = f" in {project_id}" if len(now) > 1 else ""
            say(f"Rows now{of}: {rows}")


def show_comparisons(reports: Sequence[Report]) -> None:
    """Print what a comparison found: a row per table, and below it what differs."""
    several = len({report.project_id for report in reports}) > 1
    table = Table(*(("project",) if several else ()), "stream", "table", "source", "result")
    for report in reports:
        own = (str(report.project_id),) if several else ()
        found = report.found
        if found is None:
            table.add_row(*own, report.stream, "", "", _coloured(report.ending.status))
            continue
        for name in dict.fromkeys(of for of, _ in found.counts):
            counts = [each.source for (of, _), each in found.counts.items() if of == name]
            rows = "" if None in counts else f"{found.total('source', name):,}"
            table.add_row(*own, report.stream, name, rows, _result(found, name))
    table.print()
    seconds = max((report.seconds for report in reports), default=0.0)
    requests = sum(each.requests for each in reports)
    say(f"{_counted(requests, 'request')} in {seconds:.1f} s")
    for report in reports:
        if report.ending.reason:
            say(f"{report.stream}: {report.ending.reason}")
        if report.found is not None:
            for sentence in _about(report.found):
                say(f"{report.stream}: {sentence}")


def _result(found: Found, table: str) -> Styled:
    counts = [(found.total(kind, table), kind) for kind in ("missing", "surplus", "different")]
    said = ", ".join(f"{count:,} {kind}" for count, kind in counts if count)
    if not said:
        return Styled("equal", "green")
    return Styled(f"{said}: repaired", "green") if found.repaired else Styled(said, "red")


def _about(found: Found) -> Iterable[str]:
    """Yield what is to be said of a comparison, in sentences."""
    if windows := found.windows:
        yield f"recordings from {_instant(windows[0].since)} to {_instant(windows[-1].until)}"
    if found.by_query:
        days = _counted(found.by_query, "day")
        yield f"{days} compared by query, without persons and distinct ids"
    if found.drawn is not None:
        drawn, of = found.drawn
        most = found.most_unseen
        sure = "" if most is None else f": with 95 % confidence less than {most:.1%} of them differ"
        yield f"all that is shared was compared, and {drawn:,} of {of:,} others at random{sure}"
    if found.on_their_way:
        yield f"{found.on_their_way:,} more rows differ where another run reads now"
    if found.expired:
        yield f"{found.expired:,} recordings have expired and are not marked yet; a sync marks them"
    if found.unverifiable:
        yield (
            f"{found.unverifiable:,} persons are known only from recordings that are gone, so they "
            "cannot be verified"
        )
    if found.refused:
        yield f"{found.refused:,} could not be looked at, so what belongs to them was not compared"
    for (kind, table), group in groupby(found.sample, key=lambda each: (each.kind, each.table)):
        yield f"{kind} in {table}: {', '.join(each.key for each in group)}"
    if found.differences > len(found.sample):
        yield f"and {found.differences - len(found.sample):,} more, in posthog_etl.differences"


def show_plan(plan: Plan, plan_name: str, *, most_asked: int) -> None:
    """Print what would be read: a row per range of time that one cursor reads, and the total.

    plan_name: which limits hold. most_asked: how many requests it might send to ask.
    """
    if not plan.units:
        say("All of this time is known complete; nothing would be read.")
        return
    several = len({each.project_id for each in plan.units}) > 1
    windowed = any(each.windows > 1 for each in plan.units)
    table = Table(
        *(("project",) if several else ()),
        *("stream", "rows", "requests", "takes", "from", "to"),
        *(("windows",) if windowed else ()),
    )
    for each in plan.units:
        by_time = each.unit in (TAIL, "windows")
        table.add_row(
            *((str(each.project_id),) if several else ()),
            each.stream,
            "" if each.rows is None else _number(each.rows),
            _number(each.forecast.number),
            span(each.seconds),
            _day(each.since),
            "now" if by_time and each.until is None else _day(each.until),
            *((f"{each.windows:,}",) if windowed else ()),
        )
    table.print()
    unknown = not most_asked and plan.requests.sure is Sure.LEAST
    rows = _total(plan.rows, "row", asked=plan.asked)
    requests = _total(plan.requests, "request", asked=plan.asked)
    takes = f"; it takes at least {span(plan.seconds)}{_done(plan.at, plan.seconds)}"
    say(
        f"Total: {rows}, {requests}"
        f"{'' if unknown else f'{takes}, under the limits of the plan {plan_name}'}"
    )
    for each in plan.units:
        name = _named(each.project_id, each.stream, several=several)
        if each.whole_s is not None:
            say(
                f"{name}: {each.said}: {span(each.whole_s)} at {each.forecast.requests:,} a sync, "
                f"a sync every {span(each.every_s).replace('.0 ', ' ')}"
            )
        elif each.said:
            say(f"{name}: {each.said}")
        if each.advice is not None:
            say(f"{name}: {each.advice}.")
    if plan.whole_s is not None:
        say(
            f"Everything is here, sharing too, in {span(plan.whole_s)}"
            f"{_done(plan.at, plan.whole_s)}"
        )
    for (project_id, stream), reason in plan.refused.items():
        say(f"{_named(project_id, stream, several=several)}: could not be asked about: {reason}")
    if plan.asked:
        say(f"To find this out, plan sent {_counted(plan.asked, 'request')}.")
    if plan.unasked:
        more = most_asked + sum(plan.unasked.values())
        say(
            f"Not asked about, so their numbers are the least: {', '.join(plan.unasked)}. "
            f"`plan --ask {more}` asks about them, too."
        )
    if unknown:
        say("Nobody has counted the rest: `plan --ask 10` asks PostHog how much there is.")


def _number(number: Number) -> str:
    """Say a number; nothing if nothing is known."""
    return "" if number == Number(0, Sure.LEAST) else str(number)


def _total(number: Number, word: str, *, asked: int) -> str:
    """Say a sum. If a part of it is a lower bound, those that were asked may be estimates."""
    if number.sure is not Sure.LEAST or not asked:
        return f"{number} {_word(number.value, word)}"
    return f"{Number(number.value, Sure.ABOUT)} {_word(number.value, word)} or more"


def _done(now: datetime, seconds: float) -> str:
    """Return until when something takes so long; nothing if it is soon over."""
    return "" if seconds < 60 else f", until {_instant(now + timedelta(seconds=seconds))}"


def _named(project_id: object, stream: str, *, several: bool) -> str:
    """Return the name of a stream, with its project if there are several."""
    return f"{stream} of project {project_id}" if several else stream


def show_findings(findings: Sequence[Finding]) -> None:
    """Print the findings, one per row."""
    table = Table("", "what", "scope", "found")
    for finding in findings:
        mark = Styled("ok", "green") if finding.well else Styled("no", "red")
        table.add_row(mark, finding.about, finding.scope or "", finding.said)
    table.print()


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Print the runs, one per row."""
    table = Table(
        *("started", "project", "stream", "unit", "status", "read", "inserted", "updated"),
        *("rejected", "requests", "seconds", "reason"),
    )
    for row in rows:
        ended = row["ended_at"]
        table.add_row(
            _instant(row["started_at"]),
            str(row["project_id"]),
            row["stream"],
            row["unit"],
            _coloured("waiting" if row["waiting_for"] else row["status"]),
            f"{row['records_read']:,}",
            f"{row['rows_inserted']:,}",
            f"{row['rows_updated']:,}",
            f"{row['rejected']:,}",
            f"{row['requests']:,}",
            "" if ended is None else f"{(ended - row['started_at']).total_seconds():.1f}",
            _waits_for(row) or row["reason"] or "",
        )
    table.print()


def _waits_for(run: dict[str, Any]) -> str:
    """Return what a run waits for; nothing if it does not wait."""
    if run["waiting_for"] is None:
        return ""
    until = run["waiting_until"]
    return f"waits for {run['waiting_for']}{'' if until is None else f', until {_instant(until)}'}"


def show_rejects(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rejects, one per row."""
    if not rows:
        say("There are no rejects.")
        return
    table = Table("project", "stream", "record", "reason", "first seen", "last seen", "resolved")
    for row in rows:
        table.add_row(
            str(row["project_id"]),
            row["stream"],
            row["record_key"],
            row["reason"],
            _instant(row["first_seen_at"]),
            _instant(row["last_seen_at"]),
            _instant(row["resolved_at"]),
        )
    table.print()


def show_payloads(rows: Sequence[dict[str, Any]]) -> None:
    """Print rejects with their payload, each as JSON below its reason."""
    for row in rows:
        resolved = row["resolved_at"]
        loaded = "" if resolved is None else f"; loaded at {_instant(resolved)}"
        say(
            f"{row['stream']} of project {row['project_id']}, rejected at "
            f"{_instant(row['last_seen_at'])}{loaded}: {row['reason']}"
        )
        say(json.dumps(row["payload"], indent=2, ensure_ascii=False), folded=False)


def show_status(rows: Sequence[dict[str, Any]], queue: Mapping[int, Jobs]) -> None:
    """Print the jobs on the queue, then one row per project and stream."""
    for project_id, jobs in queue.items():
        hint = ". Workers take them: `posthog-etl worker`" if jobs.untouched else ""
        say(f"Jobs of project {project_id} on the queue: {jobs}{hint}")
    if not rows:
        say("Nothing has run yet. Start with: posthog-etl sync")
        return
    table = Table(
        *("project", "stream", "state", "complete until", "lag", "complete since", "last run"),
        *("read", "read fast", "rejects", "paused until"),
    )
    now, several = datetime.now(UTC), len({row["project_id"] for row in rows}) > 1
    for row in rows:
        until = row["complete"].until or row["tail_until"]
        table.add_row(
            str(row["project_id"]),
            row["stream"],
            _coloured("waiting" if _waits(row) else shown_status(row)),
            _instant(until),
            "" if until is None else span((now - until).total_seconds()),
            _instant(row["complete"].since),
            _instant(row["started_at"]),
            f"{row['records_read']:,}",
            "" if row["read_fast_share"] is None else f"{100 * row['read_fast_share']:.0f} %",
            f"{row['rejects']:,}",
            _instant(row["paused_until"]),
        )
    table.print()
    for row in rows:
        for wait in row["waiting"]:
            until = "" if wait.until is None else f", until {_instant(wait.until)}"
            of = f" of project {row['project_id']}" if several else ""
            say(f"{row['stream']}{of}: the {wait.command} waits for {wait.waiting_for}{until}")
        for hole in row["holes"]:
            say(
                f"{row['stream']}: not known complete from {_instant(hole.since)} to "
                f"{_instant(hole.until)}. Load it with: posthog-etl backfill {row['stream']} "
                f"--since {_plain(hole.since)} --until {_plain(hole.until)}",
                folded=False,
            )
        if row["turns"] is not None and row["turns"].resources:
            say(f"{row['stream']}: {_checks(row['turns'], now)}")
        if not row["incremental"]:
            say(
                f"{row['stream']}: this server ignores dates. "
                + (
                    "A sync reads the newest part of the list, and all of it once a day"
                    if row["reads_front"]
                    else "Every sync reads the whole list"
                ),
                folded=False,
            )
        if row["unaccounted"]:
            rows_said = f"{row['unaccounted']:,} {'row' if row['unaccounted'] == 1 else 'rows'}"
            say(f"{row['stream']}: {rows_said} of the server's count unaccounted for")
        if row["drift"]:
            said = differences(row["drift"])
            say(f"{row['stream']}: records differ from the catalogue: {said}")
        if (verified := row["verified"]) is not None:
            said = _differences(verified.differences)
            of = (
                ""
                if verified.since is None
                else f"; verified are {_instant(verified.since)} to {_instant(verified.until)}"
            )
            say(f"{row['stream']}: verified at {_instant(verified.checked_at)}: {said}{of}")
        if row["before_start"] is not None:
            say(f"{row['stream']}: {row['before_start_hint']}")
        if row["reason"]:
            say(f"{row['stream']}: {row['reason']}")
        for failure in row["failures"]:
            if failure.reason not in (row["reason"] or ""):
                say(f"{row['stream']}: {failure.about}: {failure.reason}")
                say(f"{row['stream']}: then: {failure.retry}")


def _waits(row: dict[str, Any]) -> bool:
    """Tell whether the last run of a stream waits."""
    return any(wait.run_id == str(row["id"]) for wait in row["waiting"])


def _differences(count: int) -> str:
    if count == 0:
        return "equal"
    return f"{count:,} {'row differs' if count == 1 else 'rows differ'}"


def show_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under these column names."""
    table = Table(*names)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    table.print()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def _checks(state: RotationState, now: datetime) -> str:
    if state.oldest_check is None:
        return f"none of {state.resources:,} resources was checked yet"
    said = f"the oldest check is {span((now - state.oldest_check).total_seconds())} old"
    if state.never_checked:
        said += f"; {state.never_checked:,} of {state.resources:,} resources were never checked"
    return f"{said}; {state.due:,} are due"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {_word(count, word)}"


def _word(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _forecast(requests: int | None, exact: bool | None) -> str:
    if requests is None:
        return ""
    return f"{requests:,}" if exact else f"at least {requests:,}"


def _coloured(status: str) -> Styled:
    return Styled(status, _COLOURS.get(status, "yellow"))


def _instant(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _day(at: datetime | None) -> str:
    """Say an instant; only its day if that is when it begins."""
    return _instant(at).removesuffix(" 00:00:00Z")


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
