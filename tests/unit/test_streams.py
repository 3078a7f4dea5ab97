"""Bytes from and to programs: what is kept, in how much memory, and that nobody waits for nobody."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.sandbox.streams import Ends, Feed, Pump, Tail, set_nonblocking, write_some

CHUNKS = st.lists(st.binary(max_size=20), max_size=12)


@given(chunks=CHUNKS, limit=st.integers(0, 40), offset=st.integers(0, 60), length=st.integers(0, 60))
def test_tail_is_the_end_of_the_stream(chunks: Sequence[bytes], limit: int, offset: int, length: int) -> None:
    tail = Tail(limit)
    for chunk in chunks:
        tail.add(chunk)
    whole = b"".join(chunks)
    kept = whole[max(0, len(whole) - limit) :]
    assert (tail.total, tail.first) == (len(whole), len(whole) - len(kept))
    assert tail.read(0, len(whole)) == kept
    start = max(offset, tail.first)
    assert tail.read(offset, length) == whole[start : start + length]


@given(chunks=CHUNKS, limit=st.integers(0, 40))
def test_ends_are_the_head_and_the_tail_and_the_rest_is_counted(chunks: Sequence[bytes], limit: int) -> None:
    ends = Ends(limit)
    for chunk in chunks:
        ends.add(chunk)
    whole = b"".join(chunks)
    assert ends.total == len(whole)
    assert len(ends.head) + ends.lost + len(ends.tail) == len(whole)
    assert whole.startswith(ends.head)
    assert whole.endswith(ends.tail)
    assert len(ends.head) + len(ends.tail) == min(limit, len(whole))


def test_a_byte_at_a_time_takes_no_more_memory_than_at_once() -> None:
    ends = Ends(1000)
    for _ in range(5000):
        ends.add(b"x")
    assert (len(ends.head), ends.lost, len(ends.tail)) == (500, 4000, 500)


class Pipes:
    """Pipes whose ends are closed at the end of a test, as far as it did not."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def make(self) -> tuple[int, int]:
        ends = os.pipe()
        self.open.update(ends)
        return ends

    def close(self, descriptor: int) -> None:
        self.open.remove(descriptor)
        os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    for descriptor in made.open:
        os.close(descriptor)


def test_pump_reads_to_the_end_of_every_source(pipes: Pipes) -> None:
    one, other = pipes.make(), pipes.make()
    first, second = Ends(100), Ends(100)
    pump = Pump({one[0]: first, other[0]: second})
    os.write(one[1], b"one")
    os.write(other[1], b"other")
    pipes.close(one[1])
    pipes.close(other[1])
    while pump.open:
        assert pump.run(5.0)
    assert (first.head + first.tail, second.head + second.tail) == (b"one", b"other")


def test_pump_that_nobody_feeds_waits_no_longer_than_told(pipes: Pipes) -> None:
    reader, _ = pipes.make()
    pump = Pump({reader: Ends(10)})
    began = time.monotonic()
    assert pump.run(0.02) is False
    assert 0.015 <= time.monotonic() - began < 5
    assert pump.open


def test_feed_to_a_reader_that_left_is_over_and_closed(pipes: Pipes) -> None:
    reader, writer = pipes.make()
    pipes.close(reader)
    pump = Pump({}, Feed(writer, b"nobody reads this", lambda: pipes.close(writer)))
    while pump.open:
        assert pump.run(5.0)
    assert writer not in pipes.open


def test_feed_larger_than_the_pipe_arrives_whole(pipes: Pipes) -> None:
    reader, writer = pipes.make()
    data = os.urandom(3 * 1024 * 1024)
    arrived = Ends(2 * len(data))
    pump = Pump({reader: arrived}, Feed(writer, data, lambda: pipes.close(writer)))
    while pump.open:
        assert pump.run(5.0)
    assert arrived.head + arrived.tail == data


def test_write_to_a_full_pipe_takes_nothing_and_returns(pipes: Pipes) -> None:
    _, writer = pipes.make()
    set_nonblocking(writer)
    while write_some(writer, b"x" * 65536):
        pass
    assert write_some(writer, b"x") == 0
