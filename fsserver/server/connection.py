"""One client's requests, each answered in the protocol that it speaks.

Two kinds can come over one pipe, in any order:

- *handshake* (revisions 2024-11-05 to 2025-11-25): ``initialize`` first, then requests that rely on it;
- *modern* (2026-07-28): every request carries its revision and the client's capabilities in ``_meta``.

Some clients probe with a modern ``server/discover`` and then open with ``initialize``. The SDK's loop over a stream
locks itself to the kind of the first request; so its parts are used here, and each request goes by what it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import mcp_types as types
from mcp.server.connection import Connection as SdkConnection
from mcp.server.connection import NotifyOnlyOutbound
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, serve_one
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data

from fsserver.policy.compiled import ClientRoots, Policy
from fsserver.server.boundary import Call, Peer, ProtocolError, Shortcut, internal_error
from fsserver.server.client_roots import RootsOfCall, RootsOfConnection
from fsserver.server.consent import ApprovalsOfCall, ApprovalsOfConnection, offered
from fsserver.server.context import PIPE_MODERN, Context, Outbound, Serving
from fsserver.server.plain import Plain, plain_call
from fsserver.server.sealing import Seal
from fsserver.tools.session import Client, Session


class Caller(Protocol):
    """Makes a tool call; see `fsserver.server.files.FileServer.call`."""

    def call(self, call: Call, session: Session, wanted: Plain) -> dict[str, Any]: ...

    async def plain(self, call: Call, session: Session, wanted: Plain) -> dict[str, Any] | None: ...

    def introduce(self, session: Session) -> None: ...

    def expect_brief(self, name: str) -> bool: ...

    def waits(self, name: str) -> bool: ...


class Connection:
    """One client. A transport calls `request` and `notification`, as many at once as it likes."""

    def __init__(
        self, sdk: Server[None], caller: Caller, session: Session, peer: Peer, *, policy: Policy, seal: Seal
    ) -> None:
        self._sdk = sdk
        self._server = caller
        self._granted = session
        self._session = session
        self._narrow = policy.client_roots is ClientRoots.NARROW
        self._seal = seal
        # Calls that wait for a person hold places of those that run: half of them are left to others.
        waiting = max(1, policy.limits.concurrency // 2)
        self._approvals = ApprovalsOfConnection(peer, timeout_s=policy.approvals.timeout_s, waiting=waiting)
        self._outbound = Outbound(peer)
        self._notifying = NotifyOnlyOutbound(self._outbound)
        self._handshake = SdkConnection.for_loop(self._outbound)
        self._runner = ServerRunner(sdk, self._handshake, None, init_options=sdk.create_initialization_options())
        self._roots = RootsOfConnection(session.workspace, peer) if self._narrow else None

    async def request(self, call: Call, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        """The result of one request.

        A plain ``tools/call`` that `shortcut` left out for being slow is made as there, in a thread. If it needs a
        person's consent, nothing was recorded or changed, and it takes the long way.

        Raises:
            ProtocolError: the answer is an error. Nothing else is raised, and its text tells nothing of a bug.
        """
        try:
            plain = self._plain(params) if method == "tools/call" else None
            if plain is not None and not self._server.expect_brief(plain.name):
                result = await self._server.plain(call, self._session, plain)
                if result is not None:
                    return result
            if method != "initialize" and is_modern(params):
                return await self._modern(call, method, params)
            return await self._handshaken(call, method, params)
        except Exception as error:  # noqa: BLE001 - the boundary: no exception's own text goes past it
            raise as_protocol_error(error) from None

    async def notification(self, method: str, params: dict[str, Any] | None) -> None:
        """Takes note of something. What is unknown or malformed is ignored; nothing is raised."""
        await self._runner.on_notify(Context(self._outbound, None), method, params)
        if self._roots is not None and method in ("notifications/initialized", "notifications/roots/list_changed"):
            await self._roots.ask(self._handshake.client_capabilities)

    def shortcut(self, params: dict[str, Any] | None) -> Shortcut | None:
        """A plain ``tools/call`` of an initialized handshake client, to be made by whoever calls the result.

        It skips the event loop and the SDK's five passes over request and result. What those check is checked here or
        built right; tests validate results against the protocol's models. None for what was slow the last time, which
        `request` makes, and for what is not plain: it has to take the long way, and gets its errors there. So has one
        that turns out to need a person's consent: nothing is recorded or changed then. May be called from any thread.
        """
        plain = self._plain(params)
        if plain is None or not self._server.expect_brief(plain.name):
            return None
        session = self._session
        return Shortcut(lambda call: self._server.call(call, session, plain), waits=self._server.waits(plain.name))

    def _plain(self, params: dict[str, Any] | None) -> Plain | None:
        """The call, if it is one of an initialized handshake client and needs nothing of the SDK."""
        if self._roots is not None or self._handshake.client_params is None:
            return None
        plain = plain_call(params)
        return None if plain is None or plain.enveloped else plain

    async def _handshaken(self, call: Call, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        context = Context(self._outbound, Serving(call, self._session, self._roots, self._approvals))
        result = await self._runner.on_request(context, method, params)
        if method == "initialize":
            self._session = self._for_client(self._handshake)
        return result

    async def _modern(self, call: Call, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        route = classify_inbound_request({"method": method, "params": params})
        if isinstance(route, InboundLadderRejection):
            raise ProtocolError(route.code, route.message, route.data)
        connection = SdkConnection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities, outbound=self._notifying
        )
        session = self._for_client(connection)
        roots = RootsOfCall(session.workspace, connection.client_capabilities) if self._narrow else None
        approvals = ApprovalsOfCall(self._seal, session, params or {})
        context = Context(self._outbound, Serving(call, session, roots, approvals), PIPE_MODERN)
        return await serve_one(self._sdk, context, method, params, connection=connection, lifespan_state=None)

    def _for_client(self, connection: SdkConnection) -> Session:
        """The session as this client has it, and the log says who that is."""
        said = connection.client_params
        client = None if said is None else Client.saying(said.client_info.name, said.client_info.version)
        can_ask = offered(connection.client_capabilities)
        session = replace(self._granted, client=client, protocol=connection.protocol_version, can_ask=can_ask)
        self._server.introduce(session)
        return session


def as_protocol_error(error: Exception) -> ProtocolError:
    """What a client gets of an exception: the SDK's own errors as they are, of a bug a word to quote."""
    if isinstance(error, ProtocolError):
        return error
    known = handler_exception_to_error_data(error)
    return internal_error(error) if known is None else ProtocolError(known.code, known.message, known.data)


def is_modern(params: Mapping[str, Any] | None) -> bool:
    """Whether the request carries the envelope: only modern clients use this reserved key."""
    meta = (params or {}).get("_meta")
    return isinstance(meta, dict) and types.PROTOCOL_VERSION_META_KEY in meta
