"""What several files say together: maps merge by name, rules only grow, and whoever extends only narrows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fsserver.policy.problems import Code, Place, Problem
from fsserver.policy.service import CallClass, Rate
from fsserver.policy.tree import Entry, Node
from fsserver.policy.units import byte_rate, call_rate

Pattern = tuple[str, ...]

# Each file has its own.
_OWN: Final = frozenset({"version", "name", "extends"})

# Below these, a key is a name of the author's choice or one of several that follow the same rule.
_NAMED: Final[frozenset[Pattern]] = frozenset(
    {
        ("roots",),
        ("profiles",),
        ("roots", "*", "operations"),
        ("commands",),
        ("commands", "*", "env", "set"),
        ("commands", "*", "subcommands"),
        ("commands", "*", "subcommands", "*", "flags"),
    }
)

# Lists that are joined.
_GROWING: Final[frozenset[Pattern]] = frozenset(
    {
        ("protect", "deny"),
        ("protect", "read_only"),
        ("roots", "*", "deny"),
        ("roots", "*", "read_only"),
        ("roots", "*", "tests", "accept"),
        ("roots", "*", "tests", "reject"),
        ("commands", "*", "tests", "accept"),
        ("commands", "*", "tests", "reject"),
        ("audit", "redact"),
    }
)

# Where bounds of calls stand: of all, and of each class.
_CALLS: Final[tuple[Pattern, ...]] = (
    ("limits", "calls"),
    *(("limits", "calls", "classes", each.value) for each in CallClass),
)

# Words from the weakest to the strictest; an empty tuple: numbers, of which the smaller is the stricter.
_ORDERED: Final[Mapping[Pattern, tuple[str | bool, ...]]] = MappingProxyType(
    {
        ("roots", "*", "mode"): ("rw", "ro"),
        ("roots", "*", "operations", "*"): ("allow", "ask", "deny"),
        ("roots", "*", "hardlinks"): ("allow", "deny"),
        ("roots", "*", "max_file"): (),
        ("roots", "*", "quota"): (),
        ("limits", "time"): (),
        ("limits", "memory"): (),
        ("limits", "output"): (),
        ("limits", "result"): (),
        ("limits", "calls", "concurrency"): (),
        ("limits", "background"): (),
        **{(*calls, "each"): () for calls in _CALLS},
        ("server", "limits", "body"): (),
        ("server", "limits", "headers"): (),
        ("server", "limits", "connections"): (),
        ("server", "limits", "streams"): (),
        ("server", "limits", "session"): (),
        ("server", "limits", "header_time"): (),
        ("server", "limits", "body_time"): (),
        ("state", "on_failure"): ("local", "refuse"),
        ("sandbox", "require"): ("none", "landlock", "full"),
        ("sandbox", "accept_unprotected"): (True, False),
        ("sandbox", "accept_uid0"): (True, False),
        ("client_roots",): ("ignore", "narrow"),
        ("redact_output",): (False, True),
        ("audit", "durability"): ("kernel", "effect"),
        ("audit", "changes"): (False, True),
        ("commands", "*", "decision"): ("allow", "ask", "deny"),
        ("commands", "*", "subcommands", "*", "decision"): ("allow", "ask", "deny"),
        ("commands", "*", "network"): ("full", "none"),
        ("commands", "*", "unix_sockets"): (True, False),
        ("commands", "*", "background"): (True, False),
        ("commands", "*", "home"): ("kept", "private"),
        ("commands", "*", "limits", "time"): (),
        ("commands", "*", "limits", "memory"): (),
        ("commands", "*", "limits", "processes"): (),
        ("commands", "*", "limits", "output"): (),
        ("commands", "*", "limits", "file_size"): (),
        ("commands", "*", "limits", "open_files"): (),
        ("commands", "*", "limits", "cpu"): (),
    }
)

# How much in how long.
_RATES: Final[Mapping[Pattern, Callable[[str], Rate]]] = MappingProxyType(
    {(*calls, "rate"): call_rate for calls in _CALLS} | {(*calls, "output"): byte_rate for calls in _CALLS}
)

# What only one file may say. Anything that is in no table here is the extending file's to replace.
_SINGLE: Final[frozenset[Pattern]] = frozenset(
    {
        ("roots", "*", "path"),
        ("profiles", "*"),
        ("commands", "*", "sha256"),
        ("commands", "*", "prepend"),
        ("commands", "*", "roots"),
        ("commands", "*", "args"),
        ("commands", "*", "subcommands", "*", "flags", "*"),
        ("commands", "*", "subcommands", "*", "positionals"),
        ("commands", "*", "env", "pass"),
        ("commands", "*", "env", "set", "*"),
        ("commands", "*", "runtime"),
        ("principals",),
        ("server", "auth"),
        ("server", "hosts"),
        ("server", "origins"),
        ("server", "proxies"),
        ("server", "tls"),
    }
)


def merge(bases: list[Node], own: Node, problems: list[Problem]) -> Node:
    """``own`` together with what it extends. The nodes have passed the schema; none of them is changed.

    ``bases`` stand beside each other: their order does not matter, so the strictest wins, and where there is no
    strictest they must agree. ``own`` stands below them: it may ask for less and never for more.
    """
    above: Node | None = None
    for base in bases:
        above = base if above is None else _join(above, base, (), False, problems)
    return own if above is None else _join(above, own, (), True, problems)


def _join(a: Node, b: Node, pattern: Pattern, below: bool, problems: list[Problem]) -> Node:
    if a is b:
        return a
    if pattern in _ORDERED:
        return _stricter(a, b, pattern, below, problems)
    if pattern in _RATES:
        return _slower(a, b, pattern, below, problems)
    if pattern in _GROWING:
        known = {id(item) for item in a.items}
        joined = a.items + [item for item in b.items if id(item) not in known]
        return Node(b.place, joined, incomplete=a.incomplete or b.incomplete)
    if pattern in _SINGLE or not (isinstance(a.value, dict) and isinstance(b.value, dict)):
        return _one_of(a, b, pattern, below, problems)
    entries: dict[str, Entry] = {}
    for name in [*a.entries, *(name for name in b.entries if name not in a.entries)]:
        if pattern == () and name in _OWN:
            continue
        one, other = a.entries.get(name), b.entries.get(name)
        if one is not None and other is not None:
            step = "*" if pattern in _NAMED else name
            entries[name] = Entry(other.key, _join(one.node, other.node, (*pattern, step), below, problems))
        else:
            entries[name] = one or b.entries[name]
    if pattern == ():
        entries |= {name: entry for name, entry in b.entries.items() if name in _OWN}
    return Node(b.place, entries, incomplete=a.incomplete or b.incomplete)


def _stricter(a: Node, b: Node, pattern: Pattern, below: bool, problems: list[Problem]) -> Node:
    words = _ORDERED[pattern]
    stricter = words.index(b.plain()) >= words.index(a.plain()) if words else b.number <= a.number
    if not stricter and below:
        _widens(a, b, problems)
    return b if stricter else a


def _slower(a: Node, b: Node, pattern: Pattern, below: bool, problems: list[Problem]) -> Node:
    """The rate that keeps the other one too, if there is one: 10 in 30 seconds and 15 in 40 are neither's."""
    one, other = _RATES[pattern](a.text), _RATES[pattern](b.text)
    if _keeps(other, one):
        return b
    if below:
        _widens(a, b, problems)
    elif not _keeps(one, other):
        message = f"{_at(a.place)} allows more in one length of time, and this in another"
        problems.append(Problem(Code.CONFLICT, b.place, message, "write it in one file"))
    return a


def _keeps(strict: Rate, rate: Rate) -> bool:
    """Whether whoever keeps ``strict`` keeps ``rate``, in any stretch of time."""
    return -(-rate.per_s // strict.per_s) * strict.amount <= rate.amount


def _widens(a: Node, b: Node, problems: list[Problem]) -> None:
    message = f"this asks for more than {_at(a.place)} grants"
    problems.append(Problem(Code.WIDENS, b.place, message, "a file that extends another can only narrow it"))


def _one_of(a: Node, b: Node, pattern: Pattern, below: bool, problems: list[Problem]) -> Node:
    if a.plain() != b.plain() and (pattern in _SINGLE or not below):
        problems.append(Problem(Code.CONFLICT, b.place, f"{_at(a.place)} says something else", "write it in one file"))
    return b


def _at(place: Place) -> str:
    return f"{place.source.label}:{place.line}"
