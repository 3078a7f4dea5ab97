"""Listing and walking: in order, without links, in bounded descriptors, showing protected names and nothing of them."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from fsserver.errors import (
    Cancelled,
    FsserverError,
    InputOutputError,
    NotADirectory,
    PermissionDenied,
    ProtectedName,
    UnstablePath,
)
from fsserver.paths import moving, reading, tree
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath
from tests.support import in_child
from tests.trees import build, rules, workspace

TREE = [
    "file b/z 1",
    "file b/Z 1",
    "file a/x/deep 1",
    "file a.txt 1",
    "file \u00e9 1",
    "link l -> a",
    "link out -> /etc",
    "link broken -> nowhere",
    "link secret -> .env",
    "fifo p",
    "file .env KEY",
    "file .ssh/id KEY",
]
DENY = [".env", ".ssh"]


def test_listing_is_sorted_by_bytes_and_tells_kinds(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    with workspace(rules(tmp_path, deny=DENY)) as work, work.target(ClientPath("."), Access.LIST) as target:
        entries = list(reading.list_entries(target))
    names = [entry.name for entry in entries]
    assert names == sorted(names, key=os.fsencode)
    assert {entry.name: entry.kind for entry in entries} == {
        ".env": "file",
        ".ssh": "directory",
        "a": "directory",
        "a.txt": "file",
        "b": "directory",
        "broken": "link",
        "l": "link",
        "out": "link",
        "p": "other",
        "secret": "link",
        "\u00e9": "file",
    }
    assert {entry.name for entry in entries if entry.protected} == {".env", ".ssh"}


def test_entry_tells_about_itself_and_where_a_link_leads(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    with workspace(rules(tmp_path, deny=DENY)) as work:
        with work.target(ClientPath("."), Access.LIST) as target:
            entries = {entry.name: entry for entry in reading.list_entries(target)}
            open_sizes = {name: entry.stat().st_size for name, entry in entries.items() if not entry.protected}
        assert open_sizes["a.txt"] == 1
        assert open_sizes["out"] == len("/etc")
        # After the target was closed its descriptor may mean anything; the entry must not use it.
        assert entries["a.txt"].stat().st_size == 1
        with pytest.raises(ProtectedName):
            entries[".env"].stat()
        leads = {name: entry.leads_to() for name, entry in entries.items()}
    assert leads["l"] == "directory"
    assert leads["a.txt"] == "file"
    assert (leads["out"], leads["broken"], leads["secret"]) == (None, None, None)


def test_walk_goes_depth_first_and_stays_out_of_links_and_denied_directories(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    with workspace(rules(tmp_path, deny=DENY)) as work, work.target(ClientPath("."), Access.LIST) as target:
        walked = [(entry.path, entry.depth) for entry in tree.walk(target)]
    assert walked == [
        (".env", 1),
        (".ssh", 1),
        ("a", 1),
        ("a/x", 2),
        ("a/x/deep", 3),
        ("a.txt", 1),
        ("b", 1),
        ("b/Z", 2),
        ("b/z", 2),
        ("broken", 1),
        ("l", 1),
        ("out", 1),
        ("p", 1),
        ("secret", 1),
        ("\u00e9", 1),
    ]


def test_walk_can_be_bounded_pruned_and_ended(tmp_path: Path) -> None:
    build(tmp_path, ["file a/b/c x", "file d/e x"])
    with workspace(rules(tmp_path)) as work, work.target(ClientPath(""" . """.strip()), Access.LIST) as target:
        assert [entry.path for entry in tree.walk(target, max_depth=1)] == ["a", "d"]
        assert [entry.path for entry in tree.walk(target, max_depth=2)] == ["a", "a/b", "d", "d/e"]
        assert [entry.path for entry in tree.walk(target, enter=lambda entry: entry.name != "a")] == ["a", "d", "d/e"]
        calls: list[None] = []

        def stop() -> None:
            calls.append(None)
            if len(calls) == 3:
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            list(tree.walk(target, checkpoint=stop))


def test_walk_of_a_file_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["file f x"])
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("f"), Access.LIST) as target:
        for listing in (reading.list_entries, tree.walk):
            with pytest.raises(NotADirectory) as raised:
                list(listing(target))
            assert raised.value.message == f"ENOTDIR: not a directory, scandir '{tmp_path}/f'"


def test_unlistable_directory_is_an_error_or_reported(open_tmp_path: Path) -> None:
    build(open_tmp_path, ["dir a", "file b x"])
    (open_tmp_path / "a").chmod(0)
    if os.geteuid() == 0:
        os.chown(open_tmp_path / "a", 1234, 1234)

    def attempt() -> tuple[str, list[str], list[str]]:
        reported: list[str] = []
        with workspace(rules(open_tmp_path)) as work, work.target(ClientPath("."), Access.LIST) as target:
            with pytest.raises(PermissionDenied) as raised:
                list(tree.walk(target))
            seen = [entry.path for entry in tree.walk(target, unreadable=lambda entry, _: reported.append(entry.path))]
        return raised.value.message, seen, reported

    message, seen, reported = in_child(attempt, unprivileged=True)
    (open_tmp_path / "a").chmod(0o700)
    assert message == f"EACCES: permission denied, scandir '{open_tmp_path}/a'"
    assert (seen, reported) == (["a", "b"], ["a"])


def _deep(base: Path, levels: int) -> None:
    """A chain of directories far beyond what one path can name."""
    here = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_five_thousand_levels_are_walked_and_deleted_with_few_descriptors(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    _deep(tmp_path / "top", 5000)

    def attempt() -> tuple[int, str]:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))
        with workspace(rules(tmp_path)) as work:
            with work.target(ClientPath("top"), Access.LIST) as target:
                depth, name = max((entry.depth, entry.name) for entry in tree.walk(target))
            with work.target(ClientPath("top"), Access.DELETE) as target:
                moving.delete(target, recursive=True)
        return depth, name

    assert in_child(attempt) == (5001, "bottom")
    assert os.listdir(tmp_path) == []


def test_walk_finds_its_way_back_up_past_the_descriptors_it_gave_back(tmp_path: Path) -> None:
    deep = "/".join(f"d{level}" for level in range(100))
    build(tmp_path, [f"file {deep}/bottom x"])
    for level in range(100):
        build(tmp_path / "/".join(f"d{n}" for n in range(level)), [f"file z{level} x", f"file y{level}/in x"])
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("."), Access.LIST) as target:
        names = [entry.name for entry in tree.walk(target)]
    assert len(names) == 100 + 1 + 300
    assert names[100] == "bottom"
    assert names[-3:] == ["y0", "in", "z0"]


def test_walk_that_has_no_descriptors_left_on_its_way_up_fails_and_does_not_end_early(tmp_path: Path) -> None:
    build(tmp_path, [f"file {'/'.join(f'd{level}' for level in range(60))}/bottom x", "file sibling x"])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    names: list[str] = []

    def look(target: Target) -> None:
        for entry in tree.walk(target):
            names.append(entry.name)
            if entry.name == "bottom":
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))

    with workspace(rules(tmp_path)) as work, work.target(ClientPath("."), Access.LIST) as target:
        try:
            with pytest.raises(InputOutputError, match="EMFILE"):
                look(target)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert names[-1] == "bottom"


@pytest.mark.parametrize("to", ["inside", "outside"])
def test_directory_moved_during_the_walk_does_not_lead_elsewhere(to: str, tmp_path: Path) -> None:
    deep = "/".join(f"d{level}" for level in range(60))
    build(
        tmp_path, [f"file root/a/{deep}/bottom x", "file root/a/sibling x", "dir root/other", "file outside/secret x"]
    )
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("."), Access.LIST) as target:
        names = []
        for entry in tree.walk(target):
            names.append(entry.name)
            if entry.name == "d40" and entry.depth > 40:
                # Going back up by ".." would now list what is beside the new place.
                place = "root/other/d5" if to == "inside" else "outside/d5"
                os.rename(tmp_path / "root/a/d0/d1/d2/d3/d4/d5", tmp_path / place)
    assert "secret" not in names
    assert "sibling" in names


@pytest.mark.parametrize("what", ["target", "root"])
def test_walked_directory_that_is_moved_itself_is_not_cut_short_in_silence(what: str, tmp_path: Path) -> None:
    build(tmp_path, ["file root/t/a/x x", "file root/t/b/x x"])
    names = []

    def walk() -> None:
        with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("t"), Access.LIST) as target:
            for entry in tree.walk(target):
                names.append(entry.path)
                if entry.name == "a":
                    old = "root/t" if what == "target" else "root"
                    os.rename(tmp_path / old, tmp_path / f"{old}-moved")

    if what == "target":
        with pytest.raises(UnstablePath):
            walk()
    else:  # beneath a root that moved as a whole every name is as it was
        walk()
        assert names == ["t/a", "t/a/x", "t/b", "t/b/x"]


def test_walk_below_a_root_that_was_moved_and_removed_leaves_no_descriptor_open(tmp_path: Path) -> None:
    build(tmp_path, ["dir root/t/a/b", "dir away"])
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("t"), Access.LIST) as target:
        before = len(os.listdir("/proc/self/fd"))

        def walk() -> None:
            for entry in tree.walk(target):
                if entry.name == "a":
                    os.rename(tmp_path / "root/t", tmp_path / "away/t")
                    os.rmdir(tmp_path / "root")

        with pytest.raises(FsserverError):
            walk()
        assert len(os.listdir("/proc/self/fd")) == before


def test_target_cannot_be_listed_through_a_protected_name(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    with workspace(rules(tmp_path, deny=DENY)) as work, pytest.raises(FsserverError) as raised:
        work.target(ClientPath(".ssh"), Access.LIST)
    assert raised.value.code == "denied.protected"


def test_walk_of_many_files_is_quick(tmp_path: Path) -> None:
    for directory in range(100):
        (tmp_path / f"d{directory}").mkdir()
        for file in range(100):
            os.close(os.open(tmp_path / f"d{directory}/f{file}", os.O_CREAT))
    with workspace(rules(tmp_path, deny=DENY)) as work, work.target(ClientPath("."), Access.LIST) as target:
        started = time.process_time()
        assert sum(1 for _ in tree.walk(target)) == 10_100
        # 100,000 files in 0.35 s is the aim; ten times that is a mistake and not a busy machine.
        assert time.process_time() - started < 0.35
