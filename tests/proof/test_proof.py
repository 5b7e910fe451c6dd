"""Random sequences of everything that can happen. Each ends with a copy equal to the truth.

A run of all tests tries a few, the same each time; `make proof` tries thousands, others each time.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from etl import app
from etl.core.retry import RetryPolicy
from tests.proof.adverse import AdverseMachine
from tests.proof.counts import PROPERTY, Counts
from tests.proof.machine import Machine
from tests.proof.rig import AdversaryRig, Rig, SandboxRig
from tests.proof.sequence import Sequence

SEQUENCES = int(os.environ.get("PROOF_SEQUENCES") or 15)
# Sequences against the adversary server; `make proof` runs as many as against the sandbox.
ADVERSE_SEQUENCES = int(os.environ.get("PROOF_SEQUENCES") or 5)
FIRST_SEED = int(os.environ.get("PROOF_SEED") or 1)
BATCH = 5
STEPS = int(os.environ.get("PROOF_STEPS") or 12)
ADVERSE_STEPS = int(os.environ.get("PROOF_STEPS") or 6)

Record = Callable[[str, object], None]


@pytest.fixture
def with_short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorten the waits between attempts, and log only defects of our own."""
    hurried = functools.partial(RetryPolicy, first_wait_s=0.002, first_throttled_wait_s=0.002)
    monkeypatch.setattr(app, "RetryPolicy", hurried)
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**kept)


def batches(sequences: int) -> range:
    """Return the numbers of the batches that make up so many sequences."""
    return range(-(-sequences // BATCH))


@pytest.mark.long
@pytest.mark.parametrize("batch", batches(SEQUENCES))
def test_whatever_happens_a_quiet_sync_makes_the_copy_true(
    batch: int,
    dsn: str,
    with_short_waits: None,
    record_property: Record,
) -> None:
    """And every run that reports success has read what it says."""
    _run(Machine, lambda: SandboxRig(dsn), batch, SEQUENCES, STEPS, record_property)


@pytest.mark.long
@pytest.mark.parametrize("batch", batches(ADVERSE_SEQUENCES))
def test_the_same_holds_against_a_server_that_shares_nothing_with_the_sandbox(
    batch: int,
    dsn: str,
    with_short_waits: None,
    record_property: Record,
) -> None:
    """Ties that depend on the offset, clamped pages, rows that change places, wrong clocks."""
    _run(
        AdverseMachine,
        lambda: AdversaryRig(dsn),
        batch,
        ADVERSE_SEQUENCES,
        ADVERSE_STEPS,
        record_property,
    )


def _run(
    machine: type[Sequence],
    make_rig: Callable[[], Rig],
    batch: int,
    sequences: int,
    steps: int,
    record_property: Record,
) -> None:
    number = FIRST_SEED + batch
    counts = Counts()
    made = type("Sequence", (machine,), {"counts": counts, "make_rig": make_rig})
    try:
        run_state_machine_as_test(
            seed(number)(made),
            settings=settings(
                max_examples=min(BATCH, sequences - batch * BATCH),
                stateful_step_count=steps,
                database=None,
                phases=[Phase.generate],
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as exc:
        exc.add_note(f"To see it again: make proof SEED={number} SEQUENCES={BATCH}")
        raise
    finally:
        record_property(PROPERTY, dict(counts))
