"""Records in a few plain words: what a line of `audit tail` and `audit query` says, and rows of a report. Pure.

Every text that comes out went through `fields.shown`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fsserver.audit.fields import members, number, objects, quoted, shown, text, words
from fsserver.audit.record import (
    CALL_INTENT,
    CALL_OUTCOME,
    CALL_REFUSED,
    LOG_CHECKPOINT,
    LOG_CONTINUED,
    LOG_HEALED,
    LOG_REMOVED,
    LOG_ROTATED,
    RUN_END,
    RUN_START,
    Record,
)

ASKED: Final = "call.asked"
CONSENT: Final = "call.consent"
CONFINED: Final = "run.confined"
COMMANDS: Final = "run.commands"
CLIENT: Final = "session.client"

CALLS: Final = (CALL_INTENT, CALL_OUTCOME, CALL_REFUSED, ASKED, CONSENT)
EVENTS: Final = (
    RUN_START,
    CONFINED,
    COMMANDS,
    CLIENT,
    *CALLS,
    LOG_HEALED,
    LOG_ROTATED,
    LOG_CONTINUED,
    LOG_CHECKPOINT,
    LOG_REMOVED,
    RUN_END,
)

OK: Final = "ok"
FAILED: Final = "failed"
WAS_REFUSED: Final = "refused"
DECISIONS: Final = (OK, FAILED, WAS_REFUSED)

LIMITS: Final[Mapping[str, str]] = {
    "time": "time limit",
    "cpu": "processor time limit",
    "memory": "memory limit",
    "processes": "process limit",
    "file_size": "file size limit",
    "cancelled": "cancelled",
    "limit.exceeded": "limit of the call",
    "limit.file_size": "largest file size",
    "limit.quota": "quota of the root",
    "limit.time": "time limit of the call",
}


CODES: Final[Mapping[str, str]] = {
    "denied.outside_roots": "Outside the allowed directories",
    "denied.link_escape": "A link that leads out",
    "denied.protected": "A protected name",
    "denied.principal": "Nobody whom the policy names",
    "denied.redacted": "Text that stands for a hidden secret",
    "denied.read_only": "Read only",
    "denied.operation": "Not allowed there",
    "denied.hardlink": "A file with a second name",
    "denied.special_file": "No ordinary file",
    "denied.unstable": "Changed while it was checked",
    "denied.command": "A command that is not allowed",
    "denied.consent": "Nobody consented",
    "denied.unconfined": "The command could not be confined",
    "denied.tool": "A tool that is not allowed",
    "limit.exceeded": "Over a limit",
    "limit.file_size": "Larger than a file may be",
    "limit.quota": "Over the quota of a root",
    "limit.time": "Took too long",
    "request.arguments": "Wrong arguments",
    "request.unknown_tool": "No such tool",
    "request.path": "No path that can be used",
    "request.stale": "The file changed since it was read",
    "request.no_match": "Text to be replaced not found",
    "request.ambiguous": "Text to be replaced found more than once",
    "request.encoding": "Not text in the expected encoding",
    "request.process": "No such process",
    "request.cancelled": "Cancelled by the client",
    "resource.not_found": "No such file",
    "resource.exists": "It is there already",
    "resource.not_a_directory": "No directory",
    "resource.is_a_directory": "A directory",
    "resource.not_empty": "A directory that is not empty",
    "resource.permission": "The system does not permit it",
    "resource.no_space": "The disk is full",
    "resource.program": "The program is not there",
    "resource.io": "The disk failed",
    "internal": "A fault of the server",
}
"""Errors in plain words, for those that are in the catalogue; see `fsserver.errors`."""


KINDS: Final[Mapping[str, str]] = {"directory": "a directory", "link": "a link", "other": "no ordinary file"}


class Line(NamedTuple):
    """One record as a row: ``what`` it is about (a tool or an event), what came of it, and the details."""

    what: str
    result: str
    details: str


def decision(record: Record) -> str | None:
    """How a call ended, if this record says so. A command that a limit ended did not do what was asked."""
    event = record.get("event")
    if event == CALL_REFUSED:
        return WAS_REFUSED
    if event == CALL_OUTCOME:
        return OK if record.get("ok") is True and record.get("ended_by") is None else FAILED
    return None


def line(record: Record, intent: Record | None = None) -> Line:
    """`record` as a row. ``intent``: the record in which this call said what it was about to do."""
    event = shown(record.get("event"), 40)
    if event not in CALLS:
        return Line(event, "", _happened(record))
    whole = record if intent is None else {**intent, **record}
    ended = decision(record)
    if event == ASKED:
        result, why = "asked", ""
    elif event == CONSENT:
        result, why = shown(record.get("answer"), 20), f"for call {shown(record.get('asked'), 20)}"
    elif event == CALL_INTENT:
        result, why = "begins", ""
    else:
        result, why = ended or "", came_of_it(record)
    return Line(shown(record.get("tool"), 40), result, "; ".join(part for part in (about(whole), why) if part))


def about(call: Record, most: int = 200) -> str:
    """What a call is about: its command lines, or its paths, or else its arguments."""
    stages = [command_line(stage, most) for stage in objects(call, "commands")[:8] or _asked_for(call)]
    if stages:
        return " | ".join(stages)
    one = text(call, "path")
    if one is not None:
        return shown(one, most)
    paths = [f"{shown(each.get('root'), 64)}/{shown(each.get('name'), most)}" for each in objects(call, "paths")[:2]]
    if paths:
        more = len(objects(call, "paths")) - 2
        joined = " → ".join(paths) if call.get("tool") in ("move_file", "copy_file") else ", ".join(paths)
        return f"{joined} and {more} more" if more > 0 else joined
    arguments = members(call, "arguments")
    for key in ("path", "command", "source", "uri"):
        if key in arguments:
            return shown(arguments[key], most)
    return ", ".join(f"{shown(key, 40)}={shown(value, 80)}" for key, value in list(arguments.items())[:4])


def _asked_for(call: Record) -> list[Record]:
    """Of a call that was refused before there were argument vectors: its commands, as the client named them."""
    arguments = members(call, "arguments")
    stages = objects(arguments, "stages") if "stages" in arguments else [arguments]
    return [
        {"argv": [name, *words(stage, "args")]} for stage in stages[:8] if (name := text(stage, "command")) is not None
    ]


def command_line(stage: Record, most: int = 200) -> str:
    """The argument vector as one would type it. Its words are made safe before they are quoted."""
    argv = words(stage, "argv")
    if not argv:
        return shown(stage.get("command"), most)
    first, *rest = argv[:40]
    named = [shown(first.rpartition("/")[2], 80), *(shown(word, 80) for word in rest)]
    return shown(shlex.join(named) + (" …" if len(argv) > 40 else ""), most)


def came_of_it(record: Record) -> str:
    """Why a call was refused or failed, or what it did."""
    parts = []
    if record.get("ok") is not True:
        parts.append(shown(record.get("reason") or record.get("error"), 200))
        if record.get("rule") is not None:
            parts.append(f"rule {shown(record['rule'], 100)}")
    else:
        parts += [_ending(record)] if "exit" in record else []
        size = number(record, "bytes")
        parts += [f"{size_words(size)}"] if size is not None else []
        changed = len(objects(record, "changes"))
        parts += [f"{changed} {'file' if changed == 1 else 'files'} changed"] if changed else []
    took = number(record, "duration_us")
    if took is not None:
        parts.append(duration_words(took))
    return ", ".join(parts)


def _ending(facts: Record) -> str:
    if facts.get("ended_by") is not None:
        return f"ended by the {limit_words(facts['ended_by'])}"
    if facts.get("signal") is not None:
        return f"ended by signal {shown(facts['signal'], 20)}"
    return f"exit code {shown(facts.get('exit'), 20)}"


def limit_words(name: object) -> str:
    """A limit by its name in a record."""
    return LIMITS.get(name) or shown(name, 40) if isinstance(name, str) else shown(name, 40)


def _happened(record: Record) -> str:
    """What a record says that is about no call."""
    event = record["event"]
    if event in (CONFINED, COMMANDS):
        return confinement_words(record)
    if event == LOG_HEALED:
        return healing_words(record)
    if event in (LOG_ROTATED, LOG_CONTINUED):
        return shown(record.get("next" if event == LOG_ROTATED else "previous"))
    return _told(event, record)


def _told(event: str, record: Record) -> str:
    if event == RUN_START:
        by = f"fsserver {shown(record.get('fsserver', '?'), 20)} on {shown(record.get('host', '?'), 64)}"
        return f"policy {quoted(str(record.get('policy', '?')))}, {by}, run {shown(record.get('run'), 64)}"
    if event == CLIENT:
        return f"{client_words(record)}, for {shown(record.get('principal'), 64)}"
    if event == LOG_CHECKPOINT or (event == RUN_END and "signature" in record and "missed" not in record):
        return f"signed up to record {shown(record.get('signed_seq'), 20)} by key {shown(record.get('key'), 40)}"
    if event == LOG_REMOVED:
        why = {"time": "their time was over", "size": "the logs took too much room"}.get(str(record.get("why")), "")
        return f"{len(words(record, 'files'))} files of {shown(record.get('runs'), 20)} ended runs: {why}".rstrip(": ")
    known = ("v", "seq", "prev", "hash", "time", "up_us", "event")
    return ", ".join(f"{shown(key, 40)}={shown(value, 80)}" for key, value in record.items() if key not in known)


def confinement_words(record: Record) -> str:
    """What `run.confined` or `run.commands` says."""
    if record.get("event") == COMMANDS:
        if record.get("unavailable") is not None:
            return f"no commands: {shown(record['unavailable'])}"
        return f"commands run in layer {shown(record.get('layer'), 20)}"
    gaps = ", ".join(shown(gap, 40) for gap in words(record, "not_enforced")[:12])
    layer = f"the server is confined in layer {shown(record.get('layer'), 20)}"
    return f"{layer}; not enforced: {gaps}" if gaps else layer


def client_words(record: Record) -> str:
    client = members(record, "client")
    name = shown(client.get("name", "a client without a name"), 80)
    version = f" {shown(client['version'], 40)}" if client.get("version") else ""
    protocol = f", protocol {shown(record['protocol'], 20)}" if record.get("protocol") else ""
    return f"{name}{version}{protocol}"


def healing_words(record: Record) -> str:
    """What a `log.healed` record says was wrong."""
    cut = shown(record.get("cut_bytes", 0), 20)
    if record.get("at") == "append":
        failed = shown(record.get("failed"), 20)
        return f"the log could not be written ({shown(record.get('error'), 40)}): {failed} tries failed"
    if record.get("at") == "sink":
        missing = f"; {shown(record['failed'], 20)} records are not in it" if "failed" in record else ""
        doubt = ""
        if "doubtful_seq" in record:
            doubt = f"; those from {shown(record['doubtful_seq'], 20)} on may be missing or be there twice"
        return f"this place of the log could not be reached ({shown(record.get('error'), 40)}){missing}{doubt}"
    if "named" in record:
        return f"a server was stopped between two files; {shown(record['named'])} got its name now"
    return f"a server was stopped in the middle of a record; {cut} bytes of it were removed"


class State(NamedTuple):
    """A file's contents before or after a change: how much, and its SHA-256 if it has one."""

    size: str
    sha256: str | None


