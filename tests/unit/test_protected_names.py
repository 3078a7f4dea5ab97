"""The index of protected names: what it lists, and that nothing that changes is missed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import fsserver.sandbox.listing as listing_module
import fsserver.sandbox.protected as protected_module
from fsserver.errors import SandboxSetupError
from fsserver.kernel.watches import is_told
from fsserver.policy.compiled import PathRule, RootRules
from fsserver.sandbox.listing import MAX_NAME, Listing, list_directory
from fsserver.sandbox.protected import MAX_WATCHED, Kind, ProtectedIndex, Protection
from tests.attacks.racer import racing
from tests.mounts import show_twice
from tests.support import in_child, require_kernel, wait_until
from tests.trees import ORIGIN, build, exceed_the_queue, rules

DENY, READ_ONLY, NAME = Protection.DENY, Protection.READ_ONLY, Protection.NAME


@contextmanager
def index(root: RootRules, *, folds: bool = False, most_watched: int = MAX_WATCHED) -> Iterator[ProtectedIndex]:
    descriptor = os.open(root.path, os.O_PATH | os.O_DIRECTORY)
    try:
        with closing(ProtectedIndex(root, descriptor, folds=folds, most_watched=most_watched)) as opened:
            yield opened
    finally:
        os.close(descriptor)


def listed(each: ProtectedIndex) -> dict[str, Protection]:
    return {name.name: name.protection for name in each.names}


class Tree(NamedTuple):
    """``lines`` of `build`, rules, and what the index lists then."""

    outcome: str
    lines: Sequence[str]
    names: dict[str, Protection]
    directories: Sequence[str] = ()
    deny: Sequence[str | PathRule] = ()
    read_only: Sequence[str | PathRule] = ()
    folds: bool = False


def excepting(glob: str, *exceptions: str) -> PathRule:
    return PathRule(glob, ORIGIN, exceptions)


TREES = [
    Tree("nothing where nothing matches", ["file a/b", "dir c"], {}, deny=[".env"], read_only=["*.lock"]),
    Tree("nothing without rules", ["file .env"], {}),
    Tree("file at the top", ["file .env", "file b"], {".env": DENY}, deny=[".env"]),
    Tree(
        "file further down with the directories on the way",
        ["file a/b/c/.env", "file a/x/y"],
        {"a/b/c/.env": DENY},
        ["a", "a/b", "a/b/c"],
        deny=[".env"],
    ),
    Tree(
        "denied directory without what is in it",
        ["file a/.ssh/id_rsa", "dir a/.ssh/sub"],
        {"a/.ssh": DENY},
        ["a"],
        deny=[".ssh", "id_rsa"],
    ),
    Tree(
        "read-only directory with the denied name in it and no directory inside",
        ["file v/x/y/.env", "file v/x/other"],
        {"v": READ_ONLY, "v/x/y/.env": DENY},
        deny=[".env"],
        read_only=["/v"],
    ),
    Tree("denied wins over read-only", ["file .env"], {".env": DENY}, deny=[".env"], read_only=[".env"]),
    Tree(
        "what lies in a directory, not the directory",
        ["file v/a", "file v/b/c"],
        {"v/a": READ_ONLY, "v/b": READ_ONLY},
        ["v"],
        read_only=["v/**"],
    ),
    Tree(
        "directory whose contents are free is a name only",
        ["file .git/index", "file .git/hooks/pre-commit", "file sub/.git"],
        {".git": NAME, ".git/hooks": READ_ONLY, "sub/.git": READ_ONLY},
        [".git", "sub"],
        read_only=["**/.git/hooks", excepting("**/.git", "**/.git/**")],
    ),
    Tree(
        "directory of which a part is free is read-only whole",
        ["file v/cache/x", "file v/y"],
        {"v": READ_ONLY},
        read_only=[excepting("v", "v/cache/**")],
    ),
    Tree(
        "excepted names are free",
        ["file a.pem", "file site-packages/b.pem"],
        {"a.pem": DENY},
        deny=[excepting("*.pem", "**/site-packages/**")],
    ),
    Tree("other case where the volume folds", ["file .ENV"], {".ENV": DENY}, deny=[".env"], folds=True),
    Tree("other case is another name elsewhere", ["file .ENV"], {}, deny=[".env"]),
    Tree("name that is not UTF-8", ["file \udcff/.env"], {"\udcff/.env": DENY}, ["\udcff"], deny=[".env"]),
    Tree("name with a newline", ["file a\nb/.env"], {"a\nb/.env": DENY}, ["a\nb"], deny=[".env"]),
    Tree("special files", ["fifo .env", "socket a.key"], {".env": DENY, "a.key": DENY}, deny=[".env", "*.key"]),
    Tree(
        "linked directory is not entered",
        ["dir real", "file real/.env", "link a -> real"],
        {"real/.env": DENY},
        ["real"],
        deny=[".env"],
    ),
    Tree("link that leads out is not entered", ["link a -> /etc"], {}, deny=["passwd"]),
    Tree(
        "other hard link of a denied file",
        ["file .env", "hard a/visible = .env", "file a/other"],
        {".env": DENY, "a/visible": DENY},
        ["a"],
        deny=[".env"],
    ),
    Tree(
        "other hard link of a read-only file",
        ["file .git/config", "hard x = .git/config"],
        {".git/config": READ_ONLY, "x": READ_ONLY},
        [".git"],
        read_only=["**/.git/config"],
    ),
    Tree(
        "other hard link of a file in a denied directory",
        ["file .ssh/sub/id_rsa", "hard x = .ssh/sub/id_rsa"],
        {".ssh": DENY, "x": DENY},
        deny=[".ssh"],
    ),
    Tree(
        "hard link in a read-only directory of a denied file",
        ["file .env", "hard v/x = .env"],
        {".env": DENY, "v": READ_ONLY, "v/x": DENY},
        deny=[".env"],
        read_only=["/v"],
    ),
    Tree(
        "hard links within one protected directory",
        ["file v/a", "hard v/b = v/a"],
        {"v": READ_ONLY},
        read_only=["/v"],
    ),
    Tree(
        "file that is read-only and a hard link of a denied one",
        ["file .env", "hard .bashrc = .env"],
        {".env": DENY, ".bashrc": DENY},
        deny=[".env"],
        read_only=[".bashrc"],
    ),
]


def of(tree: Tree, path: Path) -> RootRules:
    base = rules(path)
    return RootRules(
        base.name,
        base.path,
        base.mode,
        base.origin,
        deny=tuple(each if isinstance(each, PathRule) else PathRule(each, ORIGIN) for each in tree.deny),
        read_only=tuple(each if isinstance(each, PathRule) else PathRule(each, ORIGIN) for each in tree.read_only),
    )


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.outcome)
def test_index_lists(tree: Tree, tmp_path: Path) -> None:
    build(tmp_path, tree.lines)
    with index(of(tree, tmp_path), folds=tree.folds) as each:
        assert each.refresh() is bool(tree.names)
        assert listed(each) == tree.names
        assert each.directories == tuple(tree.directories)
        assert [name.name for name in each.names] == sorted(tree.names)
        assert not each.refresh()


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    build(tmp_path, ["file a.key", "dir b.key", "link c.key -> /etc", "link d.key -> nowhere", "fifo e.key"])
    with index(rules(tmp_path, deny=["*.key"])) as each:
        each.refresh()
        assert [name.kind for name in each.names] == [Kind.OTHER, Kind.DIRECTORY, Kind.LINK, Kind.LINK, Kind.OTHER]


class Change(NamedTuple):
    """What somebody does to the tree, and whether cells that were built before are of no use then."""

    outcome: str
    act: Callable[[Path], object]
    matters: bool
    names: set[str]


def replace(top: Path) -> None:
    """As an editor saves: another file takes the name."""
    (top / "new").write_text("new")
    (top / "new").rename(top / ".env")


def replace_by_its_own_link(top: Path) -> None:
    """The same file comes back, but the kernel drops a mount over a name that was unlinked."""
    os.link(top / ".env", top / "other")
    (top / ".env").unlink()
    (top / "other").rename(top / ".env")


def make_anew(name: str) -> Callable[[Path], object]:
    def act(top: Path) -> None:
        shutil.rmtree(top / name)
        (top / name).mkdir()

    return act


def swap_in_a_parent(top: Path) -> None:
    """The protected directory stays the same one, the directory around it does not."""
    (top / "p/.vscode").rename(top / "aside")
    (top / "p").rmdir()
    (top / "p").mkdir()
    (top / "aside").rename(top / "p/.vscode")


def become_a_link(top: Path) -> None:
    (top / "a").rename(top / "z")
    (top / "a").symlink_to("z")


BEFORE = (
    "file .env",
    "file .git/hooks/h",
    "file .git/index",
    "dir a/b/c",
    "file a/f",
    "dir p/.vscode",
    "hard a/b/f = a/f",
)
NAMES = {".env", ".git", ".git/hooks", "p/.vscode"}
CHANGES = [
    Change("new file that is free", lambda top: (top / "a/new").touch(), False, NAMES),
    Change("new directory that is free", lambda top: (top / "a/b/d/e").mkdir(parents=True), False, NAMES),
    Change("free directory removed", lambda top: (top / "a/b/c").rmdir(), False, NAMES),
    Change("contents of a free file", lambda top: (top / ".git/index").write_text("x"), False, NAMES),
    Change("new file in a read-only directory", lambda top: (top / ".git/hooks/new").touch(), False, NAMES),
    Change("new name in an old directory", lambda top: (top / "a/b/c/.env").touch(), True, NAMES | {"a/b/c/.env"}),
    Change("name in new directories", lambda top: build(top, ["file x/y/.env"]), True, NAMES | {"x/y/.env"}),
    Change("denied file removed", lambda top: (top / ".env").unlink(), True, NAMES - {".env"}),
    Change("read-only directory removed", lambda top: shutil.rmtree(top / ".git/hooks"), True, NAMES - {".git/hooks"}),
    Change("directory around removed", lambda top: shutil.rmtree(top / ".git"), True, NAMES - {".git", ".git/hooks"}),
    Change("denied file replaced by rename", replace, True, NAMES),
    Change("denied file replaced by its own hard link", replace_by_its_own_link, True, NAMES),
    Change("read-only directory made anew", make_anew(".git/hooks"), True, NAMES),
    Change("directory around it made anew", swap_in_a_parent, True, NAMES),
    Change(
        "directory around moved", lambda top: (top / ".git").rename(top / "g2"), True, NAMES - {".git", ".git/hooks"}
    ),
    Change("free directory moved", lambda top: (top / "a").rename(top / "z"), False, NAMES),
    Change(
        "file with another link in an old directory moved into place",
        lambda top: (top / "a/f").rename(top / "a/.env"),
        True,
        NAMES | {"a/.env", "a/b/f"},
    ),
    Change(
        "second link of a denied file", lambda top: os.link(top / ".env", top / "a/b/see"), True, NAMES | {"a/b/see"}
    ),
    Change("directory becomes a link", become_a_link, False, NAMES),
]


@pytest.mark.parametrize("most_watched", [MAX_WATCHED, 3, 0], ids=["told", "partly-told", "asked-for"])
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "just-listed"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.outcome)
def test_change_is_seen(change: Change, settled: bool, most_watched: int, tmp_path: Path) -> None:
    build(tmp_path, BEFORE)
    with index(guarded(tmp_path), most_watched=most_watched) as each:
        each.refresh()
        if settled:
            settle(each)
        generation = each.generation
        change.act(tmp_path)
        assert each.refresh() is change.matters
        assert {name.name for name in each.names} == change.names
        assert (each.generation != generation) is change.matters
        assert not each.refresh()


def guarded(top: Path) -> RootRules:
    tree = Tree("", (), {}, deny=[".env"], read_only=["**/.git/hooks", excepting("**/.git", "**/.git/**"), ".vscode"])
    return of(tree, top)


def settle(each: ProtectedIndex) -> None:
    """Until every directory was listed long enough after its last change, so that none is listed again without one."""

    def settled() -> bool:
        each.refresh()
        return each.settled

    wait_until(settled, "every directory is settled")


def test_change_is_seen_when_there_were_more_than_the_kernel_tells_of(tmp_path: Path) -> None:
    with index(guarded(tmp_path)) as each:
        build(tmp_path, BEFORE)
        each.refresh()
        settle(each)
        exceed_the_queue(tmp_path / "a")
        (tmp_path / "a/b/c/.env").touch()
        assert each.refresh()
        assert {name.name for name in each.names} == NAMES | {"a/b/c/.env"}
        (tmp_path / "a/b/c/.env").unlink()
        assert each.refresh()


def test_change_is_seen_after_everything_was_closed(tmp_path: Path) -> None:
    build(tmp_path, BEFORE)
    with index(guarded(tmp_path)) as each:
        each.refresh()
        settle(each)
        each.close()
        (tmp_path / "a/b/.env").touch()
        assert each.refresh()
        assert "a/b/.env" in listed(each)


def test_change_after_a_directory_was_listed_and_before_it_is_watched_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(descriptor: int) -> bool:
        (tmp_path / "a/b/.env").touch()
        return is_told(descriptor)

    build(tmp_path, BEFORE)
    with index(guarded(tmp_path)) as each:
        each.refresh()
        settle(each)
    monkeypatch.setattr(protected_module, "is_told", told)
    with index(guarded(tmp_path)) as each:
        each.refresh()
        assert "a/b/.env" not in listed(each)
        assert each.refresh()
        assert "a/b/.env" in listed(each)


def test_directory_that_left_the_root_is_watched_no_more(tmp_path: Path) -> None:
    def watched() -> int:
        files = (path for path in Path("/proc/self/fdinfo").iterdir() if path.exists())
        return sum(file.read_text().count("inotify wd:") for file in files)

    root = os.open(tmp_path, os.O_PATH)
    told = is_told(root)
    os.close(root)
    if not told:
        require_kernel("the kernel does not tell what changes in temporary directories")
    build(tmp_path, ["dir root/a/b", "dir root/c", "file root/.env"])
    before = watched()
    with index(rules(tmp_path / "root", deny=[".env"])) as each:
        each.refresh()
        assert watched() == before + 4
        (tmp_path / "root/a").rename(tmp_path / "elsewhere")
        each.refresh()
        assert watched() == before + 2
    assert watched() == before


def test_directory_that_is_mounted_twice_is_known_by_both_names(tmp_path: Path) -> None:
    def look() -> list[set[str]]:
        build(tmp_path, ["file a/x", "dir b"])
        show_twice(tmp_path / "a", tmp_path / "b")
        seen: list[set[str]] = []
        with index(rules(tmp_path, deny=[".env"])) as each:
            each.refresh()
            settle(each)
            for name in ("a/.env", "b/.env"):
                (tmp_path / name).touch()
                each.refresh()
                seen.append(set(listed(each)))
                (tmp_path / name).unlink()
                each.refresh()
                seen.append(set(listed(each)))
        return seen

    assert in_child(look) == [{"a/.env", "b/.env"}, set()] * 2


def test_every_one_of_many_quick_changes_is_seen(tmp_path: Path) -> None:
    """Within a tick of the kernel's clock a directory changes without changing its ctime."""
    (tmp_path / "a").mkdir()
    with index(rules(tmp_path, deny=["*.key"])) as each:
        for number in range(300):
            (tmp_path / f"a/{number}.key").touch()
            assert each.refresh()
            (tmp_path / f"a/{number}.key").unlink()
            assert each.refresh()
            assert each.names == ()


