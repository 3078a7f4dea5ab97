"""What a command made under protected names goes to quarantine: on the same file system, and to another one."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import fsserver.sandbox.quarantine as quarantine_module
from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import Mode, PathRule, RootRules
from fsserver.sandbox.protected import Identity, Kind, ProtectedIndex, ProtectedName, Protection
from fsserver.sandbox.quarantine import Outcome, Quarantine, Taken, _Room, appeared
from fsserver.sandbox.relocation import MAX_DEPTH
from tests.attacks.racer import racing
from tests.support import in_child, require_kernel
from tests.trees import ORIGIN, build, needs_root, rules, snapshot

BEFORE = ("file .env old", "file .git/index", "file .git/hooks/old", "link .bashrc -> nowhere", "file src/a", "dir sub")


@pytest.fixture(params=["same-file-system", "other-file-system"])
def place(request: pytest.FixtureRequest, open_tmp_path: Path) -> Iterator[Path]:
    """A directory with ``root`` and ``state`` in it, the one of them perhaps a link to another file system."""
    (open_tmp_path / "root").mkdir()
    (open_tmp_path / "root").chmod(0o777)
    if request.param == "same-file-system":
        (open_tmp_path / "state").mkdir()
        (open_tmp_path / "state").chmod(0o777)
        yield open_tmp_path
        return
    other = elsewhere(open_tmp_path)
    try:
        (open_tmp_path / "state").symlink_to(other)
        yield open_tmp_path
    finally:
        shutil.rmtree(other)


def elsewhere(here: Path) -> str:
    """A new directory for everybody on another file system."""
    bases = [base for base in ("/dev/shm", "/tmp", "/var/tmp") if os.access(base, os.W_OK)]
    other = [base for base in bases if os.stat(base).st_dev != here.stat().st_dev]
    if not other:
        require_kernel("two file systems with room for temporary files")
    directory = tempfile.mkdtemp(dir=other[0], prefix="fsserver-state-")
    os.chmod(directory, 0o777)
    return directory


def guarded(root: Path, mode: Mode = Mode.RW) -> RootRules:
    base = rules(root, mode=mode, deny=[".env", "*.key", ".ssh"], read_only=["**/.git/hooks", ".bashrc"])
    whole = PathRule("**/.git", ORIGIN, ("**/.git/**",))
    return RootRules("work", base.path, mode, ORIGIN, deny=base.deny, read_only=(*base.read_only, whole))


@contextmanager
def opened(place: Path, mode: Mode = Mode.RW) -> Iterator[tuple[ProtectedIndex, Quarantine]]:
    descriptor = os.open(place / "root", os.O_PATH)
    try:
        index = ProtectedIndex(guarded(place / "root", mode), descriptor, folds=False)
        index.refresh()
        quarantine = Quarantine.open(str(place / "state"))
        try:
            yield index, quarantine
        finally:
            quarantine.close()
            index.close()
    finally:
        os.close(descriptor)


def after(place: Path, act: Callable[[Path], object], mode: Mode = Mode.RW) -> Taken:
    """What is taken when ``act`` was what the command did."""
    with opened(place, mode) as (index, quarantine):
        before = index.names
        act(place / "root")
        return quarantine.take(index, before, run_id="run-1", command="make")


def kept(place: Path) -> dict[str, str]:
    """What is in quarantine for the run: name → content, ``dir``, or where a link leads; without the notes."""
    top = place / "state/quarantine/run-1"
    found: dict[str, str] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "dir"
        elif "/" in name or path.suffix != ".json":
            found[name] = path.read_text()
    return found


def contents(top: Path) -> dict[str, tuple[object, ...]]:
    """`snapshot` without link counts: a hard link that went to quarantine still counts where that can be."""
    return {name: (mode, owner, content) for name, (mode, owner, _, content) in snapshot(top).items()}


class Made(NamedTuple):
    """What a command makes, which names are taken, and what is in quarantine then."""

    outcome: str
    lines: Sequence[str]
    moved: Sequence[str]
    kept: dict[str, str]


MADE = [
    Made("nothing new", [], [], {}),
    Made("free names stay", ["file src/b", "dir x/y", "file .git/objects/1"], [], {}),
    Made("denied file", ["file src/.env evil"], ["work/src/.env"], {"1-.env": "evil"}),
    Made("denied file in new directories", ["file x/y/.env evil"], ["work/x/y/.env"], {"1-.env": "evil"}),
    Made(
        "denied directory whole",
        ["file .ssh/id x", "file .ssh/sub/.env y"],
        ["work/.ssh"],
        {"1-.ssh": "dir", "1-.ssh/id": "x", "1-.ssh/sub": "dir", "1-.ssh/sub/.env": "y"},
    ),
    Made(
        "repository below, whole",
        ["file sub/.git/hooks/pre-commit evil", "file sub/.git/config c"],
        ["work/sub/.git"],
        {"1-.git": "dir", "1-.git/config": "c", "1-.git/hooks": "dir", "1-.git/hooks/pre-commit": "evil"},
    ),
    Made("link", ["link src/.env -> /etc/passwd"], ["work/src/.env"], {"1-.env": "-> /etc/passwd"}),
    Made("link in a directory", ["link .ssh/out -> /etc"], ["work/.ssh"], {"1-.ssh": "dir", "1-.ssh/out": "-> /etc"}),
    Made(
        "names that sort around a directory",
        ["file x.key/in 1", "file x.key-2.key 2", "file x.key/sub/.env 3"],
        ["work/x.key", "work/x.key-2.key"],
        {"1-x.key": "dir", "1-x.key/in": "1", "1-x.key/sub": "dir", "1-x.key/sub/.env": "3", "2-x.key-2.key": "2"},
    ),
    Made(
        "name that no terminal should see",
        ["file src/\x1b\udcff*.key x"],
        ["work/src/\x1b\udcff*.key"],
        {"1-%1B%FF%2A.key": "x"},
    ),
    Made("hard link of a free file is one name of two", ["hard x.key = src/a"], ["work/x.key"], {"1-x.key": ""}),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.outcome)
def test_new_protected_names_are_taken(made: Made, place: Path) -> None:
    build(place / "root", BEFORE)
    control = place / "control"
    build(control, BEFORE)
    build(control, made.lines)
    for name in made.moved:
        path = control / name.removeprefix("work/")
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert after(place, lambda root: build(root, made.lines)) == Taken(tuple(made.moved))
    assert kept(place) == made.kept
    assert contents(place / "root") == contents(control)


def test_note_says_where_it_was_and_who_made_it(place: Path) -> None:
    build(place / "root", BEFORE)
    after(place, lambda root: build(root, ["file src/.env evil"]))
    note = json.loads((place / "state/quarantine/run-1/1.json").read_text())
    assert {key: note[key] for key in ("root", "name", "protection", "kind", "mode", "command")} == {
        "root": "work",
        "name": "src/.env",
        "protection": "deny",
        "kind": "other",
        "mode": "0644",
        "command": "make",
    }
    assert note["time"].endswith("+00:00")


def test_quarantine_is_for_this_user_only(place: Path) -> None:
    build(place / "root", BEFORE)
    after(place, lambda root: build(root, ["file .ssh/id x"]))
    for name in ("", "run-1"):
        assert stat.S_IMODE((place / "state/quarantine" / name).stat().st_mode) == 0o700


def test_second_call_of_a_run_goes_on_counting(place: Path) -> None:
    build(place / "root", BEFORE)
    for _ in range(2):
        assert after(place, lambda root: build(root, ["file src/.env evil"])).moved == ("work/src/.env",)
    assert set(kept(place)) == {"1-.env", "2-.env"}


def test_link_that_was_replaced_is_taken(place: Path) -> None:
    build(place / "root", BEFORE)

    def act(root: Path) -> None:
        (root / ".bashrc").unlink()
        (root / ".bashrc").write_text("evil")

    assert after(place, act).moved == ("work/.bashrc",)
    assert kept(place) == {"1-.bashrc": "evil"}


def test_file_that_was_replaced_from_outside_stays(place: Path) -> None:
    """An editor saves `.env` while a command runs. The command cannot: something is mounted over the name."""
    build(place / "root", BEFORE)

    def act(root: Path) -> None:
        (root / "new").write_text("saved")
        (root / "new").rename(root / ".env")

    assert after(place, act) == Taken()
    assert (place / "root/.env").read_text() == "saved"


def test_link_made_of_a_new_denied_file_stays_and_is_free(place: Path) -> None:
    build(place / "root", BEFORE)
    with opened(place) as (index, quarantine):
        before = index.names
        build(place / "root", ["file src/.env mine", "hard src/visible = src/.env"])
        assert quarantine.take(index, before, run_id="run-1", command="make").moved == ("work/src/.env",)
        assert index.names == before
    assert (place / "root/src/visible").read_text() == "mine"


def test_read_only_root_is_left_alone(place: Path) -> None:
    build(place / "root", BEFORE)
    assert after(place, lambda root: build(root, ["file src/.env x"]), Mode.RO) == Taken()
    assert (place / "root/src/.env").exists()


def test_closed_objects_are_opened_by_their_owner_and_taken(place: Path) -> None:
    """As an unprivileged user: permissions mean nothing to root."""

    def attempt() -> tuple[Taken, dict[str, str], int]:
        build(place / "root", BEFORE)

        def act(root: Path) -> None:
            build(root, ["file .ssh/closed/id x", "file src/.env y"])
            for name, mode in ((".ssh/closed/id", 0), (".ssh/closed", 0), (".ssh", 0), ("src/.env", 0), ("src", 0o555)):
                (root / name).chmod(mode)

        taken = after(place, act)
        top = place / "state/quarantine/run-1"
        parent_mode = stat.S_IMODE((place / "root/src").stat().st_mode)
        for name in ("1-.ssh", "1-.ssh/closed", "1-.ssh/closed/id", "2-.env"):
            (top / name).chmod(0o700)
        found = kept(place)
        (place / "root/src").chmod(0o755)
        return taken, found, parent_mode

    assert in_child(attempt, unprivileged=True) == (
        Taken(("work/.ssh", "work/src/.env")),
        {"1-.ssh": "dir", "1-.ssh/closed": "dir", "1-.ssh/closed/id": "x", "2-.env": "y"},
        0o555,
    )


def test_directory_that_was_closed_stays_and_is_told(place: Path) -> None:
    def attempt() -> tuple[Taken, list[str]]:
        build(place / "root", BEFORE)
        taken = after(place, lambda root: (root / "src").chmod(0))
        (place / "root/src").chmod(0o755)
        left = os.listdir(place / "root/src")
        return taken, left

    assert in_child(attempt, unprivileged=True) == (Taken((), ("work/src",)), ["a"])


def sparse(root: Path) -> None:
    with open(root / "src/huge.key", "wb") as file:
        file.truncate(1024**4)


def deep(root: Path) -> None:
    (root / ".ssh").mkdir()
    here = root / ".ssh"
    for _ in range(MAX_DEPTH + 1):
        here /= "d"
        here.mkdir()


def many(root: Path) -> None:
    build(root, [f"file .ssh/{number}" for number in range(20)])


@pytest.mark.parametrize(
    ("act", "name"), [(sparse, "src/huge.key"), (deep, ".ssh"), (many, ".ssh")], ids=["large", "deep", "many"]
)
def test_what_is_too_much_to_copy_stays_without_permissions_and_is_told(
    act: Callable[[Path], None], name: str, open_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "MAX_COPIED_ENTRIES", 10 if act is many else 1000)
    other = elsewhere(open_tmp_path)
    try:
        (open_tmp_path / "state").symlink_to(other)
        build(open_tmp_path / "root", BEFORE)
        assert after(open_tmp_path, act) == Taken((), (f"work/{name}",))
        left = open_tmp_path / "root" / name
        assert stat.S_IMODE(left.stat().st_mode) == 0
        assert kept(open_tmp_path) == {}
        left.chmod(0o700)
    finally:
        shutil.rmtree(other)


def test_copy_to_another_file_system_follows_nothing_and_keeps_no_power(open_tmp_path: Path) -> None:
    other = elsewhere(open_tmp_path)
    try:
        (open_tmp_path / "state").symlink_to(other)
        build(open_tmp_path / "root", BEFORE)
        build(open_tmp_path, ["file outside/secret s"])

        def act(root: Path) -> None:
            build(
                root, ["link .ssh/out -> {base}/../outside", "fifo .ssh/fifo", "socket .ssh/socket", "file .ssh/su x"]
            )
            (root / ".ssh/su").chmod(0o6755)

        assert after(open_tmp_path, act).moved == ("work/.ssh",)
        top = open_tmp_path / "state/quarantine/run-1/1-.ssh"
        assert sorted(os.listdir(top)) == ["out", "su"]
        assert stat.S_IMODE((top / "su").stat().st_mode) == 0o600
        assert (open_tmp_path / "outside/secret").read_text() == "s"
        assert not (open_tmp_path / "root/.ssh").exists()
    finally:
        shutil.rmtree(other)


def test_more_names_than_are_taken_stay_without_permissions_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "MAX_MOVED", 2)
    build(tmp_path, ["dir root", "dir state"])
    taken = after(tmp_path, lambda root: build(root, [f"file {number}.key" for number in range(4)]))
    assert taken == Taken(("work/0.key", "work/1.key"), ("work/2.key", "work/3.key"))
    assert stat.S_IMODE((tmp_path / "root/3.key").stat().st_mode) == 0


def test_file_with_other_names_keeps_its_permissions_when_it_cannot_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "MAX_MOVED", 0)
    build(tmp_path, ["dir root", "file root/mine m", "dir state"])
    taken = after(tmp_path, lambda root: build(root, ["hard x.key = mine"]))
    assert taken == Taken((), ("work/x.key",))
    assert stat.S_IMODE((tmp_path / "root/mine").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (["link root/d -> ../outside"], Outcome.FAILED),
        (["link root/d -> inside"], Outcome.FAILED),
        (["file root/d/x.key other"], Outcome.GONE),
        (["dir root/d"], Outcome.GONE),
        (["dir root"], Outcome.GONE),
    ],
    ids=["link-out", "link-in", "other-file", "no-file", "no-directory"],
)
def test_directory_that_changed_since_the_refresh_is_not_touched(
    lines: Sequence[str], outcome: Outcome, tmp_path: Path
) -> None:
    build(tmp_path, ["dir state", "file root/d/x.key mine"])
    with opened(tmp_path) as (index, quarantine), ExitStack() as stack:
        (tmp_path / "root/d").rename(tmp_path / "root/inside")
        build(tmp_path, ["hard outside/x.key = root/inside/x.key", *lines])
        before = contents(tmp_path / "root"), contents(tmp_path / "outside")
        room = _Room(quarantine._descriptor, "run-1", stack)
        assert room.move(index, index.names[0], "make") is outcome
        assert (contents(tmp_path / "root"), contents(tmp_path / "outside")) == before
    assert kept(tmp_path) == {}


def name(path: str, kind: Kind = Kind.OTHER, inode: int = 1) -> ProtectedName:
    return ProtectedName(path, Protection.READ_ONLY, kind, Identity(1, inode, 0))


@pytest.mark.parametrize(
    ("before", "after_it", "new"),
    [
        ([], [], []),
        ([], [name("a")], ["a"]),
        ([name("a")], [name("a")], []),
        ([name("a")], [name("a", inode=2)], []),
        ([name("a")], [name("a", Kind.LINK)], []),
        ([name("a", Kind.LINK)], [name("a", Kind.LINK)], []),
        ([name("a", Kind.LINK)], [name("a", Kind.LINK, 2)], ["a"]),
        ([name("a", Kind.LINK)], [name("a", inode=2)], ["a"]),
        ([name("a")], [], []),
        ([], [name("a"), name("a-b"), name("a/b"), name("a/b/c"), name("ab")], ["a", "a-b", "ab"]),
        ([name("a")], [name("a"), name("a-b"), name("a/b"), name("a/b/c")], ["a-b", "a/b"]),
    ],
)
def test_what_appeared_is_new_or_a_replaced_link_and_topmost(
    before: list[ProtectedName], after_it: list[ProtectedName], new: list[str]
) -> None:
    assert [each.name for each in appeared(before, after_it)] == new


def test_nothing_outside_is_moved_while_the_directory_is_exchanged_with_a_link(tmp_path: Path) -> None:
    build(tmp_path, ["dir root/swap", "dir state", "file outside/x.key SECRET", "link root/link -> ../outside"])
    with opened(tmp_path) as (index, quarantine):
        with racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"):
            for number in range(300):
                for name in ("swap", "link"):
                    path = tmp_path / "root" / name / f"{number}.key"
                    directory = os.open(tmp_path / "root", os.O_PATH)
                    try:
                        _touch_if_directory(directory, name, path.name)
                    finally:
                        os.close(directory)
                quarantine.take(index, (), run_id="run-1", command="make")
        assert os.listdir(tmp_path / "outside") == ["x.key"]
        quarantine.take(index, (), run_id="run-1", command="make")
        assert [name.name for name in index.names] == []
    assert "SECRET" not in kept(tmp_path).values()
    assert len(kept(tmp_path)) > 0


def _touch_if_directory(root: int, name: str, leaf: str) -> None:
    try:
        directory = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=root)
    except NotADirectoryError:
        return
    os.close(os.open(leaf, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory))
    os.close(directory)


@pytest.mark.parametrize("line", ["file quarantine", "link quarantine -> ."])
def test_quarantine_that_is_no_directory_is_an_error(line: str, tmp_path: Path) -> None:
    build(tmp_path, [line])
    with pytest.raises(SandboxSetupError, match="cannot be made"):
        Quarantine.open(str(tmp_path))


def test_open_quarantine_of_this_user_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir(mode=0o755)
    Quarantine.open(str(tmp_path)).close()
    assert stat.S_IMODE((tmp_path / "quarantine").stat().st_mode) == 0o700


@needs_root
def test_quarantine_of_another_user_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    os.chown(tmp_path / "quarantine", 1, 1)
    with pytest.raises(SandboxSetupError, match="another user"):
        Quarantine.open(str(tmp_path))
