"""What a sync or a backfill would do: windows, requests and time, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from etl.core.budget import QUERY, Limits
from etl.core.coverage import Span
from etl.core.forecast import Forecast, Number, Sure, by_cursor, by_offset, duration_s
from etl.core.outliers import dates_before, is_ahead_due, is_look_before_due
from etl.core.query import QuerySpec, increment, is_due
from etl.core.stream import TAIL, Mode, Stream
from etl.core.window import AHEAD, Window, tail_window
from etl.extractors.recordings import RecordingsReader
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.runs.asking import Asking, ask_ahead
from etl.runs.backfill import BackfillRange, chained, windows_left
from etl.runs.forecasts import (
    forecast_ahead,
    forecast_query,
    forecast_snapshot,
    front_will_do,
    known_rows,
    was_read,
)
from etl.runs.work import RunOptions, Tools


class UnitForecast(Struct, frozen=True):
    """Neighbouring windows that one cursor reads, and what that takes.

    since: where the oldest window begins; None means with the oldest recording.
    until: where the newest window ends; None means at the present.
    windows: a count.
    said: what is read, in words; empty if since, until and windows say it.
    seconds: the shortest time that the request budget allows; the server's own time is added to it.
    advice: what is cheaper, None if nothing is known to be.
    rows: how many records are read; None if nobody knows.
    classes: the limits that its requests draw from.
    whole_s: how long it takes until a rotation has asked about everything, in seconds; None if one
    sync does. every_s: the time between two syncs, in seconds.
    """

    project_id: int
    stream: str
    unit: str
    since: datetime | None
    until: datetime | None
    windows: int
    forecast: Forecast
    seconds: float
    advice: str | None = None
    said: str = ""
    rows: Number | None = None
    classes: tuple[str, ...] = ()
    whole_s: float | None = None
    every_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the forecast as a JSON document."""
        return {
            "project_id": self.project_id,
            "stream": self.stream,
            "unit": self.unit,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "windows": self.windows,
            "rows": None if self.rows is None else self.rows.value,
            "rows_kind": None if self.rows is None else self.rows.sure.kind,
            "requests": self.forecast.requests,
            "requests_kind": self.forecast.number.sure.kind,
            "exact": self.forecast.exact,
            "seconds": round(self.seconds, 1),
            "seconds_for_everything": self.whole_s and round(self.whole_s, 1),
            "advice": self.advice,
            "said": self.said,
        }


