"""search_content: lines with their places, pages that follow each other, and what it says when it cannot."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsserver.policy.compiled import Limits
from fsserver.tools.control import Control
from fsserver.tools.search import jsonlines, ripgrep
from tests.gates import Served, served, texts
from tests.searching import searched
from tests.trees import build, rules


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("content")
    base.chmod(0o755)
    (base / "work").mkdir()
    return base


@pytest.fixture(scope="module")
def gate(place: Path) -> Iterator[Served]:
    with searched(place, [rules(place / "work", deny=["**/.env"])]) as running:
        yield running


@pytest.fixture
def top(gate: Served) -> Path:
    """A directory of the test's own in the root."""
    made = Path(tempfile.mkdtemp(dir=gate.top))
    made.chmod(0o755)
    return made


def found(gate: Served, top: Path, pattern: str, **arguments: Any) -> list[str]:
    """Lines of one result, without the directory's path."""
    text = gate.text("search_content", path=str(top), pattern=pattern, **arguments)
    return [] if text == "No matches found" else [line.removeprefix(f"{top}/") for line in text.split("\n")]


def pages(gate: Served, top: Path, pattern: str, **arguments: Any) -> list[str]:
    """Lines of all results, one after the other."""
    seen: list[str] = []
    cursor = None
    for _ in range(40):
        result = gate.call("search_content", path=str(top), pattern=pattern, cursor=cursor, **arguments)
        seen += [line.removeprefix(f"{top}/") for line in texts(result)[0].split("\n")]
        cursor = (result.meta or {}).get("fsserver/nextCursor")
        if cursor is None:
            return seen
    raise AssertionError("the pages do not end")


TEXTS = [
    "file a.py import os\nprint(os.name)\nIMPORT\n",
    "file b/c.txt one\nimport b\nthree\nfour\nfive\nimport c\n",
    "file b/d.py x = 1  # important\n",
    "file .hidden import\n",
    "file ignored/e.py import\n",
    "file .gitignore ignored/\n",
    "file .ignore *.txt\n",  # which git does not know
    "file b/.rgignore *\n",
    "file .git/f import\n",
    "file a+b.txt a+b (c) \\d $x^ [y] {z}\n",
]


@pytest.mark.parametrize(
    ("pattern", "arguments", "expected"),
    [
        ("^import", {}, ["a.py:1:1:import os", "b/c.txt:2:1:import b", "b/c.txt:6:1:import c"]),
        ("^import", {"ignoreCase": True, "glob": ["*.py"]}, ["a.py:1:1:import os", "a.py:3:1:IMPORT"]),
        ("import", {"glob": ["b/*.py"]}, ["b/d.py:1:10:x = 1  # important"]),
        ("import", {"glob": ["!b"]}, ["a.py:1:1:import os"]),
        ("import", {"type": "txt"}, ["b/c.txt:2:1:import b", "b/c.txt:6:1:import c"]),
        ("import", {"wholeWord": True, "glob": ["*.py"]}, ["a.py:1:1:import os"]),
        ("import", {"includeHidden": True, "glob": [".h*"]}, [".hidden:1:1:import"]),
        ("f|import$", {"includeHidden": True, "glob": ["!*.py", "!*.txt"]}, [".hidden:1:1:import"]),
        ("import$", {"respectGitignore": False}, ["ignored/e.py:1:1:import"]),
        ("a+b (c) \\d $x^ [y] {z}", {"literal": True}, ["a+b.txt:1:1:a+b (c) \\d $x^ [y] {z}"]),
        ("--files|-x|three", {}, ["b/c.txt:3:1:three"]),
        ("one\\nimport", {"multiline": True}, ["b/c.txt:1:1:one", "b/c.txt:2:1:import b"]),
        ("three\nfour", {"literal": True}, ["b/c.txt:3:1:three", "b/c.txt:4:1:four"]),
        ("four", {"contextLines": 1}, ["b/c.txt-3-three", "b/c.txt:4:1:four", "b/c.txt-5-five"]),
        (
            "import [bc]",
            {"contextLines": 1},
            [
                "b/c.txt-1-one",
                "b/c.txt:2:1:import b",
                "b/c.txt-3-three",
                "--",
                "b/c.txt-5-five",
                "b/c.txt:6:1:import c",
            ],
        ),
        ("nowhere", {}, []),
    ],
)
def test_lines_are_found(gate: Served, top: Path, pattern: str, arguments: dict[str, Any], expected: list[str]) -> None:
    build(top, TEXTS)
    assert found(gate, top, pattern, **arguments) == expected


