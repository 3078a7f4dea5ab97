"""Rows: edits and their diffs."""

from __future__ import annotations

from typing import Any

from tests.compat.case import WORK, Case, do, row

Edit = tuple[str, str]


def _edit(name: str, content: str, *edits: Edit, path: str = f"{WORK}/a.txt", more: str = "", **options: Any) -> Case:
    """``content`` is a JSON string without its quotes."""
    tree = f'file work/a.txt "{content}"\n{more}'
    pairs = [{"oldText": old, "newText": new} for old, new in edits]
    return row(f"edit/{name}", tree, do("edit_file", path=path, edits=pairs, **options))


def _lines(count: int) -> str:
    return "".join(f"line {number}\\n" for number in range(1, count + 1))


EXACT = (
    _edit("one word", r"one\ntwo\nthree\n", ("two", "2")),
    _edit("one line", r"one\ntwo\nthree\n", ("two\n", "2\n")),
    _edit("several lines", r"one\ntwo\nthree\nfour\n", ("two\nthree\n", "2\n3\n")),
    _edit("lines become fewer", r"one\ntwo\nthree\nfour\n", ("two\nthree\n", "x\n")),
    _edit("lines become more", r"one\ntwo\nthree\n", ("two\n", "x\ny\nz\n")),
    _edit("take out a line", r"one\ntwo\nthree\n", ("two\n", "")),
    _edit("at the beginning", r"one\ntwo\nthree\n", ("one\n", "zero\none\n")),
    _edit("at the end", r"one\ntwo\nthree\n", ("three\n", "three\nfour\n")),
    _edit("take everything out", r"one\n", ("one\n", "")),
    _edit("take out a part of a line", "abc", ("b", "")),
    _edit("no final newline", r"one\ntwo", ("one", "1")),
    _edit("the line without a final newline", r"one\ntwo", ("two", "2")),
    _edit("a final newline is added", r"one\ntwo", ("two", "two\n")),
    _edit("the final newline is taken", r"one\ntwo\n", ("two\n", "two")),
    _edit("nothing changes", r"one\ntwo\n", ("one", "one")),
    _edit("no edits", r"one\ntwo\n"),
    _edit("two edits", r"one\ntwo\nthree\n", ("one", "1"), ("three", "3")),
    _edit("the second edit needs the first", r"one\ntwo\n", ("one", "uno"), ("uno", "eins")),
    _edit("edits in another order than the lines", r"one\ntwo\nthree\n", ("three", "3"), ("one", "1")),
    _edit("beyond ASCII", r"na\u00efve\n\u65e5\u672c\n", ("\u65e5\u672c", "\u65e5\u672c\u8a9e \U0001f600")),
    _edit("replacement patterns mean nothing", r"one\ntwo\n", ("one", "$& $1 $$ \\1 \\g<0>")),
    _edit("patterns mean nothing", r"a.c\nabc\n", ("a.c", "x")),
    _edit("blank lines", r"one\n\n\ntwo\n", ("one\n\n", "one\n")),
    _edit("tabs", r"\tone\n\t\ttwo\n", ("\tone", "\t1")),
    _edit("a byte order mark", r"\ufeffone\ntwo\n", ("two", "2")),
    _edit("control characters", r"a\u0000b\nc\u000cd\u2028e\n", ("c\fd", "x\fy")),
    _edit("a line separator that is no newline", r"a\u2028b\nc\n", ("b", "x")),
    _edit("relative", r"one\n", ("one", "1"), path="a.txt"),
    _edit("path as given", r"one\n", ("one", "1"), path=f"{WORK}/./x/../a.txt"),
    _edit("from home", r"one\n", ("one", "1"), path="~/work/a.txt"),
    _edit("through a link", r"one\n", ("one", "1"), path=f"{WORK}/l", more="link work/l -> a.txt"),
    _edit("the mode stays", r"one\n", ("one", "1"), more="mode 600 work/a.txt"),
    _edit("an executable stays one", r"one\n", ("one", "1"), more="mode 755 work/a.txt"),
)

DRY = (
    _edit("dry run", r"one\ntwo\n", ("two", "2"), dryRun=True),
    _edit("dry run false", r"one\ntwo\n", ("two", "2"), dryRun=False),
    _edit("dry run that fails", r"one\ntwo\n", ("three", "3"), dryRun=True),
    _edit("dry run is no boolean", r"one\ntwo\n", ("two", "2"), dryRun="yes"),
)

FENCE = (
    _edit("three backticks in the file", r"```py\nx\n```\n", ("x", "y")),
    _edit("four backticks in the file", r"````\nx\n````\n", ("x", "y")),
    _edit("backticks far from the change", "```\\n" + _lines(20), ("line 15", "x")),
    _edit("backticks in the new text", r"one\n", ("one", "```\none\n```")),
    _edit("two backticks", r"``x``\n", ("x", "y")),
    _edit("six backticks", r"``````\nx\n", ("x", "y")),
)

BLOCK = r"def f():\n    if a:\n        return 1\n    return 2\n"

