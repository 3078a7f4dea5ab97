"""JSON-RPC 2.0 messages, one a line, as MCP uses them. Pure: bytes in, objects out, and back.

Everything in a line is hostile. `parse` never raises; what cannot be used comes back as `Malformed`, with the error
that the client is owed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602

MAX_VALUES: Final = 20_000
"""Members and items of one message, at any depth. A value costs up to a hundred times its bytes once it is an object,
and more where a model looks at it, so that 14 MB of them cost seconds and gigabytes. The largest that any tool takes,
an edit of 1,000 places, has 5,000."""

Id: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Request:
    """The client asks and waits. ``size`` is the line's length in bytes."""

    id: Id
    method: str
    params: dict[str, Any] | None
    size: int


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Response:
    """The client's answer to what the server asked: either ``result`` or ``error``."""

    id: Id
    result: dict[str, Any] | None
    error: object


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a message. ``id`` is the request's where it can be told, as the client may be waiting for that one."""

    id: Id | None
    code: int
    message: str


Message: TypeAlias = Request | Notification | Response | Malformed


def parse(line: bytes) -> Message | None:
    """One line as a message; None for a blank line.

    Refused as not JSON: NaN and Infinity, invalid UTF-8, nesting deeper than 200 levels (the parser's own bound),
    integers of more than 4,300 digits. Refused before it is read: more than `MAX_VALUES`.
    """
    if len(line) > MAX_VALUES and _has_too_many(line):
        return Malformed(None, INVALID_REQUEST, f"A message has at most {MAX_VALUES} members and items in all")
    try:
        message = from_json(line, allow_inf_nan=False)
    except ValueError:
        return _unreadable(line)
    if type(message) is dict:
        return _classify(message, len(line))
    if type(message) is list:
        return Malformed(None, INVALID_REQUEST, "Batches are not supported: send one message a line")
    return Malformed(None, INVALID_REQUEST, "A message is a JSON object")


def _has_too_many(line: bytes) -> bool:
    """Whether `line` has more than `MAX_VALUES` values. Costs a few passes over the bytes and makes no object of any.

    A value stands after a comma or is the first in its array or object, so these bytes outside strings are at least as
    many as the values, and each is one byte of a line. Of a line that is no JSON the answer means nothing.
    """
    if _starts(line) <= MAX_VALUES:
        return False
    # Long texts are full of commas. In JSON a backslash stands only in a string: without the pairs of them, and then
    # without the quotes that one escapes, every quote that is left begins or ends a string.
    pieces = line.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * MAX_VALUES)
    if len(pieces) > 4 * MAX_VALUES:  # two quotes a string, and at most two strings a value, its name and itself
        return True
    return _starts(b"".join(pieces[::2])) > MAX_VALUES


def _starts(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _classify(message: dict[str, Any], size: int) -> Message:
    identifier = message.get("id")
    known = identifier if type(identifier) is int or type(identifier) is str else None
    if message.get("jsonrpc") != "2.0":
        return Malformed(known, INVALID_REQUEST, 'A message has "jsonrpc": "2.0"')
    if "method" in message:
        return _call(message, known, size)
    if known is not None and type(message.get("result")) is dict:
        return Response(known, message["result"], None)
    if known is not None and "error" in message:
        return Response(known, None, message["error"])
    return Malformed(known, INVALID_REQUEST, "A message is a request, a notification or a response")


def _call(message: dict[str, Any], known: Id | None, size: int) -> Message:
    """The request or notification that an object with a method is."""
    method = message["method"]
    params = message.get("params")
    if type(method) is not str:
        return Malformed(known, INVALID_REQUEST, "method is a string")
    if params is not None and type(params) is not dict:
        return Malformed(known, INVALID_REQUEST, "params is an object")
    if "id" not in message:
        return Notification(method, params)
    if known is None:
        return Malformed(None, INVALID_REQUEST, "id is a string or an integer")
    return Request(known, method, params, size)


def _unreadable(line: bytes) -> Malformed | None:
    """What to answer to a line that the strict parser refused.

    JavaScript clients can send half of a surrogate pair, as an escape. Then the id can still be told, and the client
    is answered instead of waiting for ever.
    """
    if not line.strip():
        return None
    if b"\\u" in line:
        try:
            message = json.loads(line.decode("utf-8"), parse_constant=_not_json)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict) and _plain_id(message.get("id")):
            return Malformed(message["id"], INVALID_PARAMS, "A string holds half of a surrogate pair")
    return Malformed(None, PARSE_ERROR, "Parse error: not one line of strict JSON")


def _not_json(constant: str) -> None:
    raise ValueError(constant)


def _plain_id(identifier: object) -> bool:
    if type(identifier) is str:
        return not any("\ud800" <= letter <= "\udfff" for letter in identifier)
    return type(identifier) is int


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as one line with its newline.

    Raises:
        ValueError: a string holds a lone surrogate, or a value is not JSON.
    """
    return to_json(message, inf_nan_mode="null") + b"\n"


def result(identifier: Id, value: Mapping[str, Any]) -> bytes:
    return encode({"jsonrpc": "2.0", "id": identifier, "result": value})


def error(identifier: Id | None, code: int, message: str, data: object = None) -> bytes:
    """An error response; ``data`` is left out when None."""
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return encode({"jsonrpc": "2.0", "id": identifier, "error": body})


def call(method: str, params: Mapping[str, Any] | None, identifier: Id | None = None) -> bytes:
    """A request of ours, or without ``identifier`` a notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if identifier is not None:
        message["id"] = identifier
    if params is not None:
        message["params"] = params
    return encode(message)