def state(value: Any) -> State:
    if type(value) is not dict:
        return State("not there", None)
    size = number(value, "bytes")
    said = "of unknown size" if size is None else f"{size} bytes" if size < 10_000 else size_words(size)
    if value.get("sha256") is None:
        return State(f"{said}, not hashed" if value.get("cut") else said, None)
    return State(said, shown(value["sha256"], 64))


def held(change: Record, key: str) -> State:
    """``before`` or ``after`` of a change. A directory, or a link, has no contents and is there all the same."""
    absent = "created" if key == "before" else "deleted"
    kind = KINDS.get(text(change, "kind") or "")
    if change.get(key) is None and kind is not None and change.get("change") != absent:
        return State(kind, None)
    return state(change.get(key))


def duration_words(microseconds: int) -> str:
    if microseconds < 1000:
        return f"{microseconds} µs"
    if microseconds < 10_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < 1_000_000:
        return f"{microseconds // 1000} ms"
    if microseconds < 60_000_000:
        return f"{microseconds / 1e6:.1f} s"
    return span_words(microseconds // 1_000_000)


def span_words(seconds: int) -> str:
    """A length of time in its one or two largest units."""
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= length:
            rest = seconds % length // part
            return f"{seconds // length} {unit} {rest} {below}" if rest else f"{seconds // length} {unit}"
    return f"{seconds} s"


def size_words(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    value, unit = float(size), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - the unit at which it stopped is shown
        value /= 1024
        if value < 1024:
            break
    return f"{value:.1f} {unit}"


def stamp(value: Any, *, date: bool = True) -> str:
    """A record's time for a reader: UTC, to the second."""
    if not isinstance(value, str) or len(value) < 19:
        return shown(value, 19)
    return shown(value[:19].replace("T", " ") if date else value[11:19], 19)
