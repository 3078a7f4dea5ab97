"""``fsserver policy explain``, ``show`` and ``preset``: what is printed, and that nothing is run or lost."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fsserver.cli.explain import ACTIONS
from fsserver.cli.policy import policy_group
from fsserver.paths.target import Access
from fsserver.policy.compiled import Policy
from fsserver.policy.presets import NAMES
from fsserver.tools.catalog import file_tools
from tests.policy_files import Desk, desk_in
from tests.support import REPOSITORY

POLICY = """\
version: 1
extends: [preset:secrets]
roots:
  app: {path: ~/app, mode: rw, read_only: [vendor], max_file: 20MiB, operations: {delete: deny}}
  notes: {path: ~/notes}
limits: {time: 90s}
commands:
  tool:
    exec: {in: app, find: bin/tool}
    prepend: [--quiet]
    roots: {app: rw}
    env: {pass: [TZ], set: {MODE: test}}
    limits: {memory: 1GiB}
    subcommands:
      look: {positionals: [{value: {path: {}}, repeat: 0..3}]}
      change: {positionals: [{value: {path: {access: write}}}]}
      send: {decision: ask, reason: publishes, positionals: [{value: {enum: [origin]}}]}
  net: {exec: {in: app, find: bin/net}, network: full}
profiles: {reader: {roots: {app: ro}}}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = desk_in(tmp_path)
    monkeypatch.setenv("HOME", str(desk.home))
    return desk


def run(*arguments: str) -> Result:
    return CliRunner().invoke(policy_group, arguments)


def explained(desk: Desk, line: str, *options: str) -> tuple[int, dict[str, Any]]:
    result = run("explain", str(desk.write(POLICY)), "--json", *options, "--", *shlex.split(line))
    return result.exit_code, json.loads(result.stdout)


def test_an_allowed_command_is_explained_whole(desk: Desk) -> None:
    code, answer = explained(desk, "tool look src/a.py", "--in", "app/src")
    assert code == 0
    assert answer == {
        "decision": "allow",
        "rule": "policy.yaml:15",
        "reason": None,
        "allowedInstead": None,
        "argv": [f"{desk.home}/app/bin/tool", "--quiet", "look", "src/a.py"],
        "directory": "app/src",
        "environment": ["PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG", "MODE", "TZ"],
        "roots": {"app": {"mode": "rw", "path": f"{desk.home}/app"}},
        "runtime": [],
        "home": "private",
        "network": "none",
        "unixSockets": False,
        "background": False,
        "limits": {
            "timeS": 90.0,
            "cpuS": None,
            "memoryBytes": 1024**3,
            "processes": 256,
            "outputBytes": 4 * 1024**2,
            "fileBytes": None,
            "openFiles": 1024,
        },
        "layer": "full",
        "paths": [
            {
                "action": "read",
                "root": "app",
                "name": "src/src/a.py",
                "decision": "allow",
                "rule": None,
                "reason": None,
            }
        ],
    }


@pytest.mark.parametrize(
    ("line", "options", "code", "decision", "rule"),
    [
        pytest.param("tool send origin", (), 0, "ask", "policy.yaml:17", id="asks"),
        pytest.param("tool send --force origin", (), 1, "deny", "policy.yaml:17", id="unlisted flag"),
        pytest.param("tool look .env", (), 1, "deny", "preset:secrets:7", id="denied name"),
        pytest.param("tool look vendor/x", (), 0, "allow", "policy.yaml:15", id="read-only name read"),
        pytest.param("tool change vendor/x", (), 1, "deny", "policy.yaml:4", id="read-only name written"),
        pytest.param("tool change a", ("--profile", "reader"), 1, "deny", "policy.yaml:16", id="as a profile sees it"),
        pytest.param("tool look a", ("--in", "notes"), 1, "deny", "policy.yaml:8", id="root that it does not see"),
        pytest.param("sh -c id", (), 1, "deny", None, id="unknown command"),
    ],
)
def test_the_deciding_line_is_named(
    desk: Desk, line: str, options: tuple[str, ...], code: int, decision: str, rule: str | None
) -> None:
    exit_code, answer = explained(desk, line, *options)
    assert (exit_code, answer["decision"], answer["rule"]) == (code, decision, rule)


def test_an_explanation_for_people_says_what_is_possible_instead(desk: Desk) -> None:
    result = run("explain", str(desk.write(POLICY)), "--", "tool", "send", "--force", "a b")
    lines = [line.split(None, 1) for line in result.stdout.splitlines()]
    found = {line[0]: line[1] for line in lines}
    assert (result.exit_code, found["decision"]) == (1, "deny")
    assert found["allowedInstead"] == "tool send origin (asks a person first)"
    assert found["argv"] == f"{desk.home}/app/bin/tool --quiet send --force 'a b'"
    assert found["limits"].startswith("timeS 90.0, memoryBytes 1073741824")


@pytest.mark.parametrize(
    ("tool", "paths", "code", "decision", "rule"),
    [
        pytest.param("read_text_file", ["path=src/a"], 0, "allow", None, id="read"),
        pytest.param("read_text_file", ["path=.env"], 1, "deny", "preset:secrets:7", id="denied"),
        pytest.param("write_file", ["path=vendor/a"], 1, "deny", "policy.yaml:4", id="read-only name"),
        pytest.param("write_file", ["path={home}/notes/a"], 1, "deny", "policy.yaml:5", id="read-only root"),
        pytest.param("delete_file", ["path=a"], 1, "deny", "policy.yaml:4", id="operation"),
        pytest.param("move_file", ["source=a", "destination=vendor/b"], 1, "deny", "policy.yaml:4", id="destination"),
    ],
)
def test_a_call_of_a_file_tool_is_explained(
    desk: Desk, tool: str, paths: list[str], code: int, decision: str, rule: str | None
) -> None:
    words = [path.format(home=desk.home) for path in paths]
    result = run("explain", str(desk.write(POLICY)), "--json", "--tool", tool, *words)
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["decision"], answer["rule"]) == (code, decision, rule)


