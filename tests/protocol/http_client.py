"""A client over HTTP that says exactly what a test wants, in either era. Every wait is bounded.

What it sends by itself is what the protocol asks for; each request can send other header fields, or leave some out.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

from tests.protocol.client import MODERN, Message, envelope

TIMEOUT_S: Final = 20.0

Fields: TypeAlias = Mapping[str, str | list[str] | None]
"""Header fields to send besides or instead of the usual ones; a list sends one several times, None leaves it out."""

_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that a modern request repeats as ``Mcp-Name``."""


class Answer:
    """One response, read as far as it was asked for. Leaving the context, or `close`, hangs up."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.questions: list[Message] = []
        self.notifications: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    @property
    def streams(self) -> bool:
        """Whether it is a stream of events."""
        return self.headers.get_content_type() == "text/event-stream"

    def body(self) -> bytes:
        """All of it, or what is left of it."""
        return self._response.read()

    def json(self) -> Message:
        return dict(json.loads(self.body()))

    def event(self) -> Message | None:
        """The next message of the stream; None at its end. What are no messages, such as pings, is left out."""
        data: list[str] = []
        while line := self._response.readline():
            text = line.decode().rstrip("\r\n")
            if text.startswith("data:"):
                data.append(text.removeprefix("data:").removeprefix(" "))
            elif not text and data:
                message: Message = json.loads("\n".join(data))
                assert message["jsonrpc"] == "2.0"
                return message
        return None

    def events(self) -> Iterator[Message]:
        while (message := self.event()) is not None:
            yield message

    def question(self, method: str = "elicitation/create") -> Message:
        """The next message but notifications, which is this request of the server's."""
        for message in self.events():
            if "id" in message:
                assert message.get("method") == method, message
                return message
            self.notifications.append(message)
        raise AssertionError(f"the stream ended without {method}")

    def message(self) -> Message:
        """The response: the body, or the stream's last message. What came before is in ``notifications``."""
        if not self.streams:
            message = self.json()
            assert message["jsonrpc"] == "2.0"
            return message
        for message in self.events():
            if "method" not in message:
                assert self.event() is None, "the response is the last event"
                return message
            (self.questions if "id" in message else self.notifications).append(message)
        raise AssertionError("the stream ended without a response")

    def result(self) -> Message:
        """Fails the test on an error."""
        message = self.message()
        assert "result" in message, message
        return dict(message["result"])

    def error(self) -> Message:
        """Fails the test on a result."""
        message = self.message()
        assert "error" in message, message
        return dict(message["error"])


class HttpClient:
    """One client of one server, on one connection at a time for each request that is under way.

    Args:
        url: of the server.
        revision: the modern one, or a handshake revision; then `open` comes first.
        token: a bearer token.
        fields: sent with every request.
        tls: for https.
    """

    def __init__(
        self,
        url: str,
        revision: str = MODERN,
        *,
        token: str | None = None,
        capabilities: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = parts.hostname, parts.port
        self._tls = tls if parts.scheme == "https" else None
        self._host = parts.netloc
        self.path = parts.path or "/"
        self.revision = revision
        self.capabilities = dict(capabilities or {})
        self.session: str | None = None
        self._fields = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **(fields or {})}
        self._next = 0

    # --- any request

    def send(self, method: str, body: bytes = b"", fields: Fields | None = None, *, path: str | None = None) -> Answer:
        """Any HTTP request, with no more fields than these, ``Host``, those of every request and the body's length."""
        if self._tls is None:
            connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(*self._address, timeout=TIMEOUT_S, context=self._tls)
        length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
        usual: dict[str, str | list[str] | None] = {"Host": self._host, **length, **self._fields}
        try:
            connection.putrequest(
                method, self.path if path is None else path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in {**usual, **(fields or {})}.items():
                for each in [] if value is None else [value] if isinstance(value, str) else value:
                    connection.putheader(name, each)
            connection.endheaders(body)
            return Answer(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def post(self, message: Message | bytes, fields: Fields | None = None) -> Answer:
        """A message, with the fields that belong to it in this client's era."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        usual: dict[str, str | list[str] | None] = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": self.revision,
            "Mcp-Session-Id": self.session,
        }
        if not isinstance(message, bytes) and self.revision == MODERN and "method" in message:
            named = (message.get("params") or {}).get(_NAMED.get(message["method"], ""))
            usual |= {"Mcp-Method": message["method"], "Mcp-Name": named}
        return self.send("POST", body, {**usual, **(fields or {})})

    # --- messages

    def start(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        *,
        identifier: int | str | None = None,
    ) -> Answer:
        """A request, and the answer as soon as it begins. A modern one carries the envelope."""
        if identifier is None:
            self._next += 1
            identifier = self._next
        message: Message = {"jsonrpc": "2.0", "id": identifier, "method": method}
        sent = dict(params or {})
        if self.revision == MODERN:
            sent["_meta"] = {**envelope(capabilities=self.capabilities), **sent.get("_meta", {})}
        if sent or params is not None:
            message["params"] = sent
        return self.post(message, fields)

    def request(self, method: str, params: Mapping[str, Any] | None = None, fields: Fields | None = None) -> Message:
        """The result; fails the test on an error."""
        with self.start(method, params, fields) as answer:
            return answer.result()

    def error(self, method: str, params: Mapping[str, Any] | None = None, fields: Fields | None = None) -> Message:
        """The error; fails the test on a result."""
        with self.start(method, params, fields) as answer:
            return answer.error()

    def start_call(self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Answer:
        """A tool call. ``more``: further parameters, such as ``_meta``."""
        return self.start("tools/call", {"name": tool, "arguments": dict(arguments or {}), **more})

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Message:
        with self.start_call(tool, arguments, **more) as answer:
            return answer.result()

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params is not None else {})
        self._accepted(message)

    def respond(self, question: Message, result: Any) -> None:
        """Answer a request of the server's."""
        self._accepted({"jsonrpc": "2.0", "id": question["id"], "result": result})

    def _accepted(self, message: Message) -> None:
        with self.post(message) as answer:
            assert (answer.status, answer.body()) == (202, b""), answer.status

    # --- sessions

    def open(self) -> Message:
        """The handshake; the session's id goes with every later request."""
        params = {
            "protocolVersion": self.revision,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "tests", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        with self.post(message, {"MCP-Protocol-Version": None}) as answer:
            result = answer.result()
            self.session = answer.headers["Mcp-Session-Id"]
        self.notify("notifications/initialized")
        return result

    def end(self) -> int:
        """End the session; the status. The id is kept, so that a test can show that it is of no use."""
        fields = {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.revision}
        with self.send("DELETE", fields=fields) as answer:
            return answer.status