def test_one_file_is_searched_also_if_it_is_hidden_or_ignored(gate: Served, top: Path) -> None:
    build(top, TEXTS)
    for name in (".hidden", "ignored/e.py"):
        assert gate.text("search_content", path=f"{top}/{name}", pattern="import") == f"{top}/{name}:1:1:import"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pattern": "(x"}, "regex parse error"),
        ({"pattern": "(a{1000}){1000}"}, "size limit"),
        ({"pattern": "x", "type": "nosuch"}, "unrecognized file type: nosuch"),
        ({"pattern": "x", "glob": ["{a"]}, "glob"),
        ({"pattern": "a\nb"}, "multiline"),
        ({"pattern": r"(?P<n>a)(?P=n)"}, "regex parse error"),
    ],
)
def test_what_ripgrep_does_not_understand_is_said_in_its_words(
    gate: Served, top: Path, arguments: dict[str, Any], words: str
) -> None:
    build(top, ["file a x"])
    error = gate.error("search_content", path=str(top), **arguments)
    assert error["code"] == "request.arguments"
    assert words in error["message"] + error.get("allowedInstead", "")


def test_text_that_is_not_utf8_and_names_that_are_no_text_are_found(gate: Served, top: Path) -> None:
    (top / os.fsdecode(b"n\xff\n")).write_bytes(b"caf\xe9 x\n")
    (top / "wide").write_bytes("naïve x\n".encode("utf-16"))
    (top / "binary").write_bytes(b"x\n\0x\n")
    assert found(gate, top, " x") == ["n\\xff\\x0a:1:8:caf\\xe9 x", "wide:1:6:naïve x"]


def test_file_that_is_left_at_a_nul_byte_is_told(gate: Served, top: Path) -> None:
    (top / "log").write_bytes(b"needle\n" + b"y\n" * 200_000 + b"\0\nneedle\n")
    shown = texts(gate.call("search_content", path=str(top), pattern="needle"))
    assert shown[0] == f"{top}/log:1:1:needle"
    assert "not searched, in one file" in shown[1]
    assert found(gate, top / "log", "needle") == [f"{top}/log:1:1:needle", f"{top}/log:200003:1:needle"]


def test_lines_around_a_match_stand_on_its_page(gate: Served, top: Path) -> None:
    build(top, ["file a 1\nx\n3\n4\n5\nx\n7", "file b 1\nx\n3"])
    first = texts(gate.call("search_content", path=str(top), pattern="x", contextLines=1, maxResults=2))
    assert first[0].split("\n")[-1] == f"{top}/a-7-7"
    cursor = first[1].rpartition(": ")[2]
    second = gate.text("search_content", path=str(top), pattern="x", contextLines=1, maxResults=2, cursor=cursor)
    assert second.split("\n") == [f"{top}/b-1-1", f"{top}/b:2:1:x", f"{top}/b-3-3"]


@pytest.mark.parametrize("pattern", ["import$", "^import$", "^x$", "import|\\r$"])
def test_line_ends_before_its_carriage_return(gate: Served, top: Path, pattern: str) -> None:
    (top / "dos").write_bytes(b"import\r\nx\r\n")
    assert found(gate, top, pattern)[0] in {"dos:1:1:import", "dos:2:1:x"}


