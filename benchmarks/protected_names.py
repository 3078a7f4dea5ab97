"""``python -m benchmarks.protected_names``: what each command pays to know the protected names of its root.

100,000 files in 2,053 directories, with the rules of the preset ``secrets``. The walk at the start is paid once; then
each command pays one refresh: usually nothing changed, or one directory did.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from fsserver.policy.compiled import Policy
from fsserver.policy.loader import policy_from_roots
from fsserver.sandbox.protected import ProtectedIndex

FILES, DIRECTORIES, GROUPS = 100_000, 2_041, 11
ROUNDS = 50
SETTLED_S = 0.2


class Row(NamedTuple):
    """One line: what happens before each refresh, whether it matters to cells, and the p50 to reach in ms."""

    name: str
    act: Callable[[Path, int], object]
    matters: bool
    target_ms: float | None


ROWS = (
    Row("nothing changed", lambda _top, _number: None, False, 8.0),
    Row("a file was made", lambda top, number: (top / f"new-{number}").touch(), False, 20.0),
    Row("a directory was made", lambda top, number: (top / f"dir-{number}/sub").mkdir(parents=True), False, 20.0),
    Row("a protected name was made", lambda top, number: (top / f"{number}.key").touch(), True, 20.0),
    Row(
        "a protected file got a second name", lambda top, number: os.link(top / "0.key", top / f"x{number}"), True, None
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 with ``--strict`` if a target is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.protected_names", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
        top = Path(base).resolve() / "root"
        build(top)
        reached = measure(policy_from_roots([str(top)], write=True), top)
    return 1 if options.strict and not reached else 0


def build(top: Path) -> None:
    """The files, spread evenly; and the directories around them: 2,053 with the root."""
    number = 0
    for directory in range(DIRECTORIES):
        place = top / f"part-{directory % GROUPS:03d}/group-{directory:05d}"
        place.mkdir(parents=True)
        until = FILES * (directory + 1) // DIRECTORIES
        for number in range(number, until):  # noqa: B020 - each directory goes on where the last one ended
            (place / f"file-{number:06d}.dat").touch()
        number = until


def measure(policy: Policy, top: Path) -> bool:
    """Print the table; whether every target is reached."""
    descriptor = os.open(top, os.O_PATH)
    index = ProtectedIndex(policy.roots[0], descriptor, folds=False)
    started = time.perf_counter()
    index.refresh()
    print(f"first walk: {(time.perf_counter() - started) * 1e3:.0f} ms\n\n| before a refresh | p50 ms | target |")
    print("|---|---|---|")
    reached = True
    for row in ROWS:
        times = []
        settle(index)
        for number in range(ROUNDS):
            row.act(top / f"part-000/group-{GROUPS * 7:05d}", number)
            started = time.perf_counter()
            changed = index.refresh()
            times.append((time.perf_counter() - started) * 1e3)
            if changed is not row.matters:
                raise SystemExit(f"{row.name}: the refresh said {changed}")
        p50 = statistics.median(times)
        reached = reached and (row.target_ms is None or p50 <= row.target_ms)
        print(f"| {row.name} | {p50:.1f} | {'-' if row.target_ms is None else f'≤ {row.target_ms:g}'} |")
    os.close(descriptor)
    return reached


def settle(index: ProtectedIndex) -> None:
    """Until each directory's last change is so long ago that the quick way is taken."""
    deadline = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline:
        index.refresh()


if __name__ == "__main__":
    sys.exit(main())
