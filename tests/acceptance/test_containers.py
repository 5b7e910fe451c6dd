"""The containers without a container engine: their files, their settings, their processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from tests.support.books import until
from tests.support.command import ALL_BUT_RECORDINGS
from tests.support.pgproxy import PgProxy
from tests.support.sql import select, value

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("serve", "worker", "sandbox")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NOBODY = 65534


def stages() -> list[list[str]]:
    """The instructions of each stage of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    found: list[list[str]] = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        if line.startswith("FROM "):
            found.append([])
        if found:  # ARG stands before the first
            found[-1].append(line)
    return found


def copied(target: Path) -> None:
    """Copy what the build stage copies, as Docker would, into `target`."""
    for line in stages()[0]:
        if line.startswith("COPY "):
            *sources, place = line.split()[1:]
            for source in sources:
                origin = ROOT / source
                assert origin.exists(), f"{line}: there is no {source}"
                to = target / place
                if origin.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(origin, to, dirs_exist_ok=True, ignore=ignored)
                else:
                    to = to / origin.name if place.endswith("/") else to
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(origin, to)


def test_the_compose_file_has_every_service() -> None:
    """And the demo's source only in its profile."""
    assert set(SERVICES) == {"secrets", "postgres", *OURS}
    # With its registry: Podman does not guess one.
    assert SERVICES["postgres"]["image"] == "docker.io/library/postgres:17"
    assert {n for n, s in SERVICES.items() if s.get("profiles")} == {"sandbox"}
    assert SERVICES["sandbox"]["profiles"] == ["demo"]
    assert "container_name" not in SERVICES["worker"]  # else there could be but one
    named = {each.split(":")[0] for s in SERVICES.values() for each in s.get("volumes", [])}
    # podman-compose 1.0 takes the beginning of a name for the name, so it does not make that
    # volume; Podman does, without labels, and `down --volumes` leaves it.
    assert not any(one != other and other.startswith(one) for one in named for other in named)
    assert named == set(COMPOSE["volumes"]) == {"postgres", "secrets", "database-password"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_may_do_no_more_than_it_has_to(name: str) -> None:
    """No root, nothing written but under /tmp, no capability, no way to get more.

    `secrets` has to read the files of another user and to give copies away, so it is root; nobody
    else is on its network, which leads nowhere.
    """
    service = SERVICES[name]
    users = {"postgres": "postgres", "secrets": "root"}
    assert service["user"] == users.get(name, "10001:10001")
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert "privileged" not in service
    if name == "secrets":
        # The image's volume: podman-compose would leave it behind.
        assert "/var/lib/postgresql/data" in service["tmpfs"]
        assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
        assert service["networks"] == ["apart"]
        assert COMPOSE["networks"] == {"default": None, "apart": {"internal": True}}
    else:
        assert "cap_add" not in service
        assert "networks" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_stays_and_says_whether_it_is_well(name: str) -> None:
    """Podman starts nothing that depends on a container that has ended.

    podman-compose up to 1.3 breaks a health check that is a list.
    """
    check = SERVICES[name]["healthcheck"]
    assert isinstance(check["test"], str)
    assert {"interval", "timeout", "retries"} <= check.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("profile", [(), ("--profile", "demo")])
def test_a_compose_tool_reads_the_file_as_it_is_meant(
    tmp_path: Path, profile: tuple[str, ...]
) -> None:
    """Its config check, which asks of an engine no more than the version: settings and profiles."""
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\necho podman version 5.0.0\n", encoding="utf-8")
    engine.chmod(0o755)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "podman_compose", "--podman-path", str(engine)),
            *("-f", str(ROOT / "docker-compose.yml"), *profile, "config"),
        ],
        env={"PATH": os.environ["PATH"], "POSTHOG_PROJECT_ID": "7", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services.keys() == SERVICES.keys() - (set() if profile else {"sandbox"})
    for name in ("serve", "worker"):
        environment = services[name]["environment"]
        assert environment["POSTHOG_PROJECT_ID"] == "7"
        assert environment["POSTHOG_HOST"] == "https://us.posthog.com"
        assert environment["DATABASE_PASSWORD_FILE"] == "/run/posthog-etl/database_password"
        assert (services[name]["user"], services[name]["read_only"]) == ("10001:10001", True)


def test_services_wait_for_the_secrets_and_by_themselves_for_each_other() -> None:
    """Podman starts no container again while one that it depends on is down.

    A worker that dies while Postgres restarts is replaced all the same.
    """
    wanted = {"secrets": {"condition": "service_healthy"}}
    after = {name: service.get("depends_on") for name, service in SERVICES.items()}
    assert after == {
        **dict.fromkeys(("postgres", "serve", "worker"), wanted),
        **dict.fromkeys(("secrets", "sandbox")),
    }
    for name in ("serve", "worker"):
        assert SERVICES[name]["stop_grace_period"] == "30s"
        assert "POSTHOG_ETL_AUTO_MIGRATE" not in SERVICES[name]["environment"]


def test_secrets_are_files_and_stand_nowhere_else() -> None:
    """Each one is copied, who uses one mounts the copies, and no variable holds a secret."""
    assert SERVICES["secrets"]["secrets"] == list(COMPOSE["secrets"])
    for secret in COMPOSE["secrets"].values():
        assert list(secret) == ["file"]
    for name, service in SERVICES.items():
        assert ("secrets" in service) == (name == "secrets")
        volume = "database-password" if name == "postgres" else "secrets"
        for variable, text in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD|TOKEN|SECRET", variable):
                assert variable.endswith("_FILE")
                assert text.removeprefix("/run/posthog-etl/") in COMPOSE["secrets"]
                assert f"{volume}:/run/posthog-etl:ro" in service["volumes"]
            if variable == "DATABASE_URL":
                assert make_url(text).password is None
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(r"ph[xc]_(?!sandbox)\w", text)
    assert "secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_secrets_of_mode_0600_are_copied_for_those_who_use_them_and_nobody_else(
    tmp_path: Path,
) -> None:
    """The script of the service, with /run/secrets and the volumes in a directory of the test."""
    given, ours, postgres = tmp_path / "given", tmp_path / "posthog-etl", tmp_path / "postgres"
    for directory in (given, ours, postgres):
        directory.mkdir()
    for name in COMPOSE["secrets"]:
        (given / name).touch(mode=0o600)
        (given / name).write_text(f"the {name}", encoding="utf-8")
    programs, log = tmp_path / "programs", tmp_path / "chown.log"
    programs.mkdir()
    (programs / "chown").write_text(f'#!/bin/sh\necho "$@" >>{log}\n', encoding="utf-8")
    (programs / "chown").chmod(0o755)
    *shell, script = [*SERVICES["secrets"]["entrypoint"], *SERVICES["secrets"]["command"]]
    assert "$" not in script  # Compose would put a variable there
    script = script.replace("/run/secrets", str(given)).replace("/copies", str(tmp_path))
    check = shlex.split(SERVICES["secrets"]["healthcheck"]["test"])
    done = tmp_path / Path(check[-1]).name
    script = script.replace(check[-1], str(done)).replace("exec sleep infinity", "exec true")
    for _ in range(2):  # each start copies them again
        path = f"{programs}:{os.environ['PATH']}"
        subprocess.run([*shell, script], check=True, env={"PATH": path})
        subprocess.run([*check[:-1], str(done)], check=True)
        done.unlink()  # it lies in the memory of one start
    for directory, names in ((ours, set(COMPOSE["secrets"])), (postgres, {"database_password"})):
        copies = {each.name: each.read_text(encoding="utf-8") for each in directory.iterdir()}
        assert copies == {name: f"the {name}" for name in names}
        assert {each.stat().st_mode & 0o777 for each in directory.iterdir()} == {0o600}
    owners = [line.split()[0] for line in log.read_text().splitlines()]
    assert owners == ["10001:10001", "postgres:postgres"] * 2


