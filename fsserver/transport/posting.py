"""From any thread to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *arguments: Any) -> None:
    """Have ``callback`` called in the loop. Nothing happens if the loop is closed: a thread that was left behind at the
    end of the session has nobody to tell.
    """
    with suppress(RuntimeError):  # what a closed loop raises, and all that is raised here
        loop.call_soon_threadsafe(callback, *arguments)