def test_directory_that_changed_just_now_is_not_settled(tmp_path: Path) -> None:
    def listing() -> Listing | None:
        return list_directory(root, "", None, rules(tmp_path, deny=[".env"]), folds=False, most=10)

    root = os.open(tmp_path, os.O_PATH)
    try:
        wait_until(lambda: (now := listing()) is not None and now.settled, "it is settled")
        (tmp_path / "new").touch()
        changed = listing()
        assert changed is not None
        assert not changed.settled
    finally:
        os.close(root)


@pytest.mark.parametrize("name", ["in", "in/sub", "out", "file", "missing", "../outside"])
def test_what_is_no_directory_beneath_the_root_is_not_listed(name: str, tmp_path: Path) -> None:
    build(tmp_path, ["dir root/real/sub", "dir outside", "link root/in -> real", "link root/out -> ../outside"])
    build(tmp_path, ["file root/file"])
    root = os.open(tmp_path / "root", os.O_PATH)
    try:
        guard = rules(tmp_path / "root", deny=[".env"])
        assert list_directory(root, name, None, guard, folds=False, most=10) is None
        assert list_directory(root, "real/sub", None, guard, folds=False, most=10) is not None
    finally:
        os.close(root)


def test_link_that_appeared_for_a_file_with_links_outside_is_found(tmp_path: Path) -> None:
    build(tmp_path, ["file root/.env", "hard outside/x = root/.env", "dir root/a/b"])
    with index(rules(tmp_path / "root", deny=[".env"])) as each:
        each.refresh()
        settle(each)
        (tmp_path / "outside").rename(tmp_path / "root/a/b/moved")
        assert each.refresh()
        assert set(listed(each)) == {".env", "a/b/moved/x"}


