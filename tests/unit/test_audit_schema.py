"""The schema of audit records: strict, true of what is written, and the same as the catalogue in the manual."""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fsserver.audit.log import AuditLog
from fsserver.audit.record import RESERVED, Json
from fsserver.errors import AuditError, StaleWrite
from fsserver.paths import writing
from fsserver.policy.compiled import Action, ArgumentForm, AuditRules, Effect, PathAccess, PathValue, Positional
from fsserver.policy.toolnames import TOOL_NAMES
from fsserver.sandbox.profile import Enforcement
from fsserver.tools.approval import Answer, Consent
from fsserver.tools.control import Control
from fsserver.tools.files import write
from fsserver.tools.session import Client
from tests.audit_schema import EVENTS, SCHEMA, misfits, require_fit
from tests.commands import Commanded, commanded, script
from tests.support import REPOSITORY, in_child
from tests.trees import build, rules

MANUAL = (REPOSITORY / "docs/audit.md").read_text()
HASH = "0123456789abcdef" * 4
SEALED = {"v": 1, "seq": 7, "time": "2026-11-23T16:42:29.042232Z", "up_us": 153, "prev": "0" * 64, "hash": HASH}
SIGNED = {"signed_seq": 6, "signed_head": HASH, "key": "0123456789abcdef", "signature": "c2lnbmVk" * 11}
HEADER: dict[str, Json] = {
    "fsserver": "1",
    "policy": "ci",
    "policy_digest": HASH,
    "host": "h",
    "kernel": "6.18",
    "uid": 0,
}
WHO: dict[str, Any] = {"call": 1, "tool": "write_file", "session": "s", "principal": "p"}


def parts() -> dict[str, Any]:
    """Definitions with fields, events and what is in them."""
    return {name: schema for name, schema in SCHEMA["$defs"].items() if "properties" in schema}


# --- the schema itself


def test_it_is_a_schema_of_version_1_that_names_no_address() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "urn:fsserver:audit-record:1"
    assert SCHEMA["$defs"]["v"] == {"const": 1}
    assert re.findall(r"https?://[^\"]*", json.dumps(SCHEMA)) == [SCHEMA["$schema"]]


def test_it_is_strict_in_every_part() -> None:
    assert set(EVENTS) <= parts().keys()
    for name, schema in parts().items():
        assert schema["additionalProperties"] is False, name
        assert set(schema["required"]) <= schema["properties"].keys(), name
    for event in EVENTS:
        assert schema_of(event)["event"] == {"const": event}
        assert set(SCHEMA["$defs"][event]["required"]) >= RESERVED


def schema_of(event: str) -> dict[str, Any]:
    properties: dict[str, Any] = SCHEMA["$defs"][event]["properties"]
    return properties


def test_the_whole_schema_and_the_tests_look_at_a_record_alike() -> None:
    whole = Draft202012Validator(SCHEMA)
    for record in (*GOOD.values(), *BAD.values()):
        assert whole.is_valid(record) is not bool(misfits(record)), record


# --- the manual


def catalogue() -> Iterator[tuple[str, dict[str, tuple[bool, str]]]]:
    """Each heading of the manual's section on fields, and its table: whether a field is optional, and its meaning."""
    section = MANUAL.partition("\n## Fields\n")[2].partition("\n## ")[0] + "\n"
    for heading, text in re.findall(r"^### (.+)\n((?:(?!### ).*\n)*)", section, re.MULTILINE):
        rows = re.findall(r"^\| `(\w+)`(\??) \| .+? \| (.+) \|$", text, re.MULTILINE)
        yield heading.strip("`"), {field: (bool(optional), plain(meaning)) for field, optional, meaning in rows}


def plain(text: str) -> str:
    return text.replace("`", "")


def test_the_manual_and_the_schema_have_the_same_events_and_fields_and_say_the_same_of_them() -> None:
    manual = dict(catalogue())
    described = {schema["description"]: name for name, schema in parts().items()}
    assert {described.get(heading, heading) for heading in manual} == parts().keys()
    for heading, rows in manual.items():
        schema = SCHEMA["$defs"][described.get(heading, heading)]
        fields = {
            field: (field not in schema["required"], value["description"])
            for field, value in schema["properties"].items()
            if field not in (RESERVED if heading in EVENTS else ())
        }
        assert rows == fields, heading


def test_every_event_is_in_the_manuals_list() -> None:
    listed = set(re.findall(r"^\| `((?:run|session|call|log)\.\w+)` \|", MANUAL, re.MULTILINE))
    assert listed == set(EVENTS)


# --- records by hand


def record(event: str, **fields: Any) -> dict[str, Any]:
    return {**SEALED, "event": event, **fields}


