"""Which calls need nothing of the SDK: nearly all. They skip its passes over request and result."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, NamedTuple

import mcp_types as types

from fsserver.telemetry.trace_context import traceparent

_CALL: Final = frozenset({"name", "arguments", "_meta"})
_ENVELOPE: Final = frozenset(
    {types.PROTOCOL_VERSION_META_KEY, types.CLIENT_INFO_META_KEY, types.CLIENT_CAPABILITIES_META_KEY}
)
_OF_THE_PROTOCOL: Final = "modelcontextprotocol"
"""In each key of ``_meta`` that the protocol gives a meaning to, but the oldest. All others are the client's own."""


class Plain(NamedTuple):
    """A ``tools/call`` that needs nothing of the SDK.

    Attributes:
        token: what the client wants progress to be sent with; None sends none.
        trace: see `traceparent`.
        enveloped: it says of its client what a modern request does.
    """

    name: str
    arguments: dict[str, Any] | None
    token: str | int | None
    trace: str | None
    enveloped: bool


def plain_call(params: Mapping[str, Any] | None) -> Plain | None:
    """The call, unless it answers a question, has another form, or says what only the SDK knows what to do with."""
    if params is None or not _CALL.issuperset(params):
        return None
    name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta", {})
    if type(name) is not str or type(arguments) not in (dict, NoneType) or type(meta) is not dict:
        return None
    if not meta:
        return Plain(name, arguments, None, None, enveloped=False)
    token = meta.get("progressToken")
    if type(token) not in (str, int) and "progressToken" in meta:
        return None
    reserved = {key for key in meta if _OF_THE_PROTOCOL in key}
    if not _ENVELOPE.issuperset(reserved):
        return None
    return Plain(name, arguments, token, traceparent(params), enveloped=bool(reserved))
