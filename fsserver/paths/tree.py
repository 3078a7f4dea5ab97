"""Verbs on whole trees that change nothing: walk one, and count what is protected in it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

from fsserver.errors import FsserverError, ProtectedName
from fsserver.paths.descent import Descent
from fsserver.paths.entry import Checkpoint, Entry, go_on
from fsserver.paths.names import display, join
from fsserver.paths.outcomes import outcome
from fsserver.paths.ruling import FREE
from fsserver.paths.target import Target
from fsserver.policy.compiled import Action, Origin


def walk(
    target: Target,
    *,
    max_depth: int | None = None,
    checkpoint: Checkpoint = go_on,
    enter: Callable[[Entry], bool] | None = None,
    unreadable: Callable[[Entry, FsserverError], None] | None = None,
    into_protected: bool = False,
) -> Iterator[Entry]:
    """Everything below the target: each directory before what is in it, names in a directory sorted by bytes.

    Links are entries and never followed. Denied directories are entries and not entered. What disappears meanwhile is
    left out. An entry can be asked for its `Entry.stat` until the next one is taken at no extra cost.

    Args:
        max_depth: 1 is the target's own entries; None is no bound.
        checkpoint: called every few entries; raises to end the walk.
        enter: whether to go into a directory; None is always.
        unreadable: called for a directory that cannot be listed; None raises the error.
        into_protected: for the protection rules' own counting.

    Raises:
        NotADirectory, PermissionDenied, InputOutputError: the target, or with no ``unreadable`` a directory below.
    """
    with Descent(target.as_directory(), checkpoint) as descent:
        try:
            descent.begin()
        except OSError as error:
            raise outcome(error, "scandir", target.shown) from None
        while descent.frames:
            for entry in descent.frames[-1].entries:
                yield entry
                if entry.kind != "directory" or (max_depth is not None and entry.depth >= max_depth):
                    continue
                if (entry.protected and not into_protected) or (enter is not None and not enter(entry)):
                    continue
                try:
                    if descent.enter(entry):
                        break
                except OSError as error:
                    failure = outcome(error, "scandir", entry.shown)
                    if unreadable is None:
                        raise failure from None
                    unreadable(entry, failure)
            else:
                descent.leave()


def check_tree(source: Target, destination: Target | None = None, *, checkpoint: Checkpoint = go_on) -> None:
    """Whether the tree at ``source`` may be moved to ``destination``, or deleted where that is None.

    Deleted only if no protected name is below; moved only if each name below is protected exactly as much afterwards
    as before: nothing loses protection, and nothing becomes protected, which would be making a protected name.

    Raises:
        ProtectedName: with the count; nothing has happened.
        Denied: a move to another root that the one does not let go, or the other does not take. Where one of them asks
            for consent to that, its target asks afterwards.
        PermissionDenied, InputOutputError: a directory cannot be listed, so nobody can tell.
    """
    if destination is not None and destination.root is not source.root:
        source.require(Action.DELETE)
        destination.require(Action.CREATE)
    assert source.stat is not None
    may_protect = source.ruling.may_protect or (destination is not None and destination.ruling.may_protect)
    if not may_protect or not stat.S_ISDIR(source.stat.st_mode):
        return
    count, rule = protection_changes(source, destination, checkpoint)
    if count:
        names = "name" if count == 1 else "names"
        what = "be deleted" if destination is None else "keep exactly the protection they have"
        verb = "must not" if destination is None else "would not"
        raise ProtectedName(
            f"Access denied - {count} protected {names} below {display(source.shown)} {verb} {what}",
            rule=None if rule is None else str(rule),
            allowed_instead="handle the unprotected names below one by one",
        )


def protection_changes(
    source: Target, destination: Target | None, checkpoint: Checkpoint = go_on
) -> tuple[int, Origin | None]:
    """How many names below ``source`` are protected otherwise below ``destination``, or at all where that is None; and
    the rule of one of them.

    Raises:
        PermissionDenied, InputOutputError, UnstablePath.
    """
    count = 0
    rule: Origin | None = None
    for entry in walk(source, checkpoint=checkpoint, into_protected=True):
        before, deciding = source.ruling.protection(entry.path)
        after = FREE
        if destination is not None:
            below = entry.path[len(source.name) + 1 :]
            after, gained = destination.ruling.protection(join(destination.name, below))
            deciding = deciding or gained
        if before != after:
            count += 1
            rule = rule or deciding
    return count, rule