GOOD = {
    "a signed run": record(
        "run.start",
        run="r",
        pid=1,
        **HEADER,
        durability="effect",
        key=SIGNED["key"],
        public_key="cHVibGlj",
        previous={"file": "a.jsonl", "head": HASH},
    ),
    "a checkpoint": record("log.checkpoint", **SIGNED),
    "files removed": record("log.removed", files=["a.jsonl", "a.0002.jsonl"], runs=1, why="time"),
    "an end": record("run.end"),
    "a signed end with a place that missed records": record("run.end", **SIGNED, missed={"/var/log/fsserver": 3}),
    "a client": record(
        "session.client",
        session="s",
        principal="p",
        client={"name": "n", "version": "1"},
        protocol="2025-11-25",
        transport="stdio",
    ),
    "arguments of any form": record("call.intent", **WHO, arguments={"any": [{"thing": None}]}, paths=[]),
    "a failure of one path": record(
        "call.outcome", **WHO, ok=False, error="resource.not_found", rule=None, path="none"
    ),
}
CHANGE = {"root": "work", "name": "a", "change": "created", "before": None, "after": None}


def changed(**fields: Any) -> dict[str, Any]:
    return record("call.outcome", call=1, tool="t", session="s", ok=True, changes=[{**CHANGE, **fields}])


BAD = {
    "an unknown event": record("call.made", **WHO),
    "an unknown field": record("run.end", note="x"),
    "another version": {**record("run.end"), "v": 2},
    "no hash": {key: value for key, value in record("run.end").items() if key != "hash"},
    "a short hash": {**record("run.end"), "hash": "ab"},
    "a local time": {**record("run.end"), "time": "2026-11-23T16:42:29.042232+01:00"},
    "half a signature": record("run.end", signature=SIGNED["signature"]),
    "a checkpoint without its key": record("log.checkpoint", **{**SIGNED, "key": None}),
    "nothing removed": record("log.removed", files=[], runs=1, why="time"),
    "a failure without its error": record("call.outcome", **WHO, ok=False),
    "a success with an error": record("call.outcome", **WHO, ok=True, error="internal", rule=None),
    "a call by an unknown method": record("call.outcome", **WHO, ok=True, via="prompts/get"),
    "a refusal that succeeded": record("call.refused", **WHO, ok=True, error="denied.rule", rule=None),
    "a change of an unknown kind": changed(change="touched"),
    "contents with neither hash nor cut": changed(after={"bytes": 1}),
    "contents with both": changed(after={"bytes": 1, "sha256": HASH, "cut": True}),
    "an empty cut": record("call.outcome", **WHO, ok=True, changes=[], changes_cut=0),
}


@pytest.mark.parametrize("one", GOOD.values(), ids=GOOD.keys())
def test_a_record_fits(one: Mapping[str, Any]) -> None:
    assert misfits(one) == []


@pytest.mark.parametrize("one", BAD.values(), ids=BAD.keys())
def test_a_record_does_not_fit(one: Mapping[str, Any]) -> None:
    assert misfits(one)


# --- records as they are written

SLOW = r"(?:\b\w{1,9}\b.?){5}\d|x"  # where a word ends, ripgrep takes its slow way
SHELL = script("shell", 'eval "$1"')
ASKING = script("asking", "true", effect=Effect.ASK)
EXISTING = Positional(PathValue("work", PathAccess.READ, must_exist=True), 1, 1)
SHOWING = script("showing", 'cat "$1"', arguments=ArgumentForm({}, (EXISTING,)))


