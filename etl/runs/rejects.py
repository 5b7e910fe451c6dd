"""Replay rejects: send each payload through the transformer and the loader again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from msgspec.structs import replace

from etl.core.page import Batch, Page
from etl.core.stream import Resource, Stream
from etl.errors import EtlError
from etl.loaders.history import History, RunEnd, StoredReject
from etl.loaders.leases import Leases, Unit
from etl.loaders.loader import Commit, Loader
from etl.runs.report import Report, Tally, ending_of, ending_of_tally
from etl.transformers.transformer import joined

WINDOW = "rejects"  # the unit of a replay; no other work of a stream uses it
AT_ONCE = 500


async def retry_rejects(
    leases: Leases,
    history: History,
    loader: Callable[[str, Resource], Loader],
    stream: Stream,
    project_id: int,
) -> Report:
    """Load the rejects that load now, and mark them resolved; the others stay rejected.

    A payload counts as observed when it was rejected, so it never overwrites what was read later.
    Safe to repeat. Never raises an EtlError: the report holds it.
    """
    run_id = str(uuid.uuid4())
    try:
        return await _retry_rejects(leases, history, loader, stream, project_id, run_id)
    finally:
        leases.forget(run_id)


async def _retry_rejects(
    leases: Leases,
    history: History,
    loader: Callable[[str, Resource], Loader],
    stream: Stream,
    project_id: int,
    run_id: str,
) -> Report:
    unit = Unit(project_id, stream.name, WINDOW)
    try:
        lease = await leases.acquire(unit, run_id, "rejects retry")
    except EtlError as exc:
        return Report(project_id, stream.name, WINDOW, ending_of(exc))
    report = Report(project_id, stream.name, WINDOW, ending_of_tally(Tally()))
    report.run_id = lease.run_id
    try:
        rejects = await history.unresolved(project_id, stream.name)
        for observed_at, group in groupby(rejects, key=lambda item: item.observed_at):
            items = list(group)
            for resource, part in _parts(stream, items):
                batch, resolved = _batch(resource, part, observed_at)
                await loader(stream.name, resource).load(
                    lease,
                    batch,
                    Commit(
                        observed_at=observed_at,
                        position=None,
                        requests=0,
                        bytes_read=0,
                        resolved=resolved,
                    ),
                )
        left = len(await history.unresolved(project_id, stream.name))
        report.ending = ending_of_tally(Tally(rejected=left))
    except EtlError as exc:
        report.ending = ending_of(exc)
    try:
        row = await history.finish(
            lease, RunEnd(report.ending.status, report.ending.reason, fault=report.ending.fault)
        )
        await leases.release(lease)
    except EtlError as exc:
        if report.ending.exit_code == 0:
            report.ending = ending_of(exc)
        return report
    for name in ("records_read", "records_read_fast", "rows_inserted", "rows_updated", "rejected"):
        setattr(report, name, row[name])
    return report


def _parts(
    stream: Stream, items: Sequence[StoredReject]
) -> Iterator[tuple[Resource, Sequence[StoredReject]]]:
    """Yield the rejects of each resource, in batches."""
    for resource in stream.resources:
        theirs = [item for item in items if resource is _resource_of(stream, item)]
        for first in range(0, len(theirs), AT_ONCE):
            yield resource, theirs[first : first + AT_ONCE]


def _resource_of(stream: Stream, item: StoredReject) -> Resource:
    """Return the resource of a reject.

    If its table is not known, because an older version rejected it: the resource with the longest
    key whose fields the payload has.
    """
    for resource in stream.resources:
        if resource.tables[0].name == item.table:
            return resource
    payload = item.payload
    found = [
        resource
        for resource in stream.resources
        if isinstance(payload, dict) and payload.keys() >= set(resource.key)
    ]
    return max(found or stream.resources[:1], key=lambda resource: len(resource.key))


def _batch(
    resource: Resource, items: Sequence[StoredReject], observed_at: datetime
) -> tuple[Batch, list[str]]:
    """Return the rows of rejects, and the keys of those that have rows now.

    The others stay rejected under the key that they have. A payload was repaired before it was
    stored, so a key that is made from it differs from the one that was made from the record.
    """
    pages = [Page([item.payload], True, observed_at, size_bytes=0) for item in items]
    batches = [resource.transform(page) for page in pages]
    resolved = []
    for item, batch in zip(items, batches, strict=True):
        batch.rejected = [replace(each, key=item.key) for each in batch.rejected]
        if not batch.rejected:
            resolved.append(item.key)
    return joined(pages, batches, resource.tables), resolved
