"""What is fetched from an issuer: over TLS that is checked, bounded, and from the place that was meant."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from fsserver.transport.auth.discovery import find_jwks, metadata_urls
from fsserver.transport.auth.fetching import MAX_BYTES, FetchError, fetch_json, is_acceptable, port_of
from fsserver.trust import client_context
from tests.issuer import Answer, ec_key, fake_issuer

T = TypeVar("T")
Write = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def fetched(write: Write, *, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Any:
    """What `fetch_json` makes of a server that does ``write``."""
    return served(
        write, lambda url: fetch_json(f"{url}/a?b=c", client_context(), timeout_s=timeout_s), tls=tls, host=host
    )


def served(
    write: Write, ask: Callable[[str], Awaitable[T]], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> T:
    """What ``ask`` makes of a server that does ``write``, given its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):  # the client has seen enough
                await write(reader, writer)
        finally:
            writer.transport.abort()

    async def test() -> T:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        try:
            return await ask(f"{'http' if tls is None else 'https'}://{host}:{port}")
        finally:
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    return asyncio.run(test())


def test_the_end_waits_for_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, began = threading.Event(), time.monotonic()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(10) and [])
    with pytest.raises(FetchError, match="did not answer within"):
        asyncio.run(fetch_json("https://id.example.org/keys", client_context(), timeout_s=0.05))
    assert time.monotonic() - began < 5
    answered.set()


def answering(*parts: bytes, end: bool = True) -> Write:
    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.write_eof() if writer.can_write_eof() else writer.close()
        await reader.read()

    return write


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(answering(OK + b'Content-Length: 7\r\n\r\n{"a":1}', end=False), id="length"),
        pytest.param(answering(OK + b"Content-Length: 7\r\n\r\n", b'{"a', b'":1}', end=False), id="in parts"),
        pytest.param(answering(OK + b'\r\n{"a":1}'), id="until the connection ends"),
        pytest.param(
            answering(OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n', end=False),
            id="chunks",
        ),
    ],
)
def test_answer_of_each_form_is_read(write: Write) -> None:
    assert fetched(write) == {"a": 1}


def test_request_says_what_is_asked_of_whom() -> None:
    seen: list[bytes] = []

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 2\r\n\r\n{}")
        await writer.drain()

    assert fetched(write) == {}
    line, host, *_ = seen[0].split(b"\r\n")
    assert line == b"GET /a?b=c HTTP/1.1"
    assert host.startswith(b"Host: 127.0.0.1:")


