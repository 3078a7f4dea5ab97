"""Where the time of a cold start goes: which packages are imported before the first answer, and for how long."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections import Counter

from benchmarks.servers import Command

_LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +([\w.]+)$", re.MULTILINE)
SHOWN = 8


def bare_interpreter(rounds: int) -> float:
    """Seconds that the interpreter needs for nothing at all."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def imports_before_tools(command: Command) -> list[tuple[str, float]]:
    """Seconds by top-level package that a server spends importing until it has answered ``tools/list``, longest first.

    Measured with ``-X importtime``, which itself makes imports slower; compare the lines with each other.
    """
    traced = Command(command.name, (command.argv[0], "-X", "importtime", *command.argv[1:]), command.env, command.cwd)
    with traced.start() as server:
        server.handshake()
        server.request("tools/list", {})
        report = server.stderr()
    seconds: Counter[str] = Counter()
    for microseconds, name in _LINE.findall(report):
        seconds[name.split(".")[0]] += int(microseconds)
    return [(name, total / 1e6) for name, total in seconds.most_common(SHOWN)]
