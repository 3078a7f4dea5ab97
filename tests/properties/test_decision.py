"""Decisions only ever get stricter by more rules, a narrower profile, or a longer path."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from fsserver.policy.compiled import Action, AuditRules, Effect, Mode, Origin, PathRule, Policy, Profile, RootRules
from fsserver.policy.decision import CHANGES, decide, granted_actions, narrow, protection

HERE = Origin("test.yaml", 1)
GLOBS = st.sampled_from(["a", "/a", "a/b", "a/**", "**/b", "*.x", "*", "**", "a/**/b"])
RULES = st.lists(st.builds(PathRule, GLOBS, st.just(HERE), st.lists(GLOBS, max_size=1).map(tuple)), max_size=3).map(
    tuple
)
OPERATIONS = st.dictionaries(st.sampled_from(CHANGES), st.tuples(st.sampled_from(Effect), st.just(HERE))).map(
    MappingProxyType
)
ROOTS = st.builds(
    RootRules,
    st.just("r"),
    st.just("/r"),
    st.sampled_from(Mode),
    st.just(HERE),
    deny=RULES,
    read_only=RULES,
    operations=OPERATIONS,
)
NAMES = st.lists(st.sampled_from(["a", "b", "c.x", "A"]), max_size=4).map("/".join)
ACTIONS = st.sampled_from(Action)


@given(ROOTS, NAMES, ACTIONS, GLOBS, st.booleans())
def test_a_further_rule_never_allows_more(root: RootRules, name: str, action: Action, glob: str, folds: bool) -> None:
    rule = PathRule(glob, HERE)
    for stricter in (replace(root, deny=(*root.deny, rule)), replace(root, read_only=(*root.read_only, rule))):
        if decide(stricter, name, action, folds=folds).allowed:
            assert decide(root, name, action, folds=folds).allowed


@given(ROOTS, NAMES, ACTIONS, st.sampled_from(CHANGES), st.sampled_from([Effect.ASK, Effect.DENY]))
def test_a_stricter_operation_never_allows_more(
    root: RootRules, name: str, action: Action, changed: Action, effect: Effect
) -> None:
    stricter = replace(root, operations=MappingProxyType({**root.operations, changed: (effect, HERE)}))
    if decide(stricter, name, action).allowed:
        assert decide(root, name, action).allowed


@given(ROOTS, NAMES, ACTIONS, st.none() | st.dictionaries(st.sampled_from(["r", "s"]), st.sampled_from(Mode)))
def test_a_profile_never_allows_more(root: RootRules, name: str, action: Action, modes: dict[str, Mode] | None) -> None:
    profile = Profile("p", None if modes is None else MappingProxyType(modes), None, HERE)
    policy = Policy("x", None, "", (root,), AuditRules("/audit"), profiles=MappingProxyType({"p": profile}))
    for narrowed in narrow(policy, "p").roots:
        if decide(narrowed, name, action).allowed:
            assert decide(root, name, action).allowed
        assert granted_actions(narrowed) <= granted_actions(root)


@given(ROOTS, NAMES, ACTIONS)
def test_what_is_allowed_is_granted_and_unprotected(root: RootRules, name: str, action: Action) -> None:
    decision = decide(root, name, action)
    if decision.allowed:
        assert action in granted_actions(root) or not name  # the root itself is there whatever is denied in it
        assert protection(root, name, action) is None
    elif protection(root, name, action) is None:
        assert action.changes
        assert root.mode is Mode.RO or not name or root.operations[action][0] is not Effect.ALLOW


@given(ROOTS, NAMES, ACTIONS)
def test_folding_protects_more(root: RootRules, name: str, action: Action) -> None:
    plain = replace(
        root,
        deny=tuple(replace(rule, exceptions=()) for rule in root.deny),
        read_only=tuple(replace(rule, exceptions=()) for rule in root.read_only),
    )
    if decide(plain, name, action, folds=True).allowed:
        assert decide(plain, name, action, folds=False).allowed
