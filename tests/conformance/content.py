"""What the fixture server shows that needs nobody's answer: tools with fixed results, prompts, resources, completion.

The names and texts are those that the scenarios of the conformance suite ask for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import anyio
import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from fsserver.server.context import Serving

Json: TypeAlias = dict[str, Any]
Context: TypeAlias = ServerRequestContext[Any, Any]

PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
PAUSE_S: Final = 0.02


@dataclass(frozen=True)
class Tool:
    """Attributes:
    run: makes the call; gets its arguments.
    """

    description: str
    run: Callable[[Context, Json], Awaitable[HandlerResult]]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def result(*content: Json, is_error: bool = False) -> Json:
    return {"content": list(content), "resultType": "complete"} | ({"isError": True} if is_error else {})


def always(*content: Json, is_error: bool = False) -> Callable[[Context, Json], Awaitable[HandlerResult]]:
    async def run(context: Context, arguments: Json) -> HandlerResult:
        return result(*content, is_error=is_error)

    return run


def strings(*names: str, **more: Json) -> Json:
    """The schema of an object with these members, all of them texts and required."""
    properties = {name: {"type": "string", **more.get(name, {})} for name in (*names, *more)}
    return {"type": "object", "properties": properties, "required": list(names)}


def resource(uri: str, kind: str, said: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": said}}


async def _progress(context: Context, arguments: Json) -> HandlerResult:
    token = progress_token_from_params(context.params)
    for done in (0, 50, 100):
        if token is not None:
            params = {"progressToken": token, "progress": done, "total": 100, "message": f"{done} of 100"}
            Serving.of(context).call.notify("notifications/progress", params)
        await anyio.sleep(PAUSE_S)
    return result(text(str(token)))


async def _logging(context: Context, arguments: Json) -> HandlerResult:
    """Three messages; in the modern era only to a client that asked for such."""
    wanted = context.protocol_version != "2026-07-28" or types.LOG_LEVEL_META_KEY in (context.meta or {})
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        if wanted:
            Serving.of(context).call.notify("notifications/message", {"level": "info", "data": said})
        await anyio.sleep(PAUSE_S)
    return result(text("logged"))


async def _hang(context: Context, arguments: Json) -> HandlerResult:
    """Says once that it is at work, until it is cancelled, which ``test_was_cancelled`` then tells."""
    cancelled = anyio.Event()
    Serving.of(context).call.when_cancelled(cancelled.set)
    params = {"progressToken": progress_token_from_params(context.params), "progress": 0}
    Serving.of(context).call.notify("notifications/progress", params)
    await cancelled.wait()
    CANCELLED.append(str(arguments.get("name", "")))
    return result(text("cancelled"), is_error=True)


CANCELLED: Final[list[str]] = []


async def _was_cancelled(context: Context, arguments: Json) -> HandlerResult:
    return result(text(",".join(CANCELLED)))


async def _region(context: Context, arguments: Json) -> HandlerResult:
    return result(text(f"region={arguments.get('region')}"))


JSON_SCHEMA: Final[Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

IMAGE: Final = {"type": "image", "data": PNG, "mimeType": "image/png"}
AUDIO: Final = {"type": "audio", "data": WAV, "mimeType": "audio/wav"}
EMBEDDED: Final = resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
MIXED: Final = resource("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')

TOOLS: Final[Mapping[str, Tool]] = {
    "test_simple_text": Tool("Text", always(text("This is a simple text response for testing."))),
    "test_image_content": Tool("An image", always(IMAGE)),
    "test_audio_content": Tool("Sound", always(AUDIO)),
    "test_embedded_resource": Tool("A resource", always(EMBEDDED)),
    "test_multiple_content_types": Tool("All kinds", always(text("Multiple content types test:"), IMAGE, MIXED)),
    "test_error_handling": Tool(
        "Fails", always(text("This tool intentionally returns an error for testing"), is_error=True)
    ),
    "test_tool_with_progress": Tool("Reports progress", _progress),
    "test_tool_with_logging": Tool("Says what it does", _logging),
    "test_logging_tool": Tool("The same", _logging),
    "test_hang": Tool("Ends when it is cancelled", _hang, strings(name={})),
    "test_was_cancelled": Tool("Which calls were", _was_cancelled),
    "test_x_mcp_header": Tool("Named in a header too", _region, strings(region={"x-mcp-header": "Region"})),
    "json_schema_2020_12_tool": Tool("Has a rich schema", always(text("called")), JSON_SCHEMA),
}

# --- prompts


def _says(*content: Json) -> Json:
    return {"messages": [{"role": "user", "content": each} for each in content], "resultType": "complete"}


PROMPTS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Json], Json]]]] = {
    "test_simple_prompt": ((), lambda _: _says(text("This is a simple prompt for testing."))),
    "test_prompt_with_arguments": (
        ("arg1", "arg2"),
        lambda given: _says(text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")),
    ),
    "test_prompt_with_embedded_resource": (
        ("resourceUri",),
        lambda given: _says(
            resource(given["resourceUri"], "text/plain", "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ),
    ),
    "test_prompt_with_image": ((), lambda _: _says(IMAGE, text("Please analyze the image above."))),
}

# --- resources

RESOURCES: Final[Mapping[str, Json]] = {
    "test://static-text": {
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched resource content"},
}
TEMPLATE: Final = "test://template/{id}/data"


def read(uri: str) -> Json:
    """Raises MCPError: there is no such resource."""
    contents = RESOURCES.get(uri)
    filled = re.fullmatch("test://template/([^/]+)/data", uri)
    if filled is not None:
        data = {"id": filled[1], "templateTest": True, "data": f"Data for ID: {filled[1]}"}
        contents = {"mimeType": "application/json", "text": json.dumps(data)}
    if contents is None:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return {"contents": [{"uri": uri, **contents}], "resultType": "complete"}
