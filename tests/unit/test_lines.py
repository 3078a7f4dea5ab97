"""Lines come out whole however they were cut, and a line that is too long costs only itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fsserver.transport.lines import LineReader, LineWriter

MAX_LINE = 8


async def read_all(writes: Sequence[bytes], max_line: int = MAX_LINE) -> list[bytes | None]:
    """What a reader makes of ``writes`` to a pipe, each of which it reads by itself."""
    out, into = os.pipe()
    try:
        reader = LineReader(out, max_line=max_line)
        lines: list[bytes | None] = []
        ended = asyncio.Event()
        reader.on_lines, reader.on_end = lines.extend, ended.set
        reader.resume()
        for data in writes:
            os.write(into, data)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    finally:
        os.close(into)
    await asyncio.wait_for(ended.wait(), 5)
    os.close(out)
    return lines


def expected(data: bytes) -> list[bytes | None]:
    *whole, last = data.split(b"\n")
    return [line if len(line) <= MAX_LINE else None for line in (*whole, *([last] if last else []))]


@given(st.lists(st.text(alphabet="ab\n", max_size=20).map(str.encode), max_size=8))
def test_lines_do_not_depend_on_how_the_writes_were_cut(writes: list[bytes]) -> None:
    assert asyncio.run(read_all([data for data in writes if data])) == expected(b"".join(writes))


def test_a_paused_reader_reads_nothing_and_loses_nothing() -> None:
    async def run() -> None:
        out, into = os.pipe()
        reader = LineReader(out, max_line=MAX_LINE)
        lines: list[bytes | None] = []
        ended = asyncio.Event()
        reader.on_lines, reader.on_end = lines.extend, ended.set
        reader.resume()
        reader.pause()
        os.write(into, b"a\nb\n")
        await asyncio.sleep(0.02)
        assert lines == []
        reader.resume()
        os.close(into)
        await asyncio.wait_for(ended.wait(), 5)
        assert lines == [b"a", b"b"]
        os.close(out)

    asyncio.run(run())


def test_writes_keep_their_order_through_a_full_pipe() -> None:
    async def run() -> None:
        out, into = os.pipe()
        os.set_blocking(into, False)
        writer = LineWriter(into)
        progress = 0

        def count() -> None:
            nonlocal progress
            progress += 1

        writer.on_progress = count
        sent = [b"%d:" % n + b"x" * (n * 37 % 5_000) + b"\n" for n in range(1_000)]
        for line in sent:
            writer.send(line)
        assert writer.backlog == sum(map(len, sent))
        received = b""
        while len(received) < sum(map(len, sent)):
            await asyncio.sleep(0)
            if writer.backlog < sum(map(len, sent)):
                received += os.read(out, 10_000)
        await asyncio.wait_for(writer.flushed(), 5)
        assert received == b"".join(sent)
        assert writer.backlog == 0
        assert progress > 1
        os.close(out)
        os.close(into)

    asyncio.run(run())


def test_a_writer_whose_reader_is_gone_says_so_once_and_drops_the_rest() -> None:
    async def run() -> None:
        out, into = os.pipe()
        os.set_blocking(into, False)
        os.close(out)
        writer = LineWriter(into)
        broken: list[None] = []
        writer.on_broken = lambda: broken.append(None)
        for _ in range(3):
            writer.send(b"x\n")
            await asyncio.sleep(0)
        await asyncio.wait_for(writer.flushed(), 5)
        assert (len(broken), writer.backlog) == (1, 0)
        os.close(into)

    asyncio.run(run())
