"""Whoever is refused sees why, also while the body is still coming, and no proxy takes the server for a broken one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol.http_client import HttpClient
from tests.redis_server import RedisServer
from tests.service.proxy import Proxy, free_port, nginx
from tests.service.replicas import Service, replicas

FIELDS = {"Content-Type": "application/json", "Accept": "*/*"}
MIB = 1024 * 1024
UNKNOWN = f"fss_{'x' * 43}"


@pytest.fixture
def service(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[Service, Proxy]]:
    """One replica, alone behind nginx."""
    base = tmp_path.resolve()
    with replicas(base, 1, redis=redis.url) as service:
        nobody = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        with nginx([service.replicas[0].address, *nobody], base / "nginx") as proxy:
            yield service, proxy


@pytest.mark.slow
def test_a_refused_body_is_read_on_so_that_its_sender_sees_why(service: tuple[Service, Proxy]) -> None:
    replica, proxy = service[0].replicas[0], service[1]
    known = service[0].tokens["ada"]
    rows = {
        "unknown token": (UNKNOWN, 4 * MIB, 401),
        "too large": (known, 4 * MIB + 1, 413),
        "no JSON-RPC": (known, 4 * MIB, 400),
    }
    for name, (token, size, status) in rows.items():
        for url in [replica.url] if status == 413 else [replica.url, proxy.url]:  # nginx has the same limit
            for _ in range(3):
                with HttpClient(url, token=token).send("POST", b"x" * size, FIELDS) as answer:
                    assert answer.status == status, (name, url)
                    assert "message" in answer.json()["error"]
    # Nginx would leave a replica alone that broke a connection off.
    assert "disabled while sending" not in proxy.messages()
    HttpClient(proxy.url, "2025-11-25", token=known).open()
    # The rest of a refused body is not taken for the head of the next request.
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=20)
    try:
        for _ in range(2):
            connection.request("POST", "/mcp", b"x" * MIB, {**FIELDS, "Authorization": f"Bearer {UNKNOWN}"})
            response = connection.getresponse()
            assert (response.status, response.read()[:1]) == (401, b"{")
            assert connection.sock is not None, "it is kept"
    finally:
        connection.close()