def every_kind_of_call(gate: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tool once at least, done, failed and refused; a question with each of two answers."""
    call = gate.call
    for tool in ("read_file", "read_text_file", "get_file_info", "read_media_file"):
        call(tool, path="a.txt")
    call("read_multiple_files", paths=["a.txt", "none", ".env"])
    for tool in ("list_directory", "list_directory_with_sizes", "directory_tree"):
        call(tool, path=".")
    call("search_files", path=".", pattern="*.txt")
    call("search_content", path=".", pattern="one|two")
    (gate.top / "slow").write_text(("ä" * 15 + "b\n") * (1 << 18))
    gate.call("search_content", Control(deadline=time.monotonic() + 0.1), path="slow", pattern=SLOW)
    (gate.top / "slow").unlink()
    call("list_allowed_directories")
    call("describe_policy")
    call("write_file", path="n", content="x")
    call("edit_file", path="n", edits=[{"oldText": "x", "newText": "y"}])
    call("create_directory", path="e/f")
    call("copy_file", source="n", destination="m")
    call("move_file", source="m", destination="e/m")
    call("read_text_file", path="/etc/passwd")
    call("read_text_file", path=".env")
    call("read_text_file", path="none")
    call("write_file", contents="SECRET")
    call("no_such_tool", path="a.txt")
    append_again(gate, monkeypatch)
    gate.read(f"file://{gate.top}/a.txt")
    gate.read("file:///etc/passwd")

    deleting = {"path": "e", "recursive": True}
    for answer in (Answer.DECLINED, Answer.ACCEPTED):
        gate.answered(Consent.to(gate.needed("delete_file", **deleting), answer), "delete_file", **deleting)
    gate.answered(
        Consent.to(gate.needed("run_command", command="asking"), Answer.ACCEPTED), "run_command", command="asking"
    )
    gate.answered(Consent(Answer.UNKNOWN_STATE), "delete_file", **deleting)

    gate.runner.quarantined, gate.runner.not_moved = ("work/.env",), tuple(f"work/{'n' * 4000}{i}" for i in range(4))
    call("run_command", command="shell", args=["printf x > c; ln -s c l; rm a.txt; mv n o; exit 3"])
    call("run_command", command="shell", args=["sleep 60"], timeout=0.2)
    call("run_command", command="showing", args=["none"])
    call("run_command", command="none")
    call("run_command", command="shell", timeout=10_000)
    call("run_pipeline", stages=[{"command": "shell", "args": [text]} for text in ("echo x", "cat")])
    handle = gate.structured("start_process", command="shell", args=["cat"])["handle"]
    call("write_process", handle=handle, input="x")
    call("read_process", handle=handle)
    call("list_processes")
    call("stop_process", handle=handle)
    call("stop_process", handle="none")


def append_again(gate: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that another program is faster than, once and then always."""
    real = writing.write_file

    def once(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(write, "write_file", real)
        (gate.top / "n").write_text("theirs")
        return real(*given, **more)

    monkeypatch.setattr(write, "write_file", once)
    gate.call("write_file", path="n", content="+", mode="append")

    def never(*_: Any, **__: Any) -> None:
        raise StaleWrite("changed")

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_file", never)
        gate.call("write_file", path="n", content="+", mode="append")


def test_whatever_a_call_leaves_in_the_log_fits_and_nothing_in_the_schema_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    build(tmp_path / "work", ["file a.txt one", "file .env SECRET", "file b.txt two"])
    root = rules(tmp_path / "work", deny=["**/.env"], operations={Action.DELETE: Effect.ASK})
    with ExitStack() as stack:
        gate = stack.enter_context(commanded(tmp_path, [SHELL, ASKING, SHOWING], [root], can_ask=True, changes=True))
        gate.session.client = Client("pytest", "9")
        gate.control = partial(Control, request_id="0f3a", trace=f"00-{'a1' * 16}-{'b2' * 8}-01")
        every_kind_of_call(gate, monkeypatch)
        records = [json.loads(line) for line in Path(gate.log.path).read_text().splitlines()][1:]
    assert [problem for each in records for problem in misfits(each)] == []
    assert {each["tool"] for each in records if "tool" in each} >= set(TOOL_NAMES)
    for event in {each["event"] for each in records}:
        written = {field for each in records if each["event"] == event for field in each}
        assert written == schema_of(event).keys(), event
    assert {event for event in EVENTS if event.startswith(("call.", "session."))} <= {each["event"] for each in records}
    kinds = [each for one in records for each in one.get("changes", ())]
    assert {field for each in kinds for field in each} == parts()["change"]["properties"].keys() - {"from_root"}


def test_whatever_the_log_writes_of_itself_fits(tmp_path: Path) -> None:
    """Rotation, a killed server's torn end, and a disk that was full for a while."""

    def act() -> set[str]:
        log = open_log(tmp_path)
        log.append("run.confined", Enforcement(7, seccomp=True, no_new_privs=True, dumpable=False, gaps=()).as_record())
        log.append("run.commands", {"layer": "full", "unavailable": None})
        intent: dict[str, Json] = {**WHO, "arguments": {"text": "x" * 600}, "paths": []}
        for _ in range(8):
            log.append("call.intent", intent)
        full_for_a_while(log, intent)
        log.close()
        last = max(tmp_path.glob("*.jsonl"), key=lambda file: (len(file.name), file.name))
        with open(last, "ab") as torn:
            torn.write(b'{"call":')
        open_log(tmp_path).close()
        files = sorted(tmp_path.glob("*.jsonl"))
        for file in files:
            require_fit(file)
        return {json.loads(line)["event"] for file in files for line in file.read_text().splitlines()}

    tmp_path.chmod(0o700)
    assert in_child(act) >= {event for event in EVENTS if event.startswith(("run.", "log."))} - {
        "log.checkpoint",
        "log.removed",
    }


def open_log(directory: Path) -> AuditLog:
    return AuditLog.open(
        AuditRules(directory=None, file=str(directory / "a.jsonl"), max_size=4096), run_id="r", header=HEADER
    )


def full_for_a_while(log: AuditLog, fields: Mapping[str, Json]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))  # write(2) of more fails with EFBIG
    try:
        with pytest.raises(AuditError):
            log.append("call.intent", fields)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append("call.intent", fields)
