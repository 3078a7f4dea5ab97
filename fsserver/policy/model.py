"""The policy language, version 1: which keys there are and what may stand behind each.

This describes one file. What needs several files is checked in `merge`, what needs the disk in `placement`.
`policy.unavailable` has the words that are reserved for later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from fsserver.policy.addresses import syslog_url, web_url
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
    TextOrList,
    TextOrSection,
    Version,
    Word,
    parse_name,
)
from fsserver.policy.service_model import CALLS, PRINCIPALS, SERVER, STATE, TELEMETRY
from fsserver.policy.terms import DURATION, EFFECT, LINE, SIZE, line
from fsserver.policy.text import shortened
from fsserver.policy.toolnames import TOOL_NAMES


def _glob(text: str) -> str:
    try:
        refuse_traps(text)
        for folds in (False, True):
            regex_source(comparable(text, folds=folds))
    except GlobError as error:
        raise LanguageError(Code.GLOB, error.message, error.help) from None
    return text


def _argument(text: str) -> str:
    if len(text) > 4096:
        raise LanguageError(Code.TYPE, "an argument of more than 4096 characters")
    return text


def _variable_value(text: str) -> str:
    return line(text) if text else text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        reason = error.msg if isinstance(error, re.error) else "it is too large"
        raise LanguageError(Code.ARGUMENTS, f'"{shortened(text)}" is not a regular expression: {reason}') from None
    if not text or len(text) > 1024:
        raise LanguageError(Code.ARGUMENTS, "a regular expression has 1 to 1024 characters")
    return text


def _matched(pattern: str, message: str, help_text: str) -> Callable[[str], str]:
    """A parser that takes what ``pattern``, in the JSON Schema's form ^…$, matches."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern[1:-1], text):
            raise LanguageError(Code.NAME, f'"{shortened(text)}" is not {message}', help_text)
        return text

    return parse


REPEAT_PATTERN = r"^(0|[1-9][0-9]{0,3})(\.\.(0|[1-9][0-9]{0,3}))?$"


def repeat(text: str) -> str:
    """Checks "3" or "0..10". Raises `LanguageError`."""
    found = re.fullmatch(REPEAT_PATTERN[1:-1], text)
    least, most = (int(found[1]), int(found[3] or found[1])) if found else (1, 0)
    if least > most or most == 0:
        message = f'"{shortened(text)}" is not how often something may be there'
        raise LanguageError(Code.NUMBER, message, "write a count such as 2, or a range such as 0..10, up to 9999")
    return text


GLOB = Text(_glob)
MODE = Word("mode", ("ro", "rw"))

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
        "path": Key(LINE, "The directory: absolute, or beginning with ~/. Over HTTP its last part may hold variables."),
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

ARGUMENT = Text(_argument)

# What an argument may be. ``flag``, of flags only, stands for no value.
_VALUE_KINDS = OneKey(
    {
        "int": Key(
            Section({"min": Key(Count(-(10**15), 10**15), "From."), "max": Key(Count(-(10**15), 10**15), "To.")}),
            "A whole number.",
        ),
        "enum": Key(ListOf(ARGUMENT, least=1), "One of these words."),
        "match": Key(Text(_regex), "What this regular expression matches as a whole."),
        "path": Key(
            Section(
                {
                    "root": Key(Text(parse_name, pattern=NAME_PATTERN), "Default: any root that the command sees."),
                    "access": Key(Word("access", ("read", "write")), "read (default) or write."),
                    "must_exist": Key(Flag(), "Default: false."),
                }
            ),
            "A path beneath a root.",
        ),
        "url": Key(
            Section(
                {
                    "schemes": Key(ListOf(LINE, least=1), "Such as https.", required=True),
                    "hosts": Key(ListOf(LINE, least=1), "Host names, with :port where one is wanted.", required=True),
                }
            ),
            "An address.",
        ),
    }
)
VALUE = TextOrSection(Word("value", ("text",)), _VALUE_KINDS)
FLAG_VALUE = TextOrSection(Word("value of a flag", ("flag", "text")), _VALUE_KINDS)