def test_link_is_free_again_when_the_denied_name_is_gone(tmp_path: Path) -> None:
    build(tmp_path, ["file .env", "hard a/x = .env"])
    with index(rules(tmp_path, deny=[".env"])) as each:
        each.refresh()
        settle(each)
        (tmp_path / ".env").unlink()
        assert each.refresh()
        assert listed(each) == {}
        os.link(tmp_path / "a/x", tmp_path / ".env")
        assert each.refresh()
        assert set(listed(each)) == {".env", "a/x"}


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444], ids=["nothing", "search-only", "read-only"])
def test_directory_that_cannot_be_looked_into_is_denied_whole(mode: int, open_tmp_path: Path) -> None:
    def look() -> tuple[dict[str, Protection], bool, dict[str, Protection]]:
        build(open_tmp_path, ["file root/a/closed/.env", "file root/b"])
        closed = open_tmp_path / "root/a/closed"
        with index(rules(open_tmp_path / "root", deny=[".env"])) as each:
            closed.chmod(mode)
            each.refresh()
            before = listed(each)
            closed.chmod(0o755)
            changed = each.refresh()
            return before, changed, listed(each)

    assert in_child(look, unprivileged=True) == ({"a/closed": DENY}, True, {"a/closed/.env": DENY})


def test_directory_that_cannot_be_looked_into_any_more_is_denied_whole_once_it_changes(open_tmp_path: Path) -> None:
    def look() -> tuple[bool, dict[str, Protection]]:
        build(open_tmp_path, ["file root/a/closed/b"])
        closed = open_tmp_path / "root/a/closed"
        with index(rules(open_tmp_path / "root", deny=[".env"])) as each:
            each.refresh()
            settle(each)
            closed.chmod(0o300)
            (closed / ".env").touch()
            changed = each.refresh()
            closed.chmod(0o755)
            return changed, listed(each)

    assert in_child(look, unprivileged=True) == (True, {"a/closed": DENY})


