"""Where lines begin in the large files that were read last, so that a second range is found without a second scan.

Nothing is asked here before the file was resolved, decided and opened, and nothing of its contents is kept but numbers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

from fsserver.paths.reading import Identity, OpenFile
from fsserver.tools.text.codec import Codec
from fsserver.tools.text.marks import Marks

T = TypeVar("T")

MAX_FILES: Final = 32  # with at most 32 KiB of marks each

SETTLED_NS: Final = 3_000_000_000
"""A file that changed less long ago could change again without another time: FAT's are 2 s apart."""

_Key: TypeAlias = tuple[int, int, str]


class _Known(NamedTuple):
    """The marks of one version of a file. Never changed: a scan works on a copy."""

    identity: Identity
    marks: Marks


class LineIndex:
    """The marks of a server's files. Thread-safe.

    Args:
        clock: nanoseconds since 1970, as file systems have them.
        empty: makes the marks of a file that was not read before.
    """

    def __init__(
        self,
        *,
        max_files: int = MAX_FILES,
        clock: Callable[[], int] = time.time_ns,
        empty: Callable[[], Marks] = Marks,
    ) -> None:
        self._max_files = max_files
        self._clock = clock
        self._empty = empty
        self._mutex = threading.Lock()  # over the next
        self._known: OrderedDict[_Key, _Known] = OrderedDict()  # the one used last is the last

    def scan(self, file: OpenFile, codec: Codec, work: Callable[[Marks], T]) -> T:
        """What ``work`` finds in the file. It begins at the marks it is given and adds those that it passes.

        If the file was changed meanwhile, what was found with marks of before is thrown away and found again without.
        """
        identity = Identity.of(file.stat)
        key = (identity.device, identity.inode, codec.name)
        settled = self._clock() - max(identity.mtime_ns, identity.ctime_ns) > SETTLED_NS
        known = self._marks(key, identity) if settled else None
        marks = self._empty() if known is None else known.copy()
        found = work(marks)
        if file.identity_now() != identity:
            return found if known is None else work(self._empty())
        if settled and marks.reach > (0 if known is None else known.reach):
            self._keep(key, _Known(identity, marks))
        return found

    def _marks(self, key: _Key, identity: Identity) -> Marks | None:
        with self._mutex:
            known = self._known.get(key)
            if known is None:
                return None
            if known.identity != identity:
                del self._known[key]
                return None
            self._known.move_to_end(key)
            return known.marks

    def _keep(self, key: _Key, known: _Known) -> None:
        with self._mutex:
            there = self._known.get(key)
            if there is not None and there.identity == known.identity and there.marks.reach >= known.marks.reach:
                return  # another call went further meanwhile
            self._known[key] = known
            self._known.move_to_end(key)
            if len(self._known) > self._max_files:
                self._known.popitem(last=False)
