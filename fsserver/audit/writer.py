"""One chain while it is written: one file, or several after rotation (``name.jsonl``, ``name.0002.jsonl`` …).

Only the directory's descriptor is used after `open`, so the server can confine itself to that directory afterwards.
A record is in the kernel's hands when `put` returns: it outlives the server, also one that is killed. Against a power
failure it is on the disk after `Written.wait`, and in any case when its file is finished and when the log is closed.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fsserver.audit.chain import START, Position, seal
from fsserver.audit.entry import Entry, UnfitRecordError
from fsserver.audit.heal import find_end, heal_others, next_name
from fsserver.audit.record import (
    CALL_OUTCOME,
    CALL_REFUSED,
    LOG_CHECKPOINT,
    LOG_CONTINUED,
    LOG_HEALED,
    LOG_REMOVED,
    LOG_ROTATED,
    MAX_RECORD_BYTES,
    RUN_END,
    RUN_START,
    Json,
)
from fsserver.audit.retention import Keep, find_excess, remove
from fsserver.audit.runs import Run, newest, run_name
from fsserver.audit.segment import Segment, hidden_name, open_directory
from fsserver.audit.stamp import Stamp
from fsserver.errors import AuditBroken, AuditError
from fsserver.policy.compiled import AuditSink

if TYPE_CHECKING:
    from fsserver.audit.signing import Signer

_LOG = logging.getLogger(__name__)

_ROTATED_BYTES: Final = (
    1024  # room kept for the record that ends a file: its longest file name, escaped, and its numbers
)

# What a record of these tells has happened already. All others are written to a file that has its name.
_AFTERWARDS: Final = (CALL_OUTCOME, CALL_REFUSED)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the chains of one run have in common.

    Attributes:
        max_size: bytes of a file after which the chain goes on in a new one.
        on_disk: what is promised to be on the disk outlives a power failure, so the names of files have to, too.
        keep: what is kept of ended runs, where the sink is a directory.
        signer: signs the head in every ``log.checkpoint`` and in ``run.end``.
    """

    run_id: str
    stamp: Stamp
    max_size: int
    on_disk: bool
    keep: Keep
    signer: Signer | None

    def line(self, entry: Entry, after: Position) -> tuple[bytes, Position]:
        """The record that comes after `after`, sealed. Raises UnfitRecordError if it is too long."""
        if self.signer is not None and entry.event in (LOG_CHECKPOINT, RUN_END):
            entry = self._signed(self.signer, entry, after)
        seq = after.seq + 1
        plan = entry.plan
        line, position = seal(plan.text % plan.order((*entry.texts, after.head, seq, *self.stamp.now())), seq)
        if len(line) > MAX_RECORD_BYTES:
            raise UnfitRecordError("The call is too large for an audit record, so it was refused.")
        return line, position

    def _signed(self, signer: Signer, entry: Entry, after: Position) -> Entry:
        signature = signer.sign(entry.event, after.seq, after.head)
        signed: dict[str, Json] = {
            "signed_seq": after.seq,
            "signed_head": after.head,
            "key": signer.public.id,
            "signature": signature,
        }
        return Entry(entry.event, {**entry.fields(), **signed})


class Written(NamedTuple):
    """Where a record is."""

    segment: Segment
    seq: int

    def wait(self) -> None:
        """Return when it is on the disk. From any thread, one call of the system for all that wait. Raises OSError."""
        self.segment.sync(self.seq)