@pytest.mark.parametrize("most_watched", [MAX_WATCHED, 2, 0], ids=["told", "partly-told", "asked-for"])
def test_directory_that_was_closed_around_one_that_changes_is_denied_whole(
    most_watched: int, open_tmp_path: Path
) -> None:
    """Of the first nothing is told, and the second cannot be reached."""

    def look() -> tuple[bool, dict[str, Protection], bool, dict[str, Protection]]:
        build(open_tmp_path, ["file root/a/b/c/.env", "file root/d"])
        closed = open_tmp_path / "root/a"
        with index(rules(open_tmp_path / "root", deny=[".env"]), most_watched=most_watched) as each:
            each.refresh()
            settle(each)
            (closed / "b/c/new").touch()
            closed.chmod(0)
            before = each.refresh(), listed(each)
            closed.chmod(0o755)
            return *before, each.refresh(), listed(each)

    assert in_child(look, unprivileged=True) == (True, {"a": DENY}, True, {"a/b/c/.env": DENY})


def test_other_link_of_a_denied_file_is_denied_though_its_directory_was_closed_before_it_was_searched_again(
    open_tmp_path: Path,
) -> None:
    def look() -> tuple[dict[str, Protection], bool, dict[str, Protection]]:
        build(
            open_tmp_path,
            ["file root/.env", "hard root/o/a/b/see = root/.env", "file root/d/x", "hard root/y = root/d/x"],
        )
        with index(rules(open_tmp_path / "root", deny=[".env", "*.key"])) as each:
            each.refresh()
            settle(each)
            (open_tmp_path / "root/o/a").chmod(0)
            (open_tmp_path / "root/d/x").rename(open_tmp_path / "root/d/x.key")
            each.refresh()
            before = listed(each)
            (open_tmp_path / "root/o/a").chmod(0o755)
            return before, each.refresh(), listed(each)

    names = {".env": DENY, "d/x.key": DENY, "y": DENY}
    assert in_child(look, unprivileged=True) == ({**names, "o/a": DENY}, True, {**names, "o/a/b/see": DENY})


