"""read_text_file, read_multiple_files, read_media_file: what comes back, and what is said when it is not all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsserver.policy.compiled import Limits
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


def test_media_have_their_kind(gate: Served) -> None:
    for name in ("a.PNG", "b.mp3", "c d#é.bin"):
        (gate.top / name).write_bytes(b"\0")
    assert gate.call("read_media_file", path="a.PNG").content == (Image("AA==", "image/png"),)
    assert gate.call("read_media_file", path="b.mp3").content == (Audio("AA==", "audio/mpeg"),)
    (blob,) = gate.call("read_media_file", path="c d#é.bin").content
    assert blob == Blob(f"file://{gate.top}/c%20d%23%C3%A9.bin", "application/octet-stream", "AA==")
