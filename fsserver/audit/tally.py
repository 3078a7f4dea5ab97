"""Counting what there may be any number of, in memory that is bounded: what a report is made of. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOST_BUCKETS: Final = 120
# Seconds. Each divides the next, so that buckets can be joined without looking at a record again.
_WIDTHS: Final = (1, 2, 10, 30, 60, 120, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
_SHARES: Final = 16  # buckets of a histogram for each power of two
_BITS: Final = 4  # of which they are
_LARGEST: Final = 2**63 - 1


class Histogram:
    """Durations in buckets of a sixteenth of a power of two: a quantile is at most 1/32 off. About 1,000 counts."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.largest = 0

    def add(self, value: int) -> None:
        """``value``: not negative."""
        bits = value.bit_length() - _BITS - 1
        bucket = value if bits <= 0 else (bits << _BITS) + (value >> bits)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.largest = max(self.largest, value)

    def quantile(self, share: float) -> int | None:
        """The value below or at which this share of all is; None if there are none."""
        left = max(1, round(share * self.count))
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return min(self.largest, _middle(bucket))
        return None


def _middle(bucket: int) -> int:
    if bucket < 2 * _SHARES:
        return bucket
    bits = (bucket >> _BITS) - 1
    return ((bucket - (bits << _BITS)) << bits) + (1 << bits >> 1)


class Timeline:
    """Counts of some kinds for each stretch of time; the stretches get longer as the time gets longer.

    Attributes:
        width: seconds of a bucket.
    """

    def __init__(self, kinds: int) -> None:
        self.width = 1
        self._kinds = kinds
        self._buckets: dict[int, list[int]] = {}
        self._first = self._last = 0

    def add(self, second: int, kind: int) -> None:
        """``second``: since the epoch."""
        bucket = self._buckets.get(second // self.width)
        if bucket is None:
            bucket = self._new(second)
        bucket[kind] += 1

    def _new(self, second: int) -> list[int]:
        at = second // self.width
        first, last = (min(self._first, at), max(self._last, at)) if self._buckets else (at, at)
        while last - first >= MOST_BUCKETS:
            wider = next((each for each in _WIDTHS if each > self.width), self.width * 10)
            factor, self.width = wider // self.width, wider
            joined: dict[int, list[int]] = {}
            for place, counts in self._buckets.items():
                kept = joined.setdefault(place // factor, [0] * self._kinds)
                for kind, count in enumerate(counts):
                    kept[kind] += count
            self._buckets = joined
            first, last = first // factor, last // factor
        self._first, self._last = first, last
        return self._buckets.setdefault(second // self.width, [0] * self._kinds)

    def rows(self) -> Iterator[tuple[int, list[int]]]:
        """Every bucket from the first to the last, empty ones too: the second at which it begins, and its counts."""
        if self._buckets:
            for at in range(self._first, self._last + 1):
                yield at * self.width, self._buckets.get(at, [0] * self._kinds)


class Top(Generic[T]):
    """The largest few of any number; of equals the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, int, T]] = []
        self._seen = 0

    def takes(self, size: int) -> bool:
        """Whether one of this size would be kept now."""
        return len(self._heap) < self._most or size > self._heap[0][0]

    def add(self, size: int, item: T) -> None:
        self._seen += 1
        entry = (size, -self._seen, item)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif size > self._heap[0][0]:
            heapq.heapreplace(self._heap, entry)

    def largest_first(self) -> list[T]:
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Distinct:
    """How many different ones there were, exactly up to a bound; then at least that many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[int] = set()
        self.full = False

    def add(self, key: object) -> None:
        if len(self._seen) < self._most:
            self._seen.add(hash(key))
        elif not self.full:
            self.full = hash(key) not in self._seen

    def __len__(self) -> int:
        return len(self._seen)
