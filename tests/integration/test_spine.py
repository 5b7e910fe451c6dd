"""How many files and functions of ours one recording passes, from HTTP to COMMIT."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from msgspec import Raw, Struct

import etl
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import value

Name = tuple[str, str]

ETL = Path(etl.__file__).parent
MOST_FILES = 15
MOST_FUNCTIONS = 34
DRIVER = "/asyncpg/connection.py"
# What says which streams there are is large, reached from everywhere, and holds no recording.
CATALOGUE = "etl.core.stream"


def holds(found: Any, text: str, depth: int = 8) -> bool:
    """Whether a value holds a text, down to some depth."""
    if isinstance(found, str):
        return text in found
    if isinstance(found, bytes | Raw):
        return text.encode() in bytes(found)
    if depth == 0 or found is None or isinstance(found, int | float | type):
        return False
    if type(found).__module__ == CATALOGUE:
        return False
    if isinstance(found, dict):
        return any(holds(each, text, depth - 1) for each in found.values())
    if isinstance(found, list | tuple | deque):
        return any(holds(each, text, depth - 1) for each in found)
    if isinstance(found, Struct):
        names: Any = found.__struct_fields__
    elif is_dataclass(found):
        names = [each.name for each in fields(found)]
    elif type(found).__module__.startswith("etl."):
        names = getattr(found, "__dict__", {})
    else:
        return False
    return any(holds(getattr(found, name, None), text, depth - 1) for name in names)


class Spine:
    """Notes the functions of ours that hand a recording on, in the order in which they get it.

    A function hands it on if it returns or yields it, keeps it in its object, gives it to a
    function that hands it on, or to the driver of Postgres. One that only looks at it does not.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._met: dict[Name, None] = {}
        self._hands_on: set[Name] = set()
        self._gives: set[tuple[Name, Name]] = set()
        # By frame: whether its object held the recording before.
        self._held: dict[int, bool] = {}

    def note(self, frame: FrameType, event: str, returned: Any) -> None:
        """Note a call or a return; see `sys.setprofile`."""
        code = frame.f_code
        if event not in ("call", "return"):
            return
        name = name_of(code)
        if not self._met and (name is None or not name[0].endswith("client.py")):
            return  # nothing was answered yet
        names = [*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *code.co_freevars]
        if event == "call":
            if name is None and DRIVER not in code.co_filename:
                return
            given = {each: frame.f_locals.get(each) for each in names}
            has = holds(list(given.values()), self._text)
            back = frame.f_back
            if name is None:
                giver = None if back is None else name_of(back.f_code)
                if giver is not None and (has or giver in self._met):
                    self._hands_on.add(giver)
                return
            begins = code.co_code[frame.f_lasti + 1] == 0  # else a coroutine goes on
            if begins:
                self._held[id(frame)] = holds(given.get("self"), self._text)
            if not has:
                return
            self._met[name] = None
            while back is not None and name_of(back.f_code) is None:
                back = back.f_back
            giver = None if back is None else name_of(back.f_code)
            if giver is not None:
                self._gives.add((giver, name))
        elif name is not None:
            yields = code.co_flags & inspect.CO_ASYNC_GENERATOR
            passed = [returned, *(frame.f_locals.values() if yields else ())]
            kept = not self._held.get(id(frame), True)
            if holds(passed, self._text) or (
                kept and holds(frame.f_locals.get("self"), self._text)
            ):
                self._met[name] = None
                self._hands_on.add(name)

    def path(self) -> list[Name]:
        """Return the functions that hand it on."""
        found = set(self._hands_on)
        while more := {giver for giver, taker in self._gives if taker in found} - found:
            found |= more
        return [name for name in dict.fromkeys([*self._met, *sorted(found)]) if name in found]


@cache
def name_of(code: CodeType) -> Name | None:
    """The file and the name of a function of ours, None of any other. The sandbox is not ours.

    A comprehension or a lambda is a line of its function.
    """
    file = Path(code.co_filename)
    if not file.is_relative_to(ETL) or file.is_relative_to(ETL / "sandbox"):
        return None
    return str(file.relative_to(ETL)), code.co_qualname.split(".<locals>.<")[0]


@pytest.mark.long
async def test_a_recording_passes_few_files_and_functions_on_its_way(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The path is printed (`pytest -s`)."""
    sandbox = await start_sandbox(recordings=0)
    sandbox.control.change(
        {"op": "start_session", "id": "mine", "start_time": "-8h", "duration_s": 60}
    )
    (row,) = sandbox.control.truth_rows("session_recordings")
    pipeline = Pipeline(sandbox, dsn)
    spine = Spine(row["start_url"])
    sys.setprofile(spine.note)
    try:
        report = await pipeline.sync()
    finally:
        sys.setprofile(None)
    path = spine.path()
    assert (report.ending.status, report.rows_inserted > 0) == ("succeeded", True), report
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == 1
    files = dict.fromkeys(file for file, _ in path)
    lines = [f"{file}: {', '.join(n for each, n in path if each == file)}" for file in files]
    sys.stdout.write("\n".join(["", f"{len(files)} files, {len(path)} functions", *lines, ""]))
    assert (len(files) <= MOST_FILES, len(path) <= MOST_FUNCTIONS) == (True, True), path
