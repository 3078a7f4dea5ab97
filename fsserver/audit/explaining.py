"""What happened in one record, in plain words, and why: the record, and what its run says around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fsserver.audit.chain import GENESIS, ChainError, unseal
from fsserver.audit.fields import members, number, objects, quoted, shown, text, words
from fsserver.audit.phrases import (
    ASKED,
    CALLS,
    CLIENT,
    COMMANDS,
    CONFINED,
    CONSENT,
    OK,
    WAS_REFUSED,
    State,
    client_words,
    command_line,
    confinement_words,
    decision,
    duration_words,
    held,
    limit_words,
    line,
    size_words,
    stamp,
)
from fsserver.audit.query import Open
from fsserver.audit.reading import Entry, Reader
from fsserver.audit.record import (
    CALL_INTENT,
    LOG_CHECKPOINT,
    RUN_END,
    RUN_START,
    Record,
)
from fsserver.errors import AuditError

MOST_ROWS: Final = 50  # paths, changes and arguments that are listed
_MOST_QUESTIONS: Final = 256  # of a run, of which the newest are kept until their call comes

Section = tuple[str, list[str]]


@dataclass(slots=True)
class Story:
    """A record and what belongs to it.

    Attributes:
        before: hash of the record before it in the file, None if it was not seen.
        signed: the first record that signs a head at or after it.
        outcome: what became of it, if it is an intent.
    """

    entry: Entry
    before: str | None
    run: dict[str, Record]
    client: Record | None
    intent: Entry | None = None
    asked: Record | None = None
    consent: Record | None = None
    outcome: Entry | None = None
    signed: Record | None = None


@dataclass(slots=True)
class _Around:
    """What the records so far say about the run and its open calls."""

    run: dict[str, Record] = field(default_factory=dict)
    clients: dict[object, Record] = field(default_factory=dict)
    intents: Open = field(default_factory=Open)
    asked: dict[object, Record] = field(default_factory=dict)
    consents: dict[object, Record] = field(default_factory=dict)

    def see(self, entry: Entry) -> Entry | None:
        """Take one record in; the intent that it ends."""
        record = entry.record
        event = record["event"]
        if event in (RUN_START, CONFINED, COMMANDS):
            self.run[event] = record
        elif event == CLIENT:
            _keep(self.clients, shown(record.get("session")), record)
        elif event == CALL_INTENT:
            self.intents.begin(entry)
        elif event == ASKED:
            _keep(self.asked, number(record, "call"), record)
        elif event == CONSENT:
            _keep(self.consents, number(record, "call"), record)
        return self.intents.end(record)


def _keep(kept: dict[object, Record], key: object, record: Record) -> None:
    kept[key] = record
    if len(kept) > _MOST_QUESTIONS:
        del kept[next(iter(kept))]


def find(path: str, seq: int) -> Story:
    """The record with this number. Raises AuditError: it is not there, or several chains may have it."""
    reader = Reader(path)
    if len(reader.chains) > 1:
        newest = ascii(reader.chains[-1])
        raise AuditError(
            f"There are {len(reader.chains)} runs here, each with its own numbers: name a file, as {newest}."
        )
    around = _Around()
    story: Story | None = None
    before: str | None = None
    last = 0
    for entry in reader.entries():
        record = entry.record
        if record["event"] == RUN_START:
            around = _Around()
        ended = around.see(entry)
        last = record["seq"]
        if story is None and last == seq:
            story = _story(entry, before, around, ended)
        elif story is not None and _completes(story, entry):
            break
        before = text(record, "hash")
    if story is None:
        raise AuditError(f"There is no record {seq} here: the last one is {last}.")
    return story


def _story(entry: Entry, before: str | None, around: _Around, intent: Entry | None) -> Story:
    record = entry.record
    story = Story(entry, before, dict(around.run), around.clients.get(shown(record.get("session"))), intent)
    if record["event"] in CALLS:
        story.consent = around.consents.get(number(record, "call"))
        if story.consent is not None:
            story.asked = around.asked.get(number(story.consent, "asked"))
    return story


def _completes(story: Story, entry: Entry) -> bool:
    """Look at a later record; whether nothing after it can add to the story."""
    record, own = entry.record, story.entry.record
    signed = number(record, "signed_seq")
    if signed is not None and signed >= own["seq"] and record["event"] in (LOG_CHECKPOINT, RUN_END):
        story.signed = record
        return True
    same = own["event"] == CALL_INTENT and story.outcome is None and record.get("call") == own.get("call")
    if same and decision(record) is not None and "path" not in record:
        story.outcome = entry
    return record["event"] == RUN_START and own["event"] == CALL_INTENT and story.outcome is None


def explain(story: Story) -> list[Section]:
    """The story as sections of lines, each line shown as `fields.shown` shows."""
    record = story.entry.record
    sections = [("", _head(story))]
    if record["event"] in CALLS:
        call = _whole(story)
        sections += [
            ("What happened", _what(story, call)),
            ("Why", _why(story, call)),
            ("What changed on the disk", _changes(call)),
            ("How it ran", _how(story, call)),
        ]
    else:
        happened = line(record)
        sections.append(("What happened", [happened.details or happened.what]))
    sections.append(("How it is held fast", _links(story)))
    return [(title, lines) for title, lines in sections if lines]


def _whole(story: Story) -> Record:
    parts = [each.record for each in (story.intent, story.entry, story.outcome) if each is not None]
    whole: Record = {}
    for part in parts:
        whole |= part
    return whole


def _head(story: Story) -> list[str]:
    entry = story.entry
    start = story.run.get(RUN_START, {})
    since = number(entry.record, "up_us")
    into = "" if since is None else f", {duration_words(since)} after its run began"
    lines = [
        f"Record {entry.record['seq']}, {shown(entry.record['event'], 40)}, in {shown(entry.file)}, line {entry.line}",
        f"{stamp(entry.record.get('time'))} UTC{into}",
    ]
    if start:
        run = f"run {shown(start.get('run'), 64)} of fsserver {shown(start.get('fsserver', '?'), 20)}"
        lines.append(f"{run} on {shown(start.get('host', '?'), 64)}")
    return lines


def _what(story: Story, call: Record) -> list[str]:
    who = client_words(story.client) if story.client else "A client"
    session = f"session {shown(call.get('session'), 64)}"
    if call.get("principal") is not None:
        session += f", for {quoted(str(call['principal']))}"
    called = shown(call.get("tool"), 100)
    if call.get("via") is not None:
        called += f" by a request {shown(call['via'], 40)}"
    lines = [f"{who} ({session}) called {called}; it is call {shown(call.get('call'), 20)}."]
    for stage in objects(call, "commands")[:MOST_ROWS]:
        where = f"{shown(stage.get('root'), 64)}/{shown(stage.get('directory'))}".rstrip("/")
        lines.append(f"Command {quoted(str(stage.get('command')))} in {where}: {command_line(stage, 1000)}")
    arguments = members(call, "arguments")
    lines += [f"  {shown(key, 60)} = {shown(value, 600)}" for key, value in list(arguments.items())[:MOST_ROWS]]
    return [*lines, _ended(story)]


def _ended(story: Story) -> str:
    record = story.entry.record if story.outcome is None else story.outcome.record
    ended = decision(record)
    if ended is None:
        waiting = {ASKED: "It stopped here: a person has to be asked before anything is changed.", CONSENT: ""}
        unknown = "What came of it is not in the log: the server was killed in it, or it is still running."
        return waiting.get(record["event"], unknown) or f"The answer was: {shown(record.get('answer'), 40)}."
    if "path" in record:
        return f"One path of the call, {shown(record['path'])}, was {ended}; the call went on."
    at = "" if record is story.entry.record else f" (record {record['seq']})"
    facts = ", ".join(_facts(record))
    if ended == OK:
        return f"It succeeded{at}" + (f": {facts}." if facts else ".")
    if ended == WAS_REFUSED:
        return f"It was refused before anything was done{at}."
    return f"It failed{at}." + (f" {facts}." if facts else "")


def _facts(record: Record) -> list[str]:
    facts = []
    for key, name in (("bytes", ""), ("stdout_bytes", " of output"), ("stderr_bytes", " of error output")):
        size = number(record, key)
        facts += [f"{size_words(size)}{name}"] if size is not None else []
    for key, name in (
        ("entries", "entries"),
        ("matches", "matches"),
        ("files", "files"),
        ("replacements", "replacements"),
    ):
        count = number(record, key)
        facts += [f"{count} {name}"] if count is not None else []
    if record.get("signal") is not None:
        facts.append(f"ended by signal {shown(record['signal'], 20)}")
    elif record.get("exit") is not None:
        facts.append(f"exit code {shown(record['exit'], 20)}")
    return facts


def _why(story: Story, call: Record) -> list[str]:
    lines = []
    if call.get("ok") is False:
        lines.append(f"Reason: {shown(call.get('reason') or call.get('error'), 600)} ({shown(call.get('error'), 40)})")
        lines.append(f"Decided by: {_rule(call.get('rule'))}")
    for each in objects(call, "paths")[:MOST_ROWS]:
        path = f"{shown(each.get('root'), 64)}/{shown(each.get('name'))}"
        lines.append(f"{shown(each.get('action'), 20)} {path}: {_rule(each.get('rule'))}")
    questions = objects(call if story.asked is None else story.asked, "questions")
    lines += [
        f"A person was asked: {shown(each.get('what'), 600)} ({_rule(each.get('rule'))})" for each in questions[:8]
    ]
    if story.consent is not None and story.entry.record["event"] != CONSENT:
        answer = f"{shown(story.consent.get('answer'), 40)} (record {story.consent['seq']})"
        lines.append(f"The answer was: {answer}. That a person gave it is the client's word.")
    start = story.run.get(RUN_START, {})
    if start.get("policy") is not None:
        digest = shown(start.get("policy_digest"), 64)
        lines.append(f"The policy of this run: {quoted(str(start['policy']))}, digest {digest}")
    return lines


def _rule(rule: object) -> str:
    return "no rule of its own: what the policy lets be done there" if rule is None else f"rule {shown(rule, 200)}"


def _changes(call: Record) -> list[str]:
    lines = []
    for change in objects(call, "changes")[:MOST_ROWS]:
        path = f"{shown(change.get('root'), 64)}/{shown(change.get('name'))}"
        moved = f" from {shown(change['from'])}" if change.get("from") is not None else ""
        lines.append(f"{shown(change.get('change'), 20)} {path}{moved}")
        lines.append(f"  before: {_state(held(change, 'before'))}")
        lines.append(f"  after:  {_state(held(change, 'after'))}")
    left = len(objects(call, "changes")) - MOST_ROWS
    if left > 0:
        lines.append(f"and {left} more in the record")
    if call.get("changes_cut") is not None:
        cut = call["changes_cut"]
        lines.append(f"The list is not complete: {f'{cut} more' if type(cut) is int else shown(cut)}")
    return lines


def _state(content: State) -> str:
    size, sha256 = content
    return size if sha256 is None else f"{size}, SHA-256 {sha256}"


def _how(story: Story, call: Record) -> list[str]:
    lines = []
    took = number(call, "duration_us")
    if took is not None:
        lines.append(f"It took {duration_words(took)}.")
    if call.get("ended_by") is not None:
        lines.append(f"The command was ended by the {limit_words(call['ended_by'])}.")
    if str(call.get("error", "")).startswith("limit."):
        lines.append(f"A limit was reached: the {limit_words(call['error'])}.")
    memory, cpu = number(call, "peak_memory_bytes"), number(call, "cpu_ms")
    if memory is not None or cpu is not None:
        used = [f"{size_words(memory)} of memory at most"] if memory is not None else []
        used += [f"{duration_words(cpu * 1000)} of processor time"] if cpu is not None else []
        lines.append(f"The command used {' and '.join(used)}.")
    if call.get("layer") is not None:
        lines.append(f"The command was confined in layer {shown(call['layer'], 20)}.")
    for event in (CONFINED, COMMANDS):
        if event in story.run:
            said = confinement_words(story.run[event])
            lines.append(f"{said[:1].upper()}{said[1:]} (record {story.run[event]['seq']}).")
    lines += [f"Protected name that was moved away: {shown(name)}" for name in words(call, "quarantined")[:MOST_ROWS]]
    return lines


def _links(story: Story) -> list[str]:
    entry = story.entry
    try:
        unseal(entry.raw)
        lines = [f"Its hash is {shown(entry.record.get('hash'), 64)}, and its bytes give that hash."]
    except ChainError as error:
        lines = [f"IT WAS CHANGED OR FORGED: this record {error.reason}."]
    previous = text(entry.record, "prev")
    if previous == GENESIS:
        lines.append("It is the first of its chain.")
    elif story.before is None:
        lines.append(
            f"It follows the record with the hash {shown(previous, 64)}, which is in a file that was not read."
        )
    elif previous == story.before:
        lines.append(f"It carries the hash of the record before it, {shown(previous, 64)}.")
    else:
        lines.append("IT DOES NOT FOLLOW the record before it: one of the two was changed, moved or forged.")
    if story.signed is not None:
        key = shown(story.signed.get("key"), 40)
        lines.append(f"The signature of key {key} in record {story.signed['seq']} covers it.")
    elif "key" in story.run.get(RUN_START, {}):
        lines.append("No signature covers it yet.")
    else:
        lines.append("This run has no key: no signature covers it.")
    lines.append("Whether the whole chain holds, and the signature is good, is what `fsserver audit verify` says.")
    return lines
