"""Which files a command changed: the roots that it may write are looked at before it starts and after it ended.

What differs is what changed *while* the command ran, whoever changed it: another call, or a program outside, too. Names
that rules deny are not looked at, as the command cannot see them; no link is followed. What a file held before is not
known but for its size, since that would mean to read all of every root for each command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, NamedTuple, TypeAlias

from fsserver.errors import Cancelled, FsserverError, NotFound, TimeLimit
from fsserver.paths.changes import Change, Changes, Content, Happened
from fsserver.paths.entry import Entry, Kind
from fsserver.paths.names import display, split
from fsserver.paths.reading import open_file
from fsserver.paths.root import Root
from fsserver.paths.tree import walk
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Mode, Policy
from fsserver.tools.call import Call
from fsserver.tools.commands.choice import Chosen

MAX_ENTRIES: Final = 20_000  # names in a root; of one that holds more, nothing is listed

MAX_CHARACTERS: Final = 16 * 1024**2
"""In the paths of all of them: a name in a thousand directories, each in the one before, has a path of 256,000."""

IN_BACKGROUND: Final = "what a process in the background changes is not looked at"


class Seen(NamedTuple):
    """One name as it was: which object, and which version of it."""

    kind: Kind
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def same_object(self, other: Seen) -> bool:
        return self[:3] == other[:3]

    def moved_from(self, other: Seen) -> bool:
        """Whether it is that object and was not written to. An inode's number alone says little: it is given to a new
        file as soon as the old one is gone.
        """
        sizes = self.kind == "directory" or self.size == other.size  # a directory's size is its file system's matter
        return self.same_object(other) and sizes and self.mtime_ns == other.mtime_ns


Names: TypeAlias = dict[str, Seen]
"""Everything in a root, by its name beneath it: directories before what is in them."""


def not_watched(call: Call[Any], policy: Policy) -> None:
    """Say in the record that nobody looks, where the policy wants to know what changes."""
    if policy.audit.changes:
        call.changes.watched = True
        call.changes.incomplete(IN_BACKGROUND)


def watching(call: Call[Any], policy: Policy, stages: Sequence[Chosen]) -> AbstractContextManager[None]:
    """Notes what changes in the roots that the stages may write, if the policy says so; also if the command fails.

    Entering it raises:
        Cancelled, TimeLimit: while it looks before the command.
    """
    return _watching(call, stages) if policy.audit.changes else nullcontext()


@contextmanager
def _watching(call: Call[Any], stages: Sequence[Chosen]) -> Iterator[None]:
    call.changes.watched = True
    writable = {name for stage in stages for name, mode in stage.command.roots.items() if mode is Mode.RW}
    roots = [root for root in call.workspace.roots if root.rules.name in writable]
    before = [(root, _look(call, root, call.control.checkpoint)) for root in roots]
    try:
        yield
    finally:
        # Not to be cancelled any more: the command has run, and the record says what it did. All of it is bounded.
        for root, names in before:
            after = None if names is None else _look(call, root, lambda: _give_way(call))
            if names is not None and after is not None:
                _Comparison(call, root, names, after).note()


def _give_way(call: Call[Any]) -> None:
    """To brief calls, as `Control.checkpoint` does, which raises too."""
    if call.control.turn is not None:
        call.control.turn.give_way(time.monotonic())


def _look(call: Call[Any], root: Root, checkpoint: Callable[[], None]) -> Names | None:
    """All names in the root; None, and a note, if they are too many or cannot be listed."""
    changes, names, left = call.changes, Names(), MAX_CHARACTERS

    def unreadable(entry: Entry, failure: FsserverError) -> None:  # noqa: ARG001 - a callback's form
        changes.incomplete(f"a directory in the root {root.rules.name} could not be listed")

    try:
        with call.workspace.target(ClientPath(display(root.shown)), Access.LIST) as top:
            for number, entry in enumerate(walk(top, checkpoint=checkpoint, unreadable=unreadable)):
                if number == MAX_ENTRIES:
                    changes.incomplete(f"the root {root.rules.name} holds more than {MAX_ENTRIES} names: not looked at")
                    return None
                left -= len(entry.path)
                if left < 0:
                    changes.incomplete(f"the paths in the root {root.rules.name} are too long: not looked at")
                    return None
                if entry.protected:
                    continue
                try:
                    found = entry.recorded()
                except NotFound:
                    continue
                names[entry.path] = Seen(
                    entry.kind, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
                )
    except (Cancelled, TimeLimit):
        raise
    except FsserverError:
        changes.incomplete(f"the root {root.rules.name} could not be looked at")
        return None
    return names


class _Comparison:
    """Two looks at one root."""

    def __init__(self, call: Call[Any], root: Root, before: Names, after: Names) -> None:
        self._call = call
        self._root = root
        self._changes: Changes = call.changes
        self._before = before
        self._after = after
        self._moved = self._moves()

    def note(self) -> None:
        """Everything that differs: first what is there now, then what is gone."""
        for name, now in self._after.items():
            old, was = self._before.get(name), self._moved.get(name)
            if was is not None:
                if not self._comes_with_its_directory(name, was):
                    self._note_moved(name, now, was)
            elif old is None:
                self._note(name, "created", now, None)
            elif old.kind != now.kind:
                self._note(name, "deleted", old, old)
                self._note(name, "created", now, None)
            elif now.kind != "directory" and now != old:  # what is in a directory has names of its own
                self._note(name, "changed", now, old)
        gone = set(self._moved.values())
        for name, old in self._before.items():
            if name not in self._after and name not in gone:
                self._note(name, "deleted", old, old)

    def _moves(self) -> Mapping[str, str]:
        """New names of objects whose old name is gone: new → old."""
        gone: dict[tuple[int, int], list[str]] = {}
        for name, old in self._before.items():
            if name not in self._after:
                gone.setdefault((old.device, old.inode), []).append(name)
        moved: dict[str, str] = {}
        if not gone:
            return moved
        for name, now in self._after.items():
            names = gone.get((now.device, now.inode))
            if name not in self._before and names and now.moved_from(self._before[names[-1]]):
                moved[name] = names.pop()
        return moved

    def _comes_with_its_directory(self, name: str, was: str) -> bool:
        """Whether it has another path only because a directory above was moved."""
        (directory, leaf), (old_directory, old_leaf) = split(name), split(was)
        return leaf == old_leaf and self._moved.get(directory) == old_directory

    def _note(self, name: str, happened: Happened, seen: Seen, old: Seen | None) -> None:
        is_file = seen.kind == "file"
        before = Content(old.size, None) if is_file and old is not None else None
        after = self._content(name, seen) if is_file and happened != "deleted" else None
        self._changes.note(Change(self._root.rules.name, name, happened, seen.kind, before, after))

    def _note_moved(self, name: str, now: Seen, was: str) -> None:
        before = after = None
        if now.kind == "file":
            before, after = Content(self._before[was].size, None), self._content(name, now)
        root = self._root.rules.name
        self._changes.note(Change(root, name, "moved", now.kind, before, after, (root, was)))

    def _content(self, name: str, seen: Seen) -> Content:
        """What the file holds; size only where it is too large, may not be read, or is another one by now."""
        unread = Content(seen.size, None)
        if self._changes.full:
            return unread
        # Shown and read back, the name is the file's own, byte by byte: an escape in it is not taken for one.
        path = ClientPath(display(f"{self._root.shown}/{name}"))
        try:
            with self._call.workspace.target(path, Access.READ) as target, open_file(target) as file:
                status = file.stat
                if (status.st_dev, status.st_ino, status.st_ctime_ns) != (seen.device, seen.inode, seen.ctime_ns):
                    return unread
                return self._changes.read(file.descriptor, status.st_size)
        except FsserverError:
            return unread
