"""Replicas behind nginx, one ended and started after the other, while clients work: nobody notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.service.load import load
from tests.service.proxy import Proxy, nginx
from tests.service.replicas import Service, replicas
from tests.support import wait_until

pytestmark = pytest.mark.slow


@dataclass
class Site:
    """A service with nginx in front."""

    service: Service
    proxy: Proxy


@pytest.fixture
def site(tmp_path: Path, redis: RedisServer) -> Iterator[Site]:
    base = tmp_path.resolve()
    with (
        replicas(base, 3, redis=redis.url) as service,
        nginx([replica.address for replica in service.replicas], base / "nginx") as proxy,
    ):
        yield Site(service, proxy)


def test_a_rolling_restart_under_load_fails_no_call_and_does_each_once(site: Site) -> None:
    service, directory = site.service, site.service.work / "rolling"
    directory.mkdir()
    with load(lambda revision: service.client(site.proxy.url, revision), directory) as running:
        for replica in service.replicas:
            done = running.calls
            wait_until(lambda done=done: running.calls > done + 50, "clients work")  # type: ignore[misc]
            replica.stop()
            replica.start()
        done = running.calls
        wait_until(lambda: running.calls > done + 50, "clients work")
    assert running.failed == []
    assert {str(file): file.read_text() for file in directory.iterdir()} == running.written
    done_once = Counter(
        (record["tool"], record["changes"][0]["name"])
        for replica in service.replicas
        for record in replica.records()
        if record["event"] == "call.outcome" and record["ok"] and "changes" in record
    )
    names = (path.relative_to(service.work) for path in directory.iterdir())
    assert done_once == Counter((tool, str(name)) for name in names for tool in ("write_file", "edit_file"))
    assert [replica.verified() for replica in service.replicas] == [0, 0, 0]
