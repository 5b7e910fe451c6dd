"""The commands that delete data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from etl.cli.shared import (
    Config,
    Debug,
    Json,
    Yes,
    agreed,
    ask_to_destroy,
    print_json,
    print_line,
    run_with_settings,
)

_LARGEST_ID = 2**63 - 1
_IN_LISTS = (("person", "uuid"), ("distinct id", "distinct id"), ("recording", "recording"))


def forget(
    person: Annotated[
        str | None, typer.Argument(metavar="PERSON", help="A uuid or a distinct id.")
    ] = None,
    project: Annotated[
        int | None,
        typer.Option(
            "--project",
            metavar="ID",
            min=1,
            max=_LARGEST_ID,
            help="Only in this project. Default: in all.",
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Only list what was forgotten: when, and how many rows.")
    ] = False,
    yes: Yes = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Delete a person here, and keep the person away from later loads. PostHog is not asked.

    It deletes the person, the distinct ids, the recordings, and what belongs to these. First it
    counts them, and asks.

    Example: posthog-etl forget 01890000-0000-7000-8000-000000000001
    """
    from etl import upkeep as wiring

    if listed:
        _list_forgotten(config, as_json, debug)
        return
    if person is None or not person.strip():
        raise typer.BadParameter("Name a person by uuid or distinct id, or give --list")
    named = person
    agree = agreed if yes else ask_to_destroy
    removed = run_with_settings(
        lambda settings: wiring.forget(settings, named, project, agree), config, {}, debug
    )
    if as_json:
        print_json({"projects": removed})
        return
    for each in removed:
        print_line(f"Project {each.project}: {_in_words(each.rows)}")
        away = ", ".join(_counted(each.kept_away[name], word) for name, word in _IN_LISTS)
        print_line(f"  kept away from later loads: {away}")
    if removed and removed[0].unsearched:
        names = ", ".join(removed[0].unsearched)
        print_line(f"Not searched, as no column says whose a row is: {names}. See docs/queries.md")
    print_line("PostHog still has the person; delete it there, too.")


def remove(
    project: Annotated[
        int,
        typer.Option("--project", metavar="ID", min=1, max=_LARGEST_ID, help="The project's id."),
    ],
    yes: Yes = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Delete everything that is stored of a project. Run it again after an interruption.

    First it counts the rows, and asks. PostHog is not asked, and keeps everything.

    Example: posthog-etl remove --project 7
    """
    from etl import upkeep as wiring

    agree = agreed if yes else ask_to_destroy

    async def run(settings: Any) -> tuple[Any, bool]:
        return await wiring.remove(settings, project, agree), str(project) in settings.projects

    removed, configured = run_with_settings(run, config, {}, debug)
    if as_json:
        print_json(removed)
        return
    print_line(f"Project {project}: {_in_words(removed.rows, 'removed')}")
    if configured:
        print_line("POSTHOG_PROJECT_ID still names it: the next sync loads it again.")


def _list_forgotten(config: Any, as_json: bool, debug: bool) -> None:
    from etl import upkeep as wiring

    found = run_with_settings(
        lambda settings: wiring.destroyed(settings, "forget"), config, {}, debug
    )
    if as_json:
        print_json({"forgotten": found})
    elif not found:
        print_line("Nobody was forgotten.")
    for each in () if as_json else found:
        print_line(
            f"{each['at']:%Y-%m-%d %H:%M}  project {each['project_id']}: {_in_words(each['rows'])}"
        )


def _in_words(rows: Mapping[str, int], done: str = "deleted or cleared") -> str:
    if not rows:
        return "nothing was stored"
    most_first = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    return f"{done} " + ", ".join(f"{count:,} of {name}" for name, count in most_first)


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
