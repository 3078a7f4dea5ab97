"""read_text_file, read_multiple_files, read_media_file: what comes back, and what is said when it is not all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsserver.policy.compiled import Limits
from fsserver.tools.control import Control
from fsserver.tools.result import Audio, Blob, Image
from tests.gates import Served, served, texts
from tests.trees import rules


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    top = tmp_path / "work"
    top.mkdir()
    with served(tmp_path, [rules(top)]) as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Served]:
    """Results of at most 2,048 bytes, so 1,536 of text."""
    top = tmp_path / "work"
    top.mkdir()
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=2048)) as running:
        yield running


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"a\n", b"a\r\nb\rc\n", b"\xef\xbb\xbfmarked\n", "é\u2028\U0001f600".encode(), b"\x1b[31m\x07"],
)
def test_text_is_exactly_the_files_with_its_hash(gate: Served, data: bytes) -> None:
    (gate.top / "f").write_bytes(data)
    result = gate.call("read_text_file", path="f")
    assert texts(result)[0].encode() == data
    assert len(result.content) == 1
    assert result.meta == {"fsserver/sha256": sha256(data)}
    assert result.structured is None


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_marked_wide_text_is_decoded(gate: Served, encoding: str) -> None:
    text = "\ufeffone\nzwei \U0001f600\n"
    (gate.top / "f").write_bytes(text.encode(encoding))
    assert gate.text("read_text_file", path="f") == text
    assert gate.text("read_text_file", path="f", offset=2) == "zwei \U0001f600\n"
    assert gate.text("read_text_file", path="f", tail=2) == "zwei \U0001f600\n"


def test_other_bytes_are_an_error_and_an_encoding_reads_them(gate: Served) -> None:
    (gate.top / "f").write_bytes(b"caf\xe9\n")
    error = gate.error("read_text_file", path="f")
    assert error["code"] == "request.encoding"
    assert "latin-1" in error["allowedInstead"]
    assert gate.text("read_text_file", path="f", encoding="latin-1") == "café\n"


def test_binary_file_names_the_tool_for_it(gate: Served) -> None:
    (gate.top / "f").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert "read_media_file" in gate.error("read_text_file", path="f")["allowedInstead"]


LINES = "a\nb\r\nc\n"


@pytest.mark.parametrize(
    ("arguments", "text", "second"),
    [
        ({"head": 1}, "a", None),
        ({"head": 2}, "a\nb\r", None),
        ({"head": 3}, "a\nb\r\nc", None),
        ({"head": 9}, "a\nb\r\nc", None),
        ({"tail": 1}, "", None),
        ({"tail": 2}, "c\n", None),
        ({"tail": 3.0}, "b\r\nc\n", None),
        ({"tail": 99}, LINES, None),
        ({"offset": 2}, "b\r\nc\n", None),
        ({"offset": 2, "limit": 1}, "b\r\n", "nextOffset: 3"),
        ({"limit": 3}, LINES, None),
        ({"offset": 4}, "", "The file has 3 lines; line 4 is past its end."),
        ({"offset": 99}, "", "The file has 3 lines; line 99 is past its end."),
        ({"lineNumbers": True}, "     1\ta\n     2\tb\r\n     3\tc\n", None),
        ({"lineNumbers": True, "offset": 3}, "     3\tc\n", None),
        ({"lineNumbers": True, "tail": 2}, "     3\tc\n", None),
        ({"includeSha256": True}, LINES, "sha256: " + sha256(LINES.encode())),
        ({"head": 1, "includeSha256": True}, "a", "sha256: " + sha256(LINES.encode())),
    ],
)
def test_selection_of_lines(gate: Served, arguments: dict[str, Any], text: str, second: str | None) -> None:
    (gate.top / "f").write_bytes(LINES.encode())
    blocks = texts(gate.call("read_text_file", path="f", **arguments))
    assert blocks == [text] + ([second] if second else [])


def test_pages_together_are_the_file(small: Served) -> None:
    data = "".join(f"line {number} é\n" for number in range(1000)) + "unfinished"
    (small.top / "f").write_text(data)
    pages, offset = [], 1
    while True:
        result = small.call("read_text_file", path="f", offset=offset)
        assert sum(len(text.encode()) for text in texts(result)) <= 2048
        pages.append(texts(result)[0])
        if result.meta is None and len(result.content) == 1:
            break
        offset = int(texts(result)[1].rpartition("nextOffset: ")[2])
    assert "".join(pages) == data
    assert len(pages) > 5


@pytest.mark.parametrize(
    ("arguments", "hashed"),
    [({"path": "f"}, True), ({"path": "f", "head": 1}, False), ({"path": "f", "tail": 1}, False)],
)
def test_hash_comes_with_the_whole_file_only(gate: Served, arguments: dict[str, Any], hashed: bool) -> None:
    (gate.top / "f").write_text("a\nb\n")
    assert bool(gate.call("read_text_file", **arguments).meta) is hashed


def test_cut_result_carries_no_hash_of_the_whole(small: Served) -> None:
    (small.top / "f").write_text("x\n" * 5000)
    result = small.call("read_text_file", path="f")
    assert result.meta is None
    assert "nextOffset: 769" in texts(result)[1]


def test_line_longer_than_a_result_is_cut_inside_and_said_so(small: Served) -> None:
    (small.top / "f").write_text("é" * 5000 + "\nnext\n")
    text, note = texts(small.call("read_text_file", path="f"))
    assert text == "é" * 768
    assert "Line 1 is longer than a result" in note
    assert note.endswith("nextOffset: 2")
    assert small.text("read_text_file", path="f", offset=2) == "next\n"


def test_tail_that_does_not_fit_keeps_the_last_lines_and_says_so(small: Served) -> None:
    (small.top / "f").write_text("".join(f"{number}\n" for number in range(5000)))
    text, note = texts(small.call("read_text_file", path="f", tail=4000))
    assert text.endswith("4998\n4999\n")
    assert text.startswith("4")
    assert "Cut to the last" in note


def test_numbered_tail_that_does_not_fit_keeps_the_last_lines_with_their_numbers(small: Served) -> None:
    (small.top / "f").write_text("".join(f"{number}\n" for number in range(5000)))
    text, note = texts(small.call("read_text_file", path="f", tail=290, lineNumbers=True))
    lines = text.splitlines()
    assert lines[-1] == "  5000\t4999"
    assert lines == [f"{number + 1:6d}\t{number}" for number in range(5000 - len(lines), 5000)]
    assert len(lines) == 1536 // len("  5000\t4999\n")
    assert note.startswith(f"Cut to the last {len(lines)} lines")


def test_numbered_tail_cut_twice_says_how_many_lines_it_shows(small: Served) -> None:
    (small.top / "f").write_text("x\n" * 5000)
    text, note = texts(small.call("read_text_file", path="f", tail=4000, lineNumbers=True))
    assert note.startswith(f"Cut to the last {text.count('x')} lines")
    assert text.endswith("  5000\tx\n")
    (small.top / "f").write_text("a\n" + "x" * 1533 + "\n")
    assert texts(small.call("read_text_file", path="f", tail=2)) == ["x" * 1533 + "\n"]
    text, note = texts(small.call("read_text_file", path="f", tail=2, lineNumbers=True))
    assert (text, note) == ("", "The last line alone is longer than a result; read it with offset.")


def test_numbered_tail_of_wide_letters_keeps_their_numbers(small: Served) -> None:
    text = "".join(f"{number} \u4e2d\u6587\n" for number in range(900))
    (small.top / "f").write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    shown = small.text("read_text_file", path="f", tail=141, lineNumbers=True).splitlines()
    assert shown[-1] == "   900\t899 \u4e2d\u6587"
    assert all(int(line.split("\t")[0]) == int(line.split("\t")[1].split(" ")[0]) + 1 for line in shown)


def test_large_file_is_read_where_asked_and_hashed_in_pieces(gate: Served) -> None:
    path = gate.top / "big"
    data = b"".join(b"%07d\n" % number for number in range(400_000))
    path.write_bytes(data)
    assert gate.text("read_text_file", path="big", offset=300_001, limit=1) == "0300000\n"
    assert gate.text("read_text_file", path="big", tail=2) == "0399999\n"
    assert gate.text("read_text_file", path="big", head=1) == "0000000"
    assert texts(gate.call("read_text_file", path="big", head=1, includeSha256=True))[1] == f"sha256: {sha256(data)}"


def test_sparse_terabyte_is_read_from_both_ends(gate: Served) -> None:
    with open(gate.top / "sparse", "wb") as file:
        file.write(b"first\n")
        file.truncate(2**40)
        file.seek(2**40 - 6)
        file.write(b"\nlast\n")
    assert gate.text("read_text_file", path="sparse", head=1) == "first"
    assert gate.text("read_text_file", path="sparse", tail=2) == "last\n"
    assert gate.error("read_media_file", path="sparse")["code"] == "limit.file_size"
    edit = [{"oldText": "a", "newText": "b"}]
    assert gate.error("edit_file", path="sparse", edits=edit)["code"] == "limit.file_size"


@pytest.mark.parametrize(
    ("tool", "arguments", "gives"),
    [
        ("read_text_file", {"path": "f"}, None),
        ("read_text_file", {"path": "f", "lineNumbers": True}, None),
        ("read_text_file", {"path": "f", "head": 1, "includeSha256": True}, None),
        ("read_text_file", {"path": "f", "head": 1}, "0123456789"),
        ("read_text_file", {"path": "f", "tail": 2}, "0123456789\n"),
        ("read_text_file", {"path": "f", "offset": 2, "limit": 1}, "0123456789\n"),
        ("read_text_file", {"path": "f", "limit": 99}, "0123456789\n" * 15),
        ("read_text_file", {"path": "small"}, "x" * 100),
        ("read_media_file", {"path": "f"}, None),
    ],
)
def test_file_over_the_roots_limit_is_not_read_whole(
    tmp_path: Path, tool: str, arguments: dict[str, Any], gives: str | None
) -> None:
    (tmp_path / "f").write_text("0123456789\n" * 15)
    (tmp_path / "small").write_text("x" * 100)
    with served(tmp_path, [rules(tmp_path, max_file=100)]) as gate:
        if gives is not None:
            result = gate.call(tool, **arguments)
            assert texts(result)[0] == gives
            assert bool(result.meta) is (arguments == {"path": "small"})
            return
        error = gate.error(tool, **arguments)
    assert error["code"] == "limit.file_size"
    assert error["rule"] == "policy.yaml:7"
    assert error["message"] == f"The file is larger than the 100 bytes that are allowed: {tmp_path}/f"
    assert error.get("allowedInstead", "").startswith("read a part of it: head, tail") is (tool == "read_text_file")


def test_file_over_the_roots_limit_is_left_out_among_several_and_the_note_says_how_to_read_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x" * 101)
    (tmp_path / "small").write_text("x")
    with served(tmp_path, [rules(tmp_path, max_file=100)]) as gate:
        text, note = texts(gate.call("read_multiple_files", paths=["f", "small"]))
    assert text == (
        f"f: Error - The file is larger than the 100 bytes that are allowed: {tmp_path}/f (rule: policy.yaml:7)"
        "\n---\nsmall:\nx\n"
    )
    assert note == "Not read: f (read_text_file reads a part of it: head, tail, or offset and limit)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"head": 1, "tail": 1}, "Cannot specify both head and tail parameters simultaneously"),
        ({"head": 1, "offset": 1}, "Cannot specify head or tail together with offset or limit"),
        ({"tail": 1, "limit": 1}, "Cannot specify head or tail together with offset or limit"),
        ({"encoding": "rot13"}, "Unknown encoding"),
    ],
)
def test_combination_without_meaning_is_refused(gate: Served, arguments: dict[str, Any], says: str) -> None:
    (gate.top / "f").write_text("a\n")
    assert gate.error("read_text_file", path="f", **arguments)["message"].startswith(says)


def test_several_files_in_the_references_form(gate: Served) -> None:
    (gate.top / "a").write_text("one")
    (gate.top / "b").write_text("two\n")
    assert gate.text("read_multiple_files", paths=["a", "none", "b"]) == (
        f"a:\none\n\n---\nnone: Error - ENOENT: no such file or directory, open '{gate.top}/none'\n---\nb:\ntwo\n\n"
    )


def test_several_files_share_the_budget_and_say_what_was_cut(small: Served) -> None:
    (small.top / "big").write_text("0123456789\n" * 1000)
    (small.top / "small").write_text("little\n")
    text, note = texts(small.call("read_multiple_files", paths=["small", "big", "small"]))
    assert text.startswith("small:\nlittle\n\n\n---\nbig:\n0123456789\n")
    assert text.endswith("small:\nlittle\n\n")
    assert "big (read_text_file with offset; nextOffset: " in note
    shown = text.count("0123456789\n")
    assert note.rpartition("nextOffset: ")[2] == f"{shown + 1})"
    result = small.call("read_multiple_files", paths=["big"] * 50)
    assert sum(len(each.encode()) for each in texts(result)) <= 2048
    assert "Not read, since the result is full: the last" in texts(result)[1]


def test_file_cut_inside_a_line_says_where_more_of_that_line_is(small: Served) -> None:
    (small.top / "one").write_text("first\n")
    (small.top / "long").write_text("é" * 5000)
    text, note = texts(small.call("read_multiple_files", paths=["long", "one"]))
    assert text.startswith("long:\néé")
    assert note == "Cut inside line 1: long (read_text_file with offset: 1 shows more of it)"
    assert small.text("read_text_file", path="long", offset=1).count("é") > text.count("é")


NAMES = {
    "short": [f"f{number}" for number in range(60)],
    "long": [f"{number:03d}{'ü' * 100}" for number in range(60)],
    "unprintable": [f"{number}\n\x1b" for number in range(60)],
    "the same": ["f"] * 60,
}


@pytest.mark.parametrize("result_bytes", [1024, 2048, 16 * 1024, 64 * 1024])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_client_that_does_what_the_notes_say_gets_every_file_whole(
    tmp_path: Path, names: list[str], result_bytes: int
) -> None:
    def contents(number: int) -> str:
        return "".join(f"{number}: line {line} ä\n" for line in range(number * 7 % 150))

    (tmp_path / "work").mkdir()
    wanted = {name: contents(number) for number, name in enumerate(names)}
    for name, text in wanted.items():
        (tmp_path / "work" / name).write_text(text)
    got = dict.fromkeys(names, "")
    with served(tmp_path, [rules(tmp_path / "work")], limits=Limits(result_bytes=result_bytes)) as gate:
        paths = names
        for _ in names:
            result = gate.call("read_multiple_files", paths=paths)
            assert sum(len(each.encode()) for each in texts(result)) <= result_bytes
            text, note = (*texts(result), "")[:2]
            left = re.search(r"the last (\d+) of the (\d+) paths", note)
            assert left is None or int(left[2]) == len(paths)
            shown = len(paths) - (int(left[1]) if left else 0)
            pieces = text.split("\n---\n")
            assert len(pieces) == shown
            for path, piece in zip(paths, pieces, strict=False):
                assert piece.startswith(f"{path}:\n")
                got[path] = piece[len(path) + 2 : -1]
            paths = paths[shown:]
            if not paths:
                break
        assert not paths
        for name in names:
            while got[name] != wanted[name]:
                line = got[name].count("\n") + 1
                more = gate.text("read_text_file", path=name, offset=line)
                assert more
                got[name] += more


def test_paths_that_were_not_read_are_named_as_far_as_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for number in range(100):
        (tmp_path / "work" / f"file\n{number}").write_text("0123456789\n" * 100)
    paths = [f"file\n{number}" for number in range(100)]
    with served(tmp_path, [rules(tmp_path / "work")], limits=Limits(result_bytes=32 * 1024)) as gate:
        result = gate.call("read_multiple_files", paths=paths)
        first, *rest = texts(result)[1].split("Cut after")[0].splitlines()
        left = int(first.split()[9])
        assert first == f"Not read, since the result is full: the last {left} of the 100 paths. Call again with these:"
        assert rest == [f"file\\x0a{number}" for number in range(100 - left, 100)]
        again = gate.text("read_multiple_files", paths=rest)
        assert again.startswith(f"file\\x0a{100 - left}:\n0123456789\n")
        text, note = texts(gate.call("read_multiple_files", paths=["x" * 3000] * 100))
    shown = text.count("\n---\n") + 1
    assert shown > 3
    assert note.startswith(
        f"Not read, since the result is full: the last {100 - shown} of the 100 paths. "
        f"Call again with all from number {shown + 1} on; they begin with:\nxxx"
    )
    assert note.endswith("x…")
    assert len(text) + len(note.encode()) <= 32 * 1024


def test_hundred_small_files_come_whole_and_in_order(gate: Served) -> None:
    paths = [f"f{number * 37 % 100}" for number in range(100)]
    for path in paths:
        (gate.top / path).write_text(f"{path} {'x' * 300}\n")
    result = gate.call("read_multiple_files", paths=paths)
    assert texts(result) == ["\n---\n".join(f"{path}:\n{path} {'x' * 300}\n\n" for path in paths)]


def test_time_that_is_up_ends_the_call_and_is_no_failure_of_one_file(gate: Served) -> None:
    for path in ("a", "b"):
        (gate.top / path).write_text("x")
    result = gate.call("read_multiple_files", Control(deadline=0.0), paths=["a", "b"])
    assert result.is_error
    assert result.structured is not None
    assert result.structured["error"]["code"] == "limit.time"


def test_media_have_their_kind(gate: Served) -> None:
    for name in ("a.PNG", "b.mp3", "c d#é.bin"):
        (gate.top / name).write_bytes(b"\0")
    assert gate.call("read_media_file", path="a.PNG").content == (Image("AA==", "image/png"),)
    assert gate.call("read_media_file", path="b.mp3").content == (Audio("AA==", "audio/mpeg"),)
    (blob,) = gate.call("read_media_file", path="c d#é.bin").content
    assert blob == Blob(f"file://{gate.top}/c%20d%23%C3%A9.bin", "application/octet-stream", "AA==")
