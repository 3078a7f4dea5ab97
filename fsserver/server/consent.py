"""Asking a person, through the client, for consent to one call: elicitation in form mode, in both eras.

Whatever a client does, only an answer in the form that was asked for, with ``approve`` true, is a consent; all else is
a refusal that says what was the matter. That a person gave the answer is the client's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import mcp_types as types

from fsserver.server.boundary import Call, Peer, ProtocolError
from fsserver.server.client_roots import QUESTION
from fsserver.server.sealing import Seal, bound_to
from fsserver.tools.approval import Answer, Consent, ConsentNeeded
from fsserver.tools.session import Session

KEY: Final = "approval"
"""The key of the question and its answer in a modern call."""

APPROVE: Final = "approve"
"""The form's only field."""


def form() -> dict[str, Any]:
    """The form's schema, in the restricted JSON Schema of elicitation. A new one for each use."""
    approve = {
        "type": "boolean",
        "title": "Allow this",
        "description": "Lets exactly this happen, once.",
        "default": False,
    }
    return {"type": "object", "properties": {APPROVE: approve}, "required": [APPROVE]}


def offered(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether the client shows forms to a person. An empty ``elicitation`` means that, as before there were modes."""
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def answer_in(result: object) -> Answer:
    """What an ``ElicitResult`` says."""
    if not isinstance(result, Mapping):
        return Answer.MALFORMED
    match result.get("action"):
        case "decline":
            return Answer.DECLINED
        case "cancel":
            return Answer.CANCELLED
        case "accept":
            content = result.get("content")
            approve = content.get(APPROVE) if isinstance(content, Mapping) else None
            if approve is True:
                return Answer.ACCEPTED
            return Answer.DECLINED if approve is False else Answer.MALFORMED
    return Answer.MALFORMED


class Approvals(Protocol):
    """How the client of one call is asked."""

    def given(self) -> Consent | None:
        """The consent that came with the call."""
        ...

    async def ask(self, needed: ConsentNeeded, call: Call) -> Consent | types.InputRequiredResult:
        """What came of asking; or a result that asks the client, which then makes the call again with the answer."""
        ...


class ApprovalsOfConnection:
    """For a handshake connection: the client is sent a request, and the call waits for the answer.

    One question is open at a time; calls that need another wait for their turn, and not longer than for an answer.

    Args:
        timeout_s: how long a call waits in all.
        waiting: how many calls may wait; those beyond are refused. They hold places of calls that run.
    """

    def __init__(self, peer: Peer, *, timeout_s: float, waiting: int) -> None:
        self._peer = peer
        self._timeout_s = timeout_s
        self._most = waiting
        self._waiting = 0
        self._turn = asyncio.Lock()

    def given(self) -> Consent | None:
        return None

    async def ask(self, needed: ConsentNeeded, call: Call) -> Consent:
        if self._waiting >= self._most:
            return Consent.to(needed, Answer.BUSY)
        self._waiting += 1
        try:
            return Consent.to(needed, await self._wait(needed, call))
        finally:
            self._waiting -= 1

    async def _wait(self, needed: ConsentNeeded, call: Call) -> Answer:
        """The answer, or why there is none. Leaves no question open."""
        abandoned = asyncio.Event()
        call.when_cancelled(abandoned.set)
        asking = asyncio.ensure_future(self._asked(needed))
        leaving = asyncio.ensure_future(abandoned.wait())
        try:
            await asyncio.wait((asking, leaving), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if abandoned.is_set():
                return Answer.ABANDONED
            return asking.result() if asking.done() else Answer.TIMEOUT
        finally:
            asking.cancel()
            leaving.cancel()
            await asyncio.wait((asking, leaving))

    async def _asked(self, needed: ConsentNeeded) -> Answer:
        async with self._turn:
            try:
                # Without `mode`, which clients of 2025-06-18 do not know: it means the form.
                params = {"message": needed.message(), "requestedSchema": form()}
                return answer_in(await self._peer.ask("elicitation/create", params))
            except ProtocolError:
                return Answer.FAILED


class ApprovalsOfCall:
    """For one modern call: its result asks the client, which makes the call again with the answer and the state.

    Args:
        params: the call's, as they came.
    """

    def __init__(self, seal: Seal, session: Session, params: Mapping[str, Any]) -> None:
        self._seal = seal
        self._session = session
        self._params = params
        responses = params.get("inputResponses")
        self._responses = responses if isinstance(responses, Mapping) else {}

    def given(self) -> Consent | None:
        if KEY not in self._responses:
            return None
        answer = answer_in(self._responses[KEY])
        return self._seal.open(self._params.get("requestState"), self._bound(), answer, self._session.principal)

    async def ask(self, needed: ConsentNeeded, call: Call) -> types.InputRequiredResult:  # noqa: ARG002
        params = types.ElicitRequestFormParams(message=needed.message(), requested_schema=form())
        requests: types.InputRequests = {KEY: types.ElicitRequest(params=params)}
        if QUESTION in self._responses:  # the next call has to bring the roots again
            requests[QUESTION] = types.ListRootsRequest()
        return types.InputRequiredResult(input_requests=requests, request_state=self._seal.make(needed, self._bound()))

    def _bound(self) -> str:
        return bound_to(self._session, str(self._params.get("name")), self._params.get("arguments"))
