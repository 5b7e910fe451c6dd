"""The sandbox keeps a limited amount, and what it keeps is right."""

import pytest

from etl.sandbox import fragments, traffic, views
from etl.sandbox.fragments import Fragments
from etl.sandbox.traffic import Traffic
from etl.sandbox.views import Views, Window
from etl.sandbox.world import World
from tests.unit.sandbox.reader import small


def test_views_of_many_windows_are_kept_within_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest are dropped first, the latest stays."""
    monkeypatch.setattr(views, "CACHE_BYTES", 10_000)
    world = World(small(recordings=2000))
    kept = Views(world.projects[1])
    now_us = world.clock.now_us()
    for day in range(40):
        kept.view(Window(now_us - day * 86_400_000_000), "start_time", now_us)
        assert kept.size_bytes() <= 10_000 or kept.count() == 1
    assert kept.count() >= 1


def test_a_view_is_made_anew_only_when_something_arrives() -> None:
    """So for past windows a running clock costs nothing."""
    world = World(small(recordings=2000))
    kept = Views(world.projects[1])
    now_us = world.clock.now_us()
    past = Window(to_us=now_us - 20 * 86_400_000_000)
    first = kept.view(past, "start_time", now_us)
    assert kept.view(past, "start_time", now_us + 300_000_000) is first
    whole = kept.view(Window(), "start_time", now_us)
    later_us = whole.until_us
    assert kept.view(Window(), "start_time", later_us - 1) is whole
    assert kept.view(Window(), "start_time", later_us) is not whole


def test_serialised_persons_are_kept_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed again when needed."""
    monkeypatch.setattr(fragments, "CACHE_BYTES", 50_000)
    project = World(small(recordings=2000)).projects[1]
    kept = Fragments(project)
    first = [kept.of(number, "list")[0] for number in range(2000)]
    assert kept.size_bytes() < 60_000
    assert [kept.of(number, "list")[0] for number in range(2000)] == first


def test_the_log_of_requests_is_bounded_and_its_totals_are_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the last requests are kept."""
    monkeypatch.setattr(traffic, "KEPT_REQUESTS", 3)
    log = Traffic()
    for status in (200, 200, 429, None, 200):
        log.add(
            ("crud",), at="", method="GET", path="/", query={}, status=status,
            key_fingerprint=None, size_bytes=0,
        )  # fmt: skip
    assert [entry["n"] for entry in log.since(0)] == [3, 4, 5]
    assert (log.total, log.by_class) == (5, {"crud": 5})
    assert log.by_status == {"200": 3, "429": 1, "reset": 1}
