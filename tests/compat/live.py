"""``python -m tests.compat.live``: ask the reference server again, compare with the record and with fsserver.

With ``--record``, write reference.json, fsserver.json and docs/compatibility.md anew; then read what changed in them.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tests.compat import document, inspector
from tests.compat.compare import comparable, tools_missing
from tests.compat.differences import of_row
from tests.compat.install import INSPECTOR, REFERENCE, MissingError, installed
from tests.compat.record import DATA, OWN_DATA, as_text, record, recorded
from tests.compat.run import Runner, described, fsserver_argv
from tests.compat.table import BY_ID, CASES

SHOWN = 20


def main() -> int:
    """Exit status: 0 all as recorded, 1 something differs, 2 something has to be installed first."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat.live", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the data and the page anew")
    options = parser.parse_args()
    try:
        install = installed(REFERENCE, INSPECTOR)
    except MissingError as error:
        print(f"make compat: {error}", file=sys.stderr)
        return 2
    reference = record(install)
    with Runner(fsserver_argv) as runner:
        own = {case.id: runner.run(case) for case in CASES}
        own_tools = described(runner.tools())
    if options.record:
        _write(reference, own)
        return 0
    problems = _compared(reference, own) + tools_missing(reference["tools"], own_tools) + inspector.problems(install)
    for problem in problems[:SHOWN]:
        print(problem, file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"and {len(problems) - SHOWN} more", file=sys.stderr)
    print(f"{len(CASES)} rows, {len(reference['tools'])} tools, the inspector: {len(problems)} problems")
    return 1 if problems else 0


def _write(reference: dict[str, Any], own: dict[str, Any]) -> None:
    excused = {row: answer for row, answer in own.items() if of_row(row)}
    for path, text in (
        (DATA, as_text(reference)),
        (OWN_DATA, as_text(excused)),
        (document.PATH, document.document(reference["rows"], excused)),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def _compared(reference: dict[str, Any], own: dict[str, Any]) -> list[str]:
    problems = []
    kept = recorded()
    if kept["tools"] != reference["tools"]:
        problems.append("the reference's tools are not what is recorded")
    for row, theirs in reference["rows"].items():
        if kept["rows"].get(row) != theirs:
            problems.append(f"{row}: the reference answers otherwise than recorded: {json.dumps(theirs)[:400]}")
        ours = comparable(BY_ID[row], own[row])
        if ours != theirs and of_row(row) is None:
            problems.append(f"{row}:\n  reference {json.dumps(theirs)[:400]}\n  fsserver  {json.dumps(ours)[:400]}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
