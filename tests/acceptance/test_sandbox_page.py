"""docs/sandbox.md: every fault there is is on the page, and every command of the page works."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import aiohttp

from etl.sandbox import faults
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import running

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def examples() -> dict[str, dict[str, object]]:
    """Return the rule of each row of a table, by the name of its preset or fault."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `fault (.+)` \|$", PAGE, re.MULTILINE)
    return {name: json.loads(shlex.split(argument)[0]) for name, argument in rows}


def test_every_fault_and_every_part_of_a_rule_has_its_row() -> None:
    """An example uses what its row is about."""
    found = examples()
    assert set(found) == {*faults.PRESETS, *(each.name for each in fields(faults.Fault))}
    for name, rule in found.items():
        fault = rule["fault"]
        assert isinstance(fault, dict)
        assert name in fault or fault.get("preset") == name
    parts = set(re.findall(r"^\| `(\w+)` \| (?:to|from|so) ", PAGE, re.MULTILINE))
    assert parts == {"match", "at", "every", "from", "first", "times"}


async def test_every_rule_of_the_page_is_accepted_and_can_be_removed() -> None:
    """By the calls that the page shows."""
    single = re.findall(r"^    fault '(.+)'$", PAGE, re.MULTILINE)
    rules = [*examples().values(), *map(json.loads, single)]
    options = SandboxOptions(recordings=5, port=0)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        url = f"{sandbox.url}/_sandbox/"
        for rule in rules:
            async with session.post(f"{url}faults", data=json.dumps([rule])) as answer:
                assert answer.status == 200, (rule, await answer.text())
        async with session.get(f"{url}faults") as answer:
            assert len(await answer.json()) == len(rules)
        async with session.delete(f"{url}faults") as answer:
            assert await answer.json() == []


async def test_every_other_call_of_the_page_answers() -> None:
    """Clock, data, keys and truth, with the bodies that the page shows."""
    options = SandboxOptions(recordings=5, port=0)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        calls = re.findall(r"^\| `POST (clock|data|keys)` \| (.+) \|$", PAGE, re.MULTILINE)
        assert len(calls) == 3
        for path, text in calls:
            for body in re.findall(r"`([{\[].+?)`(?:,| |$)", text):
                async with session.post(f"{sandbox.url}/_sandbox/{path}", data=body) as answer:
                    assert answer.status == 200, (path, body, await answer.text())
        for path in ("state", "requests", "truth", "truth/session_recordings"):
            assert f"GET {path.replace('session_recordings', 'STREAM')}" in PAGE
            async with session.get(f"{sandbox.url}/_sandbox/{path}") as answer:
                assert answer.status == 200
