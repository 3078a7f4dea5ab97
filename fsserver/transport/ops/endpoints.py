"""What an operator's machines ask over HTTP: is it alive, is it ready, how does it do, which version is it.

An ASGI application for a listener of its own. It asks nobody who they are: whoever can connect to the address that the
policy names may read. So it says nothing of files, principals' data or secrets, and takes nothing but ``GET``. The
``Host`` is looked at all the same, or a web page could read it from a browser of this machine (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from fsserver.policy.service import Address
from fsserver.transport.hosts import Hosts
from fsserver.transport.ops.aside import Aside
from fsserver.transport.ops.readiness import Finding, Readiness

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

METRICS_S: Final = 10.0
"""How long the metrics may take: as long as Prometheus waits by default."""


class Answer(NamedTuple):
    """A whole response."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def text(cls, status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
        return cls(status, TEXT, f"{text}\n".encode(), headers)

    @classmethod
    def json(cls, status: int, value: object) -> Answer:
        return cls(status, JSON, json.dumps(value).encode() + b"\n")


class Asked(NamedTuple):
    """Of a request: the ``Accept`` header, or nothing, and what stands behind the question mark."""

    accept: str
    query: str

    @property
    def wants_json(self) -> bool:
        return JSON in self.accept.lower()


class Operations:
    """The application. Belongs to one event loop.

    Args:
        listen: where it is served.
        hosts: further values of ``Host``, as the policy has them.
        version: what ``/version`` says.
        metrics: from an ``Accept`` header to the content type and the text of all metrics. May block.
    """

    def __init__(
        self,
        readiness: Readiness,
        *,
        listen: Address,
        hosts: Collection[str],
        version: Mapping[str, str],
        metrics: Callable[[str], tuple[str, bytes]],
    ) -> None:
        self._hosts = Hosts(listen, hosts)
        self._readiness = readiness
        self._version = dict(version)
        self._metrics = metrics
        self._reading = Aside("metrics")
        self._answers: Final[Mapping[str, Callable[[Asked], Awaitable[Answer]]]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._measured,
            "/version": self._versioned,
        }

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # neither WebSockets nor messages about the server's own life
            return
        answer = await self._answer(scope)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope) -> Answer:
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if not self._hosts.accept([value for name, value in headers if name == b"host"]):
            return Answer.text(421, "This is not the host that is asked for; see server.hosts in the policy.")
        answer = self._answers.get(scope["path"])
        if answer is None:
            return Answer.text(404, f"There is {', '.join(self._answers)}.")
        if scope["method"] != "GET":
            return Answer.text(405, "Only GET.", (b"allow", b"GET"))
        accept = b",".join(value for name, value in headers if name == b"accept").decode("latin-1")
        return await answer(Asked(accept, scope["query_string"].decode("latin-1")))

    async def _live(self, asked: Asked) -> Answer:
        """That this is answered says it all: the event loop goes round."""
        return Answer.json(200, {"alive": True}) if asked.wants_json else Answer.text(200, "alive")

    async def _ready(self, asked: Asked) -> Answer:
        found = await self._readiness.findings()
        ready = not any(each.required and not each.well for each in found)
        verbose = asked.query.partition("=")[0] == "verbose"
        status = 200 if ready else 503
        if asked.wants_json:
            checks = {"checks": [each._asdict() for each in found]} if verbose else {}
            return Answer.json(status, {"ready": ready, **checks})
        return Answer.text(status, _told(found, ready=ready, verbose=verbose))

    async def _measured(self, asked: Asked) -> Answer:
        """One at a time: who asks again and again takes one thread."""
        try:
            async with asyncio.timeout(METRICS_S):
                content_type, text = await self._reading.ask(lambda: self._metrics(asked.accept))
        except TimeoutError:
            return Answer.text(503, f"The metrics took more than {METRICS_S:g} s.")
        return Answer(200, content_type, text)

    async def _versioned(self, _asked: Asked) -> Answer:
        return Answer.json(200, self._version)


def _told(found: Sequence[Finding], *, ready: bool, verbose: bool) -> str:
    word = "ready" if ready else "not ready"
    if verbose:
        lines = [f"[{'+' if each.well else '-'}] {_name(each)}: {each.detail}" for each in found]
        return "\n".join((*lines, word))
    failed = [_name(each) for each in found if not each.well]
    return f"{word}: {', '.join(failed)}" if failed and not ready else word


def _name(finding: Finding) -> str:
    return finding.name if finding.required else f"{finding.name} (not required)"
