"""Bytes that are no request, or not the request that they seem to be. Each is answered or hung up on, and the next
connection's call works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.attacks.web import Web, message, web

GOOD = message("notifications/x", None, None)
CHUNKS = f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("web").resolve()) as service:
        yield service


class Row(NamedTuple):
    """``status`` None: it is taken, with 202. ``open``: the connection goes on."""

    name: str
    request: Callable[[Web], bytes]
    status: int | None
    open: bool = False


def head(more: str) -> Callable[[Web], bytes]:
    return lambda service: service.post(GOOD, more=more)


def sized(length: str, body: bytes = GOOD) -> Callable[[Web], bytes]:
    return lambda service: service.post(body, length=length)


def target(text: str) -> Callable[[Web], bytes]:
    return lambda service: service.post(GOOD, target=text)


def raw(data: bytes) -> Callable[[Web], bytes]:
    return lambda _: data


def first(line: str, more: str = "") -> Callable[[Web], bytes]:
    """A request without a body."""
    return lambda service: f"{line}\r\n{service.fields()}{more}\r\n".encode()


def line_feeds(service: Web) -> bytes:
    return service.post(GOOD).replace(b"\r\n", b"\n")


ROWS = [
    Row("honest", head(""), None, open=True),
    # What a line is, and where a value ends
    Row("bare line feeds", line_feeds, 400),
    Row("bare line feed in a header", head("X-A: b\nX-B: c\r\n"), 400),
    Row("bare carriage return", head("X-A: b\rX-B: c\r\n"), 400),
    Row("folded header", head("X-A: b\r\n c\r\n"), 400),
    Row("space before the colon", head("X-A : b\r\n"), 400),
    Row("space in front of a name", head(" X-A: b\r\n"), 400),
    Row("no colon", head("X-A\r\n"), 400),
    Row("no name", head(": b\r\n"), 400),
    Row("NUL in a value", head("X-A: b\0c\r\n"), 400),
    # Where a body ends
    Row("length and chunks", lambda service: service.post(CHUNKS, more=CHUNKED), 400),
    Row("chunks and length", sized(f"{CHUNKED}Content-Length: 5\r\n", CHUNKS), 400),
    Row("two lengths", head("Content-Length: 3\r\n"), 400),
    Row("the same length twice", head(f"Content-Length: {len(GOOD)}\r\n"), 400),
    Row("a list of lengths", sized("Content-Length: 3, 3\r\n"), 400),
    Row("a negative length", sized("Content-Length: -1\r\n"), 400),
    Row("a length with a sign", sized("Content-Length: +3\r\n"), 400),
    Row("a length in hexadecimal", sized("Content-Length: 0x10\r\n"), 400),
    Row("a length of 30 digits", sized(f"Content-Length: {'9' * 30}\r\n"), 400),
    Row("a length of 19 digits", sized(f"Content-Length: {'9' * 19}\r\n"), 413, open=True),
    Row("a length of 1 TiB", sized(f"Content-Length: {2**40}\r\n"), 413, open=True),
    Row("no length", sized("X: y\r\n", b""), 400, open=True),
    Row("chunked, then gzip", sized("Transfer-Encoding: chunked, gzip\r\n", CHUNKS), 400),
    Row("gzip, then chunked", sized("Transfer-Encoding: gzip, chunked\r\n", CHUNKS), 501),
    Row("chunked twice", sized(f"{CHUNKED}{CHUNKED}", CHUNKS), 400),
    Row("identity", sized("Transfer-Encoding: identity\r\n"), 400),
    Row("another word for chunked", sized("Transfer-Encoding: xchunked\r\n", CHUNKS), 400),
    Row("chunked with a vertical tab", sized("Transfer-Encoding: \x0bchunked\r\n", CHUNKS), 400),
    Row("chunks", sized(CHUNKED, CHUNKS), None, open=True),
    Row("a chunk without a size", sized(CHUNKED, b"\r\n" + GOOD + b"\r\n0\r\n\r\n"), 400),
    Row("a chunk of size zz", sized(CHUNKED, b"zz\r\n" + CHUNKS), 400),
    Row("a chunk of negative size", sized(CHUNKED, b"-1\r\n" + CHUNKS), 400),
    Row("a chunk of size 0x10", sized(CHUNKED, b"0x10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"), 400),
    Row("a chunk beyond 64 bits", sized(CHUNKED, b"f" * 17 + b"\r\n" + CHUNKS), 400),
    Row("a chunk that is longer than it says", sized(CHUNKED, CHUNKS.replace(b"}\r\n", b"}xx")), 400),
    Row("chunks with bare line feeds", sized(CHUNKED, CHUNKS.replace(b"\r\n", b"\n")), 400),
    Row("a length after the chunks", sized(CHUNKED, CHUNKS[:-2] + b"Content-Length: 9\r\n\r\n"), 400),
    Row("a body that is longer than it says", lambda service: service.post(GOOD) + b"more", 400),
    # What is asked for
    Row("HTTP/0.9", raw(b"GET /mcp\r\n\r\n"), 505),
    Row("HTTP/2 preface", raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"), 400),
    Row("HTTP/2.0 in the first line", first("POST /mcp HTTP/2.0", "Content-Length: 0\r\n"), 505),
    Row("HTTP/1.9", first("POST /mcp HTTP/1.9", "Content-Length: 0\r\n"), 400),
    Row("TLS", raw(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(200)), 400),
    Row("a WebSocket", first("GET /mcp HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 400),
    Row("h2c", head("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), 400),
    Row("a proxy's CONNECT", raw(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), 400),
    Row("a proxy's address", target("http://evil.example/mcp"), 400),
    Row("a star", first("OPTIONS * HTTP/1.1"), 400),
    Row("a fragment", target("/mcp#/x"), 400),
    Row("an escaped letter", target("/%6dcp"), 404, open=True),
    Row("two slashes", target("//mcp"), 404, open=True),
    Row("a way up", target("/x/../mcp"), 404, open=True),
    Row("a byte above ASCII", target("/m\xe9"), 400),
    Row("GET", first("GET /mcp HTTP/1.1"), 405, open=True),
    Row("OPTIONS", first("OPTIONS /mcp HTTP/1.1"), 405, open=True),
    Row("TRACE", first("TRACE /mcp HTTP/1.1"), 405, open=True),
    Row("PUT", first("PUT /mcp HTTP/1.1", "Content-Length: 0\r\n"), 405, open=True),
    Row("an address of 100 KB", target("/" + "a" * 100_000), 431),
    Row("a header of 100 KB", head(f"X-A: {'a' * 100_000}\r\n"), 431),
    Row("a name of 100 KB", head(f"{'a' * 100_000}: b\r\n"), 431),
    Row("200 headers", head("X: a\r\n" * 200), 431),
    Row("Expect: 100-continue", head("Expect: 100-continue\r\n"), None, open=True),
    # Twice, so that somebody in front may have looked at the other
    Row("Host twice", head("Host: 127.0.0.1\r\n"), 400),
    Row("Authorization twice", head("Authorization: Bearer x\r\n"), 400, open=True),
    Row("Content-Type twice", head("Content-Type: application/json\r\n"), 415, open=True),
    Row("Mcp-Session-Id twice", head("Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n"), 404, open=True),
    # Web pages
    Row("a page of another site", head("Origin: https://evil.example\r\n"), 403, open=True),
    Row("a page of no site", head("Origin: null\r\n"), 403, open=True),
    Row("a page that names this server", head("Origin: http://127.0.0.1\r\n"), 403, open=True),
    Row("a page of the policy", head("Origin: https://app.example.org\r\n"), None, open=True),
    Row("two pages", head("Origin: https://app.example.org\r\nOrigin: https://evil.example\r\n"), 403, open=True),
    Row("a page with a longer name", head("Origin: https://app.example.org.evil.example\r\n"), 403, open=True),
    Row("a form", lambda s: s.post(GOOD, fields=s.fields().replace("application/json", "text/plain", 1)), 415, True),
    Row("compressed", head("Content-Encoding: gzip\r\n"), 415, open=True),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_what_is_no_request_is_refused_and_the_next_one_works(row: Row, service: Web) -> None:
    with service.wire() as wire:
        wire.send(row.request(service))
        answer = wire.answer()
        assert answer.status == (202 if row.status is None else row.status)
        if row.open:
            assert answer.header("connection") is None
        else:
            assert wire.ends() == b"", "one answer, and no other"
    service.works()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "localhost.", "[::1",
     "127.0.0.1:80:80", "127.0.0.1, evil.example", "0.0.0.0", "127.1", "169.254.169.254"],
)  # fmt: skip
def test_a_name_that_was_rebound_to_this_address_is_refused(host: str, service: Web) -> None:
    answer = service.asked(service.post(GOOD, fields=service.fields(host=host)))
    assert answer.status == 421


def test_a_missing_host_is_refused(service: Web) -> None:
    fields = service.fields().split("\r\n", 1)[1]
    assert service.asked(service.post(GOOD, fields=fields)).status == 400


def test_head_is_answered_without_a_body(service: Web) -> None:
    with service.wire() as wire:
        wire.send(first("HEAD /mcp HTTP/1.1")(service))
        assert wire.answer("HEAD").status == 405
        wire.send(service.post(GOOD))
        assert wire.answer().status == 202


@pytest.mark.claim("C10")
@pytest.mark.parametrize("field", ["Authorization: Bearer {token}", "Mcp-Session-Id: {session}"])
def test_fields_after_the_body_are_no_headers(field: str, service: Web) -> None:
    session = service.session("ada")
    late = field.format(token=service.tokens["ada"], session=session).encode()
    who = None if field.startswith("Authorization") else "ada"
    body = message("ping")
    chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n" + late + b"\r\n\r\n"
    answer = service.asked(service.post(chunks, fields=service.fields(who), length=CHUNKED))
    assert answer.status == (401 if who is None else 400)


def test_fields_after_the_body_do_not_change_whom_it_is_for(service: Web) -> None:
    chunks = CHUNKS.removesuffix(b"\r\n") + b"Host: evil.example\r\nOrigin: https://evil.example\r\n\r\n"
    with service.wire() as wire:
        wire.send(service.post(chunks, length=CHUNKED) + service.post(GOOD))
        assert [wire.answer().status for _ in range(2)] == [202, 202]


def test_the_body_of_a_refused_request_is_no_request(service: Web) -> None:
    smuggled = service.post(GOOD)
    with service.wire() as wire:
        wire.send(service.post(smuggled * 40, fields=service.fields(None)))
        assert wire.answer().status == 401
        wire.send(service.post(GOOD))
        assert wire.answer().status == 202


def test_a_refusal_before_the_body_came_is_the_only_answer(service: Web) -> None:
    size = 1024 * 1024
    with service.wire() as wire:
        wire.send(service.post(b"", fields=service.fields(None), length=f"Content-Length: {size}\r\n"))
        assert wire.answer().status == 401
        wire.send(b"x" * size + service.post(GOOD))
        assert wire.answer().status == 202


@pytest.mark.parametrize("chunked", [False, True], ids=["by-its-length", "in-chunks"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(chunked: bool, service: Web) -> None:
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    length = CHUNKED if chunked else f"Content-Length: {64 * 1024**2}\r\n"
    with service.wire() as wire:
        wire.send(service.post(b"", length=length) + (piece * 65 if chunked else b""))
        answer = wire.answer()
        assert answer.status == 413
        assert "server.limits.body" in answer.json()["error"]["message"]
        wire.send(piece * 1024)
        wire.ends()  # what goes on for ever is not read for ever
    service.works()


def test_a_body_that_ends_early_does_nothing(service: Web) -> None:
    name = f"{service.base}/work/early"
    request = service.modern("write_file", {"path": name, "content": "x"})
    with service.wire() as wire:
        wire.send(request[:-1])
        wire.socket.shutdown(1)
        wire.ends()
    service.works()
    assert not (service.base / "work/early").exists()


def test_requests_ahead_of_their_answers_are_answered_in_order(service: Web) -> None:
    session = service.session("ada")
    fields = service.fields(session=session)
    sent = [service.post(message("ping", None, number), fields=fields) for number in range(8)]
    padded = service.post(message("ping", {"_meta": {"x": "y" * 100_000}}, 8), fields=fields)
    with service.wire() as wire:
        wire.send(b"".join(sent) + padded)
        assert [wire.answer().json()["id"] for _ in range(9)] == list(range(9))


def test_a_refusal_is_the_last_that_is_said_also_where_requests_wait(service: Web) -> None:
    with service.wire() as wire:
        wire.send(service.read() + service.read("bob") + b"garbage\r\n\r\n")
        said = wire.ends()
    assert said.count(b"HTTP/1.1 ") - said.count(b"HTTP/1.1 200 ") == 1
    assert said.endswith(b"content-length: 0\r\n\r\n")
    assert "RuntimeError" not in service.server.stderr


def test_thousands_of_requests_ahead_are_not_kept(service: Web) -> None:
    with service.undisturbed(), service.wire() as wire:
        wire.send(first("GET /mcp HTTP/1.1")(service) * 5000)
        assert wire.ends().count(b"HTTP/1.1 ") < 100
    service.works()


HOSTILE = [
    ("not JSON", b"hello", -32700),
    ("nothing", b"", -32700),
    ("deep", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 100_000, -32600),
    ("deep but whole", message("ping", {"a": json.loads("[" * 300 + "]" * 300)}), -32700),
    ("20,001 values", message("ping", {"a": [0] * 20_001}), -32600),
    ("a batch", b"[" + message("ping") + b"]", -32600),
    ("two messages", message("ping") * 2, -32700),
    ("NaN", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
    ("half of a surrogate pair", message("ping", {"a": "\ud83d"}), -32602),
    ("an id of a million digits", b'{"jsonrpc":"2.0","method":"ping","id":' + b"9" * 1_000_000 + b"}", -32700),
]


@pytest.mark.parametrize(("body", "code"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_body_is_an_error(body: bytes, code: int, service: Web) -> None:
    answer = service.asked(service.post(body))
    assert (answer.status, answer.json()["error"]["code"]) == (400, code)
    service.works()


INJECTED = "x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\n"


def test_no_text_of_a_client_becomes_a_header(service: Web) -> None:
    session = service.session("ada", name=INJECTED)
    assert session.isascii()
    assert session.isprintable()
    answer = service.asked(service.post(message("ping", None, INJECTED), fields=service.fields(session=session)))
    assert answer.json()["id"] == INJECTED
    assert {name for name, _ in answer.headers} == {"date", "x-request-id", "content-type", "content-length"}


def test_the_name_of_a_request_is_the_servers_own(service: Web) -> None:
    answer = service.asked(service.post(GOOD, more="X-Request-Id: mine\r\n"))
    assert answer.header("x-request-id") not in (None, "mine")


@pytest.mark.claim("C10")
def test_no_token_is_taken_from_the_address_or_told_to_anybody(service: Web) -> None:
    """Neither its refusal nor a line, a record or a metric has it."""
    token = service.tokens["cleo"]
    asked = service.post(GOOD, fields=service.fields(None), target=f"/mcp?access_token={token}")
    refused = service.asked(asked)
    assert refused.status == 400
    assert token.encode() not in refused.body
    answers = [
        service.asked(service.post(GOOD, fields=service.fields(None), more=f"Authorization: Basic {token}\r\n")),
        service.asked(service.post(GOOD, fields=service.fields(None), more=f"Authorization: Bearer {token}x\r\n")),
        service.asked(service.read("cleo")),
        service.asked(service.modern("read_text_file", {"path": f"{service.base}/work/{token}"}, "cleo", token)),
    ]
    assert [answer.status for answer in answers] == [401, 401, 200, 200]
    port = service.server.line(r"Serving operators on [^ ]+:(\d+)")[1]
    metrics = service.asked_of(int(port), "/metrics")
    assert metrics.status == 200
    (log,) = (service.base / "audit").glob("*.jsonl")
    for told in (service.server.stderr, log.read_text(), metrics.body.decode()):
        assert token not in told