def test_text_of_two_lines_is_found_whatever_ends_them(gate: Served, top: Path) -> None:
    (top / "dos").write_bytes(b"import\r\nx\r\n")
    (top / "unix").write_bytes(b"import\nx\n")
    shown = found(gate, top, "import\nx", literal=True)
    assert shown == ["dos:1:1:import", "dos:2:1:x", "unix:1:1:import", "unix:2:1:x"]


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_file_is_refused_and_not_waited_for(gate: Served, top: Path, kind: str) -> None:
    build(top, [f"{kind} special"])
    error = gate.error("search_content", path=f"{top}/special", pattern="x")
    assert error["code"] == "denied.special_file"


def test_file_whose_name_has_a_line_break_is_found_from_above(gate: Served, top: Path) -> None:
    (top / "a\nb").write_text("x\n")
    error = gate.error("search_content", path=f"{top}/a\\x0ab", pattern="x")
    assert error["code"] == "request.arguments"
    assert error["allowedInstead"] == "its directory, with a glob"
    assert found(gate, top, "x", glob=["a?b"]) == ["a\\x0ab:1:1:x"]


@pytest.mark.parametrize("glob", [["a" * 2049], ["a"] * 65])
def test_globs_are_bounded(gate: Served, top: Path, glob: list[str]) -> None:
    assert gate.error("search_content", path=str(top), pattern="x", glob=glob)["code"] == "request.arguments"


def test_special_files_and_links_are_not_searched(gate: Served, top: Path) -> None:
    build(top, ["fifo pipe", "socket socket", "link out -> /etc/passwd", "link a2 -> a", "file a root"])
    assert found(gate, top, "root") == ["a:1:1:root"]


def test_pages_hold_every_line_once_and_in_order(gate: Served, top: Path) -> None:
    names = [f"d{number % 7}/f{number:02}" for number in range(30)]
    build(top, [f"file {name} x\ny\nx\n" for name in names])
    seen: list[str] = []
    cursor = None
    for _ in range(40):
        result = gate.call("search_content", path=str(top), pattern="x", maxResults=7, cursor=cursor)
        seen += texts(result)[0].split("\n")
        cursor = (result.meta or {}).get("fsserver/nextCursor")
        if cursor is None:
            break
    expected = [f"{top}/{name}:{number}:1:x" for name in sorted(names) for number in (1, 3)]
    assert seen == expected


def test_pages_go_on_after_names_that_are_no_text(gate: Served, top: Path) -> None:
    for name in (b"\n", b"\\x0a", b"b\xff", b"b\\xff", b"c"):
        (top / os.fsdecode(name)).write_text("x\nx\nx\n")
    whole = found(gate, top, "x")
    assert len(whole) == 15
    assert pages(gate, top, "x", maxResults=2) == whole


def test_lines_around_a_match_that_fill_a_result_lead_on_to_it(gate: Served, top: Path) -> None:
    build(top, ["file a " + f"{'é' * 400}\n" * 150 + "needle\n"])
    lines = pages(gate, top, "needle", contextLines=100)
    assert [line for line in lines if not line.endswith("é")] == ["a:151:1:needle"]
    assert len(lines) == 101


