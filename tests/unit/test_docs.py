"""The documentation agrees with the code."""

import ast
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from sqlalchemy import Table

import etl.logs
from etl.cli import app
from etl.loaders.tables import Tables
from etl.settings import Settings, environment_name, setting_names
from etl.streams import TABLE_SPECS
from etl.streams.presets import PRESETS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PLACES = ("docs", "dbt", "benchmarks")
GENERATED = ("configuration.md", "data-dictionary.md", "commands.md", "twins.md")
PAGES = sorted(
    path
    for where in (ROOT.glob("*.md"), *((ROOT / name).rglob("*.md") for name in PLACES))
    for path in where
)
TABLES = list(Tables("posthog").metadata.tables.values())
LEVELS = {name: name for name in ("debug", "info", "warning", "error")} | {"exception": "error"}
# Typer's own UsageError, which it does not export.
WRONG_USAGE = typer.BadParameter.__mro__[1]

Event = tuple[str, str, frozenset[str]]


def generate(docs: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the generator in `docs`."""
    return subprocess.run(
        [sys.executable, docs / "generate.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def commands_on(page: Path) -> Iterator[str]:
    """Yield each command of ours that a page shows, in a block or within a sentence."""
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^ +(?:\$ )?(posthog-etl .*)|`(posthog-etl [^`\n]*)`", text, re.MULTILINE)
    for command in (block or inline for block, inline in shown):
        said = re.split(r" #| 2>| && | < ", command)[0].strip()
        # Not what has a gap to be filled, goes on in the next line, or acts while it is parsed.
        acts = re.search(r"[…\[\\]|--help|--version|--install|--show-completion", said)
        if not acts and not any(said.count(quote) % 2 for quote in "'\""):
            yield said


def misunderstood(command: str) -> str | None:
    """Return what is wrong with a command's name, arguments or options; None if nothing is."""
    group, words = typer.main.get_command(app), shlex.split(command)[1:]
    try:
        while hasattr(group, "commands"):
            context = group.make_context(command, list(words), resilient_parsing=True)
            if not words or words[0].startswith("-"):
                break
            if words[0] not in group.commands:
                return f"{command}: there is no command {words[0]}"
            _, group, words = group.resolve_command(context, list(words))
        group.make_context(command, list(words))
    except WRONG_USAGE as wrong:
        return f"{command}: {wrong}"
    return None


def text_of(page: str) -> str:
    """Return a page of the documentation."""
    return (DOCS / page).read_text(encoding="utf-8")


def events_in_source() -> set[Event]:
    """Return every event that the shipped code logs: its name, level and fields."""
    found = set()
    for path in (ROOT / "etl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name))]
                ) if method in LEVELS and re.fullmatch(r"[a-z]+\.[a-z]+", name):
                    fields = {keyword.arg or "**" for keyword in node.keywords}
                    if method == "exception" or "exc_info" in fields:
                        fields = (fields - {"exc_info"}) | {"exception"}
                    found.add((name, LEVELS[method], frozenset(fields)))
                case ast.Call(
                    func=ast.Attribute(attr="log"), args=[_, ast.Constant(value=str(name))]
                ):  # its level depends on how it went
                    fields = {keyword.arg or "**" for keyword in node.keywords}
                    found.add((name, "info, warning, error", frozenset(fields)))
    return found


def events_in_page() -> Iterator[Event]:
    """Yield the events of the table in logs.md."""
    for line in text_of("logs.md").splitlines():
        if row := re.fullmatch(r"\| `([a-z.]+)` \| ([a-z, ]+) \| (.*?) ?\| .* \|", line):
            yield row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3]))


