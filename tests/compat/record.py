"""The record: what the reference server answers, and what fsserver answers where it may differ."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.compat.install import REFERENCE
from tests.compat.run import Runner, described, reference_argv
from tests.compat.table import CASES

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference.json")
OWN_DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fsserver.json")
PACKAGE = "@".join(REFERENCE)


def recorded() -> dict[str, Any]:
    """The data that is in the repository."""
    with open(DATA, encoding="utf-8") as file:
        data: dict[str, Any] = json.load(file)
    return data


def record(install: str) -> dict[str, Any]:
    """All rows, asked of the reference server that is installed beneath ``install``."""
    with Runner(reference_argv(install)) as runner:
        rows = {case.id: runner.run(case) for case in CASES}
        return {"package": PACKAGE, "rows": rows, "tools": described(runner.tools())}


def as_text(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
