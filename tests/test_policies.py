"""The shipped policies load, and grant and refuse what they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.arguments import judge
from fsserver.policy.compiled import Action, ClientRoots, Effect, Layer, Mode, Network, Policy
from fsserver.policy.decision import decide, narrow
from fsserver.policy.service import CallClass, Transport
from fsserver.policy.toolnames import TOOL_NAMES
from tests.policy_files import desk_in
from tests.support import REPOSITORY
from tests.trees import workspace

SHIPPED = sorted((REPOSITORY / "policies").glob("*.yaml"))
DIRECTORIES = ("Documents", "Desktop", "Downloads", "src/app", "work")


def load(name: str, directory: Path) -> Policy:
    desk = desk_in(directory)
    for needed in DIRECTORIES:
        desk.directory(needed)
    return desk.load((REPOSITORY / "policies" / name).read_bytes(), name)


def test_four_policies_are_shipped() -> None:
    assert [path.name for path in SHIPPED] == [
        "ci-agent.yaml",
        "ci-service.yaml",
        "claude-desktop.yaml",
        "workstation.yaml",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_loads_with_examples_and_secrets(path: Path, tmp_path: Path) -> None:
    policy = load(path.name, tmp_path)
    assert policy.name == path.stem
    assert "tests:" in path.read_text()
    for root in policy.roots:
        for secret in (".env", "a/.ssh/id_rsa", "server.pem", ".aws/credentials", ".git-credentials"):
            assert str(decide(root, secret, Action.READ).rule).startswith("preset:secrets:")
        for executed in (".git/hooks/pre-push", ".vscode/tasks.json", ".bashrc", ".mcp.json"):
            assert decide(root, executed, Action.READ).allowed
            assert not decide(root, executed, Action.CREATE).allowed


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_relative_name_is_written_where_a_shipped_policy_lets_it(path: Path, tmp_path: Path) -> None:
    policy = load(path.name, tmp_path)
    with (
        workspace(*policy.roots, home=str(tmp_path)) as work,
        work.target(ClientPath("new.txt"), Access.WRITE) as target,
    ):
        assert target.root.rules.name == policy.roots[0].name


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_profile_of_a_shipped_policy_only_reads(path: Path, tmp_path: Path) -> None:
    policy = load(path.name, tmp_path)
    assert policy.profiles
    for name in policy.profiles:
        narrowed = narrow(policy, name)
        assert narrowed.roots
        assert not any(
            decide(root, "x", action).allowed for root in narrowed.roots for action in Action if action.changes
        )
        assert narrowed.tools is None or narrowed.tools <= set(TOOL_NAMES)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_commands_of_a_shipped_policy_are_confined_and_without_network(path: Path, tmp_path: Path) -> None:
    policy = load(path.name, tmp_path)
    assert policy.sandbox.require is (Layer.FULL if policy.commands else Layer.NONE)
    for command in policy.commands.values():
        assert command.network is Network.NONE
        assert not command.unix_sockets
        assert set(command.roots) == {policy.roots[0].name}, "what it does not work on it does not see"
    for profile in policy.profiles:
        assert all(set(each.roots.values()) == {Mode.RO} for each in narrow(policy, profile).commands.values())


def judged(policy: Policy, line: str) -> Effect:
    name, *arguments = line.split()
    root = policy.roots[0].name
    return judge(policy.commands[name], arguments, directory=(root, ""), spellings={}).effect


def granted(policy: Policy, name: str) -> dict[str, set[str]]:
    return {
        root.name: {str(action) for action in Action if decide(root, name, action).allowed} for root in policy.roots
    }


READING = {"read", "list"}
WRITING = READING | {"create", "edit", "overwrite"}


def test_claude_desktop_works_in_documents_and_reads_the_rest(tmp_path: Path) -> None:
    policy = load("claude-desktop.yaml", tmp_path)
    assert granted(policy, "letter.txt") == {"documents": WRITING | {"move"}, "desktop": READING, "downloads": READING}
    assert policy.roots[0].operations[Action.DELETE][0] is Effect.ASK


def test_workstation_works_in_one_project(tmp_path: Path) -> None:
    policy = load("workstation.yaml", tmp_path)
    assert granted(policy, "src/main.py") == {"workspace": WRITING | {"move"}, "notes": READING}
    assert granted(policy, "vendor/lib.py")["workspace"] == READING
    assert policy.client_roots is ClientRoots.IGNORE
    reader = narrow(policy, "reader")
    assert [root.name for root in reader.roots] == ["workspace"]
    assert reader.tools is not None
    assert "write_file" not in reader.tools


@pytest.mark.parametrize("name", ["ci-agent", "ci-service"])
def test_a_ci_policy_neither_moves_nor_deletes_nor_touches_its_pipeline(name: str, tmp_path: Path) -> None:
    policy = load(f"{name}.yaml", tmp_path)
    assert granted(policy, "src/main.py") == {"work": WRITING}
    for pipeline in (".github/workflows/ci.yml", ".gitlab-ci.yml", "deploy/Jenkinsfile"):
        assert granted(policy, pipeline) == {"work": READING}
    assert policy.roots[0].hardlinks is Effect.DENY
    assert not any(effect is Effect.ASK for effect, _ in policy.roots[0].operations.values())
    assert policy.redact_output


def test_claude_desktop_runs_nothing(tmp_path: Path) -> None:
    assert not load("claude-desktop.yaml", tmp_path).commands


def test_workstation_builds_tests_and_commits_and_asks_before_it_pushes(tmp_path: Path) -> None:
    policy = load("workstation.yaml", tmp_path)
    assert list(policy.commands) == ["git", "make", "pytest", "ruff", "mypy"]
    assert judged(policy, "git commit -m x") is Effect.ALLOW
    assert judged(policy, "git restore src/main.py") is Effect.ALLOW
    assert judged(policy, "git push origin main") is Effect.ASK
    assert judged(policy, "git push --force origin") is Effect.DENY
    assert judged(policy, "pytest -q tests") is Effect.ALLOW
    assert not narrow(policy, "reader").commands


@pytest.mark.parametrize("name", ["ci-agent", "ci-service"])
def test_a_ci_policy_commits_and_never_pushes(name: str, tmp_path: Path) -> None:
    policy = load(f"{name}.yaml", tmp_path)
    assert list(policy.commands) == ["git", "make"]
    assert judged(policy, "git commit -m x") is Effect.ALLOW
    assert judged(policy, "git push origin") is Effect.DENY
    assert policy.commands["make"].limits.time_s == 60.0
    assert set(narrow(policy, "reviewer").commands) == {"git"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_only_the_service_is_served_over_http(path: Path, tmp_path: Path) -> None:
    served = load(path.name, tmp_path).server.transport
    assert served is (Transport.HTTP if path.stem == "ci-service" else Transport.STDIO)


def test_ci_service_serves_only_whom_it_names_with_tls_and_bounds(tmp_path: Path) -> None:
    policy = load("ci-service.yaml", tmp_path)
    assert policy.server.tls is not None
    assert not policy.server.auth.off
    assert [issuer.audience for issuer in policy.server.auth.oauth] == [policy.server.public_url]
    assert str(policy.server.ops) == "127.0.0.1:9090"
    assert [(rule.token, dict(rule.claims), rule.profile) for rule in policy.principals] == [
        ("ci", {}, None),
        ("dashboard", {}, "reviewer"),
        (None, {"team": "platform"}, None),
        (None, {"team": "support"}, "reviewer"),
    ]
    assert policy.limits.budget.rate is not None
    assert policy.limits.budget.output is not None
    assert policy.limits.budgets[CallClass.COMMAND].concurrency == 2
    assert policy.audit.key == "/etc/fsserver/audit.key"
    assert policy.telemetry.calls


def test_what_ci_service_only_proposes_loads_too(tmp_path: Path) -> None:
    """Its lines that are commented out, as whoever needs them would write them."""
    desk = desk_in(tmp_path)
    desk.directory("work")
    text = (REPOSITORY / "policies/ci-service.yaml").read_text()
    for key in ("state", "notes"):
        text, times = re.subn(f"^( *)# {key}: ", rf"\g<1>{key}: ", text, flags=re.MULTILINE)
        assert times == 1
    policy = desk.load(text)
    assert policy.shared.key == "/etc/fsserver/seal.key"
    assert [root.each for root in policy.roots] == [None, "${principal.name}"]
    assert {name for command in policy.commands.values() for name in command.roots} == {"work"}
