"""A server with what the conformance suite asks for, on fsserver's HTTP transport, on a free port of loopback.

``python -m tests.conformance.server`` logs its address on standard error, as ``fsserver serve`` does.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from fsserver.policy.rules import Origin
from fsserver.policy.service import Address, AuthRules, PrincipalRule, ServerRules, Transport
from fsserver.server.exchanges import Exchanges
from fsserver.server.handshakes import Handshakes
from fsserver.server.sealing import Seal
from fsserver.telemetry.logging import configure
from fsserver.transport.auth.authenticator import Authenticator
from fsserver.transport.http.application import Application
from fsserver.transport.http.grants import Grant, Grants
from fsserver.transport.http.listening import bound
from fsserver.transport.http.service import Front, Hooks, Service
from fsserver.transport.workers import Workers
from tests.conformance import content, questions
from tests.conformance.content import Context, Json

TOOLS = {**content.TOOLS, **questions.TOOLS}
ASKING_PROMPT = "test_input_required_result_prompt"
CACHE = CacheHint(ttl_ms=1000, scope="private")
PAGES = types.PaginatedRequestParams


async def list_tools(context: Context, params: PAGES | None) -> HandlerResult:
    listed = [
        {"name": name, "description": tool.description, "inputSchema": tool.schema} for name, tool in TOOLS.items()
    ]
    return {"tools": listed, "resultType": "complete"}


async def call_tool(context: Context, params: types.CallToolRequestParams) -> HandlerResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, "There is no such tool")
    return await tool.run(context, params.arguments or {})


async def list_prompts(context: Context, params: PAGES | None) -> HandlerResult:
    listed: list[Json] = [
        {
            "name": name,
            "description": name,
            "arguments": [{"name": argument, "required": True} for argument in arguments],
        }
        for name, (arguments, _) in content.PROMPTS.items()
    ]
    return {"prompts": [*listed, {"name": ASKING_PROMPT, "description": "Asks first"}], "resultType": "complete"}


async def get_prompt(context: Context, params: types.GetPromptRequestParams) -> HandlerResult:
    if params.name == ASKING_PROMPT:
        return await questions.context_prompt(context)
    _, says = content.PROMPTS[params.name]
    return says(dict(params.arguments or {}))


async def list_resources(context: Context, params: PAGES | None) -> HandlerResult:
    listed = [{"uri": uri, "name": uri, "mimeType": each["mimeType"]} for uri, each in content.RESOURCES.items()]
    return {"resources": listed, "resultType": "complete"}


async def list_templates(context: Context, params: PAGES | None) -> HandlerResult:
    return {"resourceTemplates": [{"uriTemplate": content.TEMPLATE, "name": "template"}], "resultType": "complete"}


async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> HandlerResult:
    return content.read(str(params.uri))


async def complete(context: Context, params: types.CompleteRequestParams) -> HandlerResult:
    return {"completion": {"values": [], "total": 0, "hasMore": False}, "resultType": "complete"}


async def accept(context: Context, params: object) -> HandlerResult:
    return {}


def schema_of(name: str) -> Json | None:
    return dict(TOOLS[name].schema) if name in TOOLS else None


def fixture() -> Server[None]:
    cached = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
    server: Server[None] = Server(
        "conformance-fixture",
        version="1",
        cache_hints=dict.fromkeys((*cached, "server/discover"), CACHE),  # type: ignore[arg-type]
        get_tool_input_schema=schema_of,
    )
    server.add_request_handler("tools/list", PAGES, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    server.add_request_handler("prompts/list", PAGES, list_prompts)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, get_prompt)
    server.add_request_handler("resources/list", PAGES, list_resources)
    server.add_request_handler("resources/templates/list", PAGES, list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read_resource)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, accept)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, accept)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)
    server.middleware.clear()
    return server


def main() -> None:
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    configure(own=logging.INFO)
    rules = ServerRules(Transport.HTTP, Address("127.0.0.1", 0), auth=AuthRules(off=True), drain_s=1.0)
    front = Front.open(rules)
    # The suite calls as a page of this server would, which fsserver refuses of itself: it has no pages.
    rules = replace(rules, listen=bound(front.socket), origins=(f"http://{bound(front.socket)}",))
    anybody = PrincipalRule(Origin("fixture", 1), anonymous=True)
    exchanges = Exchanges(fixture(), seal=Seal(60.0), timeout_s=60.0)
    application = Application(
        rules,
        authenticator=Authenticator(rules.auth),
        grants=Grants([anybody], {None: Grant(exchanges, ())}),
        handshakes=Handshakes(bytes(32), rules.limits.session_s),
        look=Workers(4).run,
        observe=lambda status: None,
    )
    hooks = Hooks(reload=lambda: None, observe=lambda status: None)
    Service(rules, application, front, others=(), hooks=hooks).run()


if __name__ == "__main__":
    main()
