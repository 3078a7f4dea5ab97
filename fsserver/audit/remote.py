"""One chain that does not go into a file: sealed here, and carried by a thread to another machine, or to a stream.

A record is *taken* when the carrier handed it over; what that means is the carrier's to say. Whoever has to know waits
for it outside all locks, so a place that hangs refuses all who wait at the same time, once each `PATIENCE_S`. From then
on it is *down*: calls that need it are refused at once, until the thread, which tries each `RETRY_S`, has handed over
all that is in the queue. Sealed records are not given up for a lost connection: they stay in the queue, in order, so
what arrives is one chain, of which some records in a row may be there twice. What does not get into the queue is not in
the chain, and ``log.healed`` counts it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from fsserver.audit.carrier import PATIENCE_S, Carrier, NotTaken, Sent
from fsserver.audit.chain import START, Position
from fsserver.audit.entry import Entry
from fsserver.audit.record import LOG_CHECKPOINT, LOG_HEALED, RUN_END, RUN_START, Json
from fsserver.audit.stream import reason, words
from fsserver.audit.writer import Settings
from fsserver.errors import AuditError

_LOG = logging.getLogger(__name__)

RETRY_S: Final = 1.0

MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 16 * 1024**2
"""What the queue holds for a place that is slow or away, and one record more."""

BATCH_RECORDS: Final = 512
BATCH_BYTES: Final = 1024**2

_REFUSED: Final = (
    "A required place of the audit log takes no records, so the call was refused. It works again when the place does."
)
_FULL: Final = "its queue is full."


class RemoteChain:
    """Appends records to one chain. `put`, `checkpoint` and `end` are used by one thread at a time.

    Attributes:
        place: what the operator calls it.
        lost: how many records of the chain the place answered that it will never take.
    """

    def __init__(
        self, place: str, carrier: Carrier, settings: Settings, header: Mapping[str, Json], *, required: bool
    ) -> None:
        """With ``run.start`` in the queue. The thread begins with the next record, when the server is confined."""
        self.place = place
        self.lost = 0
        self._carrier = carrier
        self._settings = settings
        self._required = required
        self._changed = threading.Condition()  # guards all below
        self._queue: deque[Sent] = deque()
        self._bytes = 0
        self._position = START
        self._signed = 0
        self._down: str | None = None  # why nothing is taken now
        self._failed = 0  # since the last record of the chain
        self._error = "unknown"
        self._doubtful: int | None = None
        self._over = False
        self._thread: threading.Thread | None = None
        self._told = False  # the operator knows that it takes nothing
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._add(Entry(RUN_START, {"run": settings.run_id, "pid": os.getpid(), **header}))

    @property
    def position(self) -> Position:
        """The number and the hash of the last record."""
        return self._position

    @property
    def unsigned(self) -> int:
        """How many records came after the last checkpoint, or since this run began."""
        return self._position.seq - self._signed

    @property
    def failed(self) -> bool:
        """Whether it takes nothing at the moment, as far as is known."""
        return self._down is not None

    @property
    def trouble(self) -> str:
        """Why it takes nothing, for the operator; empty if it does."""
        return self._down or ""

    @property
    def queued(self) -> int:
        """How many records are not handed over."""
        return len(self._queue)

    @property
    def lag_s(self) -> float:
        """For how long the oldest record waits that is not handed over; 0.0 if there is none."""
        with self._changed:
            return time.monotonic() - self._queue[0].at if self._queue else 0.0

    def put(self, entry: Entry) -> Sent:
        """Seal one record and queue it.

        Raises AuditError, and the record is not in the chain: the queue is full, the place is required and down, or the
        record is too long (UnfitRecordError).
        """
        with self._changed:
            self._begin()
            full = len(self._queue) >= MAX_RECORDS or self._bytes >= MAX_BYTES
            if full or (self._required and self._down is not None):
                self._failed += 1
                raise AuditError(_REFUSED if self._required else _FULL)
            if self._failed or self._doubtful is not None:
                self._add_healed()
            return self._add(entry)

    def wait(self, sent: Sent) -> None:
        """Return when it is taken. Raises AuditError if the place is down, or is now because this took too long."""
        with self._changed:
            left_s = sent.at + PATIENCE_S - time.monotonic()
            known = self._changed.wait_for(lambda: sent.taken is not None or self._down is not None, left_s)
            if sent.taken:
                return
            if not known:
                self._fall("timeout", "it does not take records in time")
            raise AuditError(_REFUSED)

    def checkpoint(self) -> None:
        """Sign the head. Raises AuditError as `put` does."""
        self._signed = self.put(Entry(LOG_CHECKPOINT, {})).seq

    def end(self, fields: Mapping[str, Json]) -> None:
        """Write ``run.end``, wait until all is handed over, stop. Raises AuditError if that fails.

        A log to which nothing was appended since the start was never there.
        """
        try:
            if self._thread is not None:
                self.wait(self.put(Entry(RUN_END, fields)))
        finally:
            self.release()

    def release(self) -> None:
        """Stop, without a last word."""
        with self._changed:
            if self._over:
                return
            self._over = True
            self._changed.notify_all()
            self._wake()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                return  # it looks up a name, or waits for the place; it is a daemon, and the process ends
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # --- With the lock held.

    def _begin(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="audit sink", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._failed += 1
            raise AuditError(
                "No thread can be started for a place of the audit log, so the call was refused."
            ) from error
        self._thread = thread

    def _add(self, entry: Entry) -> Sent:
        line, self._position = self._settings.line(entry, self._position)
        sent = Sent(self._position.seq, line, self.wait)
        if not self._queue:
            self._wake()
        self._queue.append(sent)
        self._bytes += len(line)
        return sent

    def _add_healed(self) -> None:
        fields: dict[str, Json] = {"at": "sink", "error": self._error}
        if self._failed:
            fields["failed"] = self._failed
        if self._doubtful is not None:
            fields["doubtful_seq"] = self._doubtful
        self._add(Entry(LOG_HEALED, fields))
        self._failed, self._doubtful = 0, None

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full of calls to wake up
            os.write(self._wake_writer, b".")

    def _fall(self, error: str, why: str) -> None:
        self._error, self._down = error, why
        if not self._told:
            _LOG.warning("The audit log %s cannot be reached: %s.", self.place, why)
        self._told = True
        self._changed.notify_all()

    def _doubt(self, seq: int) -> None:
        self._doubtful = seq if self._doubtful is None else min(seq, self._doubtful)

    def _settle(self, batch: Sequence[Sent], *, taken: bool) -> None:
        for sent in batch:
            assert self._queue[0] is sent
            self._queue.popleft()
            self._bytes -= len(sent.line)
            sent.taken = taken
        self.lost += 0 if taken else len(batch)
        if taken and not (self._required and self._queue):
            self._down = None
        if taken and self._told:
            _LOG.warning("The audit log %s is reached again.", self.place)
            self._told = False
        self._changed.notify_all()

    def _batch(self) -> list[Sent]:
        """The oldest records, at least one unless there is none."""
        batch: list[Sent] = []
        size = 0
        for sent in self._queue:
            size += len(sent.line)
            if batch and (len(batch) == BATCH_RECORDS or size > BATCH_BYTES):
                break
            batch.append(sent)
        return batch

    # --- The thread.

    def _run(self) -> None:
        while not self._over:
            began, connected = time.monotonic(), False
            try:
                again = self._carrier.connect()
                connected = True
                if again is not None:
                    with self._changed:
                        self._doubt(again)
                while self._carry():
                    pass
                self._carrier.finish()
            except OSError as error:
                lasted = connected and time.monotonic() - began > RETRY_S and not isinstance(error, NotTaken)
                self._lose(error, at_once=lasted)
            finally:
                self._carrier.close()

    def _carry(self) -> bool:
        """Hand over some records, or wait for some. False: it is over, and there are none. Raises OSError."""
        with self._changed:
            batch = self._batch()
            if not batch:
                self._down = None
                if self._over:
                    return False
        if batch:
            self._send(batch)
        else:
            self._carrier.watch(self._wake_reader, RETRY_S)
            with suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        return True

    def _send(self, batch: Sequence[Sent]) -> None:
        """Where the place does not take some of them, each is sent by itself: the others are not lost with it."""
        try:
            self._carrier.send(batch)
        except NotTaken:
            with self._changed:
                self._doubt(batch[0].seq)
                if len(batch) == 1:
                    self._settle(batch, taken=False)
                    raise
            for each in batch:
                self._send([each])
            return
        except OSError:
            with self._changed:
                self._doubt(batch[0].seq)
            raise
        with self._changed:
            self._settle(batch, taken=True)

    def _lose(self, error: OSError, *, at_once: bool) -> None:
        """The place went away. With ``at_once`` it is tried again now, and who waits may go on waiting."""
        with self._changed:
            self._error = reason(error)
            if not at_once and (self._queue or not self._over):
                self._fall(reason(error), words(error))
                self._changed.wait_for(lambda: self._over, RETRY_S)
