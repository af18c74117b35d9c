"""The manifests agree with the configuration, with themselves and with Kubernetes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar.ops.config import Config, load, notes

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
SOCKET = "unix:///run/sidecar/sidecar.sock"
CONTAINERFILES = (K8S / "Containerfile", K8S / "example" / "Containerfile")
IMAGE = re.compile(r"[a-z0-9-]+:(?!latest$)[\w.-]+")
# The oldest that has native sidecars, the first where they are no beta, a recent one.
KUBERNETES = ("1.29", "1.33", "1.36")


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def document(path: Path) -> dict[str, Any]:
    (only,) = documents(path)
    return only


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


def named(things: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {thing["name"]: thing for thing in things}
    assert len(found) == len(things), "a name stands twice"
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {name: entry["value"] for name, entry in named(container["env"]).items()}


def instructions(path: Path) -> list[list[tuple[str, str]]]:
    """The stages of a Containerfile, each the list of its instructions."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


def render(folder: Path) -> dict[str, dict[str, Any]]:
    built = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60
    )
    assert built.returncode == 0, built.stderr
    return {one["kind"]: one for one in yaml.safe_load_all(built.stdout)}


@pytest.fixture(scope="module")
def kustomization() -> dict[str, Any]:
    return document(K8S / "kustomization.yaml")


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return document(K8S / "deployment.yaml")


@pytest.fixture
def sidecar(deployment) -> dict[str, Any]:
    return named(pod(deployment)["initContainers"])["sidecar"]


@pytest.fixture
def app(deployment) -> dict[str, Any]:
    return named(pod(deployment)["containers"])["app"]


@pytest.fixture
def config(sidecar) -> Config:
    return load(str(K8S / "sidecar.yaml"), environment(sidecar), {})


@pytest.fixture
def with_sasl(tmp_path) -> Path:
    """The base with its component for SASL switched on as its comment says."""
    folder = tmp_path / "k8s"
    shutil.copytree(K8S, folder)
    file = folder / "kustomization.yaml"
    text = file.read_text()
    file.write_text(text.replace("# components:\n#   - sasl\n", "components:\n  - sasl\n"))
    assert file.read_text() != text
    return folder


# The configuration


def test_the_sidecar_accepts_its_configuration(config):
    assert list(config.tables) == ["users"]
    assert notes(config) == ()


def test_grpc_is_on_the_socket_only_and_http_where_the_kubelet_reaches_it(config):
    assert config.listen == (SOCKET,)
    assert config.http[0] == "0.0.0.0"


def test_the_sidecar_is_started_with_the_file_of_the_config_map(kustomization, sidecar, deployment):
    (generator,) = kustomization["configMapGenerator"]
    assert generator["files"] == ["sidecar.yaml"]
    volume = named(pod(deployment)["volumes"])["sidecar-config"]
    assert volume["configMap"]["name"] == generator["name"]
    mount = named(sidecar["volumeMounts"])["sidecar-config"]
    assert sidecar["args"] == ["serve", "--config", f"{mount['mountPath']}/sidecar.yaml"]
    assert mount["readOnly"]


def test_config_socket_mounts_and_endpoints_name_the_same_place(config, sidecar, app):
    directory = str(Path(config.listen[0].removeprefix("unix://")).parent)
    for container in (sidecar, app):
        assert environment(container)["SIDECAR_ENDPOINT"] == SOCKET
        assert named(container["volumeMounts"])["sidecar-socket"]["mountPath"] == directory
    assert not named(sidecar["volumeMounts"])["sidecar-socket"].get("readOnly")


def test_the_example_asks_for_a_table_that_is_served(config):
    (table,) = re.findall(r'connect\(table="(.+?)"\)', (K8S / "example" / "app.py").read_text())
    assert table in config.tables


# The pod


def test_the_sidecar_is_a_native_one_and_the_app_waits_for_it(deployment, sidecar):
    assert sidecar["restartPolicy"] == "Always"
    assert list(named(pod(deployment)["initContainers"])) == ["sidecar"]
    assert list(named(pod(deployment)["containers"])) == ["app"]


@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ("startupProbe", "/startupz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ],
)
def test_a_probe_calls_the_configured_http_port(sidecar, config, probe, path):
    asked = sidecar[probe]["httpGet"]
    assert asked["path"] == path
    assert named(sidecar["ports"])[asked["port"]]["containerPort"] == config.http[1]


def test_the_app_is_probed_where_it_listens(app):
    port = named(app["ports"])[app["readinessProbe"]["tcpSocket"]["port"]]["containerPort"]
    assert f"PORT = {port}\n" in (K8S / "example" / "app.py").read_text()


def test_a_rollout_is_not_called_failed_while_a_bootstrap_may_still_end(deployment, sidecar):
    probe = sidecar["startupProbe"]
    longest = probe["periodSeconds"] * probe["failureThreshold"]
    assert longest >= 600
    assert deployment["spec"]["progressDeadlineSeconds"] > longest
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_socket_is_in_memory_and_bounded(deployment):
    empty = named(pod(deployment)["volumes"])["sidecar-socket"]["emptyDir"]
    assert empty["medium"] == "Memory"
    assert empty["sizeLimit"]


