"""An issuer of access tokens for tests: a real HTTP server on loopback, with keys of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from fsserver.policy.service import OAuthRules

AUDIENCE = "https://mcp.example.org/mcp"


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One for each ``number``: they take long to make."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, kid: str | None = "first", **more: Any) -> dict[str, Any]:
    """The public half as JSON Web Key."""
    to_jwk: Any = OKPAlgorithm.to_jwk
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        to_jwk = (RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm).to_jwk
    public = to_jwk(key.public_key(), as_dict=True)
    return {**public, **({} if kid is None else {"kid": kid}), **more}


@dataclass
class Answer:
    """What a path answers. ``body``: JSON, or bytes as they are."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeIssuer:
    """``answers``: by path, of what may be changed at any time. ``asked``: the paths of all requests, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.list_keys(jwk(rsa_key()))

    def list_keys(self, *keys: Any) -> None:
        self.answers["/jwks"] = Answer({"keys": list(keys)})

    @property
    def jwks(self) -> str:
        return f"{self.url}/jwks"

    def rules(self, **more: Any) -> OAuthRules:
        return OAuthRules(**{"issuer": self.url, "audience": AUDIENCE, "jwks": self.jwks, "leeway_s": 5.0, **more})

    def claims(self, **more: Any) -> dict[str, Any]:
        """Of a token that is accepted; a value of None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "client_id": "app", "iat": now, "exp": now + 300}
        return {name: value for name, value in {**claims, **more}.items() if value is not None}

    def token(
        self, *, key: Any = None, algorithm: str = "RS256", header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        named = {"kid": "first", "typ": "at+jwt", **(header or {})}
        return jwt.encode(
            self.claims(**claims),
            rsa_key() if key is None else key,
            algorithm=algorithm,
            headers={name: value for name, value in named.items() if value is not None},
        )


@contextmanager
def fake_issuer() -> Iterator[FakeIssuer]:
    """Serving until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            found = issuer.answers.get(self.path, Answer({"error": "no such path"}, 404))
            answer = found() if callable(found) else found
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                pass  # the client has seen enough

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    issuer = FakeIssuer(f"http://127.0.0.1:{server.server_port}")
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