def test_root_that_cannot_be_read_is_an_error(open_tmp_path: Path) -> None:
    def look() -> str:
        (open_tmp_path / "root").mkdir()
        (open_tmp_path / "root").chmod(0o111)
        with index(rules(open_tmp_path / "root", deny=[".env"])) as each:
            try:
                each.refresh()
            except SandboxSetupError as error:
                return error.code
            finally:
                (open_tmp_path / "root").chmod(0o755)
            return "listed"

    assert in_child(look, unprivileged=True) == "sandbox.setup"


def test_removed_root_has_no_names(tmp_path: Path) -> None:
    build(tmp_path, ["file root/.env"])
    with index(rules(tmp_path / "root", deny=[".env"])) as each:
        each.refresh()
        shutil.rmtree(tmp_path / "root")
        assert each.refresh()
        assert each.names == ()


def test_directory_that_is_too_deep_to_be_named_is_denied_whole(tmp_path: Path) -> None:
    long = "d" * 200
    here = os.open(tmp_path, os.O_PATH)
    for _ in range(40):
        os.mkdir(long, dir_fd=here)
        deeper = os.open(long, os.O_PATH, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open(".env", os.O_CREAT, 0o600, dir_fd=here))
    os.close(here)
    with index(rules(tmp_path, deny=[".env"])) as each:
        each.refresh()
        assert [name.protection for name in each.names] == [DENY]
        assert MAX_NAME < len(each.names[0].name) <= MAX_NAME + 201


