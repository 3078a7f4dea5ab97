"""Moving and deleting: names only, never through links, and protection neither lost nor made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fsserver.errors import (
    AlreadyExists,
    BadPath,
    DirectoryNotEmpty,
    FileTooLarge,
    FsserverError,
    HardLinkDenied,
    OperationDenied,
    ProtectedName,
    QuotaExceeded,
    UnstablePath,
)
from fsserver.paths import moving, renaming, tree
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Action, Effect, Mode, RootRules
from tests.support import in_child
from tests.trees import build, rules, snapshot, workspace


def move(work: Workspace, source: str, destination: str) -> None:
    with (
        work.target(ClientPath(source), Access.MOVE_FROM) as old,
        work.target(ClientPath(destination), Access.MOVE_TO) as new,
    ):
        tree.check_tree(old, new)
        moving.move(old, new)


def delete(work: Workspace, path: str, *, recursive: bool = False) -> None:
    with work.target(ClientPath(path), Access.DELETE) as target:
        moving.delete(target, recursive=recursive)


def test_move_renames_files_directories_and_links_themselves(tmp_path: Path) -> None:
    build(tmp_path, ["file a text", "file d/x y", "link l -> /etc/passwd", "fifo p", "dir into"])
    with workspace(rules(tmp_path)) as work:
        for name in ("a", "d", "l", "p"):
            move(work, name, f"into/{name}")
    assert sorted(os.listdir(tmp_path / "into")) == ["a", "d", "l", "p"]
    assert os.readlink(tmp_path / "into/l") == "/etc/passwd"


@pytest.mark.parametrize("existing", ["file there", "dir there", "link there -> nowhere", "link there -> /etc"])
def test_move_onto_something_is_refused(existing: str, tmp_path: Path) -> None:
    build(tmp_path, ["file a text", existing])
    before = snapshot(tmp_path)
    with workspace(rules(tmp_path)) as work, pytest.raises(AlreadyExists) as raised:
        move(work, "a", "there")
    assert raised.value.message == f"Destination already exists: {tmp_path}/there"
    assert snapshot(tmp_path) == before


def test_move_onto_a_name_that_appears_meanwhile_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["file a ours"])
    with (
        workspace(rules(tmp_path)) as work,
        work.target(ClientPath("a"), Access.MOVE_FROM) as source,
        work.target(ClientPath("b"), Access.MOVE_TO) as destination,
    ):
        (tmp_path / "b").write_text("theirs")
        with pytest.raises(AlreadyExists):
            moving.move(source, destination)
    assert (tmp_path / "b").read_text() == "theirs"


def test_move_of_a_name_that_became_another_object_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["file a ours", "file c theirs"])
    with (
        workspace(rules(tmp_path)) as work,
        work.target(ClientPath("a"), Access.MOVE_FROM) as source,
        work.target(ClientPath("b"), Access.MOVE_TO) as destination,
    ):
        os.rename(tmp_path / "c", tmp_path / "a")
        with pytest.raises(UnstablePath):
            moving.move(source, destination)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("destination", ["d/e", "d/sub/e"])
def test_directory_is_not_moved_into_itself(destination: str, tmp_path: Path) -> None:
    build(tmp_path, ["dir d/sub"])
    with workspace(rules(tmp_path)) as work, pytest.raises(BadPath) as raised:
        move(work, "d", destination)
    assert raised.value.message == f"EINVAL: invalid argument, rename '{tmp_path}/d' -> '{tmp_path}/{destination}'"


@pytest.mark.parametrize("path", ["", ".", "..", "{base}", "{base}/", "d/..", "l"])
@pytest.mark.parametrize("access", [Access.MOVE_FROM, Access.DELETE])
def test_root_itself_is_never_moved_or_deleted(path: str, access: Access, tmp_path: Path) -> None:
    build(tmp_path, ["dir root/d", "link root/l -> ."])
    with workspace(rules(tmp_path / "root")) as work:
        if path == "l":  # the link is not the root
            work.target(ClientPath(path), access).close()
            return
        with pytest.raises(FsserverError):
            work.target(ClientPath(path.format(base=tmp_path / "root")), access)


@pytest.mark.parametrize("access", [Access.MOVE_FROM, Access.DELETE])
def test_directory_that_holds_another_root_stays(access: Access, tmp_path: Path) -> None:
    build(tmp_path, ["dir root/d/e/inner"])
    inner = rules(tmp_path / "root/d/e/inner", name="inner", mode=Mode.RO)
    with workspace(rules(tmp_path / "root"), inner) as work:
        for path in ("d", "d/e"):
            with pytest.raises(OperationDenied, match="holds the root inner"):
                work.target(ClientPath(path), access)
        with pytest.raises(FsserverError):
            work.target(ClientPath("d/e/inner"), access)


# What is moved, whether that is allowed. In every tree `project` may be moved to another name.
MOVES: list[tuple[str, Sequence[str], str, str, bool]] = [
    ("nothing_protected", ["file project/a x"], "project", "other", True),
    ("same_protection_there", ["file project/.env K=1", "file project/sub/.env K"], "project", "other", True),
    ("read_only_stays_so", ["file project/.git/config c", "dir project/.git/hooks"], "project", "other", True),
    ("loses_denial", ["file vault/key k"], "vault/key", "key", False),
    ("directory_loses_denial", ["file project/only/key k"], "project", "other", False),
    ("loses_read_only", ["file project/vendor/lib.c x"], "project", "other", False),
    ("gains_denial", ["file stuff/only/key k"], "stuff", "project", False),
    ("gains_read_only", ["file stuff/hooks/pre-commit x"], "stuff", "project/.git", False),
    ("becomes_read_only_itself", ["dir project/.git", "file stuff/x y"], "stuff", "project/.git/hooks", False),
    ("becomes_denied_itself", ["file a x"], "a", ".env", False),
    ("goes_below_a_denied_name", ["file a x", "dir vault"], "a", "vault/a", False),
    ("denial_becomes_read_only", ["file project/only/key k", "dir v"], "project", "v/vendor", False),
]


@pytest.mark.parametrize(
    ("tree", "source", "destination", "allowed"), [m[1:] for m in MOVES], ids=[m[0] for m in MOVES]
)
def test_move_neither_loses_nor_makes_protection(
    tree: Sequence[str], source: str, destination: str, allowed: bool, tmp_path: Path
) -> None:
    build(tmp_path, [*tree, "dir project"])
    deny = ["**/.env", "vault", "project/only"]
    read_only = ["**/.git/hooks", "**/.git/config", "project/vendor", "v/vendor"]
    before = snapshot(tmp_path)
    if destination == "project":
        (tmp_path / "project").rmdir()
        before = snapshot(tmp_path)
    with workspace(rules(tmp_path, deny=deny, read_only=read_only)) as work:
        if allowed:
            move(work, source, destination)
            assert not (tmp_path / source).exists()
        else:
            with pytest.raises(FsserverError) as raised:
                move(work, source, destination)
            assert raised.value.code in ("denied.protected", "denied.read_only")
            assert raised.value.rule == "policy.yaml:7"
            assert snapshot(tmp_path) == before


def test_refused_tree_is_counted(tmp_path: Path) -> None:
    build(tmp_path, ["file d/.env x", "file d/a/.env x", "file d/a/b/c x", "dir d/.git/hooks"])
    with workspace(rules(tmp_path, deny=["**/.env"], read_only=["**/.git/hooks"])) as work:
        with pytest.raises(ProtectedName) as raised:
            delete(work, "d", recursive=True)
        assert raised.value.message == f"Access denied - 3 protected names below {tmp_path}/d must not be deleted"
        assert raised.value.rule == "policy.yaml:7"
    assert (tmp_path / "d/a/b/c").exists()


def test_unlistable_directory_stops_what_depends_on_knowing(open_tmp_path: Path) -> None:
    build(open_tmp_path, ["dir d/closed"])
    (open_tmp_path / "d").chmod(0o777)
    (open_tmp_path / "d/closed").chmod(0o300)

    def attempt() -> list[str]:
        codes = []
        with workspace(rules(open_tmp_path, deny=["**/.env"])) as work:
            with pytest.raises(FsserverError) as raised:
                move(work, "d", "e")
            codes.append(raised.value.code)
            with pytest.raises(FsserverError) as raised:
                delete(work, "d", recursive=True)
            codes.append(raised.value.code)
        return codes

    if os.geteuid() == 0:
        os.chown(open_tmp_path / "d/closed", 1234, 1234)
    assert in_child(attempt, unprivileged=True) == ["resource.permission", "resource.permission"]
    assert (open_tmp_path / "d/closed").is_dir()
    (open_tmp_path / "d/closed").chmod(0o700)


ACROSS = [
    ("free", {}, {}, True),
    ("source_may_not_lose", {"operations": {Action.DELETE: Effect.DENY}}, {}, False),
    ("destination_may_not_gain", {}, {"operations": {Action.CREATE: Effect.DENY}}, False),
    ("destination_is_read_only", {}, {"mode": Mode.RO}, False),
    ("denied_there", {}, {"deny": ["d/x"]}, False),
    ("denied_here", {"deny": ["**/x"]}, {}, False),
    ("denied_in_both", {"deny": ["**/x"]}, {"deny": ["**/x"]}, True),
]


@pytest.mark.parametrize(("here", "there", "allowed"), [row[1:] for row in ACROSS], ids=[row[0] for row in ACROSS])
def test_move_to_another_root_needs_both(
    here: dict[str, object], there: dict[str, object], allowed: bool, tmp_path: Path
) -> None:
    build(tmp_path, ["file one/d/x text", "dir two"])
    first: RootRules = rules(tmp_path / "one", name="one", **here)  # type: ignore[arg-type]
    second: RootRules = rules(tmp_path / "two", name="two", **there)  # type: ignore[arg-type]
    with workspace(first, second) as work:
        if allowed:
            move(work, f"{tmp_path}/one/d", f"{tmp_path}/two/d")
            assert (tmp_path / "two/d/x").read_text() == "text"
        else:
            with pytest.raises(FsserverError) as raised:
                move(work, f"{tmp_path}/one/d", f"{tmp_path}/two/d")
            assert raised.value.code.startswith("denied.")
            assert (tmp_path / "one/d/x").exists()


CROSSING = [
    ("directory_over_the_quota", {}, {"quota": 10}, "d", QuotaExceeded),
    ("directory_with_a_file_over_max_file", {}, {"max_file": 10}, "d", FileTooLarge),
    ("file_over_max_file", {}, {"max_file": 10}, "d/x", FileTooLarge),
    ("file_with_several_names", {"hardlinks": Effect.DENY}, {}, "h", HardLinkDenied),
    ("directory_with_such_a_file", {"hardlinks": Effect.DENY}, {}, "e", HardLinkDenied),
]


@pytest.mark.parametrize(
    ("here", "there", "name", "kind"), [row[1:] for row in CROSSING], ids=[row[0] for row in CROSSING]
)
def test_move_to_another_root_does_not_pass_its_rules_on_files(
    here: dict[str, object], there: dict[str, object], name: str, kind: type[FsserverError], tmp_path: Path
) -> None:
    build(tmp_path, [f"file one/d/x {'x' * 100}", "file one/h text", "hard one/e/f/h = one/h", "dir two"])
    before = snapshot(tmp_path)
    first: RootRules = rules(tmp_path / "one", name="one", **here)  # type: ignore[arg-type]
    second: RootRules = rules(tmp_path / "two", name="two", **there)  # type: ignore[arg-type]
    with workspace(first, second) as work:
        with pytest.raises(kind):
            move(work, f"{tmp_path}/one/{name}", f"{tmp_path}/two/moved")
        assert snapshot(tmp_path) == before
        move(work, f"{tmp_path}/one/{name}", f"{tmp_path}/one/moved")  # in its own root it stays under the same rules


def test_moved_directory_counts_for_the_quota_it_came_into(tmp_path: Path) -> None:
    build(tmp_path, [f"file one/d/x {'x' * 60}", f"file one/y {'y' * 60}", "dir two"])
    first = rules(tmp_path / "one", name="one")
    with workspace(first, rules(tmp_path / "two", name="two", quota=100)) as work:
        move(work, f"{tmp_path}/one/d", f"{tmp_path}/two/d")
        with pytest.raises(QuotaExceeded):
            move(work, f"{tmp_path}/one/y", f"{tmp_path}/two/y")


def test_quota_has_room_again_after_a_move_to_another_root(tmp_path: Path) -> None:
    build(tmp_path, [f"file one/x {'x' * 60}", f"file two/y {'y' * 60}"])
    with workspace(rules(tmp_path / "one", name="one", quota=100), rules(tmp_path / "two", name="two")) as work:
        with pytest.raises(QuotaExceeded):
            move(work, f"{tmp_path}/two/y", f"{tmp_path}/one/y")
        move(work, f"{tmp_path}/one/x", f"{tmp_path}/two/x")
        move(work, f"{tmp_path}/two/y", f"{tmp_path}/one/y")


@pytest.mark.parametrize(
    ("deny", "late"), [("new/secret", "secret"), ("old/secret", "secret"), ("new/a/b", "a/b")], ids=str
)
def test_move_is_taken_back_if_a_name_came_into_the_tree_that_changes_its_protection(
    deny: str, late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call makes the name after the tree was checked, right before the rename."""
    build(tmp_path, ["file old/a/x text"])
    rename = renaming.rename_no_replace

    def late_rename(*arguments: Any) -> None:
        monkeypatch.setattr(moving, "rename_no_replace", rename)
        (tmp_path / "old" / late).write_text("made meanwhile")
        rename(*arguments)

    monkeypatch.setattr(moving, "rename_no_replace", late_rename)
    with workspace(rules(tmp_path, deny=[f"/{deny}"])) as work, pytest.raises(ProtectedName):
        move(work, "old", "new")
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old" / late).exists()


