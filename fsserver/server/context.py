"""The SDK's view of one message and of the way back to its client, over ours."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext

from fsserver.server.boundary import Call, Peer, ProtocolError
from fsserver.server.client_roots import ClientRoots
from fsserver.server.consent import Approvals
from fsserver.tools.session import Session

PIPE: Final = TransportContext(kind="stdio", can_send_request=True)
PIPE_MODERN: Final = TransportContext(kind="stdio", can_send_request=False)
"""A modern client is never sent requests."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What our handlers get besides the protocol's own. The SDK carries it as the context's ``request``.

    Attributes:
        roots: narrows the session's workspace call by call; None leaves it as it is.
        approvals: how a person is asked for consent to the call.
    """

    call: Call
    session: Session
    roots: ClientRoots | None
    approvals: Approvals

    @classmethod
    def of(cls, context: ServerRequestContext[None, Any]) -> Serving:
        serving = context.request
        assert isinstance(serving, cls)
        return serving

    async def narrowed(self, params: Mapping[str, Any] | None) -> Session | None:
        """The session with what is left of its workspace; None when the client has to be asked through the result.

        Args:
            params: the request's, as they came.
        """
        if self.roots is None:
            return self.session
        workspace = await self.roots.workspace(params or {})
        return None if workspace is None else replace(self.session, workspace=workspace)


class Outbound:
    """The SDK's ``Outbound`` over a `Peer`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        try:
            return await asyncio.wait_for(self._peer.ask(method, params), (opts or {}).get("timeout"))
        except ProtocolError as error:
            raise MCPError(error.code, error.message) from None

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,  # noqa: ARG002 - they are about HTTP
    ) -> None:
        self._peer.notify(method, params)


class Context:
    """The SDK's ``DispatchContext`` of one message.

    Our handlers hear of cancellation, and send progress, by `Serving.call`: both have to work from a thread.
    """

    __slots__ = ("_outbound", "message_metadata", "request_id", "transport")

    def __init__(self, outbound: Outbound, serving: Serving | None, transport: TransportContext = PIPE) -> None:
        self._outbound = outbound
        self.transport = transport
        self.message_metadata = None if serving is None else ServerMessageMetadata(request_context=serving)
        self.request_id = None if serving is None else serving.call.id

    @property
    def can_send_request(self) -> bool:
        return self.transport.can_send_request

    @property
    def cancel_requested(self) -> anyio.Event:
        """An event of its own that nobody sets; see the class."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if not self.can_send_request:
            raise NoBackChannelError(method)
        return await self._outbound.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        await self._outbound.notify(method, params, opts)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Nothing; see the class."""
