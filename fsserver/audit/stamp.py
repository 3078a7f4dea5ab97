"""What every record of one run has beside its own fields and its place in a chain: version, event and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from fsserver.audit.chain import Position
from fsserver.audit.record import RESERVED, VERSION, Json, Record, check_plain
from fsserver.errors import AuditError

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: `record` writes the zone, and an exact sum is UTC


class UnfitRecordError(AuditError):
    """What should be recorded cannot be a record: it is refused, and the log is as it was."""


def check_fields(fields: Mapping[str, Json]) -> list[str]:
    """Every text in them. Raises UnfitRecordError unless a record may have these fields."""
    if not RESERVED.isdisjoint(fields):
        raise UnfitRecordError("The audit record has a field with a reserved name, so the call was refused.")
    try:
        return check_plain(fields if type(fields) is dict else dict(fields))
    except ValueError as error:
        raise UnfitRecordError("The audit record cannot be written, so the call was refused.") from error


class Stamp:
    """Of one run: all its chains measure ``up_us`` from the same moment. Used by one thread at a time."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        """``clock_ns``: nanoseconds since 1970, UTC. It may step back."""
        self.now_ns = clock_ns
        self._started_ns = time.monotonic_ns()
        self._second = (
            -1,
            "",
        )  # the last one that was written, and its text: most records share it with the one before

    def record(self, event: str, fields: Mapping[str, Json], after: Position) -> Record:
        """The record that comes next in a chain; `fields` passed `check_fields`. Its time is RFC 3339, microseconds."""
        second, rest = divmod(self.now_ns(), 10**9)
        if second != self._second[0]:
            self._second = (second, (_EPOCH + timedelta(seconds=second)).isoformat())
        return {
            **fields,
            "v": VERSION,
            "seq": after.seq + 1,
            "time": f"{self._second[1]}.{rest // 1000:06d}Z",
            "up_us": (time.monotonic_ns() - self._started_ns) // 1000,
            "event": event,
            "prev": after.head,
        }
