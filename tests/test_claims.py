"""SECURITY.md's claims and the tests that hold them up are the same list."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.support import REPOSITORY

ROW = re.compile(r"^\| (C\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def stated() -> dict[str, str]:
    """Each claim's id and what it says of this version."""
    return {claim: status for claim, _, status in ROW.findall((REPOSITORY / "SECURITY.md").read_text())}


def held() -> dict[str, list[str]]:
    """Each id that a test carries, and the tests. Read from the source, so that a skipped test counts as well."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        for claim in claims_in(path):
            found[claim].append(str(path.relative_to(REPOSITORY)))
    return found


def claims_in(path: Path) -> list[str]:
    return [
        str(argument.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.claim"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    ]


def test_every_claim_of_this_version_has_a_test() -> None:
    now = {claim for claim, status in stated().items() if not status.startswith("later")}
    assert now, "the table of claims was not found"
    assert not now - held().keys()


def test_no_test_carries_an_id_that_is_no_claim() -> None:
    strangers = {claim: files for claim, files in held().items() if claim not in stated()}
    assert not strangers


def test_the_claims_are_numbered_without_a_gap() -> None:
    assert list(stated()) == [f"C{number}" for number in range(1, len(stated()) + 1)]
