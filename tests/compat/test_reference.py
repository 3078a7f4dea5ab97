"""fsserver answers every row as the reference server did, but for the differences that have a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat import document
from tests.compat.compare import comparable, tools_missing
from tests.compat.differences import DIFFERENCES, covers, of_row
from tests.compat.record import OWN_DATA, recorded
from tests.compat.run import Runner, described, fsserver_argv
from tests.compat.table import BY_ID, CASES

REFERENCE: dict[str, Any] = recorded()
with open(OWN_DATA, encoding="utf-8") as _file:
    OWN: dict[str, Any] = json.load(_file)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Real servers, one for each set of roots, for all rows that this process runs."""
    with Runner(fsserver_argv) as running:
        yield running


@pytest.mark.parametrize("row", [case.id for case in CASES if of_row(case.id) is None])
def test_answer_is_the_references(row: str, runner: Runner) -> None:
    assert comparable(BY_ID[row], runner.run(BY_ID[row])) == REFERENCE["rows"][row]


@pytest.mark.parametrize("row", [case.id for case in CASES if of_row(case.id)])
def test_answer_differs_as_recorded_and_for_a_reason(row: str, runner: Runner) -> None:
    answer = runner.run(BY_ID[row])
    assert answer == OWN[row]
    assert comparable(BY_ID[row], answer) != REFERENCE["rows"][row], "it does not differ any more: take the row out"


def test_tools_of_the_reference_are_listed_with_their_parameters_and_hints(runner: Runner) -> None:
    assert tools_missing(REFERENCE["tools"], described(runner.tools())) == []


def test_record_holds_exactly_the_rows_of_the_table() -> None:
    assert REFERENCE["rows"].keys() == BY_ID.keys()
    assert OWN.keys() == {row for row in BY_ID if of_row(row)}


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.title)
def test_every_pattern_of_a_difference_covers_a_row(difference: Any) -> None:
    for pattern in difference.rows:
        assert any(covers(pattern, row) for row in BY_ID), pattern


def test_the_page_lists_exactly_these_differences() -> None:
    with open(document.PATH, encoding="utf-8") as file:
        assert file.read() == document.document(REFERENCE["rows"], OWN)
