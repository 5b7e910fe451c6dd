"""Generates dashboards, who may edit them, and how they are shared."""

import random
from datetime import datetime, timedelta
from uuid import UUID

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds import SharePassword, Sharing
from etl.sandbox.kinds_dashboards import Collaborator, Dashboard
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store

_NAMES = ("Weekly review", "", None, 'Größe "A" 🦔', "Weekly review")
_MODES = ("default", "template", "duplicate", "unlisted")
_FOLDERS = (None, "", "Unfiled/Dashboards")


def furnish_dashboards(
    store: Store, options: SandboxOptions, project: int, started_us: int
) -> None:
    """Adds them: every fourth is unlisted, every sixth deleted, every third shared.

    The insights name the first of them, and some subscriptions others.
    """
    # A stream of its own, so that other records stay what they were.
    draw = random.Random(f"{options.seed}:{project}:dashboards")
    started = to_datetime(started_us)
    for nth in range(options.others):
        number = project * 10_000 + nth
        made = started - timedelta(days=150 - nth, microseconds=draw.randrange(10**9))
        store.add(
            Dashboard(
                id=number,
                name=_NAMES[nth % len(_NAMES)],
                description="" if nth % 2 else f"For team {nth}",
                pinned=nth % 5 == 0,
                created_at=made,
                created_by=None if nth % 7 == 6 else 1 + nth % 5,
                deleted=nth % 6 == 5,
                creation_mode=_MODES[nth % len(_MODES)],
                tags=["größe", "weekly"][: nth % 3],
                restriction_level=37 if nth % 3 == 1 else 21,
                folder=_FOLDERS[nth % len(_FOLDERS)],
                last_accessed_at=None if nth % 2 else started - timedelta(hours=nth),
            )
        )
        for each in range(nth % 3):
            store.add(_collaborator(draw, number, 1 + (nth + each) % 5, made + timedelta(hours=1)))
        if nth % 3 == 0:
            _share(store, draw, nth, number, made + timedelta(days=1))


def _collaborator(draw: random.Random, dashboard: int, user: int, added: datetime) -> Collaborator:
    return Collaborator(
        id=str(UUID(int=draw.getrandbits(128), version=4)),
        dashboard_id=dashboard,
        user=user,
        added_at=added,
        updated_at=added + timedelta(microseconds=draw.randrange(10**12)),
        is_active=user != 5,
    )


def _share(store: Store, draw: random.Random, nth: int, dashboard: int, made: datetime) -> None:
    store.add(
        Sharing(
            resource_type="dashboard",
            resource_id=str(dashboard),
            enabled=nth % 2 == 0,
            created_at=made,
            access_token=f"{draw.getrandbits(160):040x}",
            settings=({"noHeader": True}, None)[nth % 2],
            password_required=nth % 2 == 0,
        )
    )
    if nth % 2 == 0:
        store.add(
            SharePassword(
                # Beyond those of recordings and insights.
                id=dashboard + 5_000,
                resource_type="dashboard",
                resource_id=str(dashboard),
                created_at=made + timedelta(minutes=5),
                note="for the board",
                created_by=2,
            )
        )
