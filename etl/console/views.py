"""Each result for people: a table, and sentences below it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from etl.console.table import Styled, Table, say
from etl.console.words import span
from etl.core.alerts import NO_PROJECT
from etl.core.drift import differences
from etl.core.forecast import Number, Sure
from etl.core.statuses import asked_share, is_first_load, shown_status, work_of
from etl.core.stream import TAIL

if TYPE_CHECKING:
    from etl.core.reconciling import Found
    from etl.loaders.parents import RotationState
    from etl.loaders.row_counts import Count
    from etl.runs.check import Finding
    from etl.runs.report import Report
    from etl.runs.status import StatusReport
    from etl.runs.unit_forecast import Plan, UnitForecast

_ORDER = ("failed", "held", "partial", "paused", "waiting", "running", "succeeded")
_COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "waiting": "cyan"}


def show_reports(reports: Sequence[Report]) -> None:
    """Print what a sync did: a row per unit, and below it why a unit did not succeed.

    Those that did not succeed come first.
    """
    several = len({report.project_id for report in reports}) > 1
    forecast = any(report.forecast_exact for report in reports)
    works = [work_of(report.unit) for report in reports]
    windows = set(works) != {"sync"}
    table = Table(
        *(("project",) if several else ()),
        "stream",
        *(("what",) if windows else ()),
        *("status", "read", "inserted", "updated", "rejected", "requests"),
        *(("forecast",) if forecast else ()),
        *("seconds", "complete until"),
    )
    ordered = sorted(reports, key=lambda report: _rank(report.ending.status))
    for report in ordered:
        table.add_row(
            *((str(report.project_id),) if several else ()),
            report.stream,
            *((work_of(report.unit),) if windows else ()),
            _coloured(report.ending.status),
            f"{report.records_read:,}",
            f"{report.rows_inserted:,}",
            f"{report.rows_updated:,}",
            f"{report.rejected:,}",
            f"{report.requests:,}",
            # A lower bound is no forecast.
            *(
                (f"{report.forecast_requests:,}" if report.forecast_exact else "",)
                if forecast
                else ()
            ),
            f"{report.seconds:.1f}",
            _instant(report.complete_until),
        )
    table.print()
    if any(report.rows_inserted or report.rows_updated for report in reports):
        say(
            "read counts records; inserted and updated count rows, those of all tables of a "
            "stream together"
        )
    if len(reports) > 1:
        records = _counted(sum(each.records_read for each in reports), "record")
        requests = _counted(sum(each.requests for each in reports), "request")
        of = "all windows" if len({each.stream for each in reports}) == 1 else "all streams"
        say(f"Total of {of}: {records} read, {requests}")
    for report in ordered:
        if report.ending.reason:
            name = _named(report.project_id, report.stream, several=several)
            say(f"{name}: {report.ending.reason}")
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
        name = _named(report.project_id, report.stream, several=several)
        if report.ending.reason:
            say(f"{name}: {report.ending.reason}")
        if report.found is not None:
            for sentence in _about(report.found):
                say(f"{name}: {sentence}")


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
            _takes(each),
            _day(each.since),
            "now" if by_time and each.until is None else _day(each.until),
            *((f"{each.windows:,}",) if windowed else ()),
        )
    table.print()
    unknown = not most_asked and plan.requests.sure is Sure.LEAST
    rows = _total(plan.rows, "row", asked=plan.asked) + ", " if _number(plan.rows) else ""
    requests = _total(plan.requests, "request", asked=plan.asked)
    takes = (
        f"; it takes at least {span(plan.seconds)}{_done(plan.at, plan.seconds)}, under the limits "
        f"of the plan {plan_name}"
    )
    say(f"Total: {rows}{requests}{'' if unknown or plan.seconds < 1 else takes}")
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


def _takes(unit: UnitForecast) -> str:
    """Say how long a unit takes; nothing if only the least is known, and that is no time at all."""
    least = unit.forecast.number.sure is Sure.LEAST
    if least and unit.seconds < 1:
        return ""
    return f"{'at least ' if least else ''}{span(unit.seconds)}"


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
        *("started", "project", "stream", "what", "status", "read", "inserted", "updated"),
        *("rejected", "requests", "seconds", "reason"),
    )
    for row in rows:
        ended = row["ended_at"]
        table.add_row(
            _instant(row["started_at"]),
            str(row["project_id"]),
            row["stream"],
            work_of(row["unit"]),
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


def show_alerts(rows: Sequence[dict[str, Any]]) -> None:
    """Print the open alerts: one per row, and below the table what each is about."""
    table = Table("project", "stream", "alert", "since", "told by")
    for row in rows:
        table.add_row(
            _project(row["project_id"]),
            row["stream"],
            row["kind"],
            _instant(row["began_at"]),
            ", ".join(row["told"]) or "nobody yet",
        )
    table.print()
    for row in rows:
        project = _project(row["project_id"])
        say(f"{row['kind']}: {row['stream']}, project {project}: {row['detail']}")


def _project(number: int) -> str:
    return "@current" if number == NO_PROJECT else str(number)


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


def show_status(found: StatusReport) -> None:
    """Print the jobs on the queue, how many streams are how, then a row per project and stream.

    Streams that need a look come first.
    """
    rows = sorted(found.streams, key=lambda row: _rank(_state(row)))
    for project_id, jobs in found.queue.items():
        hint = ". Workers take them: `posthog-etl worker`" if jobs.untouched else ""
        say(f"Jobs of project {project_id} on the queue: {jobs}{hint}")
    if not rows:
        say("Nothing has run yet. Start with: posthog-etl sync")
        return
    now, projects = datetime.now(UTC), sorted({row["project_id"] for row in rows})
    several = len(projects) > 1
    for project_id in projects:
        own = [row for row in rows if row["project_id"] == project_id]
        if len(own) > 1 or found.never_run.get(project_id):
            say(_summary(project_id, own, found.never_run.get(project_id, ())))
    table = Table(
        *(("project",) if several else ()),
        *("stream", "state", "complete until", "lag", "rejects", "last run"),
        *("read", "complete since", "paused until"),
    )
    for row in rows:
        until = _known_until(row)
        state = _state(row)
        table.add_row(
            *((str(row["project_id"]),) if several else ()),
            row["stream"],
            Styled(", ".join((state, *_more_of_state(row))), _COLOURS.get(state, "yellow")),
            _instant(until),
            "" if until is None else span((now - until).total_seconds()),
            f"{row['rejects']:,}",
            _instant(row["started_at"]),
            f"{row['records_read']:,}",
            _instant(row["complete"].since),
            _instant(row["paused_until"]),
        )
    table.print()
    for row in rows:
        for sentence in _about_stream(row, now):
            # Commands stay whole.
            name = _named(row["project_id"], row["stream"], several=several)
            say(f"{name}: {sentence}", folded="posthog-etl backfill" not in sentence)


def _summary(project_id: int, rows: Sequence[dict[str, Any]], never_run: Sequence[str]) -> str:
    """Return how many streams of a project are how, the worst first."""
    counts = Counter(map(_state, rows))
    states = sorted(counts, key=_rank)
    said = ", ".join(f"{counts[state]} {state}" for state in states)
    if rejects := sum(row["rejects"] for row in rows):
        said += f"; {_counted(rejects, 'record')} rejected: posthog-etl rejects list"
    if never_run:
        said += f"; not run yet: {', '.join(never_run)}"
    return f"Project {project_id}, {_counted(len(rows), 'stream')}: {said}"


def _about_stream(row: dict[str, Any], now: datetime) -> Iterable[str]:
    """Yield what is to be said of a stream, in sentences."""
    if is_first_load(shown_status(row), _known_until(row)):
        yield (
            f"the first load is under way: {_counted(row['records_read'], 'record')} read by the "
            "last run, and nothing is known complete yet"
        )
    for wait in row["waiting"]:
        until = "" if wait.until is None else f", until {_instant(wait.until)}"
        yield f"the {wait.command} waits for {wait.waiting_for}{until}"
    if row["retried"] is not None:
        yield row["retried"].again
    for hole in row["holes"]:
        yield (
            f"not known complete from {_instant(hole.since)} to {_instant(hole.until)}. Load it "
            f"with: posthog-etl backfill {row['stream']} --since {_plain(hole.since)} "
            f"--until {_plain(hole.until)}"
        )
    if row["turns"] is not None and row["turns"].resources:
        yield _checks(row["turns"], now)
    if not row["incremental"]:
        yield "this server ignores dates. " + (
            "A sync reads the newest part of the list, and all of it once a day"
            if row["reads_front"]
            else "Every sync reads the whole list"
        )
    if row["unaccounted"]:
        yield f"{_counted(row['unaccounted'], 'row')} of the server's count unaccounted for"
    if row["drift"]:
        yield f"records differ from the catalogue: {differences(row['drift'])}"
    if (verified := row["verified"]) is not None:
        of = (
            ""
            if verified.since is None
            else f"; verified are {_instant(verified.since)} to {_instant(verified.until)}"
        )
        at = _instant(verified.checked_at)
        yield f"verified at {at}: {_differences(verified.differences)}{of}"
    if row["before_start"] is not None:
        yield row["before_start_hint"]
    if row["reason"]:
        yield row["reason"]
    for failure in row["failures"]:
        if failure.reason not in (row["reason"] or ""):
            yield f"{failure.about}: {failure.reason}"
            yield f"then: {failure.retry}"


def _known_until(row: dict[str, Any]) -> datetime | None:
    until: datetime | None = row["complete"].until or row["tail_until"]
    return until


def _state(row: dict[str, Any]) -> str:
    """Return the state of a stream, in one word."""
    return "waiting" if _waits(row) else shown_status(row)


def _more_of_state(row: dict[str, Any]) -> Iterable[str]:
    """Yield what is true of a stream besides its state."""
    if row["retried"] is not None:
        yield f"{row['retried'].status} before"
    if is_first_load(shown_status(row), _known_until(row)):
        yield "first load"
    turns = row["turns"]
    if turns is not None and (share := asked_share(turns.resources, turns.never_checked)):
        yield share


def _rank(state: str) -> int:
    """Return the place of a state: what needs a look comes first."""
    return _ORDER.index(state) if state in _ORDER else 0


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


def _coloured(status: str) -> Styled:
    return Styled(status, _COLOURS.get(status, "yellow"))


def _instant(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _day(at: datetime | None) -> str:
    """Say an instant; only its day if that is when it begins."""
    return _instant(at).removesuffix(" 00:00:00Z")


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
