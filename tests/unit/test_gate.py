"""The gate: the order of its steps, what is recorded, and that nothing else reaches a tool or leaves one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.verify import Status, verify
from fsserver.errors import AuditError
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action, Effect, Limits, Mode, Origin
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.catalog import file_tools
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from fsserver.tools.registry import READS, Annotations, Registry, Tool
from fsserver.tools.result import ToolResult, text_result
from tests.gates import Served, served, texts
from tests.trees import ORIGIN, build, rules


@pytest.fixture
def top(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file .env SECRET", "file d/b.txt two", "link out -> /etc"])
    return work


@pytest.fixture
def gate(tmp_path: Path, top: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(top, deny=["**/.env"], read_only=["frozen/**"])]) as running:
        yield running


class OnePath(Arguments):
    path: str


def with_tool(gate: Served, body: Any, **more: Any) -> Served:
    """The same gate with one more tool, called ``probe``."""
    tool: Tool[OnePath] = Tool(
        name="probe",
        title="Probe",
        description="For tests.",
        arguments=OnePath,
        annotations=READS,
        call_class=CallClass.READ,
        needs=frozenset({Action.READ}),
        paths={"path": Access.READ},
        body=body,
        **more,
    )
    registry = Registry((*file_tools().tools, tool))
    policy = gate.gate._policy
    return replace(gate, gate=Gate(registry=registry, policy=policy, audit=gate.log))


LATER = Origin("policy.yaml", 12)


@pytest.mark.parametrize(
    ("roots", "reason", "rule"),
    [
        ([{"operations": {Action.DELETE: Effect.ASK}}], 'delete in the root "r0" needs a person\'s consent', LATER),
        ([{"operations": {Action.DELETE: Effect.DENY}}], 'delete is not allowed in the root "r0"', LATER),
        ([{"mode": Mode.RO}], 'the root "r0" is read-only', ORIGIN),
        ([{"mode": Mode.RO}, {"operations": {Action.DELETE: Effect.ASK}}], "needs a person's consent", LATER),
    ],
    ids=["ask", "deny", "read-only", "read-only and ask"],
)
def test_tool_that_no_root_grants_is_refused_with_the_line_that_says_so(
    roots: list[dict[str, Any]], reason: str, rule: Origin, tmp_path: Path
) -> None:
    made = []
    for number, more in enumerate(roots):
        (tmp_path / f"r{number}").mkdir()
        root = rules(tmp_path / f"r{number}", name=f"r{number}", **more)
        made.append(
            replace(root, operations={action: (effect, LATER) for action, (effect, _) in root.operations.items()})
        )
    with served(tmp_path, made) as running:
        error = running.error("delete_file", path="x")
    assert reason in error["message"]
    assert error["code"] == "denied.tool"
    assert error["rule"] == str(rule)


@pytest.mark.claim("C6")
def test_effect_has_an_intent_before_and_an_outcome_after(gate: Served) -> None:
    gate.text("write_file", path="a.txt", content="new")
    intent, outcome = gate.records()
    assert (intent["event"], outcome["event"]) == ("call.intent", "call.outcome")
    assert intent["call"] == outcome["call"]
    assert intent["tool"] == "write_file"
    assert intent["principal"] == "tester"
    assert intent["arguments"] == {
        "path": "a.txt",
        "content": {"bytes": 3, "sha256": outcome["sha256"]},
    }
    (path,) = intent["paths"]
    assert (path["root"], path["name"], path["action"], path["parameter"]) == ("work", "a.txt", "overwrite", "path")
    assert path["file"].count(":") == 1
    assert outcome["ok"] is True
    assert outcome["bytes"] == 3
    assert outcome["duration_us"] >= 0


def test_read_has_an_outcome_only(gate: Served) -> None:
    gate.text("read_text_file", path="a.txt")
    (outcome,) = gate.records()
    assert outcome["event"] == "call.outcome"
    assert outcome["paths"][0]["name"] == "a.txt"
    assert outcome["arguments"] == {"path": "a.txt"}


def test_dry_run_is_not_an_effect(gate: Served) -> None:
    gate.text("edit_file", path="a.txt", edits=[{"oldText": "one", "newText": "1"}], dryRun=True)
    assert [record["event"] for record in gate.records()] == ["call.outcome"]
    assert (gate.top / "a.txt").read_text() == "one"


@pytest.mark.parametrize(
    ("name", "arguments", "code", "event"),
    [
        ("read_text_file", {"path": "/etc/passwd"}, "denied.outside_roots", "call.refused"),
        ("read_text_file", {"path": "out/passwd"}, "denied.link_escape", "call.refused"),
        ("read_text_file", {"path": ".env"}, "denied.protected", "call.refused"),
        ("write_file", {"path": "frozen/x", "content": "x"}, "denied.read_only", "call.refused"),
        ("write_file", {"path": "none/x", "content": "x"}, "resource.not_found", "call.outcome"),
        ("create_directory", {"path": "frozen/x"}, "denied.read_only", "call.refused"),
        ("read_text_file", {"path": "a.txt", "haed": 1}, "request.arguments", "call.refused"),
        ("read_text_file", {"path": "none"}, "resource.not_found", "call.outcome"),
        ("no_such_tool", {"path": "a.txt"}, "request.unknown_tool", "call.refused"),
        (
            "edit_file",
            {"path": "a.txt", "edits": [{"oldText": "zz", "newText": ""}]},
            "request.no_match",
            "call.refused",
        ),
        ("write_file", {"path": "a.txt", "content": "", "expectedSha256": "0" * 64}, "request.stale", "call.refused"),
    ],
)
def test_call_that_is_not_carried_out_has_one_record_and_no_intent(
    gate: Served, name: str, arguments: dict[str, Any], code: str, event: str
) -> None:
    assert gate.error(name, **arguments)["code"] == code
    (record,) = gate.records()
    assert (record["event"], record["error"], record["ok"]) == (event, code, False)


def test_refusal_names_the_rule_on_the_wire_and_in_the_log(gate: Served) -> None:
    error = gate.error("read_text_file", path=".env")
    assert error["rule"] == "policy.yaml:7"
    assert error["transient"] is False
    assert "rule: policy.yaml:7" in texts(gate.call("read_text_file", path=".env"))[0]
    assert gate.records()[0]["rule"] == "policy.yaml:7"


def test_contents_never_reach_the_log(gate: Served) -> None:
    (gate.top / "a.txt").write_text("TOPSECRET here")
    gate.call("read_text_file", path="a.txt")
    gate.call("write_file", path="b.txt", content="TOPSECRET")
    gate.call("edit_file", path="a.txt", edits=[{"oldText": "TOPSECRET her", "newText": "TOPSECRET x"}])
    gate.call("edit_file", path="a.txt", edits=[{"oldText": "TOPSECRET nowhere", "newText": "x"}])
    gate.call("write_fiel", path="a.txt", content="TOPSECRET")
    assert len(gate.records()) >= 6
    assert "TOPSECRET" not in Path(gate.log.path).read_text()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        pytest.param("write_file", {"path": "a.txt", "contents": "TOPSECRET"}, id="misnamed"),
        pytest.param("write_file", {"path": "a.txt", "content": ["TOPSECRET"]}, id="a_list"),
        pytest.param("write_file", {"path": "a.txt", "content": {"text": "TOPSECRET"}}, id="an_object"),
        pytest.param("edit_file", {"path": "a.txt", "edits": '[{"oldText": "TOPSECRET"}]'}, id="json_in_a_string"),
        pytest.param("edit_file", {"path": "a.txt", "edits": [{"old_text": "TOPSECRET"}]}, id="misnamed_below"),
        pytest.param("put_file", {"path": "a.txt", "body": "TOPSECRET"}, id="unknown_tool"),
    ],
)
def test_contents_in_a_wrong_form_are_not_in_the_log_and_the_path_is(
    tool: str, arguments: dict[str, Any], gate: Served
) -> None:
    gate.error(tool, **arguments)
    (refused,) = gate.records()
    assert refused["event"] == "call.refused"
    assert refused["arguments"]["path"] == "a.txt"
    assert "TOPSECRET" not in Path(gate.log.path).read_text()


def test_unknown_tool_reads_as_the_references(gate: Served) -> None:
    result = gate.call("nope")
    assert texts(result) == ["MCP error -32602: Tool nope not found"]
    assert len(texts(gate.call("x" * 10_000))[0]) < 200


def test_read_only_policy_lists_and_answers_no_tool_that_changes(tmp_path: Path, top: Path) -> None:
    with served(tmp_path, [rules(top, mode=Mode.RO)]) as gate:
        offered = {tool.name for tool in gate.gate.tools(gate.session)}
        assert offered >= {"read_text_file", "list_directory", "search_files", "list_allowed_directories"}
        assert all(tool.annotations.read_only for tool in gate.gate.tools(gate.session))
        error = gate.error("write_file", path="a.txt", content="x")
        assert error["code"] == "denied.tool"
        assert "read_text_file" in error["allowedInstead"]
        assert error["rule"] == "policy.yaml:7"
    assert (top / "a.txt").read_text() == "one"


def test_tool_is_listed_if_some_root_grants_it(tmp_path: Path, top: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    no_delete = rules(other, name="other", operations={Action.DELETE: Effect.DENY, Action.MOVE: Effect.ASK})
    with served(tmp_path, [rules(top, mode=Mode.RO), no_delete]) as gate:
        offered = {tool.name for tool in gate.gate.tools(gate.session)}
        assert "write_file" in offered
        assert not offered & {"delete_file", "move_file", "read_file"}


def test_policys_tools_are_all_there_are(tmp_path: Path, top: Path) -> None:
    with served(tmp_path, [rules(top)], tools=frozenset({"read_text_file", "write_file"})) as gate:
        assert [tool.name for tool in gate.gate.tools(gate.session)] == ["read_text_file", "write_file"]
        assert gate.error("list_directory", path=".")["code"] == "denied.tool"


def test_deprecated_alias_is_answered_and_not_listed(gate: Served) -> None:
    assert gate.text("read_file", path="a.txt") == "one"
    assert "read_file" not in {tool.name for tool in gate.gate.tools(gate.session)}


def test_bug_in_a_tool_tells_the_client_a_number_and_the_log_the_trace(
    gate: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: Call[OnePath]) -> ToolResult:
        raise RuntimeError("/secret/place")

    gate = with_tool(gate, broken)
    with caplog.at_level(logging.ERROR):
        error = gate.error("probe", path="a.txt")
    assert error["code"] == "internal"
    assert "secret" not in str(error)
    assert f"call {gate.records()[-1]['call']}" in error["message"]
    assert "/secret/place" in caplog.text
    assert gate.records()[-1]["error"] == "internal"


def test_os_error_from_a_body_is_a_bug_and_never_shown(gate: Served) -> None:
    def broken(call: Call[OnePath]) -> ToolResult:
        raise OSError(5, "detail", "/host/path")

    assert "host" not in str(with_tool(gate, broken).call("probe", path="a.txt"))


class FailingLog:
    """A log that refuses records after the first so many."""

    def __init__(self, good: int) -> None:
        self.good = good
        self.events: list[str] = []

    def append(self, event: str, fields: dict[str, Any], *, durable: bool = False) -> int:
        if len(self.events) >= self.good:
            raise AuditError("The audit log cannot be written.")
        self.events.append(event)
        return len(self.events)


def with_log(gate: Served, log: FailingLog) -> Served:
    policy = gate.gate._policy
    return replace(gate, gate=Gate(registry=file_tools(), policy=policy, audit=cast("AuditLog", log)))


class RecoveringLog(FailingLog):
    """A log that refuses its first record and takes the rest."""

    def append(self, event: str, fields: dict[str, Any], *, durable: bool = False) -> int:
        self.good += 1
        if self.good == 1:
            raise AuditError("The audit log cannot be written.")
        return super().append(event, fields, durable=durable)


def test_refusal_in_a_list_that_cannot_be_recorded_ends_the_call(gate: Served) -> None:
    gate = with_log(gate, RecoveringLog(0))
    assert gate.error("read_multiple_files", paths=["/etc/passwd", "a.txt"])["code"] == "audit.append"


@pytest.mark.claim("C6")
def test_no_intent_no_effect(gate: Served) -> None:
    gate = with_log(gate, FailingLog(0))
    assert gate.error("write_file", path="new.txt", content="x")["code"] == "audit.append"
    assert gate.error("delete_file", path="a.txt")["code"] == "audit.append"
    assert not (gate.top / "new.txt").exists()
    assert (gate.top / "a.txt").exists()


def test_no_outcome_no_result(gate: Served) -> None:
    result = with_log(gate, FailingLog(0)).call("read_text_file", path="a.txt")
    assert result.is_error
    assert "one" not in texts(result)[0]
    error = with_log(gate, FailingLog(1)).error("write_file", path="a.txt", content="new")
    assert error["code"] == "audit.append"
    assert "may be in place" in error["message"]


def test_refusal_that_cannot_be_recorded_is_an_audit_error(gate: Served) -> None:
    assert with_log(gate, FailingLog(0)).error("read_text_file", path="/etc/passwd")["code"] == "audit.append"


def test_cancelled_and_late_calls_have_no_effect(gate: Served) -> None:
    control = Control()
    control.cancelled.set()
    result = gate.call("write_file", control, path="new.txt", content="x")
    assert result.structured is not None
    assert result.structured["error"]["code"] == "request.cancelled"
    late = gate.call("write_file", Control(deadline=time.monotonic() - 1), path="new.txt", content="x")
    assert late.structured is not None
    assert late.structured["error"]["code"] == "limit.time"
    assert not (gate.top / "new.txt").exists()
    assert all(record["event"] == "call.refused" for record in gate.records())


def test_check_that_refuses_leaves_no_intent(gate: Served) -> None:
    def check(call: Call[OnePath]) -> None:
        raise AuditError("no")

    def body(call: Call[OnePath]) -> ToolResult:
        raise AssertionError("ran")

    gate = with_tool(gate, body, check=check, effect=lambda arguments: True)
    assert gate.error("probe", path="a.txt")["code"] == "audit.append"
    assert gate.records() == []


def test_every_descriptor_is_given_back(gate: Served) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(20):
        gate.call("read_text_file", path="a.txt")
        gate.call("read_text_file", path=".env")
        gate.call("write_file", path="a.txt", content="x")
        gate.call("copy_file", source="a.txt", destination="/outside")
        gate.call("read_multiple_files", paths=["a.txt", ".env", "none", "d"])
        gate.call("directory_tree", path=".")
        gate.call("search_files", path=".", pattern="**", maxResults=1)
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


def test_text_of_any_tool_is_bounded_even_if_it_forgets(tmp_path: Path, top: Path) -> None:
    def talkative(call: Call[OnePath]) -> ToolResult:
        return text_result("x" * 5000, "y" * 5000)

    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=4096)) as gate:
        result = with_tool(gate, talkative).call("probe", path="a.txt")
        assert sum(len(text.encode()) for text in texts(result)) <= 4096 + 100
        assert "limits.result" in texts(result)[0]


def test_one_path_of_a_list_is_refused_and_recorded_alone(gate: Served) -> None:
    text = gate.text("read_multiple_files", paths=["a.txt", ".env", "/etc/passwd", "d/b.txt"])
    assert text.startswith("a.txt:\none\n\n---\n.env: Error - Access denied")
    assert text.endswith("d/b.txt:\ntwo\n")
    refused = [record for record in gate.records() if record["event"] == "call.refused"]
    assert [(record["path"], record["error"]) for record in refused] == [
        (".env", "denied.protected"),
        ("/etc/passwd", "denied.outside_roots"),
    ]
    (outcome,) = [record for record in gate.records() if record["event"] == "call.outcome"]
    assert [path["name"] for path in outcome["paths"]] == ["a.txt", "d/b.txt"]


@pytest.mark.parametrize("path", ["d/b.txt", "old/.env"])
def test_list_is_withheld_if_its_root_was_moved_meanwhile(tmp_path: Path, top: Path, path: str) -> None:
    build(top, ["link old -> ."])

    def move(done: float, whole: float | None, message: str | None) -> None:
        """Into a directory of its own name, where the kernel calls ``.env`` what the client asked for."""
        if done == 1:
            top.rename(tmp_path / "aside")
            top.mkdir()
            (tmp_path / "aside").rename(top / "old")

    with served(tmp_path, [rules(top, deny=["/.env"])]) as gate:
        result = gate.call("read_multiple_files", Control(progress=move), paths=["a.txt", path])
        assert result.is_error
        assert "SECRET" not in str(result)
        assert result.structured is not None
        assert result.structured["error"]["code"] == "denied.unstable"
        assert gate.records()[-1]["error"] == "denied.unstable"
        assert gate.text("read_multiple_files", paths=["a.txt", "old/.env"]).startswith("a.txt:\none\n")


@pytest.mark.parametrize("name", ["none", ".env", "/etc/passwd"])
def test_failures_of_a_list_repeat_neither_its_arguments_nor_its_other_paths(gate: Served, name: str) -> None:
    before = Path(gate.log.path).stat().st_size
    gate.call("read_multiple_files", paths=["a.txt", *[name] * 254, "d/b.txt"])
    *failures, outcome = gate.records()
    assert len(failures) == 254
    of_any_record = {"v", "seq", "time", "up_us", "event", "prev", "hash"}
    told = {"call", "tool", "session", "principal", "path", "ok", "error", "rule"}
    assert {frozenset(failure) - of_any_record - {"reason"} for failure in failures} == {frozenset(told)}
    assert len(outcome["arguments"]["paths"]) == 65
    assert [path["name"] for path in outcome["paths"]] == ["a.txt", "d/b.txt"]
    # A reason names the path and the allowed directory.
    assert Path(gate.log.path).stat().st_size - before < len(failures) * (800 + 2 * len(str(gate.top)))


def test_many_threads_share_a_gate_and_the_log_verifies(gate: Served) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            name = f"t{number}-{turn}.txt"
            for result in (
                gate.call("write_file", path=name, content=name),
                gate.call("read_text_file", path=name),
                gate.call("delete_file", path=name),
            ):
                if result.is_error:
                    failures.extend(texts(result))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert len(gate.records()) == 6 * 10 * 5
    assert len({record["call"] for record in gate.records()}) == 6 * 10 * 3
    gate.log.close()
    assert verify(gate.log.path).status is Status.WHOLE


def test_two_tools_of_one_name_are_a_mistake() -> None:
    tools = file_tools().tools
    with pytest.raises(ValueError, match="one name"):
        Registry((*tools, tools[0]))


def test_every_tool_that_is_not_read_only_declares_an_effect() -> None:
    for tool in file_tools().tools:
        assert (tool.effect is None) == tool.annotations.read_only, tool.name
        assert isinstance(tool.annotations, Annotations)
        assert not tool.annotations.open_world
