"""Asks for single records by their keys, one request each."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct, field

from etl.core.page import Confirmation, Page, Record
from etl.core.place import Evidence
from etl.core.stream import Address, Resource
from etl.errors import (
    RequestRefused,
    SourceError,
    SourceUnavailable,
    Stopped,
    StreamUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.protocol import (
    CHECK_PROJECT,
    Answer,
    Request,
    is_record_closed,
    is_record_gone,
    names_the_project,
    parse_record,
    project_request,
)
from etl.transformers.secrets import withhold

_log = structlog.get_logger(__name__)

# After so many failures one after the other a record that is there tells whether it is the server.
FAILURES_IN_A_ROW = 3


class Singles(Struct):
    """The answers: of the records that are there, and the keys of the others.

    gone: PostHog says that there is no such record. hidden: the key's owner may not see it, or no
    address can name it. failed: the request failed.
    """

    found: list[Answer] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    why_failed: str = ""


async def ask_singly(
    client: Client,
    request_of: Callable[[str], Request | None],
    keys: Iterable[str],
    known: Sequence[str],
) -> Singles:
    """Ask for each record; one whose request fails does not keep the others from being asked for.

    request_of: None for a key that cannot stand in an address. known: keys of records that are
    there; where one of these is answered, the failures are the records' own. Safe to repeat. Raises
    BudgetSpent, and a SourceError that is not one record's.
    """
    singles = Singles()
    last: SourceError | None
    in_a_row, last, witnesses, answers = 0, None, list(known), False
    keys = list(keys)
    for number, key in enumerate(keys):
        request = request_of(key)
        if request is None:
            singles.hidden.append(key)
            continue
        try:
            singles.found.append(await client.fetch(request))
            witnesses.append(key)
        except Stopped as exc:
            if not (singles.found or singles.gone or singles.hidden):
                raise
            # Or a run that may send few requests would never get on.
            singles.failed += keys[number:]
            singles.why_failed = exc.message
            return singles
        except (StreamUnavailable, SourceUnavailable, RequestRefused) as exc:
            if is_record_gone(exc):
                singles.gone.append(key)
                in_a_row = 0
                continue
            if is_record_closed(exc):
                singles.hidden.append(key)
                in_a_row = 0
                continue
            if isinstance(exc, StreamUnavailable) and not names_the_project(exc):
                raise
            in_a_row, last = in_a_row + 1, exc
            singles.failed.append(key)
            _log.warning("record.unanswered", reason=exc.message)
            if in_a_row >= FAILURES_IN_A_ROW:
                others = [each for each in witnesses if each not in singles.failed]
                answers = await finds_one(client, request_of, others)
                if not answers:
                    raise
                in_a_row = 0
            continue
        in_a_row = 0
    if last is not None:
        answered = answers or singles.found or singles.gone or singles.hidden
        if not answered and not await finds_one(client, request_of, known):
            raise last
        singles.why_failed = last.message
    return singles


async def finds_one(
    client: Client, request_of: Callable[[str], Request | None], known: Sequence[str]
) -> bool:
    """Tell whether the server finds one of these records, which are there, by its key.

    One that does not answers nothing about the others. Raises BudgetSpent.
    """
    for key in known:
        request = request_of(key)
        if request is None:
            continue
        try:
            await client.fetch(request)
        except SourceError:
            continue
        return True
    return False


async def confirm_singly(
    client: Client,
    request_of: Callable[[str], Request | None],
    keys: Sequence[str],
    witnesses: Sequence[str],
    *,
    believed: bool,
    prepared: Callable[[Record], Record] = lambda record: record,
) -> Confirmation:
    """Ask for each of these records; `prepared` makes of an answer what is loaded.

    witnesses: keys of records that are there. If no answer shows a record, and none of these is
    found either, the server does not answer such questions: then nothing is known to be gone,
    unless it is `believed` all the same. Safe to repeat. Raises SourceError and BudgetSpent.
    """
    before, source_at = client.now, client.source_now
    singles = await ask_singly(client, request_of, keys, witnesses)
    decoded = [parse_record(answer.body) for answer in singles.found]
    proven = believed or bool(decoded) or not singles.gone
    proven = proven or await finds_one(client, request_of, witnesses)
    page = Page(
        [prepared(record) for record, _ in decoded],
        any(dirty for _, dirty in decoded),
        before,
        size_bytes=sum(len(answer.body) for answer in singles.found),
        source_at=source_at,
        evidence=Evidence([]),
    )
    existing = [key for key in keys if key not in {*singles.gone, *singles.failed}]
    gone = singles.gone if proven else []
    return Confirmation(page, gone, existing, singles.failed, singles.why_failed, proven)


def is_of_project(resource: Resource, record: Record, project_id: int) -> bool:
    """Tell whether a record is a project's; a record that does not say so is."""
    name = resource.project
    if name is None or not isinstance(record, dict) or name not in record:
        return True
    return str(record[name]) == str(project_id)


