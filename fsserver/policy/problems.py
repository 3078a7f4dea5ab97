"""What can be wrong with a policy: each problem with its place and a stable code."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fsserver.errors import ConfigError


class Code(StrEnum):
    """The kinds of problems. The numbers are stable: docs/policy.md lists them and scripts may rely on them."""

    UNREADABLE = "E001"  # the file cannot be read, is no regular file, or is too large
    NOT_TEXT = "E002"  # not UTF-8, a byte order mark, a tab, an invisible or control character
    SYNTAX = "E003"  # not YAML
    FEATURE = "E004"  # YAML that the language leaves out: tags, anchors, merge keys, several documents …
    DUPLICATE_KEY = "E005"
    AMBIGUOUS = "E006"  # a plain value that YAML 1.1 and YAML 1.2 read differently: yes, 010, 1:30
    TOO_BIG = "E007"  # nested too deep, too many values, a number with too many digits
    UNKNOWN_KEY = "E010"
    MISSING = "E011"  # a key, or a value after a key
    CHOICE = "E012"  # not one of the words that may stand here
    TYPE = "E013"  # text where a list belongs, and so on
    NUMBER = "E014"  # no unit, an unknown unit, out of range
    NAME = "E015"  # of a root, a profile or the policy
    GLOB = "E016"
    UNAVAILABLE = "E017"  # reserved: not available in this version
    VERSION = "E018"
    ADDRESS = "E019"  # no address or URL, or not of the kind that may stand here
    EXTENDS = "E020"  # not found, a cycle, no such preset
    WIDENS = "E021"  # asks for more than what is above grants
    CONFLICT = "E022"  # two things that exclude each other
    PLACE = "E030"  # a path that is missing, not absolute, `/`, the home directory …
    OVERLAP = "E031"  # of two roots
    EXPOSED = "E032"  # the policy, the audit log, fsserver itself … in a root
    OWNER = "E033"  # the policy file belongs to, or can be changed by, somebody else
    UNKNOWN_ROOT = "E040"
    TEST_FAILED = "E041"
    UNKNOWN_COMMAND = "E042"
    UNKNOWN_PROFILE = "E043"
    PROGRAM = "E050"  # missing, not executable, setuid, in a writable root, another SHA-256
    ARGUMENTS = "E051"  # rules that can be read in two ways, or that let a launcher start anything
    ENVIRONMENT = "E052"  # a variable that cannot be passed or set
    OPEN = "E060"  # open to the network: without authentication, without TLS, or to proxies that are anybody


COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Source:
    """A text that values come from.

    Attributes:
        shown: its name in error messages: the path as given, ``preset:NAME`` or ``command line``.
        label: its name in `Origin`: the path's base name, else as ``shown``.
        lines: without their ends.
    """

    shown: str
    label: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line. ``line`` and ``column`` count from 1 and in characters."""

    source: Source
    line: int
    column: int
    length: int

    def order(self) -> tuple[str, int, int]:
        return (self.source.shown, self.line, self.column)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``message`` is one sentence; ``help`` says how to put it right, where that is known."""

    code: Code
    place: Place
    message: str
    help: str | None = None

    @property
    def file(self) -> str:
        return self.place.source.shown

    @property
    def line(self) -> int:
        return self.place.line

    @property
    def column(self) -> int:
        return self.place.column

    @property
    def length(self) -> int:
        return self.place.length


class PolicyErrors(ConfigError):  # noqa: N818 - it holds all of them
    """The policy is refused. ``problems`` holds all that was found, ``message`` shows each with its place."""

    def __init__(self, problems: Sequence[Problem], message: str) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class LanguageError(ValueError):
    """A text that is not what its place asks for. Checking turns it into a `Problem` there."""

    def __init__(self, code: Code, message: str, help: str | None = None) -> None:  # noqa: A002 - as in Problem
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help


# What people write for a word or key of the language; similarity of spelling does not find these.
_SYNONYMS = {
    "readonly": ("ro", "read_only"),
    "r": ("ro",),
    "read": ("ro",),
    "readwrite": ("rw",),
    "w": ("rw",),
    "rwx": ("rw",),
    "write": ("rw",),
    "writable": ("rw",),
    "allowed": ("allow",),
    "yes": ("allow",),
    "true": ("allow",),
    "permit": ("allow",),
    "no": ("deny",),
    "false": ("deny",),
    "forbid": ("deny",),
    "block": ("deny",),
    "refuse": ("deny",),
    "prompt": ("ask",),
    "confirm": ("ask",),
    "dir": ("path",),
    "directory": ("path", "dir"),
    "folder": ("path", "dir"),
    "ignore": ("deny",),
    "exclude": ("deny", "except"),
    "excludes": ("deny", "except"),
    "protected": ("deny",),
    "access": ("mode",),
    "permissions": ("mode",),
    "permission": ("mode",),
    "maxsize": ("max_file", "max_size"),
    "maxfilesize": ("max_file",),
    "timeout": ("time",),
    "include": ("extends",),
    "includes": ("extends",),
    "extend": ("extends",),
    "directories": ("roots",),
    "folders": ("roots",),
    "none": ("deny",),
    "cmd": ("commands", "exec"),
    "command": ("commands", "exec"),
    "program": ("exec",),
    "executable": ("exec",),
    "arguments": ("args",),
    "argv": ("args",),
    "options": ("flags",),
    "operands": ("positionals",),
    "string": ("text",),
    "environment": ("env",),
}


def nearest(written: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``written`` is most likely meant to be, if any is near enough."""
    import difflib  # noqa: PLC0415 - only after a mistake

    known = {_plain(candidate): candidate for candidate in candidates}
    plain = _plain(written[:100])
    if plain in known:
        return known[plain]
    for synonym in _SYNONYMS.get(plain, ()):
        if synonym in known.values():
            return synonym
    close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return known[close[0]] if close else None


# One word for what the language keeps apart.
_SEVERAL = {"write": ("create", "edit", "overwrite")}


def did_you_mean(written: str, candidates: Iterable[str]) -> str | None:
    """`nearest` as a help text, quoted as the candidate is to be written; or all that the word stands for."""
    known = tuple(candidates)
    parts = _SEVERAL.get(_plain(written[:100]), ())
    if parts and set(parts) <= set(known):
        return f"{written} is {', '.join(parts[:-1])} and {parts[-1]}: write each of them"
    found = nearest(written, known)
    return f'did you mean "{found}"?' if found else None


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFC", word).casefold() if c not in "-_ .")
