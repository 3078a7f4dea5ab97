"""One client over standard input and output, from the first line to a clean end."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Final

from fsserver.server.files import FileServer
from fsserver.transport.descriptors import StandardStreams
from fsserver.transport.dispatch import Dispatcher
from fsserver.transport.ending import first_of, ignore_signals
from fsserver.transport.front import Front
from fsserver.transport.lines import LineWriter

GRACE_S: Final = 2.0
"""How long calls may go on after the client closed its end, or a signal."""

STOP_S: Final = 0.3
"""How long cancelled calls may take to notice."""

FLUSH_S: Final = 0.3
"""How long the client may take to read the last answers."""


def serve(server: FileServer, streams: StandardStreams) -> None:
    """Serve until the client closes standard input or its reading end, or a signal asks for the end.

    Then calls in flight get `GRACE_S` and their results are written; what is not done by then is cancelled and
    answered with an error. A second signal ends the wait. Returns within 3 s of the first of these. A call that hangs
    in the kernel does not hold this up: its thread is left behind and dies with the process.

    Afterwards SIGINT, SIGTERM and SIGHUP are ignored: the end has begun, and its last steps are not to be cut off.
    """
    gc.freeze()  # what was imported stays: no collection needs to look at it again
    gc.enable()  # whoever loaded it may have switched collection off for that time
    asyncio.run(_serve(server, streams))


async def _serve(server: FileServer, streams: StandardStreams) -> None:
    loop = asyncio.get_running_loop()
    end, hurry = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if end.is_set():
            hurry.set()
        end.set()

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup(1)
        loop.add_signal_handler(signal.SIGHUP, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGTERM, stop)
    writer = LineWriter(streams.writer)
    dispatcher = Dispatcher(writer, concurrency=server.concurrency)
    dispatcher.attach(server.connect(dispatcher))
    front = Front(streams.reader, dispatcher, writer, on_end=end.set)
    writer.on_progress, writer.on_broken = dispatcher.advance, end.set
    front.start()
    await end.wait()
    front.stop()
    await first_of(dispatcher.idle(), hurry.wait(), timeout_s=GRACE_S)
    dispatcher.cancel_all()
    await first_of(dispatcher.idle(), hurry.wait(), timeout_s=STOP_S)
    dispatcher.close()
    await first_of(writer.flushed(), timeout_s=FLUSH_S)
    writer.stop()
    ignore_signals(loop)