def test_only_this_machine_reaches_what_is_published() -> None:
    """The status page on a loopback address, and nothing else."""
    ports = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert ports == {"serve": ["127.0.0.1:${POSTHOG_ETL_PAGE_PORT:-8011}:8011"]}


def test_the_last_stage_builds_nothing_and_is_not_root() -> None:
    """Two stages on one base; the second copies what the first installed."""
    build, last = stages()
    assert re.search(r"^ARG BASE=docker\.io/library/python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)
    assert (build[0], last[0]) == ("FROM ${BASE} AS build", "FROM ${BASE}")
    assert "pip --python /opt/posthog-etl install" in " ".join(build)
    copies = [line for line in last if line.startswith("COPY ")]
    assert copies == ["COPY --from=build /opt/posthog-etl /opt/posthog-etl"]
    assert "USER 10001:10001" in last
    assert 'ENTRYPOINT ["posthog-etl"]' in last
    runs = " ".join(line for line in last if line.startswith("RUN "))
    assert "pip uninstall" in runs
    assert not re.search(r"apt-get|pip install|gcc", runs)


def test_the_build_context_holds_what_is_copied_and_no_more() -> None:
    """.dockerignore lets through exactly what the Dockerfile asks for."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = {
        source for line in stages()[0] if line.startswith("COPY ") for source in line.split()[1:-1]
    }
    assert lines.index("*") < min(lines.index(f"!{source}") for source in sources)
    assert {line[1:] for line in lines if line.startswith("!")} == sources


def test_what_the_image_is_built_from_installs_and_runs(tmp_path: Path) -> None:
    """The Dockerfile's own COPY lines, a real `pip install` of them, and the command."""
    source = tmp_path / "src"
    copied(source)
    venv.EnvBuilder(symlinks=True).create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    # The dependencies are those of the tests, so that nothing is downloaded.
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    places = [each for each in sys.path if each.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(places), encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"),
            *("--disable-pip-version-check", "."),
        ],
        cwd=source,
        check=True,
        env={**os.environ, "PIP_NO_CACHE_DIR": "1"},
    )
    migrations = {path.name for path in (site / "etl/_migrations/versions").glob("0*.py")}
    assert migrations == {path.name for path in (ROOT / "migrations/versions").glob("0*.py")}
    for arguments, said in ((["--version"], "posthog-etl "), (["worker", "--help"], "SIGTERM")):
        ran = subprocess.run(
            [tmp_path / "venv/bin/posthog-etl", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert said in ran.stdout


def test_who_tries_the_containers_without_an_engine_is_told(tmp_path: Path) -> None:
    """`make containers` ends with 3, and CI, which tries them where possible, with 0."""
    words = [sys.executable, str(ROOT / ".ci/containers")]
    for extra, code in (([], 3), (["--where-possible"], 0)):
        done = subprocess.run(
            [*words, *extra],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.startswith("No container engine answers here")


# --- the services as plain processes -----------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ordinary_user() -> dict[str, Any]:
    """What lets a process run as somebody else, where we are root and that one can run Python."""
    if os.geteuid() != 0:
        return {}
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with contextlib.suppress(OSError):
        ran = subprocess.run([sys.executable, "-c", "import etl"], check=False, **user)
        if ran.returncode == 0:
            return user
    return {}


class Engine:
    """Runs services of the compose file: their command lines and environments, elsewhere.

    What differs: names of hosts are addresses here, secrets and /tmp are in a directory of the
    test, who listens does so here alone, on a port that is free, and only recordings are copied.
    """

    def __init__(self, directory: Path, dsn: str) -> None:
        self._directory = directory
        self._port, self._page = free_port(), free_port()
        self.source = f"http://127.0.0.1:{self._port}"
        self._dsn = dsn
        self._user = ordinary_user()
        (directory / "posthog-etl").mkdir()
        secrets = {
            "posthog_personal_api_key": "phx_sandbox\n",
            "database_password": "a password\n",
            "serve_token": "0123456789abcdef0123456789abcdef\n",
        }
        for name, text in secrets.items():
            (directory / "posthog-etl" / name).write_text(text, encoding="utf-8")
        (directory / "tmp").mkdir()
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o644)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service."""
        given = {"POSTHOG_HOST": self.source, "POSTHOG_PROJECT_ID": "1"}
        found = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "127.0.0.1",
        }
        for variable, text in SERVICES[name].get("environment", {}).items():
            words = re.match(r"\$\{(\w+):-(.*)\}", text)
            found[variable] = given.get(words[1], words[2]) if words else self._here(text)
        if "DATABASE_URL" in found:
            found["DATABASE_URL"] = self._dsn
            found["POSTHOG_ETL_DISABLED_STREAMS"] = ALL_BUT_RECORDINGS
        if name == "serve":
            found |= {
                "POSTHOG_ETL_SERVE_HOST": "127.0.0.1",
                "POSTHOG_ETL_SERVE_PORT": str(self._page),
            }
        return found

    def _here(self, text: str) -> str:
        return re.sub(
            r"/run/posthog-etl|/tmp", lambda m: f"{self._directory}/{Path(m[0]).name}", text
        )

    def command(self, name: str) -> list[str]:
        """The command line of a service, entry point included."""
        line = [self._here(word) for word in SERVICES[name]["command"]]
        if name == "sandbox":
            line = [*("127.0.0.1" if word == "0.0.0.0" else word for word in line)]
            line += ["--port", str(self._port)]
            line[line.index("20000")] = "300"
        return [str(Path(sys.executable).with_name("posthog-etl")), *line]

    @contextlib.asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a service; it is gone after the block."""
        process = await asyncio.create_subprocess_exec(
            *self.command(name),
            cwd=self._directory,
            env=self.environment(name),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            **self._user,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def healthy(self, name: str) -> bool:
        """Do what the service's health check does."""
        check = shlex.split(SERVICES[name]["healthcheck"]["test"])
        line = [
            self._here(word)
            .replace("127.0.0.1:8010", f"127.0.0.1:{self._port}")
            .replace("127.0.0.1:8011", f"127.0.0.1:{self._page}")
            for word in check
        ]
        line[0] = sys.executable
        return subprocess.run(line, check=False, capture_output=True).returncode == 0


@pytest.mark.long
async def test_the_services_run_as_they_stand_in_the_compose_file(
    empty_dsn: str,
) -> None:
    """The demo's source, a worker that makes the schema, and units on the queue, executed by it."""
    # Where an ordinary user may go, too.
    # That one cannot enter the directory of our server's socket: so by TCP.
    async with PgProxy.in_front_of(empty_dsn) as proxy:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            engine = Engine(Path(name), proxy.dsn)
            async with engine.running("sandbox"):

                async def source_is_well() -> bool:
                    return await asyncio.to_thread(engine.healthy, "sandbox")

                await until(source_is_well, "the sandbox is healthy")
                async with engine.running("worker") as worker:

                    async def worker_is_well() -> bool:
                        return await asyncio.to_thread(engine.healthy, "worker")

                    await until(worker_is_well, "the worker is healthy")
                    enqueue = await asyncio.create_subprocess_exec(
                        *engine.command("worker")[:1],
                        *("backfill", "session_recordings", "--since", "2020-01-01", "--enqueue"),
                        env=engine.environment("worker"),
                    )
                    assert await enqueue.wait() == 0

                    async with engine.running("serve") as serve:

                        async def serve_is_well() -> bool:
                            return await asyncio.to_thread(engine.healthy, "serve")

                        async def a_sync_has_run() -> bool:
                            synced = "SELECT count(*) FROM posthog_etl.runs WHERE command = 'sync'"
                            return bool(await value(empty_dsn, synced))

                        await until(serve_is_well, "the service is healthy")
                        await until(a_sync_has_run, "the worker has done what is due")
                        serve.terminate()
                        assert await serve.wait() == 0

                    async def loaded() -> bool:
                        return not await value(
                            empty_dsn, "SELECT count(*) FROM posthog_etl.pgqueuer"
                        )

                    await until(loaded, "the worker has worked off the queue")
                    worker.terminate()
                    assert await worker.wait() == 0
            statuses = await select(empty_dsn, "SELECT DISTINCT status FROM posthog_etl.runs")
            assert statuses == [{"status": "succeeded"}]
            assert await value(empty_dsn, "SELECT count(*) > 200 FROM posthog.session_recordings")
