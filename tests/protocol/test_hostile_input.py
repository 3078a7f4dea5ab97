"""Whatever a client sends gets an error it can understand, and the next call works."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from fsserver.transport.dispatch import MAX_LINE_BYTES
from tests.protocol.client import Client, text_of
from tests.protocol.conftest import StartFixture

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602


class Row(NamedTuple):
    name: str
    line: bytes
    code: int
    id: int | str | None = None


def request(**fields: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 99, "method": "tools/call", **fields}).encode()


def members(number: int) -> dict[str, int]:
    return {f"k{each}": each for each in range(number)}


CALL = {"name": "echo", "arguments": {"text": "x"}}

ROWS = (
    Row("not JSON", b"hello", PARSE_ERROR),
    Row("cut short", b'{"jsonrpc": "2.0", "id": 99', PARSE_ERROR),
    Row("two messages on a line", b'{"jsonrpc":"2.0","id":1,"method":"ping"}' * 2, PARSE_ERROR),
    Row("not UTF-8", b'{"jsonrpc":"2.0","id":99,"method":"\xff"}', PARSE_ERROR),
    Row("UTF-16", request(params=CALL).decode().encode("utf-16"), PARSE_ERROR),
    Row("byte order mark", b"\xef\xbb\xbf" + request(params=CALL), PARSE_ERROR),
    Row("NUL bytes", b"\0" * 100, PARSE_ERROR),
    Row("NaN", b'{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"echo","x":NaN}}', PARSE_ERROR),
    Row("Infinity", b'{"jsonrpc":"2.0","id":99,"method":"ping","params":{"x":-Infinity}}', PARSE_ERROR),
    Row("15,000 levels of arrays", b"[" * 15_000, PARSE_ERROR),
    Row("15,000 levels of objects", b'{"a":' * 15_000 + b"1" + b"}" * 15_000, PARSE_ERROR),
    Row("100,000 levels of arrays", b"[" * 100_000, INVALID_REQUEST),
    Row("100,000 levels of objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, INVALID_REQUEST),
    Row("100,000 members", request(method="ping", params={"_meta": members(100_000)}), INVALID_REQUEST),
    Row("deep arguments", request(params={**CALL, "a": json.loads("[" * 300 + "]" * 300)}), PARSE_ERROR),
    Row("an integer of a million digits", b'{"jsonrpc":"2.0","id":' + b"9" * 1_000_000 + b"}", PARSE_ERROR),
    Row(
        "half of a surrogate pair",
        request(params={"name": "echo", "arguments": {"text": "\ud83d"}}),
        INVALID_PARAMS,
        99,
    ),
    Row("half of a surrogate pair in the id", request(id="\ud83d", params=CALL), PARSE_ERROR),
    Row("a batch", b"[" + request(params=CALL) + b"]", INVALID_REQUEST),
    Row("an empty batch", b"[]", INVALID_REQUEST),
    Row("a string", b'"ping"', INVALID_REQUEST),
    Row("a number", b"1", INVALID_REQUEST),
    Row("null", b"null", INVALID_REQUEST),
    Row("an empty object", b"{}", INVALID_REQUEST),
    Row("no version", b'{"id":99,"method":"ping"}', INVALID_REQUEST, 99),
    Row("version 1", b'{"jsonrpc":"1.0","id":99,"method":"ping"}', INVALID_REQUEST, 99),
    Row("an id alone", b'{"jsonrpc":"2.0","id":99}', INVALID_REQUEST, 99),
    Row("id is null", request(id=None), INVALID_REQUEST),
    Row("id is true", request(id=True), INVALID_REQUEST),
    Row("id is a fraction", request(id=1.5), INVALID_REQUEST),
    Row("id is an object", request(id={}), INVALID_REQUEST),
    Row("method is a number", request(method=5), INVALID_REQUEST, 99),
    Row("method is null", request(method=None), INVALID_REQUEST, 99),
    Row("params is a list", request(params=["echo"]), INVALID_REQUEST, 99),
    Row("params is a string", request(params="echo"), INVALID_REQUEST, 99),
    Row("no such method", request(method="tools/destroy"), METHOD_NOT_FOUND, 99),
    Row("a method we do not serve", request(method="prompts/list"), METHOD_NOT_FOUND, 99),
    Row("no tool named", request(params={}), INVALID_PARAMS, 99),
    Row("no params", request(), INVALID_PARAMS, 99),
    Row("the tool's name is a number", request(params={"name": 5}), INVALID_PARAMS, 99),
    Row("arguments are a list", request(params={"name": "echo", "arguments": []}), INVALID_PARAMS, 99),
    Row("arguments are a string", request(params={"name": "echo", "arguments": "x"}), INVALID_PARAMS, 99),
    Row("_meta is a string", request(params={**CALL, "_meta": "x"}, method="tools/list"), INVALID_PARAMS, 99),
    Row("initialize without a version", request(method="initialize", params={}), INVALID_PARAMS, 99),
)


@pytest.mark.claim("C9")
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_line_gets_its_error_and_the_next_call_works(row: Row, one_server: Client) -> None:
    client = one_server
    client.raw_in_background(row.line + b"\n")
    answer = client.message()
    assert (answer["error"]["code"], answer["id"]) == (row.code, row.id), answer
    assert "Traceback" not in answer["error"]["message"]
    assert text_of(client.call("echo", {"text": "still here"})) == "still here"


@pytest.mark.claim("C9")
def test_all_of_them_in_one_write_get_as_many_errors(client: Client) -> None:
    client.raw_in_background(b"".join(row.line + b"\n" for row in ROWS))
    answers = [client.message() for _ in ROWS]
    assert all("error" in answer for answer in answers)  # some say that the id is in use
    assert text_of(client.call("echo", {"text": "still here"})) == "still here"


IGNORED = (
    b"",
    b"   \t",
    b"\r",
    b'{"jsonrpc":"2.0","method":"notifications/unknown"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":true}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/initialized","params":{"_meta":5}}',
    b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
    b'{"jsonrpc":"2.0","id":"fsserver-1","result":{}}',
    b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"m"}}',
    b'{"jsonrpc":"2.0","id":7,"error":null}',
)


@pytest.mark.parametrize("line", IGNORED)
def test_what_needs_no_answer_gets_none(line: bytes, one_server: Client) -> None:
    client = one_server
    client.raw(line + b"\n")
    assert text_of(client.call("echo", {"text": "next"})) == "next"
    assert client.unexpected == []


def test_carriage_returns_before_the_newline_are_fine(one_server: Client) -> None:
    one_server.raw(request(method="ping").replace(b", ", b",") + b"\r\n")
    assert one_server.answer(99)["result"] == {}


def test_a_line_of_100_mb_is_refused_once_and_without_holding_it(client: Client) -> None:
    server = psutil.Process(client.process.pid)
    before = server.memory_info().rss
    piece = b"x" * 1_000_000
    writer = client.raw_in_background(b"".join([b'{"jsonrpc":"2.0","id":1,"x":"', *[piece] * 100, b'"}\n']))
    answer = client.message()
    writer.join(20)
    assert answer["id"] is None
    assert answer["error"]["code"] == INVALID_REQUEST
    assert str(MAX_LINE_BYTES) in answer["error"]["message"]
    assert text_of(client.call("echo", {"text": "next"})) == "next"
    assert client.unexpected == []
    assert server.memory_info().rss - before < 3 * MAX_LINE_BYTES


@pytest.mark.claim("C5")
def test_a_million_members_are_refused_without_making_them(client: Client) -> None:
    before = peak_memory(client)
    line = request(params={"name": "echo", "arguments": members(800_000)}) + b"\n"
    assert 14_000_000 < len(line) < MAX_LINE_BYTES
    client.raw_in_background(line, line)
    for _ in range(2):
        error = client.message()["error"]
        assert (error["code"], error["message"]) == (
            INVALID_REQUEST,
            "A message has at most 20000 members and items in all",
        )
    assert text_of(client.call("echo", {"text": "next"})) == "next"
    assert peak_memory(client) - before < 6 * MAX_LINE_BYTES


def peak_memory(client: Client) -> int:
    """The most bytes that the server ever held, by proc(5)."""
    status = Path(f"/proc/{client.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
def test_the_longest_line_fits_and_one_byte_more_does_not(over: int, fits: bool, client: Client) -> None:
    frame = len(request(method="ping", params={"x": ""}))
    line = request(method="ping", params={"x": "y" * (MAX_LINE_BYTES - frame + over)})
    assert len(line) == MAX_LINE_BYTES + over
    client.raw_in_background(line + b"\n")
    assert ("result" in client.message()) is fits


def test_a_message_in_single_bytes_is_one_message(one_server: Client) -> None:
    for byte in request(method="ping") + b"\n":
        one_server.raw(bytes([byte]))
    assert one_server.answer(99)["result"] == {}


def test_an_id_in_flight_cannot_be_used_again(one_server: Client) -> None:
    one_server.start("tools/call", {"name": "sleep", "arguments": {"seconds": 0.3}}, identifier="a")
    one_server.start("tools/call", {"name": "echo"}, identifier="a")
    assert one_server.answer("a")["error"]["code"] == INVALID_REQUEST
    assert text_of(one_server.answer("a")["result"]) == "slept"


def test_ids_of_different_types_are_different(one_server: Client) -> None:
    one_server.start("tools/call", {"name": "echo", "arguments": {"text": "n"}}, identifier=1)
    one_server.start("tools/call", {"name": "echo", "arguments": {"text": "s"}}, identifier="1")
    assert text_of(one_server.answer("1")["result"]) == "s"
    assert text_of(one_server.answer(1)["result"]) == "n"


def test_an_id_is_echoed_exactly(one_server: Client) -> None:
    for identifier in (0, -1, 2**70, "", "ü\n\0", "x" * 10_000):
        one_server.start("ping", identifier=identifier)
        assert one_server.answer(identifier)["id"] == identifier


def test_an_exception_tells_the_client_nothing_but_a_word_to_quote(one_server: Client) -> None:
    from tests.protocol.fixture_server import SECRET  # noqa: PLC0415 - it imports the server

    error = one_server.error("tools/call", {"name": "broken", "arguments": {}})
    assert error["code"] == -32603
    assert SECRET not in json.dumps(error)
    word = error["message"].rstrip(".").split()[-1]
    assert word in one_server.stderr()
    assert SECRET in one_server.stderr()


def test_a_result_that_cannot_be_sent_is_an_internal_error(one_server: Client) -> None:
    assert one_server.error("tools/call", {"name": "half_a_pair"})["code"] == -32603
    assert text_of(one_server.call("echo", {"text": "next"})) == "next"


@pytest.mark.claim("C6")
def test_what_is_no_call_is_not_in_the_log_and_a_refused_call_is(
    serve: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    client = serve("--root", root)
    early = client.error("tools/call", {"name": "read_text_file", "arguments": {"path": "a.txt"}})
    client.open()
    wrong: tuple[dict[str, object], ...] = (
        {"name": "read_text_file", "arguments": [1]},
        {"name": 5},
        {"arguments": {}},
    )
    misuse = [client.error("tools/call", params) for params in wrong]
    assert {error["code"] for error in (early, *misuse)} <= {INVALID_PARAMS, INVALID_REQUEST}
    assert client.call("read_text_file", {"path": 5})["isError"]
    assert client.call("no_such_tool")["isError"]
    client.close_input()
    assert client.wait() == 0
    (log,) = (tmp_path / "state").rglob("*.jsonl")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(record["event"], record["error"]) for record in records if record["event"].startswith("call.")] == [
        ("call.refused", "request.arguments"),
        ("call.refused", "request.unknown_tool"),
    ]


def test_names_of_tools_that_there_are_not_are_not_kept(serve: Callable[..., Client], root: Path) -> None:
    client = serve("--root", root)
    client.open()
    server = psutil.Process(client.process.pid)

    def call_ten(first: int) -> None:
        for number in range(first, first + 10):
            client.call(f"{number}" + "x" * 2_000_000, {"text": "x" * 2_000_000})  # to hash it makes the call long

    call_ten(0)
    before = server.memory_info().rss
    for first in (10, 20, 30):
        call_ten(first)
    assert server.memory_info().rss - before < 30_000_000


def test_every_byte_value_as_a_line_is_survived(start: StartFixture) -> None:
    client = start()
    client.open()
    client.raw(b"".join(bytes([value]) + b"\n" for value in range(256)) + os.urandom(50_000).replace(b"{", b"") + b"\n")
    assert text_of(client.call("echo", {"text": "still here"})) == "still here"
    assert all(message["error"]["code"] in (PARSE_ERROR, INVALID_REQUEST) for message in client.unexpected)
