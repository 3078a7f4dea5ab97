"""What is refused of a request before its body is read: by name, page, path, query, method and form."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fsserver.policy.service import Address, ServerRules, Transport
from fsserver.transport.http.admission import Admission
from fsserver.transport.http.refusal import Refusal

LOOPBACK = ServerRules(Transport.HTTP, Address("127.0.0.1", 8080))
PUBLIC = ServerRules(
    Transport.HTTP,
    Address("10.0.0.4", 8443),
    public_url="https://mcp.example.org/mcp",
    hosts=("mcp.internal:8443",),
    origins=("https://app.example.org",),
)

FORM = [(b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]


class HostRow(NamedTuple):
    name: str
    rules: ServerRules
    hosts: list[bytes]
    status: int | None


@pytest.mark.parametrize(
    "row",
    [
        HostRow("loopback-address", LOOPBACK, [b"127.0.0.1:8080"], None),
        HostRow("loopback-name", LOOPBACK, [b"localhost:8080"], None),
        HostRow("loopback-of-ipv6", LOOPBACK, [b"[::1]:8080"], None),
        HostRow("through-a-forwarded-port", LOOPBACK, [b"localhost:9999"], None),
        HostRow("in-capitals", LOOPBACK, [b"LocalHost:8080"], None),
        HostRow("rebound-name", LOOPBACK, [b"evil.example:8080"], 421),
        HostRow("name-that-begins-alike", LOOPBACK, [b"localhost.evil.example"], 421),
        HostRow("address-that-begins-alike", LOOPBACK, [b"127.0.0.1.evil.example"], 421),
        HostRow("bracket-and-more", LOOPBACK, [b"[::1]evil.example"], 421),
        HostRow("port-that-is-none", LOOPBACK, [b"localhost:x"], 421),
        HostRow("none", LOOPBACK, [], 400),
        HostRow("two", LOOPBACK, [b"localhost", b"evil.example"], 400),
        HostRow("empty", LOOPBACK, [b""], 421),
        HostRow("public-name", PUBLIC, [b"mcp.example.org"], None),
        HostRow("further-name", PUBLIC, [b"mcp.internal:8443"], None),
        HostRow("further-name-other-port", PUBLIC, [b"mcp.internal"], None),
        HostRow("loopback-name-of-a-public-server", PUBLIC, [b"localhost"], 421),
        HostRow("its-address", PUBLIC, [b"10.0.0.4:8443"], None),
        HostRow("other-address", PUBLIC, [b"10.0.0.5:8443"], 421),
    ],
    ids=lambda row: row.name,
)
def test_only_names_of_this_server_are_served(row: HostRow) -> None:
    headers = [(b"host", host) for host in row.hosts]
    if row.status is None:
        Admission(row.rules).host(headers)
        return
    with pytest.raises(Refusal) as refused:
        Admission(row.rules).host(headers)
    assert refused.value.status == row.status
    assert refused.value.close


class Row(NamedTuple):
    name: str
    status: int | None
    method: str = "POST"
    path: str = "/mcp"
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = FORM


@pytest.mark.parametrize(
    "row",
    [
        Row("a-request", None),
        Row("delete", None, method="DELETE", headers=[]),
        Row("any-answer", None, headers=[(b"content-type", b"application/json"), (b"accept", b"*/*")]),
        Row("with-a-charset", None, headers=[(b"content-type", b"application/json; charset=utf-8"), FORM[1]]),
        Row("two-accept-fields", None, headers=[FORM[0], (b"accept", b"application/json"), (b"accept", b"text/*")]),
        Row("listed-page", None, headers=[*FORM, (b"origin", b"https://app.example.org")]),
        Row("own-page", None, headers=[*FORM, (b"origin", b"https://mcp.example.org")]),
        Row("other-page", 403, headers=[*FORM, (b"origin", b"https://evil.example")]),
        Row("page-that-begins-alike", 403, headers=[*FORM, (b"origin", b"https://app.example.org.evil.example")]),
        Row("page-without-tls", 403, headers=[*FORM, (b"origin", b"http://app.example.org")]),
        Row("nowhere-page", 403, headers=[*FORM, (b"origin", b"null")]),
        Row("second-origin", 403, headers=[*FORM, (b"origin", b"https://app.example.org"), (b"origin", b"null")]),
        Row("other-path", 404, path="/"),
        Row("path-below", 404, path="/mcp/x"),
        Row("metrics-are-elsewhere", 404, path="/metrics"),
        Row("token-in-the-query", 400, query=b"access_token=secret"),
        Row("any-query", 400, query=b"x"),
        Row("get", 405, method="GET", headers=[(b"accept", b"text/event-stream")]),
        Row("put", 405, method="PUT"),
        Row("form-of-a-page", 415, headers=[(b"content-type", b"text/plain"), FORM[1]]),
        Row("no-type", 415, headers=[FORM[1]]),
        Row("two-types", 415, headers=[FORM[0], FORM[0], FORM[1]]),
        Row("compressed", 415, headers=[*FORM, (b"content-encoding", b"gzip")]),
        Row("json-only", 406, headers=[FORM[0], (b"accept", b"application/json")]),
        Row("no-accept", 406, headers=[FORM[0]]),
    ],
    ids=lambda row: row.name,
)
def test_only_requests_of_the_protocol_are_read(row: Row) -> None:
    admission = Admission(PUBLIC)
    if row.status is None:
        admission.look(row.method, row.path, row.query, row.headers)
        return
    with pytest.raises(Refusal) as refused:
        admission.look(row.method, row.path, row.query, row.headers)
    assert refused.value.status == row.status
    assert b"secret" not in refused.value.body()


def test_the_path_is_that_of_the_public_url() -> None:
    rules = ServerRules(Transport.HTTP, public_url="https://mcp.example.org/team/mcp/")
    assert Admission(rules).path == "/team/mcp"
    assert Admission(ServerRules(public_url="https://mcp.example.org")).path == "/mcp"


def test_a_refusal_says_when_to_try_again() -> None:
    refusal = Refusal(503, "busy", "Too much.", -32000, retry_after_s=7, close=True, id="a")
    assert (b"retry-after", b"7") in refusal.fields()
    assert (b"connection", b"close") in refusal.fields()
    assert b'"transient":true' in refusal.body()
    assert b'"id":"a"' in refusal.body()