def test_more_than_can_be_sorted_comes_in_the_same_order(
    gate: Served, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(top, [f"file d{number % 3}/f{number:02} x\nx\nx\nx\n" for number in range(20)])
    few = found(gate, top, "x")
    monkeypatch.setattr(ripgrep, "MOST_HELD", 10)
    assert found(gate, top, "x") == few
    result = gate.call("search_content", path=str(top), pattern="x", maxResults=3)
    assert "Cut after 3 matches; there are more." in texts(result)[1]
    cursor = (result.meta or {})["fsserver/nextCursor"]
    assert found(gate, top, "x", cursor=cursor) == few[3:]


def test_file_with_more_matches_than_are_held_is_gone_through_to_its_end(
    gate: Served, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ripgrep, "MOST_HELD", 10)
    build(top, ["file a " + "x\n" * 50])
    assert found(gate, top, "x", cursor="45:a") == [f"a:{number}:1:x" for number in range(46, 51)]
    assert found(gate, top, "x", cursor="50:a") == []


def test_matches_that_share_lines_are_told_however_many_they_are(
    gate: Served, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ripgrep, "MOST_HELD", 10)
    build(top, ["file a " + "ab\n" * 20])
    lines = [f"a:{number}:2:ab" for number in range(1, 20)]
    assert found(gate, top, "b\na", literal=True) == [*lines, "a:20:1:ab"]


def test_matches_that_share_lines_and_are_too_many_to_be_told_are_not_left_out_in_silence(
    gate: Served, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonlines, "WHOLE_BYTES", 2_000)
    monkeypatch.setattr(jsonlines, "STRING_BYTES", 40)
    build(top, ["file a " + "ab\n" * 100])
    result = gate.call("search_content", path=str(top), pattern="b\na", literal=True)
    assert len(texts(result)[0].split("\n")) < 15
    assert "Matches that share lines are too many in one place" in texts(result)[1]


def test_panic_of_ripgrep_is_told_at_once(gate: Served, top: Path) -> None:
    build(top, ["file a.txt x"])
    (top / "a").write_bytes(b"a\xff\xffb\n\na\n\n\r\n\n\n\xc3\xa9\r\r\n b  \n\r\n\r")
    late = Control(deadline=time.monotonic() + 5)
    result = gate.call(
        "search_content", late, path=str(top), pattern=r"\W(?s).", multiline=True, wholeWord=True, maxResults=1
    )
    assert "ripgrep ended in a failure of its own" in texts(result)[0]


def test_cursor_that_is_none_is_refused(gate: Served, top: Path) -> None:
    error = gate.error("search_content", path=str(top), pattern="x", cursor="a/b")
    assert error["code"] == "request.arguments"


def test_result_is_bounded_and_says_where_it_goes_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    build(tmp_path / "work", [f"file f{number:02} {'x' * 300}" for number in range(20)])
    seen: list[str] = []
    cursor = None
    with searched(tmp_path, [rules(tmp_path / "work")], limits=Limits(result_bytes=2048)) as gate:
        for _ in range(20):
            result = gate.call("search_content", path=str(gate.top), pattern="x", cursor=cursor)
            assert sum(len(text.encode()) for text in texts(result)) <= 2048
            seen += [line.split(":")[0] for line in texts(result)[0].split("\n")]
            cursor = (result.meta or {}).get("fsserver/nextCursor")
            if cursor is None:
                break
    assert seen == [f"{tmp_path}/work/f{number:02}" for number in range(20)]


def test_directory_that_cannot_be_read_is_counted_and_a_denied_file_is_not(gate: Served, top: Path) -> None:
    build(top, ["file open x", "file shut/a x", "file .env x"])
    (top / "shut").chmod(0)
    try:
        shown, *notes = texts(gate.call("search_content", path=str(top), pattern="x", includeHidden=True))
    finally:
        (top / "shut").chmod(0o755)
    assert shown.split("\n")[0] == f"{top}/open:1:1:x"
    assert notes == ["1 file or directory could not be read."]


def test_unreadable_directory_whose_name_has_a_line_break_is_counted(gate: Served, top: Path) -> None:
    build(top, ["file open x"])
    shut = top / "a\nb"
    shut.mkdir(mode=0)
    try:
        shown, *notes = texts(gate.call("search_content", path=str(top), pattern="x"))
    finally:
        shut.chmod(0o755)
    assert shown == f"{top}/open:1:1:x"
    assert notes == ["1 file or directory could not be read."]


def test_hostile_gitignore_stops_no_search(gate: Served, top: Path) -> None:
    build(top, ["file below/.gitignore {" + "a" * 200_000 + "\nignored", "file below/ignored x", "file a x"])
    assert found(gate, top, "x") == ["a:1:1:x"]


def test_complaints_are_bounded() -> None:
    complaints = ripgrep.Complaints(lambda _: False)
    for _ in range(200):
        complaints.add(memoryview(b"rg: " + b"x" * 100_000))
        complaints.add(memoryview(b"\n" * 3))
    assert len(str(complaints.error())) < 5_000
    assert len(complaints._begun) + len(complaints._complaint) <= 2 * ripgrep.MOST_COMPLAINT


def test_search_in_nothing_finds_nothing(gate: Served, top: Path) -> None:
    assert found(gate, top, "x") == []
    build(top, ["file a x"])
    assert found(gate, top, "x", glob=["!*"]) == []


def test_long_line_is_searched_in_constant_memory(gate: Served, top: Path) -> None:
    with open(top / "long", "wb") as file:
        file.writelines(b'x"\\y' * (1 << 18) for _ in range(48))
        file.write(b" needle\n")
    (line,) = found(gate, top, "needle")
    assert line == f"long:1:{(48 << 20) + 2}:…needle…"


def slow_file(path: Path) -> str:
    """Makes a file, and returns a pattern that takes seconds in it: where a word ends, ripgrep takes its slow way."""
    path.write_text(("ä" * 15 + "b\n") * (1 << 20))
    return r"needle|(?:\b\w{1,9}\b.?){5}\d"


def test_search_that_takes_too_long_says_so_and_shows_what_it_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    build(tmp_path / "work", ["file a needle"])
    pattern = slow_file(tmp_path / "work/slow")
    with searched(tmp_path, [rules(tmp_path / "work")], limits=Limits(time_s=1.0)) as gate:
        shown, *notes = texts(gate.call("search_content", path=str(gate.top), pattern=pattern))
    assert shown == f"{tmp_path}/work/a:1:1:needle"
    assert notes == [
        "Not all was searched: it took as long as a call may. Try a smaller part: a deeper path, a glob, a type."
    ]


def test_cancelled_search_ends_at_once(gate: Served, top: Path) -> None:
    pattern = slow_file(top / "slow")
    control = Control()
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(gate.call("search_content", control, path=str(top), pattern=pattern))
    )
    thread.start()
    control.cancelled.set()
    began = time.monotonic()
    thread.join(20)
    assert time.monotonic() - began < 1.5
    (answer,) = answers
    assert answer.structured["error"]["code"] == "request.cancelled"


