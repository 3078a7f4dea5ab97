"""Requests over HTTP, answered without a network: what may wait for another machine does so beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fsserver.policy.compiled import Action, AuditRules, Effect, Policy
from fsserver.server.exchanges import Asked
from fsserver.server.files import FileServer
from fsserver.server.sealing import Seal
from fsserver.tools.session import Session
from tests.gates import served
from tests.protocol.client import MODERN, Message, envelope
from tests.trees import build, rules

CAN_ASK: Message = {"elicitation": {}}
YES = {"action": "accept", "content": {"approve": True}}
WAIT_S = 20.0


class Request:
    """A call of a client that never leaves, and the way to it, which no modern call takes."""

    id = 1
    request_id = "r1"

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.counted = False

    def when_cancelled(self, notice: Callable[[], None]) -> None:
        """Never."""

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        raise AssertionError(method, params)

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        raise AssertionError(method, params)


def test_whether_an_answer_was_used_is_not_asked_in_the_loops_thread(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one"])
    asked: list[threading.Thread] = []

    def spend(_key: str, _ttl_s: float) -> bool:
        asked.append(threading.current_thread())
        return True

    async def delete(server: FileServer, session: Session, **more: Any) -> dict[str, Any]:
        call = {"name": "delete_file", "arguments": {"path": f"{work}/a.txt"}, **more}
        params = {**call, "_meta": envelope(capabilities=CAN_ASK)}
        headers = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "delete_file")]
        request = Request()
        async with asyncio.timeout(WAIT_S):
            return await server.exchanges().modern(Asked("tools/call", params, session, request, request), headers)

    async def run(server: FileServer, session: Session) -> None:
        question = await delete(server, session)
        assert asked == []
        state = question["requestState"]
        done = await delete(server, session, requestState=state, inputResponses={"approval": YES})
        assert not done.get("isError"), done

    roots = [rules(work, operations={Action.DELETE: Effect.ASK})]
    with served(tmp_path, roots, can_ask=True) as gate:
        policy = Policy("test", None, "0" * 64, tuple(roots), AuditRules(directory=str(tmp_path)))
        seal = Seal(60, bytes(32), spend)
        server = FileServer(gate.gate, gate.session, policy=policy, run=asyncio.to_thread, seal=seal)
        asyncio.run(run(server, gate.session))
    assert not (work / "a.txt").exists()
    (thread,) = asked
    assert thread is not threading.main_thread()
