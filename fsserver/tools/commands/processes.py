"""What runs in the background: a bounded table, and for each process a thread that keeps its newest output.

The output is kept in memory, a ring of ``limits.output`` bytes a process. A file would have to be written by a server
that may write almost nowhere, would need a quota and a sweep, and would outlive the session that it belongs to.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import Final

from fsserver.errors import FsserverError, InternalError, LimitExceeded, RequestError, UnknownProcess
from fsserver.sandbox.runner import EndedBy, Ending, Runner, Running
from fsserver.sandbox.streams import PIPE_BYTES, Pump, Tail, set_nonblocking, wait_writable, write_some
from fsserver.state.shared import Held, SharedState
from fsserver.tools.commands.choice import Chosen
from fsserver.tools.commands.whereabouts import Whereabouts
from fsserver.tools.control import Control

_LOG = logging.getLogger(__name__)

HANDLE_BYTES: Final = 16
TICK_S: Final = 0.25  # how often a silent process is looked at
WAIT_S: Final = 0.05  # how often one that waits looks whether it was cancelled
CLOSE_S: Final = 0.5
"""How long the end of everything waits for processes to go. What is left then goes with whoever runs it."""

KEPT_S: Final = 3600.0
"""How long what has ended is remembered when another owner starts something: there may be thousands of them."""

Owner = tuple[str, str]
"""See `fsserver.tools.session.Session.owner`."""


class Process:
    """One process in the background. Thread-safe.

    Attributes:
        handle: the word that stands for it; whoever has not been told it cannot guess it.
        owner: whose it is.
        started, over: the second of `time.monotonic`; ``over`` is when it had ended, None until then.
        ended: set when all that follows from its end is known.
        ending: how it ended; None while it runs, and where it could not be run.
        error: why it could not be run, or could not be followed to its end.
    """

    def __init__(self, owner: Owner, chosen: Chosen, running: Running) -> None:
        self.handle = secrets.token_urlsafe(HANDLE_BYTES)
        self.owner = owner
        self.chosen = chosen
        self.started = time.monotonic()
        self.over: float | None = None
        self.ended = threading.Event()
        self.ending: Ending | None = None
        self.error: FsserverError | None = None
        self._running = running
        self._output = Tail(chosen.command.limits.output_bytes)
        self._changed = threading.Condition()  # over the output and its total
        self._life = threading.Lock()  # held to stop it, and to say that it has ended: it is never stopped after that
        self._writing = threading.Lock()  # held by who uses or closes the input's descriptor
        self._input_open = running.stdin is not None
        if running.stdin is not None:
            set_nonblocking(running.stdin)
        self._thread = threading.Thread(target=self._follow, name=f"process {chosen.command.name}", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        return "exited" if self.ended.is_set() else "running"

    @property
    def held(self) -> Held:
        return Held(self.handle, self.owner)

    def add(self, data: memoryview) -> None:
        """Takes what it writes; called by its own thread."""
        with self._changed:
            self._output.add(data)
            self._changed.notify_all()

    def written(self) -> tuple[int, int]:
        """The offset of the first byte of its output that is kept, and of the end."""
        with self._changed:
            return self._output.first, self._output.total

    def output(self, offset: int, length: int) -> tuple[int, bytes, bool]:
        """What is kept from ``offset`` on, at most ``length`` bytes: where that begins, the bytes, and whether it is
        all that there will be.
        """
        over = self.ended.is_set()
        with self._changed:
            start = min(max(offset, self._output.first), self._output.total)
            data = self._output.read(start, length)
            return start, data, over and start + len(data) == self._output.total

    def wait_for_output(self, beyond: int, until: float, control: Control) -> None:
        """Return when there is output beyond an offset, or there will be none, or it is ``until``.

        Raises:
            Cancelled, TimeLimit: the call is over.
        """
        while not self.ended.is_set() and time.monotonic() < until:
            control.checkpoint()
            with self._changed:
                if self._output.total > beyond:
                    return
                self._changed.wait(WAIT_S)

    def write(self, data: bytes, *, close: bool, until: float, control: Control) -> int:
        """Write to its standard input, and close that if all was taken; how many bytes were taken by ``until``.

        Raises:
            RequestError: it has ended, its input was closed, or it does not read any more.
            Cancelled, TimeLimit: the call is over; a part may have been written.
        """
        left = memoryview(data)
        with self._writing:
            stdin = self._running.stdin
            if stdin is None or not self._input_open or self.ended.is_set():
                why = "it has ended" if self.ended.is_set() else "its input was closed"
                raise RequestError(f"Nothing can be written to the process: {why}.")
            while left:
                control.checkpoint()
                taken = write_some(stdin, left[:PIPE_BYTES])
                if taken is None:
                    raise RequestError("Nothing can be written to the process: it does not read its input any more.")
                left = left[taken:]
                if self.ended.is_set() or time.monotonic() >= until:
                    break
                if not taken:
                    wait_writable(stdin, WAIT_S)
            if close and not left:
                self._input_open = False
                self._running.close_stdin()
        return len(data) - len(left)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after a grace. Does not wait."""
        with self._life:
            if not self.ended.is_set():
                self._running.stop(EndedBy.CANCELLED)

    def join(self, timeout_s: float) -> bool:
        """Whether it ended and was cleared away within so many seconds."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _follow(self) -> None:
        try:
            self.ending = self._drained()
        except FsserverError as error:
            self.error = error
        except Exception as bug:  # noqa: BLE001 - the thread's boundary: whoever reads the process is told
            self.error = internal = InternalError(secrets.token_hex(6))
            _LOG.error("following a process failed, %s", internal.correlation_id, exc_info=bug)
        self.over = time.monotonic()
        with self._life:
            self.ended.set()  # a writer stops at this, and lets the input go
        with self._changed:
            self._changed.notify_all()
        with self._writing:
            self._input_open = False
            self._running.close()

    def _drained(self) -> Ending:
        """Keep its output until it has ended and nothing more is in its pipes."""
        stdout = self._running.stdout
        assert stdout is not None, "its output is ours"
        pump = Pump({stdout: self, self._running.stderr: self})
        ending: Ending | None = None
        while True:
            moved = pump.run(TICK_S if ending is None else 0) if pump.open else False
            if moved:
                continue
            if ending is not None:
                return ending
            ending = self._running.wait(0 if pump.open else TICK_S)


class Processes:
    """Every process in the background. Thread-safe.

    Args:
        limit: how many of one owner may run at once, and how many that have ended are remembered.
        state: what replicas share, if there are any.

    Attributes:
        whereabouts: of processes at other replicas; None if there are none.
    """

    def __init__(self, limit: int, state: SharedState | None = None) -> None:
        self._limit = limit
        self.whereabouts = Whereabouts(state, self._known) if state is not None and state.shared else None
        self._mutex = threading.Lock()
        self._by_handle: dict[str, Process] = {}
        self._closed = False

    def start(self, owner: Owner, chosen: Chosen, runner: Runner) -> Process:
        """Start a command that goes on when the call is over.

        Raises:
            LimitExceeded: as many as may run are running.
            As `Runner.start`.
        """
        with self._mutex:
            self._require_room(owner)
            running = runner.start(chosen.request(None))
            try:
                process = Process(owner, chosen, running)
            except BaseException:
                running.close()
                raise
            self._by_handle[process.handle] = process
            forgotten = self._forget(owner)
        if self.whereabouts is not None:
            self.whereabouts.began(process.held)
            self.whereabouts.gone(forgotten)
        return process

    def get(self, owner: Owner, handle: str) -> Process:
        """The owner's process of that handle.

        Raises:
            UnknownProcess: there is none. Another owner's handle is answered the same. One of the owner's at another
                replica is said to be there.
            SharedStateError: there is none here, and nobody can say whether there is one elsewhere.
        """
        with self._mutex:
            process = self._by_handle.get(handle)
        if process is None or process.owner != owner:
            if self.whereabouts is not None:
                self.whereabouts.require_not_elsewhere(Held(handle, owner))
            raise UnknownProcess(
                "There is no process with this handle.",
                allowed_instead="a handle that list_processes shows; one that ended a while ago may be forgotten",
            )
        return process

    def of(self, owner: Owner) -> list[Process]:
        """The owner's processes, the oldest first."""
        with self._mutex:
            return [process for process in self._by_handle.values() if process.owner == owner]

    def close(self, owner: Owner | None = None) -> None:
        """End an owner's processes, or everybody's; then none can be started any more. Waits at most `CLOSE_S`."""
        with self._mutex:
            self._closed = self._closed or owner is None
            ending = [each for each in self._by_handle.values() if owner in (None, each.owner)]
            for process in ending:
                del self._by_handle[process.handle]
        for process in ending:
            process.stop()
        if self.whereabouts is not None:
            self.whereabouts.gone([process.held for process in ending])
            if owner is None:
                self.whereabouts.close()
        until = time.monotonic() + CLOSE_S
        for process in ending:
            process.join(max(0.0, until - time.monotonic()))

    def _require_room(self, owner: Owner) -> None:
        if self._closed:
            raise LimitExceeded("No process can be started: the session ends.")
        running = [each for each in self._by_handle.values() if each.owner == owner and not each.ended.is_set()]
        if len(running) >= self._limit:
            raise LimitExceeded(
                f"{len(running)} processes run in the background, as many as the policy's limits.background allows.",
                allowed_instead="stop_process ends one of them; list_processes shows them",
            )

    def _known(self) -> list[Held]:
        with self._mutex:
            return [process.held for process in self._by_handle.values()]

    def _forget(self, owner: Owner) -> list[Held]:
        """Of those that have ended the owner's oldest that are more than are remembered, and others' of long ago."""
        over = [each for each in self._by_handle.values() if each.ended.is_set()]
        own = [each for each in over if each.owner == owner]
        before = time.monotonic() - KEPT_S
        forgotten = own[: max(0, len(own) - self._limit)]
        forgotten += [each for each in over if each.owner != owner and each.over is not None and each.over < before]
        for process in forgotten:
            del self._by_handle[process.handle]
        return [process.held for process in forgotten]
