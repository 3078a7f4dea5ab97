"""What ripgrep says, whole or cut, and the lines that are made of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.tools.search import jsonlines
from fsserver.tools.search.jsonlines import JsonLines
from fsserver.tools.search.lines import LINE_CHARACTERS, Line, lines_of, parse, path_of


def message(text: str | bytes, *starts: int, kind: str = "match", number: int = 7, path: str = "./a/b") -> bytes:
    """As ``rg --json`` writes it, without its end of line."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        lines = {"text": raw.decode()}
    except UnicodeDecodeError:
        lines = {"bytes": base64.b64encode(raw).decode()}
    submatches = [{"match": {"text": "m"}, "start": start, "end": start + 1} for start in starts]
    data = {"path": {"text": path}, "lines": lines, "line_number": number, "absolute_offset": 0}
    return json.dumps({"type": kind, "data": {**data, "submatches": submatches}}, ensure_ascii=False).encode()


def shown(raw: bytes) -> list[tuple[int, int, str]]:
    return [(line.number, line.column, line.text) for line in lines_of(parse(raw))]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(message("foo m\n", 4), [(7, 5, "foo m")], id="column-from-one"),
        pytest.param(message("foo m\r\n", 4), [(7, 5, "foo m")], id="dos-line-end"),
        pytest.param(message("m", 0), [(7, 1, "m")], id="no-line-end"),
        pytest.param(message("äö m\n", 5), [(7, 4, "äö m")], id="column-in-characters"),
        pytest.param(message(b"\xff m\n", 2), [(7, 6, "\\xff m")], id="bytes-that-are-no-text"),
        pytest.param(message("m m m\n", 0, 2, 4), [(7, 1, "m m m")], id="first-of-several"),
        pytest.param(message("am\nb\nm\n", 1, 5), [(7, 2, "am"), (8, 1, "b"), (9, 1, "m")], id="match-over-lines"),
        pytest.param(message("around\n", kind="context"), [(7, 0, "around")], id="around-a-match"),
        pytest.param(message("\n", 0), [(7, 1, "")], id="empty-line"),
    ],
)
def test_lines_of_a_message(raw: bytes, expected: list[tuple[int, int, str]]) -> None:
    assert shown(raw) == expected


def test_long_line_is_a_window_around_its_first_match() -> None:
    ((_, column, text),) = shown(message("x" * 5000 + "m" + "y" * 5000 + "\n", 5000))
    assert column == 5001
    assert text.startswith("…xxx")
    assert text.endswith("yyy…")
    assert "xmy" in text
    assert len(text) == LINE_CHARACTERS + 2
    ((_, _, at_end),) = shown(message("x" * 5000 + "m\n", 5000))
    assert at_end.endswith("xm")


def test_path_that_is_no_text_is_read_back() -> None:
    raw = json.dumps({"type": "begin", "data": {"path": {"bytes": base64.b64encode(b"./\xff").decode()}}}).encode()
    assert path_of(parse(raw)) == "\udcff"
    assert path_of({"type": "summary", "data": {}}) is None


def test_lines_are_shown_as_grep_shows_them() -> None:
    assert Line("a", 3, "text", 2).shown("/r/a") == "/r/a:3:2:text"
    assert Line("a", 3, "text").shown("/r/a") == "/r/a-3-text"


def split(stream: bytes, sizes: list[int]) -> list[bytes]:
    """What a `JsonLines` makes of a stream that comes in pieces."""
    sink = JsonLines()
    found: list[bytes] = []
    while stream:
        size = sizes.pop() if sizes else 1 << 16
        sink.add(memoryview(stream[:size]))
        stream = stream[size:]
        found += sink.taken()
    return found


TEXTS = st.text(st.sampled_from('ab"\\\n\tü€😀\x01'), max_size=120)


@given(st.lists(TEXTS, max_size=5), st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_messages_come_out_whole_or_cut_and_always_as_json(texts: list[str], sizes: list[int], cut: bool) -> None:
    messages = [message(text, *range(len(text))) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        if cut:
            patch.setattr(jsonlines, "WHOLE_BYTES", 60)
            patch.setattr(jsonlines, "STRING_BYTES", 16)
            patch.setattr(jsonlines, "MOST_BYTES", 200)
        found = split(b"".join(each + b"\n" for each in messages), sizes)
    assert len(found) == len(messages)
    for text, raw, was in zip(texts, found, messages, strict=True):
        if not cut:
            assert raw == was
            continue
        parsed: Any = parse(raw)
        assert path_of(parsed) == "a/b"
        assert text.startswith(parsed["data"]["lines"]["text"].rstrip("\ufffd"))
        assert len(raw) <= 200 + 200


def test_line_of_many_megabytes_takes_no_memory_and_shows_what_matched() -> None:
    sink = JsonLines()
    head, tail = message("@" + "\n", 64 << 20).split(b"@", 1)
    sink.add(memoryview(head))
    for _ in range(64):
        sink.add(memoryview(b'x\\"y\\\\' * ((1 << 20) // 6)))
    sink.add(memoryview(tail + b"\n"))
    (raw,) = sink.taken()
    assert len(raw) < 2 * jsonlines.STRING_BYTES
    assert shown(raw) == [(7, (64 << 20) + 1, "…m…")]


def test_match_over_many_lines_ends_in_an_ellipsis_where_it_is_cut() -> None:
    sink = JsonLines()
    text = "y" * 49 + "\n"
    parts = {"path": {"text": "./a"}, "lines": {"text": text * 20_000}, "line_number": 7, "absolute_offset": 0}
    submatches = [{"match": {"text": text * 20_000}, "start": 0, "end": len(text) * 20_000}]
    sink.add(memoryview(json.dumps({"type": "match", "data": {**parts, "submatches": submatches}}).encode() + b"\n"))
    (raw,) = sink.taken()
    *lines, (number, _, last) = shown(raw)
    assert {line for _, _, line in lines} == {"y" * 49}
    assert number == 7 + len(lines)
    assert last.endswith("y…")


def test_message_with_a_million_matches_is_cut_after_some_of_them() -> None:
    sink = JsonLines()
    sink.add(memoryview(message("m" * 100_000 + "\n", *range(100_000)) + b"\n"))
    (raw,) = sink.taken()
    assert len(raw) <= jsonlines.MOST_BYTES + 100
    ((number, column, text),) = shown(raw)
    assert (number, column) == (7, 1)
    assert text.startswith("mmm")
