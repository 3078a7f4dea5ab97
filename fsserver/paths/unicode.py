"""Names that differ only in Unicode form: a client says "é" as one code point, the disk has it as two.

Only looked for when the exact name is absent and the name asked for is not plain ASCII. The result is another name to
resolve; it is resolved and decided like any other.
"""

from __future__ import annotations

import os
import unicodedata

from fsserver.errors import BadPath
from fsserver.kernel import constants as c
from fsserver.paths.names import display
from fsserver.paths.resolver import EscapeError, Resolver
from fsserver.paths.root import Root

# The most entries that are searched for other forms of the names in one path.
MAX_ENTRIES = 200_000


def equivalent(root: Root, resolver: Resolver, parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """``parts`` with each absent name replaced by its only equivalent; None if that changes nothing.

    Names from the first one on that has no equivalent stay as they are.

    Raises:
        BadPath: a name has several equivalents.
        OSError, UnstablePath: as `Resolver.open`.
    """
    found: list[str] = []
    budget = [MAX_ENTRIES]
    for index, part in enumerate(parts):
        if not part.isascii() and not _exists(root, resolver, "/".join((*found, part))):
            only = _only_equivalent(root, resolver, "/".join(found), part, budget)
            if only is None:
                found.extend(parts[index:])
                break
            part = only  # noqa: PLW2901 - the name as it is on disk takes its place
        found.append(part)
    return tuple(found) if tuple(found) != parts else None


def _exists(root: Root, resolver: Resolver, name: str) -> bool:
    try:
        os.close(resolver.open(root, name, follow=False))
    except (FileNotFoundError, EscapeError):
        return False
    return True


def _only_equivalent(root: Root, resolver: Resolver, directory: str, part: str, budget: list[int]) -> str | None:
    try:
        handle = resolver.open(root, directory)
    except (FileNotFoundError, EscapeError):
        return None
    try:
        listing = os.open(".", os.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC, dir_fd=handle)
    finally:
        os.close(handle)
    wanted = unicodedata.normalize("NFC", part)
    equivalents: list[str] = []
    try:
        with os.scandir(listing) as entries:
            for entry in entries:
                budget[0] -= 1
                if budget[0] < 0:
                    return None
                if unicodedata.normalize("NFC", entry.name) == wanted:
                    equivalents.append(entry.name)
    finally:
        os.close(listing)
    if len(equivalents) > 1:
        raise BadPath(f"Ambiguous Unicode path component: {display(part)}")
    return equivalents[0] if equivalents else None
