"""Each operation twice: as fsserver does it to a client's path, and naked, as an unprotected tool would.

The naked ones prove that an attack is one: where they succeed and touch what lies outside, a refusal means something.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fsserver.paths import moving, reading, tree, writing
from fsserver.paths.workspace import Access, ClientPath, Workspace

Operation = Callable[[Workspace, str], object]
Naked = Callable[[str], object]

# Every tree has these two of its own, for operations that need a second path.
OWN_FILE = "own.txt"
OWN_NEW = "own-new.txt"


def _read(work: Workspace, path: str) -> bytes:
    with work.target(ClientPath(path), Access.READ) as target:
        return reading.read_all(target, 1 << 20)[0]


def _stat(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.STAT) as target:
        return reading.file_info(target)


def _list(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.LIST) as target:
        return [entry.name for entry in reading.list_entries(target)]


def _walk(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.LIST) as target:
        return [entry.path for entry in tree.walk(target)]


def _write(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.WRITE) as target:
        return writing.write_file(target, b"written")


def _create(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.CREATE) as target:
        return writing.write_file(target, b"created")


def _edit(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.EDIT) as target:
        data, status = reading.read_all(target, 1 << 20)
        return writing.write_file(target, data + b"edited", expected=reading.Identity.of(status))


def _make_directory(work: Workspace, path: str) -> object:
    with work.target(ClientPath(path), Access.MAKE_DIRECTORY) as target:
        writing.make_directories(target)
    return None


def _move(work: Workspace, source: str, destination: str) -> None:
    with (
        work.target(ClientPath(source), Access.MOVE_FROM) as old,
        work.target(ClientPath(destination), Access.MOVE_TO) as new,
    ):
        moving.move(old, new)


def _copy(work: Workspace, source: str, destination: str) -> None:
    with (
        work.target(ClientPath(source), Access.READ) as old,
        work.target(ClientPath(destination), Access.CREATE) as new,
    ):
        writing.copy_file(old, new)


def _delete(work: Workspace, path: str, *, recursive: bool) -> None:
    with work.target(ClientPath(path), Access.DELETE) as target:
        moving.delete(target, recursive=recursive)


OPERATIONS: dict[str, Operation] = {
    "read": _read,
    "stat": _stat,
    "list": _list,
    "walk": _walk,
    "write": _write,
    "create": _create,
    "edit": _edit,
    "make_directory": _make_directory,
    "move_from": lambda work, path: _move(work, path, OWN_NEW),
    "move_to": lambda work, path: _move(work, OWN_FILE, path),
    "copy_from": lambda work, path: _copy(work, path, OWN_NEW),
    "copy_to": lambda work, path: _copy(work, OWN_FILE, path),
    "delete": lambda work, path: _delete(work, path, recursive=False),
    "delete_tree": lambda work, path: _delete(work, path, recursive=True),
}


def _naked_edit(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"edited")


def _naked_create(path: str) -> None:
    with open(path, "xb") as file:
        file.write(b"created")


def _naked_move(source: str, destination: str) -> None:
    if os.path.lexists(destination):
        raise FileExistsError(destination)
    os.rename(source, destination)


def _naked_delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def _naked_delete_tree(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


# Run with the root as working directory, so that relative paths mean what they mean to a client.
NAKED: dict[str, Naked] = {
    "read": lambda path: Path(path).read_bytes(),
    "stat": os.stat,
    "list": os.listdir,
    "walk": lambda path: list(os.scandir(path)),
    "write": lambda path: Path(path).write_bytes(b"written"),
    "create": _naked_create,
    "edit": _naked_edit,
    "make_directory": lambda path: os.makedirs(path, exist_ok=True),
    "move_from": lambda path: _naked_move(path, OWN_NEW),
    "move_to": lambda path: _naked_move(OWN_FILE, path),
    "copy_from": lambda path: shutil.copyfile(path, OWN_NEW),
    "copy_to": lambda path: shutil.copyfile(OWN_FILE, path),
    "delete": _naked_delete,
    "delete_tree": _naked_delete_tree,
}