def test_move_that_cannot_be_taken_back_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, ["file old/x text"])
    rename = renaming.rename_no_replace

    def late_rename(*arguments: Any) -> None:
        (tmp_path / "old/secret").write_text("made meanwhile")
        rename(*arguments)
        (tmp_path / "old").mkdir()  # somebody takes the place

    monkeypatch.setattr(moving, "rename_no_replace", late_rename)
    with workspace(rules(tmp_path, deny=["/new/secret"])) as work, pytest.raises(ProtectedName) as raised:
        move(work, "old", "new")
    assert raised.value.message.endswith("the move could not be taken back")


def test_delete_removes_links_and_special_files_themselves(tmp_path: Path) -> None:
    build(
        tmp_path,
        ["file outside/x text", "link root/l -> ../outside", "link root/m -> nowhere", "fifo root/p", "socket root/s"],
    )
    with workspace(rules(tmp_path / "root")) as work:
        for name in ("l", "m", "p", "s"):
            delete(work, name, recursive=True)
    assert os.listdir(tmp_path / "root") == []
    assert (tmp_path / "outside/x").read_text() == "text"


def test_delete_of_a_full_directory_needs_recursive(tmp_path: Path) -> None:
    build(tmp_path, ["file d/x text", "dir e"])
    with workspace(rules(tmp_path)) as work:
        delete(work, "e")
        with pytest.raises(DirectoryNotEmpty):
            delete(work, "d")
        delete(work, "d", recursive=True)
    assert os.listdir(tmp_path) == []


def test_recursive_delete_never_follows_links(tmp_path: Path) -> None:
    build(
        tmp_path,
        [
            "file outside/x text",
            "link root/d/l -> ../../outside",
            "link root/d/a/m -> {base}/outside",
            "file root/d/a/b/c x",
        ],
    )
    with workspace(rules(tmp_path / "root")) as work:
        delete(work, "d", recursive=True)
    assert os.listdir(tmp_path / "root") == []
    assert (tmp_path / "outside/x").read_text() == "text"


def test_delete_of_a_name_that_became_another_object_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["dir root/d", "dir root/keep/x"])
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("d"), Access.DELETE) as target:
        os.rename(tmp_path / "root/d", tmp_path / "root/was")
        os.rename(tmp_path / "root/keep", tmp_path / "root/d")
        with pytest.raises(UnstablePath):
            moving.delete(target, recursive=True)
    assert (tmp_path / "root/d/x").is_dir()
