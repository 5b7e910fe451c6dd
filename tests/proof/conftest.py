"""Sum the counts of all batches and print them."""

from __future__ import annotations

import os

import pytest

from tests.proof.counts import PROPERTY, total


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what `make proof` has counted."""
    parts = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == PROPERTY
    ]
    if parts and os.environ.get("PROOF_SEED"):
        terminalreporter.section(f"proof, seed {os.environ['PROOF_SEED']}")
        for line in total(parts).lines():
            terminalreporter.write_line(line)
