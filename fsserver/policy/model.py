"""The policy language, version 1: which keys there are and what may stand behind each.

This describes one file. What needs several files is checked in `merge`, what needs the disk in `placement`.
`policy.unavailable` has the words that are reserved for later.
"""

from __future__ import annotations

from typing import Any, Final

from fsserver.policy.globs import GlobError, refuse_traps, regex_source
from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.rules import comparable
from fsserver.policy.schema import (
    NAME_PATTERN,
    Count,
    Flag,
    Key,
    ListOf,
    MapOf,
    OneKey,
    Section,
    Text,
    TextOrSection,
    Version,
    Word,
    parse_name,
)
from fsserver.policy.text import shortened
from fsserver.policy.toolnames import TOOL_NAMES
from fsserver.policy.units import DURATION_PATTERN, SIZE_PATTERN, duration_s, size_bytes


def _glob(text: str) -> str:
    try:
        refuse_traps(text)
        for folds in (False, True):
            regex_source(comparable(text, folds=folds))
    except GlobError as error:
        raise LanguageError(Code.GLOB, error.message, error.help) from None
    return text


def _line(text: str) -> str:
    if not text or len(text) > 4096 or not text.isprintable():
        raise LanguageError(Code.TYPE, f'"{shortened(text)}" is empty, too long, or not one line that can be printed')
    return text


SIZE = Text(size_bytes, "a size such as 20MiB", SIZE_PATTERN)
DURATION = Text(duration_s, "a duration such as 30s", DURATION_PATTERN)
LINE = Text(_line)
GLOB = Text(_glob)
MODE = Word("mode", ("ro", "rw"))
EFFECT = Word("effect", ("allow", "ask", "deny"))

GLOB_RULES = ListOf(
    TextOrSection(
        GLOB,
        Section(
            {
                "glob": Key(GLOB, "Names, as in .gitignore; covers everything below.", required=True),
                "except": Key(ListOf(GLOB), "Names that the rule does not mean."),
            }
        ),
    )
)

OPERATIONS = Section(
    {
        "create": Key(EFFECT, "New files and directories."),
        "edit": Key(EFFECT, "Changes of a part of a file."),
        "overwrite": Key(EFFECT, "Replacing the whole of a file."),
        "move": Key(EFFECT, "Moving and renaming."),
        "delete": Key(EFFECT, "Deleting."),
    }
)

ROOT = Section(
    {
        "path": Key(LINE, "The directory: absolute, or beginning with ~/."),
        "mode": Key(MODE, "ro (default) or rw."),
        "deny": Key(GLOB_RULES, "Not read, written, moved, deleted or searched."),
        "read_only": Key(GLOB_RULES, "Not changed."),
        "operations": Key(OPERATIONS, "What may be done where the mode is rw. Default: allow."),
        "hardlinks": Key(Word("effect", ("allow", "deny")), "Reading files that have more than one name."),
        "max_file": Key(SIZE, "The largest file that is read whole or written."),
        "quota": Key(SIZE, "The most that the directory may hold after a write."),
        "tests": Key(
            Section(
                {
                    "accept": Key(ListOf(LINE), 'Actions that are allowed, such as "edit src/main.py".'),
                    "reject": Key(ListOf(LINE), 'Actions that are refused, such as "read .env".'),
                }
            ),
            "Examples. One that does not hold stops the server.",
        ),
    },
    main="path",
)

LIMITS = Section(
    {
        "time": Key(DURATION, "Of one call. Default: 2m."),
        "memory": Key(SIZE, "Of one command. Default: 2GiB."),
        "output": Key(SIZE, "What is kept of a command's output. Default: 4MiB."),
        "result": Key(SIZE, "The text of one result. Default: 64KiB."),
        "calls": Key(
            Section({"concurrency": Key(Count(1, 256), "Calls at work at the same time. Default: 16.")}),
            "Bounds of calls taken together.",
        ),
        "background": Key(Count(1, 256), "Background processes. Default: 8."),
    }
)

SANDBOX = Section(
    {
        "require": Key(
            Word("layer", ("full", "landlock", "none")), "The weakest confinement accepted. full is for commands."
        ),
        "accept_unprotected": Key(Flag(), "Commands may run where protected names cannot be hidden from them."),
        "accept_uid0": Key(Flag(), "Commands may run as user 0."),
    },
    main="require",
)

PROFILE = Section(
    {
        "roots": Key(MapOf(MODE), "Only these roots, with these modes. Default: all."),
        "tools": Key(ListOf(Word("tool", TOOL_NAMES)), "Only these tools. Default: all."),
    }
)

APPROVALS = Section(
    {
        "via": Key(ListOf(Word("way to ask", ("elicitation",)), least=1), "How a person is asked."),
        "timeout": Key(DURATION, "How long to wait for the answer. Default: 2m."),
        "on_unavailable": Key(Word("effect", ("deny",)), "When nobody can be asked."),
    }
)

SINK = OneKey(
    {
        "dir": Key(LINE, "A directory: one new file for each run of the server."),
        "file": Key(LINE, "One file, which only one server writes at a time."),
    }
)

AUDIT = Section(
    {
        "sinks": Key(ListOf(SINK, least=1, most=1), "Where records go. Default: a directory below ~/.local/state."),
        "on_failure": Key(Word("reaction", ("refuse",)), "When a record cannot be written: no call is served."),
        "content": Key(Word("kind of content", ("hash",)), "What is recorded of file contents."),
        "max_size": Key(SIZE, "A file that has reached this size is followed by a new one. Default: 1GiB."),
    }
)

POLICY: Final = Section(
    {
        "version": Key(Version(), "The language's version.", required=True),
        "name": Key(Text(parse_name, pattern=NAME_PATTERN), "For logs. Default: the file's name."),
        "extends": Key(ListOf(LINE), "preset:NAME, or another policy file relative to this one."),
        "protect": Key(Section({key: ROOT.keys[key] for key in ("deny", "read_only")}), "Rules for every root."),
        "roots": Key(MapOf(ROOT), "The directories, each by a name of your choice."),
        "limits": Key(LIMITS, "Bounds of every call."),
        "sandbox": Key(SANDBOX, "How strongly processes must be confined."),
        "client_roots": Key(
            Word("use of client roots", ("ignore", "narrow")), "Whether a client may narrow the roots."
        ),
        "profiles": Key(MapOf(PROFILE), "Narrower versions of this policy."),
        "approvals": Key(APPROVALS, "How a person is asked."),
        "audit": Key(AUDIT, "The record of every call."),
        "server": Key(Section({"transport": Key(Word("transport", ("stdio",)), "stdio.")}), "How clients connect."),
    }
)


# What the command line says with --root: the same, but the roots are named after their directories.
COMMAND_LINE_POLICY: Final = Section(
    {**POLICY.keys, "roots": Key(MapOf(ROOT, given=True), POLICY.keys["roots"].about)},
)


def json_schema() -> dict[str, Any]:
    """The whole language as JSON Schema, for editors."""
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fsserver policy, version 1"}
    return heading | POLICY.json_schema()