async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drips(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    for number in range(10_000):
        writer.write(b"X-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.01)


async def never_ends(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b'\r\n{"a":"')
    while True:
        writer.write(b"a" * 65536)
        await writer.drain()


async def never_ends_its_headers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    while True:
        writer.write(b"X: " + b"a" * 65536 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        pytest.param(says_nothing, "did not answer within", id="silence"),
        pytest.param(drips, "did not answer within", id="a header at a time"),
        pytest.param(never_ends, f"more than {MAX_BYTES} bytes", id="endless body"),
        pytest.param(never_ends_its_headers, f"more than {MAX_BYTES} bytes", id="endless headers"),
        pytest.param(answering(b"SSH-2.0-x\r\n"), "did not answer in HTTP", id="another protocol"),
        pytest.param(answering(OK + b'Content-Length: 9\r\n\r\n{"a":1'), "holds no JSON", id="cut"),
        pytest.param(
            answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "in HTTP", id="101"
        ),
        pytest.param(answering(b""), "answered 0", id="nothing"),
        pytest.param(
            answering(OK + b"Content-Length: 1000000000000000000000\r\n\r\n"), "in HTTP", id="impossible length"
        ),
        pytest.param(answering(OK + b"Content-Length: 4\r\n\r\n[{}]", end=False), "no JSON object", id="list"),
        pytest.param(answering(OK + b"Content-Length: 2\r\n\r\n\xff\xfe", end=False), "holds no JSON", id="no text"),
    ],
)
def test_answer_that_is_none_is_an_error_soon(write: Write, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        fetched(write, timeout_s=0.5 if "within" in said else 5.0)


def test_nobody_listening_is_an_error() -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        asyncio.run(fetch_json("http://127.0.0.1:1/", client_context()))


def test_host_name_that_cannot_be_is_an_error() -> None:
    with pytest.raises(FetchError, match="cannot be"):
        asyncio.run(fetch_json(f"https://{'a' * 70}.example/", client_context()))


@pytest.mark.parametrize(
    ("url", "acceptable", "on_loopback"),
    [
        ("https://id.example.org", True, True),
        ("https://id.example.org:8443/tenant?a=b", True, True),
        ("https://[2001:db8::1]/", True, True),
        ("http://127.0.0.1:9000/x", False, True),
        ("http://127.9.9.9/", False, True),
        ("http://[::1]/", False, True),
        ("http://localhost/", False, True),
        ("http://id.example.org", False, False),
        ("http://localhost.example.org/", False, False),
        ("http://127.0.0.1.example.org/", False, False),
        ("http://127.1/", False, False),
        ("http://127.0.0.1@id.example.org/", False, False),
        ("https://user:password@id.example.org/", False, False),
        ("https://", False, False),
        ("https:///path", False, False),
        ("ftp://id.example.org/", False, False),
        ("file:///etc/passwd", False, False),
        ("https://id.example.org:port/", False, False),
        ("https://[::1/", False, False),
        ("https://id.example.org/a b", False, False),
        ("https://id.example.org/\r\nX: y", False, False),
        ("https://idé.example.org/", False, False),
        ("", False, False),
    ],
)
def test_which_addresses_are_asked(url: str, acceptable: bool, on_loopback: bool) -> None:
    assert (is_acceptable(url, plain=False), is_acceptable(url, plain=True)) == (acceptable, on_loopback)


def test_port_is_the_schemes_own_unless_it_is_written() -> None:
    urls = ("https://a.example", "http://[::1]/", "https://a.example:8443/x")
    assert [port_of(url) for url in urls] == [443, 80, 8443]


# --- TLS.


def certificate(directory: Path) -> Path:
    """A certificate authority, and a server's certificate for 127.0.0.1 with its key."""
    now = dt.datetime.now(dt.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def made(name: str, number: int, *extensions: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder(named("test authority"), named(name), ec_key(number).public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(ec_key(10), hashes.SHA256())

    authority = made("test authority", 10, x509.BasicConstraints(ca=True, path_length=None))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = made("server", 11, address)
    pem, key = serialization.Encoding.PEM, ec_key(11)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(server.public_bytes(pem) + private)
    (directory / "authority.pem").write_bytes(authority.public_bytes(pem))
    return directory / "authority.pem"


@pytest.fixture
def encrypted(tmp_path: Path) -> ssl.SSLContext:
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


ANSWER = answering(OK + b"Content-Length: 7\r\n\r\n" + b'{"a":1}')


def test_server_whose_certificate_is_trusted_is_asked(
    tmp_path: Path, encrypted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert fetched(ANSWER, tls=encrypted) == {"a": 1}


def test_server_whose_certificate_is_not_trusted_gets_no_request(encrypted: ssl.SSLContext) -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        fetched(ANSWER, tls=encrypted)


def test_certificate_for_another_name_is_refused(
    tmp_path: Path, encrypted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with pytest.raises(FetchError, match="cannot be reached"):
        fetched(ANSWER, tls=encrypted, host="localhost")


@pytest.mark.parametrize("kind", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_are_in_memory_before_their_files_are_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Landlock takes them away later; here they are deleted."""
    directory = tmp_path / "authorities"
    directory.mkdir()
    shutil.copy(certificate(tmp_path), directory / "authority.pem")
    (directory / "README").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv(kind, str(directory if kind == "SSL_CERT_DIR" else directory / "authority.pem"))
    trust = client_context()
    shutil.rmtree(directory)
    assert trust.cert_store_stats()["x509_ca"] == 1
    assert trust.verify_mode == ssl.CERT_REQUIRED
    assert trust.check_hostname


# --- Discovery.


def test_metadata_is_looked_for_where_the_standards_say() -> None:
    assert metadata_urls("https://id.example.org") == [
        "https://id.example.org/.well-known/oauth-authorization-server",
        "https://id.example.org/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://id.example.org/") == metadata_urls("https://id.example.org")
    assert metadata_urls("https://id.example.org/realms/a") == [
        "https://id.example.org/.well-known/oauth-authorization-server/realms/a",
        "https://id.example.org/.well-known/openid-configuration/realms/a",
        "https://id.example.org/realms/a/.well-known/openid-configuration",
    ]


OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.mark.parametrize("path", ["", "/", "/realms/a"])
@pytest.mark.parametrize("place", [f"{OAUTH}{{}}", f"{OPENID}{{}}", f"{{}}{OPENID}"])
def test_keys_are_found_through_the_issuers_metadata(path: str, place: str) -> None:
    with fake_issuer() as server:
        issuer = server.url + path
        document = {"issuer": issuer, "jwks_uri": "https://keys.example.org/jwks"}
        server.answers[place.format(path.rstrip("/"))] = Answer(document)
        assert asyncio.run(find_jwks(issuer, client_context())) == "https://keys.example.org/jwks"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"issuer": "https://evil.example.org", "jwks_uri": "https://x/"}, "another issuer", id="other"),
        pytest.param({"issuer": "+/", "jwks_uri": "https://x/"}, "another issuer", id="with a slash"),
        pytest.param({"jwks_uri": "https://x/"}, "another issuer", id="no issuer"),
        pytest.param({"issuer": "+"}, "no keys", id="no keys"),
        pytest.param({"issuer": "+", "jwks_uri": "http://id.example.org/"}, "no keys", id="keys without TLS"),
        pytest.param({"issuer": "+", "jwks_uri": "file:///etc/passwd"}, "no keys", id="keys in a file"),
        pytest.param({"issuer": "+", "jwks_uri": ["https://x/"]}, "no keys", id="keys in a list"),
    ],
)
def test_metadata_of_another_issuer_or_without_keys_is_not_used(document: dict[str, Any], said: str) -> None:
    with fake_issuer() as server:
        told = {
            name: value.replace("+", server.url) if isinstance(value, str) else value
            for name, value in document.items()
        }
        server.answers[OAUTH] = server.answers[OPENID] = Answer(told)
        with pytest.raises(FetchError, match=said):
            asyncio.run(find_jwks(server.url, client_context()))
        assert server.asked == [OAUTH, OPENID]


def test_better_metadata_in_the_next_place_is_used() -> None:
    with fake_issuer() as server:
        server.answers[OAUTH] = Answer({"issuer": "https://evil.example.org", "jwks_uri": "https://evil.example.org"})
        server.answers[OPENID] = Answer({"issuer": server.url, "jwks_uri": server.jwks})
        assert asyncio.run(find_jwks(server.url, client_context())) == server.jwks


@pytest.mark.parametrize("keys", ["http://127.0.0.1:8080/jwks", "https://127.0.0.1:8080/jwks"])
def test_issuer_with_tls_cannot_send_to_a_place_without(
    tmp_path: Path, encrypted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    async def find(url: str) -> str:
        issuer.append(url)
        return await find_jwks(url, client_context())

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"issuer": issuer[0], "jwks_uri": keys}).encode()
        await answering(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)(reader, writer)

    issuer: list[str] = []
    if keys.startswith("https:"):
        assert served(write, find, tls=encrypted) == keys
    else:
        with pytest.raises(FetchError, match="no keys at an https URL"):
            served(write, find, tls=encrypted)


def test_host_that_does_not_answer_is_asked_once() -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        asyncio.run(find_jwks("http://127.0.0.1:1", client_context()))
