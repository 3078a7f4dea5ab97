"""A plain call over HTTP goes past the SDK from the second one on. Nobody can tell by its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mcp_types.methods import serialize_server_result

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import AuditRules, Mode, Policy, RootRules
from fsserver.policy.rules import Origin
from fsserver.server.exchanges import Asked, Exchanges
from fsserver.server.files import FileServer
from fsserver.server.handshakes import Hello
from fsserver.server.plain import plain_call
from fsserver.tools.session import Session
from fsserver.transport.http.answer import Answer
from fsserver.transport.http.pending import Pending
from fsserver.transport.workers import Workers
from tests.gates import Served, served
from tests.protocol.client import MODERN, envelope

REVISIONS = ("2025-03-26", "2025-11-25", MODERN)


class Row(NamedTuple):
    name: str
    tool: str
    arguments: Mapping[str, Any] | None


ROWS = [
    Row("text", "read_text_file", {"path": "a.txt"}),
    Row("picture", "read_media_file", {"path": "a.png"}),
    Row("structured", "get_file_info", {"path": "a.txt"}),
    Row("no-arguments", "list_allowed_directories", None),
    Row("missing-file", "read_text_file", {"path": "missing"}),
    Row("outside", "read_text_file", {"path": "/etc/passwd"}),
    Row("unknown-tool", "no_such_tool", {}),
    Row("unknown-argument", "read_text_file", {"path": "a.txt", "x": 1}),
    Row("missing-argument", "read_text_file", {}),
]


class Passes:
    """Counts what goes through the SDK."""

    def __init__(self) -> None:
        self.number = 0

    async def __call__(self, ctx: Any, call_next: Any) -> Any:
        self.number += 1
        return await call_next(ctx)


class Service:
    """What answers one principal's requests, without the network."""

    def __init__(self, made: Served, policy: Policy) -> None:
        self.passes = Passes()
        self.said: list[dict[str, Any]] = []
        """What came with the last call, before its result."""
        self._session = Session("s", "token:one", None, None, made.session.workspace, transport="http")
        server = FileServer(made.gate, self._session, policy=policy, run=Workers(2).run)
        server._sdk.middleware.append(self.passes)
        self.exchanges: Exchanges = server.exchanges()

    async def call(
        self, revision: str, params: dict[str, Any], *, name: str = "tests", workspace: Workspace | None = None
    ) -> dict[str, Any]:
        answer = Answer(1, Pending(8, 1024), ("token:one", ""), request_id="r", leaving_cancels=False)
        try:
            return await self._call(answer, revision, params, name, workspace)
        finally:
            self.said = [json.loads(message) for message in answer._outbox]

    async def _call(
        self, answer: Answer, revision: str, params: dict[str, Any], name: str, workspace: Workspace | None
    ) -> dict[str, Any]:
        session = self._session
        if workspace is not None:
            session = Session("s", "token:one", None, None, workspace, transport="http")
        if revision != MODERN:
            asked = Asked("tools/call", params, session, answer, answer)
            return await self.exchanges.handshaken(asked, Hello(revision, name, "1", {}, "h"))
        params = {**params, "_meta": {**envelope(), **params.get("_meta", {})}}
        headers = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", params["name"])]
        return await self.exchanges.modern(Asked("tools/call", params, session, answer, answer), headers)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("one\n")
    (root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rules = (RootRules("root", str(root), Mode.RO, Origin("test", 1)),)
    with served(tmp_path, rules) as made:
        yield Service(made, Policy("test", None, "0" * 64, rules, AuditRules(directory=str(tmp_path / "state"))))


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_plain_call_is_answered_as_the_sdk_answers_it(row: Row, revision: str, service: Service) -> None:
    params: dict[str, Any] = {"name": row.tool}
    if row.arguments is not None:
        params["arguments"] = dict(row.arguments)

    async def both() -> tuple[dict[str, Any], dict[str, Any]]:
        return await service.call(revision, params), await service.call(revision, params)

    first, second = asyncio.run(both())
    assert service.passes.number == 1
    assert first == second
    assert serialize_server_result("tools/call", revision, second) == second, "what the revision's schema allows"


class Other(NamedTuple):
    name: str
    params: dict[str, Any]


READ = {"name": "read_text_file", "arguments": {"path": "a.txt"}}


@pytest.mark.parametrize(
    "other",
    [
        Other("unknown-key", {**READ, "x": 1}),
        Other("unknown-meta", {**READ, "_meta": {"io.modelcontextprotocol/x": 1}}),
        Other("answers", {**READ, "inputResponses": {}}),
    ],
    ids=lambda other: other.name,
)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_call_that_is_not_plain_takes_the_long_way(other: Other, revision: str, service: Service) -> None:
    async def after_one() -> None:
        await service.call(revision, READ)
        await service.call(revision, other.params)

    asyncio.run(after_one())
    assert service.passes.number == 2


@pytest.mark.parametrize("meta", [{"progressToken": 1}, {"x": 1, "vscode.requestId": "y"}, {"traceparent": 1}], ids=str)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_call_with_what_only_its_client_knows_is_plain(meta: dict[str, Any], revision: str, service: Service) -> None:
    async def after_one() -> tuple[dict[str, Any], dict[str, Any]]:
        return await service.call(revision, READ), await service.call(revision, {**READ, "_meta": meta})

    first, second = asyncio.run(after_one())
    assert first == second
    assert service.passes.number == 1


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_plain_call_tells_of_its_progress_where_it_is_asked_to(revision: str, service: Service) -> None:
    params = {"name": "read_multiple_files", "arguments": {"paths": ["a.txt", "a.txt"]}}

    async def calls() -> list[dict[str, Any]]:
        await service.call(revision, params)
        assert service.said == []
        await service.call(revision, {**params, "_meta": {"progressToken": "t"}})
        return service.said

    (progress,) = asyncio.run(calls())
    assert service.passes.number == 1
    assert (progress["method"], progress["params"]["progressToken"]) == ("notifications/progress", "t")


@pytest.mark.parametrize("revision", REVISIONS[:2])
def test_a_client_with_another_name_is_looked_at_anew(revision: str, service: Service) -> None:
    async def calls() -> None:
        for name in ("one", "other", "one", "other"):
            await service.call(revision, READ, name=name)

    asyncio.run(calls())
    assert service.passes.number == 2


def test_a_session_that_is_granted_something_else_is_looked_at_anew(service: Service) -> None:
    narrower = Workspace([])

    async def calls() -> dict[str, Any]:
        await service.call(MODERN, READ)
        return await service.call(MODERN, READ, workspace=narrower)

    assert asyncio.run(calls())["isError"] is True
    assert service.passes.number == 2


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": 1},
        {"name": None, "arguments": {}},
        {"name": "a", "arguments": []},
        {"name": "a", "arguments": "x"},
        {"name": "a", "_meta": []},
        {"name": "a", "_meta": None},
        {"name": "a", "_meta": {"progressToken": None}},
        {"name": "a", "_meta": {"progressToken": True}},
        {"name": "a", "task": {}},
    ],
    ids=str,
)
def test_what_has_another_form_is_not_plain(params: dict[str, Any]) -> None:
    assert plain_call(params) is None
