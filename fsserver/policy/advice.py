"""What a policy may say and its author may not have meant: told by ``policy check``, never an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from fsserver.policy.compiled import ArgumentForm, Command, MatchValue, Network, Policy, Subcommands, Value
from fsserver.policy.text import shortened
from fsserver.policy.variables import VARIABLE

_CLASS = re.compile(r"\\(?P<escaped>.)|\[(?P<negated>\^?)\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_INNERMOST = re.compile(r"\((?:\?(?:[:=!>]|<[=!]|P<\w+>|[a-zA-Z-]+:))?([^()]*)\)([*+?]|\{\d*,?\d*\})?")
_LOOP = re.compile(r"[*+]|\{\d*,\d*\}")


def warnings(policy: Policy) -> Iterator[str]:
    """Each in one sentence, with the place that it is about."""
    for command in policy.commands.values():
        for value in _values(command):
            if isinstance(value, MatchValue) and may_never_end(value.pattern):
                yield (
                    f'{command.origin}: warning: "{command.name}" has a repetition in a repetition in match: '
                    f"{shortened(value.pattern)}; an argument can be chosen for which that takes forever, and the "
                    "server with it: let each round begin or end with a character that no other part of it matches"
                )
    for pattern in policy.audit.redact:
        if may_never_end(pattern):
            yield (
                f"{os.path.basename(policy.source or policy.name)}: warning: audit.redact has a repetition in a "
                f"repetition: {shortened(pattern)}; a text can be chosen for which that takes forever, and the server "
                "with it: let each round begin or end with a character that no other part of it matches"
            )
    yield from _about_principals(policy)
    for outward in policy.commands.values():
        if outward.network is not Network.FULL:
            continue
        for root in outward.roots:
            inward = [
                name for name, each in policy.commands.items() if each.network is Network.NONE and root in each.roots
            ]
            if inward:
                yield (
                    f'{outward.origin}: warning: "{outward.name}" has the network and sees the root "{root}", so '
                    f"network: none keeps little of it from leaving that is written there by {', '.join(inward)}"
                )


def _about_principals(policy: Policy) -> Iterator[str]:
    """About who is served over HTTP."""
    server, file = policy.server, os.path.basename(policy.source or policy.name)
    if server.auth.off and (server.proxies or server.public_url or server.hosts):
        yield (
            f"{file}: warning: with auth: none everybody is served who reaches this through a proxy; it is for clients "
            "on this machine"
        )
    for root in policy.roots:
        variables = {found[1] for found in VARIABLE.finditer(root.each or "")}
        if len(server.auth.oauth) > 1 and variables and variables <= {"subject", "client"}:
            yield (
                f"{root.origin}: warning: two issuers may give the same subject or client to two principals, who would "
                f'then share the root "{root.name}": write ${{principal.name}}'
            )


def may_never_end(pattern: str) -> bool:
    """Whether a repetition in ``pattern`` holds another one and nothing that tells its rounds apart.

    Python tries every way to divide the text among them, which takes twice as long for each further character. It is a
    look at the text and no proof: there are harmless ones that it finds, and others that it does not.
    """
    text = _CLASS.sub(_stand_in, pattern)
    while (found := _INNERMOST.search(text)) is not None:
        inner, quantifier = found[1], found[2] or ""
        loops = _LOOP.search(inner) is not None
        repeats = _LOOP.search(quantifier) is not None
        if loops and repeats and not _marked(inner):
            return True
        # What is left is a loop that is looked at already, or a part of what is around it.
        text = text[: found.start()] + ("A+" if repeats else inner) + text[found.end() :]
    return False


def _stand_in(found: re.Match[str]) -> str:
    """One character for an escape or a class: A for several, a full stop for nearly all, else a mark."""
    escaped = found["escaped"]
    if escaped is None:
        return "." if found["negated"] else "A"
    if escaped in "WDS":
        return "."
    return "A" if escaped.isalnum() else ";"


def _marked(inner: str) -> bool:
    """Whether each round begins or ends with a character of its own."""
    marks = {end for end in (inner[:1], inner[-1:]) if not end.isalnum() and end not in "*+?{}|^$"}
    if _LOOP.match(inner[1:]) or inner[1:2] == "?":
        marks.discard(inner[:1])
    return bool(marks) and "." not in inner and "|" not in inner


def _values(command: Command) -> Iterator[Value]:
    """Every value that an argument of the command may have."""
    rules = command.arguments
    forms: list[ArgumentForm] = []
    if isinstance(rules, ArgumentForm):
        forms.append(rules)
    elif isinstance(rules, Subcommands):
        forms += [each.form for each in rules.by_name.values()]
    for form in forms:
        yield from (flag.value for flag in form.flags.values() if flag.value is not None)
        yield from (positional.value for positional in form.positionals)