class ChainLog:
    """Appends records to one chain. Used by one thread at a time.

    Attributes:
        path: the chain's first file, absolute: what `verify` is given.
        failed: how many times in a row a record was not taken; 0 while the log works.
    """

    def __init__(self, path: str, directory: int, settings: Settings) -> None:
        """For `open` only."""
        self.path = path
        self.failed = 0
        self._settings = settings
        self._directory = directory
        self._is_runs_own = False
        self._first: Segment | None = None  # open for its lock, which says that the whole chain is being written
        self._segment: Segment | None = None
        self._next: Segment | None = None  # prepared under a hidden name, until the current one is ended
        self._index = 1
        self._failure = "interrupted"
        self._cut_bytes = 0
        self._signed = 0
        self._grew = False
        self._closed = False

    @classmethod
    def open(cls, sink: AuditSink, settings: Settings, header: Mapping[str, Json]) -> ChainLog:
        """The chain of `sink`, ready, with its ``run.start`` record written.

        A directory: a new file of this run's own; torn ends that killed servers left there are healed first. A file:
        its chain is continued, healed if torn. Missing directories are made with 0700, files with 0600.

        Raises:
            ConfigError: the place is unsuitable: not ours, writable by others, a link, not a regular file.
            AuditLocked: another server writes the file.
            AuditBroken: the file's last record does not verify, or a file that the log names is not there; the log is
                left as it is.
            AuditError: the system refuses to open or write it.
        """
        path = sink.file or f"{sink.directory}/{run_name(settings.stamp.now_ns())}"
        directory = open_directory(os.path.dirname(path))
        log = cls(path, directory, settings)
        try:
            start = {"run": settings.run_id, "pid": os.getpid(), **header}
            if sink.file is None:
                log._is_runs_own = True
                heal_others(directory, log._healed_line)
                previous = newest(directory)
                log._begin_file(start if previous is None else {**start, "previous": previous})
                log._retain()
            else:
                log._continue_file(start)
            if settings.on_disk:
                os.fsync(directory)
        except OSError as error:
            log.release()
            raise AuditError(f"The audit log {path} cannot be written: {error.strerror}.") from error
        except BaseException:
            log.release()
            raise
        log._signed = log.position.seq - 1  # of the run's beginning nothing is signed yet
        return log

    @property
    def position(self) -> Position:
        """The number and the hash of the last record."""
        return self._current.position

    @property
    def unsigned(self) -> int:
        """How many records came after the last checkpoint, or since this run began."""
        return self.position.seq - self._signed

    @property
    def trouble(self) -> str:
        """Why the last record was not taken, for the operator; empty if it was."""
        return f"it cannot be written ({self._failure})" if self.failed else ""

    @property
    def queued(self) -> int:
        """How many records wait to be written: a file's never do."""
        return 0

    def put(self, entry: Entry) -> Written:
        """Write one record. When it returns, the record is in the file, whole.

        Raises AuditError if not; then nothing of it is in the file, or the rest is removed before the next record. A
        log that failed is tried again by each `put`, and says in a ``log.healed`` record that it had failed.
        A record of more than 4 MiB raises UnfitRecordError and does no harm to the log.
        """
        assert self._segment is not None
        if self.failed or self._next is not None or self._segment.attempt:
            self._recover()
        written = self._put(entry)
        if self._grew and entry.event != RUN_END:  # which nothing follows
            self._grew = False
            with suppress(AuditError):  # noted, and told by the next record; this one is in the log
                self._retain()
        return written

    def checkpoint(self) -> None:
        """Sign the head. Raises AuditError as `put` does."""
        self._signed = self.put(Entry(LOG_CHECKPOINT, {})).seq

    def lost(self, error: OSError) -> None:
        """A written record could not be put on the disk. What comes next goes into a new file; see `Commit`."""
        self._note(error)

    def end(self, fields: Mapping[str, Json]) -> None:
        """Write ``run.end``, put all on the disk, and let go of the file. Raises AuditError if that fails."""
        try:
            self.put(Entry(RUN_END, fields))
            self._current.sync()
        except OSError as error:
            raise AuditError("The end of the audit log could not be put on the disk.") from error
        finally:
            self.release()

    def release(self) -> None:
        """Let go of the files, without a last word."""
        if self._closed:
            return
        self._closed = True
        for segment in {self._first, self._segment, self._next} - {None}:
            assert segment is not None
            segment.close()
        os.close(self._directory)

    # --- Records.

    @property
    def _current(self) -> Segment:
        assert self._segment is not None
        return self._segment

    def _put(self, entry: Entry) -> Written:
        segment = self._segment
        assert segment is not None
        size, position = segment.end
        lines, after = self._lines(entry, position) if self.failed else self._settings.line(entry, position)
        try:
            full = size + len(lines) + _ROTATED_BYTES > self._settings.max_size and segment.records > 1
            if full or segment.failed:
                self._rotate()
                segment = self._current
                lines, after = self._lines(entry, segment.position)
            segment.write(lines, after, look=entry.event not in _AFTERWARDS)
        except (OSError, AuditError) as error:
            self._note_failure(error)
            raise self._refusal(error) from error
        self.failed = self._cut_bytes = 0
        return Written(segment, after.seq)

    def _lines(self, entry: Entry, after: Position) -> tuple[bytes, Position]:
        """The record, and before it, after a failure, the one that tells of it: both get into the file, or none."""
        if not self.failed:
            return self._settings.line(entry, after)
        failure: dict[str, Json] = {"error": self._failure, "failed": self.failed, "cut_bytes": self._cut_bytes}
        healed, after = self._settings.line(Entry(LOG_HEALED, {"at": "append", **failure}), after)
        line, after = self._settings.line(entry, after)
        return healed + line, after

    def _note(self, error: OSError | AuditError) -> None:
        self.failed += 1
        self._failure = errno.errorcode.get(error.errno or 0, "unknown") if isinstance(error, OSError) else error.code

    def _note_failure(self, error: OSError | AuditError) -> None:
        self._note(error)
        with suppress(OSError, AuditError):  # else `_recover` tries again before anything is added
            self._cut_bytes += self._current.take_back()

    def _refusal(self, error: OSError | AuditError) -> AuditError:
        if isinstance(error, AuditBroken):
            return AuditBroken(error.message)
        return AuditError("The audit log cannot be written, so the call was refused. It works again when the log does.")

    def _recover(self) -> None:
        """After a failure or an interrupt: remove what it left and finish a rotation that it stopped."""
        try:
            self.failed = self.failed or 1
            self._cut_bytes += self._current.take_back()
            self._settle_rotation()
        except (OSError, AuditError) as error:
            self._note_failure(error)
            raise self._refusal(error) from error

    def _retain(self) -> None:
        """Remove what is not kept, each time told before it is done. Raises AuditError if that cannot be told."""
        keep = self._settings.keep
        if not self._is_runs_own or keep == Keep(None, None):
            return
        try:
            name, now_ns = os.path.basename(self.path), self._settings.stamp.now_ns()
            for why, some in find_excess(self._directory, name, keep, now_ns):
                files = [file for run in some for file in run.files]
                self._put(Entry(LOG_REMOVED, {"files": files, "runs": len(some), "why": why}))
                for run in some:
                    self._remove(run)
        except OSError as error:
            _LOG.warning("Ended runs of the audit log cannot be removed: %s", error.strerror)

    def _remove(self, run: Run) -> None:
        """One run. Where that cannot be done, the others go all the same, and the next time tries again."""
        try:
            remove(self._directory, run)
        except FileNotFoundError:
            pass  # another server was faster
        except OSError as error:
            _LOG.warning("The run %s of the audit log cannot be removed: %s", run.files[0], error.strerror)

    # --- Files.

    def _begin_file(self, start: Mapping[str, Json]) -> None:
        """A run's own file. It gets its name when it holds its first record: no start leaves an empty log behind."""
        name = os.path.basename(self.path)
        self._first = self._segment = self._prepared(name, Entry(RUN_START, start), START)
        self._segment.rename(self._directory, name)

    def _continue_file(self, start: Mapping[str, Json]) -> None:
        name = os.path.basename(self.path)
        self._first = Segment(self._directory, name, os.O_CREAT)
        found = find_end(self._directory, self._first)
        self._segment, self._index = found.segment, found.index
        try:
            lines, after = self._settings.line(Entry(RUN_START, start), self._current.position)
            if found.repaired:
                healed, after = self._healed_line(found.repaired, after)
                lines += healed
            self._current.write(lines, after)
        except BaseException:
            self._current.leave_as_found()
            raise

    def _healed_line(self, repaired: Mapping[str, Json], after: Position) -> tuple[bytes, Position]:
        return self._settings.line(Entry(LOG_HEALED, {"at": "start", "run": self._settings.run_id, **repaired}), after)

    def _link(self, ended: Segment) -> dict[str, Json]:
        return {"previous": ended.name, "first": os.path.basename(self.path)}

    def _rotate(self) -> None:
        """End this file and go on in the next, which is made ready first: a full disk stops this before it begins."""
        ended = self._current
        index, name = next_name(self._directory, os.path.basename(self.path), self._index)
        line, after = self._settings.line(Entry(LOG_ROTATED, {"next": name}), ended.position)
        self._next = self._prepared(name, Entry(LOG_CONTINUED, self._link(ended)), after)
        ended.write(line, after)
        self._index = index
        self._settle_rotation()

    def _prepared(self, name: str, entry: Entry, after: Position) -> Segment:
        """A new file that will be `name`, under a hidden name, with its first record in it. Raises OSError."""
        hidden = hidden_name(name)
        with suppress(FileNotFoundError):  # of a server that was killed here: it holds this one record, unused
            os.unlink(hidden, dir_fd=self._directory)
        segment = Segment(self._directory, hidden, os.O_CREAT | os.O_EXCL)
        try:
            segment.begin(after)
            line, position = self._settings.line(entry, after)
            segment.write(line, position)
            if after != START:
                segment.sync()  # a file that the ended one names must not be empty after a power failure
        except BaseException:
            segment.discard(self._directory)
            raise
        return segment

    def _settle_rotation(self) -> None:
        """Name the prepared file and use it, if the current one was ended; else forget it. Raises OSError."""
        if self._next is None:
            return
        prepared, ended = self._next, self._current
        if prepared.position.seq != ended.position.seq + 1:
            self._next = None
            prepared.discard(self._directory)
            return
        prepared.rename(self._directory, prepared.name[1:].removesuffix(".new"))
        self._segment, self._next = prepared, None
        self._grew = True
        try:
            if self._settings.on_disk:
                self._put_name_on_disk()
            if not ended.failed:
                ended.sync()
        finally:
            if ended is not self._first:
                ended.close()

    def _put_name_on_disk(self) -> None:
        """A file that a power failure could take with all that is promised to be in it is not gone on with."""
        try:
            os.fsync(self._directory)
        except OSError:
            self._current.distrust()
            raise
