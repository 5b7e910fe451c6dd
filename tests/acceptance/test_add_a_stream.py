"""The page that says how to add a stream, followed to the letter in a copy of the project."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.postgres import Databases
from tests.twins.test_twins import PROJECT, copy_project

PAGE = PROJECT / "docs" / "add-a-stream.md"
BLOCK = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


async def run(project: Path, line: str, server: str) -> tuple[int, str]:
    """Run a command of the page there."""
    program, *arguments = shlex.split(line)
    assert program == "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=project,
        env={**environment, "PYTHONPATH": str(project), "TEST_DATABASE_URL": server},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


@pytest.mark.long
async def test_a_stream_is_added_as_the_page_says(tmp_path: Path, databases: Databases) -> None:
    """Each block is written where it says, each command is run; the last one is the new test."""
    tmp_path.chmod(0o711)
    project = copy_project(tmp_path)
    done = []
    for language, told, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        where = dict(part.split("=", 1) for part in shlex.split(told))
        if language == "sh":
            code, printed = await run(project, text.strip(), databases.dsn)
            assert code == 0, printed
            done.append(printed)
        elif "new" in where:
            assert not (project / where["new"]).exists()
            (project / where["new"]).write_text(text, encoding="utf-8")
        else:
            path = project / where["in"]
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            (place,) = (n for n, line in enumerate(lines) if line.startswith(where["before"]))
            path.write_text("".join([*lines[:place], text, *lines[place:]]), encoding="utf-8")
    assert len(done) == 2
    assert "1 passed" in done[-1]
