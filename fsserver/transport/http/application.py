"""What happens to one HTTP request, in order: is it one, who sent it, what may it hold, what does it ask.

*Trust.* Hostile: every byte of the request, its length, and how slowly it comes. Ours: the policy, the authenticator,
and what lies behind `Grants`.

*Invariant.* No body is looked at of a request that does not name this server, or whose sender is not known and granted
a profile. What is read is bounded in bytes and time. A session's id is of use only to the principal that it was made
for.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Final

from starlette.types import Receive, Scope, Send

from fsserver.paths.workspace import Workspace
from fsserver.policy.principals import Identity
from fsserver.policy.service import ServerRules
from fsserver.server.exchanges import Asked, Headers, speaks_modern
from fsserver.server.handshakes import Handshakes, Hello
from fsserver.server.resources import RunBlocking
from fsserver.transport import jsonrpc
from fsserver.transport.auth.authenticator import Authenticator
from fsserver.transport.auth.failures import AuthenticationError, KeysUnavailable
from fsserver.transport.auth.metadata import challenge, metadata_path, resource_metadata
from fsserver.transport.http.admission import Admission, Fields
from fsserver.transport.http.answer import Answer
from fsserver.transport.http.exchange import Exchange
from fsserver.transport.http.grants import Grant, Grants, Sessions
from fsserver.transport.http.incoming import Incoming
from fsserver.transport.http.pending import Hold, Pending
from fsserver.transport.http.refusal import Refusal, draining
from fsserver.transport.http.refusal_log import RefusalLog
from fsserver.transport.jsonrpc import Malformed, Message, Notification, Request, Response

SESSION_ID: Final = b"mcp-session-id"
REQUEST_ID: Final = b"x-request-id"


class Application:
    """The ASGI application.

    Args:
        look: runs in a thread what looks at the directories of principals.
        observe: told the status of each request that was answered.
    """

    def __init__(
        self,
        rules: ServerRules,
        *,
        authenticator: Authenticator,
        grants: Grants,
        handshakes: Handshakes,
        look: RunBlocking,
        observe: Callable[[int], None],
    ) -> None:
        self._rules = rules
        self._admission = Admission(rules)
        self._authenticator = authenticator
        self._grants = grants
        self._handshakes = handshakes
        self._look = look
        self._observe = observe
        self._names = random.Random()  # noqa: S311 - a request's name is no secret, and the system's bits take a call
        self.sessions = Sessions()
        self.pending = Pending(rules.limits.streams, rules.limits.body_bytes)
        self.draining = False
        self._refusals = RefusalLog()
        self._proxies = tuple(ip_network(each, strict=False) for each in rules.proxies)
        path = metadata_path(rules)
        self._metadata = None if path is None else (path, json.dumps(resource_metadata(rules)).encode())

    @property
    def path(self) -> str:
        return self._admission.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        request_id = f"{self._names.getrandbits(64):016x}"
        incoming = Incoming(receive)
        try:
            status = await self._serve(scope, incoming, send, request_id)
        except Refusal as refusal:
            status = refusal.status
            if status != 405:  # every client asks for a stream once
                self._refusals.tell(refusal, self._client(scope), request_id)
            await _send_refusal(incoming, send, refusal, request_id)
        self._observe(status)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        headers: Fields = list(scope["headers"])
        self._admission.host(headers)
        if self._metadata is not None and _target(scope) == self._metadata[0] and scope["method"] in ("GET", "HEAD"):
            return await _send_document(send, self._metadata[1], request_id)
        self._admission.look(scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"], headers)
        sender = await self._sender(await self._authenticated(headers), headers)
        if scope["method"] == "DELETE":
            return await self._end(send, sender, request_id)
        size = self._declared(headers)
        with self.pending.body(sender.identity.name) as hold:
            message = jsonrpc.parse(await self._body(receive, size, sender, hold))
            if isinstance(message, Request):
                # What comes without an answer, or as one, is about requests that may go on, and is taken to the end.
                if self.draining:
                    raise draining(message.id)
                exchange = self._exchange(message, sender, _texts(headers), request_id)
                return await self._answer(exchange, scope["state"]["leaving"], send)
            self._noted(message, sender)
        return await _send_empty(send, 202, request_id)

    def _client(self, scope: Scope) -> str:
        """Where a request comes from, for the log; behind a proxy of the policy, what that says."""
        address = str((scope["client"] or ("unknown",))[0])
        with suppress(ValueError):
            if any(ip_address(address) in network for network in self._proxies):
                forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
                said = forwarded[-1].decode("latin-1").rpartition(",")[2].strip() if forwarded else address
                return str(ip_address(said))
        return address

    # --- who

    async def _authenticated(self, headers: Fields) -> Identity:
        try:
            return await self._authenticator.authenticate(headers)
        except AuthenticationError as failure:
            retry = round(failure.retry_after_s) if isinstance(failure, KeysUnavailable) else None
            fields = {} if retry is not None else {"WWW-Authenticate": challenge(self._rules, failure)}
            said = str(failure)
            raise Refusal(
                failure.status, failure.error or "no token", said, headers=fields, retry_after_s=retry
            ) from None

    async def _sender(self, identity: Identity, headers: Fields) -> _Sender:
        """Whom the request is from, with what the handshake agreed on, if it belongs to one."""
        granted = partial(self._grants.of, identity)
        grant, workspace = await self._look(granted) if self._grants.looks else granted()
        identifiers = [value.decode("latin-1") for name, value in headers if name == SESSION_ID]
        if not identifiers:
            return _Sender(identity, grant, workspace, None)
        hello = self._handshakes.read(identifiers[0], identity.name) if len(identifiers) == 1 else None
        if hello is None:
            raise Refusal(404, "session", "There is no such session (any more); send initialize again.")
        return _Sender(identity, grant, workspace, hello)

    # --- what

    def _declared(self, headers: Fields) -> int:
        """How many bytes the body may have: what it says, or as many as may be."""
        most = self._rules.limits.body_bytes
        # The parser refuses a second one, one that is no number or is beyond 64 bits, and one beside another encoding.
        size = next((int(value) for name, value in headers if name == b"content-length"), most)
        if size > most:
            raise _too_large(most)
        return size

    async def _body(self, receive: Receive, size: int, sender: _Sender, hold: Hold) -> bytes:
        try:
            with self.pending.reading(sender.identity.name):
                async with asyncio.timeout(self._rules.limits.body_s):
                    return await _whole_body(receive, size, hold)
        except TimeoutError:
            raise Refusal(408, "slow body", "The body took too long.", close=True) from None

    def _noted(self, message: Message | None, sender: _Sender) -> None:
        """Take what is owed no answer. Raises Refusal: it is no message."""
        match message:
            case Notification(method="notifications/cancelled", params=params) if sender.hello is not None:
                cancelled = (params or {}).get("requestId")
                if type(cancelled) in (int, str):
                    self.pending.cancel((*sender.owner, cancelled))  # type: ignore[arg-type]
            case Response():
                self.pending.answered(*sender.owner, message)
            case Malformed(identifier, code, text):
                raise Refusal(400, "malformed", text, code, id=identifier)
            case None:
                raise Refusal(400, "malformed", "The body is empty.", jsonrpc.PARSE_ERROR)

    def _exchange(self, request: Request, sender: _Sender, headers: Headers, request_id: str) -> Exchange:
        modern = speaks_modern(request.method, request.params, headers)
        answer = Answer(request.id, self.pending, sender.owner, request_id=request_id, leaving_cancels=modern)
        session = self.sessions.of(sender.identity, sender.workspace, sender.hello)
        asked = Asked(request.method, request.params, session, answer, answer)
        return Exchange(sender.grant.exchanges, asked, answer, headers=headers, hello=sender.hello)

    async def _answer(self, exchange: Exchange, leaving: set[Callable[[], None]], send: Send) -> int:
        principal, answer = exchange.asked.session.principal, exchange.answer
        if exchange.era is None:
            message = "A request needs the Mcp-Session-Id that initialize was answered with."
            raise Refusal(400, "no session", message, id=answer.id)

        def head() -> Fields:
            fields = [(REQUEST_ID, answer.request_id.encode("ascii"))]
            if exchange.agreed is not None:
                fields.append((SESSION_ID, self._handshakes.seal(exchange.agreed, principal).encode("ascii")))
            return fields

        key = None if exchange.hello is None else (principal, exchange.hello.id, answer.id)
        try:
            with self.pending.stream(principal, answer, key):
                work = exchange.result()
                return await answer.send(work, send, leaving=leaving, head=head, status_of=exchange.status_of)
        except Refusal as refusal:
            refusal.id = answer.id
            raise

    async def _end(self, send: Send, sender: _Sender, request_id: str) -> int:
        """The client gives its session up, and whatever it waits for there."""
        if sender.hello is None:
            raise Refusal(400, "no session", "DELETE ends the session that Mcp-Session-Id names.")
        self._handshakes.end(sender.hello, sender.identity.name)
        self.pending.cancel_session(*sender.owner)
        return await _send_empty(send, 204, request_id)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Whom a request is from. ``hello``: of its session, if it has one."""

    identity: Identity
    grant: Grant
    workspace: Workspace
    hello: Hello | None

    @property
    def owner(self) -> tuple[str, str]:
        return self.identity.name, "" if self.hello is None else self.hello.id


