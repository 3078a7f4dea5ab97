"""describe_policy: complete enough to plan with, and short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from fsserver.paths.narrowing import narrowed
from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import (
    Action,
    ArgumentForm,
    CommandLimits,
    Effect,
    Flag,
    IntegerValue,
    Layer,
    Limits,
    Mode,
    Network,
    Positional,
    Subcommand,
    Subcommands,
    TextValue,
)
from fsserver.policy.service import Budget, CallClass, Rate
from fsserver.tools.commands.describe import MOST
from tests.commands import RULE, command, commanded
from tests.trees import build, rules

LOG = ArgumentForm(MappingProxyType({"-n": Flag(IntegerValue(1, 200), RULE), "--oneline": Flag(None, RULE)}), ())
GIT = Subcommands(
    MappingProxyType(
        {
            "log": Subcommand(LOG, Effect.ALLOW, None, RULE),
            "push": Subcommand(ArgumentForm(MappingProxyType({}), ()), Effect.ASK, "publishes", RULE),
            "gc": Subcommand(ArgumentForm(MappingProxyType({}), ()), Effect.DENY, None, RULE),
        }
    )
)
ECHO = ArgumentForm(MappingProxyType({"-n": Flag(None, RULE)}), (Positional(TextValue(), 0, 3),))


@pytest.fixture
def roots(tmp_path: Path) -> Sequence[Any]:
    build(tmp_path, ["dir work", "dir notes"])
    asking: dict[Action, Effect] = {Action.DELETE: Effect.ASK, Action.MOVE: Effect.DENY}
    return [
        rules(tmp_path / "work", deny=["**/.env", "**/*.pem"], read_only=["vendor/**"], operations=asking),
        rules(tmp_path / "notes", name="notes", mode=Mode.RO),
    ]


def test_everything_that_is_granted_is_said(tmp_path: Path, roots: Sequence[Any]) -> None:
    commands = [
        replace(command("true", arguments=GIT, background=False), name="git"),
        command("echo", arguments=ECHO, limits=CommandLimits(time_s=7)),
        command("cat", network=Network.FULL, effect=Effect.ASK),
    ]
    with commanded(tmp_path, commands, roots, can_ask=True) as gate:
        text = gate.text("describe_policy")
    assert text.splitlines() == [
        "Policy test. What it does not list is refused.",
        f"Root work: {tmp_path}/work, read and write; a person is asked before delete; never move",
        "  protected, not even read: **/.env, **/*.pem",
        "  never changed: vendor/**",
        f"Root notes: {tmp_path}/notes, read only",
        "Commands, sandbox layer none, without network unless said:",
        "- git log|push; a person is asked before push, 20 s, in work (rw)",
        "- echo [-n] [TEXT...]; 7 s, background too, in work (rw)",
        "- cat with any arguments; a person is asked first, 20 s, network full, background too, in work (rw)",
        "Not enforced: anything",
        "Limits: 120 s a call, 64.00 KB a result, 8 background processes",
    ]


def test_what_is_unavailable_and_why_is_said(tmp_path: Path, roots: Sequence[Any]) -> None:
    changed = ("The policy test.yaml was changed; restart the server to apply it.",)
    with commanded(tmp_path, [command("true")], roots, notices=lambda: changed) as gate:
        gate.runner.unavailable = "this kernel has no user namespaces"
        text = gate.text("describe_policy")
    assert "No commands: this kernel has no user namespaces." in text
    assert f"Changed since start: {changed[0]}" in text
    assert "This client cannot ask a person: what needs that is refused." in text
    assert "- true" not in text


def test_policy_without_commands_says_so(tmp_path: Path, roots: Sequence[Any]) -> None:
    with commanded(tmp_path, [], roots[1:]) as gate:
        text = gate.text("describe_policy")
    assert "No commands: the policy grants no command." in text
    assert "cannot ask" not in text


@pytest.mark.parametrize(("roots_", "commands", "flags"), [(1, 3, 30), (4, 12, 10), (8, 40, 20), (2, 200, 0)])
def test_large_policy_is_described_in_brief(tmp_path: Path, roots_: int, commands: int, flags: int) -> None:
    many = []
    for number in range(roots_):
        (tmp_path / f"root{number}").mkdir()
        deny = [f"**/secret-{each}-*.key" for each in range(60)]
        many.append(rules(tmp_path / f"root{number}", name=f"root{number}", deny=deny, read_only=deny))
    form = ArgumentForm(MappingProxyType({f"--a-long-flag-{each}": Flag(None, RULE) for each in range(flags)}), ())
    told = [
        replace(command("true", arguments=form, roots={"root0": Mode.RW}), name=f"command{number}")
        for number in range(commands)
    ]
    with commanded(tmp_path, told, many) as gate:
        text = gate.text("describe_policy")
    assert len(text) <= MOST
    assert "root0" in text
    if commands <= 12:
        assert all(each.name in text for each in told)
        assert "and 5" in text


def test_what_a_clients_roots_leave_is_said(tmp_path: Path, roots: Sequence[Any]) -> None:
    def left(whole: Workspace) -> Workspace:
        return narrowed(whole, [f"file://{tmp_path}/work/d", f"file://{tmp_path}/notes"])

    (tmp_path / "work/d").mkdir()
    with commanded(tmp_path, [command("true")], roots, workspace=left) as gate:
        lines = gate.text("describe_policy").splitlines()
    assert lines[1].endswith("; only what the client offers as its roots, and no command")
    assert lines[4].endswith("notes, read only")


def test_weaker_layer_is_named_with_what_it_does_not_stop(tmp_path: Path, roots: Sequence[Any]) -> None:
    with commanded(tmp_path, [command("true")], roots) as gate:
        gate.runner.layer = Layer.LANDLOCK
        gate.runner.gaps = ("chmod outside", "hide stat")
        text = gate.text("describe_policy")
    assert "sandbox layer landlock" in text
    assert "Not enforced: chmod outside\nNot enforced: hide stat" in text


def test_what_may_be_used_in_a_time_is_said_where_the_policy_bounds_it(tmp_path: Path, roots: Sequence[Any]) -> None:
    every = Budget(rate=Rate(600, 60), concurrency=8, output=Rate(64 * 1024**2, 3600))
    limits = Limits(budget=every, budgets={CallClass.COMMAND: Budget(rate=Rate(10, 30)), CallClass.READ: Budget()})
    with commanded(tmp_path, [command("echo")], roots, limits=limits) as gate:
        text = gate.text("describe_policy")
    said = "600 a minute, 8 at a time, 64.00 MB of results an hour; command: 10 in 30 seconds"
    assert f"Calls that you may make: {said}" in text.splitlines()


def test_nothing_is_said_of_what_is_not_bounded(tmp_path: Path, roots: Sequence[Any]) -> None:
    with commanded(tmp_path, [command("echo")], roots) as gate:
        assert "Calls that you may make" not in gate.text("describe_policy")
