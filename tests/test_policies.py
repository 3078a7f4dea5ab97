"""The shipped policies load, and grant and refuse what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.arguments import judge
from fsserver.policy.compiled import Action, ClientRoots, Effect, Layer, Mode, Network, Policy
from fsserver.policy.decision import decide, narrow
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


def test_three_policies_are_shipped() -> None:
    assert [path.name for path in SHIPPED] == ["ci-agent.yaml", "claude-desktop.yaml", "workstation.yaml"]


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


def test_ci_agent_neither_moves_nor_deletes_nor_touches_its_pipeline(tmp_path: Path) -> None:
    policy = load("ci-agent.yaml", tmp_path)
    assert granted(policy, "src/main.py") == {"work": WRITING}
    for name in (".github/workflows/ci.yml", ".gitlab-ci.yml", "deploy/Jenkinsfile"):
        assert granted(policy, name) == {"work": READING}
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


def test_ci_agent_commits_and_never_pushes(tmp_path: Path) -> None:
    policy = load("ci-agent.yaml", tmp_path)
    assert list(policy.commands) == ["git", "make"]
    assert judged(policy, "git commit -m x") is Effect.ALLOW
    assert judged(policy, "git push origin") is Effect.DENY
    assert policy.commands["make"].limits.time_s == 60.0
    assert set(narrow(policy, "reviewer").commands) == {"git"}
