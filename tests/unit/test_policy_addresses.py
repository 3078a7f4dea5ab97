"""Addresses, networks and URLs of a policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsserver.policy.addresses import (
    host,
    network,
    origin,
    parse_address,
    plain_web_url,
    redis_url,
    syslog_url,
    web_url,
)
from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.service import Address, is_loopback


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:443", "0.0.0.0", 443),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("[2001:db8::1]:1", "2001:db8::1", 1),
    ],
)
def test_an_address_is_a_host_and_a_port_and_is_written_back(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("8080", 'did you mean "127.0.0.1:8080"?', id="port alone"),
        pytest.param(":8080", 'did you mean "127.0.0.1:8080"?', id="no host"),
        pytest.param("127.0.0.1", "127.0.0.1:8080 is for this machine only", id="no port"),
        pytest.param("example.org:80", "127.0.0.1:8080 is", id="name"),
        pytest.param("127.0.0.1:65536", "127.0.0.1:8080 is", id="no such port"),
        pytest.param("127.0.0.1:080", "127.0.0.1:8080 is", id="leading zero"),
        pytest.param("127.1:80", "127.0.0.1:8080 is", id="short IPv4"),
        pytest.param("127.000.000.001:80", "127.0.0.1:8080 is", id="octal to some"),
        pytest.param("::1:80", "127.0.0.1:8080 is", id="IPv6 without brackets"),
        pytest.param("[::ffff:127.0.0.1]:80", "127.0.0.1:8080 is", id="IPv4 in IPv6"),
        pytest.param("[127.0.0.1]:80", "127.0.0.1:8080 is", id="IPv4 in brackets"),
        pytest.param("127.0.0.1:8080\n", "127.0.0.1:8080 is", id="newline"),
        pytest.param("", "127.0.0.1:8080 is", id="empty"),
    ],
)
def test_what_is_no_address_to_listen_on_is_refused_with_help(text: str, hint: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse_address(text)
    assert caught.value.code is Code.ADDRESS
    assert hint in (caught.value.help or "")


@pytest.mark.parametrize(
    ("name", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_only_an_address_that_cannot_leave_the_machine_is_loopback(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        pytest.param(network, "10.0.0.5", "10.0.0.5", id="proxy"),
        pytest.param(network, "10.0.0.0/24", "10.0.0.0/24", id="network"),
        pytest.param(network, "2001:DB8::/32", "2001:db8::/32", id="IPv6"),
        pytest.param(host, "MCP.internal:8443", "mcp.internal:8443", id="host and port"),
        pytest.param(host, "[::1]:80", "[::1]:80", id="IPv6 host"),
        pytest.param(origin, "https://App.example.org", "https://app.example.org", id="origin"),
        pytest.param(origin, "http://localhost:6274", "http://localhost:6274", id="origin with a port"),
        pytest.param(origin, "vscode-webview://0a_b", "vscode-webview://0a_b", id="an editor's origin"),
        pytest.param(web_url, "https://x.org:8443/a?b=c", "https://x.org:8443/a?b=c", id="URL"),
        pytest.param(web_url, "http://localhost/keys", "http://localhost/keys", id="http on loopback"),
        pytest.param(web_url, "http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces", id="http on IPv6 loopback"),
        pytest.param(plain_web_url, "https://x.org/tenant/", "https://x.org/tenant/", id="issuer"),
        pytest.param(redis_url, "redis://10.0.0.7:6379/0", "redis://10.0.0.7:6379/0", id="Redis"),
        pytest.param(redis_url, "rediss://app@redis.example.org", "rediss://app@redis.example.org", id="Redis user"),
        pytest.param(syslog_url, "tls://logs.example.org", "tls://logs.example.org", id="syslog"),
        pytest.param(syslog_url, "tcp://127.0.0.1:601", "tcp://127.0.0.1:601", id="plain syslog on loopback"),
    ],
)
def test_what_is_right_comes_back_as_it_is_compared(parse: Callable[[str], str], text: str, value: str) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "code", "message"),
    [
        pytest.param(network, "10.0.0.5/24", Code.ADDRESS, "is not how a network is written", id="host bits"),
        pytest.param(network, "proxy.example.org", Code.ADDRESS, "is not an IP address or a network", id="name"),
        pytest.param(network, "0.0.0.0/0", Code.OPEN, "every address there is", id="everybody"),
        pytest.param(network, "::/0", Code.OPEN, "every address there is", id="everybody on IPv6"),
        pytest.param(host, "http://a", Code.ADDRESS, "is not a host name", id="URL for a host"),
        pytest.param(host, "*.example.org", Code.ADDRESS, "is not a host name", id="wildcard"),
        pytest.param(origin, "*", Code.ADDRESS, "is not an origin", id="any origin"),
        pytest.param(origin, "null", Code.ADDRESS, "is not an origin", id="null"),
        pytest.param(origin, "https://a/", Code.ADDRESS, "is not an origin", id="path"),
        pytest.param(origin, "https://a:443", Code.ADDRESS, "leaves out the usual port", id="usual port"),
        pytest.param(origin, "a.example.org", Code.ADDRESS, "is not an origin", id="no scheme"),
        pytest.param(web_url, "http://x.org", Code.OPEN, "can be read and changed on the way", id="http"),
        pytest.param(web_url, "http://127.0.0.1.x.org", Code.OPEN, "can be read and changed", id="like loopback"),
        pytest.param(web_url, "http://127.0.0.1@x.org", Code.ADDRESS, "holds no password", id="loopback as a user"),
        pytest.param(web_url, "HTTPS://x.org", Code.ADDRESS, "is not a URL that begins with https://", id="case"),
        pytest.param(web_url, "https://x.org#a", Code.ADDRESS, "is not a URL that begins with", id="fragment"),
        pytest.param(web_url, "https://x.org:0", Code.ADDRESS, "is not a URL that begins with", id="port 0"),
        pytest.param(web_url, "https://[::g]", Code.ADDRESS, "is not a URL that begins with", id="no IPv6"),
        pytest.param(web_url, "https://x.org/a b", Code.ADDRESS, "is not a URL that begins with", id="space"),
        pytest.param(web_url, "https://\u0445.org", Code.ADDRESS, "is not a URL that begins with", id="another script"),
        pytest.param(web_url, "ftp://x.org", Code.ADDRESS, "begins with https:// or http://", id="scheme"),
        pytest.param(plain_web_url, "https://x.org?a", Code.ADDRESS, "has a query", id="query"),
        pytest.param(redis_url, "http://x.org", Code.ADDRESS, "begins with redis:// or rediss://", id="no Redis"),
        pytest.param(redis_url, "redis://x.org/zero", Code.ADDRESS, "names more than", id="no number"),
        pytest.param(redis_url, "redis://x.org?a=b", Code.ADDRESS, "names more than", id="options"),
        pytest.param(syslog_url, "tcp://logs.example.org", Code.OPEN, "records without TLS", id="plain syslog"),
        pytest.param(syslog_url, "udp://127.0.0.1", Code.ADDRESS, "begins with tls:// or tcp://", id="UDP"),
        pytest.param(syslog_url, "tls://logs.example.org/a", Code.ADDRESS, "names more than", id="path of syslog"),
    ],
)
def test_what_is_wrong_says_why(parse: Callable[[str], str], text: str, code: Code, message: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(text)
    assert caught.value.code is code
    assert message in caught.value.message
    assert caught.value.help


@pytest.mark.parametrize("parse", [redis_url, web_url, syslog_url])
@pytest.mark.parametrize(
    "text",
    ["redis://:hunter2@h", "rediss://u:hunter2@h", "https://u:hunter2@h/", "tls://u:hunter2@h", "x://u:hun/ter2@h"],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(parse: Callable[[str], str], text: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(text)
    assert "ter2" not in caught.value.message + (caught.value.help or "")