async def _whole_body(receive: Receive, size: int, hold: Hold) -> bytes:
    """Raises Refusal: it is longer than that, there is no room for it, or the client left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "disconnected", "The body is not whole.", close=True)
        piece = message.get("body", b"")
        if len(body) + len(piece) > size:
            raise _too_large(size)
        hold(len(piece))
        body += piece
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> Refusal:
    message = f"A body has at most {most} bytes (server.limits.body)."
    return Refusal(413, "body too large", message)


def _texts(headers: Fields) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _target(scope: Scope) -> str:
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def _send(send: Send, status: int, headers: Fields, body: bytes) -> int:
    if body or status != 204:
        headers = [*headers, (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status


def _send_empty(send: Send, status: int, request_id: str) -> Awaitable[int]:
    return _send(send, status, [(REQUEST_ID, request_id.encode("ascii"))], b"")


def _send_document(send: Send, body: bytes, request_id: str) -> Awaitable[int]:
    fields = [(REQUEST_ID, request_id.encode("ascii")), (b"content-type", b"application/json")]
    return _send(send, 200, [*fields, (b"access-control-allow-origin", b"*")], body)


async def _send_refusal(incoming: Incoming, send: Send, refusal: Refusal, request_id: str) -> None:
    body = refusal.body()
    length = (b"content-length", str(len(body)).encode("ascii"))
    fields = [*refusal.fields(), (REQUEST_ID, request_id.encode("ascii")), length]
    await send({"type": "http.response.start", "status": refusal.status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await incoming.drop()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
