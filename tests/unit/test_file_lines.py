"""Lines of large files, found in chunks: every answer is that of the whole text, and no more is read than needed."""

from __future__ import annotations

import pytest

from fsserver.tools.control import Control
from fsserver.tools.text import lines
from fsserver.tools.text.codec import codec_of
from fsserver.tools.text.lines import ReadAt, count_line_ends, read_lines, skip_lines, tail_offset
from fsserver.tools.text.marks import Marks

TEXTS = {
    "empty": "",
    "no line end": "abc",
    "one": "a\n",
    "blank lines": "\n\n\n",
    "unfinished": "a\nbb\nccc",
    "many": "".join(f"{number}\n" for number in range(500)),
    "letters with 0A in them": "\u0a0a\n\u0a00\u000a\u010a\n" * 40,
}
ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-be"]


class Counted:
    """Bytes in memory that count how many of them were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read = 0

    def __call__(self, offset: int, count: int) -> bytes:
        part = self.data[offset : offset + count]
        self.read += len(part)
        return part


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small texts have many of them."""
    monkeypatch.setattr(lines, "CHUNK_BYTES", 32)
    monkeypatch.setattr(lines, "FIRST_CHUNK_BYTES", 8)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_lines_are_where_the_whole_text_has_them(text: str, encoding: str) -> None:
    codec = codec_of(b"", encoding)
    data = text.encode(encoding)
    read_at: ReadAt = Counted(data)
    pieces = text.split("\n")
    for count in (0, 1, 2, 3, len(pieces) - 1, len(pieces), len(pieces) + 5):
        before = "\n".join(pieces[:count]) + "\n" if 0 < count < len(pieces) else "" if count == 0 else text
        skipped = skip_lines(read_at, codec, count, Control(), Marks(32))
        assert skipped == (len(before.encode(encoding)), min(count, len(pieces) - 1))
        if count:
            found, all_there = read_lines(read_at, codec, 0, count, max_bytes=10**6, control=Control())
            assert (found.decode(encoding), all_there) == (before, count < len(pieces))
            offset = tail_offset(read_at, codec, len(data), count, max_bytes=10**6, control=Control())
            assert offset is not None
            assert data[offset:].decode(encoding) == "\n".join(pieces[-count:])
    assert count_line_ends(read_at, codec, len(data), Control(), Marks(32)) == len(pieces) - 1


def test_only_what_is_needed_is_read() -> None:
    data = b"0123456789\n" * 100_000
    codec = codec_of(b"", None)
    read_at = Counted(data)
    read_lines(read_at, codec, 0, 2, max_bytes=10**9, control=Control())
    assert read_at.read < 200
    read_at = Counted(data)
    assert tail_offset(read_at, codec, len(data), 2, max_bytes=10**9, control=Control()) == len(data) - 11
    assert read_at.read < 200


def test_tail_that_does_not_fit_is_none() -> None:
    codec = codec_of(b"", None)
    assert tail_offset(Counted(b"x" * 1000), codec, 1000, 1, max_bytes=100, control=Control()) is None
    assert tail_offset(Counted(b"x\n" * 500), codec, 1000, 400, max_bytes=100, control=Control()) is None


def test_lines_without_end_are_bounded() -> None:
    read_at = Counted(b"x" * 100_000)
    found, all_there = read_lines(read_at, codec_of(b"", None), 0, 1, max_bytes=100, control=Control())
    assert not all_there
    assert 100 < len(found) <= 100 + 32
