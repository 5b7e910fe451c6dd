"""Counting distinct keys exactly, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from hashlib import blake2b
from typing import IO

# Keys held in memory before they are written to a temporary file: some 8 MB.
MOST_IN_MEMORY = 50_000
_DIGEST_BYTES = 16
_BUCKETS = 256


class DistinctKeys:
    """A set of keys that only grows and is only counted.

    It keeps a digest of 16 bytes per key. When there are more than `most_in_memory` digests, it
    writes them, sorted, to an unnamed temporary file, which disappears with the process. `count`
    reads them back in 256 buckets, so memory holds at most `most_in_memory` digests or a 256th of
    all digests, whichever is larger.
    """

    def __init__(self, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._most = most_in_memory
        self._held: set[bytes] = set()
        self._spilled: IO[bytes] | None = None
        # For each sorted run in the file: where each bucket begins, in digests.
        self._runs: list[list[int]] = []
        self._written = 0

    def add(self, keys: Iterable[str]) -> None:
        """Add keys. Raises OSError when the temporary file cannot be written."""
        self._held.update(key_digest(key) for key in keys)
        if len(self._held) > self._most:
            self._spill()

    def count(self) -> int:
        """Return how many different keys were added. Raises OSError if the file cannot be used."""
        if self._spilled is None:
            return len(self._held)
        if self._held:
            self._spill()
        return sum(len(self._bucket(self._spilled, number)) for number in range(_BUCKETS))

    def close(self) -> None:
        """Forget all keys. Safe to repeat."""
        if self._spilled is not None:
            self._spilled.close()
        self._held, self._spilled, self._runs, self._written = set(), None, [], 0

    def _spill(self) -> None:
        if self._spilled is None:
            self._spilled = tempfile.TemporaryFile(prefix="posthog-etl-")  # noqa: SIM115
        digests = sorted(self._held)
        sizes = [0] * _BUCKETS
        for digest in digests:
            sizes[digest[0]] += 1
        begins = [self._written]
        for size in sizes:
            begins.append(begins[-1] + size)
        self._spilled.seek(self._written * _DIGEST_BYTES)
        self._spilled.write(b"".join(digests))
        self._runs.append(begins)
        self._written += len(digests)
        self._held = set()

    def _bucket(self, file: IO[bytes], number: int) -> set[bytes]:
        found: set[bytes] = set()
        for begins in self._runs:
            begin, end = begins[number], begins[number + 1]
            file.seek(begin * _DIGEST_BYTES)
            part = file.read((end - begin) * _DIGEST_BYTES)
            found.update(part[at : at + _DIGEST_BYTES] for at in range(0, len(part), _DIGEST_BYTES))
        return found


def key_digest(key: str) -> bytes:
    """Return the digest of a key, 16 bytes. A key is any text; lone surrogates are allowed."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
