"""Resources and completions: the roots, any file or directory below them by its URI, and paths as somebody types them.

Whatever opens something is a call through the gate in another guise; here it only gets the form of the protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp_types.jsonrpc import INVALID_PARAMS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from fsserver.errors import NotFound
from fsserver.paths.narrowing import closed
from fsserver.paths.uri import MAX_CHARACTERS
from fsserver.server import wire
from fsserver.server.boundary import INTERNAL_ERROR, Call, ProtocolError
from fsserver.server.client_roots import roots_required
from fsserver.server.context import Serving
from fsserver.telemetry.trace_context import traceparent
from fsserver.tools.files.completion import COMPLETION, LISTER
from fsserver.tools.files.resource import READERS, RESOURCE
from fsserver.tools.guise import Guise
from fsserver.tools.result import ToolResult
from fsserver.tools.session import Session

T = TypeVar("T")

CACHE: Final = CacheHint(ttl_ms=300_000, scope="private")
"""Nothing that is listed changes while a server runs."""

CACHED: Final[Mapping[CacheableMethod, CacheHint]] = {
    "resources/list": CACHE,
    "resources/templates/list": CACHE,
    "resources/read": CacheHint(ttl_ms=0, scope="private"),  # a file may change, and each read is recorded
}

VARIABLE: Final = "path"

REFUSED: Final = -32003
"""What is asked for is understood, and not allowed, or not to be had in this amount or at all, though it is there. Of
the codes that are left to servers.
"""

NOT_FOUND: Final = INVALID_PARAMS
"""A parameter is wrong: so from revision 2026-07-28 on."""

NOT_FOUND_BEFORE: Final = -32002
"""The same in the revisions with a handshake."""

_CODES: Final = {"denied": REFUSED, "limit": REFUSED, "resource": REFUSED, "request": INVALID_PARAMS}

_NO_ANSWER: Final = ("audit", "internal")
"""The log may not have the call, so not even an empty result of it is given out."""


def _kind(error: Mapping[str, Any]) -> str:
    """The branch of the tree of errors that it is on."""
    return str(error["code"]).partition(".")[0]


class RunBlocking(Protocol):
    """Runs a blocking call in a thread, several at once, and returns its result."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]: ...


class Answer(Protocol):
    """See `fsserver.server.files.FileServer.answer`."""

    def __call__(
        self,
        call: Call,
        session: Session,
        guise: Guise,
        parameters: Mapping[str, Any],
        token: str | int | None,
        /,
        *,
        trace: str | None,
    ) -> ToolResult: ...


class Resources:
    """The handlers; they keep nothing."""

    def __init__(self, answer: Answer, run: RunBlocking) -> None:
        self._answer = answer
        self._run = run

    def offer(self, sdk: Server[None], granted: frozenset[str]) -> None:
        """Have the SDK serve, and so announce, what these tools of the session make possible."""
        if granted.isdisjoint(READERS):
            return
        listed = self._list if LISTER in granted else self._list_nothing
        sdk.add_request_handler("resources/list", types.PaginatedRequestParams, listed)
        sdk.add_request_handler("resources/templates/list", types.PaginatedRequestParams, self._list_templates)
        sdk.add_request_handler("resources/read", types.ReadResourceRequestParams, self._read)
        if LISTER in granted:
            sdk.add_request_handler("completion/complete", types.CompleteRequestParams, self._complete)

    async def _list(
        self,
        context: ServerRequestContext[None, Any],
        params: types.PaginatedRequestParams | None,  # noqa: ARG002 - all roots fit one page
    ) -> HandlerResult:
        """The roots; none while only the client's own could say which part of them is meant, since the result of this
        request cannot ask.
        """
        session = await Serving.of(context).narrowed(context.params)
        places = () if session is None else session.workspace.places
        return {"resources": [wire.place(each) for each in places], "resultType": "complete"}

    async def _list_nothing(
        self,
        context: ServerRequestContext[None, Any],  # noqa: ARG002
        params: types.PaginatedRequestParams | None,  # noqa: ARG002
    ) -> HandlerResult:
        """Directories cannot be read here, and files are too many to be listed."""
        return {"resources": [], "resultType": "complete"}

    async def _list_templates(
        self,
        context: ServerRequestContext[None, Any],  # noqa: ARG002
        params: types.PaginatedRequestParams | None,  # noqa: ARG002
    ) -> HandlerResult:
        return {"resourceTemplates": [wire.template()], "resultType": "complete"}

    async def _read(
        self, context: ServerRequestContext[None, Any], params: types.ReadResourceRequestParams
    ) -> HandlerResult:
        session = await Serving.of(context).narrowed(context.params)
        if session is None:
            return roots_required()
        result = await self._made(context, session, RESOURCE, {"uri": params.uri})
        if result.is_error:
            raise _failure(result, params.uri, session.protocol)
        return {**wire.resource_result(params.uri, result), "resultType": "complete"}

    async def _complete(
        self, context: ServerRequestContext[None, Any], params: types.CompleteRequestParams
    ) -> HandlerResult:
        """No values where the path so far is refused or leads nowhere: the log says why, a completion cannot."""
        if (
            not isinstance(params.ref, types.ResourceTemplateReference)
            or params.ref.uri != wire.TEMPLATE
            or params.argument.name != VARIABLE
        ):
            raise ProtocolError(INVALID_PARAMS, f"Only `{VARIABLE}` of {wire.TEMPLATE} can be completed")
        serving = Serving.of(context)
        session = await serving.narrowed(context.params)
        if session is None:  # and the result of this request cannot ask
            left = closed(serving.session.workspace, "a completion cannot ask for the client's roots")
            session = replace(serving.session, workspace=left)
        result = await self._made(context, session, COMPLETION, {VARIABLE: params.argument.value})
        if not result.is_error:
            completion = result.structured
        elif _kind(wire.error_of(result)) in _NO_ANSWER:
            raise _failure(result, params.ref.uri, session.protocol)
        else:
            completion = {"values": [], "total": 0, "hasMore": False}
        return {"completion": completion, "resultType": "complete"}

    async def _made(
        self, context: ServerRequestContext[None, Any], session: Session, guise: Guise, parameters: Mapping[str, Any]
    ) -> ToolResult:
        token, trace = progress_token_from_params(context.params), traceparent(context.params)
        call = Serving.of(context).call
        return await self._run(partial(self._answer, call, session, guise, parameters, token, trace=trace))


def _failure(result: ToolResult, uri: str, protocol: str | None) -> ProtocolError:
    """A failed call as a JSON-RPC error. Its data are the members that a tool's error has, and the URI, of which a
    hostile one is not sent back whole.
    """
    error = wire.error_of(result)
    if error["code"] == NotFound.code:
        code = NOT_FOUND if protocol in MODERN_PROTOCOL_VERSIONS else NOT_FOUND_BEFORE
    else:
        code = _CODES.get(_kind(error), INTERNAL_ERROR)
    return ProtocolError(code, error["message"], {"uri": uri[:MAX_CHARACTERS], **error})
