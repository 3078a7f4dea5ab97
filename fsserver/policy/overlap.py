"""Roots inside roots: where two roots hold the same name, the rules of both apply to it.

A read-only root may lie in another root (`placement` refuses every other kind). A name in it can then be reached
through either root. So that the stricter answer comes out each way, each root takes over the other's rules, rewritten
for its own names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from fsserver.policy.compiled import Effect, Mode, RootRules
from fsserver.policy.globs import component_regex, components
from fsserver.policy.rules import PathRule


def share(outer: RootRules, inner: RootRules, way: Sequence[str]) -> tuple[RootRules, RootRules]:
    """Both roots with the other's rules added. ``way`` is the components from ``outer`` to ``inner``, at least one."""
    down = [_seen_from_below(rule, way) for rule in outer.deny]
    up = [_seen_from_above(rule, way) for rule in inner.deny]
    up_frozen = [_seen_from_above(rule, way) for rule in inner.read_only]
    if inner.mode is Mode.RO and outer.mode is Mode.RW:
        up_frozen.append(PathRule("/".join(way), inner.origin, matched_as=("/" + _literal(way),)))
    hardlinks = Effect.DENY if Effect.DENY in (outer.hardlinks, inner.hardlinks) else Effect.ALLOW
    return (
        replace(outer, deny=(*outer.deny, *up), read_only=(*outer.read_only, *up_frozen)),
        replace(inner, deny=(*inner.deny, *(rule for rule in down if rule)), hardlinks=hardlinks),
    )


def _seen_from_above(rule: PathRule, way: Sequence[str]) -> PathRule:
    """A rule of the inner root, for names of the outer one."""
    globs = tuple(_moved_up(glob, way) for glob in rule.globs)
    return replace(rule, matched_as=globs, exceptions=tuple(_moved_up(glob, way) for glob in rule.exceptions))


def _moved_up(glob: str, way: Sequence[str]) -> str:
    return f"/{_literal(way)}/{'/'.join(components(glob))}"


def _seen_from_below(rule: PathRule, way: Sequence[str]) -> PathRule | None:
    """A rule of the outer root, for names of the inner one; None if it can match none of them."""
    globs = tuple(rest for glob in rule.globs for rest in _rests(components(glob), way))
    exceptions = tuple(rest for glob in rule.exceptions for rest in _rests(components(glob), way))
    return replace(rule, matched_as=globs, exceptions=exceptions) if globs else None


def _rests(parts: tuple[str, ...], way: Sequence[str]) -> list[str]:
    """What is left of a glob after it has matched ``way``: several globs, since ``**`` may match more or less."""
    states = _with_skips({parts})
    for name in way:
        after: set[tuple[str, ...]] = set()
        for state in states:
            if not state:
                return ["/**"]  # a directory on the way is covered, and so is everything below it
            if state[0] == "**":
                after.add(state)
            elif re.fullmatch(component_regex(state[0]), name, re.DOTALL):
                after.add(state[1:])
        states = _with_skips(after)
    return sorted("/" + "/".join(state or ("**",)) for state in states)


def _with_skips(states: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The states, and those that are reached when a ``**`` in front matches nothing."""
    return states | {state[1:] for state in states if state[:1] == ("**",) and len(state) > 1}


def _literal(way: Sequence[str]) -> str:
    """``way`` as a glob that matches nothing else."""
    return "/".join(re.sub(r"([*?\[\\])", r"\\\1", name) for name in way)
