"""Where lines begin in a file that is too large to hold: counted in chunks, from either end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, TypeAlias

from fsserver.tools.control import Control
from fsserver.tools.text.codec import Codec
from fsserver.tools.text.marks import Marks

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""``(offset, at most n) -> bytes``; fewer only at the end of the file."""

FIRST_CHUNK_BYTES: Final = 64 * 1024  # doubled from there
CHUNK_BYTES: Final = 1024 * 1024  # large enough that a chunk costs more than the call, small enough to hear a cancel

SAMPLE_BYTES: Final = 1024
SHORT_LINE_BYTES: Final = 16


def skip_lines(read_at: ReadAt, codec: Codec, count: int, control: Control, marks: Marks) -> tuple[int, int]:
    """The offset at which line ``count`` (from 0) begins, and how many line ends come before it.

    Fewer than ``count`` means that the file has no such line; the offset is then its end.

    Args:
        marks: of this file; where to begin, and then also what was passed.
    """
    offset, seen = marks.before_line(count)
    while seen < count:
        control.checkpoint()
        data = read_at(offset, marks.step)
        here = _count(data, codec)
        if seen + here >= count:
            return offset + _nth(data, codec, count - seen) + codec.unit, count
        seen += here
        offset += len(data)
        if len(data) < marks.step:
            break
        marks.add(offset, seen)
    return offset, seen


def count_line_ends(read_at: ReadAt, codec: Codec, end: int, control: Control, marks: Marks) -> int:
    """Line ends before the offset ``end``. For ``marks`` see `skip_lines`."""
    offset, seen = marks.before_offset(end)
    while offset < end:
        control.checkpoint()
        length = min(marks.step, end - offset)
        data = read_at(offset, length)
        seen += _count(data, codec)
        offset += len(data)
        if len(data) < length:
            break
        marks.add(offset, seen)
    return seen


def tail_offset(
    read_at: ReadAt, codec: Codec, size: int, count: int, *, max_bytes: int, control: Control
) -> int | None:
    """The offset after the ``count``-th line end from the end: where the last ``count`` pieces between them begin.

    Reads backwards and no more than it needs.

    Returns:
        None where more than ``max_bytes`` would follow the offset.
    """
    chunk = FIRST_CHUNK_BYTES
    position = size - size % codec.unit
    while position > 0:
        control.checkpoint()
        if size - position > max_bytes:
            return None
        length = min(chunk, position)
        position -= length
        data = read_at(position, length)
        here = _count(data, codec)
        if here >= count:
            offset = position + _nth(data, codec, here - count + 1) + codec.unit
            return offset if size - offset <= max_bytes else None
        count -= here
        chunk = min(2 * chunk, CHUNK_BYTES)
    return 0 if size <= max_bytes else None


def read_lines(
    read_at: ReadAt, codec: Codec, offset: int, count: int, *, max_bytes: int, control: Control
) -> tuple[bytes, bool]:
    """The first ``count`` lines from ``offset`` on, with their ends, and whether they are all there.

    They are not where the file ends before, or where they are more than ``max_bytes``; then what there is, at most
    one chunk more than that.
    """
    parts: list[bytes] = []
    chunk = FIRST_CHUNK_BYTES
    size = 0
    while size <= max_bytes:
        control.checkpoint()
        data = read_at(offset + size, chunk)
        here = _count(data, codec)
        if here >= count:
            parts.append(data[: _nth(data, codec, count) + codec.unit])
            return b"".join(parts), True
        parts.append(data)
        size += len(data)
        if len(data) < chunk:
            break
        count -= here
        chunk = min(2 * chunk, CHUNK_BYTES)
    return b"".join(parts), False


def first_lines_length(data: bytes, codec: Codec, count: int) -> int | None:
    """Length of the first ``count`` lines with their ends, or None if there are not so many line ends."""
    if _count(data, codec) < count:
        return None
    return _nth(data, codec, count) + codec.unit


def _count(data: bytes, codec: Codec) -> int:
    if codec.unit > 1:
        return len(_wide(data, codec)) if codec.unit > 2 else _count_wide(data, codec)
    if data.count(b"\n", 0, SAMPLE_BYTES) * SHORT_LINE_BYTES > SAMPLE_BYTES:
        return data.count(b"\n")
    # Until Python 3.13 `count` looks at each byte, while this goes from one to the next with memchr(3): a third of it.
    return len(data) - len(data.replace(b"\n", b""))


def _count_wide(data: bytes, codec: Codec) -> int:
    """In UTF-16, where half a character at either end is a character too."""
    return data[: len(data) - len(data) % 2].decode(codec.name, "surrogatepass").count("\n")


def _nth(data: bytes, codec: Codec, n: int) -> int:
    """Position of the ``n``-th line end, from 1. There are that many."""
    if codec.unit > 1:
        return _wide(data, codec)[n - 1]
    low, high = 0, len(data)  # the wanted one lies in data[low:high]; `n` counts from low
    while high - low > 64:
        middle = (low + high) // 2
        here = data.count(b"\n", low, middle)
        if here >= n:
            high = middle
        else:
            low, n = middle, n - here
    position = low - 1
    for _ in range(n):
        position = data.index(b"\n", position + 1, high)
    return position


def _wide(data: bytes, codec: Codec) -> list[int]:
    """Positions of all line ends where a character has two or four bytes: only aligned ones count."""
    unit = codec.unit
    whole = memoryview(data)[: len(data) - len(data) % unit].cast("H" if unit == 2 else "I")
    wanted = int.from_bytes(codec.newline, sys.byteorder)
    return [index * unit for index, value in enumerate(whole) if value == wanted]
