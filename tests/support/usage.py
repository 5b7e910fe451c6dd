"""Whether our command knows the words that a document gives it."""

from __future__ import annotations

import typer

from etl.cli import app


def understood(words: list[str]) -> bool:
    """Whether our command knows these words, whatever they would do."""
    command = typer.main.get_command(app)
    context = command.make_context("posthog-etl", list(words))
    name, inner, rest = command.resolve_command(context, words)
    inner.make_context(name, rest)
    return True
