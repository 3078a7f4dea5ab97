"""What one principal may use: counted for each, refused with a reason and a time, before anything is opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.errors import RateLimited, SharedStateError, TooManyCalls
from fsserver.policy.compiled import Action, AuditRules, Effect, Limits, Policy
from fsserver.policy.service import Budget, CallClass, Rate
from fsserver.server.boundary import PersonNeeded
from fsserver.server.exchanges import Asked
from fsserver.server.files import FileServer
from fsserver.server.handshakes import Hello
from fsserver.state.local import LocalState
from fsserver.tools.approval import Answer, Consent, ConsentNeeded
from fsserver.tools.budgets import Budgets
from fsserver.tools.catalog import every_tool
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.control import Control
from fsserver.tools.files.completion import COMPLETION
from fsserver.tools.result import ToolResult
from fsserver.tools.session import Session
from tests.gates import Served, served
from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, envelope
from tests.trees import build, rules

POLICY = Policy("test", None, "0" * 64, (), AuditRules(directory="/nowhere"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unreachable(LocalState):
    """Nothing can be counted."""

    def take(self, key: str, rate: Rate) -> float:
        raise SharedStateError("unreachable")

    def used_up(self, key: str, rate: Rate) -> float:
        raise SharedStateError("unreachable")

    def use(self, key: str, rate: Rate, amount: int) -> None:
        raise SharedStateError("unreachable")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def gated(
    base: Path,
    clock: Clock,
    budget: Budget | None = None,
    classes: Mapping[CallClass, Budget] | None = None,
    **more: Any,
) -> Iterator[Served]:
    work = base / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file d/b.txt two"])
    limits = Limits(budget=budget or Budget(), budgets=classes or {})
    state = more.pop("state", None) or LocalState(clock=clock)
    with served(base, [rules(work, **more.pop("root", {}))], limits=limits, counts=state, **more) as gate:
        yield gate


def budgets(budget: Budget | None = None, classes: Mapping[CallClass, Budget] | None = None) -> Budgets:
    made = Budgets.of(Limits(budget=budget or Budget(), budgets=classes or {}), LocalState(clock=Clock()))
    assert made is not None
    return made


def test_every_tool_has_the_class_of_what_it_takes() -> None:
    host = CommandHost(POLICY, None)
    found = {tool.name: tool.call_class for tool in every_tool(host).tools}
    assert {name for name, each in found.items() if each is CallClass.COMMAND} == {
        "run_command",
        "run_pipeline",
        "start_process",
        "write_process",
    }
    assert {name for name, each in found.items() if each is CallClass.SEARCH} == {
        "search_files",
        "search_content",
        "directory_tree",
    }
    assert {name for name, each in found.items() if each is CallClass.CHANGE} == {
        "write_file",
        "edit_file",
        "create_directory",
        "move_file",
        "copy_file",
        "delete_file",
    }
    assert set(found.values()) == set(CallClass)


def test_tool_that_changes_files_is_of_no_class_that_reads() -> None:
    host = CommandHost(POLICY, None)
    read = [tool for tool in every_tool(host).tools if tool.call_class in (CallClass.READ, CallClass.SEARCH)]
    assert [tool.name for tool in read if not tool.annotations.read_only] == ["stop_process"]


def test_policy_without_budgets_has_nothing_that_counts() -> None:
    assert Budgets.of(Limits(), LocalState()) is None
    assert Budgets.of(Limits(budgets={CallClass.READ: Budget()}), LocalState()) is None
    assert Budgets.of(Limits(budget=Budget(concurrency=1)), LocalState()) is not None
    assert Budgets.of(Limits(budgets={CallClass.READ: Budget(rate=Rate(1, 1))}), LocalState()) is not None


def test_call_beyond_the_rate_is_refused_until_its_time_is_over(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(2, 60))) as gate:
        gate.text("read_text_file", path="a.txt")
        clock.now += 20
        gate.text("list_directory", path=".")
        error = gate.error("read_text_file", path="a.txt")
        assert error["code"] == "limit.rate"
        assert error["transient"] is True
        assert error["rule"] == "limits.calls.rate"
        assert error["retryAfter"] == 41
        assert error["allowedInstead"] == "the same call in 41 s"
        assert "2 calls a minute" in error["message"]
        clock.now += error["retryAfter"]
        gate.text("read_text_file", path="a.txt")
        assert gate.error("read_text_file", path="a.txt")["retryAfter"] in (19, 20)
    refused = [record for record in gate.records() if record["event"] == "call.refused"]
    assert [(record["error"], record["rule"]) for record in refused] == [("limit.rate", "limits.calls.rate")] * 2


def test_class_has_a_rate_of_its_own(tmp_path: Path, clock: Clock) -> None:
    classes = {CallClass.CHANGE: Budget(rate=Rate(1, 3600)), CallClass.SEARCH: Budget(rate=Rate(1, 30))}
    with gated(tmp_path, clock, Budget(rate=Rate(4, 3600)), classes) as gate:
        gate.text("write_file", path="new", content="x")
        error = gate.error("write_file", path="new", content="y")
        assert error["rule"] == "limits.calls.classes.change.rate"
        assert "1 calls of the class change an hour" in error["message"]
        gate.text("directory_tree", path=".")
        assert "in 30 seconds" in gate.error("directory_tree", path=".")["message"]
        # What a class refused took nothing of what is for all.
        gate.text("read_text_file", path="a.txt")
        gate.text("read_text_file", path="a.txt")
        assert gate.error("read_text_file", path="a.txt")["rule"] == "limits.calls.rate"
    assert (tmp_path / "work" / "new").read_text() == "x"


def test_each_principal_has_its_own(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(1, 60))) as gate:
        gate.text("read_text_file", path="a.txt")
        assert gate.error("read_text_file", path="a.txt")["code"] == "limit.rate"
        again = replace(gate, session=replace(gate.session, id="s2"))
        assert again.error("read_text_file", path="a.txt")["code"] == "limit.rate"
        other = replace(gate, session=replace(gate.session, principal="other"))
        other.text("read_text_file", path="a.txt")


def test_refused_malformed_and_unknown_calls_count(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(3, 60))) as gate:
        assert gate.error("read_text_file", path="/etc/passwd")["code"] == "denied.outside_roots"
        assert gate.error("read_text_file", wrong="x")["code"] == "request.arguments"
        assert gate.error("no_such_tool")["code"] == "request.unknown_tool"
        assert gate.error("no_such_tool", path="secret")["code"] == "limit.rate"
        assert gate.error("read_text_file", path="a.txt")["code"] == "limit.rate"
        assert gate.records()[-1]["arguments"] == {"path": "a.txt"}


def test_contents_of_a_call_that_is_not_let_in_are_not_recorded(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(1, 60))) as gate:
        gate.text("read_text_file", path="a.txt")
        gate.error("write_file", path="a.txt", content="private words")
        assert "private words" not in Path(gate.log.path).read_text()
        assert gate.records()[-1]["arguments"]["path"] == "a.txt"


def test_nothing_is_opened_for_a_call_that_is_not_let_in(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(1, 60))) as gate:
        gate.text("list_allowed_directories")
        gate.error("read_text_file", path="a.txt")
        assert gate.records()[-1]["paths"] == []


def test_resources_and_completions_count_as_reads(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, classes={CallClass.READ: Budget(rate=Rate(2, 60))}) as gate:
        assert not gate.read(f"file://{gate.top}/a.txt").is_error
        assert gate.complete(f"{gate.top}/") is not None
        result = gate.read(f"file://{gate.top}/a.txt")
        assert result.structured is not None
        assert result.structured["error"]["code"] == "limit.rate"
        last = gate.gate.call(gate.session, COMPLETION.usual, {"path": "a"}, Control(), guise=COMPLETION)
        assert isinstance(last, ToolResult)
        assert last.is_error
        assert gate.records()[-1]["via"] == "completion/complete"


def test_results_are_counted_and_the_next_call_is_refused(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(output=Rate(1000, 3600))) as gate:
        (gate.top / "large").write_text("é" * 600)
        (gate.top / "small").write_text("x" * 100)
        gate.text("read_text_file", path="small")
        gate.text("read_text_file", path="large")  # 1,200 bytes: more than is left, and given whole
        error = gate.error("read_text_file", path="small")
        assert (error["code"], error["rule"]) == ("limit.rate", "limits.calls.output")
        assert 3500 < error["retryAfter"] <= 3615
        assert "1000 bytes an hour" in error["message"]
        clock.now += error["retryAfter"]
        gate.text("read_text_file", path="small")


def test_blobs_count_as_results_as_they_are_sent(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, classes={CallClass.READ: Budget(output=Rate(4000, 60))}) as gate:
        (gate.top / "p.png").write_bytes(bytes(3000))  # 4,000 bytes in base64
        assert not gate.call("read_media_file", path="p.png").is_error
        assert gate.error("read_media_file", path="p.png")["rule"] == "limits.calls.classes.read.output"
        gate.text("write_file", path="new", content="x")


def test_errors_count_as_results(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(output=Rate(60, 60))) as gate:
        codes = [gate.error("read_text_file", path="none")["code"] for _ in range(5)]
    assert codes[0] == "resource.not_found"
    assert codes[-1] == "limit.rate"


def test_calls_at_work_are_bounded_for_each_principal() -> None:
    bounds = budgets(Budget(concurrency=2), {CallClass.COMMAND: Budget(concurrency=1)})
    first = bounds.use("alice", CallClass.COMMAND)
    first.begin(counted=True)
    with pytest.raises(TooManyCalls) as caught:
        bounds.use("alice", CallClass.COMMAND).begin(counted=True)
    assert caught.value.rule == "limits.calls.classes.command.each"
    second = bounds.use("alice", CallClass.READ)
    second.begin(counted=True)
    with pytest.raises(TooManyCalls) as caught:
        bounds.use("alice", None).begin(counted=True)
    assert caught.value.rule == "limits.calls.each"
    with pytest.raises(TooManyCalls):  # and so the class's place is given back
        bounds.use("alice", CallClass.SEARCH).begin(counted=True)
    bounds.use("bob", CallClass.COMMAND).begin(counted=True)
    first.end()
    bounds.use("alice", CallClass.COMMAND).begin(counted=True)
    with pytest.raises(TooManyCalls):
        bounds.use("alice", CallClass.READ).begin(counted=True)


def test_call_that_is_refused_keeps_no_place() -> None:
    bounds = budgets(Budget(concurrency=1, rate=Rate(1, 60)), {CallClass.READ: Budget(concurrency=1)})
    use = bounds.use("alice", CallClass.READ)
    use.begin(counted=True)
    use.end()
    for _ in range(3):
        with pytest.raises(RateLimited):
            bounds.use("alice", CallClass.READ).begin(counted=True)
    assert bounds._at_work == {}


def test_too_many_at_once_are_refused_on_the_way_through_the_gate(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(concurrency=1)) as gate:
        inside, leave = threading.Event(), threading.Event()

        class Waiting(Control):
            def checkpoint(self) -> None:
                inside.set()
                assert leave.wait(10)

        first = threading.Thread(target=lambda: gate.call("write_file", Waiting(), path="new", content="x"))
        first.start()
        try:
            assert inside.wait(10)
            error = gate.error("read_text_file", path="a.txt")
        finally:
            leave.set()
            first.join(10)
        assert error["code"] == "limit.concurrency"
        assert error["transient"] is True
        assert error["retryAfter"] == 1
        assert gate.text("read_text_file", path="new") == "x"


def test_call_with_the_answer_of_a_person_was_counted_before(tmp_path: Path, clock: Clock) -> None:
    asks = {"operations": {Action.DELETE: Effect.ASK}}
    with gated(tmp_path, clock, Budget(rate=Rate(1, 60)), can_ask=True, root=asks) as gate:
        needed = gate.gate.call(gate.session, "delete_file", {"path": "a.txt"}, Control())
        assert isinstance(needed, ConsentNeeded)
        for answer in (Answer.USED, Answer.EXPIRED, Answer.UNKNOWN_STATE, Answer.OTHER_CALL, Answer.UNREACHABLE):
            refused = gate.answered(Consent.to(needed, answer), "delete_file", path="a.txt")
            assert refused.structured is not None
            assert refused.structured["error"]["code"] == "limit.rate", answer
        result = gate.answered(Consent.to(needed, Answer.ACCEPTED), "delete_file", path="a.txt")
        assert not result.is_error
        assert not (gate.top / "a.txt").exists()


def test_where_nothing_can_be_counted_calls_are_refused_with_a_record(tmp_path: Path, clock: Clock) -> None:
    with gated(tmp_path, clock, Budget(rate=Rate(5, 60)), state=Unreachable()) as gate:
        error = gate.error("read_text_file", path="a.txt")
        assert (error["code"], error["rule"], error["transient"]) == ("state.unavailable", "limits.calls.rate", True)
        assert gate.records()[-1]["event"] == "call.refused"


def test_result_that_could_not_be_counted_is_given_all_the_same(clock: Clock) -> None:
    bounds = Budgets(Limits(budget=Budget(output=Rate(5, 60))), Unreachable())
    bounds.use("alice", CallClass.READ).count(100)


class Person:
    """A client's call, and its person, who says yes."""

    id = 1
    request_id = None

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.counted = False

    def when_cancelled(self, notice: Callable[[], None]) -> None:
        """Never."""

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        raise AssertionError(method, params)

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"action": "accept", "content": {"approve": True}}


