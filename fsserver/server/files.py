"""The gate as an MCP server. Decides nothing: what is offered and what a call may do is the gate's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from fsserver import __version__
from fsserver.errors import AuditError
from fsserver.policy.compiled import Policy
from fsserver.server import wire
from fsserver.server.boundary import Call, Peer, PersonNeeded
from fsserver.server.client_roots import roots_required
from fsserver.server.connection import Connection
from fsserver.server.context import Serving
from fsserver.server.exchanges import Exchanges
from fsserver.server.plain import Plain
from fsserver.server.resources import CACHE, CACHED, Resources, RunBlocking
from fsserver.server.sealing import Seal
from fsserver.telemetry.trace_context import traceparent
from fsserver.tools.approval import Consent, ConsentNeeded
from fsserver.tools.control import BRIEF_S, Control, Precedence, Turn
from fsserver.tools.gate import Gate
from fsserver.tools.guise import Guise
from fsserver.tools.result import ToolResult
from fsserver.tools.session import Session

INSTRUCTIONS: Final = (
    "Files and directories on the user's machine, inside the directories that list_allowed_directories names. "
    "What a tool may do there is fixed by a policy: a refusal says which rule refused and what is allowed instead, "
    "and repeating the call does not help. Read before you edit, and give expectedSha256 where a tool takes it, so "
    "that a change made meanwhile is not lost. Long results say how to go on."
)

PROGRESS_INTERVAL_S: Final = 0.1

Attempt: TypeAlias = dict[str, Any] | ConsentNeeded
"""A result as the client gets it, or what a person has to be asked before there is one."""


class FileServer:
    """An MCP server for one principal; `connect` makes its side of one client's connection.

    Args:
        session: the principal and what it may reach. Each connection serves a copy with its client's name.
        run: runs a blocking call in a thread, several at once, and returns its result.
        seal: of the questions that a modern client carries; None makes one of this server alone.
    """

    def __init__(
        self, gate: Gate, session: Session, *, policy: Policy, run: RunBlocking, seal: Seal | None = None
    ) -> None:
        self._gate = gate
        self._session = session
        self._policy = policy
        self._run = run
        self._seal = seal or Seal(policy.approvals.timeout_s)
        self._slow: set[str] = set()
        self._precedence = Precedence()
        self._sdk: Server[None] = Server(
            "fsserver",
            version=__version__,
            title="fsserver",
            instructions=INSTRUCTIONS,
            cache_hints={"tools/list": CACHE, "server/discover": CACHE, **CACHED},
        )
        self._sdk.add_request_handler("tools/list", types.PaginatedRequestParams, self._list_tools)
        self._sdk.add_request_handler("tools/call", types.CallToolRequestParams, self._call_tool)
        Resources(self.answer, run).offer(self._sdk, frozenset(tool.name for tool in gate.tools(session)))
        self._sdk.middleware.clear()  # OpenTelemetry's, which costs a call 7 µs and reports to nobody here

    @property
    def concurrency(self) -> int:
        """How many calls may run at once."""
        return self._policy.limits.concurrency

    def exchanges(self) -> Exchanges:
        """The protocol over HTTP, in which each request says whose it is."""
        return Exchanges(self._sdk, self, seal=self._seal, timeout_s=self._policy.approvals.timeout_s)

    def connect(self, peer: Peer) -> Connection:
        return Connection(self._sdk, self, self._session, peer, policy=self._policy, seal=self._seal)

    def introduce(self, session: Session) -> None:
        """Have the log say who the client is. Where that fails, the next call tries again; it is refused if that fails
        too.
        """
        with suppress(AuditError):
            self._gate.introduce(session)

    async def _list_tools(
        self,
        context: ServerRequestContext[None, Any],
        params: types.PaginatedRequestParams | None,  # noqa: ARG002 - all tools fit one page
    ) -> HandlerResult:
        tools = self._gate.tools(Serving.of(context).session)
        return {"tools": [wire.tool(each) for each in tools], "resultType": "complete"}

    async def _call_tool(
        self, context: ServerRequestContext[None, Any], params: types.CallToolRequestParams
    ) -> HandlerResult:
        serving = Serving.of(context)
        session = await serving.narrowed(context.params)
        if session is None:
            return roots_required()
        token = progress_token_from_params(context.params)
        trace = traceparent(context.params)
        attempt = partial(self._attempt, serving.call, session, params.name, params.arguments, token, trace=trace)
        outcome = await self._run(lambda: attempt(consent=serving.approvals.given()))  # who may have to ask a replica
        if isinstance(outcome, ConsentNeeded):
            answered = await serving.approvals.ask(outcome, serving.call)
            if isinstance(answered, types.InputRequiredResult):
                return answered
            outcome = await self._run(partial(attempt, consent=answered))
        assert not isinstance(outcome, ConsentNeeded), "a call is asked about once"
        return {**outcome, "resultType": "complete"}

    def call(self, call: Call, session: Session, wanted: Plain) -> dict[str, Any]:
        """Make a tool call in this thread; the result as the protocol has it.

        Raises:
            PersonNeeded: nothing was changed or recorded, and the call has to be made where a person can be asked.
        """
        outcome = self._attempt(
            call, session, wanted.name, wanted.arguments, wanted.token, trace=wanted.trace, asks=False
        )
        if isinstance(outcome, ConsentNeeded):
            raise PersonNeeded
        return outcome

    async def plain(self, call: Call, session: Session, wanted: Plain) -> dict[str, Any] | None:
        """As `call`, in a thread. None: the call has to be made where a person can be asked."""
        try:
            return await self._run(partial(self.call, call, session, wanted))
        except PersonNeeded:
            return None

    def _attempt(
        self,
        call: Call,
        session: Session,
        name: str,
        arguments: Mapping[str, Any] | None,
        token: str | int | None,
        *,
        trace: str | None = None,
        consent: Consent | None = None,
        asks: bool = True,
    ) -> Attempt:
        with Turn(self._precedence) as turn:
            control = self._control(call, turn, token, trace)
            result = self._gate.call(
                session, name, arguments, control, consent=consent, asks=asks, counted=call.counted
            )
        if isinstance(result, ConsentNeeded):
            call.counted = True
            return result  # which says nothing of how long the tool takes; who asks makes this call again, and once
        if time.monotonic() - turn.began > BRIEF_S:
            if self._gate.knows(name):  # any other name is the client's, as long and as many as it likes
                self._slow.add(name)
        else:
            self._slow.discard(name)
        return wire.call_result(result, session.protocol)

    def answer(
        self,
        call: Call,
        session: Session,
        guise: Guise,
        parameters: Mapping[str, Any],
        token: str | int | None,
        *,
        trace: str | None,
    ) -> ToolResult:
        """What comes of a request that is no tool call, made as one in this thread."""
        with Turn(self._precedence) as turn:
            control = self._control(call, turn, token, trace)
            result = self._gate.call(session, guise.usual, parameters, control, guise=guise)
        assert not isinstance(result, ConsentNeeded), "reading needs nobody's consent"
        return result

    def _control(self, call: Call, turn: Turn, token: str | int | None, trace: str | None) -> Control:
        return Control(
            cancelled=call.cancelled,
            deadline=turn.began + self._policy.limits.time_s,
            progress=None if token is None else _Progress(call, token),
            turn=turn,
            request_id=call.request_id,
            trace=trace,
        )

    def expect_brief(self, name: str) -> bool:
        """Whether the next call of this tool is worth no thread of its own: the last one was short, or it is one that
        waits. Whoever makes a call that takes long after all is relieved of reading.
        """
        return name not in self._slow or self.waits(name)

    def waits(self, name: str) -> bool:
        """Whether the tool waits for more than files."""
        return self._gate.waits(name)


class _Progress:
    """A tool's progress, as far as it grows and at most once in `PROGRESS_INTERVAL_S`. Called from its thread."""

    def __init__(self, call: Call, token: str | int) -> None:
        self._call = call
        self._token = token
        self._last = float("-inf")
        self._next = 0.0

    def __call__(self, done: float, whole: float | None, message: str | None) -> None:
        now = time.monotonic()
        if done <= self._last or now < self._next:
            return
        self._last, self._next = done, now + PROGRESS_INTERVAL_S
        params: dict[str, Any] = {"progressToken": self._token, "progress": done}
        if whole is not None:
            params["total"] = whole
        if message is not None:
            params["message"] = message
        self._call.notify("notifications/progress", params)
