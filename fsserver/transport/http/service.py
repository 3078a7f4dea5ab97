"""The service from its first request to a clean end.

On SIGTERM or SIGINT it is not ready any more, and answers new requests with a 503 that says that nothing was done, so
that a proxy or a client may send them elsewhere. What is under way may go on for ``server.drain``, and what belongs to
it is taken: answers to its questions, and cancellations, come on connections of their own. Then it is cancelled. Only
when no request is left are connections refused, and nobody who could send one goes without an answer. A second signal
ends the wait. SIGHUP reads certificates and tokens again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from fsserver.errors import ConfigError
from fsserver.kernel.listeners import begin_no_more
from fsserver.policy.service import ServerRules
from fsserver.transport.ending import first_of, ignore_signals
from fsserver.transport.http.application import Application
from fsserver.transport.http.listening import Listening, bind, bound, room, server_context
from fsserver.transport.http.notify import Notifier
from fsserver.transport.http.protocol import Bounds, connection

_LOG = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may be idle: longer than any proxy in front keeps it, so that it is the one to close it."""

STOP_S: Final = 3.0
"""How long cancelled requests may take to notice: a command has half a second to end by itself."""

SETTLE_S: Final = 0.1
"""How long connections that have begun may take to be accepted, once the kernel begins no more."""

ACCEPT_TURNS: Final = 8
"""Rounds of the loop after which what was accepted last has its protocol: asyncio makes that in a task, which fails
once the server is closed. A loop that was held up accepts in the very round in which the wait is over.
"""

LEAVE_S: Final = 2.0
"""How long clients have to hang up, once the last request is answered: longer than a connection lingers."""


@dataclass(frozen=True)
class Front:
    """What has to exist before the server confines itself.

    Attributes:
        context: TLS; None for none.
    """

    socket: Listening
    context: ssl.SSLContext | None
    notifier: Notifier
    bounds: Bounds

    @classmethod
    def open(cls, rules: ServerRules) -> Front:
        """Raises ConfigError: it cannot listen, or a file of ``server.tls`` cannot be used."""
        context = server_context(rules.tls)
        # Without TLS of its own, only what terminates TLS in front may connect, but on this machine.
        peers = rules.proxies if context is None and rules.proxies else ()
        limits = rules.limits
        bounds = Bounds(
            header_bytes=limits.header_bytes,
            header_s=limits.header_s,
            connections=limits.connections,
            peers=(*peers, "127.0.0.0/8", "::1/128") if peers else (),
        )
        return cls(bind(rules.listen), context, Notifier(), bounds)

    def close(self) -> None:
        self.socket.close()
        self.notifier.close()


