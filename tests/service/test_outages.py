"""What happens to clients when a replica dies, or Redis, and what is left of it in the logs."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import pytest

from tests.protocol.client import MODERN
from tests.redis_server import RedisServer, redis_server
from tests.service.load import Load, load
from tests.service.proxy import free_port, nginx
from tests.service.replicas import Service, replicas, runs
from tests.support import wait_until

pytestmark = pytest.mark.slow


def worked(running: Load, calls: int = 30) -> None:
    """Wait until so many more calls are done."""
    done = running.calls
    wait_until(lambda: running.calls >= done + calls, f"{calls} more calls are done", timeout_s=20)


def require_each_done_once(service: Service, directory: Path, running: Load, lost: int = 0) -> None:
    """What is on disk is what clients were told, but for ``lost`` of them, who were told that nobody knows.

    A server that is killed while it writes leaves its temporary file, and the file whose content that was to be as it
    was before.
    """
    found = {str(file): file.read_text() for file in directory.iterdir()}
    unfinished = [path for path in found if PurePath(path).match(".fsserver-*.tmp")]
    assert len(unfinished) <= lost
    for path in unfinished:
        del found[path]
    differ = {path for path in found.keys() | running.written.keys() if found.get(path) != running.written.get(path)}
    assert len(differ) <= lost, differ
    assert differ <= {failed.path for failed in running.failed}


def test_a_killed_replica_takes_only_the_calls_with_it_that_it_was_at(tmp_path: Path, redis: RedisServer) -> None:
    base = tmp_path.resolve()
    nobody = f"127.0.0.1:{free_port()}"
    with (
        replicas(base, 2, redis=redis.url) as service,
        nginx([*(replica.address for replica in service.replicas), nobody], base / "nginx") as proxy,
        ThreadPoolExecutor() as pool,
    ):
        directory = service.work / "load"
        directory.mkdir()
        client = service.client(proxy.url, MODERN)
        with load(lambda revision: service.client(proxy.url, revision), directory) as running:
            sleeping = pool.submit(client.start_call, "run_command", {"command": "sleep", "args": ["60"]})

            def asleep() -> list[str]:
                return [each.name() for replica in service.replicas for each in replica.below()]

            wait_until(lambda: "sleep" in asleep(), "the command runs")
            at = next(replica for replica in service.replicas if "sleep" in [each.name() for each in replica.below()])
            left = at.below()
            worked(running)
            at.server.signal(signal.SIGKILL)
            with sleeping.result() as answer:
                assert answer.status == 502
                assert "whether it was done is not known" in answer.json()["error"]["message"]
            worked(running)
            wait_until(lambda: not any(map(runs, left)), "nothing of it runs any more")
            at.start()
            worked(running)
        assert {failed.status for failed in running.failed} <= {502}
        assert len(running.failed) <= 8, "one of each client at most"
        require_each_done_once(service, directory, running, lost=8)
        # Nothing was cut from the log of the one that was killed, and it has no end; perhaps half a record at the end,
        # which the next run told.
        for replica in service.replicas:
            replica.leave()
            assert replica.server.wait() in (0, -signal.SIGKILL)
            assert replica.verified() == 0
        ends = [record["event"] for record in at.records()].count("run.end")
        assert ends == 1, "of two runs"


@pytest.mark.parametrize("on_failure", ["refuse", "local"])
def test_redis_may_be_gone_for_a_while(on_failure: str, tmp_path: Path) -> None:
    base = tmp_path.resolve()
    with redis_server() as redis, replicas(base, 1, redis=redis.url, on_failure=on_failure) as service:
        (replica,) = service.replicas
        directory = service.work / "load"
        directory.mkdir()
        with load(lambda revision: service.client(replica.url, revision), directory, workers=4) as running:
            worked(running)
            redis.stop()
            if on_failure == "refuse":
                wait_until(lambda: len(running.failed) > 20, "calls are refused")
                wait_until(lambda: replica.asked("/readyz")[0] == 503, "it is not ready")
            else:
                worked(running)
                wait_until(lambda: "cannot be reached" in replica.asked("/readyz?verbose")[1], "it says so")
                assert replica.asked("/readyz")[0] == 200
            redis.start()
            replica.server.line("Redis is back")
            wait_until(lambda: "cannot be reached" not in replica.asked("/readyz?verbose")[1], "all is well")
            assert replica.asked("/readyz")[0] == 200
            failed = len(running.failed)
            worked(running)
            assert len(running.failed) == failed
        assert (failed > 0) is (on_failure == "refuse")
        for each in running.failed:
            assert "'code': 'state.unavailable'" in each.text
            assert "'transient': True" in each.text
        require_each_done_once(service, directory, running)
