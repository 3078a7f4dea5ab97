"""What the fixture server asks its client: by a request of its own on the call's stream (handshake), or through the
result, which the client answers with a further call (2026-07-28).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import mcp_types as types
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

from tests.conformance.content import Context, Json, Tool, result, strings, text

KEY: Final = b"of the fixture server alone"

# --- by requests


async def _elicited(context: Context, message: str, schema: Json) -> HandlerResult:
    answer = await context.session.elicit_form(message, schema, context.request_id)
    return result(text(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"))


async def _elicitation(context: Context, arguments: Json) -> HandlerResult:
    return await _elicited(context, arguments["message"], strings("username", "email"))


DEFAULTS: Final[Json] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
TITLED: Final = [{"const": "low", "title": "Low Priority"}, {"const": "high", "title": "High Priority"}]
ENUMS: Final[Json] = {
    "untitledSingle": {"type": "string", "enum": ["active", "inactive"]},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["read", "write"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    "legacyEnum": {"type": "string", "enum": ["small", "large"], "enumNames": ["Small Size", "Large Size"]},
}


def _asks_for(properties: Json) -> Callable[[Context, Json], Awaitable[HandlerResult]]:
    async def run(context: Context, arguments: Json) -> HandlerResult:
        return await _elicited(context, "Please choose", {"type": "object", "properties": properties})

    return run


async def _sampling(context: Context, arguments: Json) -> HandlerResult:
    said = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=arguments["prompt"]))
    request = types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[said], max_tokens=100))
    on_this_stream = ServerMessageMetadata(related_request_id=context.request_id)
    answer = await context.session.send_request(request, types.CreateMessageResult, metadata=on_this_stream)
    return result(text(f"LLM response: {answer.content.model_dump_json()}"))


# --- through the result


def form(message: str, *names: str) -> Json:
    params = {"mode": "form", "message": message, "requestedSchema": strings(*names)}
    return {"method": "elicitation/create", "params": params}


def prompt(said: str) -> Json:
    message = {"role": "user", "content": text(said)}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 50}}


ROOTS: Final = {"method": "roots/list", "params": {}}
NAME: Final = form("What is your name?", "name")


def asks(requests: Mapping[str, Json], state: str | None = None) -> Json:
    asked: Json = {"resultType": "input_required", "inputRequests": dict(requests)}
    return asked if state is None else {**asked, "requestState": sealed(state)}


def sealed(state: str) -> str:
    return f"{state}.{hmac.digest(KEY, state.encode(), 'sha256').hex()}"


def opened(params: Mapping[str, Any]) -> str | None:
    """The state that came back. Raises MCPError: it is none of ours."""
    came = params.get("requestState")
    if came is None:
        return None
    state = str(came).rpartition(".")[0]
    if not hmac.compare_digest(sealed(state), str(came)):
        raise MCPError(types.INVALID_PARAMS, "This requestState was not made here")
    return state


def answers(context: Context) -> Json:
    return (context.params or {}).get("inputResponses") or {}


def once(requests: Mapping[str, Json], state: str | None = None) -> Callable[[Context, Json], Awaitable[HandlerResult]]:
    """Asks until all of it is answered, and the state is back."""

    async def run(context: Context, arguments: Json) -> HandlerResult:
        given = answers(context)
        if opened(context.params or {}) != state or not requests.keys() <= given.keys():
            return asks(requests, state)
        return result(text(f"state-ok: {json.dumps({name: given[name] for name in requests})}"))

    return run


async def _rounds(context: Context, arguments: Json) -> HandlerResult:
    state = opened(context.params or {})
    if state == "1" and "step1" in answers(context):
        return asks({"step2": form("Step 2: What is your favorite color?", "color")}, "2")
    if state == "2" and "step2" in answers(context):
        return result(text("All steps are done."))
    return asks({"step1": form("Step 1: What is your name?", "name")}, "1")


async def _as_offered(context: Context, arguments: Json) -> HandlerResult:
    """Asks what the client can answer."""
    offered = context.session.client_capabilities or types.ClientCapabilities()
    requests = {} if offered.sampling is None else {"sample": prompt("Say hello")}
    return asks(requests if offered.elicitation is None else {**requests, "ask": NAME}, "as offered")


async def _missing_capability(context: Context, arguments: Json) -> HandlerResult:
    offered = context.session.client_capabilities
    if offered is None or offered.sampling is None:
        code = types.MISSING_REQUIRED_CLIENT_CAPABILITY
        raise MCPError(code, "This tool needs sampling", {"requiredCapabilities": {"sampling": {}}})
    return result(text("The client offers sampling."))


async def context_prompt(context: Context) -> Json:
    """The prompt that needs an answer first."""
    given = answers(context).get("user_context")
    if given is None:
        return asks({"user_context": form("What context should the prompt use?", "context")})
    return {"messages": [{"role": "user", "content": text(json.dumps(given))}], "resultType": "complete"}


_PREFIX: Final = "test_input_required_result"

TOOLS: Final[Mapping[str, Tool]] = {
    "test_sampling": Tool("Asks the model", _sampling, strings("prompt")),
    "test_elicitation": Tool("Asks the user", _elicitation, strings("message")),
    "test_elicitation_sep1034_defaults": Tool("Asks, with defaults", _asks_for(DEFAULTS)),
    "test_elicitation_sep1330_enums": Tool("Asks, with choices", _asks_for(ENUMS)),
    "test_streaming_elicitation": Tool("Asks through the result", once({"user_name": NAME})),
    "test_missing_capability": Tool("Needs sampling", _missing_capability),
    f"{_PREFIX}_elicitation": Tool("Asks the user", once({"user_name": NAME})),
    f"{_PREFIX}_sampling": Tool("Asks the model", once({"capital_question": prompt("What is the capital of France?")})),
    f"{_PREFIX}_list_roots": Tool("Asks for roots", once({"client_roots": ROOTS})),
    f"{_PREFIX}_request_state": Tool("Has a state", once({"confirm": form("Please confirm", "ok")}, "state")),
    f"{_PREFIX}_tampered_state": Tool("Has a state", once({"confirm": form("Please confirm", "ok")}, "state")),
    f"{_PREFIX}_multiple_inputs": Tool(
        "Asks everything",
        once({"user_name": NAME, "greeting": prompt("Generate a greeting"), "client_roots": ROOTS}, "many"),
    ),
    f"{_PREFIX}_multi_round": Tool("Asks twice", _rounds),
    f"{_PREFIX}_capabilities": Tool("Asks what can be answered", _as_offered),
}
