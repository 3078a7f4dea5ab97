"""``python -m benchmarks.echo_http KIND``: the SDK's low-level server with one tool that returns its text, over
its own HTTP application, run by uvicorn with httptools. ``KIND`` is ``sessions``, its default, or ``stateless``:
without sessions, and answers in JSON.
"""

from __future__ import annotations

import sys
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


async def _tools(
    _context: ServerRequestContext[Any, Any], _params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name="echo", input_schema=SCHEMA)])


async def _call(_context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> types.CallToolResult:
    text = (params.arguments or {})["text"]
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def main(kind: str) -> None:
    server: Server[Any] = Server("echo", version="1")
    server.add_request_handler("tools/list", types.PaginatedRequestParams, _tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, _call)
    stateless = kind == "stateless"
    application = server.streamable_http_app(stateless_http=stateless, json_response=stateless)
    uvicorn.run(application, host="127.0.0.1", port=0, http="httptools", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1])