class Plan(Struct, frozen=True):
    """What a sync or a backfill would do. rows, requests, seconds: of all of it together.

    at: when it was made. whole_s: until every rotation has asked about everything, in seconds; None
    if one sync does. asked: how many requests were sent to find out. unasked: how many more would
    have been, by stream. refused: why a stream could not be asked about, by project and stream.
    """

    at: datetime
    units: Sequence[UnitForecast]
    rows: Number
    requests: Number
    seconds: float
    whole_s: float | None = None
    asked: int = 0
    unasked: Mapping[str, int] = {}
    refused: Mapping[tuple[int, str], str] = {}

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a JSON document."""
        return {
            "plan": [each.as_json() for each in self.units],
            "total": {
                "rows": self.rows.value,
                "rows_kind": self.rows.sure.kind,
                "requests": self.requests.value,
                "requests_kind": self.requests.sure.kind,
                "seconds": round(self.seconds, 1),
                "seconds_for_everything": self.whole_s and round(self.whole_s, 1),
            },
            "asked": {
                "requests": self.asked,
                "not_asked": self.unasked,
                "refused": [
                    {"project_id": project_id, "stream": stream, "reason": reason}
                    for (project_id, stream), reason in self.refused.items()
                ],
            },
        }


async def made_plan(
    tools: Tools, units: Sequence[UnitForecast], limits: Limits, asking: Asking
) -> Plan:
    """Return the plan of these units: several draw from one limit. Raises DestinationError."""
    now = tools.client.now
    classes = dict.fromkeys(name for unit in units for name in unit.classes)
    spent = await tools.budget.spent(tuple(classes))
    seconds = [unit.seconds for unit in units]
    for name in classes:
        requests = sum(unit.forecast.requests for unit in units if name in unit.classes)
        seconds.append(duration_s(requests, (name,), limits, spent, now))
    whole = [unit.whole_s for unit in units if unit.whole_s is not None]
    unknown = Number(0, Sure.LEAST)
    return Plan(
        now,
        units,
        rows=sum((unit.rows or unknown for unit in units), Number(0)),
        requests=sum((unit.forecast.number for unit in units), Number(0)),
        seconds=max(seconds, default=0.0),
        whole_s=max([*whole, *seconds]) if whole else None,
        asked=asking.sent,
        unasked=asking.unasked,
        refused=asking.refused,
    )


async def ask_about(
    tools: Tools,
    options: RunOptions,
    streams: Sequence[Stream],
    project_id: int,
    past: BackfillRange | None,
    asking: Asking,
) -> None:
    """Ask about all of which nothing is known yet. Raises KeyRefused and DestinationError."""
    spans: dict[str, Span] = {}
    unread: list[str] = []
    for stream in streams:
        unit = Unit(project_id, stream.name, stream.unit)
        watermark = await tools.history.watermark(unit)
        if stream.mode is Mode.SNAPSHOT and not was_read(stream, watermark):
            unread.append(stream.name)
        elif stream.mode is Mode.WINDOWS:
            window = await _unknown(tools, options, stream, unit, watermark, past)
            if window is not None:
                until = window.until or tools.client.source_now + AHEAD
                spans[stream.name] = Span(window.since, until)
    await ask_ahead(asking, project_id, streams, spans, unread)


async def _unknown(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    unit: Unit,
    watermark: Watermark,
    past: BackfillRange | None,
) -> Window | None:
    """Return the window that holds all whose rows nobody has counted; None if there is none."""
    if (watermark.traits or {}).get("envelope") == "count":
        return None  # it is asked for its count anyway
    unknown = []
    for window, _ in _stretches(tools, options, watermark, past):
        rows_known = past is None and watermark.tail_until is not None
        if not rows_known and not (await known_rows(tools, stream, unit, window, watermark))[2]:
            unknown.append(window)
    if not unknown:
        return None
    untils = [each.until for each in unknown if each.until is not None]
    until = max(untils) if len(untils) == len(unknown) else None
    return Window(min(each.since for each in unknown), until)


def _stretches(
    tools: Tools, options: RunOptions, watermark: Watermark, past: BackfillRange | None
) -> list[tuple[Window, int]]:
    """Return what is read of a stream by time, each with the number of its windows."""
    now = tools.client.source_now
    if past is None:
        age = options.lookback.due(watermark.swept, now)
        tail = tail_window(watermark.tail_until, options.start, watermark.complete, age)
        return [(tail, 1)]
    stretches = [
        (Window(windows[-1].since, windows[0].until), len(windows))
        for windows in chained(windows_left(past, watermark, now))
    ]
    if stretches and (watermark.traits or {}).get("envelope") == "count":
        # Such a server is read in one go, whatever was asked for.
        return [(stretches[0][0], sum(count for _, count in stretches))]
    return stretches


async def unit_forecasts(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    project_id: int,
    past: BackfillRange | None,
    limits: Limits,
    asking: Asking,
    every_s: float,
) -> list[UnitForecast]:
    """Return what is ahead of one stream, in the order in which it would be read.

    every_s: the time between two syncs of the stream, in seconds.

    Nothing is ahead of a backfill whose time is known complete. Raises EtlError.
    """
    unit = Unit(project_id, stream.name, stream.unit)
    watermark = await tools.history.watermark(unit)
    if stream.query is not None:
        return [await _of_query(tools, options, stream.query, unit, watermark, limits)]
    if stream.mode is Mode.SNAPSHOT:
        return [await _of_snapshot(tools, options, stream, unit, watermark, limits, asking)]
    if stream.mode is Mode.ROTATION:
        return [await _of_rotation(tools, options, stream, unit, limits, asking, every_s)]
    spent = await tools.budget.spent(stream.budget_classes)
    found: list[UnitForecast] = []
    requests, now = 0, tools.client.now
    for window, count in _stretches(tools, options, watermark, past):
        forecast, rows, said = await _forecast(
            tools, options, stream, unit, window, watermark, asking
        )
        if past is None:
            outliers = await _outliers(tools, options, stream, unit, watermark)
            if forecast.about and not outliers.exact:
                outliers = replace(outliers, about=True)  # few recordings lie ahead
            forecast += outliers
        requests += forecast.requests
        found.append(
            UnitForecast(
                project_id,
                stream.name,
                TAIL if past is None else "windows",
                window.since,
                window.until,
                count,
                forecast,
                duration_s(requests, stream.budget_classes, limits, spent, now),
                said=said,
                rows=rows,
                classes=stream.budget_classes,
            )
        )
    return found


async def _of_snapshot(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    unit: Unit,
    watermark: Watermark,
    limits: Limits,
    asking: Asking,
) -> UnitForecast:
    """Return what a sync reads of whole lists."""
    project_id, advice = unit.project_id, None
    stored = await tools.history.row_counts(project_id, [r.tables[0] for r in stream.resources])
    rows = Number(sum(count.rows for count in stored.values()), Sure.ABOUT)
    if was_read(stream, watermark):
        forecast = await forecast_snapshot(tools, stream, project_id, watermark)
        if forecast.exact:
            rows = Number(rows.value)
    else:
        requests, rows = await _first_snapshot(tools, stream, project_id, asking)
        forecast = forecast_of(requests)
    if stream.costly is not None:
        most = max(rows.value, stored[stream.tables[0].name].rows)
        forecast, advice = _weighed(options, stream, most, forecast)
    spent = await tools.budget.spent(stream.budget_classes)
    return UnitForecast(
        project_id,
        stream.name,
        unit.name,
        None,
        None,
        1,
        forecast,
        duration_s(forecast.requests, stream.budget_classes, limits, spent, tools.client.now),
        advice,
        rows=rows if rows != Number(0, Sure.LEAST) else None,
        classes=stream.budget_classes,
    )


async def _of_rotation(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    unit: Unit,
    limits: Limits,
    asking: Asking,
    every_s: float,
) -> UnitForecast:
    """Return what a sync asks about one by one, and how long it takes to ask about everything."""
    parents = stream.resources[0].parents
    assert parents is not None
    project_id, at_once = unit.project_id, options.rotation_requests
    turns = await tools.parents.rotation_state(
        project_id, stream.name, parents, options.recheck_after
    )
    ahead = asking.rows(project_id, parents.table) or Number(0, Sure.LEAST)
    # What the sync of the parents brings in before is new, and due, too.
    new = max(0, ahead.value - turns.resources)
    never, due = turns.never_checked + new, turns.due + new
    if new:
        sure = min(ahead.sure, Sure.ABOUT)
    else:
        sure = Sure.EXACT if turns.resources else min(ahead.sure, Sure.ABOUT)
    rows, said, whole_s = Number(min(due, at_once), sure), "", None
    if rows.value == at_once and sure is Sure.ABOUT:
        rows = Number(at_once)
    spent = await tools.budget.spent(stream.budget_classes)
    now, classes = tools.client.now, stream.budget_classes
    if never > at_once:
        by_budget_s = duration_s(never, classes, limits, spent, now)
        whole_s = max(by_budget_s, (ceil(never / at_once) - 1) * every_s)
        said = f"{Number(never, sure)} {parents.table.replace('_', ' ')} never asked about"
    return UnitForecast(
        project_id,
        stream.name,
        unit.name,
        None,
        None,
        1,
        forecast_of(rows),
        duration_s(rows.value, classes, limits, spent, now),
        said=said,
        rows=rows,
        classes=classes,
        whole_s=whole_s,
        every_s=every_s,
    )


def forecast_of(requests: Number) -> Forecast:
    """Return a number of requests as a forecast."""
    sure = requests.sure
    return Forecast(requests.value, exact=sure is Sure.EXACT, about=sure is Sure.ABOUT)


async def _first_snapshot(
    tools: Tools, stream: Stream, project_id: int, asking: Asking
) -> tuple[Number, Number]:
    """Return requests and rows of a snapshot that was never read, by what the server said.

    What was not asked is a lower bound. Raises DestinationError.
    """
    requests, rows = Number(0), Number(0)
    for resource in stream.resources:
        lists, parents = len(resource.lists), resource.parents
        found = asking.lists(project_id, resource) if parents is None else None
        if found is not None:
            requests, rows = requests + found.requests, rows + found.rows
        elif parents is None:
            requests, rows = requests + Number(lists, Sure.LEAST), rows + Number(0, Sure.LEAST)
        else:
            count = asking.rows(project_id, parents.table)
            if count is None:
                known = await tools.parents.count(project_id, parents)
                count = Number(known, Sure.ABOUT if known else Sure.LEAST)
            # Which of the parents are asked about is known only once they are stored.
            requests += Number(count.value * lists, min(count.sure, Sure.ABOUT))
            rows += Number(0, Sure.LEAST)
    return requests, rows


def _weighed(
    options: RunOptions, stream: Stream, rows: int, forecast: Forecast
) -> tuple[Forecast, str | None]:
    """Return the forecast, at least what these rows take; and what is cheaper."""
    assert stream.costly is not None
    page_rows = options.page_size_records
    if not forecast.exact:
        least = by_offset(rows, page_rows, page_rows)
        forecast = replace(forecast, requests=max(forecast.requests, least))
    return forecast, stream.costly.advice if rows > stream.costly.rows else None


async def _of_query(
    tools: Tools,
    options: RunOptions,
    spec: QuerySpec,
    unit: Unit,
    watermark: Watermark,
    limits: Limits,
) -> UnitForecast:
    """Return what a sync reads of a query, in words, too: its window is one of its cursor."""
    now, traits = tools.client.source_now, watermark.traits or {}
    same = traits.get("fingerprint") in {each.fingerprint for each in (spec, *spec.others)}
    forecast = forecast_query()
    since = until = None
    if same and not is_due(spec, traits, now):
        forecast = Forecast(0, exact=True)
        due = datetime.fromisoformat(traits["queried_at"]) + spec.every
        said = (
            f"nothing is read before {due:%Y-%m-%d %H:%M}Z, when it is due; to read it now: "
            f"posthog-etl query run {spec.name}"
        )
    elif spec.cursor is None:
        said = "all rows are read, and those that are gone are marked"
    else:
        known = watermark.tail_until if same else None
        since, until, _ = increment(spec, known, watermark.swept, options.start, now)
        said = f"rows are read whose {spec.cursor} lies in this time"
    if forecast.requests:
        said += "; how many pages that takes shows only at the end"
    classes = (QUERY,)
    spent = await tools.budget.spent(classes)
    seconds = duration_s(forecast.requests, classes, limits, spent, tools.client.now)
    windows = 1 if forecast.requests else 0
    return UnitForecast(
        unit.project_id,
        unit.stream,
        unit.name,
        since,
        until,
        windows,
        forecast,
        seconds,
        said=said,
        classes=classes,
    )


async def _outliers(
    tools: Tools, options: RunOptions, stream: Stream, unit: Unit, watermark: Watermark
) -> Forecast:
    """Return what it takes to read what lies ahead, and to look for what lies before `start`."""
    forecast, now = Forecast(0, exact=True), tools.client.now
    if is_ahead_due(watermark.traits, now):
        exact = "ahead" in (watermark.traits or {})
        forecast = await forecast_ahead(tools, options, stream, unit, now + AHEAD, exact=exact)
    if is_look_before_due(watermark.traits, now):
        looks = dates_before(options.start, watermark.complete) is not None
        forecast += Forecast(int(looks), exact=True)
    return forecast


async def _forecast(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    unit: Unit,
    window: Window,
    watermark: Watermark,
    asking: Asking,
) -> tuple[Forecast, Number, str]:
    """Return requests and rows of a window, and what else is to be said of it."""
    traits, page_rows = watermark.traits or {}, options.page_size_records
    front = front_will_do(tools, traits)
    if traits.get("envelope") == "count" and not front:
        reader = RecordingsReader(
            tools.client,
            stream,
            unit.project_id,
            prefix=options.prefix,
            page_size_records=1,
            traits=watermark.traits,
        )
        async for page in reader.pages(window):
            if page.forecast_records is not None:
                count = page.forecast_records
                requests = by_offset(count, page_rows, traits.get("clamp"))
                return Forecast(requests, exact=True), Number(count), ""
            break
    # By the rows that are known; a lower bound unless all, with the margins, is complete.
    rows, older, complete = await known_rows(tools, stream, unit, window, watermark)
    asked = asking.recordings(unit.project_id, stream)
    if complete or asked is None:
        exact = complete and not front
        sure = Sure.EXACT if exact else Sure.LEAST
        return Forecast(by_cursor(rows, older, page_rows), exact), Number(rows, sure), ""
    total, said, here = asked.within(window.since, window.until), "", 0
    if window.until is None and unit.name == TAIL:
        # A first load that was broken off goes on.
        span = Span(window.since, tools.client.source_now)
        here = await tools.history.count_started(unit, stream, [span])
    if here:
        said = f"{here:,} of these recordings are stored already; the first load goes on"
    left = max(0, total.value - here)
    return Forecast(by_cursor(left, older, page_rows), exact=False, about=True), total, said
