"""What the policy says about one action on one name. Pure: no file is touched here. Standard library only.

*Trust.* The rules come from `policy.compile` and are ours. The name is hostile: a client chose it, or an attacker gave
it to a file; but it is the name of the opened object beneath its root, as `paths` read it from the kernel.

*Invariant.* A decision allows an action only if the root's mode, its ``operations``, its ``deny`` and, for a change,
its ``read_only`` rules all allow it. ``ask`` is no permission: whoever does not ask a person refuses. A narrowed policy
allows nothing that the policy itself refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fsserver.errors import ConfigError
from fsserver.policy.compiled import Action, Command, Effect, Mode, Policy, Profile, RootRules, SoughtProgram
from fsserver.policy.rules import Origin, PathRule

CHANGES = tuple(action for action in Action if action.changes)

# Globs that cover every name in a root, so that nothing is left to grant.
_EVERYTHING = frozenset({"*", "**", "/*", "/**", "**/*"})


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and why.

    Attributes:
        effect: ALLOW; ASK where only a person's consent is missing; DENY.
        code: "allowed", or the code of the error that this becomes where it is not allowed, or nobody is asked.
        rule: the deciding rule; None if no single rule decided.
        reason: for the client, in plain words and without a path. Empty when allowed.
        allowed_instead: what may be done to the name or in the root, if anything.
    """

    effect: Effect
    code: str
    rule: Origin | None
    reason: str
    allowed_instead: str | None

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW

    @property
    def asks(self) -> bool:
        return self.effect is Effect.ASK


_ALLOWED = Decision(Effect.ALLOW, "allowed", None, "", None)


def decide(rules: RootRules, name: str, action: Action, *, folds: bool = False) -> Decision:
    """Whether ``action`` may be done to ``name``.

    Args:
        name: beneath the root, components joined by "/", "" for the root itself.
        folds: the root's volume takes names that differ only in case for the same.
    """
    rule = rules.denied.find(name, folds=folds)
    if rule is not None:
        reason = f'names that match "{rule.glob}" are protected'
        return _denied("denied.protected", rule.origin, reason, "other names in this root")
    if not action.changes:
        return _ALLOWED
    if rules.mode is Mode.RO:
        return _decide_change(rules, action)
    rule = rules.frozen.find(name, folds=folds)
    if rule is not None:
        reason = f'names that match "{rule.glob}" are read-only'
        return _denied("denied.read_only", rule.origin, reason, "read, list; changes of other names in this root")
    return _decide_operation(rules, name, action)


def _decide_operation(rules: RootRules, name: str, action: Action) -> Decision:
    """What ``operations`` of a writable root say about a change that no rule on names refuses."""
    if not name and action in (Action.MOVE, Action.DELETE):
        return _denied("denied.operation", rules.origin, "a root itself is never moved or deleted", "what is in it")
    effect, origin = _operation(rules, action)
    if effect is Effect.ALLOW:
        return _ALLOWED
    if effect is Effect.ASK:
        reason = f'{action} in the root "{rules.name}" needs a person\'s consent'
        return Decision(Effect.ASK, "denied.consent", origin, reason, _instead(rules))
    return _denied("denied.operation", origin, f'{action} is not allowed in the root "{rules.name}"', _instead(rules))


def why_not_granted(roots: Iterable[RootRules], actions: Collection[Action]) -> Decision | None:
    """Of roots that grant none of ``actions`` to any name: the refusal that a person could lift, else the first; None
    if no root says anything about them.
    """
    first: Decision | None = None
    for rules in roots:
        for action in (each for each in CHANGES if each in actions):
            decision = _decide_change(rules, action)
            if decision.allowed:
                continue
            if decision.asks:
                return decision
            first = first or decision
    return first


def _decide_change(rules: RootRules, action: Action) -> Decision:
    """What the root says about a change, whatever the name."""
    if rules.mode is Mode.RO:
        _, origin = _operation(rules, action)
        return _denied("denied.read_only", origin, f'the root "{rules.name}" is read-only', "read, list")
    return _decide_operation(rules, "any", action)