def project_not_listed(resource: Resource) -> StreamUnavailable:
    """Return the error of a list of several projects that shows nothing of this one."""
    return StreamUnavailable(
        f"The list of {resource.tables[0].name} does not show this project: the key is limited to "
        "others, or its owner may not see it",
        remedy=f"{CHECK_PROJECT}, give the key access to this project, or switch this stream off",
    )


class SingleReader:
    """Asks for single objects of one resource, each one at an address of its own.

    keep_fields: fields that the catalogue does not know and whose text is kept where secrets are,
    as `table.field`.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        project_id: int,
        *,
        prefix: str,
        keep_fields: Collection[str] = (),
    ) -> None:
        self._client = client
        self.resource = resource
        self._project_id = project_id
        self._prefix = prefix
        named = (name.split(".") for name in keep_fields)
        self._admitted = {tuple(path) for table, *path in named if table == resource.tables[0].name}
        self._project_gone: bool | None = None

    def address(
        self, address: Address, values: Mapping[str, Any]
    ) -> tuple[str, list[tuple[str, str]]]:
        """Return the path below the host and the parameters of an address."""
        return address.below_host(values, self._project_id, self._prefix)

    def is_own(self, record: Record) -> bool:
        """Tell whether a record is this project's; a record that does not say so is."""
        return is_of_project(self.resource, record, self._project_id)

    def prepared(self, record: Record, parent: Mapping[str, Any]) -> Record:
        """Return a record without its secrets, and with what it belongs to."""
        if self.resource.secrets is not None:
            record = withhold(record, self.resource.secrets, self._admitted)
        if not isinstance(record, dict):
            return record
        if self.resource.redact is not None:
            record = self.resource.redact(record)
        return {**record, **parent}

    async def object_of(self, parent: Mapping[str, Any]) -> tuple[Record, Answer, bool] | None:
        """Return what the resource is for `parent`, and whether it is dirty; None: it is gone.

        For resources that have no list, but one object for each parent. Safe to repeat. Raises
        SourceError and BudgetSpent.
        """
        if not self.resource.lists[0].takes(parent):
            return None
        path, params = self.address(self.resource.lists[0], parent)
        request = Request(path, params, self.resource.budget_classes)
        try:
            answer = await self._client.fetch(request)
        except StreamUnavailable as exc:
            if not is_record_gone(exc):
                raise
            return None
        record, dirty = parse_record(answer.body)
        return self.prepared(record, parent), answer, dirty

    async def confirm(self, keys: Sequence[str], known: Sequence[str] | None) -> Confirmation:
        """Ask for records by their keys.

        known: keys of records that are there, see `confirm_singly`. None, or where there are none:
        the answers are believed without. Safe to repeat. Raises SourceError and BudgetSpent.
        """
        return await confirm_singly(
            self._client,
            self._one,
            keys,
            known or (),
            believed=not known,
            prepared=lambda record: self.prepared(record, {}),
        )

    async def is_project_gone(self) -> bool:
        """Tell whether the project itself is not found; asks once. Raises BudgetSpent.

        A 404 that names a project is believed only then. A key without the scope for it learns
        nothing: then the project counts as there.
        """
        if self._project_gone is None:
            try:
                await self._client.fetch(project_request(self._project_id), attempts=2)
                self._project_gone = False
            except SourceError as exc:
                self._project_gone = isinstance(exc, StreamUnavailable) and exc.status == 404
        return self._project_gone

    def _one(self, key: str) -> Request | None:
        """Return the request for one record; None if its key cannot stand in an address."""
        one = self.resource.one
        assert one is not None
        values = [key] if len(self.resource.key) == 1 else json.loads(key)
        named = dict(zip(self.resource.key, values, strict=True))
        if not one.takes(named):
            return None
        path, params = self.address(one, named)
        return Request(path, params, self.resource.retrieve_classes)
