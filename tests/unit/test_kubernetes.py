"""deploy/kubernetes: the manifests against Kubernetes' own schemas, and what they promise."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import make_url

from etl.cli.shared import GRACE_S
from etl.settings import environment_name, setting_names
from tests.support.usage import understood

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
# The oldest and the newest that the package has schemas of.
VERSIONS = ("1.25", kubernetes_validate.latest_version())
MOUNTED = "/run/posthog-etl"


def kustomization(directory: str) -> dict[str, Any]:
    """Return what a directory is made of."""
    path = DEPLOY / directory / "kustomization.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


MANIFESTS: dict[str, dict[str, Any]] = {
    f"{each['kind']}/{each['metadata']['name']}": each
    for directory in ("base", "backfill")
    for name in kustomization(directory)["resources"]
    for each in yaml.safe_load_all((DEPLOY / directory / name).read_text(encoding="utf-8"))
}
SERVE, WORKER = "Deployment/posthog-etl-serve", "Deployment/posthog-etl-worker"
BACKFILL = "Job/posthog-etl-backfill"
PODS = {name: MANIFESTS[name]["spec"]["template"] for name in (SERVE, WORKER, BACKFILL)}
SETTINGS: dict[str, str] = MANIFESTS["ConfigMap/posthog-etl"]["data"]


def containers(name: str) -> list[dict[str, Any]]:
    """Return all containers of a pod; the last one is what it is for."""
    pod = PODS[name]["spec"]
    (main,) = pod["containers"]
    return [*pod.get("initContainers", []), main]


def secrets_of(name: str) -> set[str]:
    """Return the keys of the Secret that a pod shows as files."""
    (volume,) = [each["secret"] for each in PODS[name]["spec"]["volumes"] if "secret" in each]
    assert volume["secretName"] == "posthog-etl"
    assert volume["defaultMode"] == 0o440
    assert all(item["key"] == item["path"] for item in volume["items"])
    return {item["key"] for item in volume["items"]}


def test_the_directories_hold_all_manifests_and_no_other_file() -> None:
    """So each one below is checked."""
    for directory in ("base", "backfill"):
        named = {"kustomization.yaml", *kustomization(directory)["resources"]}
        assert {path.name for path in (DEPLOY / directory).iterdir()} == named
    assert set(MANIFESTS) == {
        *("ConfigMap/posthog-etl", SERVE, "Service/posthog-etl"),
        *(WORKER, "PodDisruptionBudget/posthog-etl-worker", BACKFILL),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    """An unknown one is refused: each manifest with a misspelt field is."""
    for manifest in MANIFESTS.values():
        kubernetes_validate.validate(manifest, version, strict=True)
        misspelt = copy.deepcopy(manifest)
        misspelt["metadata"]["nmae"] = "posthog-etl"
        with pytest.raises(kubernetes_validate.ValidationError, match="nmae"):
            kubernetes_validate.validate(misspelt, version, strict=True)
    wrong = copy.deepcopy(MANIFESTS[WORKER])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSecond"] = 10
    with pytest.raises(kubernetes_validate.ValidationError, match="periodSecond"):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize(
    "directory", ["deploy/kubernetes/base", "deploy/kubernetes/backfill", "my"]
)
def test_what_kubectl_makes_of_them_is_known_to_kubernetes(directory: str, tmp_path: Path) -> None:
    """Of the manifests as they stand, and under the kustomization of the page."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl to render the manifests with")
    shutil.copytree(DEPLOY, tmp_path / "deploy" / "kubernetes")
    own = re.search(r"```yaml\n# my/kustomization\.yaml\n(.+?)```", PAGE, re.DOTALL)
    assert own is not None
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "kustomization.yaml").write_text(own[1], encoding="utf-8")
    rendered = subprocess.run(
        ["kubectl", "kustomize", directory],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found = {
        f"{each['kind']}/{each['metadata']['name']}": each
        for each in yaml.safe_load_all(rendered.stdout)
    }
    assert found.keys() == ({BACKFILL} if "backfill" in directory else set(MANIFESTS) - {BACKFILL})
    for manifest in found.values():
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
        assert manifest["metadata"]["labels"]["app.kubernetes.io/name"] == "posthog-etl"
    if directory == "my":
        worker = found[WORKER]["spec"]
        images = {each["image"] for each in worker["template"]["spec"]["containers"]}
        assert (worker["replicas"], images) == (4, {"registry.example/posthog-etl:1"})
        settings = found["ConfigMap/posthog-etl"]["data"]
        assert settings == SETTINGS | {
            "POSTHOG_HOST": "https://eu.posthog.com",
            "POSTHOG_PROJECT_ID": "12345",
            "DATABASE_URL": "postgresql://posthog_etl@db.example:5432/posthog_etl",
        }


@pytest.mark.parametrize("name", PODS)
def test_every_pod_may_do_no_more_than_it_has_to(name: str) -> None:
    """The user of the image, nothing written but under /tmp, no capability, no token."""
    pod = PODS[name]["spec"]
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user[1]),
        "runAsGroup": int(user[2]),
        "fsGroup": int(user[2]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    (tmp,) = [each["name"] for each in pod["volumes"] if "emptyDir" in each]
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
        assert mounts["/tmp"] == {"name": tmp, "mountPath": "/tmp"}
        assert mounts[MOUNTED]["readOnly"] is True
        resources = container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert resources["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", PODS)
def test_every_pod_calls_our_command_and_has_time_to_commit(name: str) -> None:
    """By the entry point of the image, which is one for all."""
    assert PODS[name]["spec"]["terminationGracePeriodSeconds"] == 30 > GRACE_S
    for container in containers(name):
        assert "command" not in container
        assert understood(container["args"])
        assert container["image"] == "posthog-etl"


def test_serve_and_workers_do_what_they_do_under_compose() -> None:
    """The same command lines and the same health checks, after a migration of their own."""
    for name, service in ((SERVE, "serve"), (WORKER, "worker")):
        migrate, main = containers(name)
        assert migrate["args"] == ["migrate"]
        assert main["args"] == COMPOSE[service]["command"]
    (probed,) = containers(WORKER)[1:]
    for probe in ("readinessProbe", "livenessProbe"):
        assert probed[probe]["exec"]["command"] == shlex.split(
            COMPOSE["worker"]["healthcheck"]["test"]
        )
    (probed,) = containers(SERVE)[1:]
    (port,) = probed["ports"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert probed[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert SETTINGS["POSTHOG_ETL_AUTO_MIGRATE"] == "false"


def test_labels_lead_to_the_pods_they_are_meant_for() -> None:
    """The Service to `serve`, the disruption budget to workers, each Deployment to its own."""
    wanted = {
        "Service/posthog-etl": MANIFESTS["Service/posthog-etl"]["spec"]["selector"],
        "PodDisruptionBudget/posthog-etl-worker": MANIFESTS[
            "PodDisruptionBudget/posthog-etl-worker"
        ]["spec"]["selector"]["matchLabels"],
        SERVE: MANIFESTS[SERVE]["spec"]["selector"]["matchLabels"],
        WORKER: MANIFESTS[WORKER]["spec"]["selector"]["matchLabels"],
    }
    found = {
        name: [
            pod for pod, it in PODS.items() if labels.items() <= it["metadata"]["labels"].items()
        ]
        for name, labels in wanted.items()
    }
    assert found == {
        "Service/posthog-etl": [SERVE],
        "PodDisruptionBudget/posthog-etl-worker": [WORKER],
        SERVE: [SERVE],
        WORKER: [WORKER],
    }
    (port,) = MANIFESTS["Service/posthog-etl"]["spec"]["ports"]
    assert port["targetPort"] == containers(SERVE)[1]["ports"][0]["name"]


@pytest.mark.parametrize("name", PODS)
def test_secrets_are_files_and_stand_nowhere_else(name: str) -> None:
    """Every setting is one, and each that names a file names one that the pod has."""
    known = {environment_name(each) for each in setting_names()}
    for container in containers(name):
        assert container["envFrom"] == [{"configMapRef": {"name": "posthog-etl"}}]
        own = {each["name"]: each["value"] for each in container.get("env", [])}
        for variable, text in (SETTINGS | own).items():
            assert variable in known
            if variable.endswith("_FILE"):
                assert Path(text).parent == Path(MOUNTED)
                assert Path(text).name in secrets_of(name)
            else:
                assert not re.search("KEY|PASSWORD|TOKEN|SECRET", variable)
    assert make_url(SETTINGS["DATABASE_URL"]).password is None


def test_the_page_makes_the_secret_and_names_what_is_there() -> None:
    """Its commands: keys of the Secret, directories, and names of resources."""
    lines = [shlex.split(line, comments=True) for line in PAGE.replace("\\\n", "").splitlines()]
    commands = [words for words in lines if words[:1] == ["kubectl"]]
    (made,) = [words for words in commands if words[1:4] == ["create", "secret", "generic"]]
    assert made[4] == "posthog-etl"
    files = [word.partition("=")[2] for word in made if word.startswith("--from-file=")]
    assert {Path(file).name for file in files} == set().union(*map(secrets_of, PODS))
    for words in commands:
        if "-k" in words and words[words.index("-k") + 1].startswith("deploy/"):
            assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").is_file()
    short = {"deploy": "Deployment", "svc": "Service", "job": "Job"}
    named = re.findall(r"\b(deploy|svc|job)/(posthog-etl[a-z-]*)", PAGE)
    assert named
    assert {f"{short[kind]}/{name}" for kind, name in named} <= set(MANIFESTS)
