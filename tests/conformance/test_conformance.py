"""The HTTP transport, over the server that the conformance suite is run against: what needs no node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.conformance.content import PNG
from tests.conformance.live import FIXTURE
from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, REVISIONS, Message, envelope, text_of
from tests.protocol.http_client import Fields, HttpClient
from tests.protocol.http_server import Server, started
from tests.support import wait_until

pytestmark = pytest.mark.slow

LATEST = HANDSHAKE_REVISIONS[-1]
EVERYTHING: Message = {"elicitation": {}, "sampling": {}}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": envelope()}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started(FIXTURE) as server:
        yield server
        assert "Traceback" not in server.stderr


@pytest.fixture
def modern(server: Server) -> HttpClient:
    return HttpClient(server.url, capabilities=EVERYTHING)


@pytest.fixture
def handshaken(server: Server) -> HttpClient:
    client = HttpClient(server.url, LATEST, capabilities=EVERYTHING)
    client.open()
    return client


@pytest.fixture(params=REVISIONS)
def client(request: pytest.FixtureRequest, server: Server) -> HttpClient:
    """One for each revision."""
    client = HttpClient(server.url, request.param, capabilities=EVERYTHING)
    if request.param != MODERN:
        client.open()
    return client


# --- requests and their answers


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_a_handshake_agrees_on_the_revision_and_gives_a_session(revision: str, server: Server) -> None:
    client = HttpClient(server.url, revision)
    result = client.open()
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == (revision, "conformance-fixture")
    assert client.session is not None
    assert re.fullmatch(r"[\x21-\x7e]+", client.session)
    assert client.request("ping") == {}


def test_requests_are_answered_as_json(client: HttpClient) -> None:
    with client.start("tools/list") as answer:
        assert (answer.status, answer.streams) == (200, False)
        assert "test_simple_text" in {tool["name"] for tool in answer.result()["tools"]}
    assert text_of(client.call("test_simple_text")) == "This is a simple text response for testing."
    assert client.call("test_image_content")["content"][0]["data"] == PNG
    assert client.call("test_error_handling")["isError"] is True


def test_progress_comes_as_events_before_the_result(client: HttpClient) -> None:
    with client.start_call("test_tool_with_progress", _meta={"progressToken": "p"}) as answer:
        result = answer.result()
        assert answer.streams
    progress = [message["params"] for message in answer.notifications]
    assert [(each["progressToken"], each["progress"]) for each in progress] == [("p", 0), ("p", 50), ("p", 100)]
    assert text_of(result) == "p"


@pytest.mark.parametrize("identifier", [0, -1, 2**53 + 1, "", "a b", "é"])
def test_an_answer_has_the_id_of_its_request(identifier: int | str, client: HttpClient) -> None:
    with client.start("tools/list", identifier=identifier) as answer:
        assert answer.message()["id"] == identifier


def test_several_requests_of_one_client_are_under_way_at_once(handshaken: HttpClient) -> None:
    answers = [handshaken.start_call("test_elicitation", {"message": str(n)}) for n in range(8)]
    questions = [answer.question() for answer in answers]
    assert [question["params"]["message"] for question in questions] == [str(n) for n in range(8)]
    for n in reversed(range(8)):
        handshaken.respond(questions[n], {"action": "accept", "content": {"username": str(n), "email": ""}})
        assert f'"username": "{n}"' in text_of(answers[n].result())
        answers[n].close()


# --- questions


class Question(NamedTuple):
    tool: str
    arguments: Message
    method: str
    answer: Message
    says: str


@pytest.mark.parametrize(
    "row",
    [
        Question(
            "test_elicitation", {"message": "who?"}, "elicitation/create", {"action": "decline"}, "action=decline"
        ),
        Question(
            "test_elicitation_sep1034_defaults",
            {},
            "elicitation/create",
            {"action": "accept", "content": {"age": 31}},
            '"age": 31',
        ),
        Question(
            "test_sampling",
            {"prompt": "say"},
            "sampling/createMessage",
            {"role": "assistant", "content": {"type": "text", "text": "said"}, "model": "m"},
            "said",
        ),
    ],
    ids=lambda row: row.tool,
)
def test_a_client_is_asked_on_the_stream_of_its_request(row: Question, handshaken: HttpClient) -> None:
    with handshaken.start_call(row.tool, row.arguments) as answer:
        question = answer.question(row.method)
        handshaken.respond(question, row.answer)
        handshaken.respond(question, row.answer)  # a second one is taken, and means nothing
        assert row.says in text_of(answer.result())


def test_an_answer_from_another_session_is_none(handshaken: HttpClient, server: Server) -> None:
    other = HttpClient(server.url, LATEST)
    other.open()
    with handshaken.start_call("test_elicitation", {"message": "who?"}) as answer:
        question = answer.question()
        other.respond(question, {"action": "accept", "content": {"username": "evil", "email": ""}})
        handshaken.respond(question, {"action": "cancel"})
        assert "action=cancel" in text_of(answer.result())


def test_a_modern_client_is_asked_through_the_result(modern: HttpClient) -> None:
    asked = modern.call("test_input_required_result_request_state")
    assert (asked["resultType"], list(asked["inputRequests"])) == ("input_required", ["confirm"])
    responses = {"confirm": {"action": "accept", "content": {"ok": True}}}
    more = {"inputResponses": responses, "requestState": asked["requestState"]}
    assert "state-ok" in text_of(modern.call("test_input_required_result_request_state", **more))
    more["requestState"] += "x"
    with modern.start_call("test_input_required_result_request_state", **more) as answer:
        assert (answer.status, answer.error()["code"]) == (400, -32602)


def test_a_modern_client_is_sent_no_request(modern: HttpClient) -> None:
    assert "result" not in modern.error("tools/call", {"name": "test_elicitation", "arguments": {"message": "x"}})


# --- cancellation, and the end of a session


def _await_cancelled(client: HttpClient, name: str) -> None:
    wait_until(lambda: name in text_of(client.call("test_was_cancelled")), f"{name} is cancelled")


def test_a_notification_cancels_a_request_of_its_session_only(handshaken: HttpClient, server: Server) -> None:
    other = HttpClient(server.url, LATEST)
    other.open()
    arguments = {"name": "test_hang", "arguments": {"name": "notified"}, "_meta": {"progressToken": 1}}
    with handshaken.start("tools/call", arguments, identifier="hang") as answer:
        assert answer.event() is not None
        other.notify("notifications/cancelled", {"requestId": "hang"})
        assert "notified" not in text_of(other.call("test_was_cancelled"))
        handshaken.notify("notifications/cancelled", {"requestId": "hang"})
        assert text_of(answer.result()) == "cancelled"


def test_a_modern_client_cancels_by_hanging_up(modern: HttpClient) -> None:
    with modern.start_call("test_hang", {"name": "left"}, _meta={"progressToken": 1}) as answer:
        assert answer.event() is not None
    _await_cancelled(modern, "left")


def test_a_handshake_client_that_hangs_up_cancels_nothing(handshaken: HttpClient) -> None:
    arguments = {"name": "test_hang", "arguments": {"name": "lost"}, "_meta": {"progressToken": 1}}
    with handshaken.start("tools/call", arguments, identifier="lost") as answer:
        assert answer.event() is not None
    for _ in range(20):
        assert "lost" not in text_of(handshaken.call("test_was_cancelled"))
    handshaken.notify("notifications/cancelled", {"requestId": "lost"})
    _await_cancelled(handshaken, "lost")


def test_a_session_that_was_ended_is_gone_with_what_it_waits_for(handshaken: HttpClient, server: Server) -> None:
    other = HttpClient(server.url, LATEST)
    other.open()
    with handshaken.start_call("test_hang", {"name": "ended"}, _meta={"progressToken": 1}) as answer:
        assert answer.event() is not None
        assert handshaken.end() == 204
        assert text_of(answer.result()) == "cancelled"
    with handshaken.start("tools/list") as answer:
        assert (answer.status, answer.error()["code"]) == (404, -32600)
    assert handshaken.end() == 404
    assert "ended" in text_of(other.call("test_was_cancelled"))


# --- what is refused


class Refused(NamedTuple):
    name: str
    body: Any
    code: int
    identifier: int | str | None = None
    status: int = 400


@pytest.mark.parametrize(
    "row",
    [
        Refused("empty", b"", -32700),
        Refused("no-json", b"{", -32700),
        Refused("not-a-number", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700),
        Refused("batch", b"[]", -32600),
        Refused("no-version", {"id": 7, "method": "tools/list"}, -32600, 7),
        Refused("id-that-is-none", {"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"}, -32600),
        Refused("neither", {"jsonrpc": "2.0", "id": 3}, -32600, 3),
        Refused("no-envelope", {"jsonrpc": "2.0", "id": 4, "method": "tools/list"}, -32602, 4),
        Refused("unknown-method", {**LIST, "method": "tools/unlist"}, -32601, 1, 404),
        Refused("initialize", {**LIST, "method": "initialize"}, -32601, 1, 404),
        Refused("ping", {**LIST, "method": "ping"}, -32601, 1, 404),
    ],
    ids=lambda row: row.name,
)
def test_what_is_no_modern_request_is_refused_with_its_status(row: Refused, modern: HttpClient) -> None:
    with modern.post(row.body) as answer:
        message = answer.message()
    assert (answer.status, message["error"]["code"], message["id"]) == (row.status, row.code, row.identifier)


class Header(NamedTuple):
    name: str
    fields: Fields
    code: int | None
    argument: str | None = "eu"


@pytest.mark.parametrize(
    "row",
    [
        Header("as-it-should-be", {"Mcp-Param-Region": "eu"}, None),
        Header("encoded", {"Mcp-Param-Region": "=?base64?ZXU=?="}, None),
        Header("white-space-around", {"Mcp-Param-Region": " eu\t ", "Mcp-Name": "  test_x_mcp_header  "}, None),
        Header("others-mean-nothing", {"Mcp-Param-Region": "eu", "Mcp-Param-Other": "x"}, None),
        Header("argument-without-header", {}, -32020),
        Header("header-without-argument", {"Mcp-Param-Region": "eu"}, -32020, None),
        Header("other-value", {"Mcp-Param-Region": "us"}, -32020),
        Header("broken-encoding", {"Mcp-Param-Region": "=?base64?ZXU?="}, -32020),
        Header("twice", {"Mcp-Param-Region": ["eu", "us"]}, -32020),
        Header("other-tool", {"Mcp-Param-Region": "eu", "Mcp-Name": "test_simple_text"}, -32020),
        Header("no-tool", {"Mcp-Param-Region": "eu", "Mcp-Name": None}, -32020),
        Header("two-tools", {"Mcp-Param-Region": "eu", "Mcp-Name": ["test_x_mcp_header"] * 2}, -32020),
        Header("other-method", {"Mcp-Param-Region": "eu", "Mcp-Method": "tools/list"}, -32020),
        Header("other-revision", {"Mcp-Param-Region": "eu", "MCP-Protocol-Version": LATEST}, -32020),
        Header("no-revision", {"Mcp-Param-Region": "eu", "MCP-Protocol-Version": None}, -32020),
        Header("unknown-revision", {"Mcp-Param-Region": "eu", "MCP-Protocol-Version": "2099-01-01"}, -32020),
    ],
    ids=lambda row: row.name,
)
def test_headers_of_a_modern_request_agree_with_its_body(row: Header, modern: HttpClient) -> None:
    arguments = {} if row.argument is None else {"region": row.argument}
    with modern.start("tools/call", {"name": "test_x_mcp_header", "arguments": arguments}, row.fields) as answer:
        if row.code is None:
            assert text_of(answer.result()) == "region=eu"
        else:
            assert (answer.status, answer.error()["code"]) == (400, row.code)


def test_initialize_is_taken_from_who_does_not_say_that_it_is_modern(server: Server) -> None:
    params = {"protocolVersion": MODERN, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**params, "_meta": envelope()}}
    for said in (None, LATEST, "2099-01-01"):
        with HttpClient(server.url).post(message, {"MCP-Protocol-Version": said}) as answer:
            assert answer.result()["protocolVersion"] == LATEST
            assert answer.headers["Mcp-Session-Id"]


def test_an_unknown_method_of_a_session_is_an_error_in_an_answer(handshaken: HttpClient) -> None:
    with handshaken.start("tools/unlist") as answer:
        assert (answer.status, answer.error()["code"]) == (200, -32601)


def test_an_id_that_has_a_request_under_way_is_refused(handshaken: HttpClient) -> None:
    with handshaken.start("tools/call", {"name": "test_elicitation", "arguments": {"message": "x"}}, identifier=5) as a:
        question = a.question()
        with handshaken.start("tools/list", identifier=5) as answer:
            message = answer.message()
        assert (answer.status, message["id"], message["error"]["code"]) == (400, 5, -32600)
        handshaken.respond(question, {"action": "cancel"})
        a.result()


@pytest.mark.parametrize(
    ("session", "status"),
    [(None, 400), ("", 404), ("x.y", 404), ("e30.0" * 10, 404), ("x" * 5000, 404), (["a.b", "a.b"], 404)],
    ids=["none", "empty", "made-up", "longer", "very-long", "two"],
)
def test_a_request_of_no_session_is_refused(session: Any, status: int, handshaken: HttpClient) -> None:
    with handshaken.start("tools/list", fields={"Mcp-Session-Id": session}) as answer:
        assert (answer.status, answer.error()["code"]) == (status, -32600)


def test_a_stream_of_the_server_s_own_is_not_offered(handshaken: HttpClient) -> None:
    fields = {"Accept": "text/event-stream", "Mcp-Session-Id": handshaken.session}
    with handshaken.send("GET", fields=fields) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST, DELETE")


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403)],
    ids=["rebound-name", "other-page", "no-page"],
)
def test_a_page_of_somebody_else_is_refused(fields: Fields, status: int, modern: HttpClient) -> None:
    with modern.start("tools/list", fields=fields) as answer:
        assert (answer.status, "error" in answer.json()) == (status, True)
