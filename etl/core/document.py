"""Parse an answer: all at once if possible, record by record if necessary.

The fast parser reads the whole answer at once and suits nearly every answer. Some answers it would
refuse or change:

- a lone surrogate or a NaN: it refuses the page (the server's JSON writer is not strict);
- a very long integer: it silently returns a float;
- a NUL: valid JSON, but Postgres cannot store it.

Such an answer is *dirty*: the standard library parses it, and the transformer inspects each record.

`decode_list` does not parse the records: it only finds where each one begins and ends, and returns
the bytes. Decoded, a record takes several times the memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder

_NUL = rb"\u0000"
_LONG_NUMBER = re.compile(rb"-[0-9]{19}|[0-9]{20}")
_DIGITS_AS_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]', re.DOTALL)
_LONGEST_INTEGER = 4000  # digits; Python refuses to parse much longer integers


class Unreadable(Struct, frozen=True):
    """A record that is not JSON, inside an answer that is. `text`: the record as received."""

    text: str
    reason: str


class _Envelope(Struct):
    """The fields of a list answer."""

    results: list[Raw]
    has_next: Any = UNSET
    next_cursor: Any = UNSET
    next: Any = UNSET
    count: Any = UNSET
    refreshing: Any = UNSET


_split = Decoder(_Envelope).decode


def decode_list(body: bytes, read: Callable[[Raw], Any]) -> tuple[Any, bool]:
    """Return what `decode` returns for a list answer, but with each record as `read` returns it.

    If the answer as a whole is dirty or of another form, `read` is not called. Raises ValueError if
    the body is not JSON.
    """
    if _NUL not in body:
        try:
            envelope = _split(body)
        except (ValueError, RecursionError):
            pass  # the answer has another form, or is not JSON throughout
        else:
            said = {name: getattr(envelope, name) for name in envelope.__struct_fields__}
            document = {name: value for name, value in said.items() if value is not UNSET}
            document["results"] = [read(raw) for raw in envelope.results]
            return document, False
    return decode(body)


def decode_clean(raw: Raw) -> Any:
    """Return the decoded record. A dirty one stays Raw: `decode_record` tells that it is dirty."""
    record, dirty = decode_record(raw)
    return raw if dirty else record


def decode_record(raw: Raw) -> tuple[Any, bool]:
    """Return the record (an Unreadable if it is nested too deeply) and whether it is dirty."""
    body = bytes(raw)
    if not _is_suspect(body):
        try:
            return orjson.loads(body), False
        except orjson.JSONDecodeError:
            pass
    return _decode_record(body.decode("utf-8", "surrogateescape")), True


def encode_record(record: Any) -> Any:
    """Return a decoded record as its bytes, for `decode_record`.

    One that cannot be written, such as one with an integer beyond 64 bits, is returned unchanged.
    """
    try:
        # A copy: orjson leaves the room that it did not need behind its bytes.
        return Raw(bytes(memoryview(orjson.dumps(record))))
    except TypeError:
        return record


def decode(body: bytes) -> tuple[Any, bool]:
    """Return the document in `body` and whether it is dirty. Raises ValueError if it is no JSON."""
    if not _is_suspect(body):
        try:
            return orjson.loads(body), False
        except orjson.JSONDecodeError:
            pass
    # surrogateescape keeps bytes that are not UTF-8 as lone surrogates; the transformer repairs
    # them.
    text = body.decode("utf-8", "surrogateescape")
    try:
        return _loads(text), True
    except (ValueError, RecursionError):
        return _decode_by_record(text), True


def _is_suspect(body: bytes) -> bool:
    # Searching by the pattern alone would take three times as long as parsing the answer.
    return _NUL in body or (
        b"0" * 19 in body.translate(_DIGITS_AS_ZEROS) and _LONG_NUMBER.search(body) is not None
    )


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float("nan")


def _decode_by_record(text: str) -> Any:
    """Parse the envelope, and each of its records separately."""
    span = _results_span(text)
    if span is None:
        raise ValueError("not JSON")
    start, end = span
    envelope = _loads(text[: start + 1] + text[end:])
    records = [_decode_record(part) for part in _elements(text, start)]
    return records if isinstance(envelope, list) else {**envelope, "results": records}


def _decode_record(text: str) -> Any:
    try:
        return _loads(text)
    except RecursionError:
        return Unreadable(text, "nested too deeply")
    except ValueError as exc:
        return Unreadable(text, f"not JSON: {exc}")


def _results_span(text: str) -> tuple[int, int] | None:
    """Return where the list of records begins and ends.

    The list is the document itself, or the value of its top-level key `results`.
    """
    depth, level, opened = 0, 0, 0
    key = previous = ""
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in ("[", "{"):
            depth += 1
            is_list = depth == 1 or (depth == 2 and previous == ":" and key == '"results"')
            if mark == "[" and is_list and not level:
                level, opened = depth, token.start()
        elif mark in ("]", "}"):
            if depth == level:
                return opened, token.start()
            depth -= 1
        elif mark == ":" and depth == 1:
            key = previous
        previous = mark
    return None


def _elements(text: str, opened: int) -> Iterator[str]:
    """Yield the text of each element of the list that begins at `opened`."""
    depth, start = 0, opened + 1
    for token in _TOKEN.finditer(text, opened):
        mark = token.group()
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        if (mark == "," and depth == 1) or depth == 0:
            if part := text[start : token.start()].strip():
                yield part
            start = token.end()
        if depth == 0:
            return
