"""A read-only root inside another: the rules of both apply to a name, whichever way it is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.compiled import Action, Mode, Origin, PathRule, RootRules
from fsserver.policy.decision import decide, narrow
from fsserver.policy.overlap import share
from tests.policy_files import desk_in

WAY = ("docs", "api [v2]")


def shared(outer: tuple[PathRule, ...], inner: tuple[PathRule, ...]) -> tuple[RootRules, RootRules]:
    return share(
        RootRules("outer", "/srv", Mode.RW, Origin("p", 1), deny=outer),
        RootRules("inner", "/srv/docs/api [v2]", Mode.RO, Origin("p", 2), deny=inner),
        WAY,
    )


def rule(glob: str, *exceptions: str) -> tuple[PathRule, ...]:
    return (PathRule(glob, Origin("p", 9), exceptions),)


@pytest.mark.parametrize(
    ("glob", "denied", "allowed"),
    [
        pytest.param(".env", [".env", "a/.env"], ["env"], id="any depth"),
        pytest.param("/docs/api [[]v2]/x", ["x", "x/y"], ["a/x"], id="the whole way written out"),
        pytest.param("docs/*/x", ["x"], ["y", "a/x"], id="a star for a part of the way"),
        pytest.param("docs/**/x", ["x", "a/x"], ["y"], id="no or more directories"),
        pytest.param("**/docs/*/x", ["x", "a/docs/b/x"], ["y"], id="begins anywhere"),
        pytest.param("docs", ["x", "a/b"], [], id="a directory on the way"),
        pytest.param("/docs/api*", ["x"], [], id="the inner root itself"),
        pytest.param("docs/*/**", ["x"], [], id="everything below it"),
        pytest.param("other/x", [], ["x", "other/x"], id="elsewhere"),
    ],
)
def test_rules_of_the_outer_root_hold_in_the_inner_one(glob: str, denied: list[str], allowed: list[str]) -> None:
    _, inner = shared(rule(glob), ())
    assert [name for name in denied if decide(inner, name, Action.READ).allowed] == []
    assert [name for name in allowed if not decide(inner, name, Action.READ).allowed] == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a\\", id="backslash at the end"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("*?[a]", id="special characters"),
        pytest.param("a ", id="space at the end"),
        pytest.param("\u3000", id="another space"),
        pytest.param("a\nb\x01", id="control characters"),
        pytest.param("{a,b}, c", id="what an author may not write"),
        pytest.param("!#~", id="what may not begin a glob"),
        pytest.param("e\u0301", id="not normalised"),
        pytest.param("\udcff", id="not UTF-8"),
        pytest.param("/".join(["d" * 250] * 8), id="longer than a glob may be"),
    ],
)
def test_rules_hold_whatever_the_directories_between_two_roots_are_called(name: str) -> None:
    way = name.split("/")
    outer, inner = share(
        RootRules("outer", "/srv", Mode.RW, Origin("p", 1), deny=rule("secret")),
        RootRules("inner", f"/srv/{name}", Mode.RO, Origin("p", 2), deny=rule("/private")),
        way,
    )
    assert not decide(outer, f"{name}/private/x", Action.READ).allowed
    assert not decide(outer, f"{name}/x", Action.EDIT).allowed
    assert decide(outer, "private/x", Action.EDIT).allowed
    assert decide(outer, f"{name[:-1]}/x", Action.EDIT).allowed
    assert not decide(inner, "a/secret", Action.READ).allowed


@pytest.mark.parametrize(
    ("glob", "denied", "allowed"),
    [
        pytest.param(".env", ["docs/api [v2]/.env", "docs/api [v2]/a/.env"], [".env", "docs/.env"], id="any depth"),
        pytest.param("/x", ["docs/api [v2]/x"], ["x", "docs/api [v2]/a/x", "docs/api v/x"], id="anchored"),
        pytest.param("**", ["docs/api [v2]/x"], ["docs/x", "docs/api [v2]"], id="everything"),
    ],
)
def test_rules_of_the_inner_root_hold_through_the_outer_one(glob: str, denied: list[str], allowed: list[str]) -> None:
    outer, _ = shared((), rule(glob))
    assert [name for name in denied if decide(outer, name, Action.READ).allowed] == []
    assert [name for name in allowed if not decide(outer, name, Action.READ).allowed] == []


def test_exceptions_move_with_their_rule() -> None:
    _, inner = shared(rule("*.pem", "docs/*/public/**"), ())
    assert decide(inner, "public/a.pem", Action.READ).allowed
    assert not decide(inner, "a.pem", Action.READ).allowed
    outer, _ = shared((), rule("*.pem", "/public/**"))
    assert decide(outer, "docs/api [v2]/public/a.pem", Action.READ).allowed
    assert not decide(outer, "docs/api [v2]/a.pem", Action.READ).allowed


def test_a_read_only_root_is_read_only_through_the_writable_one_around_it() -> None:
    outer, _ = shared((), ())
    assert decide(outer, "docs/x", Action.CREATE).allowed
    for name in ("docs/api [v2]", "docs/api [v2]/x"):
        refusal = decide(outer, name, Action.CREATE)
        assert (refusal.code, str(refusal.rule)) == ("denied.read_only", "p:2")
        assert decide(outer, name, Action.READ).allowed


def test_a_profile_without_the_inner_root_does_not_free_its_names(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    policy = desk.load(
        "version: 1\n"
        "roots:\n"
        "  app: {path: ~/app, mode: rw}\n"
        "  src: {path: ~/app/src, deny: [private]}\n"
        "profiles: {some: {roots: {app: rw}}}\n"
    )
    (root,) = narrow(policy, "some").roots
    assert not decide(root, "src/private/x", Action.READ).allowed
    assert not decide(root, "src/main.py", Action.EDIT).allowed
    assert decide(root, "main.py", Action.EDIT).allowed