def test_the_generated_pages_are_current() -> None:
    """For any terminal and environment. If this fails, run `make docs`."""
    checked = generate(DOCS, "--check", COLUMNS="30", POSTHOG_ETL_PLAN="nonsense", NO_COLOR="1")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_stale_pages_are_named_and_written_anew(tmp_path: Path) -> None:
    """--check exits 1 and writes nothing; without it the pages are restored."""
    shutil.copy(DOCS / "generate.py", tmp_path)
    shutil.copy(DOCS / GENERATED[0], tmp_path)
    (tmp_path / GENERATED[1]).write_text("something else", encoding="utf-8")

    checked = generate(tmp_path, "--check")
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        f"docs/{name} is stale: run `make docs`" for name in GENERATED[1:]
    ]
    assert (tmp_path / GENERATED[1]).read_text(encoding="utf-8") == "something else"
    assert not (tmp_path / GENERATED[2]).exists()

    assert generate(tmp_path).returncode == 0
    for name in GENERATED:
        assert (tmp_path / name).read_text(encoding="utf-8") == text_of(name)


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_described(name: str) -> None:
    """Under both names, with its meaning."""
    field = Settings.model_fields["schema_name" if name == "schema" else name]
    (row,) = [
        line for line in text_of("configuration.md").splitlines() if f"| `{name}`<br>" in line
    ]
    assert f"<br>`{environment_name(name)}` |" in row
    assert field.description
    assert row.endswith(f" | {field.description} |")


def test_the_default_data_directory_is_the_documented_one() -> None:
    """It depends on the user, so the page describes it in its own words."""
    default = Settings.model_fields["data_dir"].get_default(call_default_factory=True)
    shown = str(default).replace(str(Path.home()), "~")
    (row,) = [line for line in text_of("configuration.md").splitlines() if "`data_dir`<br>" in line]
    assert f"`{shown}`" in row


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_and_column_is_described(table: Table) -> None:
    """In its own section, with the comment of the database."""
    (section,) = [
        part
        for part in re.split(r"^### ", text_of("data-dictionary.md"), flags=re.MULTILINE)
        if part.startswith(f"`{table.schema}.{table.name}`\n")
    ]
    assert table.comment
    assert table.comment in section
    for column in table.columns:
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{column.name}` |")]
        assert column.comment
        assert row.endswith(f" | {column.comment} |")
        assert ("| key" in row) == column.primary_key
        assert ("| null |" in row) == column.nullable


def test_every_bookkeeping_table_says_how_it_stays_small() -> None:
    """One row each in bookkeeping.md, with all four columns filled."""
    rows = [line.split(" | ") for line in text_of("bookkeeping.md").splitlines()]
    named = {row[0]: row for row in rows if row[0].startswith("| `")}
    for table in TABLES:
        if table.schema == "posthog_etl":
            assert len(named[f"| `{table.name}`"]) == 4
    assert all(cell.strip(" |") for row in named.values() for cell in row)


def test_the_first_day_names_the_scopes_of_all_streams_that_are_on() -> None:
    """As PostHog names them, so without :read."""
    (block,) = re.findall(r"to these scopes:\n\n((?: {4}.+\n)+)", text_of("first-day.md"))
    settings = Settings(disabled_streams=(), enabled_streams=(), query_presets=())
    scopes = {scope for stream in settings.choose(None) for scope in stream.scopes}
    assert {f"{name}:read" for name in block.split()} == scopes


def test_every_view_is_described() -> None:
    """With its columns, each with the comment that the latest migration gives it."""
    views = {}
    for migration in sorted((ROOT / "migrations" / "versions").glob("0*.py")):
        views |= runpy.run_path(str(migration)).get("VIEWS", {})
    assert len(views) >= 4
    sections = re.split(r"^### ", text_of("data-dictionary.md"), flags=re.MULTILINE)
    for name, (about, columns, _) in views.items():
        (section,) = [part for part in sections if part.startswith(f"`posthog.{name}`\n")]
        assert about in section
        for column, comment in columns.items():
            assert f"| `{column}` | {comment} |" in section


