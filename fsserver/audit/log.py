"""The audit log of a running server: records go in at one end and never change.

One `AuditLog` writes one chain, which is one file, or several after rotation (``name.jsonl``, ``name.0002.jsonl`` …).
Only the directory's descriptor is used after `open`, so the server can confine itself to that directory afterwards.
A record is in the kernel's hands when `append` returns: it outlives the server, also one that is killed; against a
power failure the log is put on the disk when a file is finished and when the log is closed.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from fsserver.audit.chain import START, Position, seal
from fsserver.audit.heal import find_end, heal_others, next_name
from fsserver.audit.record import (
    LOG_CONTINUED,
    LOG_HEALED,
    LOG_ROTATED,
    MAX_RECORD_BYTES,
    RESERVED,
    RUN_END,
    RUN_START,
    VERSION,
    Json,
    check_plain,
)
from fsserver.audit.segment import Segment, hidden_name, open_directory
from fsserver.errors import AuditBroken, AuditError
from fsserver.policy.compiled import AuditRules

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: `_utc` writes the zone, and an exact sum is UTC
_ROTATED_BYTES = 1024  # room kept for the record that ends a file: its longest file name, escaped, and its numbers


class AuditLog:
    """Appends records to one chain. Thread-safe.

    Attributes:
        path: the chain's first file, absolute: what `verify` is given.
    """

    def __init__(self, path: str, directory: int, max_size: int, run_id: str, clock_ns: Callable[[], int]) -> None:
        """For `open` only."""
        self.path = path
        self._run_id = run_id
        self._directory = directory
        self._max_size = max_size
        self._clock_ns = clock_ns
        self._started_ns = time.monotonic_ns()
        self._mutex = threading.Lock()
        self._first: Segment | None = None  # open for its lock, which says that the whole chain is being written
        self._segment: Segment | None = None
        self._next: Segment | None = None  # prepared under a hidden name, until the current one is ended
        self._index = 1
        self._failed = 0
        self._failure = "interrupted"
        self._cut_bytes = 0
        self._closed = False

    @classmethod
    def open(
        cls,
        rules: AuditRules,
        *,
        run_id: str,
        header: Mapping[str, Json],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> AuditLog:
        """The log that `rules` name, ready, with its ``run.start`` record written.

        ``directory``: a new file of this run's own; torn ends that killed servers left there are healed first.
        ``file``: its chain is continued, healed if torn. Missing directories are made with 0700, files with 0600.

        Raises:
            ConfigError: the place is unsuitable: not ours, writable by others, a link, not a regular file.
            AuditLocked: another server writes the file.
            AuditBroken: the file's last record does not verify, or a file that the log names is not there; the log is
                left as it is.
            AuditError: the system refuses to open or write it.
        """
        path = rules.file or f"{rules.directory}/{_run_name(clock_ns())}"
        directory = open_directory(os.path.dirname(path))
        log = cls(path, directory, rules.max_size, run_id, clock_ns)
        try:
            start = {"run": run_id, "pid": os.getpid(), **header}
            if rules.file is None:
                heal_others(directory, log._healed_line)
                log._begin_file(start)
            else:
                log._continue_file(start)
        except OSError as error:
            log._release()
            raise AuditError(f"The audit log {path} cannot be written: {error.strerror}.") from error
        except BaseException:
            log._release()
            raise
        return log

    @property
    def head(self) -> str:
        """The hash of the last record. Kept elsewhere, it proves later that nothing up to it was cut or rewritten."""
        return self._current.position.head

    def append(self, event: str, fields: Mapping[str, Json]) -> int:
        """Write one record; its number. When it returns, the record is in the file, whole.

        Raises AuditError if not; then nothing of it is in the file, or the rest is removed before the next record. A
        log that failed is tried again by each `append`, and says in a ``log.healed`` record that it had failed.
        Fields that cannot be a record (floats, more than 4 MiB) raise AuditError too and do no harm to the log.
        """
        with self._mutex:
            if self._closed:
                raise AuditError("The audit log is closed, so the call was refused.")
            self._recover()
            return self._put(event, fields)

    def close(self) -> None:
        """Write ``run.end``, put all on the disk, and let go of the file. Raises AuditError if that record fails."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            try:
                self._recover()
                self._put(RUN_END, {})
                self._current.sync()
            except OSError as error:
                raise AuditError("The end of the audit log could not be put on the disk.") from error
            finally:
                self._release()

    # --- Everything below is called with the mutex held, or before the log is anybody else's.

    @property
    def _current(self) -> Segment:
        assert self._segment is not None
        return self._segment

    def _line(self, event: str, fields: Mapping[str, Json], after: Position) -> tuple[bytes, Position]:
        """The record that comes after `after`, sealed. Raises AuditError if `fields` do not make one."""
        if not RESERVED.isdisjoint(fields):
            raise AuditError("The audit record has a field with a reserved name, so the call was refused.")
        record = dict(fields)
        try:
            check_plain(record)
        except ValueError as error:
            raise AuditError("The audit record cannot be written, so the call was refused.") from error
        record["v"] = VERSION
        record["seq"] = after.seq + 1
        record["prev"] = after.head
        record["event"] = event
        record["time"] = _utc(self._clock_ns())
        record["up_us"] = (time.monotonic_ns() - self._started_ns) // 1000
        line, position = seal(record)
        if len(line) > MAX_RECORD_BYTES:
            raise AuditError("The call is too large for an audit record, so it was refused.")
        return line, position

    def _put(self, event: str, fields: Mapping[str, Json]) -> int:
        segment = self._current
        lines, after = self._lines(event, fields, segment.position)
        try:
            if segment.size + len(lines) + _ROTATED_BYTES > self._max_size and segment.records > 1:
                self._rotate()
                segment = self._current
                lines, after = self._lines(event, fields, segment.position)
            segment.write(lines, after)
        except (OSError, AuditError) as error:
            self._note_failure(error)
            raise self._refusal(error) from error
        self._failed = self._cut_bytes = 0
        return after.seq

    def _lines(self, event: str, fields: Mapping[str, Json], after: Position) -> tuple[bytes, Position]:
        """The record, and after a failure the one that tells of it before: both get into the file, or none."""
        if not self._failed:
            return self._line(event, fields, after)
        failure: dict[str, Json] = {"error": self._failure, "failed": self._failed, "cut_bytes": self._cut_bytes}
        healed, after = self._line(LOG_HEALED, {"at": "append", **failure}, after)
        line, after = self._line(event, fields, after)
        return healed + line, after

    def _note_failure(self, error: OSError | AuditError) -> None:
        self._failed += 1
        self._failure = errno.errorcode.get(error.errno or 0, "unknown") if isinstance(error, OSError) else error.code
        with suppress(OSError, AuditError):  # else `_recover` tries again before anything is added
            self._cut_bytes += self._current.take_back()

    def _refusal(self, error: OSError | AuditError) -> AuditError:
        if isinstance(error, AuditBroken):
            return AuditBroken(error.message)
        return AuditError("The audit log cannot be written, so the call was refused. It works again when the log does.")

    def _recover(self) -> None:
        """After a failure or an interrupt: remove what it left and finish a rotation that it stopped."""
        if not self._failed and not self._current.dirty and self._next is None:
            return
        try:
            self._failed = self._failed or 1
            self._cut_bytes += self._current.take_back()
            self._settle_rotation()
        except (OSError, AuditError) as error:
            self._note_failure(error)
            raise self._refusal(error) from error

    # --- Files.

    def _begin_file(self, start: Mapping[str, Json]) -> None:
        """A run's own file. It gets its name when it holds its first record: no start leaves an empty log behind."""
        name = os.path.basename(self.path)
        self._first = self._segment = self._prepared(name, RUN_START, start, START)
        self._segment.rename(self._directory, name)

    def _continue_file(self, start: Mapping[str, Json]) -> None:
        name = os.path.basename(self.path)
        self._first = Segment(self._directory, name, os.O_CREAT)
        found = find_end(self._directory, self._first)
        self._segment, self._index = found.segment, found.index
        line, after = self._line(RUN_START, start, self._current.position)
        self._write_or_take_back(line, after)
        if found.repaired:
            line, after = self._healed_line(found.repaired, after)
            self._write_or_take_back(line, after)

    def _write_or_take_back(self, line: bytes, after: Position) -> None:
        try:
            self._current.write(line, after)
        except OSError:
            self._current.take_back()
            raise

    def _healed_line(self, repaired: Mapping[str, Json], after: Position) -> tuple[bytes, Position]:
        return self._line(LOG_HEALED, {"at": "start", "run": self._run_id, **repaired}, after)

    def _link(self, ended: Segment) -> dict[str, Json]:
        return {"previous": ended.name, "first": os.path.basename(self.path)}

    def _rotate(self) -> None:
        """End this file and go on in the next, which is made ready first: a full disk stops this before it begins."""
        ended = self._current
        index, name = next_name(self._directory, os.path.basename(self.path), self._index)
        line, after = self._line(LOG_ROTATED, {"next": name}, ended.position)
        self._next = self._prepared(name, LOG_CONTINUED, self._link(ended), after)
        ended.write(line, after)
        self._index = index
        self._settle_rotation()

    def _prepared(self, name: str, event: str, fields: Mapping[str, Json], after: Position) -> Segment:
        """A new file that will be `name`, under a hidden name, with its first record in it. Raises OSError."""
        hidden = hidden_name(name)
        with suppress(FileNotFoundError):  # of a server that was killed here: it holds this one record, unused
            os.unlink(hidden, dir_fd=self._directory)
        segment = Segment(self._directory, hidden, os.O_CREAT | os.O_EXCL)
        try:
            segment.begin(after)
            line, position = self._line(event, fields, after)
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
        if ended is not self._first:
            ended.close()

    def _release(self) -> None:
        for segment in {self._first, self._segment, self._next} - {None}:
            assert segment is not None
            segment.close()
        os.close(self._directory)
        self._closed = True


def _utc(now_ns: int) -> str:
    """RFC 3339, UTC, microseconds."""
    return (_EPOCH + timedelta(microseconds=now_ns // 1000)).isoformat(timespec="microseconds") + "Z"


def _run_name(now_ns: int) -> str:
    """A file name that sorts by start, is readable, and that nobody else can have."""
    stamp = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