@pytest.mark.parametrize("bound", ["MAX_ENTRIES", "MAX_DIRECTORIES"])
def test_root_that_holds_too_much_is_an_error_until_it_holds_less(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protected_module, bound, 5)
    build(tmp_path, [f"dir d{number}" for number in range(6)])
    with index(rules(tmp_path, deny=[".env"])) as each:
        for _ in range(2):
            with pytest.raises(SandboxSetupError, match='"work" holds too much'):
                each.refresh()
        for number in range(1, 6):
            (tmp_path / f"d{number}").rmdir()
        (tmp_path / "d0/.env").touch()
        assert each.refresh()


@pytest.mark.parametrize("where", ["a", "a b"])
def test_root_with_too_many_protected_names_is_an_error_before_they_fill_the_memory(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (protected_module, listing_module):
        monkeypatch.setattr(module, "MAX_PROTECTED", 5)
    build(tmp_path, [f"file {directory}/{number}.pem" for directory in where.split() for number in range(8)])
    with index(rules(tmp_path, deny=["*.pem"])) as each:
        for _ in range(2):
            with pytest.raises(SandboxSetupError, match='"work" holds too much'):
                each.refresh()
        for path in list(tmp_path.glob("*/*"))[3:]:
            path.unlink()
        each.refresh()
        assert len(each.names) == 3


def test_more_names_than_mounts_fit_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protected_module, "MAX_NAMES", 3)
    build(tmp_path, ["file a/1.key", "file a/2.key"])
    with index(rules(tmp_path, deny=["*.key"])) as each:
        each.refresh()
        each.require_few()
        (tmp_path / "a/3.key").touch()
        each.refresh()
        with pytest.raises(SandboxSetupError, match="4 protected names") as raised:
            each.require_few()
        assert raised.value.allowed_instead is not None


def test_nothing_outside_is_listed_while_a_directory_and_a_link_are_exchanged(tmp_path: Path) -> None:
    build(
        tmp_path, ["file root/swap/in.key", "file outside/out.key", "link root/link -> ../outside", "file root/a.key"]
    )
    seen: set[str] = set()
    with (
        index(rules(tmp_path / "root", deny=["*.key"])) as each,
        racing("exchange", tmp_path / "root/swap", tmp_path / "root/link"),
    ):
        for number in range(40_000):
            each.refresh()
            seen |= {name.name for name in each.names}
            if number >= 2_000 and seen >= {"swap/in.key", "link/in.key"}:
                break  # on a busy machine the other process may have had no turn for long
    assert seen <= {"a.key", "swap/in.key", "link/in.key"}
    assert seen >= {"swap/in.key", "link/in.key"}


def test_walk_ends_while_a_directory_moves_up_and_down(tmp_path: Path) -> None:
    build(tmp_path, ["file root/a/b/c/x.key", "dir root/z"])
    with (
        index(rules(tmp_path / "root", deny=["*.key"])) as each,
        racing("shuttle", tmp_path / "root/a/b", tmp_path / "root/z/b"),
    ):
        for _ in range(2_000):
            each.refresh()
            assert {name.name for name in each.names} <= {"a/b/c/x.key", "z/b/c/x.key"}
    with index(rules(tmp_path / "root", deny=["*.key"])) as fresh:
        fresh.refresh()
        assert len(fresh.names) == 1
