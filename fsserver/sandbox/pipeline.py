"""Several commands at once, each one's output the next one's input, with no shell between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from fsserver.sandbox.runner import Request, Runner, Running
from fsserver.sandbox.streams import pipe


def start_all(runner: Runner, requests: Sequence[Request], held: ExitStack) -> list[Running]:
    """Start every command, joined by pipes; ``held`` closes them.

    The first has its standard input and the last its standard output as `Running` has them.

    Raises:
        As `Runner.start`; what was started by then is closed with ``held``.
    """
    runs: list[Running] = []
    # Our copies are closed when all run: a command then finds the end of its input, or nobody to write to, when its
    # neighbour ends and not when the server does.
    copies: list[int] = []
    reader: int | None = None
    try:
        for number, request in enumerate(requests, start=1):
            following = writer = None
            if number < len(requests):
                following, writer = pipe()
                copies += (following, writer)
            running = runner.start(request, stdin=reader, stdout=writer)
            held.callback(running.close)
            runs.append(running)
            reader = following
    finally:
        for copy in copies:
            os.close(copy)
    return runs
