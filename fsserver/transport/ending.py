"""How a server comes to its end, over whatever transport."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def first_of(*events: Awaitable[object], timeout_s: float) -> None:
    """Wait for one of them, but not longer than ``timeout_s``."""
    tasks = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def ignore_signals(loop: asyncio.AbstractEventLoop) -> None:
    """For good: the end has begun, and its last steps are not to be cut off.

    Blocked meanwhile: asyncio puts the default handlers back, and those end the process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