DELETE = {"name": "delete_file", "arguments": {"path": "a.txt"}}
CAN_ASK: dict[str, Any] = {"elicitation": {}}


async def over_a_pipe(server: FileServer, _session: Session) -> dict[str, Any]:
    """As the front and the loop make it; the tool was slow before, if that is remembered."""
    person = Person()
    connection = server.connect(person)
    client = {"capabilities": CAN_ASK, "clientInfo": {"name": "tests", "version": "1"}}
    await connection.request(person, "initialize", {"protocolVersion": HANDSHAKE_REVISIONS[-1], **client})
    by_the_front = connection.shortcut(DELETE)
    assert by_the_front is not None
    with pytest.raises(PersonNeeded):
        by_the_front.make(person)
    return await connection.request(person, "tools/call", DELETE)


async def over_http(server: FileServer, session: Session) -> dict[str, Any]:
    exchanges = server.exchanges()
    hello = Hello.new(HANDSHAKE_REVISIONS[-1], "tests", "1", CAN_ASK)
    person = Person()
    await exchanges.handshaken(Asked("tools/list", None, session, person, person), hello)  # so its calls are plain
    return await exchanges.handshaken(Asked("tools/call", DELETE, session, person, person), hello)


async def over_http_modern(server: FileServer, session: Session) -> dict[str, Any]:
    exchanges = server.exchanges()

    async def request(method: str, **params: Any) -> dict[str, Any]:
        headers = [("mcp-protocol-version", MODERN), ("mcp-method", method), ("mcp-name", params.get("name", ""))]
        params |= {"_meta": envelope(capabilities=CAN_ASK)}
        person = Person()
        return await exchanges.modern(Asked(method, params, session, person, person), headers)

    await request("tools/list")
    asked = await request("tools/call", **DELETE)
    yes = {"approval": {"action": "accept", "content": {"approve": True}}}
    return await request("tools/call", **DELETE, inputResponses=yes, requestState=asked["requestState"])


WAYS: Mapping[str, Callable[[FileServer, Session], Awaitable[dict[str, Any]]]] = {
    "over_a_pipe": over_a_pipe,
    "over_http": over_http,
    "over_http_modern": over_http_modern,
}


@pytest.mark.parametrize("brief_s", [0.0, 60.0], ids=["long", "brief"])
@pytest.mark.parametrize("way", WAYS)
def test_call_that_a_person_is_asked_about_counts_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, way: str, brief_s: float
) -> None:
    monkeypatch.setattr("fsserver.server.files.BRIEF_S", brief_s)

    async def run(server: FileServer, session: Session) -> dict[str, Any]:
        async with asyncio.timeout(20):
            return await WAYS[way](server, session)

    asks = {"operations": {Action.DELETE: Effect.ASK}}
    with gated(tmp_path, clock, Budget(rate=Rate(1, 3600)), root=asks) as gate:
        server = FileServer(gate.gate, gate.session, policy=POLICY, run=asyncio.to_thread)
        result = asyncio.run(run(server, gate.session))
        assert not result.get("isError"), result
        assert not (tmp_path / "work/a.txt").exists()
        assert gate.error("list_allowed_directories")["code"] == "limit.rate"
