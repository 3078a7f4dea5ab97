"""Bytes and text: encodings that decode strictly, byte order marks, and cutting to a budget."""

from __future__ import annotations

import codecs

import pytest

from fsserver.errors import BadEncoding
from fsserver.tools.text.codec import ENCODINGS, codec_of
from fsserver.tools.text.cutting import count_lines, cut, cut_lines


@pytest.mark.parametrize(
    ("head", "encoding", "name"),
    [
        (b"plain", None, "utf-8"),
        (b"\xef\xbb\xbfx", None, "utf-8"),
        (b"\xff\xfex\0", None, "utf-16-le"),
        (b"\xfe\xff\0x", None, "utf-16-be"),
        (b"\xff\xfe\0\0", None, "utf-32-le"),
        (b"\0\0\xfe\xff", None, "utf-32-be"),
        (b"x\0", "utf-16", "utf-16-le"),
        (b"\xfe\xff", "UTF_16", "utf-16-be"),
        (b"\xff\xfe", "latin-1", "latin-1"),
        (b"x", "Windows-1252", "windows-1252"),
    ],
)
def test_codec_is_the_marks_or_the_named_one(head: bytes, encoding: str | None, name: str) -> None:
    assert codec_of(head, encoding).name == name


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_encoding_exists_and_writes_a_line_feed(encoding: str) -> None:
    codec = codec_of(b"", encoding)
    assert codec.newline.decode(codec.name) == "\n"
    assert len(codec.newline) == codec.unit


@pytest.mark.parametrize("encoding", ["idna", "punycode", "hex", "rot13", "unicode_escape", "utf-7", "", "x" * 1000])
def test_transforms_and_unknown_names_are_no_encodings(encoding: str) -> None:
    with pytest.raises(BadEncoding, match="Unknown encoding"):
        codec_of(b"", encoding)


@pytest.mark.parametrize(
    ("head", "encoding"), [(b"\xfe\xff\0x", "utf-16-le"), (b"\xff\xfex\0", "utf-16-be"), (b"\0\0\xfe\xff", "UTF-32-LE")]
)
def test_byte_order_that_the_mark_contradicts_is_refused(head: bytes, encoding: str) -> None:
    with pytest.raises(BadEncoding, match="byte order mark says"):
        codec_of(head, encoding)


def test_bytes_that_are_not_utf8_suggest_an_encoding() -> None:
    with pytest.raises(BadEncoding, match="0xe9") as caught:
        codec_of(b"caf\xe9", None).decode(b"caf\xe9", "/f")
    assert caught.value.allowed_instead is not None
    assert "latin-1" in caught.value.allowed_instead


@pytest.mark.parametrize("data", [b"a\0b", b"\x89PNG\0\xff"])
def test_nul_bytes_mean_a_binary_file_unless_an_encoding_is_named(data: bytes) -> None:
    with pytest.raises(BadEncoding, match="NUL") as caught:
        codec_of(data, None).decode(data, "/f")
    assert "read_media_file" in str(caught.value.allowed_instead)
    assert "\0" in codec_of(data, "latin-1").decode(data, "/f")


def test_mark_stays_part_of_the_text() -> None:
    data = codecs.BOM_UTF8 + b"x"
    assert codec_of(data, None).decode(data, "/f") == "\ufeffx"
    assert codec_of(data, None).encode("\ufeffx") == data


def test_character_that_the_encoding_lacks_is_refused() -> None:
    with pytest.raises(BadEncoding, match="u20ac"):
        codec_of(b"", "latin-1").encode("\u20ac")


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [("abc", 3, "abc"), ("abcd", 3, "ab!"), ("é" * 4, 5, "éé!"), ("\U0001f600" * 2, 6, "\U0001f600!")],
)
def test_cut_text_fits_and_ends_at_a_character(text: str, limit: int, kept: str) -> None:
    assert cut(text, limit, "!") == kept
    assert len(cut(text, limit, "!").encode()) <= limit


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a\nb\n", 100, ("a\nb\n", 2, False)),
        ("a\nb", 100, ("a\nb", 2, False)),
        ("", 100, ("", 0, False)),
        ("aa\nbb\ncc\n", 7, ("aa\nbb\n", 2, False)),
        ("aaaaaaaa\nb", 4, ("aaaa", 1, True)),
        ("ééé\n", 3, ("é", 1, True)),
    ],
)
def test_cut_lines_keeps_whole_lines_where_it_can(text: str, limit: int, expected: tuple[str, int, bool]) -> None:
    assert cut_lines(text, limit) == expected


def test_unfinished_line_counts() -> None:
    assert [count_lines(text) for text in ("", "a", "a\n", "a\nb")] == [0, 1, 1, 2]
