"""What a root's rules say about one action on one name."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from fsserver.errors import ConfigError, ConsentDenied, OperationDenied, ProtectedName, ReadOnlyName
from fsserver.policy.compiled import (
    Action,
    AnyArguments,
    AuditRules,
    Command,
    Effect,
    Mode,
    Origin,
    PathRule,
    Policy,
    Profile,
    Program,
    RootRules,
    SoughtProgram,
)
from fsserver.policy.decision import CHANGES, decide, granted_actions, may_contain_protected, narrow, protection

WRITABLE = RootRules(
    name="app",
    path="/srv/app",
    mode=Mode.RW,
    origin=Origin("p.yaml", 3),
    deny=(PathRule("**/.env", Origin("p.yaml", 6)),),
    read_only=(PathRule("vendor/**", Origin("p.yaml", 7)),),
    operations=MappingProxyType(
        {Action.DELETE: (Effect.ASK, Origin("p.yaml", 8)), Action.MOVE: (Effect.DENY, Origin("p.yaml", 9))}
    ),
)
READABLE = RootRules(name="notes", path="/srv/notes", mode=Mode.RO, origin=Origin("p.yaml", 12))


@pytest.mark.parametrize(
    ("rules", "name", "action", "code", "rule"),
    [
        pytest.param(WRITABLE, "src/a.py", Action.READ, "allowed", None, id="read"),
        pytest.param(WRITABLE, "", Action.LIST, "allowed", None, id="list the root"),
        pytest.param(WRITABLE, "src/a.py", Action.EDIT, "allowed", None, id="edit"),
        pytest.param(WRITABLE, "src/new", Action.CREATE, "allowed", None, id="create"),
        pytest.param(WRITABLE, "", Action.CREATE, "allowed", None, id="the root exists: making it changes nothing"),
        pytest.param(WRITABLE, "a/.env", Action.READ, ProtectedName.code, "p.yaml:6", id="denied name"),
        pytest.param(WRITABLE, "a/.env", Action.LIST, ProtectedName.code, "p.yaml:6", id="denied name listed"),
        pytest.param(WRITABLE, "a/.env/b", Action.CREATE, ProtectedName.code, "p.yaml:6", id="below a denied name"),
        pytest.param(WRITABLE, "vendor/a", Action.READ, "allowed", None, id="read-only name read"),
        pytest.param(WRITABLE, "vendor/a", Action.EDIT, ReadOnlyName.code, "p.yaml:7", id="read-only name changed"),
        pytest.param(WRITABLE, "vendor/a", Action.DELETE, ReadOnlyName.code, "p.yaml:7", id="names come before asking"),
        pytest.param(WRITABLE, "src/a.py", Action.DELETE, ConsentDenied.code, "p.yaml:8", id="ask allows nothing"),
        pytest.param(WRITABLE, "src/a.py", Action.MOVE, OperationDenied.code, "p.yaml:9", id="operation denied"),
        pytest.param(WRITABLE, "", Action.MOVE, OperationDenied.code, "p.yaml:3", id="the root itself"),
        pytest.param(READABLE, "a", Action.READ, "allowed", None, id="read in a read-only root"),
        pytest.param(READABLE, "a", Action.CREATE, ReadOnlyName.code, "p.yaml:12", id="change in a read-only root"),
        pytest.param(READABLE, "", Action.DELETE, ReadOnlyName.code, "p.yaml:12", id="a read-only root itself"),
    ],
)
def test_decision(rules: RootRules, name: str, action: Action, code: str, rule: str | None) -> None:
    decision = decide(rules, name, action)
    assert decision.code == code
    assert (str(decision.rule) if decision.rule else None) == rule
    assert decision.allowed is (code == "allowed")
    expected = {"allowed": Effect.ALLOW, ConsentDenied.code: Effect.ASK}.get(code, Effect.DENY)
    assert (decision.effect, decision.asks) == (expected, code == ConsentDenied.code)
    assert bool(decision.reason) is not decision.allowed
    assert bool(decision.allowed_instead) is not decision.allowed


def test_a_refusal_names_no_path_of_the_host() -> None:
    for action in Action:
        for name in ("", ".env", "vendor/x", "x"):
            decision = decide(WRITABLE, name, action)
            assert "/srv" not in f"{decision.reason} {decision.allowed_instead}"


def test_ask_says_that_a_person_has_to_consent() -> None:
    decision = decide(WRITABLE, "a", Action.DELETE)
    assert decision.reason == 'delete in the root "app" needs a person\'s consent'
    assert decision.allowed_instead == "read, list, create, edit, overwrite"


@pytest.mark.parametrize("folds", [False, True])
def test_names_are_folded_only_where_the_volume_folds(folds: bool) -> None:
    assert decide(WRITABLE, "a/.ENV", Action.READ, folds=folds).allowed is not folds


def test_deny_beats_read_only_on_the_same_name() -> None:
    both = RootRules(
        name="a",
        path="/a",
        mode=Mode.RW,
        origin=Origin("p", 1),
        deny=(PathRule("x", Origin("p", 2)),),
        read_only=(PathRule("x", Origin("p", 3)),),
    )
    assert decide(both, "x", Action.EDIT).code == ProtectedName.code


def test_protection_asks_about_names_only() -> None:
    deny, read_only = WRITABLE.deny[0], WRITABLE.read_only[0]
    assert protection(WRITABLE, "a/.env", Action.READ) == deny
    assert protection(WRITABLE, "vendor/a", Action.READ) is None
    assert protection(WRITABLE, "vendor/a", Action.MOVE) == read_only
    assert protection(WRITABLE, "src/a", Action.DELETE) is None
    assert protection(READABLE, "a", Action.DELETE) is None


def test_a_root_without_rules_on_names_protects_none() -> None:
    assert may_contain_protected(WRITABLE)
    assert not may_contain_protected(READABLE)


def everything(glob: str, *exceptions: str) -> tuple[PathRule, ...]:
    return (PathRule(glob, Origin("p", 1), exceptions),)


@pytest.mark.parametrize(
    ("rules", "granted"),
    [
        pytest.param(READABLE, {"read", "list"}, id="read-only"),
        pytest.param(WRITABLE, {"read", "list", "create", "edit", "overwrite"}, id="ask and deny are not granted"),
        pytest.param(
            RootRules("a", "/a", Mode.RW, Origin("p", 1), read_only=everything("**")), {"read", "list"}, id="all frozen"
        ),
        pytest.param(RootRules("a", "/a", Mode.RW, Origin("p", 1), deny=everything("*")), {"list"}, id="all denied"),
        pytest.param(
            RootRules("a", "/a", Mode.RW, Origin("p", 1), read_only=everything("**", "tmp/**")),
            {str(action) for action in Action},
            id="all but some frozen",
        ),
    ],
)
def test_granted_actions(rules: RootRules, granted: set[str]) -> None:
    assert granted_actions(rules) == granted


def test_what_a_person_can_consent_to_is_granted_only_where_one_can_be_asked() -> None:
    assert granted_actions(WRITABLE, with_consent=True) - granted_actions(WRITABLE) == {Action.DELETE}
    assert granted_actions(READABLE, with_consent=True) == granted_actions(READABLE)


def policy(**profiles: Profile) -> Policy:
    return Policy(
        name="p",
        source=None,
        digest="",
        roots=(WRITABLE, READABLE),
        audit=AuditRules(directory="/state"),
        profiles=MappingProxyType(profiles),
        commands=MappingProxyType({name: command(name, roots) for name, roots in COMMANDS.items()}),
    )


COMMANDS = {
    "both": {"app": Mode.RW, "notes": Mode.RO},
    "app": {"app": Mode.RW},
    "reads": {"app": Mode.RO},
}


def command(name: str, roots: dict[str, Mode]) -> Command:
    program: Program = SoughtProgram("app", "bin/x")
    return Command(name, Origin("p.yaml", 15), program, (), MappingProxyType(roots), AnyArguments())


def profile(
    roots: dict[str, Mode] | None, tools: frozenset[str] | None = None, commands: frozenset[str] | None = None
) -> Profile:
    granted = MappingProxyType(roots) if roots is not None else None
    return Profile("x", granted, tools, Origin("p.yaml", 20), commands)


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        pytest.param(None, {"app": "rw", "notes": "ro"}, id="not written: as the policy has it"),
        pytest.param({}, {}, id="empty: none"),
        pytest.param({"app": Mode.RO}, {"app": "ro"}, id="one, narrowed"),
        pytest.param({"app": Mode.RW, "notes": Mode.RO}, {"app": "rw", "notes": "ro"}, id="all"),
        pytest.param({"notes": Mode.RW}, {"notes": "ro"}, id="never widened"),
        pytest.param({"gone": Mode.RW}, {}, id="unknown root"),
    ],
)
def test_a_profile_narrows_roots(roots: dict[str, Mode] | None, expected: dict[str, str]) -> None:
    narrowed = narrow(policy(x=profile(roots)), "x")
    assert {root.name: root.mode.value for root in narrowed.roots} == expected


def test_a_narrowed_root_refuses_changes_and_names_the_profile() -> None:
    (root,) = narrow(policy(x=profile({"app": Mode.RO})), "x").roots
    for action in CHANGES:
        assert str(decide(root, "src/a.py", action).rule) == "p.yaml:20"
    assert decide(root, "a/.env", Action.READ).code == ProtectedName.code


def test_a_profile_narrows_tools() -> None:
    once = narrow(policy(x=profile(None, frozenset({"read_file", "edit_file"}))), "x")
    assert once.tools == frozenset({"read_file", "edit_file"})
    assert narrow(policy(x=profile(None, frozenset())), "x").tools == frozenset()


@pytest.mark.parametrize(
    ("narrower", "expected"),
    [
        pytest.param(profile(None), COMMANDS, id="not written: as the policy has it"),
        pytest.param(profile(None, commands=frozenset()), {}, id="empty: none"),
        pytest.param(profile(None, commands=frozenset({"app", "gone"})), {"app": {"app": Mode.RW}}, id="one"),
        pytest.param(
            profile({"app": Mode.RO, "notes": Mode.RO}),
            {"both": {"app": Mode.RO, "notes": Mode.RO}, "app": {"app": Mode.RO}, "reads": {"app": Mode.RO}},
            id="a root made read-only is read-only for commands",
        ),
        pytest.param(
            profile({"app": Mode.RW}),
            {"both": {"app": Mode.RW}, "app": {"app": Mode.RW}, "reads": {"app": Mode.RO}},
            id="a root that is gone is gone for commands, and none is widened",
        ),
        pytest.param(profile({"notes": Mode.RO}), {}, id="the root that holds the program is gone"),
        pytest.param(profile({}), {}, id="no root is left"),
    ],
)
def test_a_profile_narrows_commands(narrower: Profile, expected: dict[str, dict[str, Mode]]) -> None:
    narrowed = narrow(policy(x=narrower), "x")
    assert {name: dict(each.roots) for name, each in narrowed.commands.items()} == expected


def test_an_unknown_profile_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match='no profile "y"; it has: x'):
        narrow(policy(x=profile(None)), "y")
