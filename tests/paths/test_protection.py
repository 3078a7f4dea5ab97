"""Protection by inode, over overlapping roots, and under names that move."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fsserver.errors import FsserverError, HardLinkDenied
from fsserver.paths import aliases, reading, tree
from fsserver.paths.client import MOST_WAYS_UP
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Effect, Mode
from tests.support import in_child
from tests.trees import build, rules, workspace


def code(work: Workspace, path: str | Path, access: Access = Access.READ) -> str | None:
    try:
        with work.target(ClientPath(str(path)), access) as target:
            if access is Access.READ:
                reading.open_file(target).close()
    except FsserverError as error:
        return error.code
    return None


@pytest.mark.claim("C2")
def test_hard_link_made_after_the_index_was_built_is_found(tmp_path: Path) -> None:
    build(tmp_path, ["file a x", "hard b = a", "file .env KEY", "dir d"])
    with workspace(rules(tmp_path, deny=["**/.env"])) as work:
        assert code(work, "b") is None  # builds the index
        os.link(tmp_path / ".env", tmp_path / "c")
        assert code(work, "c") == "denied.protected"
        os.rename(tmp_path / "c", tmp_path / "d/c")
        assert code(work, "d/c") == "denied.protected"
        assert code(work, "b") is None


@pytest.mark.claim("C2")
@pytest.mark.parametrize("access", [Access.READ, Access.WRITE, Access.LIST, Access.DELETE])
@pytest.mark.parametrize("way", ["vault", "link", "free/../vault", "free/up"])
def test_way_up_out_of_a_denied_directory_does_not_tell_what_is_in_it(tmp_path: Path, way: str, access: Access) -> None:
    build(tmp_path, ["file vault/key K", "dir vault/dir", "file a x", "link link -> vault", "link free/up -> ../vault"])
    with workspace(rules(tmp_path, deny=["vault"])) as work:
        for name in ("key", "dir", "none"):
            assert code(work, f"{way}/{name}/../../a", access) == "denied.protected"
        assert code(work, "free/../a", access) is None


def test_path_that_goes_up_in_very_many_places_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["dir d", "file a x"])
    with workspace(rules(tmp_path, deny=["vault"])) as work:
        assert code(work, "d/../" * MOST_WAYS_UP + "a") is None
        assert code(work, "d/../" * (MOST_WAYS_UP + 1) + "a") == "request.path"


@pytest.mark.claim("C2")
def test_protected_name_made_after_the_index_was_built_is_found(tmp_path: Path) -> None:
    build(tmp_path, ["file a x", "hard b = a", "dir d"])
    with workspace(rules(tmp_path, deny=["**/.env"])) as work:
        assert code(work, "b") is None
        os.link(tmp_path / "a", tmp_path / "d/.env")
        assert code(work, "a") == code(work, "b") == "denied.protected"
        os.unlink(tmp_path / "d/.env")
        assert code(work, "a") is None


def test_our_own_move_into_protection_is_seen_at_once(tmp_path: Path) -> None:
    build(tmp_path, ["file keep/a x", "hard b = keep/a"])
    with workspace(rules(tmp_path, deny=["vault/**"])) as work:
        assert code(work, "b") is None
        os.rename(tmp_path / "keep", tmp_path / "vault")  # by another process
        work.roots[0].aliases.forget()
        assert code(work, "b") == "denied.protected"


def test_old_alias_of_a_directory_renamed_into_protection_is_found_after_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, ["file keep/a x", "hard b = keep/a"])
    with workspace(rules(tmp_path, deny=["vault/**"])) as work:
        assert code(work, "b") is None
        os.rename(tmp_path / "keep", tmp_path / "vault")
        monkeypatch.setattr(aliases, "FRESH_NS", 0)
        assert code(work, "b") == "denied.protected"


def test_read_only_inode_may_be_read_and_not_changed_through_an_alias(tmp_path: Path) -> None:
    build(tmp_path, ["file .git/config x", "hard b = .git/config"])
    with workspace(rules(tmp_path, read_only=[".git/config"])) as work:
        assert code(work, "b") is None
        for access in (Access.WRITE, Access.EDIT, Access.MOVE_FROM, Access.DELETE):
            assert code(work, "b", access) == "denied.read_only"


def test_alias_in_another_root_is_found(tmp_path: Path) -> None:
    build(tmp_path, ["file one/.env KEY", "hard two/harmless = one/.env"])
    one, two = rules(tmp_path / "one", name="one", deny=["**/.env"]), rules(tmp_path / "two", name="two")
    with workspace(one, two) as work:
        assert code(work, tmp_path / "two/harmless") == "denied.protected"


def test_root_too_large_to_check_refuses_files_with_several_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, ["file a x", "hard b = a", "file alone x", *(f"dir d{n}" for n in range(20))])
    monkeypatch.setattr(aliases, "MAX_DIRECTORIES", 10)
    with workspace(rules(tmp_path, deny=["**/.env"])) as work:
        assert code(work, "alone") is None
        assert code(work, "b") == "denied.hardlink"
    with workspace(rules(tmp_path)) as work:  # nothing is protected, so nothing needs checking
        assert code(work, "b") is None


def test_directory_that_cannot_be_listed_refuses_files_with_several_names(open_tmp_path: Path) -> None:
    build(open_tmp_path, ["file a x", "hard b = a", "dir closed"])
    (open_tmp_path / "closed").chmod(0o300)
    if os.geteuid() == 0:
        os.chown(open_tmp_path / "closed", 1234, 1234)

    def attempt() -> str | None:
        with workspace(rules(open_tmp_path, deny=["**/.env"])) as work:
            return code(work, "b")

    answer = in_child(attempt, unprivileged=True)
    (open_tmp_path / "closed").chmod(0o700)
    assert answer == "denied.hardlink"


def test_sweep_lists_only_directories_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, ["file a x", "hard b = a", *(f"file d{n}/f x" for n in range(20))])
    listed: list[str] = []
    real = aliases.Aliases._list

    def count(self: aliases.Aliases, name: str, now: int) -> object:
        listed.append(name)
        return real(self, name, now)

    monkeypatch.setattr(aliases.Aliases, "_list", count)
    monkeypatch.setattr(aliases, "FRESH_NS", 0)
    with workspace(rules(tmp_path, deny=["**/.env"])) as work:
        time.sleep(2 * aliases.GRANULARITY_NS / 1e9)  # the directories' times become older than the clock's step
        assert code(work, "b") is None
        assert len(listed) == 21
        listed.clear()
        (tmp_path / "d7/new").write_text("x")
        assert code(work, "b") is None
        assert listed == ["d7"]


def test_root_that_wants_no_hard_links_refuses_reading_them(tmp_path: Path) -> None:
    build(tmp_path, ["file a x", "hard b = a", "file c x"])
    with workspace(rules(tmp_path, hardlinks=Effect.DENY)) as work:
        for access in (Access.READ, Access.EDIT):
            assert code(work, "b", access) == "denied.hardlink"
        assert code(work, "c") is None
        assert code(work, "b", Access.WRITE) is None
        with work.target(ClientPath("c"), Access.READ) as target:
            os.link(tmp_path / "c", tmp_path / "d")
            with pytest.raises(HardLinkDenied):
                reading.open_file(target)


# Roots that overlap: a read-only one with its own rules in a writable one.
OVERLAP = [
    ("by_its_own_name", "{base}/root/vendor/lib.c", Access.WRITE, "denied.read_only"),
    ("relative_from_the_outer", "vendor/lib.c", Access.WRITE, "denied.read_only"),
    ("through_a_link_of_the_outer", "l/lib.c", Access.WRITE, "denied.read_only"),
    ("through_dotdot", "src/../vendor/lib.c", Access.WRITE, "denied.read_only"),
    ("new_through_a_link", "l/new.c", Access.WRITE, "denied.read_only"),
    ("directory_through_a_link", "l/a/b", Access.MAKE_DIRECTORY, "denied.read_only"),
    ("read_through_a_link", "l/lib.c", Access.READ, None),
    ("inner_rule_through_a_link", "l/key", Access.READ, "denied.protected"),
    ("outer_rule_in_the_inner", "{base}/root/vendor/.env", Access.READ, "denied.protected"),
    ("outer_rule_by_path_in_the_inner", "{base}/root/vendor/private", Access.READ, "denied.protected"),
    ("outer_itself", "src/x.c", Access.WRITE, None),
    ("inner_named_alike", "vendors/x.c", Access.WRITE, None),
]


@pytest.mark.parametrize(("path", "access", "expected"), [r[1:] for r in OVERLAP], ids=[r[0] for r in OVERLAP])
def test_strictest_of_overlapping_roots_wins(path: str, access: Access, expected: str | None, tmp_path: Path) -> None:
    build(
        tmp_path,
        [
            "file root/vendor/lib.c x",
            "file root/vendor/key k",
            "file root/vendor/.env k",
            "file root/vendor/private k",
            "file root/src/x.c x",
            "file root/vendors/x.c x",
            "link root/l -> vendor",
        ],
    )
    outer = rules(tmp_path / "root", name="outer", deny=["**/.env", "vendor/private"])
    inner = rules(tmp_path / "root/vendor", name="inner", mode=Mode.RO, deny=["key"])
    for order in ((outer, inner), (inner, outer)):
        with workspace(*order) as work:
            if path.startswith("{base}") or order[0] is outer:
                assert code(work, path.format(base=tmp_path), access) == expected


def test_listing_shows_what_the_inner_roots_rules_protect(tmp_path: Path) -> None:
    build(tmp_path, ["file root/vendor/key k", "file root/vendor/lib.c x"])
    outer, inner = rules(tmp_path / "root", name="outer"), rules(tmp_path / "root/vendor", name="inner", deny=["key"])
    with workspace(outer, inner) as work, work.target(ClientPath(str(tmp_path / "root")), Access.LIST) as target:
        assert [entry.path for entry in tree.walk(target) if entry.protected] == ["vendor/key"]


@pytest.mark.parametrize("spelling", [".ENV", ".Env", "\uff0eenv"])
def test_other_case_is_protected_where_the_volume_folds(spelling: str, tmp_path: Path) -> None:
    build(tmp_path, [f"file {spelling} KEY"])
    with workspace(rules(tmp_path, deny=[".env"])) as work:
        work.roots[0].folds = True  # what Root.open finds on vfat, exfat, ntfs and folding ext4
        expected = None if spelling.startswith("\uff0e") else "denied.protected"
        assert code(work, spelling) == expected
        work.roots[0].folds = False
        assert code(work, spelling) is None


@pytest.mark.parametrize("other", ["ENV~1", "dir./x", ".env.", ".env ", "SSH~1/id"])
def test_names_that_a_folding_volume_may_take_for_others_are_refused(other: str, tmp_path: Path) -> None:
    with workspace(rules(tmp_path, deny=[".env"])) as work:
        work.roots[0].folds = True
        for access in Access:
            assert code(work, other, access) == "denied.protected"
    with workspace(rules(tmp_path)) as work:  # nothing is protected
        work.roots[0].folds = True
        assert code(work, "ENV~1", Access.WRITE) is None


def test_refusal_of_a_protected_name_is_the_same_whether_it_exists(tmp_path: Path) -> None:
    build(tmp_path, ["file secrets/there KEY", "link l -> secrets"])
    with workspace(rules(tmp_path, deny=["secrets"])) as work:
        messages = set()
        for name in ("secrets/there", "secrets/absent", "l/there", "l/absent", "l/absent/below", "l/there/below"):
            for access in (Access.READ, Access.STAT, Access.LIST, Access.EDIT, Access.MOVE_FROM, Access.DELETE):
                with pytest.raises(FsserverError) as raised:
                    work.target(ClientPath(name), access)
                messages.add(raised.value.message.replace(name, "NAME"))
    assert messages == {f'Access denied - names that match "secrets" are protected: {tmp_path}/NAME'}


@pytest.mark.claim("C2")
@pytest.mark.parametrize("order", [(".env", "vendor/lib"), ("vendor/lib", ".env")])
def test_inode_with_a_denied_and_a_read_only_name_is_denied_by_every_name(
    order: tuple[str, str], tmp_path: Path
) -> None:
    build(tmp_path, [f"file {order[0]} KEY", f"hard {order[1]} = {order[0]}", f"hard plain = {order[0]}"])
    with workspace(rules(tmp_path, deny=[".env"], read_only=["vendor/**"])) as work:
        for name in ("plain", "vendor/lib", ".env"):
            for access in (Access.READ, Access.STAT):
                assert code(work, name, access) == "denied.protected", (name, access)
        for access in (Access.WRITE, Access.EDIT, Access.MOVE_FROM, Access.DELETE):
            assert code(work, "plain", access) == "denied.protected", access


@pytest.mark.claim("C2")
def test_two_protected_names_in_one_directory_keep_the_stricter(tmp_path: Path) -> None:
    build(tmp_path, ["file a.key KEY", "hard plain = a.key", *(f"hard {n}.pub = a.key" for n in range(9))])
    with workspace(rules(tmp_path, deny=["*.key"], read_only=["*.pub"])) as work:
        assert code(work, "plain") == code(work, "3.pub") == "denied.protected"


def test_root_that_wants_no_hard_links_refuses_reading_them_for_a_write(tmp_path: Path) -> None:
    build(tmp_path, ["file outside SECRET", "hard root/b = outside", "file root/alone x"])
    with workspace(rules(tmp_path / "root", hardlinks=Effect.DENY)) as work:
        with work.target(ClientPath("b"), Access.WRITE) as target, pytest.raises(HardLinkDenied):
            reading.read_all(target, 100)
        with work.target(ClientPath("alone"), Access.WRITE) as target:
            assert reading.read_all(target, 100)[0] == b"x"
