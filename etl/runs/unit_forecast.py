"""What a sync or a backfill would do: windows, requests and time, before anything runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from etl.core.budget import QUERY, Limits
from etl.core.forecast import Forecast, by_cursor, by_offset, duration_s
from etl.core.outliers import dates_before, is_ahead_due, is_look_before_due
from etl.core.query import QuerySpec, increment, is_due
from etl.core.stream import TAIL, Mode, Stream
from etl.core.window import AHEAD, Window, tail_window
from etl.extractors.recordings import RecordingsReader
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.runs.backfill import BackfillRange, chained, windows_left
from etl.runs.forecasts import (
    forecast_ahead,
    forecast_query,
    forecast_rotation,
    forecast_snapshot,
    front_will_do,
    known_rows,
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

    def as_json(self) -> dict[str, Any]:
        """Return the forecast as a JSON document."""
        return {
            "project_id": self.project_id,
            "stream": self.stream,
            "unit": self.unit,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "windows": self.windows,
            "requests": self.forecast.requests,
            "exact": self.forecast.exact,
            "seconds": round(self.seconds, 1),
            "advice": self.advice,
            "said": self.said,
        }


async def unit_forecasts(
    tools: Tools,
    options: RunOptions,
    stream: Stream,
    project_id: int,
    past: BackfillRange | None,
    limits: Limits,
) -> list[UnitForecast]:
    """Return what is ahead of one stream, in the order in which it would be read.

    Nothing is ahead of a backfill whose time is known complete. Raises EtlError.
    """
    unit = Unit(project_id, stream.name, stream.unit)
    watermark = await tools.history.watermark(unit)
    now = tools.client.now
    if stream.query is not None:
        return [await _of_query(tools, options, stream.query, unit, watermark, limits)]
    if stream.mode is not Mode.WINDOWS:
        advice = None
        if stream.mode is Mode.SNAPSHOT:
            forecast = await forecast_snapshot(tools, stream, project_id, watermark)
            if stream.costly is not None:
                forecast, advice = await _weighed(tools, options, stream, project_id, forecast)
        else:
            forecast = await forecast_rotation(tools, options, stream, project_id)
        spent = await tools.budget.spent(stream.budget_classes)
        seconds = duration_s(forecast.requests, stream.budget_classes, limits, spent, now)
        name = stream.name
        return [UnitForecast(project_id, name, unit.name, None, None, 1, forecast, seconds, advice)]
    stretches: list[tuple[Window, int]] = []
    if past is None:
        age = options.lookback.due(watermark.swept, tools.client.source_now)
        window = tail_window(watermark.tail_until, options.start, watermark.complete, age)
        stretches.append((window, 1))
    else:
        for windows in chained(windows_left(past, watermark, tools.client.source_now)):
            stretches.append((Window(windows[-1].since, windows[0].until), len(windows)))
    if stretches and (watermark.traits or {}).get("envelope") == "count":
        # Such a server is read in one go, whatever was asked for.
        stretches = [(stretches[0][0], sum(count for _, count in stretches))]
    spent = await tools.budget.spent(stream.budget_classes)
    unit_forecasts: list[UnitForecast] = []
    requests = 0
    for window, count in stretches:
        forecast = await _forecast(tools, options, stream, unit, window, watermark)
        if past is None:
            forecast += await _outliers(tools, options, stream, unit, watermark)
        requests += forecast.requests
        unit_forecasts.append(
            UnitForecast(
                project_id,
                stream.name,
                TAIL if past is None else "windows",
                window.since,
                window.until,
                count,
                forecast,
                duration_s(requests, stream.budget_classes, limits, spent, now),
            )
        )
    return unit_forecasts


async def _weighed(
    tools: Tools, options: RunOptions, stream: Stream, project_id: int, forecast: Forecast
) -> tuple[Forecast, str | None]:
    """Return the forecast, at least what the stored rows take; and what is cheaper."""
    assert stream.costly is not None
    table, page_rows = stream.tables[0], options.page_size_records
    rows = (await tools.history.row_counts(project_id, [table]))[table.name].rows
    if not forecast.exact:
        least = by_offset(rows, page_rows, page_rows)
        forecast = Forecast(max(forecast.requests, least), exact=False)
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
) -> Forecast:
    traits = watermark.traits or {}
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
                rows = page.forecast_records
                requests = by_offset(rows, options.page_size_records, traits.get("clamp"))
                return Forecast(requests, exact=True)
            break
    # By the rows that are known; a lower bound unless all, with the margins, is complete.
    rows, older, complete = await known_rows(tools, stream, unit, window, watermark)
    return Forecast(by_cursor(rows, older, options.page_size_records), complete and not front)