FUZZY = (
    _edit("other indentation, one line", r"    one\n    two\n", ("one  ", "1")),
    _edit("other indentation, tabs for spaces", r"\tone\n\ttwo\n", ("    one\n    two", "    1\n    2")),
    _edit("other indentation, block", BLOCK, ("if a:\n    return 1", "if b:\n    return 3")),
    _edit(
        "other indentation, block grows",
        BLOCK,
        ("  if a:\n    return 1", "  if b:\n    x = 1\n      y = 2\n    return 3"),
    ),
    _edit("other indentation, block shrinks", BLOCK, ("if a:\n  return 1\nreturn 2", "return 3")),
    _edit("other indentation, less deep", BLOCK, ("      if a:\n        return 1", "      if b:\n    return 1")),
    _edit("trailing spaces in the file", r"one  \ntwo\n", ("one\ntwo", "1\n2")),
    _edit("trailing spaces in the text", r"one\ntwo\n", ("one  \ntwo  ", "1\n2")),
    _edit("trailing newline that is not there", r"  one\n  two", ("one\n", "1\n")),
    _edit("blank lines with spaces", r"one\n   \ntwo\n", ("one\n\ntwo", "1\n\n2")),
    _edit("fuzzy takes the window of whole lines only", r"  one two\n", ("one\n", "1\n")),
    _edit("fuzzy new text with blank lines", BLOCK, ("if a:\n    return 1", "if a:\n\n    return 1")),
    _edit("fuzzy, a no-break space", r"\u00a0one\nx\n", ("one\nx", "1\nx")),
    _edit("exact before fuzzy", r"  one\n  x\none\nx\n", ("\none\nx\n", "\n1\nx\n")),
    _edit("exact then fuzzy", r"  one\n  two\n", ("  one", "  1"), ("two  ", "2")),
)

HUNKS = (
    _edit("two hunks", _lines(30), ("line 3\n", "x\n"), ("line 25\n", "y\n")),
    _edit("hunks that touch", _lines(30), ("line 10\n", "x\n"), ("line 18\n", "y\n")),
    _edit("hunks that just touch", _lines(30), ("line 10\n", "x\n"), ("line 19\n", "y\n")),
    _edit("hunks that just do not touch", _lines(30), ("line 10\n", "x\n"), ("line 20\n", "y\n")),
    _edit("hunk at the very end", _lines(30), ("line 30\n", "x\n")),
    _edit("repeated lines, one taken out", r"a\na\na\nb\na\na\n", ("b\na\n", "b\n")),
    _edit("repeated lines, one put in", r"{\n  x\n}\n{\n  y\n}\n", ("  y\n}\n", "  y\n}\n{\n  z\n}\n")),
    _edit("blocks change places", r"1\n2\n3\n4\n5\n6\n", ("1\n2\n3\n4\n5\n6\n", "4\n5\n6\n1\n2\n3\n")),
    _edit(
        "a function put between two like it",
        r"def a():\n    return 1\n\ndef c():\n    return 1\n",
        ("def c", "def b():\n    return 1\n\ndef c"),
    ),
    _edit("all lines change", r"a\nb\nc\n", ("a\nb\nc\n", "x\ny\nz\n")),
    _edit("every second line changes", r"a\n1\nb\n2\nc\n3\n", ("a\n1\nb\n2\nc\n", "x\n1\ny\n2\nz\n")),
    _edit("lines that differ in spaces at their end", r"a\nb\n", ("a\n", "a \n")),
    _edit("common prefix and suffix", r"a\nb\nc\nd\n", ("b\nc\n", "c\nb\n")),
    _edit("interleaved", r"a\nb\nc\na\nb\nb\na\n", ("a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n")),
    _edit("text that looks like a diff", r"--- a\n+++ b\n@@ -1 +1 @@\n", ("+++ b", "+++ c")),
)

FAILS = (
    _edit("text that is not there", r"one\ntwo\n", ("three", "3")),
    _edit("text of several lines that is not there", r"one\ntwo\n", ("one\nthree", "3")),
    _edit("second edit fails, nothing changes", r"one\ntwo\n", ("one", "1"), ("three", "3")),
    _edit("text twice in the file", r"one\ntwo\none\n", ("one", "1")),
    _edit("window twice in the file", r"  one\n  x\n  one\n  x\n", ("one\nx", "1\nx")),
    _edit("empty old text", r"one\n", ("", "x")),
    _edit("old text is only spaces", r"one\n\ntwo\n", ("   ", "x")),
    _edit("an empty file", "", ("one", "1")),
    row("edit/missing file", "", do("edit_file", path=f"{WORK}/a.txt", edits=[{"oldText": "a", "newText": "b"}])),
    row(
        "edit/directory", "dir work/sub", do("edit_file", path=f"{WORK}/sub", edits=[{"oldText": "a", "newText": "b"}])
    ),
    row(
        "edit/without newText",
        r'file work/a.txt "a\n"',
        do("edit_file", path=f"{WORK}/a.txt", edits=[{"oldText": "a"}]),
    ),
    row("edit/edits is a string", r'file work/a.txt "a\n"', do("edit_file", path=f"{WORK}/a.txt", edits="a")),
)

BYTES = (
    _edit("carriage returns in the file", r"one\r\ntwo\r\nthree\r\n", ("two", "2")),
    _edit("carriage returns in the file, several lines", r"one\r\ntwo\r\nthree\r\n", ("one\ntwo\n", "1\n2\n")),
    _edit("carriage returns in both", r"one\r\ntwo\r\nthree\r\n", ("one\r\ntwo\r\n", "1\r\n2\r\n")),
    _edit("carriage returns in the texts only", r"one\ntwo\nthree\n", ("one\r\ntwo\r\n", "1\r\n2\r\n")),
    _edit("mixed line endings", r"one\r\ntwo\nthree\r\n", ("two", "2")),
    _edit("carriage returns alone", r"one\rtwo\rthree\n", ("two", "2")),
    row(
        "edit/Latin-1 bytes",
        "bytes work/a.txt 636166e90a6f6e650a",
        do("edit_file", path=f"{WORK}/a.txt", edits=[{"oldText": "one", "newText": "1"}]),
    ),
)

CASES = (*EXACT, *DRY, *FENCE, *FUZZY, *HUNKS, *FAILS, *BYTES)
