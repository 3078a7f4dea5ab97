"""``python -m tests.conformance.live``: MCP's conformance suite against fsserver's HTTP transport, for both eras.

Besides the suite's own verdict, every failure and every warning counts but those of `EXPECTED`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.compat.install import MissingError
from tests.conformance.expected import EXPECTED
from tests.conformance.install import Suite, installed
from tests.protocol.http_server import started

REVISIONS: Final = ("2026-07-28", "2025-11-25")
TIMEOUT_S: Final = 120.0
FIXTURE: Final = ("-m", "tests.conformance.server")

_DIRECTORY: Final = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[-\d]+Z")


def main() -> int:
    """Exit status: 0 all as expected, 1 something is not, 2 something has to be installed first."""
    try:
        suite = installed()
    except MissingError as error:
        print(f"make conformance: {error}", file=sys.stderr)
        return 2
    problems: list[str] = []
    failed: set[str] = set()
    with started(FIXTURE) as server:
        for revision in REVISIONS:
            found, failing, passed = _run(suite, server.url, revision)
            problems += found
            failed |= failing
            print(f"{revision}: {passed} checks passed, {len(found)} problems")
    problems += [f"{scenario} passes, and is listed as failing" for scenario in EXPECTED.keys() - failed]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _run(suite: Suite, url: str, revision: str) -> tuple[list[str], set[str], int]:
    """The problems in words, the scenarios that failed, and how many checks passed."""
    with tempfile.TemporaryDirectory(prefix="fsserver-conformance-") as results:
        command = [suite.node, suite.script, "server", "--url", url, "--requirements", revision, "-o", results]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        checks = _checks(Path(results))
    problems: list[str] = []
    if done.returncode != 0 or not checks:
        problems.append(f"{revision}: the suite ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    failed: set[str] = set()
    passed = 0
    for scenario, each in checks:
        passed += each["status"] == "SUCCESS"
        if each["status"] in ("FAILURE", "WARNING"):
            failed.add(scenario)
            if scenario not in EXPECTED:
                problems.append(f"{revision} {scenario}:{each['id']}: {each.get('errorMessage', each['description'])}")
    return problems, failed, passed


def _checks(results: Path) -> list[tuple[str, dict[str, str]]]:
    """Every check with its scenario."""
    found = []
    for directory in sorted(results.iterdir()):
        named = _DIRECTORY.fullmatch(directory.name)
        assert named is not None, directory.name
        found += [(named[1], check) for check in json.loads((directory / "checks.json").read_text())]
    return found


if __name__ == "__main__":
    sys.exit(main())
