"""Lines come out whole however they were cut, and a line that is too long costs only itself."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from fsserver.transport.lines import LineSplitter, LineWriter

MAX_LINE = 8


def expected(data: bytes) -> list[bytes | None]:
    *whole, last = data.split(b"\n")
    return [line if len(line) <= MAX_LINE else None for line in (*whole, *([last] if last else []))]


@given(st.lists(st.text(alphabet="ab\n", max_size=20).map(str.encode), max_size=8))
def test_lines_do_not_depend_on_how_the_reads_were_cut(reads: list[bytes]) -> None:
    splitter = LineSplitter(MAX_LINE)
    lines = [line for data in reads for line in splitter.split(data)]
    assert lines + splitter.rest() == expected(b"".join(reads))


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


def test_lines_from_other_threads_are_written_whole_and_each_once() -> None:
    async def run() -> None:
        out, into = os.pipe()
        os.set_blocking(into, False)
        writer = LineWriter(into)
        lines = {b"%d %s" % (n, b"x" * (n % 3_000)) for n in range(2_000)}
        with ThreadPoolExecutor(4) as threads:
            reading = threads.submit(_read_lines, out, len(lines))
            for number, line in enumerate(lines):
                if number % 2:
                    writer.send(line + b"\n")
                    await asyncio.sleep(0)
                else:
                    threads.submit(writer.send_from_thread, line + b"\n")
            while not reading.done():
                await asyncio.sleep(0.001)
        assert set(reading.result()) == lines
        assert writer.backlog == 0
        os.close(out)
        os.close(into)

    asyncio.run(asyncio.wait_for(run(), 20))


def _read_lines(descriptor: int, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\n") < count:
        data += os.read(descriptor, 1 << 16)
    return data.split(b"\n")[:-1]
