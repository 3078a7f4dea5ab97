"""File trees in tests, as lists of one-line strings, and the roots on top of them."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsserver.paths.resolver import Resolver
from fsserver.paths.root import Root
from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import Action, Effect, Mode, Origin, PathRule, RootRules
from tests.support import require_kernel

ORIGIN = Origin("policy.yaml", 7)

# For what only root can set up, such as another user's file. The suite's run as root has these tests.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can set this up; the run as root covers it")


def build(base: str | Path, lines: Sequence[str]) -> None:
    """Make each line's object below ``base``; parents are made as needed.

    ``dir NAME`` · ``file NAME [TEXT]`` · ``link NAME -> TARGET`` · ``hard NAME = OTHER`` · ``fifo NAME`` ·
    ``socket NAME``. ``{base}`` in a target is ``base``.
    """
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "link":
            name, _, target = rest.partition(" -> ")
        elif kind == "hard":
            name, _, target = rest.partition(" = ")
        else:
            name, _, target = rest.partition(" ")
        path = os.path.join(base, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "dir":
            os.makedirs(path, exist_ok=True)
        elif kind == "file":
            Path(path).write_text(target)
        elif kind == "link":
            os.symlink(target.format(base=base), path)
        elif kind == "hard":
            os.link(os.path.join(base, target), path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            _bind_socket(path)
        else:
            raise ValueError(line)


def exceed_the_queue(directory: Path) -> None:
    """Change a directory more often than the kernel has events for who watches it, see inotify(7)."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 200_000:
        require_kernel(f"here {most} events are queued")
    names = directory / "to-and-fro", directory / "fro-and-to"
    names[0].touch()
    for number in range(most // 2 + 1):  # two events each
        os.rename(names[number % 2], names[1 - number % 2])


def _bind_socket(path: str) -> None:
    """By a short name for the directory: the kernel takes at most 107 bytes (unix(7)), and TMPDIR can be longer."""
    directory = os.open(os.path.dirname(path), os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def snapshot(top: str | Path) -> dict[str, tuple[object, ...]]:
    """Everything below ``top`` that an attack could change: names, kinds, modes, owners, contents and link targets."""
    seen: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            seen[os.path.relpath(path, top)] = (status.st_mode, status.st_uid, status.st_nlink, content)
    return seen


def rules(
    path: str | Path,
    *,
    name: str = "work",
    mode: Mode = Mode.RW,
    deny: Sequence[str] = (),
    read_only: Sequence[str] = (),
    operations: dict[Action, Effect] | None = None,
    hardlinks: Effect = Effect.ALLOW,
    max_file: int | None = None,
    quota: int | None = None,
) -> RootRules:
    """A root's rules with globs as plain strings, all from one line of one file."""
    return RootRules(
        name=name,
        path=str(path),
        mode=mode,
        origin=ORIGIN,
        deny=tuple(PathRule(glob, ORIGIN) for glob in deny),
        read_only=tuple(PathRule(glob, ORIGIN) for glob in read_only),
        operations={action: (effect, ORIGIN) for action, effect in (operations or {}).items()},
        hardlinks=hardlinks,
        max_file=max_file,
        quota=quota,
    )


@contextmanager
def workspace(*roots: RootRules, resolver: Resolver | None = None, home: str = "/nowhere") -> Iterator[Workspace]:
    """A workspace over newly opened roots, which are closed at the end."""
    opened: list[Root] = []
    try:
        opened.extend(Root.open(each) for each in roots)
        yield Workspace(opened, resolver, home=home)
    finally:
        for root in opened:
            root.close()