FLAG_PATTERN = "^--?[A-Za-z0-9?][A-Za-z0-9?_.:-]{0,63}$"
VARIABLE_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,127}$"
VARIABLE = _matched(VARIABLE_PATTERN, "a name of an environment variable", "A-Z a-z 0-9 _, not beginning with a digit")

FORM_KEYS = {
    "flags": Key(
        MapOf(
            FLAG_VALUE,
            parse=_matched(FLAG_PATTERN, "a flag", "a flag begins with - or --, as in -n: {int: {min: 1}}"),
            pattern=FLAG_PATTERN,
            example="-v: flag, -n: {int: {min: 1}}",
        ),
        "Flags, each with what its value may be.",
    ),
    "positionals": Key(
        ListOf(
            Section(
                {
                    "value": Key(VALUE, "What it may be.", required=True),
                    "repeat": Key(
                        Text(repeat, "a count or a range such as 0..10", REPEAT_PATTERN, digits=True),
                        "How often. Default: 1.",
                    ),
                }
            )
        ),
        "What is no flag, in this order.",
    ),
}

DECISION_KEYS = {
    "decision": Key(EFFECT, "allow (default), ask, or deny."),
    "reason": Key(LINE, "Why: for the person who is asked."),
}

COMMAND_LIMITS = Section(
    {
        "time": Key(DURATION, "On the clock. Default: limits.time."),
        "memory": Key(SIZE, "Of all its processes. Default: limits.memory."),
        "processes": Key(Count(1, 4096), "Processes and threads at the same time. Default: 256."),
        "output": Key(SIZE, "What is kept of its output. Default: limits.output."),
        "file_size": Key(SIZE, "The largest file that it may write."),
        "open_files": Key(Count(16, 65536), "Of each process. Default: 1024."),
        "cpu": Key(DURATION, "Processor time of all its processes."),
    }
)

COMMAND = Section(
    {
        "exec": Key(
            TextOrSection(
                LINE,
                Section(
                    {
                        "in": Key(Text(parse_name, pattern=NAME_PATTERN), "The root that holds it.", required=True),
                        "find": Key(LINE, "Sought from the current directory up to the root.", required=True),
                    }
                ),
            ),
            "The program: an absolute path, or content of a root.",
        ),
        "sha256": Key(
            Text(_matched("^[0-9a-f]{64}$", "a SHA-256", "64 of 0-9 a-f"), pattern="^[0-9a-f]{64}$"), "Of the program."
        ),
        "prepend": Key(ListOf(ARGUMENT), "Arguments that stand before the client's."),
        "roots": Key(MapOf(MODE, example="app: rw"), "Only these roots, with these modes. Default: all."),
        "args": Key(TextOrSection(Word("form of arguments", ("any",)), Section(FORM_KEYS)), "What it may be given."),
        "subcommands": Key(
            MapOf(Section(FORM_KEYS | DECISION_KEYS), example="status: {}, log: {flags: {--oneline: flag}}"),
            "The first argument is one of these.",
        ),
        "env": Key(
            Section(
                {
                    "pass": Key(ListOf(Text(VARIABLE, pattern=VARIABLE_PATTERN)), "Variables of the server's own."),
                    "set": Key(
                        MapOf(Text(_variable_value), parse=VARIABLE, pattern=VARIABLE_PATTERN), "Variables and values."
                    ),
                }
            ),
            "Its environment.",
        ),
        "network": Key(TextOrSection(Word("network", ("none", "full")), Section({})), "none (default) or full."),
        "unix_sockets": Key(Flag(), "Sockets of the family AF_UNIX. Default: false."),
        "background": Key(Flag(), "Whether it may run in the background. Default: false."),
        "home": Key(Word("home", ("private", "kept")), "Empty each time (default), or kept."),
        "runtime": Key(ListOf(LINE), "Further directories that it reads and executes in."),
        "limits": Key(COMMAND_LIMITS, "Bounds of one run."),
        **DECISION_KEYS,
        "tests": Key(
            Section(
                {
                    "accept": Key(ListOf(TextOrList(LINE, ListOf(ARGUMENT))), "Arguments that are allowed."),
                    "reject": Key(ListOf(TextOrList(LINE, ListOf(ARGUMENT))), "Arguments that are refused."),
                }
            ),
            "Examples. One that does not hold stops the server.",
        ),
    },
    main="exec",
)

