"""Bytes to records, one record at a time when it has to be.

The fast way reads the whole answer at once and is right for nearly every answer. It is not used
where it would be wrong: a lone surrogate or a NaN (the server's JSON writer is not strict) makes
the fast reader refuse the page, a very long integer would silently become a float, and a NUL is
valid JSON that Postgres does not hold. Such an answer is dirty: the standard library reads it, and
the transformer looks through each of its records.

The records of a list need no such reading where their stream knows how to type them: `decode_list`
only finds where each one begins and ends, and hands over the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder

_NUL = rb"\u0000"
_LONG_NUMBER = re.compile(rb"-[0-9]{19}|[0-9]{20}")
_DIGITS_AS_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]', re.DOTALL)
_LONGEST_INTEGER = 4000  # digits; the interpreter refuses to read much longer ones


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is not JSON, as the text it came in, inside an answer that otherwise is."""

    text: str
    reason: str


class _Envelope(Struct):
    """What a list answer says beside its records."""

    results: list[Raw]
    has_next: Any = UNSET
    next_cursor: Any = UNSET
    next: Any = UNSET
    count: Any = UNSET

    def document(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in said.items() if value is not UNSET}


_split = Decoder(_Envelope).decode


def decode_list(body: bytes, read: Callable[[Raw], Any]) -> tuple[Any, bool]:
    """Return a list answer as `decode` does, its records as `read` returns them.

    Where that is None they are decoded; one that turns out to be dirty stays Raw, and
    `decode_record` says so. Raises ValueError: not JSON at all.
    """
    if _NUL not in body:
        try:
            document = _split(body).document()
        except (ValueError, RecursionError):
            pass  # another envelope, or not JSON throughout
        else:
            document["results"] = [read(raw) or _clean(raw) for raw in document["results"]]
            return document, False
    return decode(body)


def _clean(raw: Raw) -> Any:
    record, dirty = decode_record(raw)
    return raw if dirty else record


def decode_record(raw: Raw) -> tuple[Any, bool]:
    """Return the record, an Unreadable if it is too deep, and whether it is dirty."""
    body = bytes(raw)
    if not _is_suspect(body):
        try:
            return orjson.loads(body), False
        except orjson.JSONDecodeError:
            pass
    return _decode_record(body.decode("utf-8", "surrogateescape")), True


def decode(body: bytes) -> tuple[Any, bool]:
    """Return the document in `body` and whether it is dirty. Raises ValueError: not JSON at all."""
    if not _is_suspect(body):
        try:
            return orjson.loads(body), False
        except orjson.JSONDecodeError:
            pass
    # surrogateescape keeps bytes that are not UTF-8 as lone surrogates, to be repaired and marked.
    text = body.decode("utf-8", "surrogateescape")
    try:
        return _loads(text), True
    except (ValueError, RecursionError):
        return _decode_by_record(text), True


def _is_suspect(body: bytes) -> bool:
    # The pattern alone would take three times as long as reading the answer.
    return _NUL in body or (
        b"0" * 19 in body.translate(_DIGITS_AS_ZEROS) and _LONG_NUMBER.search(body) is not None
    )


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float("nan")


def _decode_by_record(text: str) -> Any:
    """Read the envelope and each of its records apart from the others."""
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
    """Return where the list of records opens and closes.

    It is the document itself, or stands under its top-level key `results`.
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
    """Yield the text of each element of the list that opens at `opened`."""
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
