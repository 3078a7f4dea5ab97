"""One request over HTTP, answered in the protocol that it speaks. Nothing is kept between two of them.

- *handshake* (revisions to 2025-11-25): ``initialize`` makes a `Hello`, which comes back with each further request;
- *modern* (2026-07-28): the request carries all of it in ``_meta``, and repeats part of that in headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import mcp_types as types
from mcp.server.connection import Connection as SdkConnection
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, serve_one
from mcp.shared.inbound import (
    MCP_PARAM_HEADER_PREFIX,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    InboundModernRoute,
    classify_inbound_request,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
)
from mcp.shared.transport_context import TransportContext
from mcp_types import HEADER_MISMATCH
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from fsserver.server.boundary import Call, Peer, ProtocolError
from fsserver.server.clients import Clients, Said
from fsserver.server.connection import as_protocol_error, is_modern
from fsserver.server.consent import ApprovalsOfCall, ApprovalsOfConnection, offered
from fsserver.server.context import Context, Outbound, Serving
from fsserver.server.handshakes import Hello
from fsserver.server.plain import Plain, plain_call
from fsserver.server.sealing import Seal
from fsserver.tools.session import Client, Session

HTTP: Final = TransportContext(kind="streamable-http", can_send_request=True)
HTTP_MODERN: Final = TransportContext(kind="streamable-http", can_send_request=False)

Headers = list[tuple[str, str]]
"""Names in lower case, in the order in which they came; one may come twice."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with whom it is from.

    Attributes:
        session: the principal's, of any client.
        peer: the way back that the request itself opened.
    """

    method: str
    params: dict[str, Any] | None
    session: Session
    call: Call
    peer: Peer


def speaks_modern(method: str, params: Mapping[str, Any] | None, headers: Headers) -> bool:
    """Whether a request is to be judged as a modern one: it says so in its body or in its headers.

    In a modern revision there is no ``initialize``. One that names no revision in its headers, or one that nobody
    knows, is there to find out, whatever its body says.
    """
    version = next((value for name, value in headers if name == MCP_PROTOCOL_VERSION_HEADER), None)
    if method == "initialize":
        return version in MODERN_PROTOCOL_VERSIONS
    return is_modern(params) or (version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS)


class Caller(Protocol):
    """Makes a tool call; see `fsserver.server.files.FileServer.plain`."""

    async def plain(self, call: Call, session: Session, wanted: Plain) -> dict[str, Any] | None: ...


class Exchanges:
    """Answers requests of one profile's principals.

    Args:
        sdk: whose handlers answer; they find a `Serving` in their context.
        caller: makes a plain call itself; None has the SDK make all.
        timeout_s: how long a person may take to answer a question.
    """

    def __init__(self, sdk: Server[Any], caller: Caller | None = None, *, seal: Seal, timeout_s: float) -> None:
        self._sdk = sdk
        self._caller = caller
        self._clients = Clients()
        self._stamp = {types.SERVER_INFO_META_KEY: sdk.server_info_stamp}
        self._options = sdk.create_initialization_options()
        self._seal = seal
        self._timeout_s = timeout_s

    async def initialize(self, asked: Asked) -> tuple[dict[str, Any], Hello]:
        """The answer to ``initialize``, and what was agreed.

        Raises:
            ProtocolError: as `handshaken`.
        """
        connection = SdkConnection.for_loop(Outbound(asked.peer))
        result = await self._run(connection, asked)
        said = connection.client_params
        assert said is not None, "initialize was accepted"
        capabilities = said.capabilities.model_dump(by_alias=True, mode="json", exclude_none=True)
        return result, Hello.new(
            connection.protocol_version, said.client_info.name, said.client_info.version, capabilities
        )

    async def handshaken(self, asked: Asked, hello: Hello) -> dict[str, Any]:
        """The result of a request within a session.

        Raises:
            ProtocolError: the answer is an error. Nothing else is raised, and its text tells nothing of a bug.
        """
        info = {"name": hello.name, "version": hello.version}
        said = Said(hello.protocol, info, hello.capabilities)
        plain = await self._plain(asked, said) if asked.method == "tools/call" else None
        if plain is not None:
            return plain
        connection = SdkConnection.from_envelope(*said, outbound=Outbound(asked.peer))
        result = await self._run(connection, asked)
        self._clients.remember(asked.session, said, _for_client(asked.session, connection))
        return result

    async def modern(self, asked: Asked, headers: Headers) -> dict[str, Any]:
        """The result of a request that stands for itself.

        Raises:
            ProtocolError: as `handshaken`.
        """
        method, params = asked.method, asked.params
        route = self._routed(method, params, headers)
        said = Said(route.protocol_version, route.client_info, route.client_capabilities)
        plain = await self._plain(asked, said) if method == "tools/call" else None
        if plain is not None:
            return {**plain, "resultType": "complete", "_meta": {**plain.get("_meta", {}), **self._stamp}}
        connection = SdkConnection.from_envelope(*said)
        session = _for_client(asked.session, connection)
        approvals = ApprovalsOfCall(self._seal, session, params or {})
        context = Context(Outbound(asked.peer), Serving(asked.call, session, None, approvals), HTTP_MODERN)
        try:
            result = await serve_one(self._sdk, context, method, params, connection=connection, lifespan_state=None)
        except Exception as error:  # noqa: BLE001 - the boundary: no exception's own text goes past it
            raise as_protocol_error(error) from None
        self._clients.remember(asked.session, said, session)
        return result

    async def _plain(self, asked: Asked, said: Said) -> dict[str, Any] | None:
        """The result of a call that needs nothing of the SDK, made without its five passes over request and result.

        What those check is checked here or built right; tests compare both ways. None for what is not plain, or of a
        client that was not served before: it takes the long way, and gets its errors there. So does one that turns out
        to need a person's consent: nothing is recorded or changed then.
        """
        session = self._clients.known(asked.session, said)
        plain = plain_call(asked.params)
        if self._caller is None or session is None or plain is None:
            return None
        try:
            return await self._caller.plain(asked.call, session, plain)
        except Exception as error:  # noqa: BLE001 - the boundary: no exception's own text goes past it
            raise as_protocol_error(error) from None

    def _routed(self, method: str, params: dict[str, Any] | None, headers: Headers) -> InboundModernRoute:
        duplicated = find_duplicated_routing_header(headers)
        if duplicated is not None:
            raise ProtocolError(HEADER_MISMATCH, f"{duplicated} header appears more than once")
        route = classify_inbound_request({"method": method, "params": params}, headers=dict(headers))
        if isinstance(route, InboundLadderRejection):
            raise ProtocolError(route.code, route.message, route.data)
        rejection = self._mirrored(params, headers) if method == "tools/call" else None
        if rejection is not None:
            raise ProtocolError(rejection.code, rejection.message, rejection.data)
        return route

    def _mirrored(self, params: dict[str, Any] | None, headers: Headers) -> InboundLadderRejection | None:
        """What is wrong with headers that repeat arguments, as a tool's schema asks with ``x-mcp-header``."""
        schema_of = self._sdk.get_tool_input_schema
        name, arguments = (params or {}).get("name"), (params or {}).get("arguments") or {}
        if schema_of is None or not isinstance(name, str) or not isinstance(arguments, dict):
            return None
        schema = schema_of(name)
        if schema is None:
            return None
        names = [each for each, _ in headers if each.startswith(MCP_PARAM_HEADER_PREFIX.lower())]
        if len(names) != len(set(names)):
            return InboundLadderRejection(HEADER_MISMATCH, "an Mcp-Param header appears more than once")
        return validate_mcp_param_headers(schema, arguments, dict(headers))

    async def _run(self, connection: SdkConnection, asked: Asked) -> dict[str, Any]:
        approvals = ApprovalsOfConnection(asked.peer, timeout_s=self._timeout_s, waiting=1)
        serving = Serving(asked.call, _for_client(asked.session, connection), None, approvals)
        runner = ServerRunner(self._sdk, connection, None, init_options=self._options)
        try:
            return await runner.on_request(Context(Outbound(asked.peer), serving, HTTP), asked.method, asked.params)
        except Exception as error:  # noqa: BLE001 - the boundary: no exception's own text goes past it
            raise as_protocol_error(error) from None


def _for_client(session: Session, connection: SdkConnection) -> Session:
    """The principal's session as this client has it."""
    said = connection.client_params
    client = None if said is None else Client.saying(said.client_info.name, said.client_info.version)
    can_ask = offered(connection.client_capabilities)
    if (session.client, session.protocol, session.can_ask) == (client, connection.protocol_version, can_ask):
        return session
    return replace(session, client=client, protocol=connection.protocol_version, can_ask=can_ask)
