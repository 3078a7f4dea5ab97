"""``client_roots: narrow``: what a client offers as its roots cuts its session down, and never widens it.

Until the client has said, and when it does not say, every path is refused. A client that knows no roots takes
nothing away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

import mcp_types as types

from fsserver.paths.narrowing import closed, narrowed
from fsserver.paths.workspace import Workspace
from fsserver.server.boundary import Peer, ProtocolError

TIMEOUT_S: Final = 5.0
"""How long a client may take to say its roots before calls are refused."""

QUESTION: Final = "roots"
"""The key of the question and its answer in a modern call."""


class ClientRoots(Protocol):
    """Finds the workspace for a call."""

    async def workspace(self, params: Mapping[str, Any]) -> Workspace | None:
        """What is left of the policy's roots; None when the client has to be asked through the call's result.

        Args:
            params: the call's, as they came: they hold the answer if the call repeats one whose result asked.
        """
        ...


class RootsOfConnection:
    """For a handshake connection: asked once it is initialized, and again whenever the client says they changed."""

    def __init__(self, granted: Workspace, peer: Peer) -> None:
        self._granted = granted
        self._peer = peer
        self._left = closed(granted, "the client has not said its roots yet")
        self._known = asyncio.Event()
        self._asking = False
        self._stale = False

    async def workspace(self, params: Mapping[str, Any]) -> Workspace | None:  # noqa: ARG002
        with contextlib.suppress(TimeoutError):  # still closed then
            await asyncio.wait_for(self._known.wait(), TIMEOUT_S)
        return self._left

    async def ask(self, capabilities: types.ClientCapabilities | None) -> None:
        """Ask the client, now or once it has answered what it was asked already. Calls wait meanwhile."""
        self._stale = True
        self._known.clear()
        self._left = closed(self._granted, "the client has not said its roots yet")
        if self._asking:
            return
        self._asking = True
        left = self._left
        while self._stale:
            self._stale = False
            left = await self._answer(capabilities)
        self._asking = False
        self._left = left
        self._known.set()

    async def _answer(self, capabilities: types.ClientCapabilities | None) -> Workspace:
        if not offered(capabilities):
            return self._granted
        try:
            answer = await asyncio.wait_for(self._peer.ask("roots/list", None), TIMEOUT_S)
        except (TimeoutError, ProtocolError):
            return closed(self._granted, "the client did not say its roots")
        return narrowed(self._granted, _uris(answer))


class RootsOfCall:
    """For one modern call: its result asks the client, which repeats the call with the answer."""

    def __init__(self, granted: Workspace, capabilities: types.ClientCapabilities | None) -> None:
        self._granted = granted
        self._capabilities = capabilities

    async def workspace(self, params: Mapping[str, Any]) -> Workspace | None:
        responses = params.get("inputResponses")
        if isinstance(responses, Mapping) and QUESTION in responses:
            return narrowed(self._granted, _uris(responses[QUESTION]))
        if not offered(self._capabilities):
            return self._granted
        return None


def roots_required() -> types.InputRequiredResult:
    """The result that asks a modern client for its roots."""
    return types.InputRequiredResult(input_requests={QUESTION: types.ListRootsRequest()})


def offered(capabilities: types.ClientCapabilities | None) -> bool:
    return capabilities is not None and capabilities.roots is not None


def _uris(answer: object) -> list[str]:
    """The URIs of a ``roots/list`` result as they were written: the SDK's model reads ``file:`` as ``file:///``."""
    roots = answer.get("roots") if isinstance(answer, Mapping) else None
    if not isinstance(roots, list):
        return []
    return [root["uri"] for root in roots if isinstance(root, Mapping) and isinstance(root.get("uri"), str)]
