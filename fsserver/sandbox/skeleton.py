"""The root directory of a profile's cells, made once on the disk: places to mount on, links and small files.

Each cell mounts it read-only, so a cell has no directory to fill. Standard library only; for the launcher.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from fsserver.sandbox.cell_profile import OWN, Bind, CellProfile
from fsserver.sandbox.host import DEVICE_LINKS

MASKED_FILE: Final = "/run/masks/file"
MASKED_DIRECTORY: Final = "/run/masks/directory"


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One that was made.

    Attributes:
        bind: the directory, as a cell's root.
        inner: targets of the profile's binds that are beneath other places to mount on, so that there is nothing for
            them here.
    """

    bind: Bind
    inner: frozenset[str]


def make(profile: CellProfile, directory: str) -> Skeleton:
    """Fill ``directory``, which is empty and has no links in its path. Raises ``OSError``."""
    mask = os.umask(0o022)  # the command may be another user than this process
    try:
        return _make(profile, directory)
    finally:
        os.umask(mask)


def _make(profile: CellProfile, directory: str) -> Skeleton:
    os.chmod(directory, 0o755)  # noqa: S103 - it lies in one that is closed
    files = {bind.target for bind in profile.binds if not os.path.isdir(bind.source) and os.path.lexists(bind.source)}
    targets = {*OWN, *(bind.target for bind in profile.binds)}
    inner = {target for target in targets if any(target.startswith(f"{other}/") for other in targets)}
    for target in sorted(targets - inner):
        _point(directory + target, directory=target not in files)
    for link, content in (*profile.links, *DEVICE_LINKS):
        os.makedirs(os.path.dirname(directory + link), 0o755, exist_ok=True)
        os.symlink(content, directory + link)
    for path, content in profile.files:
        write(directory + path, content)
    # Not /dev/null: that would read as an empty file, and a program would take it for one.
    write(directory + MASKED_FILE, "")
    _point(directory + MASKED_DIRECTORY, directory=True)
    for path in (MASKED_FILE, MASKED_DIRECTORY):
        os.chmod(directory + path, 0)
    status = os.stat(directory)
    return Skeleton(Bind(directory, "/", writable=False, identity=(status.st_dev, status.st_ino)), frozenset(inner))


def _point(path: str, *, directory: bool) -> None:
    if directory:
        os.makedirs(path, 0o755, exist_ok=True)
    else:
        write(path, "")


def write(path: str, content: str) -> None:
    """A new file, and the directories above it. Lone surrogates stand for bytes. Raises ``OSError``."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, content.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)
