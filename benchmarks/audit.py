"""``python -m benchmarks.audit``: what the audit log costs, and reading it; its section of docs/performance.md.

Each row compares in the same run, sample beside sample. Where calls are timed, the other server is this one with a log
that takes every record and does nothing: all that differs is what the log does.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import audit_reading, report
from benchmarks.corpus import text
from benchmarks.measure import Job, WrongAnswerError, expect, one_processor, paired_p50, result_text
from benchmarks.report import Line, PerCall
from fsserver.audit.signing import generate
from tests.compat.run import REPOSITORY
from tests.compat.wire import Connection, WireError

SILENT = """
import itertools
from fsserver.audit.log import AuditLog
from fsserver.cli.main import main
numbers = itertools.count(2)
AuditLog.append = lambda self, event, fields, *, durable=False: next(numbers)
main()
"""
"""The whole server, but for what its log does with a record."""

SMALL_BYTES = 1024
MOST_VERIFY = 2.0
MOST_REPORT = 6.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What a row has at hand: an empty directory of its own beneath ``base``, and how often to measure."""

    base: str
    rounds: int
    calls: int
    records: int


Row = Callable[[Bench], Sequence[Line]]


def _server(bench: Bench, name: str, audit: str, *, silent: bool = False) -> Connection:
    """A server on the root ``base``/root, whose policy has this audit section; its first sink is a directory."""
    place = os.path.join(bench.base, name)
    os.makedirs(f"{place}/home", mode=0o700)
    policy = f"{place}/policy.yaml"
    for word, meant in (("SINK", f"{{dir: {place}/audit}}"), ("PLACE", place), ("KEY", f"{bench.base}/key")):
        audit = audit.replace(word, meant)
    with open(policy, "w", encoding="utf-8") as file:
        file.write(
            f"version: 1\nroots:\n  bench: {{path: {bench.base}/root, mode: rw}}\nextends: [preset:secrets]\n"
            f"audit: {audit}\n"
        )
    os.chmod(policy, 0o600)
    program = ["-c", SILENT] if silent else ["-m", "fsserver"]
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": f"{place}/home", "LANG": "C.UTF-8"}
    return Connection([sys.executable, *program, "serve", "--policy", policy], env=env, cwd=REPOSITORY)


def _read(bench: Bench) -> Job:
    expected = text(SMALL_BYTES)

    def check(result: dict[str, object]) -> None:
        expect(result_text(result) == expected, "not what is in the file")

    return Job("read_text_file", {"path": f"{bench.base}/root/small.txt"}, check)


def _write(bench: Bench) -> Job:
    def check(result: dict[str, object]) -> None:
        expect(result_text(result).startswith("Successfully wrote to "), "not written")

    return Job("write_file", {"path": f"{bench.base}/root/written.txt", "content": text(SMALL_BYTES)}, check)


def _beside_silence(what: str, job: Callable[[Bench], Job], audit: str, limit: float | None = None) -> Row:
    """The p50 of one call, beside that of a server whose log does nothing."""

    def row(bench: Bench) -> Sequence[Line]:
        os.mkdir(f"{bench.base}/root")
        with open(f"{bench.base}/root/small.txt", "w", encoding="utf-8") as file:
            file.write(text(SMALL_BYTES))
        generate(f"{bench.base}/key", f"{bench.base}/key.pub")
        each = job(bench)
        pairs = []
        for number in range(bench.rounds):
            with (  # new servers for each round: where in memory one lies stays so for as long as it runs
                one_processor(),
                _server(bench, f"silent-{number}", "{sinks: [SINK]}", silent=True) as silent,
                _server(bench, f"audited-{number}", audit) as audited,
            ):
                silent.handshake()
                audited.handshake()
                pairs.append(paired_p50((silent, audited), (each, each), bench.calls))
        silence, own = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return [PerCall(what, "a log that does nothing", "s", silence, own, limit).line()]

    return row


ROWS: dict[str, Row] = {
    "read": _beside_silence("read 1 KB", _read, "{sinks: [SINK]}", limit=1.15),
    "write": _beside_silence("write 1 KB", _write, "{sinks: [SINK]}"),
    "signed": _beside_silence(
        "read 1 KB, two sinks, a key", _read, "{sinks: [SINK, {file: PLACE/second/log.jsonl}], key: KEY}"
    ),
    "redact": _beside_silence("read 1 KB, a pattern of `redact`", _read, "{sinks: [SINK], redact: ['TICKET-[0-9]+']}"),
    "effect": _beside_silence("write 1 KB, `durability: effect`", _write, "{sinks: [SINK], durability: effect}"),
    "verify": lambda bench: audit_reading.verified(
        bench.base, bench.records, bench.rounds, signed=False, limit=MOST_VERIFY
    ),
    "keyed": lambda bench: audit_reading.verified(
        bench.base, bench.records, bench.rounds, signed=True, limit=MOST_VERIFY
    ),
    "report": lambda bench: audit_reading.reported(bench.base, bench.records * 5, limit=MOST_REPORT),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a wrong answer, or with --strict a limit that is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, for development")
    parser.add_argument("--only", default="", metavar="TEXT", help=f"rows whose key holds TEXT: {' '.join(ROWS)}")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a limit is not kept")
    options = parser.parse_args(arguments)
    gc.disable()  # the client's own pauses would be counted as the server's
    load = os.getloadavg()[0]
    lines: list[Line] = []
    try:
        for key, row in ROWS.items():
            if options.only in key:
                with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
                    bench = Bench(os.path.realpath(base), *((2, 100, 20_000) if options.quick else (9, 400, 200_000)))
                    new = row(bench)
                lines += new
                print("\n".join(" · ".join(line.cells()) for line in new), flush=True)
    except (WrongAnswerError, WireError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    if not options.quick and not options.only:
        report.replace_section(report.AUDIT, report.audit_section(lines, load))
        print(f"\nwritten: {os.path.relpath(report.DOCUMENT)}")
    return 1 if options.strict and any(line.reached is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
