"""Certificates that clients have to show, and what else TLS refuses."""

from __future__ import annotations

import http.client
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import Server, served_http
from tests.receivers import Authority

POLICY = """
version: 1
roots: {{work: {{path: {base}/work}}}}
server:
  transport: http
  listen: 127.0.0.1:0
  tls: {{certificate: {base}/tls/127.0.0.1.crt, key: {base}/tls/127.0.0.1.key, client_ca: {ca}}}
  auth: none
audit: {{sinks: [{{dir: {base}/audit}}]}}
"""


@dataclass
class Certified:
    server: Server
    authority: Authority
    base: Path

    def initialize(self, shows: Authority | None, *, old: bool = False) -> int:
        """The status of a request, of a client with a certificate of that authority."""
        context = ssl.create_default_context(cafile=self.authority.file)
        if old:
            with warnings.catch_warnings(action="ignore"):
                context.maximum_version = ssl.TLSVersion.TLSv1_1
                context.minimum_version = ssl.TLSVersion.TLSv1_1
        if shows is not None:
            shown = shows.issue("client.example")
            context.load_cert_chain(shown.certificate, shown.key)
        client = HttpClient(self.server.url, tls=context)
        with client.start("server/discover") as answer:
            return answer.status


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    base = tmp_path_factory.mktemp("certified").resolve()
    for directory in ("work", "tls", "audit"):
        (base / directory).mkdir()
    authority = Authority(base / "tls")
    authority.issue("127.0.0.1")
    with served_http(POLICY.format(base=base, ca=authority.file), base) as server:
        yield Certified(server, authority, base)


def test_a_client_that_shows_a_certificate_is_served(certified: Certified) -> None:
    assert certified.initialize(certified.authority) == 200


def test_one_that_shows_none_is_not(certified: Certified) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        certified.initialize(None)
    assert certified.initialize(certified.authority) == 200


def test_one_of_another_authority_is_not(certified: Certified, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        certified.initialize(Authority(tmp_path))


def test_an_old_version_is_not(certified: Certified) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        certified.initialize(certified.authority, old=True)


def test_plain_http_is_not(certified: Certified) -> None:
    plain = HttpClient(certified.server.url.replace("https", "http"))
    with pytest.raises((OSError, http.client.HTTPException)):
        plain.start("server/discover")