def test_without_cells_the_tool_is_not_offered_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with served(tmp_path, [rules(tmp_path / "work")]) as gate:
        assert "search_content" not in {tool.name for tool in gate.gate.tools(gate.session)}
        error = gate.error("search_content", path=".", pattern="x")
        assert error["code"] == "denied.tool"
        assert "started without what runs searches" in error["message"]


def test_record_names_the_files_whose_lines_were_shown(gate: Served, top: Path) -> None:
    build(top, ["file a x", "file b x", "file c y"])
    found(gate, top, "x")
    record = gate.records()[-1]
    assert (record["tool"], record["matches"], record["files"]) == ("search_content", 2, 2)
    assert [path["name"] for path in record["paths"]][1:] == [
        f"{top.relative_to(gate.top)}/a",
        f"{top.relative_to(gate.top)}/b",
    ]


def test_search_that_was_stopped_before_it_was_in_order_has_no_cursor(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    build(tmp_path / "work", [f"file f{number} needle" for number in range(9)])
    pattern = slow_file(tmp_path / "work/slow")
    with searched(tmp_path, [rules(tmp_path / "work")], limits=Limits(time_s=1.0)) as gate:
        result = gate.call("search_content", path=str(gate.top), pattern=pattern, maxResults=2)
    assert result.meta is None
    assert "Not all was searched" in texts(result)[1]
