"""Output for people: tables on a terminal, plain columns in a pipe, progress lines."""

from etl.console.live import in_place, progress_display
from etl.console.table import say
from etl.console.views import (
    show_alerts,
    show_comparisons,
    show_findings,
    show_payloads,
    show_plan,
    show_rejects,
    show_reports,
    show_rows,
    show_runs,
    show_status,
)

__all__ = [
    "in_place",
    "progress_display",
    "say",
    "show_alerts",
    "show_comparisons",
    "show_findings",
    "show_payloads",
    "show_plan",
    "show_rejects",
    "show_reports",
    "show_rows",
    "show_runs",
    "show_status",
]
