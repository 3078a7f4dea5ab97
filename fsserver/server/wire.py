"""Tools and results in the form that the protocol gives them. Pure."""

from __future__ import annotations

from typing import Any, Final

from fsserver.tools.registry import Tool
from fsserver.tools.result import Audio, Blob, Content, Image, Text, ToolResult

WITHOUT_AUDIO: Final = "2024-11-05"
"""The one revision whose results cannot hold audio blocks."""


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
