"""Requests that meddle with other requests: those of the same client, of another session, of another principal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.attacks.web import Web, Wire, message, web
from tests.protocol.client import MODERN, envelope
from tests.support import wait_until

CAN_ASK: dict[str, Any] = {"elicitation": {}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("calls").resolve()) as service:
        yield service


def sleep(seconds: float) -> dict[str, Any]:
    return {"command": "sleep", "args": [str(seconds)]}


def running(service: Web) -> int:
    return sum(_is_sleep(process) for process in service.process.children(recursive=True))


def _is_sleep(process: psutil.Process) -> bool:
    try:
        return process.name() == "sleep"
    except psutil.NoSuchProcess:
        return False


def outcomes(service: Web) -> list[dict[str, Any]]:
    return [record for record in service.records("call.outcome") if record["tool"] == "run_command"]


def said(service: Web, who: str, session: str, body: bytes) -> int:
    """The status of what is no request."""
    return service.asked(service.post(body, fields=service.fields(who, session=session))).status


def cancellation(identifier: Any) -> bytes:
    return message("notifications/cancelled", {"requestId": identifier}, None)


def started_sleep(service: Web, wire: Wire, session: str | None, identifier: Any = 7, seconds: float = 30) -> None:
    """Sent, and at work."""
    before = running(service)
    arguments = sleep(seconds)
    wire.send(
        service.modern("run_command", arguments, identifier=identifier)
        if session is None
        else service.call("run_command", arguments, who="ada", session=session, identifier=identifier)
    )
    wait_until(lambda: running(service) > before, "the command runs")


def test_a_modern_client_that_hangs_up_cancels_its_call(service: Web) -> None:
    with service.wire() as wire:
        started_sleep(service, wire, None)
    wait_until(lambda: running(service) == 0, "the command is gone", timeout_s=5)
    wait_until(lambda: [record["ended_by"] for record in outcomes(service)] == ["cancelled"], "the log says so")
    service.works()


def test_a_call_in_a_session_outlives_its_connection(service: Web) -> None:
    session = service.session("ada")
    with service.wire() as wire:
        started_sleep(service, wire, session, seconds=1.5)
    wait_until(lambda: running(service) == 0, "the command has ended")
    wait_until(lambda: outcomes(service)[-1]["exit"] == 0, "it ended by itself")


def test_an_id_in_flight_is_refused_and_the_first_call_goes_on(service: Web) -> None:
    session = service.session("ada")
    with service.wire() as wire:
        started_sleep(service, wire, session, 7, 1)
        path = {"path": f"{service.base}/work/a.txt"}
        again = service.call("read_text_file", path, who="ada", session=session, identifier=7)
        assert service.asked(again).status == 400
        # In another session, and for another principal, it is another id.
        for who in ("ada", "bob"):
            other = service.call("read_text_file", path, who=who, session=service.session(who), identifier=7)
            assert "isError" not in service.asked(other).result
        assert wire.answer().result["structuredContent"]["exitCode"] == 0


@pytest.mark.claim("C10")
@pytest.mark.parametrize("kind", ["unknown-id", "other-session", "other-principal", "other-type-of-id", "no-id"])
def test_a_cancellation_of_what_is_not_ones_own_does_nothing(kind: str, service: Web) -> None:
    session = service.session("ada")
    with service.wire() as wire:
        started_sleep(service, wire, session, 7, 1)
        who = "bob" if kind == "other-principal" else "ada"
        own = session if kind.endswith("id") else service.session(who)
        identifier = {"unknown-id": 8, "other-type-of-id": "7", "no-id": None}.get(kind, 7)
        assert said(service, who, own, cancellation(identifier)) == 202
        assert wire.answer().result["structuredContent"]["exitCode"] == 0


@pytest.mark.claim("C10")
def test_a_cancellation_with_anothers_session_is_not_taken(service: Web) -> None:
    session = service.session("ada")
    with service.wire() as wire:
        started_sleep(service, wire, session, 7, 1)
        assert said(service, "bob", session, cancellation(7)) == 404
        assert wire.answer().result["structuredContent"]["exitCode"] == 0


def test_ones_own_cancellation_ends_the_call(service: Web) -> None:
    session = service.session("ada")
    with service.wire() as wire:
        started_sleep(service, wire, session)
        assert said(service, "ada", session, cancellation(7)) == 202
        wait_until(lambda: running(service) == 0, "the command is gone", timeout_s=5)


@pytest.mark.claim("C10")
def test_the_session_of_another_is_not_ended(service: Web) -> None:
    session = service.session("ada")
    for who, status in (("bob", 404), (None, 401)):
        assert service.end(who, session) == status
    assert service.asked(service.post(message("ping"), fields=service.fields(session=session))).result == {}


@pytest.mark.claim("C10")
@pytest.mark.parametrize(
    "change",
    [
        lambda session: session[:-1] + ("0" if session[-1] != "0" else "1"),
        lambda session: session.partition(".")[0],
        lambda session: session.partition(".")[0] + ".",
        lambda session: "x" + session,
        lambda session: session * 2,
        lambda _: "a" * 3000,
        lambda _: ".",
    ],
    ids=["last-digit", "no-code", "empty-code", "longer", "twice", "3000-bytes", "dot"],
)
def test_a_session_that_this_server_did_not_make_is_none(change: Any, service: Web) -> None:
    forged = change(service.session("ada"))
    answer = service.asked(service.post(message("ping"), fields=service.fields(session=forged)))
    assert answer.status == 404


def response(identifier: Any, result: Any) -> bytes:
    return message("x", None, identifier).replace(b'"method": "x"', b'"result": ' + result)


@pytest.mark.claim("C10")
def test_an_answer_counts_only_from_whom_was_asked(service: Web) -> None:
    victim = service.base / "work/victim"
    victim.write_text("x")
    session, other = (service.session("ada", CAN_ASK) for _ in range(2))
    foreign = service.session("bob", CAN_ASK)
    yes = b'{"action": "accept", "content": {"approve": true}}'
    with service.wire() as wire:
        wire.send(service.call("delete_file", {"path": str(victim)}, who="ada", session=session))
        assert b"text/event-stream" in wire.head()
        question = wire.event()
        assert question["method"] == "elicitation/create"
        identifier = question["id"]
        assert said(service, "ada", other, response(identifier, yes)) == 202
        assert said(service, "bob", foreign, response(identifier, yes)) == 202
        assert said(service, "bob", session, response(identifier, yes)) == 404
        assert said(service, "ada", session, response("fsserver-0", yes)) == 202
        assert said(service, "ada", session, response(1, yes)) == 202
        service.works()
        assert victim.exists()
        assert said(service, "ada", session, response(identifier, b'{"action": "decline"}')) == 202
        assert said(service, "ada", session, response(identifier, yes)) == 202, "too late"
        assert wire.event()["result"]["isError"] is True
    assert victim.exists()


HEADERS = f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: read_text_file\r\n"


@pytest.mark.parametrize(
    "more",
    [
        HEADERS + f"MCP-Protocol-Version: {MODERN}\r\n",
        HEADERS + "Mcp-Method: tools/list\r\n",
        HEADERS + "Mcp-Name: delete_file\r\n",
        HEADERS.replace("read_text_file", "delete_file"),
        HEADERS.replace("tools/call", "tools/list"),
        HEADERS.replace(MODERN, "2026-07-29"),
        "",
    ],
    ids=["version-twice", "method-twice", "name-twice", "other-name", "other-method", "other-version", "none"],
)
def test_headers_that_say_something_else_than_the_body_are_refused(more: str, service: Web) -> None:
    params = {"name": "read_text_file", "arguments": {"path": f"{service.base}/work/a.txt"}, "_meta": envelope()}
    before = len(service.records("call.intent"))
    answer = service.asked(service.post(message("tools/call", params), more=more))
    assert answer.status == 400
    assert len(service.records("call.intent")) == before
