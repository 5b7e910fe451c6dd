"""Write the answers into docs/cookbook.md, from the database that DATABASE_URL names.

    python docs/cookbook.py            # after the sync that the page begins with

A test asks every question of such a database and compares the answer with the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parent / "cookbook.md"

_QUESTION = re.compile(
    r"^## (?P<heading>.+)\n(?P<prose>(?:(?!```|## ).*\n)*)"
    r"```sql\n(?P<sql>(?:.*\n)*?)```\n(?:\n```text\n(?P<answer>(?:.*\n)*?)```\n)?",
    re.MULTILINE,
)


def questions(page: str) -> list[tuple[str, str, str]]:
    """Return heading, statement and answer of each question; the answer is "" if there is none."""
    return [
        (found["heading"], found["sql"], found["answer"] or "")
        for found in _QUESTION.finditer(page)
    ]


def with_answers(page: str, answer: Callable[[str], str]) -> str:
    """Return the page with the answer to each statement below it."""

    def answered(found: re.Match[str]) -> str:
        head = f"## {found['heading']}\n{found['prose']}"
        return f"{head}```sql\n{found['sql']}```\n\n```text\n{answer(found['sql'])}```\n"

    return _QUESTION.sub(answered, page)


def _ask(statement: str) -> str:
    asked = subprocess.run(
        [sys.executable, "-m", "etl", "sql", "-"],
        input=statement,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise SystemExit(f"{statement}\n{asked.stderr}")
    return asked.stdout


if __name__ == "__main__":
    PAGE.write_text(with_answers(PAGE.read_text(encoding="utf-8"), _ask), encoding="utf-8")
