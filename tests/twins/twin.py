"""What a planted-defect twin is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Twin:
    """A defect in shipped code, and the test that has to notice it.

    promise: such as P1. file: the shipped file, relative to the project. find: text that occurs
    in it exactly once. replace: what stands there instead. caught_by: a pytest node id; the test
    passes without the defect and fails with it.
    """

    name: str
    promise: str
    file: str
    find: str
    replace: str
    caught_by: str
