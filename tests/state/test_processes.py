"""Background processes with two replicas: each has its own, and says of the other's only where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis

from fsserver.policy.compiled import Limits
from fsserver.policy.service import SharedRules, WithoutState
from fsserver.state.local import LocalState
from fsserver.state.opening import open_state
from fsserver.state.shared import Held
from fsserver.tools.commands import whereabouts
from tests.commands import Commanded, command, commanded
from tests.gates import texts
from tests.redis_server import RedisServer, redis_server
from tests.support import wait_until
from tests.trees import rules

COMMANDS = (command("cat"), command("printf"))
TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("read_process", {}),
    ("stop_process", {}),
    ("write_process", {"input": "x"}),
]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@contextmanager
def replica(base: Path, server: RedisServer, name: str, **more: Any) -> Iterator[Commanded]:
    base = base / name
    (base / "work").mkdir(parents=True)
    with (
        closing(open_state(SharedRules(redis=server.url, **more), name)) as state,
        commanded(base, COMMANDS, [rules(base / "work")], limits=Limits(background=2), shares=state) as gate,
    ):
        yield gate


@pytest.fixture
def both(tmp_path: Path, server: RedisServer) -> Iterator[tuple[Commanded, Commanded]]:
    """One principal's sessions at two replicas, of one scope."""
    with replica(tmp_path, server, "one") as one, replica(tmp_path, server, "two") as two:
        one.session = replace(one.session, id="s1", scope="tester")
        two.session = replace(two.session, id="s2", scope="tester")
        yield one, two


def start(gate: Commanded, name: str = "cat", *args: str) -> str:
    return str(gate.structured("start_process", command=name, args=list(args))["handle"])


@pytest.mark.parametrize(("tool", "more"), TOOLS)
def test_process_of_another_replica_is_refused_with_its_name(
    both: tuple[Commanded, Commanded], tool: str, more: dict[str, Any]
) -> None:
    one, two = both
    handle = start(one)
    error = two.error(tool, handle=handle, **more)
    assert error["code"] == "request.process"
    assert "runs on replica one, and this is replica two" in error["message"]
    assert "session affinity" in error["allowedInstead"]
    assert two.records()[-1]["event"] == "call.refused"
    assert one.structured("read_process", handle=handle)["state"] == "running"


@pytest.mark.parametrize("other", [{"principal": "mallory"}, {"scope": "another"}, {"scope": None}])
@pytest.mark.parametrize(("tool", "more"), TOOLS)
def test_handle_of_another_is_as_unknown_as_none_at_every_replica(
    both: tuple[Commanded, Commanded], tool: str, more: dict[str, Any], other: dict[str, Any]
) -> None:
    handle = start(both[0])
    for gate in both:
        stranger = replace(gate, session=replace(gate.session, **other))
        assert stranger.error(tool, handle=handle, **more) == stranger.error(tool, handle="none", **more)


def test_sessions_of_one_scope_have_their_processes_together(both: tuple[Commanded, Commanded]) -> None:
    one, _ = both
    handle = start(one)
    again = replace(one, session=replace(one.session, id="s9"))
    assert again.structured("read_process", handle=handle)["state"] == "running"


def test_list_shows_this_replicas_and_says_so(both: tuple[Commanded, Commanded]) -> None:
    one, two = both
    handle = start(one)
    here, there = one.call("list_processes"), two.call("list_processes")
    assert here.structured is not None
    assert there.structured is not None
    assert [each["handle"] for each in here.structured["processes"]] == [handle]
    assert (here.structured["replica"], there.structured["replica"]) == ("one", "two")
    assert there.structured["processes"] == []
    assert texts(there)[0] == "No process.\nThese are all on replica two; others may have more."


def test_without_replicas_nothing_is_said_of_them(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with commanded(tmp_path, COMMANDS, [rules(tmp_path / "work")], shares=LocalState("one")) as gate:
        assert "replica" not in gate.structured("list_processes")
        assert gate.host.processes.whereabouts is None


def test_process_that_was_forgotten_or_ended_with_its_server_is_known_nowhere(
    both: tuple[Commanded, Commanded], server: RedisServer
) -> None:
    one, two = both
    ended = [start(one, "printf", "x") for _ in range(3)]
    for handle in ended:
        wait_until(lambda handle=handle: _is_over(one, handle), "it has ended")  # type: ignore[misc]  # bound now
    running = start(one)
    assert "replica" not in two.error("read_process", handle=ended[0])["message"]
    assert "replica one" in two.error("read_process", handle=running)["message"]
    one.host.close()
    assert "replica" not in two.error("read_process", handle=running)["message"]
    with redis.Redis(port=server.port) as client:
        assert list(client.scan_iter("*")) == []


def _is_over(gate: Commanded, handle: str) -> bool:
    result = gate.call("read_process", handle=handle)
    assert result.structured is not None
    return result.is_error or result.structured["state"] == "exited"


def test_what_is_known_is_told_again_and_what_is_not_expires(
    both: tuple[Commanded, Commanded], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "TTL_S", 0.5)
    monkeypatch.setattr(whereabouts, "REFRESH_S", 0.1)
    one, two = both
    handle = start(one)
    with redis.Redis(port=server.port) as client:
        (key,) = client.scan_iter("*")
        left: list[int] = []

        def told_again() -> bool:
            left.append(int(client.pttl(key)))
            return any(later > earlier for earlier, later in pairwise(left))

        wait_until(told_again, "its time was made longer")
        assert one.host.processes.whereabouts is not None
        one.host.processes.whereabouts.close()  # as a replica that dies
        wait_until(lambda: not client.exists(key), "nobody tells of it any more")
    assert "replica" not in two.error("read_process", handle=handle)["message"]


def test_process_goes_on_while_the_server_is_gone_and_is_told_of_when_it_is_back(
    both: tuple[Commanded, Commanded], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "REFRESH_S", 0.1)
    one, two = both
    server.stop()
    handle = start(one)
    one.structured("write_process", handle=handle, input="still here")
    wait_until(lambda: "still here" in one.structured("read_process", handle=handle)["output"], "it is read")
    error = two.error("read_process", handle=handle)
    assert (error["code"], error["transient"]) == ("state.unavailable", True)
    server.start()
    wait_until(lambda: two.error("read_process", handle=handle)["code"] == "request.process", "it is looked up again")
    wait_until(lambda: "replica one" in two.error("read_process", handle=handle)["message"], "it was told of again")


def test_unknown_handle_is_unknown_where_the_policy_goes_on_alone(tmp_path: Path, server: RedisServer) -> None:
    with replica(tmp_path, server, "one", on_failure=WithoutState.LOCAL) as gate:
        server.stop()
        assert gate.error("read_process", handle="none")["code"] == "request.process"
        assert gate.structured("read_process", handle=start(gate))["state"] == "running"


def test_thread_that_tells_ends_when_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "REFRESH_S", 0.02)
    told: list[Held] = []

    class Remembering(LocalState):
        shared: bool = True  # type: ignore[misc]  # a constant of the class

        def announce(self, processes: Any, ttl_s: float) -> None:
            told.extend(processes)

    known = [Held("h", ("alice", "s"))]
    places = whereabouts.Whereabouts(Remembering("one"), lambda: list(known))
    places.began(known[0])
    wait_until(lambda: len(told) > 2, "it is told again")
    known.clear()
    wait_until(lambda: places._thread is None, "the thread has ended")
    known.append(Held("i", ("alice", "s")))
    places.began(known[0])
    wait_until(lambda: told[-2:] == known * 2, "another thread tells")
    places.close()
