"""``python -m benchmarks.commands``: what a command in its sandbox costs; its section of docs/performance.md.

Compared in the same run, sample beside sample: a bare posix_spawn(3), bubblewrap alone, other MCP servers that run
commands without any sandbox, and this server on a root without rules. Every answer is checked.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers, protected_names, report
from benchmarks.corpus import text
from benchmarks.measure import Timed, WrongAnswerError, exchanged, expect, in_turn
from benchmarks.processes import children, descriptors, peak_bytes, proportional_bytes
from benchmarks.report import Line, PerCall
from benchmarks.servers import Command
from tests.compat.install import MissingError
from tests.compat.run import REPOSITORY
from tests.compat.wire import Connection, WireError, call

PERIOD_S = 0.1
OUTPUT_BYTES = 10_000_000
HUGE_BYTES = 1_000_000_000
SHOWN_BYTES = 64 * 1024
SETTLED_S = 0.5
BURSTS = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """How often. ``calls`` a round where one call is timed, ``burst`` where they follow each other."""

    rounds: int
    calls: int
    burst: int
    huge_bytes: int


FULL = Scale(5, 20, 200, HUGE_BYTES)
QUICK = Scale(2, 5, 40, HUGE_BYTES // 10)


class Served:
    """A running server with the commands ``true``, ``cat`` and ``zeros``."""

    def __init__(self, base: str, name: str, root: str, *, rules: bool, held: contextlib.ExitStack) -> None:
        self.root = root
        home = f"{base}/{name}-home"
        os.mkdir(home, 0o700)
        policy = f"{base}/{name}.yaml"
        with open(policy, "w", encoding="utf-8") as file:
            file.write(
                "version: 1\n"
                f"roots:\n  bench: {{path: {root}, mode: rw}}\n"
                f"extends: [{'preset:secrets' if rules else ''}]\n"
                "commands:\n"
                "  'true': {exec: /bin/true}\n"
                "  cat: {exec: /bin/cat, args: {positionals: [{value: {path: {root: bench}}}]}}\n"
                "  zeros: {exec: /usr/bin/head, prepend: [-c], args: {positionals: [{value: {int: {min: 1, "
                "max: 10000000000}}}, {value: {enum: [/dev/zero]}}]}}\n"
                "sandbox: {require: full}\n"
                f"audit: {{sinks: [{{dir: {base}/{name}-audit}}]}}\n"
            )
        os.chmod(policy, 0o600)
        variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LANG": "C.UTF-8"}
        argv = (sys.executable, "-m", "fsserver", "serve", "--policy", policy)
        self.connection = held.enter_context(Command(name, argv, tuple(variables.items()), REPOSITORY).start())
        self.connection.handshake()
        self.run("true")

    @property
    def launcher(self) -> int:
        (pid,) = children(self.connection.pid)
        return pid

    def run(self, command: str, *args: str) -> tuple[float, dict[str, Any]]:
        """The seconds that one call took, and its result, which is of a command that exited with 0."""
        arguments = {"command": command, "args": list(args)}
        seconds, result = exchanged(self.connection, "tools/call", {"name": "run_command", "arguments": arguments})
        return seconds, succeeded(result)

    def true(self) -> float:
        return self.run("true")[0]


def succeeded(result: dict[str, Any]) -> dict[str, Any]:
    """What a result says to programs, of a command that ran to its end in the full layer."""
    fields = dict(result.get("structuredContent", {}))
    expect(fields.get("exitCode") == 0 and fields.get("layer") == "full", f"not run: {json.dumps(result)[:500]}")
    return fields


def spawned(*argv: str) -> Timed:
    """A bare posix_spawn(3) of a program until it has ended."""

    def measure() -> float:
        started = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, os.environ)
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter() - started
        expect(status == 0, f"{argv[0]} failed")
        return elapsed

    return measure


def called(peer: peers.Peer, connection: Connection) -> Timed:
    def measure() -> float:
        params = {"name": peer.tool, "arguments": peer.arguments}
        seconds, result = exchanged(connection, "tools/call", params)
        expect(not result.get("isError"), f"{peer.command.name}: {json.dumps(result)[:500]}")
        return seconds

    return measure


# --- what is measured


def one_call(
    served: Served, running: Sequence[tuple[peers.Peer, Connection]], bwrap: Timed, scale: Scale
) -> list[Line]:
    """``true`` beside a bare start of the same program, bubblewrap, and the other servers."""
    subjects = [served.true, spawned("/bin/true"), bwrap, *(called(*each) for each in running)]
    own, bare, boxed, *others = in_turn(subjects, scale.rounds, scale.calls, PERIOD_S)
    return [
        PerCall("`true`, one call in 100 ms", "posix_spawn", "s", bare, own, limit=0.0015, difference=True).line(),
        PerCall("`true`, one call in 100 ms", "bwrap alone", "s", boxed, own, limit=0.5).line(),
        *(
            PerCall("`true`, one call in 100 ms", f"{peer.command.name}, no sandbox", "s", times, own).line()
            for (peer, _), times in zip(running, others, strict=True)
        ),
    ]


def in_a_row(served: Served, bwrap: Timed, scale: Scale) -> list[Line]:
    def rate(once: Timed) -> float:
        started = time.perf_counter()
        for _ in range(scale.burst):
            once()
        return scale.burst / (time.perf_counter() - started)

    bare = spawned("/bin/true")
    rounds = [(rate(served.true), rate(bwrap), rate(bare)) for _ in range(min(scale.rounds, BURSTS))]
    own, boxed, spawns = zip(*rounds, strict=True)
    name = f"`true`, {scale.burst} in a row"
    return [
        PerCall(name, "bwrap alone", "calls/s", boxed, own, limit=1.0, at_least=True).line(),
        PerCall(name, "posix_spawn", "calls/s", spawns, own, at_least=True).line(),
    ]


def at_once(served: Served, bwrap: list[str], scale: Scale, number: int = 16) -> list[Line]:
    """Until all have ended that were asked for in the same moment."""

    def ours() -> float:
        ids = {served.connection.new_id() for _ in range(number)}
        lines = b"".join(call(each, "run_command", {"command": "true"}) for each in sorted(ids))
        started = time.perf_counter()
        served.connection.send(lines)
        answers = [served.connection.line() for _ in range(number)]
        elapsed = time.perf_counter() - started
        for answer in answers:
            message = json.loads(answer)
            succeeded(message["result"])
            ids.remove(message["id"])
        return elapsed

    def theirs() -> float:
        started = time.perf_counter()
        pids = [os.posix_spawn(bwrap[0], bwrap, os.environ) for _ in range(number)]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        elapsed = time.perf_counter() - started
        expect(not any(statuses), "bwrap failed")
        return elapsed

    own, boxed = in_turn([ours, theirs], scale.rounds, max(1, scale.calls // 10), 0.5)
    return [PerCall(f"`true`, {number} at once, until all have ended", "bwrap alone", "s", boxed, own).line()]


def output(served: Served, scale: Scale) -> list[Line]:
    """A program's output, read to its end; and the memory that a hundred times as much takes."""
    path = f"{served.root}/large.txt"
    content = text(OUTPUT_BYTES)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)

    def ours() -> float:
        seconds, fields = served.run("cat", path)
        head, tail = fields["stdout"][:1000], fields["stdout"][-1000:]
        expect(content.startswith(head) and content.endswith(tail), "not the beginning and the end of the file")
        expect(OUTPUT_BYTES - SHOWN_BYTES < fields["stdoutCut"] < OUTPUT_BYTES, f"cut {fields['stdoutCut']} bytes")
        return seconds

    def bare() -> float:
        started = time.perf_counter()
        reader, writer = os.pipe()
        pid = os.posix_spawn("/bin/cat", ["cat", path], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
        os.close(writer)
        total = 0
        while chunk := os.read(reader, 65536):
            total += len(chunk)
        os.close(reader)
        os.waitpid(pid, 0)
        elapsed = time.perf_counter() - started
        expect(total == OUTPUT_BYTES, f"{total} bytes")
        return elapsed

    own, piped = in_turn([ours, bare], scale.rounds, max(1, scale.calls // 4), PERIOD_S)
    watched = {"server": served.connection.pid, "launcher": served.launcher}
    before = {name: peak_bytes(pid) for name, pid in watched.items()}
    seconds, fields = served.run("zeros", str(scale.huge_bytes), "/dev/zero")
    expect(scale.huge_bytes - SHOWN_BYTES < fields["stdoutCut"] < scale.huge_bytes, f"cut {fields['stdoutCut']} bytes")
    size = f"{scale.huge_bytes / 1e9:g} GB of output"
    return [
        PerCall("10 MB of output", "a bare pipe", "s", piped, own).line(),
        Line(size, "-", "-", report.shown(seconds, "s"), "-", "-", None),
        *(
            PerCall(
                f"peak memory of the {name} after {size}",
                "after 10 MB",
                "B",
                [before[name]],
                [peak_bytes(pid)],
                limit=4e6,
                difference=True,
            ).line()
            for name, pid in watched.items()
        ),
    ]


def settled(launcher: int) -> list[int]:
    """Its cells, when none has come or gone for a while."""
    deadline = time.monotonic() + SETTLED_S * 20
    cells = children(launcher)
    since = time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        expect(time.monotonic() < deadline, "cells come and go while nobody calls")
        time.sleep(0.01)
        if children(launcher) != cells:
            cells, since = children(launcher), time.monotonic()
    expect(bool(cells), "no cell is ready")
    return cells


def idle(served: Served) -> list[Line]:
    """What waits for the next call."""
    launcher = served.launcher
    lines = [Line("peak memory of the launcher", "-", "-", report.shown(peak_bytes(launcher), "B"), "-", "-", None)]
    cells = settled(launcher)
    if os.geteuid() != 0:  # the kernel shows the rest of processes that are not dumpable to root only (proc(5))
        return lines
    sizes = [proportional_bytes(cell) for cell in cells]
    held = [descriptors(pid) for pid in (launcher, *cells)]
    return [
        *lines,
        Line(
            f"proportional memory of an idle cell, {len(cells)} of them",
            "-",
            "-",
            report.shown(statistics.median(sizes), "B"),
            "-",
            "-",
            None,
        ),
        Line("descriptors of the launcher, and of a cell", "-", "-", f"{held[0]}, {max(held[1:])}", "-", "-", None),
    ]


def many_files(base: str, held: contextlib.ExitStack, scale: Scale) -> list[Line]:
    """What protected names add to a call in a root of 100,000 files."""
    root = f"{base}/many"
    os.mkdir(root)
    protected_names.build(Path(root))
    ruled, plain = (Served(base, f"many-{name}", root, rules=name == "ruled", held=held) for name in ("ruled", "plain"))
    place = Path(root, "part-000", f"group-{protected_names.GROUPS * 7:05d}")
    numbers = iter(range(1_000_000))

    def file_made() -> None:
        (place / f"new-{next(numbers)}").touch()

    secrets: list[Path] = []

    def secret_made() -> None:
        """Another one each time, and never more than one."""
        directory = place / f"made-{next(numbers)}"
        directory.mkdir()
        secrets.append(directory / ".env")
        secrets[-1].touch()
        for old in secrets[:-1]:
            old.unlink()
        del secrets[:-1]

    lines = []
    changes: tuple[tuple[str, Callable[[], None] | None, float], ...] = (
        ("nothing changed", None, 0.008),
        ("a file was made", file_made, 0.020),
        ("another `.env` was made", secret_made, 0.020),
    )
    for name, change, limit in changes:

        def after(once: Timed, change: Callable[[], None] | None = change) -> Timed:
            def measure() -> float:
                if change is not None:
                    change()
                return once()

            return measure

        own, unruled = in_turn(
            [after(ruled.true), after(plain.true)], min(scale.rounds, BURSTS), scale.calls // 2, PERIOD_S
        )
        named = f"`true` in a root of 100,000 files, {name}"
        lines.append(PerCall(named, "a root without rules", "s", unruled, own, limit=limit, difference=True).line())
    return lines


# --- the run


def measured(base: str, scale: Scale, only: str) -> Iterator[list[Line]]:
    root = f"{base}/root"
    os.mkdir(root)
    secret = f"{root}/.env"
    with open(secret, "w", encoding="ascii") as file:
        file.write("secret\n")
    others = peers.peers(root)
    boxed = peers.bubblewrap(root, secret)
    bwrap = spawned(*boxed)
    with contextlib.ExitStack() as held:
        running = [(peer, held.enter_context(peer.command.start())) for peer in others]
        for _, connection in running:
            connection.handshake()
        served = Served(base, "fsserver", root, rules=True, held=held)
        parts: dict[str, Callable[[], list[Line]]] = {
            "call": lambda: one_call(served, running, bwrap, scale),
            "row": lambda: in_a_row(served, bwrap, scale),
            "once": lambda: at_once(served, boxed, scale),
            "output": lambda: output(served, scale),
            "idle": lambda: idle(served),
            "many": lambda: many_files(base, held, scale),
        }
        for name, part in parts.items():
            if only in name:
                yield part()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a wrong answer, 2 something has to be installed first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, for development")
    parser.add_argument("--only", default="", metavar="TEXT", help="parts whose name holds TEXT: call row once …")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a limit is not kept")
    options = parser.parse_args(arguments)
    gc.disable()  # the client's own pauses would be counted as the server's
    lines: list[Line] = []
    load = os.getloadavg()[0]
    if load > 1:
        print(f"this machine is busy (load {load:.1f}): what is measured on it says little", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
            for part in measured(os.path.realpath(base), QUICK if options.quick else FULL, options.only):
                lines += part
                print("\n".join(" · ".join(line.cells()) for line in part), flush=True)
    except MissingError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    except (WrongAnswerError, WireError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.command_table(lines)}")
    if not options.quick and not options.only:
        report.replace_section(report.COMMANDS, report.commands_section(lines, load))
        print(f"\nwritten: {os.path.relpath(report.DOCUMENT)}")
    return 1 if options.strict and any(line.reached is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
