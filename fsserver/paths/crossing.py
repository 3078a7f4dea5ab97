"""What a move brings from one root into another: the rules on files hold there as if each had been written there."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from fsserver.paths.entry import Checkpoint
from fsserver.paths.quota import Stated, check_quota, files_below, held
from fsserver.paths.reading import too_large
from fsserver.paths.ruling import shown_path
from fsserver.paths.target import Target
from fsserver.policy.compiled import Action, Effect


def crosses(source: Target, destination: Target) -> bool:
    """Whether a move leaves the source's root for another."""
    return source.root.identity != destination.root.identity


def check_crossing(source: Target, destination: Target, *, checkpoint: Checkpoint) -> int:
    """Whether all that is moved may leave the one root and enter the other.

    Returns:
        The bytes that the files hold; 0 if there is no rule to compare them with, since then nobody looked.

    Raises:
        HardLinkDenied: a file has several names, and its root does not want such files read. Elsewhere it could be.
        FileTooLarge, QuotaExceeded: the other root takes none so large, or not so much.
    """
    rules = destination.root.rules
    wary = source.root.rules.hardlinks is not Effect.ALLOW
    if rules.quota is None and rules.max_file is None and not wary:
        return 0
    total = 0
    for name, status in _files(source, checkpoint):
        if wary:
            source.ruling.require_links(name, status, Action.READ, shown_path(source.root, name))
        if rules.max_file is not None and status.st_size > rules.max_file:
            raise too_large(destination, rules.max_file)
        total += held(status)
    check_quota(destination, total)
    return total


def _files(source: Target, checkpoint: Checkpoint) -> Iterator[Stated]:
    assert source.stat is not None
    if stat.S_ISREG(source.stat.st_mode):
        yield source.name, source.stat
    elif stat.S_ISDIR(source.stat.st_mode):
        yield from files_below(source.as_directory(), checkpoint)