LIMITS = Section(
    {
        "time": Key(DURATION, "Of one call. Default: 2m."),
        "memory": Key(SIZE, "Of one command. Default: 2GiB."),
        "output": Key(SIZE, "What is kept of a command's output. Default: 4MiB."),
        "result": Key(SIZE, "The text of one result. Default: 64KiB."),
        "calls": Key(CALLS, "Bounds of calls taken together."),
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
        "commands": Key(ListOf(Text(parse_name, pattern=NAME_PATTERN)), "Only these commands. Default: all."),
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
        "syslog": Key(Text(syslog_url), "A syslog server, as tls://HOST:PORT; tcp:// on loopback only."),
        "otlp": Key(Text(web_url), "The logs of an OTLP/HTTP collector."),
        "stderr": Key(Flag(), "Standard error; never required."),
    },
    beside={
        "required": Key(Flag(), "Refuse calls when it cannot be written. Default: true; the first always is."),
        "ca": Key(LINE, "Of syslog with TLS: a PEM file of who signed its certificate. Default: the system's."),
    },
)

AUDIT = Section(
    {
        "sinks": Key(ListOf(SINK, least=1, most=8), "Where records go. Default: a directory below ~/.local/state."),
        "on_failure": Key(Word("reaction", ("refuse",)), "When a record cannot be written: no call is served."),
        "content": Key(Word("kind of content", ("hash",)), "What is recorded of file contents."),
        "max_size": Key(SIZE, "A file that has reached this size is followed by a new one. Default: 1GiB."),
        "durability": Key(
            Word("durability", ("kernel", "effect")),
            "What an intent waits for before its effect: the kernel has it (default), or the disk has it.",
        ),
        "key": Key(LINE, "A file with the private key that signs checkpoints, as `fsserver audit keygen` makes it."),
        "checkpoint": Key(
            Section(
                {
                    "records": Key(Count(1, 1_000_000), "A checkpoint after so many records. Default: 1000."),
                    "time": Key(DURATION, "And after so long, if there are new records. Default: 1m."),
                }
            ),
            "How often the head of the chain is signed.",
        ),
        "keep": Key(
            Section(
                {
                    "time": Key(DURATION, "Logs of runs that ended longer ago are removed."),
                    "size": Key(SIZE, "The oldest are removed until all together take no more."),
                }
            ),
            "What is kept in a directory. Default: everything.",
        ),
        "changes": Key(Flag(), "Record which files of its roots a command changed. Default: false."),
        "redact": Key(ListOf(Text(_regex), most=64), "Regular expressions of what no record shows. It only grows."),
    }
)

POLICY: Final = Section(
    {
        "version": Key(Version(), "The language's version.", required=True),
        "name": Key(Text(parse_name, pattern=NAME_PATTERN), "For logs. Default: the file's name."),
        "extends": Key(ListOf(LINE), "preset:NAME, or another policy file relative to this one."),
        "protect": Key(Section({key: ROOT.keys[key] for key in ("deny", "read_only")}), "Rules for every root."),
        "roots": Key(MapOf(ROOT), "The directories, each by a name of your choice."),
        "commands": Key(MapOf(COMMAND), "The programs that may be run, each by a name of your choice."),
        "limits": Key(LIMITS, "Bounds of every call."),
        "sandbox": Key(SANDBOX, "How strongly processes must be confined."),
        "client_roots": Key(
            Word("use of client roots", ("ignore", "narrow")), "Whether a client may narrow the roots."
        ),
        "profiles": Key(MapOf(PROFILE), "Narrower versions of this policy."),
        "approvals": Key(APPROVALS, "How a person is asked."),
        "audit": Key(AUDIT, "The record of every call."),
        "redact_output": Key(Flag(), "Secrets are not shown in results either. Default: false."),
        "server": Key(SERVER, "How clients connect."),
        "principals": Key(PRINCIPALS, "Over HTTP: who gets which profile. Nobody else is served."),
        "state": Key(STATE, "Over HTTP: what replicas share."),
        "telemetry": Key(TELEMETRY, "What an operator can see."),
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
