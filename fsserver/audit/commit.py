"""When what was written to one file is on the disk: one fdatasync(2) for everybody who waits.

*Why a failure is for good.* Linux reports a failed writeback once and may then take the pages for clean, so a second
fdatasync can answer 0 for data that never reached the disk (fsync(2), "NOTES"; errseq in the kernel). So nothing is
tried again here: a file whose sync failed never promises anything any more, and the log goes on in a new one.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable


class Commit:
    """Of one open file. Thread-safe.

    Attributes:
        failed: a sync failed, or the file's name may not be on the disk: what it holds may not outlive a power failure.
    """

    def __init__(self, descriptor: int, written: Callable[[], int]) -> None:
        """``written``: the number of the last record that write(2) took whole."""
        self._descriptor = descriptor
        self._written = written
        self._changed = threading.Condition()
        self._on_disk = 0
        self._busy = False
        self._closed = False
        self.failed = False

    def wait(self, seq: int) -> None:
        """Return when record `seq`, already written, is on the disk.

        One of those who wait calls fdatasync for all that was written before; the others wait for it. Raises OSError.
        """
        while self._is_mine(seq):
            covered = self._written()  # what is written from here on may be too late for this sync
            done = False
            try:
                os.fdatasync(self._descriptor)
                done = True
            finally:
                self._end(covered if done else None)

    def _is_mine(self, seq: int) -> bool:
        """Whether the caller has to sync: then nobody else does, until `_end`. False: the record is on the disk."""
        with self._changed:
            while self._busy:
                self._changed.wait()
            if self._on_disk >= seq:
                return False
            if self.failed or self._closed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._busy = True
            return True

    def _end(self, covered: int | None) -> None:
        with self._changed:
            self._busy = False
            if covered is None:
                self.failed = True
            else:
                self._on_disk = max(self._on_disk, covered)
            self._changed.notify_all()

    def close(self) -> None:
        """The descriptor is about to be closed: wait until nobody syncs it, and let nobody begin."""
        with self._changed:
            while self._busy:
                self._changed.wait()
            self._closed = True