@dataclass
class Listener:
    """A socket with what is served on it.

    Attributes:
        observe: told the status of what was refused before it was a request.
    """

    socket: Listening
    application: Any
    bounds: Bounds
    observe: Callable[[int], None] = lambda _: None
    state: ServerState = field(default_factory=ServerState)
    server: asyncio.Server | None = None

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Accept connections, from now on with this TLS; those that there are go on as they were."""
        config = Config(
            self.application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,  # what it warns of is what clients send; `BoundedProtocol` tells that, bounded
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(KEEP_ALIVE_S),
        )
        config.load()
        loop = asyncio.get_running_loop()
        factory = connection(config, self.state, self.bounds, self.observe)
        if self.server is not None:
            self.server.close()
        # `BoundedProtocol` counts connections once they have TLS, so that takes no longer than headers may.
        handshake_s = None if context is None else self.bounds.header_s
        listening = self.socket.dup()
        listening.most, listening.accepted = min(2 * self.bounds.connections, room()), self.socket.accepted
        self.server = await loop.create_server(
            factory, sock=listening, ssl=context, ssl_handshake_timeout=handshake_s, backlog=1024
        )

    async def refuse(self) -> None:
        """Take no more connections; all that had begun are there afterwards."""
        begin_no_more(self.socket)
        await asyncio.sleep(SETTLE_S)
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        self.close()

    def close(self) -> None:
        """Accept no more."""
        if self.server is not None:
            self.server.close()
        self.socket.close()

    def hang_up(self) -> None:
        """End idle connections, and the others when they are answered."""
        for each in list(self.state.connections):
            each.shutdown()

    def tick(self) -> None:
        self.state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode("ascii"))]


@dataclass(frozen=True)
class Hooks:
    """What else happens.

    Attributes:
        reload: on SIGHUP.
        observe: see `Listener`.
        background: run until the end, beside the service.
    """

    reload: Callable[[], object]
    observe: Callable[[int], None]
    background: Sequence[Callable[[], Awaitable[object]]] = ()


class Service:
    """Args:
    others: further listeners, without TLS, that are served until the very end.
    """

    def __init__(
        self,
        rules: ServerRules,
        application: Application,
        front: Front,
        *,
        others: Sequence[Listener],
        hooks: Hooks,
    ) -> None:
        self._rules = rules
        self._application = application
        self._listener = Listener(front.socket, application, front.bounds, hooks.observe)
        self._others = others
        self._hooks = hooks
        self._context = front.context
        self._notifier = front.notifier
        self._shown = f"{bound(front.socket)}{application.path}"
        self._tasks: set[asyncio.Task[Any]] = set()

    def connections(self) -> int:
        """How many clients' are open."""
        return len(self._listener.state.connections)

    def run(self) -> None:
        """Serve until a signal asks for the end. Afterwards signals are ignored: the end has begun."""
        gc.freeze()
        gc.enable()
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        end, hurry = asyncio.Event(), asyncio.Event()

        def stop() -> None:
            if end.is_set():
                hurry.set()
            end.set()

        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_signal_handler(signal.SIGINT, stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(_watched(self._reload())))
        for each in (self._listener, *self._others):
            each.tick()
            await each.open(self._context if each is self._listener else None)
        background = [self._spawn(_watched(each())) for each in (self._ticks, *self._hooks.background)]
        self._notifier.say("READY=1", f"STATUS=Serving on {self._shown}.")
        for each in self._others:
            _LOG.info("Serving operators on %s", bound(each.socket))
        _LOG.info("Serving MCP on %s", self._shown)
        await end.wait()
        await self._drain(hurry)
        for task in background:
            task.cancel()
        for each in self._others:
            each.close()
            each.hang_up()
        ignore_signals(loop)

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ticks(self) -> None:
        while True:
            for each in (self._listener, *self._others):
                each.tick()
            await asyncio.sleep(1.0)

    async def _reload(self) -> None:
        # Type=notify-reload compares it with the time at which systemd sent the signal.
        self._notifier.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            context = server_context(self._rules.tls)
        except ConfigError as error:
            _LOG.error("%s The old certificate stays in use.", error.message)
        else:
            if context is not None:
                await self._listener.open(context)
                _LOG.info("Certificates were read again")
        self._hooks.reload()
        self._notifier.say("READY=1")

    async def _drain(self, hurry: asyncio.Event) -> None:
        pending, listener = self._application.pending, self._listener
        self._notifier.say("STOPPING=1", f"STATUS=Draining {pending.open} requests.")
        _LOG.info("Draining: %d requests under way may take %g s more", pending.open, self._rules.drain_s)
        self._application.draining = True
        await first_of(pending.idle(), hurry.wait(), timeout_s=self._rules.drain_s)
        if pending.open:
            _LOG.warning("%d requests are cancelled", pending.open)
            pending.cancel_all()
            await first_of(pending.idle(), timeout_s=STOP_S)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _nothing)  # nobody comes who would need it
        await listener.refuse()
        listener.hang_up()
        await first_of(_none_left(listener.state), timeout_s=LEAVE_S)


async def _none_left(state: ServerState) -> None:
    while state.connections:
        await asyncio.sleep(0.02)


async def _watched(work: Awaitable[object]) -> None:
    """A task of the background that fails says so, and takes nothing else with it."""
    try:
        await work
    except Exception:  # noqa: BLE001 - whatever it is, the service goes on
        _LOG.exception("a task in the background failed")


def _nothing() -> None:
    pass
