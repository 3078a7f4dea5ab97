"""``python -m benchmarks``: measure fsserver against the reference server, write docs/performance.md."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Sequence

from benchmarks import anatomy, corpus, report, servers
from benchmarks.measure import WrongAnswerError
from benchmarks.rows import ROWS, Bench, Row
from tests.compat.install import MissingError
from tests.compat.wire import WireError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a server answered wrongly, 2 something has to be installed first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files and few rounds, for development")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds TEXT")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a target is not reached")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if options.only in row.name]
    try:
        with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
            return _run(os.path.realpath(base), rows, quick=options.quick, strict=options.strict)
    except MissingError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    except (WrongAnswerError, WireError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1


def _run(base: str, rows: Sequence[Row], *, quick: bool, strict: bool) -> int:
    scale = corpus.QUICK if quick else corpus.FULL
    root = f"{base}/root"
    commands = (servers.reference(root), servers.fsserver(root))
    print(f"building files: {scale.search_files} to search, {scale.huge_lines} lines in one", flush=True)
    files = corpus.build(root, scale)
    gc.disable()  # the client's own pauses would be counted as the server's
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(commands[0].start()), stack.enter_context(commands[1].start())
        for server in running:
            server.handshake()
        bench = Bench(files, commands, running)
        outcomes = [_measure(row, bench) for row in rows]
    imports = anatomy.imports_before_tools(commands[-1])
    explanation = report.explained(outcomes, imports, anatomy.bare_interpreter(scale.rounds))
    print(f"\n{report.table(outcomes)}\n\n{explanation}")
    if not quick and len(rows) == len(ROWS):
        report.replace_all_but_sections(report.document(outcomes, explanation))
        print(f"\nwritten: {os.path.relpath(report.DOCUMENT)}")
    return 1 if strict and any(outcome.reached is False for outcome in outcomes) else 0


def _measure(row: Row, bench: Bench) -> report.Outcome:
    rounds = min(row.rounds, bench.corpus.scale.rounds)
    outcome = report.Outcome(row, [row.measure(bench) for _ in range(rounds)])
    print(" · ".join(outcome.cells()), flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
