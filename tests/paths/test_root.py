"""Opening roots, and what becomes of one on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsserver.errors import ConfigError, FsserverError, KernelUnsupported, NotFound
from fsserver.kernel import syscalls
from fsserver.paths import root as root_module
from fsserver.paths.reading import read_all
from fsserver.paths.resolver import OpenAt2Resolver, WalkResolver
from fsserver.paths.root import Root
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Mode
from tests.trees import build, rules, workspace


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{base}/missing", "there is no such directory"),
        ("{base}/file", "it is not a directory"),
        ("relative", "is not an absolute path"),
        ("/", "is the whole file system"),
        ("{base}/top", "is the whole file system"),
        ("{base}/file/x", "it is not a directory"),
        ("{base}/loop", "it cannot be opened"),
    ],
)
def test_unusable_root_is_a_configuration_error(path: str, reason: str, tmp_path: Path) -> None:
    build(tmp_path, ["file file x", "link top -> /", "link loop -> loop"])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=reason) as raised:
        Root.open(rules(path.format(base=tmp_path)))
    assert raised.value.rule == "policy.yaml:7"
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_in_a_roots_path_are_followed_once(tmp_path: Path) -> None:
    build(tmp_path, ["file real/f text", "file other/f other", "link way -> real"])
    with workspace(rules(tmp_path / "way")) as work:
        root = work.roots[0]
        assert root.spellings == (f"{tmp_path}/real", f"{tmp_path}/way")
        assert root.shown == f"{tmp_path}/real"
        assert not root.replaced()
        os.unlink(tmp_path / "way")
        os.symlink("other", tmp_path / "way")
        assert root.replaced()
        with work.target(ClientPath(f"{tmp_path}/way/f"), Access.READ) as target:
            assert read_all(target, 10)[0] == b"text"


@pytest.mark.parametrize("happens", ["replaced", "removed"])
def test_root_that_was_replaced_or_removed_is_noticed(happens: str, tmp_path: Path) -> None:
    build(tmp_path, ["dir root"])
    with workspace(rules(tmp_path / "root")) as work:
        assert not work.roots[0].replaced()
        os.rmdir(tmp_path / "root")
        if happens == "replaced":
            build(tmp_path, ["file root/f new"])
        assert work.roots[0].replaced()
        with pytest.raises(NotFound):
            work.target(ClientPath("f"), Access.READ)
        with pytest.raises(FsserverError):
            work.target(ClientPath("f"), Access.WRITE)


def test_view_with_other_rules_has_the_same_directory_and_index(tmp_path: Path) -> None:
    with workspace(rules(tmp_path, deny=["x"])) as work:
        root = work.roots[0]
        view = root.with_rules(rules(tmp_path, deny=["x"], mode=Mode.RO))
        assert (view.fd, view.identity, view.usage, view.aliases) == (root.fd, root.identity, root.usage, root.aliases)
        stricter = root.with_rules(rules(tmp_path, deny=["x", "y"]))
        assert stricter.usage is root.usage
        assert stricter.aliases is not root.aliases


def test_without_proc_no_root_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(descriptor: int) -> str:
        raise FileNotFoundError(2, f"/proc/self/fd/{descriptor}")

    monkeypatch.setattr(root_module, "descriptor_path", absent)
    with pytest.raises(KernelUnsupported, match="/proc is not mounted"):
        Root.open(rules(tmp_path))


@pytest.mark.parametrize("number", [38, 1])  # ENOSYS before Linux 5.6, EPERM from a seccomp filter
def test_without_openat2_the_walk_takes_its_place(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(directory: int, path: bytes, how: syscalls.OpenHow) -> int:
        raise OSError(number, "openat2")

    build(tmp_path, ["file root/f text", "link root/out -> ../x", "file x secret"])
    monkeypatch.setattr("fsserver.paths.resolver.openat2", forbidden)
    with workspace(rules(tmp_path / "root"), resolver=OpenAt2Resolver()) as work:
        with work.target(ClientPath("f"), Access.READ) as target:
            assert read_all(target, 10)[0] == b"text"
        with pytest.raises(FsserverError) as raised:
            work.target(ClientPath("out"), Access.READ)
    assert raised.value.code == "denied.link_escape"


def test_rename_that_races_with_dotdot_is_retried_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []

    def racing(directory: int, path: bytes, how: syscalls.OpenHow) -> int:
        calls.append(path)
        raise OSError(11, "openat2")

    build(tmp_path, ["file f text"])
    monkeypatch.setattr("fsserver.paths.resolver.openat2", racing)
    with workspace(rules(tmp_path), resolver=OpenAt2Resolver()) as work, pytest.raises(FsserverError) as raised:
        work.target(ClientPath("f"), Access.READ)
    assert raised.value.code == "denied.unstable"
    assert raised.value.transient
    assert 1 < len(calls) <= 100


def test_walk_needs_no_permission_that_openat2_does_not_need(tmp_path: Path) -> None:
    build(tmp_path, ["file d/f text"])
    (tmp_path / "d").chmod(0o711)
    for resolver in (OpenAt2Resolver(), WalkResolver()):
        with (
            workspace(rules(tmp_path), resolver=resolver) as work,
            work.target(ClientPath("d/f"), Access.READ) as target,
        ):
            assert target.name == "d/f"
