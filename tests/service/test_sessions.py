"""What a client began at one replica goes on at another, or is refused there with the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.protocol.client import MODERN
from tests.protocol.http_client import HttpClient
from tests.redis_server import RedisServer
from tests.service.replicas import Service, replicas

pytestmark = pytest.mark.slow

ASKS: Final[dict[str, Any]] = {"elicitation": {"form": {}}}
YES: Final = {"approval": {"action": "accept", "content": {"approve": True}}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Service]:
    with replicas(tmp_path_factory.mktemp("sessions").resolve(), 2, redis=redis.url) as service:
        yield service


def error(result: dict[str, Any]) -> dict[str, Any]:
    assert result["isError"], result
    return dict(result["structuredContent"]["error"])


def test_a_session_goes_on_at_another_replica_and_for_nobody_else(service: Service) -> None:
    first, second = service.replicas
    ada = service.client(first.url)
    ada.open()
    path = str(service.work / "by-session")
    assert "isError" not in ada.call("write_file", {"path": path, "content": "x"})
    there = service.client(second.url)
    there.session = ada.session
    assert there.call("read_text_file", {"path": path})["content"][0]["text"] == "x"
    # The log of either replica knows the session by the same name.
    names = {
        record["session"]
        for replica in service.replicas
        for record in replica.records()
        if record["event"] == "call.outcome" and record["tool"] in ("write_file", "read_text_file")
    }
    assert len(names) == 1
    for replica in service.replicas:
        bob = service.client(replica.url, who="bob")
        bob.session = ada.session
        with bob.start("tools/list") as answer:
            assert answer.status == 404


@pytest.mark.parametrize("revision", [MODERN, "2025-11-25"])
def test_a_background_process_is_refused_elsewhere_with_the_way_back(revision: str, service: Service) -> None:
    first, second = service.replicas
    here, there = service.client(first.url, revision), service.client(second.url, revision)
    if revision != MODERN:
        here.open()
        there.session = here.session
    started = here.call("start_process", {"command": "sleep", "args": ["60"]})["structuredContent"]
    handle = {"handle": started["handle"]}
    try:
        assert not here.call("read_process", handle).get("isError")
        refused = error(there.call("read_process", handle))
        assert refused["code"] == "request.process"
        assert "runs on replica" in refused["message"]
        assert "session affinity" in refused["allowedInstead"]
        # Nobody else learns that it is there at all.
        bob = service.client(second.url, MODERN, who="bob")
        assert "replica" not in error(bob.call("read_process", handle))["message"]
    finally:
        assert not here.call("stop_process", handle).get("isError")


def test_a_question_is_answered_at_another_replica_once(service: Service, tmp_path: Path) -> None:
    first, second = (service.client(each.url, MODERN, capabilities=ASKS) for each in service.replicas)
    file = service.work / "asked-for"
    file.write_text("x")
    arguments = {"path": str(file)}
    asked = first.call("delete_file", arguments)
    assert asked["resultType"] == "input_required"
    answer = {"inputResponses": YES, "requestState": asked["requestState"]}
    assert not second.call("delete_file", arguments, **answer).get("isError")
    assert not file.exists()
    file.write_text("another")
    for client in (first, second):
        again: HttpClient = client
        assert error(again.call("delete_file", arguments, **answer))["code"].startswith("denied")
    assert file.read_text() == "another"
