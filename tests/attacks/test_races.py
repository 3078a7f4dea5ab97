"""Races: another process exchanges a directory with a link that leads out, as fast as it can, during every operation.

Beside each race the naive way, to look where a path leads and then to open it, runs for the same time: it leaks, which
shows that the race is one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.errors import FsserverError
from fsserver.paths import reading
from fsserver.paths.resolver import OpenAt2Resolver, Resolver, WalkResolver
from fsserver.paths.workspace import Access, ClientPath, Workspace
from tests.attacks.racer import racing
from tests.attacks.verbs import OPERATIONS, OWN_FILE, OWN_NEW
from tests.trees import build, rules, snapshot, workspace

RESOLVERS: dict[str, type[Resolver]] = {"openat2": OpenAt2Resolver, "walk": WalkResolver}
ROUNDS = 20_000
NAIVE_S = 20.0

# `swap` is the directory and `link` leads out; they change places all the time. Both hold the same names.
WORLD = (
    f"file root/{OWN_FILE} mine",
    "file root/swap/file.txt inside",
    "file outside/file.txt SECRET",
    "file outside/only-outside SECRET",
    "link root/link -> ../outside",
)


def _naive_leak(root: str, path: str) -> bool:
    """What a server does that checks the name and then opens it."""
    name = os.path.join(root, path)
    try:
        if not (os.path.realpath(name) + "/").startswith(root + "/"):
            return False
        with open(name, "rb") as file:
            return file.read() == b"SECRET"
    except OSError:
        return False


def _naive_leaks(root: Path, path: str) -> bool:
    """Whether the naive way leaks at least once within its time."""
    end = time.monotonic() + NAIVE_S
    while time.monotonic() < end:
        if any(_naive_leak(str(root), path) for _ in range(200)):
            return True
    return False


def _read(work: Workspace, path: str) -> bytes:
    with work.target(ClientPath(path), Access.READ) as target:
        return reading.read_all(target, 100)[0]


def _outcomes(attempt: Callable[[], object], rounds: int) -> Counter[object]:
    """How often each answer came: what was returned, or the code of our error."""
    seen: Counter[object] = Counter()
    for _ in range(rounds):
        try:
            answer = attempt()
        except FsserverError as error:
            answer = error.code
        seen[answer] += 1
    return seen


def test_naive_way_leaks_while_a_directory_and_a_link_are_exchanged(tmp_path: Path) -> None:
    build(tmp_path, WORLD)
    with racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"):
        assert _naive_leaks(tmp_path / "root", "swap/file.txt")


@pytest.mark.claim("C1")
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_no_read_escapes_while_a_directory_and_a_link_are_exchanged(resolver: str, tmp_path: Path) -> None:
    build(tmp_path, WORLD)
    with (
        workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work,
        racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"),
    ):
        seen = _outcomes(lambda: _read(work, "swap/file.txt"), ROUNDS)
    assert set(seen) <= {b"inside", "denied.link_escape", "denied.unstable", "resource.not_found"}
    assert seen[b"inside"] > 0
    assert seen["denied.link_escape"] > 0


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_no_read_escapes_while_a_file_and_a_link_are_exchanged(resolver: str, tmp_path: Path) -> None:
    build(
        tmp_path, ["file root/swap inside", "file outside/file.txt SECRET", "link root/link -> {base}/outside/file.txt"]
    )
    with (
        workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work,
        racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"),
    ):
        seen = _outcomes(lambda: _read(work, "swap"), ROUNDS)
    assert set(seen) <= {b"inside", "denied.link_escape", "denied.unstable", "resource.not_found"}
    assert seen[b"inside"] > 0


CLIMB = ["dir root/deep/er", "file root/outside/file.txt inside", "file outside/file.txt SECRET"]


@pytest.mark.claim("C1")
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_no_dotdot_escapes_while_its_directory_moves_up(resolver: str, tmp_path: Path) -> None:
    build(tmp_path, CLIMB)
    with (
        workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work,
        racing("shuttle", tmp_path / "root/deep/er", tmp_path / "root/er"),
    ):
        seen = _outcomes(lambda: _read(work, "deep/er/../../outside/file.txt"), ROUNDS)
    assert set(seen) <= {b"inside", "denied.link_escape", "denied.unstable", "resource.not_found"}
    assert seen[b"inside"] > 0


@pytest.mark.claim("C2")
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_no_protected_file_is_read_while_a_directory_and_a_link_to_it_are_exchanged(
    resolver: str, tmp_path: Path
) -> None:
    build(
        tmp_path, ["file root/swap/file.txt inside", "file root/secrets/file.txt SECRET", "link root/link -> secrets"]
    )
    with (
        workspace(rules(tmp_path / "root", deny=["secrets"]), resolver=RESOLVERS[resolver]()) as work,
        racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"),
    ):
        seen = _outcomes(lambda: _read(work, "swap/file.txt"), ROUNDS // 2)
        assert set(seen) <= {b"inside", "denied.protected", "denied.unstable", "resource.not_found"}
        assert seen[b"inside"] > 0
        assert seen["denied.protected"] > 0
        assert _naive_leaks(tmp_path / "root", "swap/file.txt")


# What an operation may answer besides success.
ANSWERS = {
    "denied.link_escape",
    "denied.unstable",
    "resource.not_found",
    "resource.exists",
    "resource.not_a_directory",
    "resource.is_a_directory",
    "request.stale",
    "request.path",
}
PATHS = {
    "list": "swap",
    "walk": "swap",
    "create": "swap/new",
    "make_directory": "swap/made/below",
    "move_to": "swap/moved",
    "copy_to": "swap/copied",
}


def _restore(inside: int, root: str) -> None:
    """What one round used up is there again for the next, beneath the real directory whatever it is called."""
    for name in ("new", "moved", "copied"):
        try:
            os.unlink(name, dir_fd=inside)
        except FileNotFoundError:
            continue
    for name in ("made/below", "made"):
        try:
            os.rmdir(name, dir_fd=inside)
        except FileNotFoundError:
            continue
    os.close(os.open("file.txt", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=inside))
    for name in (OWN_NEW, OWN_FILE):
        path = os.path.join(root, name)
        if name == OWN_NEW and os.path.lexists(path):
            os.unlink(path)
        elif name == OWN_FILE and not os.path.lexists(path):
            Path(path).write_text("mine")


def _answer(operation: str, work: Workspace) -> object:
    try:
        answer = OPERATIONS[operation](work, PATHS.get(operation, "swap/file.txt"))
    except FsserverError as error:
        return error.code
    if operation in ("list", "walk"):
        assert "only-outside" not in repr(answer)
    return "done"


@pytest.mark.claim("C1")
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_no_operation_escapes_while_a_directory_and_a_link_are_exchanged(resolver: str, tmp_path: Path) -> None:
    build(tmp_path, WORLD)
    before = snapshot(tmp_path / "outside")
    inside = os.open(tmp_path / "root/swap", os.O_RDONLY | os.O_DIRECTORY)
    each = ROUNDS // len(OPERATIONS) + 1
    try:
        with workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work:
            done: set[str] = set()
            with racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"):
                for operation in OPERATIONS:
                    seen: Counter[object] = Counter()
                    for _ in range(each):
                        seen[_answer(operation, work)] += 1
                        _restore(inside, str(tmp_path / "root"))
                    assert set(seen) <= ANSWERS | {"done"}, operation
                    done |= {operation} if seen["done"] else set()
                    assert snapshot(tmp_path / "outside") == before, operation
            # On a busy machine the racer may win every round of one. With it gone, each of those must work.
            assert len(done) > len(OPERATIONS) / 2
            if (tmp_path / "root/swap").is_symlink():
                os.rename(tmp_path / "root/swap", tmp_path / "root/aside")
                os.rename(tmp_path / "root/link", tmp_path / "root/swap")
                os.rename(tmp_path / "root/aside", tmp_path / "root/link")
            for operation in OPERATIONS:
                if operation not in done:
                    assert _answer(operation, work) == "done", operation
                    _restore(inside, str(tmp_path / "root"))
    finally:
        os.close(inside)