def test_the_pod_has_no_more_rights_than_it_needs(deployment, sidecar, app):
    spec = pod(deployment)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["fsGroup"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (sidecar, app):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_memory_is_bounded(sidecar, app):
    for container in (sidecar, app):
        assert container["resources"]["limits"]["memory"]


def test_every_volume_is_defined_and_mounted(deployment, sidecar, app):
    mounted = {mount["name"] for one in (sidecar, app) for mount in one["volumeMounts"]}
    assert mounted == set(named(pod(deployment)["volumes"]))


def test_the_selector_picks_the_pods(deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_image_has_its_tag(kustomization, sidecar, app):
    images = named(kustomization["images"])
    assert set(images) == {sidecar["image"], app["image"]}
    for name, image in images.items():
        assert IMAGE.fullmatch(f"{name}:{image['newTag']}")


def test_every_file_that_is_named_exists(kustomization):
    for file in kustomization["resources"]:
        assert (K8S / file).is_file()
    for patch in document(K8S / "sasl" / "kustomization.yaml")["patches"]:
        assert (K8S / "sasl" / patch["path"]).is_file()


# SASL


def test_the_sasl_patch_is_for_the_base(deployment, sidecar):
    patch = document(K8S / "sasl" / "deployment.yaml")
    assert patch["metadata"]["name"] == deployment["metadata"]["name"]
    assert list(named(pod(patch)["initContainers"])) == [sidecar["name"]]


def test_the_sidecar_accepts_the_sasl_settings(tmp_path):
    patched = pod(document(K8S / "sasl" / "deployment.yaml"))
    container = named(patched["initContainers"])["sidecar"]
    variables = environment(container)
    (mount,) = container["volumeMounts"]
    file = Path(variables["SIDECAR_KAFKA__SASL_PASSWORD_FILE"])
    assert str(file.parent) == mount["mountPath"]
    assert mount["readOnly"]
    assert "secret" in named(patched["volumes"])[mount["name"]]

    (tmp_path / file.name).write_text("secret\n")
    variables["SIDECAR_KAFKA__SASL_PASSWORD_FILE"] = str(tmp_path / file.name)
    config = load(str(K8S / "sidecar.yaml"), variables, {})
    assert config.kafka.uses_sasl
    assert config.kafka.sasl_password == "secret"
    assert notes(config) == ()


# Kubernetes


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field_of_the_deployment(deployment, version):
    kubernetes_validate.validate(deployment, version, strict=True)


def test_the_schema_would_tell_of_an_unknown_field(deployment):
    wrong = yaml.safe_load(yaml.safe_dump(deployment))
    pod(wrong)["initContainers"][0]["startUpProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="startUpProbe"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.slow
def test_kustomize_renders_the_base_with_its_names_resolved(config):
    rendered = render(K8S)
    assert set(rendered) == {"ConfigMap", "Deployment"}
    spec = pod(rendered["Deployment"])
    volume = named(spec["volumes"])["sidecar-config"]
    assert volume["configMap"]["name"] == rendered["ConfigMap"]["metadata"]["name"]
    assert rendered["ConfigMap"]["data"] == {
        "sidecar.yaml": (K8S / "sidecar.yaml").read_text(),
    }
    for container in (*spec["initContainers"], *spec["containers"]):
        assert IMAGE.fullmatch(container["image"])


@pytest.mark.slow
def test_kustomize_adds_sasl_and_takes_nothing_away(with_sasl, sidecar):
    spec = pod(render(with_sasl)["Deployment"])
    merged = named(spec["initContainers"])["sidecar"]
    assert environment(sidecar).items() < environment(merged).items()
    assert set(named(sidecar["volumeMounts"])) < set(named(merged["volumeMounts"]))
    assert set(named(merged["volumeMounts"])) == set(named(spec["volumes"]))
    assert merged["restartPolicy"] == "Always"


@pytest.mark.slow
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field_that_is_rendered(with_sasl, version):
    for one in render(with_sasl).values():
        kubernetes_validate.validate(one, version, strict=True)


# The images


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: str(path.relative_to(K8S)))
class TestContainerfile:
    def test_every_base_has_a_tag_and_no_registry(self, path):
        for stage in instructions(path):
            word, rest = stage[0]
            assert word == "FROM"
            assert IMAGE.fullmatch(rest.split()[0])

    def test_the_final_stage_runs_as_a_number_that_is_not_root(self, path):
        (user,) = [rest for word, rest in instructions(path)[-1] if word == "USER"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)

    def test_the_final_stage_needs_no_shell(self, path):
        final = instructions(path)[-1]
        for word, rest in final:
            assert word != "RUN"
            if word in {"ENTRYPOINT", "CMD"}:
                assert isinstance(yaml.safe_load(rest), list)
        assert "ENTRYPOINT" in dict(final)

    def test_it_stops_on_sigterm_and_writes_no_bytecode(self, path):
        final = dict(instructions(path)[-1])
        assert final["STOPSIGNAL"] == "SIGTERM"
        assert "PYTHONDONTWRITEBYTECODE=1" in shlex.split(final["ENV"])

    def test_what_it_copies_exists(self, path):
        ignored = path.with_name(path.name + ".dockerignore")
        listed = ignored.read_text().splitlines() if ignored.exists() else None
        for word, rest in (one for stage in instructions(path) for one in stage):
            if word != "COPY" or rest.startswith("--from="):
                continue
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert listed is None or f"!{source}" in listed


def test_the_image_serves_unless_told_otherwise():
    final = dict(instructions(K8S / "Containerfile")[-1])
    assert final["ENTRYPOINT"] == '["sidecar"]'
    assert final["CMD"] == '["serve"]'


def test_what_the_lock_names_is_checked_by_its_hash():
    (install,) = [
        rest
        for word, rest in instructions(K8S / "Containerfile")[0]
        if word == "RUN" and "requirements.lock" in rest
    ]
    assert "--require-hashes" in yaml.safe_load(install)
