"""How a problem is shown."""

from __future__ import annotations

import pytest

from fsserver.policy.problems import Code, Place, Problem, Source, nearest
from fsserver.policy.report import MAX_SHOWN, as_json, render


def problem(line: str, column: int, length: int, number: int = 1) -> Problem:
    source = Source("dir/p.yaml", "p.yaml", ("",) * (number - 1) + (line,))
    return Problem(Code.CHOICE, Place(source, number, column, length), "wrong", "do it right")


def test_the_form() -> None:
    assert render([problem("    mode: readonly", 11, 8, 12)]) == (
        "dir/p.yaml:12:11: error[E012]: wrong\n"
        "   |\n"
        "12 |     mode: readonly\n"
        "   |           ^^^^^^^^\n"
        "   = help: do it right"
    )


@pytest.mark.parametrize(
    ("line", "column", "length", "shown", "caret"),
    [
        pytest.param("日本: x", 5, 1, "日本: x", "      ^", id="wide characters take two columns"),
        pytest.param("e\u0301: x", 5, 1, "e\u0301: x", "   ^", id="a combining character takes none"),
        pytest.param("a: \x1b[2J", 4, 1, "a: \ufffd[2J", "   ^", id="nothing acts on the terminal"),
        pytest.param("a", 9, 1, "a", " ^", id="after the end"),
        pytest.param("x" * 300, 201, 3, "x" * 120, " " * 60 + "^^^", id="a long line is cut around the place"),
        pytest.param("x" * 300, 1, 300, "x" * 120, "^" * 120, id="a long value is cut"),
    ],
)
def test_the_caret_is_below_its_place(line: str, column: int, length: int, shown: str, caret: str) -> None:
    printed = render([problem(line, column, length)]).split("\n")
    assert printed[2:4] == [f"1 | {shown}", f"  | {caret}"]


def test_a_problem_of_the_whole_file_shows_no_line() -> None:
    assert render([problem("", 1, 0)]) == "dir/p.yaml:1:1: error[E012]: wrong\n  = help: do it right"


def test_only_so_many_are_shown() -> None:
    assert render([problem("a", 1, 1)] * (MAX_SHOWN + 7)).endswith("\nand 7 more")


def test_json_has_every_field() -> None:
    assert as_json([problem("a: b", 4, 1)]) == [
        {
            "code": "E012",
            "file": "dir/p.yaml",
            "line": 1,
            "column": 4,
            "length": 1,
            "message": "wrong",
            "help": "do it right",
        }
    ]


@pytest.mark.parametrize(
    ("written", "candidates", "meant"),
    [
        ("readonly", ("ro", "rw"), "ro"),
        ("readonly", ("deny", "read_only"), "read_only"),
        ("read-only", ("deny", "read_only"), "read_only"),
        ("RW", ("ro", "rw"), "rw"),
        ("comands", ("roots", "commands"), "commands"),
        ("read_txt_file", ("read_text_file", "write_file"), "read_text_file"),
        ("timeout", ("time", "memory"), "time"),
        ("zzz", ("ro", "rw"), None),
        ("", ("ro", "rw"), None),
        ("x" * 100000, ("ro", "rw"), None),
    ],
)
def test_the_nearest_name(written: str, candidates: tuple[str, ...], meant: str | None) -> None:
    assert nearest(written, candidates) == meant
