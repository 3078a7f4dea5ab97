"""Access tokens of an issuer that a confined server asks for its keys, by the issuer's name."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.issuer import AUDIENCE, FakeIssuer, ec_key, fake_issuer
from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import Server, served_http

POLICY = """
version: 1
roots:
  work: {{path: {base}/work, mode: rw}}
  mine: {{path: "{base}/homes/${{principal.subject}}", mode: rw}}
server:
  transport: http
  listen: "127.0.0.1:0"
  public_url: {audience}
  auth: {{oauth: [{{issuer: "{issuer}", jwks: "{jwks}", scopes: [fsserver]}}]}}
principals:
  - {{when: {{issuer: "{issuer}", claim: {{groups: writers}}}}}}
audit: {{sinks: [{{dir: {base}/audit}}]}}
"""
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
GRANTED: dict[str, Any] = {"scope": "fsserver other", "groups": ["readers", "writers"]}


class Trusting(NamedTuple):
    server: Server
    issuer: FakeIssuer
    base: Path

    def request(self, method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any, str]:
        """The status, the body, and the challenge."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None, response.headers["WWW-Authenticate"] or ""
        finally:
            connection.close()

    def initialize(self, token: str | None) -> tuple[int, Any, str]:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        return self.request("POST", "/mcp", token, {**PING, "method": "initialize", "params": params})


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    base = tmp_path_factory.mktemp("oauth").resolve()
    for directory in ("work", "homes/alice", "audit"):
        (base / directory).mkdir(parents=True)
    with fake_issuer() as issuer:
        named = issuer.jwks.replace("127.0.0.1", "localhost")  # has to be looked up
        text = POLICY.format(base=base, audience=AUDIENCE, issuer=issuer.url, jwks=named)
        with served_http(text, base) as server:
            yield Trusting(server, issuer, base)


def test_the_keys_are_fetched_by_a_confined_server(trusting: Trusting) -> None:
    status, answer, _ = trusting.initialize(trusting.issuer.token(**GRANTED))
    assert status == 200, answer
    assert "/jwks" in trusting.issuer.asked


def test_nobody_is_told_where_to_get_a_token(trusting: Trusting) -> None:
    status, _, challenge = trusting.initialize(None)
    assert status == 401
    assert 'resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/mcp"' in challenge
    status, document, _ = trusting.request("GET", "/.well-known/oauth-protected-resource/mcp")
    assert status == 200
    assert document["resource"] == AUDIENCE
    assert document["authorization_servers"] == [trusting.issuer.url]
    assert document["scopes_supported"] == ["fsserver"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"aud": "https://other.example.org/mcp"}, 401),
        ({"iss": "https://evil.example.org"}, 401),
        ({"exp": 1}, 401),
        ({"key": ec_key(), "algorithm": "ES256"}, 401),
        ({"scope": "other"}, 403),
        ({"groups": ["readers"]}, 403),
        ({"sub": "../alice"}, 403),
        ({"sub": "bob"}, 403),
    ],
    ids=["audience", "issuer", "expired", "key", "scope", "claim", "subject-that-names-no-directory", "no-directory"],
)
def test_a_token_that_is_not_for_this_is_refused(trusting: Trusting, changed: dict[str, Any], status: int) -> None:
    answered, answer, _ = trusting.initialize(trusting.issuer.token(**{**GRANTED, **changed}))
    assert answered == status, answer


def test_a_token_in_the_query_is_refused_and_not_logged(trusting: Trusting) -> None:
    token = trusting.issuer.token(**GRANTED)
    status, _, _ = trusting.request("POST", f"/mcp?access_token={token}", token, PING)
    assert status == 400
    assert token not in trusting.server.stderr


def test_the_principal_is_issuer_and_subject(trusting: Trusting) -> None:
    client = HttpClient(trusting.server.url, token=trusting.issuer.token(**GRANTED))
    listed = client.call("list_allowed_directories")
    assert "homes/alice" in listed["content"][0]["text"]
    (file,) = (trusting.base / "audit").glob("*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert records[-1]["principal"] == f"{trusting.issuer.url}#alice"
