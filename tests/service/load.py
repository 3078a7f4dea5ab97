"""Clients that work at the same time, and know what they changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.protocol.client import MODERN
from tests.protocol.http_client import HttpClient

TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.03
BEFORE, AFTER = "<before>", "<after>"


@dataclass
class Failed:
    """A call that was not done. ``text``: the answer, or what happened in its place."""

    tool: str
    path: str
    status: int
    text: str


@dataclass
class Load:
    """Attributes:
    written: the content of each file that was written, and edited, as the server said.
    failed: calls that were not done.
    calls: how many were done.
    """

    written: dict[str, str] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    calls: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def work(self, client: HttpClient, directory: Path, worker: int) -> None:
        """Write a file, read it, edit it; again and again, and leave the machine some time for others."""
        number = 0
        while not self._stop.wait(PAUSE_S):
            path = str(directory / f"{worker}-{number}")
            number += 1
            if self._call(client, "write_file", path, content=f"{path} {BEFORE}\n") is None:
                continue
            self.written[path] = f"{path} {BEFORE}\n"
            said = self._call(client, "read_text_file", path)
            if said is not None and said["content"][0]["text"] != f"{path} {BEFORE}\n":
                self._fail("read_text_file", path, 200, str(said))
            if self._call(client, "edit_file", path, edits=[{"oldText": BEFORE, "newText": AFTER}]) is not None:
                self.written[path] = f"{path} {AFTER}\n"

    def _call(self, client: HttpClient, tool: str, path: str, **arguments: Any) -> dict[str, Any] | None:
        """The result; None where it was not done."""
        try:
            with client.start_call(tool, {"path": path, **arguments}) as answer:
                if answer.status != 200:
                    self._fail(tool, path, answer.status, answer.body().decode())
                    return None
                message = answer.message()
        except OSError as error:
            self._fail(tool, path, 0, repr(error))
            return None
        result: dict[str, Any] = message.get("result") or {"isError": True}
        if result.get("isError"):
            self._fail(tool, path, 200, str(message))
            return None
        with self._mutex:
            self.calls += 1
        return result

    def _fail(self, tool: str, path: str, status: int, text: str) -> None:
        self.failed.append(Failed(tool, path, status, text))

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def load(client: Callable[[str], HttpClient], directory: Path, workers: int = 8) -> Iterator[Load]:
    """Every second worker has a session, the others speak 2026-07-28. They have stopped when the context is left.

    Args:
        client: a new one that speaks that revision.
    """
    running = Load()
    threads = []
    for worker in range(workers):
        made = client(MODERN if worker % 2 else "2025-11-25")
        if worker % 2 == 0:
            made.open()
        threads.append(threading.Thread(target=running.work, args=(made, directory, worker), daemon=True))
    try:
        for thread in threads:
            thread.start()
        yield running
    finally:
        running.stop()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert not any(thread.is_alive() for thread in threads), "every call ended"
