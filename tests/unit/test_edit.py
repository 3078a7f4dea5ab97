"""Edits of a text: what matches, what goes there, and what is said when nothing or too much does."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from fsserver.errors import AmbiguousMatch, BadArguments, Cancelled, FileTooLarge, NoMatch
from fsserver.tools.editing.edit import Edit, apply_edits

ROOM = 10**9


def edited(text: str, *edits: Edit) -> str:
    return apply_edits(text, edits, max_characters=ROOM).text


@pytest.mark.parametrize(
    ("name", "text", "old", "new", "result"),
    [
        ("exact", "a\nb\nc\n", "b", "B", "a\nB\nc\n"),
        ("a part of a line", "one two three", "two", "2", "one 2 three"),
        ("several lines", "a\nb\nc\n", "a\nb\n", "x\n", "x\nc\n"),
        ("deletion", "a\nb\n", "a\n", "", "b\n"),
        ("no final newline", "a\nb", "b", "c", "a\nc"),
        ("indented", "    if x:\n        y\n", "if x:\n    y", "if x:\n    z", "    if x:\n        z\n"),
        ("tabs for spaces", "\tif x:\n\t\ty\n", "if x:\n    y", "if x:\n    z", "\tif x:\n\t\tz\n"),
        ("dedented", "if x:\n    y\n", "  if x:\n      y", "  if x:\n      z", "if x:\n    z\n"),
        ("deeper line is new", "  a\n  b\n", " a\n b", " a\n   c\n b", "  a\n    c\n  b\n"),
        ("blank line between", "  a\n\n  b\n", "a\n\nb\n", "a\n\nB\n", "  a\n\n  B\n"),
        ("closed window is deleted", "  a\n  b\n  c\n", "a\nb\n", "", "  c\n"),
        ("window at the end without newline", "  a\n  b", "a\nb\n", "a\nB\n", "  a\n  B"),
        ("trailing spaces in the file", "a  \nb\n", "a\nb", "x\ny", "x\ny\n"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 and "\n" not in value else "",
)
def test_edit_gives(name: str, text: str, old: str, new: str, result: str) -> None:
    assert edited(text, Edit(old, new)) == result


@pytest.mark.parametrize(
    ("name", "text", "old", "new", "result"),
    [
        ("LF text matches CRLF", "a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\n", "x\r\ny\r\nc\r\n"),
        ("CRLF text matches LF", "a\nb\nc\n", "a\r\nb", "x\r\ny", "x\ny\nc\n"),
        ("inside a CRLF line", "one two\r\n", "two", "2", "one 2\r\n"),
        ("mixed: other lines keep theirs", "a\nb\r\nc\n", "b", "B", "a\nB\r\nc\n"),
        ("mixed: each line keeps its own", "a\nb\r\nc\nd\r\n", "a\nb\nc\nd\n", "a\nB\nC\nd\n", "a\nB\r\nC\nd\r\n"),
        ("lines more than before", "a\r\nb\r\n", "a\n", "a\nx\ny\n", "a\r\nx\r\ny\r\nb\r\n"),
        ("grown at the end", "a\r\nb", "b", "b\nc", "a\r\nb\r\nc"),
        ("no line end in the file", "a", "a", "x\r\ny", "x\r\ny"),
        ("a lone CR is a character", "a\rb\r\nc\r\n", "a\rb", "x", "x\r\nc\r\n"),
        ("indented in CRLF", "  a\r\n  b\r\n", "a\nb", "a\nc", "  a\r\n  c\r\n"),
        ("deletion in CRLF", "a\r\nb\r\nc\r\n", "b\n", "", "a\r\nc\r\n"),
        ("match begins with a line end", "a\r\nb\r\n", "\nb", "\nc", "a\r\nc\r\n"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 and "\n" not in value else "",
)
def test_line_endings_stay(name: str, text: str, old: str, new: str, result: str) -> None:
    assert edited(text, Edit(old, new)) == result


def test_edits_apply_one_after_the_other() -> None:
    assert edited("a\n", Edit("a", "b"), Edit("b", "c\nd"), Edit("d", "e")) == "c\ne\n"


def test_none_applies_if_one_does_not() -> None:
    with pytest.raises(NoMatch, match="edit 2 of 2"):
        edited("a\n", Edit("a", "b"), Edit("zzz", "c"))


@pytest.mark.parametrize(
    ("text", "edit", "says"),
    [
        ("x\ny\nx\n", Edit("x", "z"), "lines 1, 3"),
        ("aaa\n", Edit("aa", "z"), "lines 1, 1"),
        ("  a\nb\n a\n", Edit("\ta", "z"), "lines 1, 3"),
        ("x\n" * 50, Edit("x", "z"), "…"),
        ("x\nx\n", Edit("x", "z", expected=3), "matches 2 times, at lines 1, 2; expected 3"),
        ("x\n", Edit("x", "z", replace_all=True, expected=2), "matches 1 times"),
    ],
)
def test_ambiguous_text_is_refused_with_the_lines(text: str, edit: Edit, says: str) -> None:
    with pytest.raises(AmbiguousMatch) as caught:
        edited(text, edit)
    assert says in caught.value.message


def test_replace_all_and_expected_replacements() -> None:
    assert edited("x\ny\nx\n", Edit("x", "z", replace_all=True)) == "z\ny\nz\n"
    assert edited("x\ny\nx\n", Edit("x", "z", expected=2)) == "z\ny\nz\n"
    assert edited("  a\n  b\n a\n b\n", Edit("\ta\n\tb\n", "\tc\n", replace_all=True)) == "  c\n c\n"
    assert apply_edits("xx", [Edit("x", "xx", replace_all=True)], max_characters=ROOM).replacements == 2


def test_empty_text_says_no_place() -> None:
    with pytest.raises(BadArguments, match="empty"):
        edited("a", Edit("", "x"))


def test_blank_text_matches_exactly_or_not_at_all() -> None:
    with pytest.raises(NoMatch):
        edited("a\n\nb\n", Edit("  ", "x"))


@pytest.mark.parametrize(
    ("text", "old", "says"),
    [
        ("def one():\n    return 1\n", "def one():\n    return 2\n", "lines 1-2"),
        ("def one():\n    return 1\n", "def one():\n    return 2\n", "Line 2 differs"),
        ("a b\n", "a\u00a0b", r"\\xa0"),
        ("hello wrld\n", "hello world", "line 1"),
        ("abc\n", "something else entirely", "Nothing in the file is like it"),
        ("", "x", "Nothing in the file is like it"),
        ("a\nb\n", "a\nb\nc\n", "oldText"),
    ],
)
def test_no_match_says_what_comes_nearest(text: str, old: str, says: str) -> None:
    with pytest.raises(NoMatch) as caught:
        edited(text, Edit(old, "x"))
    assert caught.value.message.startswith(f"Could not find exact match for edit:\n{old}\n")
    assert says.replace("\\\\", "\\") in caught.value.message


@pytest.mark.parametrize(
    ("text", "old"), [("x" * 1000, "x"), ("  x\n  y\n" * 2_000, "x\ny")], ids=["exact", "indented"]
)
def test_result_that_would_be_too_large_is_refused_before_it_is_made(text: str, old: str) -> None:
    started = time.thread_time()
    with pytest.raises(FileTooLarge):
        apply_edits(text, [Edit(old, "y\n" * 10_000, replace_all=True)], max_characters=10**6)
    assert time.thread_time() - started < 1.5


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("  x\n  y\n" * 3, Edit("x\ny", "z", replace_all=True)),
        ("abab\naabb\nbbaa\n", Edit("baba", "x")),
        ("x x\r\n", Edit("x", "y\nz", replace_all=True)),
    ],
    ids=["windows", "nearest", "line endings"],
)
def test_edit_that_takes_long_is_stopped_inside(text: str, edit: Edit) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Cancelled("")

    with pytest.raises(Cancelled):
        apply_edits(text, [edit], max_characters=ROOM, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("a" * 1_000_000, Edit("a" * 1000 + "b", "x")),
        ("\n" * 300_000, Edit("\n" * 1000 + "x", "y")),
        ("a\n" * 200_000, Edit(" a\n" * 500 + "b", "y")),
        (" x\n" * 100_000, Edit("\tx", "y", replace_all=True)),
        ("\n".join(" " * n + "x" for n in range(1000)), Edit("\n".join(" " * (n + 1) + "x" for n in range(1000)), "y")),
        ("\n".join(f"line {n} of text" for n in range(60_000)), Edit("lime 7 of texts and more", "y")),
    ],
    ids=["long line", "blank lines", "window", "many windows", "depths", "nearest"],
)
def test_hostile_edits_take_bounded_time(text: str, edit: Edit) -> None:
    started = time.thread_time()
    with suppress(NoMatch, AmbiguousMatch):
        edited(text, edit)
    assert time.thread_time() - started < 4
