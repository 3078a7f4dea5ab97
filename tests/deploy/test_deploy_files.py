"""The files in deploy/ belong together: ports, places, users and times are the same in all of them, and work."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from fsserver.policy.compiled import Layer, Policy
from fsserver.policy.loader import load_policy
from fsserver.policy.service import Transport
from fsserver.policy.surroundings import Surroundings
from tests.policy_files import desk_in
from tests.protocol.http_server import served_http
from tests.support import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
PLACES = ("/etc/fsserver", "/run/secrets", "/run/credentials", "/srv/work", "/var/lib/fsserver")
UID = 10001
AFTERWARDS_S = 10
"""What an end may take after `server.drain`: cancelling, idle connections, the places of the log."""


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text()


def documents(name: str) -> list[Any]:
    return [each for each in yaml.safe_load_all(text_of(name)) if each is not None]


def seconds(written: str | int) -> int:
    found = re.fullmatch(r"(\d+)(s|m|min)?", str(written))
    assert found is not None, written
    return int(found[1]) * (60 if found[2] in ("m", "min") else 1)


def policy_in(directory: Path, *, also: dict[str, str] | None = None) -> dict[str, Policy]:
    """Both policies, by name, with every place of theirs beneath ``directory``. ``also``: what is replaced first."""
    desk = desk_in(directory)
    (directory / "srv/work").mkdir(parents=True)
    state = directory / "var/lib/fsserver"
    state.mkdir(parents=True)
    here = Surroundings(str(desk.home), str(state), desk.here.uid, desk.here.own, desk.here.imports)
    found = {}
    for name in ("policy.yaml", "systemd/fsserver.yaml"):
        text = text_of(name)
        for old, new in (also or {}).items():
            text = text.replace(old, new)
        for place in PLACES:
            text = text.replace(place, f"{directory}{place}")
        found[name] = load_policy(desk.write(text, Path(name).name), here)
    return found


def kubernetes() -> dict[str, dict[str, Any]]:
    """By kind and name."""
    names = documents("kubernetes/kustomization.yaml")[0]["resources"]
    return {f"{each['kind']}/{each['metadata']['name']}": each for n in names for each in documents(f"kubernetes/{n}")}


def pod() -> dict[str, Any]:
    found: dict[str, Any] = kubernetes()["Deployment/fsserver"]["spec"]["template"]["spec"]
    return found


def replicas() -> dict[str, dict[str, Any]]:
    services = documents("docker/compose.yaml")[0]["services"]
    return {name: each for name, each in services.items() if name.startswith("fsserver-")}


def unit(name: str = "systemd/fsserver.service") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text_of(name), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def health_command() -> list[str]:
    (found,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text_of("docker/Dockerfile"), re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_every_file_is_yaml(path: Path) -> None:
    assert [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def test_the_policies_load_and_differ_in_places_only(tmp_path: Path) -> None:
    containers, machine = policy_in(tmp_path).values()
    assert containers.server.transport is Transport.HTTP
    assert not containers.server.auth.off
    assert containers.sandbox.require is Layer.LANDLOCK
    assert not containers.commands
    assert containers.audit.key is not None
    assert containers.shared.key is not None
    for name in ("roots", "principals", "limits", "redact_output", "profiles", "sandbox"):
        assert getattr(machine, name) == getattr(containers, name)
    for name in ("listen", "public_url", "proxies", "auth", "drain_s", "limits"):
        assert getattr(machine.server, name) == getattr(containers.server, name)
    assert replace(machine.audit, key=containers.audit.key) == containers.audit
    shared = containers.shared
    assert replace(machine.shared, key=shared.key, password=shared.password) == shared


def test_what_the_policy_only_proposes_loads_too(tmp_path: Path) -> None:
    """Commands in a container, and TLS in the place of a proxy, as whoever needs them would write them."""
    proposed = {
        "# sandbox: {require: landlock, accept_unprotected: true}\nsandbox: {require: landlock}\n": (
            "sandbox: {require: landlock, accept_unprotected: true}\ncommands: {list: {exec: /bin/ls, args: any}}\n"
        ),
        "  # tls: {certificate": "  tls: {certificate",
        "  proxies: [": "  # proxies: [",
    }
    policy = policy_in(tmp_path, also=proposed)["policy.yaml"]
    assert policy.sandbox.accept_unprotected
    assert list(policy.commands) == ["list"]
    assert policy.server.tls is not None
    assert not policy.server.proxies


def test_addresses_are_the_same_everywhere(tmp_path: Path) -> None:
    policy = policy_in(tmp_path)["policy.yaml"]
    compose = documents("docker/compose.yaml")[0]
    addresses = [each["networks"]["inside"]["ipv4_address"] for each in replicas().values()]
    assert policy.server.ops is not None
    listens, ops = policy.server.listen.port, policy.server.ops.port
    assert re.findall(r"^    server (\S+) ", text_of("nginx/fsserver.conf"), re.MULTILINE) == [
        f"{address}:{listens}" for address in addresses
    ]
    (job,) = documents("prometheus/prometheus.yml")[0]["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{address}:{ops}" for address in addresses]}]
    assert "fsserver" in job["job_name"]
    assert compose["services"]["nginx"]["networks"]["inside"]["ipv4_address"] in policy.server.proxies
    redis = compose["services"]["redis"]["networks"]["inside"]["ipv4_address"]
    assert policy.shared.redis == f"redis://{redis}:6379/0"
    assert re.findall(r"^EXPOSE (.*)$", text_of("docker/Dockerfile"), re.MULTILINE) == [f"{listens} {ops}"]
    (container,) = pod()["containers"]
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == {"mcp": listens, "ops": ops}
    served = [
        each["port"]
        for name in ("fsserver", "fsserver-replicas")
        for each in kubernetes()[f"Service/{name}"]["spec"]["ports"]
    ]
    assert served == [listens, listens, ops]
    (egress,) = kubernetes()["NetworkPolicy/fsserver"]["spec"]["egress"]
    assert egress == {"to": [{"ipBlock": {"cidr": f"{redis}/32"}}], "ports": [{"protocol": "TCP", "port": 6379}]}


def test_no_port_for_operators_leaves_the_machine() -> None:
    for service in documents("docker/compose.yaml")[0]["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not any("ports" in each for each in replicas().values())


def test_what_the_policies_name_is_mounted_or_given() -> None:
    wanted = set(
        re.findall(r"/(?:etc/fsserver|run/secrets|srv|var/lib)/[\w./-]+", re.sub(r"#.*", "", text_of("policy.yaml")))
    )
    assert len(wanted) == 6
    (container,) = pod()["containers"]
    in_kubernetes = {each["mountPath"] for each in container["volumeMounts"]}
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod()["volumes"]}
    for replica in replicas().values():
        in_compose = {each["target"] for each in (*replica["volumes"], *replica["secrets"])}
        for path in wanted:
            assert any(path == place or path.startswith(f"{place}/") for place in in_compose), path
    for path in wanted:
        assert any(path == place or path.startswith(f"{place}/") for place in in_kubernetes), path
    given = {each.split(":")[0] for each in unit()["LoadCredential"]}
    asked = re.findall(r"/run/credentials/fsserver\.service/(\S+)", text_of("systemd/fsserver.yaml"))
    assert given == set(asked)


def test_secrets_that_compose_and_kubernetes_name_are_those_of_the_documents() -> None:
    manual = (REPOSITORY / "docs/operations.md").read_text()
    for volume in pod()["volumes"]:
        if "secret" in volume:
            assert f"create secret generic {volume['secret']['secretName']} " in manual
            assert volume["secret"]["defaultMode"] == 0o440, "the server refuses what everybody may read"
    for secret in documents("docker/compose.yaml")[0]["secrets"].values():
        assert Path(secret["file"]).parent == Path("secrets")
    assert "/deploy/docker/secrets/" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_everybody_is_the_same_user_without_rights() -> None:
    image = text_of("docker/Dockerfile")
    assert re.findall(r"^USER (.*)$", image, re.MULTILINE) == [f"{UID}:{UID}"]
    assert f"--uid {UID}" in image
    for replica in replicas().values():
        assert replica["user"] == f"{UID}:{UID}"
    whole, (container,) = pod()["securityContext"], pod()["containers"]
    assert (whole["runAsNonRoot"], whole["runAsUser"], whole["runAsGroup"], whole["fsGroup"]) == (True, UID, UID, UID)
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert (unit()["NoNewPrivileges"], unit()["CapabilityBoundingSet"]) == (["yes"], [""])


def test_every_service_of_compose_is_hardened_and_bounded() -> None:
    for name, service in documents("docker/compose.yaml")[0]["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "cpus"} <= set(service), name
        assert "healthcheck" in service or service["image"] == "fsserver:local", name
        assert re.search(r":[\w.-]*\d", service["image"]) or service["image"] == "fsserver:local", name


def test_whatever_ends_a_server_waits_longer_than_it_drains(tmp_path: Path) -> None:
    for policy in policy_in(tmp_path).values():
        enough = policy.server.drain_s + AFTERWARDS_S
        assert seconds(unit()["TimeoutStopSec"][0]) >= enough
        assert all(seconds(each["stop_grace_period"]) >= enough for each in replicas().values())
        (container,) = pod()["containers"]
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod()["terminationGracePeriodSeconds"] >= enough + before


def test_a_server_answers_every_probe_as_it_should(tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert all(probe["port"] == "ops" for probe in probes.values())
    root, port = tmp_path / "root", free_port()
    root.mkdir()
    policy = (
        "version: 1\n"
        f"server: {{transport: http, listen: '127.0.0.1:0', auth: none, ops: '127.0.0.1:{port}'}}\n"
        f"roots: {{work: {{path: {root}}}}}\n"
    )
    shipped = health_command()
    assert shipped[0] == "/opt/fsserver/bin/python"
    command = [sys.executable, *(word.replace("9090", str(port)) for word in shipped[1:])]
    assert command[1:] != shipped[1:]
    assert subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20, check=False).returncode != 0
    with served_http(policy, tmp_path):
        for probe in probes.values():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{probe['path']}", timeout=10) as answer:
                assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
        assert subprocess.run(command, timeout=20, check=False).returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


def test_every_file_that_is_mentioned_exists() -> None:
    made_by_hand = {"deploy/docker/secrets"}
    for path in (each for each in DEPLOY.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
        mentioned = re.findall(r"(?<![\w/])((?:deploy|docs|policies|scripts)/[\w./-]*\w)", path.read_text())
        assert [name for name in mentioned if not (REPOSITORY / name).exists() and name not in made_by_hand] == []
    for replica in (*replicas().values(), *documents("docker/compose.yaml")[0]["services"].values()):
        for volume in replica.get("volumes", []):
            if volume["type"] == "bind" and "secrets" not in volume["source"]:
                assert (DEPLOY / "docker" / volume["source"]).exists()
    kustomization = documents("kubernetes/kustomization.yaml")[0]
    listed = [*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]]
    assert all((DEPLOY / "kubernetes" / name).is_file() for name in listed)
    assert {path.name for path in (DEPLOY / "kubernetes").iterdir()} == {
        *kustomization["resources"],
        "kustomization.yaml",
    }


def test_the_image_is_built_from_what_dockerignore_lets_through() -> None:
    taken = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text_of("docker/Dockerfile"), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == taken
    assert all((REPOSITORY / name).exists() for name in taken)


def test_the_image_begins_the_server_and_is_told_to_end_as_the_server_expects() -> None:
    image = text_of("docker/Dockerfile")
    words = {key: re.findall(rf"^{key} (.*)$", image, re.MULTILINE) for key in ("ENTRYPOINT", "CMD", "STOPSIGNAL")}
    assert words["STOPSIGNAL"] == ["SIGTERM"]
    assert json.loads(words["ENTRYPOINT"][0]) == ["/opt/fsserver/bin/fsserver"]
    (container,) = pod()["containers"]
    assert json.loads(words["CMD"][0]) == container["args"] == ["serve", "--policy", "/etc/fsserver/policy.yaml"]
    (start,) = unit()["ExecStart"]
    assert start.endswith("/fsserver serve --policy /etc/fsserver/fsserver.yaml")
    assert unit()["Type"] == ["notify"]
    assert unit()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def runtime_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime", DEPLOY / "docker/runtime.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_image_gets_what_fsserver_needs_and_no_tool_of_its_developers(capsys: pytest.CaptureFixture[str]) -> None:
    module = runtime_module()
    module.main(str(REPOSITORY / "pyproject.toml"), str(REPOSITORY / "constraints.txt"))
    printed = capsys.readouterr().out
    found = {module.name_of(line) for line in re.findall(r"^\S+==", printed, re.MULTILINE)}
    assert installed_for("fsserver", {"redis", "otel"}) - {"fsserver"} <= found
    assert not {"pytest", "mypy", "ruff", "hypothesis", "hatchling", "psutil"} & found
    constraints = (REPOSITORY / "constraints.txt").read_text()
    assert all(line in constraints for line in printed.splitlines())
    assert printed.count("--hash=sha256:") > len(found)


def installed_for(name: str, extras: set[str]) -> set[str]:
    """The names of what a distribution needs here, as its metadata and its dependencies' say; itself too."""
    seen: set[tuple[str, frozenset[str]]] = set()
    ahead = [(name, frozenset(extras))]
    while ahead:
        each = ahead.pop()
        if each in seen:
            continue
        seen.add(each)
        for text in importlib.metadata.requires(each[0]) or []:
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in (*each[1], "")):
                ahead.append((re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras)))
    return {name for name, _ in seen}
