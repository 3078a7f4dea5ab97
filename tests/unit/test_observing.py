"""What an observer of calls is told, what the log says of a request's origin, and that no observer can harm a call."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsserver.audit.log import AuditLog
from fsserver.errors import AuditError
from fsserver.policy.compiled import Action, Effect
from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.tools.approval import Answer, Consent
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from fsserver.tools.observing import Observers
from tests.commands import commanded, script
from tests.gates import Served, served
from tests.trees import build, rules

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self, trace: str | None = None) -> None:
        self.trace = trace
        self.begun: list[Begun] = []
        self.seen: list[Seen] = []

    def began(self, call: Begun) -> str | None:
        self.begun.append(call)
        return self.trace

    def over(self, call: Seen) -> None:
        self.seen.append(call)

    @property
    def only(self) -> Seen:
        (seen,) = self.seen
        return seen


@contextmanager
def watched(tmp_path: Path, notes: Notes, *, can_ask: bool = False) -> Iterator[Served]:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file .env SECRET", "dir d"])
    root = rules(work, deny=["**/.env"], operations={Action.DELETE: Effect.ASK})
    with served(tmp_path, [root], can_ask=can_ask, observer=notes) as gate:
        yield gate


@pytest.mark.parametrize(
    ("tool", "arguments", "decision", "code", "rule"),
    [
        ("read_text_file", {"path": "a.txt"}, Decision.ALLOWED, None, False),
        ("write_file", {"path": "b.txt", "content": "x"}, Decision.ALLOWED, None, False),
        ("read_text_file", {"path": ".env"}, Decision.DENIED, "denied.protected", True),
        ("read_text_file", {"path": "/etc/passwd"}, Decision.DENIED, "denied.outside_roots", True),
        ("run_command", {"command": "ls"}, Decision.FAILED, "request.unknown_tool", False),
        ("read_text_file", {"path": "none"}, Decision.FAILED, "resource.not_found", False),
        ("read_text_file", {"paht": "a.txt"}, Decision.FAILED, "request.arguments", False),
    ],
    ids=["a read", "a change", "protected", "outside", "no such tool", "not there", "bad arguments"],
)
def test_every_call_is_told_at_its_beginning_and_its_end(
    tmp_path: Path, tool: str, arguments: dict[str, str], decision: Decision, code: str | None, rule: bool
) -> None:
    notes = Notes()
    with watched(tmp_path, notes) as gate:
        gate.call(tool, **arguments)
        last = gate.records()[-1]
    (begun,) = notes.begun
    seen = notes.only
    assert (begun.call, begun.tool, begun.session, begun.principal) == (1, tool, "s1", "tester")
    assert (seen.call, seen.tool, seen.session, seen.principal, seen.via) == (1, tool, "s1", "tester", None)
    assert (seen.decision, seen.code, seen.is_error) == (decision, code, code is not None)
    assert (seen.rule is not None) is rule
    assert seen.rule == last.get("rule")
    assert last["duration_us"] / 1e6 <= seen.duration_s < 10
    assert (seen.request_id, seen.trace_id, seen.again) == (None, None, False)


def test_size_of_a_result_is_that_of_its_text_in_utf8(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes) as gate:
        (gate.top / "a.txt").write_text("äé")
        assert gate.text("read_text_file", path="a.txt") == "äé"
    assert notes.only.result_bytes == 4


def test_limit_that_is_reached_is_no_denial(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes) as gate:
        (gate.top / "a.txt").write_text("x" * 1_000_000)
        gate.read(f"file://{gate.top}/a.txt")
    assert (notes.only.decision, notes.only.code) == (Decision.LIMITED, "limit.file_size")


def test_question_is_told_and_the_call_after_the_answer_is_another(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes, can_ask=True) as gate:
        needed = gate.needed("delete_file", path="a.txt")
        gate.answered(Consent.to(needed, Answer.DECLINED), "delete_file", path="a.txt")
        gate.answered(Consent.to(needed, Answer.ACCEPTED), "delete_file", path="a.txt")
    asked, declined, accepted = notes.seen
    assert (asked.call, asked.decision, asked.is_error, asked.again) == (1, Decision.ASKED, False, False)
    assert (declined.call, declined.decision, declined.code) == (2, Decision.DENIED, "denied.consent")
    assert (accepted.call, accepted.decision, accepted.code) == (3, Decision.ALLOWED, None)


def test_call_that_is_made_again_where_a_person_can_be_asked_is_told_as_such(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes, can_ask=True) as gate:
        gate.gate.call(gate.session, "delete_file", {"path": "a.txt"}, Control(), asks=False)
        assert gate.records() == []
    assert notes.only.again


def test_request_that_is_no_tool_call_is_told_with_its_method_and_what_serves_it(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes) as gate:
        gate.read(f"file://{gate.top}/d")
    assert [begun.via for begun in notes.begun] == ["resources/read"]
    assert (notes.only.via, notes.only.tool) == ("resources/read", "list_directory")


def test_command_that_a_limit_ended_was_allowed_and_is_an_error(tmp_path: Path) -> None:
    notes = Notes()
    (tmp_path / "work").mkdir()
    with commanded(
        tmp_path, [script("sleeping", "sleep 60"), script("failing", "exit 3")], [rules(tmp_path / "work")]
    ) as made:
        gate = Gate(registry=made.gate._registry, policy=made.gate._policy, audit=made.log, observer=notes)
        for name in ("sleeping", "failing"):
            gate.call(made.session, "run_command", {"command": name, "timeout": 0.1}, Control())
    ended, failed = notes.seen
    assert (ended.decision, ended.code, ended.is_error) == (Decision.ALLOWED, "command.time", True)
    assert (failed.decision, failed.code, failed.is_error) == (Decision.ALLOWED, None, False)


def test_call_that_the_log_does_not_take_is_told_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise AuditError("The audit log cannot be written.")

    notes = Notes()
    with watched(tmp_path, notes) as gate, monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append", full)
        gate.call("read_text_file", path="a.txt")
    assert (notes.only.decision, notes.only.code) == (Decision.FAILED, "audit.append")


# --- where a request comes from


def test_every_record_of_a_call_has_its_request_and_its_trace(tmp_path: Path) -> None:
    notes = Notes()
    with watched(tmp_path, notes) as gate:
        gate.call("write_file", Control(request_id="4f2a", trace=PARENT), path="b.txt", content="x")
        gate.call("read_text_file", Control(request_id="4f2b"), path=".env")
        gate.call("read_text_file", path="a.txt")
        intent, outcome, refused, plain = gate.records()
    for record in (intent, outcome):
        assert (record["request"], record["trace"]) == ("4f2a", TRACE)
    assert refused["request"] == "4f2b"
    assert "trace" not in refused
    assert plain.keys().isdisjoint({"request", "trace"})
    assert [(begun.request_id, begun.traceparent) for begun in notes.begun] == [
        ("4f2a", PARENT),
        ("4f2b", None),
        (None, None),
    ]
    assert [seen.trace_id for seen in notes.seen] == [TRACE, None, None]


def test_trace_that_an_observer_begins_is_in_the_log(tmp_path: Path) -> None:
    notes = Notes(trace="c" * 32)
    with watched(tmp_path, notes) as gate:
        gate.call("read_text_file", path="a.txt")
        (record,) = gate.records()
    assert record["trace"] == notes.only.trace_id == "c" * 32


# --- observers


def test_several_observers_are_told_alike_and_the_first_trace_counts(tmp_path: Path) -> None:
    each = [Notes(), Notes(trace="a" * 32), Notes(trace="b" * 32)]
    both = Observers(each)
    begun = Begun(1, "read_text_file", None, "s", "p", None, None)
    assert both.began(begun) == "a" * 32
    assert [notes.begun for notes in each] == [[begun]] * 3
    assert Observers([]).began(begun) is None


class Broken:
    def began(self, call: Begun) -> str | None:
        raise RuntimeError("began")

    def over(self, call: Seen) -> None:
        raise RuntimeError("over")


def test_observer_that_raises_harms_no_call_and_is_told_to_the_operator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "work").mkdir()
    build(tmp_path / "work", ["file a.txt one"])
    with served(tmp_path, [rules(tmp_path / "work")], observer=Broken()) as gate, caplog.at_level(logging.ERROR):
        assert gate.text("read_text_file", path="a.txt") == "one"
    said = [record.message for record in caplog.records]
    assert said == ["the beginning of call 1 was not observed", "the end of call 1 was not observed"]