def test_every_command_is_described() -> None:
    """Subcommands too."""
    root = typer.main.get_command(app)
    names = ["posthog-etl"]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        names += [f"posthog-etl {name}"]
        names += [f"posthog-etl {name} {part}" for part in getattr(command, "commands", ())]
    assert len(names) > 10
    page = text_of("commands.md")
    for name in names:
        assert f"\n## {name}\n\n```text\nUsage: {name} [OPTIONS]" in page
    # As the commands themselves say it.
    assert page.count("\n  -h, --help ") == len(names)


def test_every_log_event_is_listed_with_its_level_and_fields() -> None:
    """In logs.md; the names also in the docstring of etl.logs."""
    listed = set(events_in_page())
    assert listed == events_in_source()
    named = re.findall(r"\b[a-z]+\.[a-z]+\b", (etl.logs.__doc__ or "").split("They are:")[1])
    assert sorted(named) == sorted(name for name, _, _ in listed)


def test_the_picture_of_the_terminal_stands_alone() -> None:
    """It loads nothing, shows no directory of the machine that made it, and is small."""
    picture = text_of("terminal.svg")
    assert "posthog-etl&#160;demo" in picture
    assert not re.search(r"@font-face|@import|url\(['\"]?(?!#)|href|<script|<image", picture)
    assert not re.search(r"/(tmp|home|root|Users|private|var|opt|work)/", picture)
    assert len(picture.encode()) < 200_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link into the project names a file that is there."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_the_events_about_a_request_are_those_of_the_extractors_and_the_page_names_them() -> None:
    """An event that is missing there would lose its request id."""
    logged = {
        name
        for path in (ROOT / "etl" / "extractors").rglob("*.py")
        for name in re.findall(r'_log\.\w+\(\s*"([a-z.]+)"', path.read_text(encoding="utf-8"))
    }
    assert logged == etl.logs.ABOUT_A_REQUEST
    paragraph = text_of("logs.md").split("Events about one request")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z]+\.[a-z]+)`", paragraph)) == etl.logs.ABOUT_A_REQUEST


def test_every_column_that_takes_the_place_of_anothers_is_there() -> None:
    """Those of the first column of the tables in coming-from.md; events are known from answers."""
    sections = re.split(r"^### (.+)\n", text_of("coming-from.md"), flags=re.MULTILINE)[1:]
    named = 0
    for heading, section in zip(sections[::2], sections[1::2], strict=True):
        table = heading.lower().replace(" ", "_")
        rows = re.findall(r"^\| ([^|]+) \|", section.split("\n## ")[0], re.MULTILINE)[1:]
        for name in (name for row in rows for name in re.findall(r"`(\w+(?:\.\w+)?)", row)):
            where, _, column = name.rpartition(".")
            if table == "events":
                known = {*re.findall(r"\w+", PRESETS["events"].text), "project_id"}
            elif name in TABLE_SPECS or name == "extra":
                continue
            else:
                known = set(Tables("posthog").data[where or table].columns.keys())
            assert column in known, (heading, name)
            named += 1
    assert named > 60


def test_every_page_has_its_place_in_the_site() -> None:
    """In its nav; decisions are reached from their list."""
    site = yaml.safe_load((DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["strict"] is True
    sections = [each for entry in site["nav"] if isinstance(entry, dict) for each in entry.values()]
    listed = [page for section in sections for page in section]
    benchmarks = {f"benchmark-{name}.md" for name in ("results", "growth", "verify")}
    beside = {"changelog.md", "contributing.md", "dbt.md", *benchmarks}
    assert sorted(listed) == sorted(
        {page.name for page in DOCS.glob("*.md")} | {"decisions/README.md"} | beside
    )


def test_every_command_on_a_page_is_understood() -> None:
    """Its name, arguments and options are those of this release; none is executed."""
    shown = {command for page in PAGES for command in commands_on(page)}
    assert len(shown) > 50
    assert [wrong for command in sorted(shown) if (wrong := misunderstood(command))] == []
    assert misunderstood("posthog-etl sync --nonsense")
    assert misunderstood("posthog-etl remove")
    assert misunderstood("posthog-etl nonsense")
