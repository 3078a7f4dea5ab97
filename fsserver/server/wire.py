"""Tools, resources and results in the form that the protocol gives them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fsserver.paths.names import display
from fsserver.paths.uri import file_uri
from fsserver.paths.workspace import Place
from fsserver.policy.compiled import Mode
from fsserver.tools.files.mime import DIRECTORY
from fsserver.tools.files.resource import MIME_TYPE
from fsserver.tools.registry import Tool
from fsserver.tools.result import Audio, Blob, Content, Image, Text, ToolResult

WITHOUT_AUDIO: Final = "2024-11-05"
"""The one revision whose results cannot hold audio blocks."""

TEMPLATE: Final = "file://{+path}"
"""Every resource there is. A plain ``{path}`` would have its slashes escaped (RFC 6570)."""


def tool(described: Tool[Any]) -> dict[str, Any]:
    """An entry of ``tools/list``."""
    hints = described.annotations
    return {
        "name": described.name,
        "title": described.title,
        "description": described.description,
        "inputSchema": described.input_schema,
        "annotations": {
            "readOnlyHint": hints.read_only,
            "destructiveHint": hints.destructive,
            "idempotentHint": hints.idempotent,
            "openWorldHint": hints.open_world,
        },
    }


def call_result(result: ToolResult, version: str | None) -> dict[str, Any]:
    """The result of ``tools/call`` for a client that speaks ``version``."""
    wire: dict[str, Any] = {"content": [_block(block, version) for block in result.content]}
    if result.is_error:
        wire["isError"] = True
    if result.structured is not None:
        wire["structuredContent"] = result.structured
    if result.meta is not None:
        wire["_meta"] = result.meta
    return wire


def place(allowed: Place) -> dict[str, Any]:
    """An entry of ``resources/list``: people see its name or its title, or with them the description."""
    name, path = display(allowed.name), display(allowed.path)
    uri = file_uri(allowed.path)
    changing = "may be changed" if allowed.mode is Mode.RW else "read-only"
    return {
        "uri": uri,
        "name": name,
        "title": f"{name} ({path})",
        "description": f"What is in {path}, {changing}. Each name in it is a resource too: {uri}/NAME",
        "mimeType": DIRECTORY,
    }


def template() -> dict[str, Any]:
    """The entry of ``resources/templates/list``."""
    return {
        "uriTemplate": TEMPLATE,
        "name": "file",
        "title": "File or directory",
        "description": (
            "A file, or the names in a directory, by its absolute path, which begins with a slash and lies in one of "
            "the directories that are listed as resources. Of a file that is too long for one result read_text_file "
            "reads parts."
        ),
    }


def resource_result(uri: str, result: ToolResult) -> dict[str, Any]:
    """The result of ``resources/read``, of what `fsserver.tools.files.resource` made of it."""
    block, *_ = result.content  # a note after it says what its text or `_meta` says too
    contents = {"uri": uri, "mimeType": (result.structured or {})[MIME_TYPE]}
    contents |= {"text": block.text} if isinstance(block, Text) else {"blob": block.data}
    wire: dict[str, Any] = {"contents": [contents]}
    if result.meta is not None:
        wire["_meta"] = result.meta
    return wire


def error_of(result: ToolResult) -> Mapping[str, Any]:
    """What a failed result says to programs; see `fsserver.tools.render.error_result`."""
    error: Mapping[str, Any] = (result.structured or {})["error"]
    return error


def _block(block: Content, version: str | None) -> dict[str, Any]:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(data, mime_type):
            return {"type": "image", "data": data, "mimeType": mime_type}
        case Audio(data, mime_type):
            if version == WITHOUT_AUDIO:
                return _resource("fsserver://audio", mime_type, data)
            return {"type": "audio", "data": data, "mimeType": mime_type}
        case Blob(uri, mime_type, data):
            return _resource(uri, mime_type, data)


def _resource(uri: str, mime_type: str, data: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "blob": data}}
