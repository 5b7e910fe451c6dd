"""The dbt package agrees with the catalogue. `make dbt` runs it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import etl
from etl.streams import TABLE_SPECS
from etl.streams.presets import PRESETS

ROOT = Path(__file__).parents[2]
DBT = ROOT / "dbt"
MARTS = sorted(path.stem for path in (DBT / "models" / "marts").glob("*.sql"))
DOCUMENTS = sorted(path for path in DBT.rglob("*.yml") if "target" not in path.parts)


def generate(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator in `package`."""
    return subprocess.run(
        [sys.executable, package / "generate.py", *arguments],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def parsed(path: Path) -> Any:
    """Return a YAML file of the package."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_stale_package_is_named_and_written_anew(tmp_path: Path) -> None:
    """The files here are current (if this fails, run `make docs`); others are found and mended."""
    shutil.copytree(DBT, tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "generate.py", tmp_path / "docs")
    staging = tmp_path / "dbt" / "models" / "staging"
    checked = generate(tmp_path / "dbt", "--check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    before = (staging / "stg_posthog__persons.sql").read_text(encoding="utf-8")
    (staging / "stg_posthog__persons.sql").write_text("select 1", encoding="utf-8")
    (staging / "stg_posthog__gone.sql").write_text("select 1", encoding="utf-8")
    checked = generate(tmp_path / "dbt", "--check")
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        f"dbt/models/staging/stg_posthog__{name}.sql is stale: run `make docs`"
        for name in ("persons", "gone")
    ]
    assert generate(tmp_path / "dbt").returncode == 0
    assert (staging / "stg_posthog__persons.sql").read_text(encoding="utf-8") == before
    assert not (staging / "stg_posthog__gone.sql").exists()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_yaml_file_can_be_read(path: Path) -> None:
    """As a mapping."""
    assert isinstance(parsed(path), dict)


def test_every_table_is_a_source_with_freshness_and_a_staging_model() -> None:
    """Freshness asks the runs of the streams that fill the table."""
    data, _, _ = parsed(DBT / "models" / "staging" / "_sources.yml")["sources"]
    tables = {table["name"]: table for table in data["tables"]}
    models = parsed(DBT / "models" / "staging" / "_models.yml")["models"]
    assert {f"stg_posthog__{name}" for name in TABLE_SPECS} <= {model["name"] for model in models}
    for name in TABLE_SPECS:
        assert ".runs" in tables[name]["config"]["loaded_at_query"]
        assert (DBT / "models" / "staging" / f"stg_posthog__{name}.sql").is_file()
    shared = tables["sharing_configurations"]["config"]["loaded_at_query"]
    assert "'recording_sharing', 'insight_sharing', 'dashboard_sharing'" in shared


def test_every_ready_query_is_a_source_with_freshness() -> None:
    """In the schema of queries. It has no model: the table of one that is off is not there."""
    _, queries, _ = parsed(DBT / "models" / "staging" / "_sources.yml")["sources"]
    tables = {table["name"]: table["config"]["loaded_at_query"] for table in queries["tables"]}
    assert tables.keys() == PRESETS.keys()
    assert all(f"'query:{name}'" in asked for name, asked in tables.items())
    assert "_queries" in queries["schema"]
    models = (DBT / "models").rglob("*.sql")
    assert not any("posthog_queries" in path.read_text("utf-8") for path in models)


def test_every_mart_is_described() -> None:
    """`make dbt` compares the columns with those that Postgres has."""
    described = parsed(DBT / "models" / "marts" / "_marts.yml")["models"]
    assert sorted(model["name"] for model in described) == MARTS


def test_every_variable_is_described() -> None:
    """In the README, and each one that a model uses."""
    files = [*DBT.rglob("*.sql"), *DOCUMENTS]
    used = {
        name
        for path in files
        if "target" not in path.parts
        for name in re.findall(r"""\bvar\(['"]+(\w+)['"]""", path.read_text(encoding="utf-8"))
    }
    table = (DBT / "README.md").read_text(encoding="utf-8")
    assert used == set(re.findall(r"^\| `(posthog_\w+)` \| .* \| .* \|$", table, re.M)) - set(MARTS)


def test_the_package_has_the_version_of_posthog_etl_and_tells_dbt_nothing() -> None:
    """dbt's anonymous statistics are off."""
    project = parsed(DBT / "dbt_project.yml")
    assert project["version"] == etl.__version__
    assert project["flags"] == {"send_anonymous_usage_stats": False}