SERVICE = """\
version: 1
server: {{transport: http, auth: {{tokens: {home}/tokens/tokens}}}}
principals: [{{when: {{token: ci}}}}]
roots:
  own: {{path: "{home}/app/${{principal.name}}", mode: rw, deny: [private]}}
  notes: {{path: ~/notes}}
"""


@pytest.mark.parametrize(
    ("path", "code", "name"),
    [
        ("{home}/app/ci/a", 0, "a"),
        ("{home}/app/ci/private", 1, "private"),
        ("{home}/app/${{principal.name}}/a", 0, "a"),
        ("a", 0, "a"),
        ("{home}/app/c.i/a", 2, None),
        ("{home}/app", 2, None),
    ],
    ids=["in it", "denied name", "as it is written", "relative", "of nobody", "what is above"],
)
def test_a_directory_of_one_principal_is_explained(desk: Desk, path: str, code: int, name: str | None) -> None:
    policy = str(desk.write(SERVICE.format(home=desk.home)))
    result = run("explain", policy, "--json", "--tool", "write_file", f"path={path.format(home=desk.home)}")
    assert result.exit_code == code, result.output
    assert name is None or {each["name"] for each in json.loads(result.stdout)["paths"]} == {name}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "Say what to explain", id="nothing"),
        pytest.param(["--tool", "run", "path=a"], "There is no file tool run", id="no such tool"),
        pytest.param(["--tool", "edit_file", "a"], "Say each path of edit_file: path=PATH", id="no name"),
        pytest.param(["--tool", "read_multiple_files", "path=a"], "takes no single path", id="no single path"),
        pytest.param(["--tool", "edit_file", "path=/etc/passwd"], "begins in no root", id="outside"),
        pytest.param(["--in", "gone", "--", "tool"], "there is no root gone", id="no such root"),
    ],
)
def test_what_cannot_be_explained_is_a_usage_error(desk: Desk, words: list[str], message: str) -> None:
    result = run("explain", str(desk.write(POLICY)), *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_access_of_a_file_tool_can_be_explained() -> None:
    assert set(ACTIONS) == {access.value for access in Access}
    assert all(access.value in ACTIONS for tool in file_tools().tools for access in tool.paths.values())


def test_check_says_which_commands_there_are_and_warns(desk: Desk) -> None:
    path = str(desk.write(POLICY))
    result = run("check", path)
    assert result.stdout.splitlines()[3:] == [
        "  run  tool  bin/tool in app  (3 subcommands; app:rw)",
        "  run  net  bin/net in app  (listed arguments; app:rw notes:ro)",
    ]
    warning = (
        'policy.yaml:18: warning: "net" has the network and sees the root "app", so network: none keeps little of it '
        "from leaving that is written there by tool"
    )
    assert result.stderr.splitlines() == [warning]
    answer = json.loads(run("check", "--json", path).stdout)
    assert [command["name"] for command in answer["commands"]] == ["tool", "net"]
    assert answer["warnings"] == [warning]


def alike(policy: Policy) -> object:
    """What a policy says, without where it is written."""
    roots = [
        (root.name, root.path, root.mode, [rule.glob for rule in root.deny], [rule.glob for rule in root.read_only])
        for root in policy.roots
    ]
    commands = [
        (each.name, each.program, each.prepend, dict(each.roots), each.effect, each.limits, dict(each.environment))
        for each in policy.commands.values()
    ]
    return roots, commands, policy.limits, policy.sandbox, sorted(policy.profiles)


@pytest.mark.parametrize("extends", ["[preset:secrets]", "[preset:secrets, preset:git, preset:make]"])
def test_a_resolved_policy_means_the_same_without_what_it_extends(desk: Desk, extends: str) -> None:
    text = POLICY.replace("[preset:secrets]", extends)
    path = str(desk.write(text))
    first = alike(desk.load(text))
    for options in (["--resolved"], ["--origin"]):
        shown = run("show", *options, path)
        assert shown.exit_code == 0
        assert "extends" not in shown.stdout
        assert "max_file: 20MiB" in shown.stdout
        assert alike(desk.load(shown.stdout)) == first


def test_an_origin_is_that_of_its_line(desk: Desk) -> None:
    lines = run("show", "--origin", str(desk.write(POLICY))).stdout.splitlines()
    assert "    max_file: 20MiB  # policy.yaml:4" in lines
    assert '    - ".env"  # preset:secrets:7' in lines


def test_show_prints_the_file_itself(desk: Desk) -> None:
    assert run("show", str(desk.write(POLICY))).stdout == POLICY
    answer = json.loads(run("show", "--json", str(desk.write(POLICY))).stdout)
    assert answer["roots"]["app"]["max_file"] == 20 * 1024**2


def test_a_wrong_policy_is_neither_explained_nor_shown(desk: Desk) -> None:
    path = str(desk.write("version: 1\nrots: {}\n"))
    for arguments in (["explain", path, "--", "x"], ["show", path]):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert 'unknown key "rots"' in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_printed_as_it_is(name: str) -> None:
    text = (REPOSITORY / f"fsserver/policy/presets/{name}.yaml").read_text()
    assert run("preset", name).stdout == run("preset", f"preset:{name}").stdout == text


def test_an_unknown_preset_is_a_usage_error() -> None:
    result = run("preset", "../secrets")
    assert result.exit_code == 2
    assert "There is no preset ../secrets; there are git, make" in result.stderr