def protection(rules: RootRules, name: str, action: Action, *, folds: bool = False) -> PathRule | None:
    """The ``deny`` rule, or for a change also the ``read_only`` rule, that covers ``name``. Mode is not considered."""
    rule = rules.denied.find(name, folds=folds)
    if rule is None and action.changes:
        rule = rules.frozen.find(name, folds=folds)
    return rule


def may_contain_protected(rules: RootRules) -> bool:
    """False if no name in the root can be protected, so that nobody needs to look for one."""
    return bool(rules.deny or rules.read_only)


def granted_actions(rules: RootRules, *, with_consent: bool = False) -> frozenset[Action]:
    """What may be done to some name in the root.

    Args:
        with_consent: what a person can consent to counts too.
    """
    granted = {Action.LIST}
    enough = (Effect.ALLOW, Effect.ASK) if with_consent else (Effect.ALLOW,)
    if not _covers_everything(rules.deny):
        granted.add(Action.READ)
        if rules.mode is Mode.RW and not _covers_everything(rules.read_only):
            granted.update(action for action in CHANGES if _operation(rules, action)[0] in enough)
    return frozenset(granted)


def narrow(policy: Policy, profile_name: str) -> Policy:
    """The policy as one of its profiles sees it.

    Raises:
        ConfigError: no such profile.
    """
    profile = policy.profiles.get(profile_name)
    if profile is None:
        known = ", ".join(sorted(policy.profiles)) or "none"
        raise ConfigError(f'the policy has no profile "{profile_name}"; it has: {known}')
    roots = policy.roots
    if profile.roots is not None:
        modes = profile.roots
        roots = tuple(_narrow_root(root, modes[root.name], profile) for root in roots if root.name in modes)
    tools = policy.tools
    if profile.tools is not None:
        tools = profile.tools if tools is None else profile.tools & tools
    granted = {root.name: root.mode for root in roots}
    narrowed = {name: _narrow_command(each, granted) for name, each in policy.commands.items()}
    commands = {
        name: command
        for name, command in narrowed.items()
        if command is not None and (profile.commands is None or name in profile.commands)
    }
    return replace(policy, roots=roots, tools=tools, commands=MappingProxyType(commands), profile=profile_name)


def _narrow_command(command: Command, granted: Mapping[str, Mode]) -> Command | None:
    """The command with what is left of its roots; None if none is, or not the one that holds its program."""
    roots = {
        name: Mode.RW if mode is Mode.RW and granted[name] is Mode.RW else Mode.RO
        for name, mode in command.roots.items()
        if name in granted
    }
    program = command.program
    if not roots or (isinstance(program, SoughtProgram) and program.root not in roots):
        return None
    return replace(command, roots=MappingProxyType(roots))


def _narrow_root(root: RootRules, mode: Mode, profile: Profile) -> RootRules:
    if mode is Mode.RW or root.mode is Mode.RO:
        return root
    return replace(root, mode=Mode.RO, operations=read_only_operations(profile.origin))


def read_only_operations(origin: Origin) -> Mapping[Action, tuple[Effect, Origin]]:
    """``operations`` of a root that ``origin`` makes read-only."""
    return MappingProxyType(dict.fromkeys(CHANGES, (Effect.DENY, origin)))


def _operation(rules: RootRules, action: Action) -> tuple[Effect, Origin]:
    written = rules.operations.get(action)
    if written is not None:
        return written
    return (Effect.ALLOW if rules.mode is Mode.RW else Effect.DENY), rules.origin


def _instead(rules: RootRules) -> str:
    granted = granted_actions(rules)
    return ", ".join(action for action in Action if action in granted)


def _covers_everything(rules: tuple[PathRule, ...]) -> bool:
    return any(not rule.exceptions and not _EVERYTHING.isdisjoint(rule.globs) for rule in rules)


def _denied(code: str, rule: Origin | None, reason: str, allowed_instead: str | None) -> Decision:
    return Decision(Effect.DENY, code, rule, reason, allowed_instead)
