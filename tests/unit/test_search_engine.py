"""What a search says is heard to its end."""

from __future__ import annotations

import os
from typing import Any

from fsserver.policy.compiled import Layer
from fsserver.sandbox.runner import EndedBy, Ending
from fsserver.sandbox.streams import Ends
from fsserver.tools.control import Control
from fsserver.tools.search import engine
from fsserver.tools.search.engine import EndedRecords, Search


class LastWord:
    """A search that writes its last record in the moment before its end is heard, and whose pipes somebody else has."""

    def __init__(self) -> None:
        self.stdin: int | None = None
        self.stdout: int | None
        self.stdout, self.out = os.pipe()
        self.stderr, self.err = os.pipe()

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        os.write(self.out, b"last\0")
        return Ending(0, None, None, 0.1, 0.1, None, Layer.FULL, (), (), ())

    def stop(self, why: EndedBy) -> None:
        raise AssertionError(why)

    def close_stdin(self) -> None: ...

    def close(self) -> None:
        for descriptor in (self.stdout, self.out, self.stderr, self.err):
            assert descriptor is not None
            os.close(descriptor)


def test_what_is_written_just_before_the_end_is_heard(monkeypatch: Any) -> None:
    monkeypatch.setattr(engine, "TICK_S", 0.001)
    running = LastWord()
    try:
        search = Search(running, Control(), EndedRecords(b"\0"), Ends(0))
        assert list(search.records()) == [b"last"]
    finally:
        running.close()
