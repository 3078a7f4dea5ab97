"""Budgets of one principal with two replicas: one rate for both, places of its own at each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fsserver.policy.compiled import Limits
from fsserver.policy.service import Budget, CallClass, Rate, SharedRules, WithoutState
from fsserver.state.opening import open_state
from tests.gates import Served, served
from tests.redis_server import RedisServer, redis_server
from tests.support import wait_until
from tests.trees import build, rules

LIMITS = Limits(
    budget=Budget(rate=Rate(4, 3600), output=Rate(10_000, 3600)),
    budgets={CallClass.CHANGE: Budget(rate=Rate(1, 3600))},
)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(params=[WithoutState.REFUSE, WithoutState.LOCAL])
def mode(request: pytest.FixtureRequest) -> WithoutState:
    return WithoutState(request.param)


@pytest.fixture
def replicas(tmp_path: Path, server: RedisServer, mode: WithoutState) -> Iterator[list[Served]]:
    with ExitStack() as held:
        found = []
        for name in ("one", "two"):
            build(tmp_path, [f"file {name}/work/a.txt text"])
            shared = SharedRules(redis=server.url, on_failure=mode)
            state = held.enter_context(closing(open_state(shared, name)))
            root = rules(tmp_path / name / "work")
            found.append(held.enter_context(served(tmp_path / name, [root], limits=LIMITS, counts=state)))
        yield found


def test_calls_at_one_replica_count_at_the_other(replicas: list[Served]) -> None:
    one, two = replicas
    one.text("write_file", path="new", content="x")
    refused = two.error("write_file", path="new", content="x")
    assert refused["rule"] == "limits.calls.classes.change.rate"
    assert 3500 < refused["retryAfter"] <= 3600
    for gate in (one, two, one):
        gate.text("read_text_file", path="a.txt")
    assert {gate.error("read_text_file", path="a.txt")["rule"] for gate in replicas} == {"limits.calls.rate"}


def test_results_of_one_replica_count_at_the_other(replicas: list[Served]) -> None:
    one, two = replicas
    (one.top / "large").write_text("x" * 12_000)
    one.text("read_text_file", path="large")
    assert two.error("read_text_file", path="a.txt")["rule"] == "limits.calls.output"


def test_while_the_server_is_gone_calls_do_as_the_policy_says_and_after_it_as_before(
    replicas: list[Served], server: RedisServer, mode: WithoutState
) -> None:
    one, _ = replicas
    one.text("read_text_file", path="a.txt")
    server.stop()
    if mode is WithoutState.REFUSE:
        error = one.error("write_file", path="new", content="x")
        assert (error["code"], error["transient"]) == ("state.unavailable", True)
        assert not (one.top / "new").exists()
        assert one.records()[-1]["event"] == "call.refused"
    else:
        one.text("write_file", path="new", content="x")
        assert one.error("write_file", path="new", content="y")["code"] == "limit.rate"
    server.start()
    wait_until(lambda: not one.call("write_file", path="back", content="x").is_error, "it is asked again")
    assert one.error("write_file", path="back", content="y")["rule"] == "limits.calls.classes.change.rate"
