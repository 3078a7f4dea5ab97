"""Paths that lead somewhere inside: all the spellings that must keep working, on both resolvers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from fsserver.errors import FsserverError, LinkLoop, NotADirectory, NotFound, OutsideRoots
from fsserver.paths import moving, reading, writing
from fsserver.paths.names import display
from fsserver.paths.resolver import OpenAt2Resolver, Resolver, WalkResolver
from fsserver.paths.root import Root
from fsserver.paths.workspace import Access, ClientPath, require_unmoved
from fsserver.policy.compiled import Action, Effect, Mode
from tests.trees import build, rules, workspace

RESOLVERS: dict[str, type[Resolver]] = {"openat2": OpenAt2Resolver, "walk": WalkResolver}
BOTH = pytest.mark.parametrize("resolver", RESOLVERS)


class RemovingResolver(OpenAt2Resolver):
    """Removes a file when a name that ends as the kernel marks removed ones has been opened."""

    def __init__(self, victim: Path) -> None:
        super().__init__()
        self._victim = victim

    def open(self, root: Root, name: str, *, follow: bool = True) -> int:
        handle = super().open(root, name, follow=follow)
        if name.endswith(" (deleted)"):
            self._victim.unlink()
        return handle


@dataclass(frozen=True)
class Row:
    """``path`` reads "text", and the object is called ``found`` beneath the root."""

    name: str
    path: str
    found: str = "file.txt"
    tree: Sequence[str] = ()


CHAIN = ["link root/l1 -> file.txt", *(f"link root/l{n} -> l{n - 1}" for n in range(2, 42))]
DEEP = "/".join(["d"] * 900)
BELOW = "file root/dir/file.txt text"

ROWS = [
    Row("relative", "file.txt"),
    Row("dot", "./file.txt"),
    Row("absolute", "{base}/root/file.txt"),
    Row("two_slashes", "{base}//root//file.txt"),
    Row("trailing_slash", "file.txt/"),
    Row("dotdot", "dir/../file.txt"),
    Row("dotdot_to_the_root", "dir/sub/../../file.txt"),
    Row("dotdot_through_the_roots_name", "{base}/root/../root/file.txt"),
    Row("dotdot_relative_through_the_roots_name", "../root/file.txt"),
    Row("dotdot_before_the_root", "{base}/nowhere/../root/file.txt"),
    Row("dotdot_above_slash", "/../..{base}/root/file.txt"),
    Row("home", "~/root/file.txt"),
    Row("roots_other_spelling", "{base}/way/file.txt"),
    Row("link", "l", tree=["link root/l -> file.txt"]),
    Row("link_from_below", "dir/l", tree=["link root/dir/l -> ../file.txt"]),
    Row("absolute_link", "l", tree=["link root/l -> {base}/root/file.txt"]),
    Row("absolute_link_in_the_other_spelling", "l", tree=["link root/l -> {base}/way/file.txt"]),
    Row("absolute_link_to_the_root", "l/file.txt", tree=["link root/l -> {base}/root"]),
    Row("absolute_link_to_a_directory", "l/file.txt", "dir/file.txt", [BELOW, "link root/l -> {base}/root/dir"]),
    Row("link_on_absolute_link", "m", tree=["link root/l -> {base}/root/file.txt", "link root/m -> dir/../l"]),
    Row("link_to_directory_with_slash", "l/file.txt", "dir/file.txt", [BELOW, "link root/l -> dir/"]),
    Row("link_to_dot", "l/l/l/file.txt", tree=["link root/l -> ."]),
    Row("dotdot_after_link", "l/../file.txt", "dir/file.txt", [BELOW, "link root/l -> dir/sub"]),
    Row("forty_links", "l40", tree=CHAIN),
    Row("percent_encoding_is_a_name", "%2e%2e", "%2e%2e"),
    Row("tilde_user_is_a_name", "~root", "~root"),
    Row("tilde_below_is_a_name", "./~", "~"),
    Row("variable_is_a_name", "$HOME", "$HOME"),
    Row("backslash_is_a_name", "a\\..\\b", "a\\..\\b"),
    Row("name_that_looks_escaped", "a\\x5cxff", "a\\xff"),
    Row("file_url_is_a_name", "file:///x", "file:/x"),
    Row("quotes_and_spaces_are_a_name", ' "x" ', ' "x" '),
    Row("three_dots_are_a_name", "...", "..."),
    Row("dots_in_a_name", "..a", "..a"),
    Row("newline_in_a_name", "a\nb", "a\nb"),
    Row("longest_name", "n" * 255, "n" * 255),
    Row("deep", DEEP + "/f", DEEP + "/f"),
    Row("marked_like_a_removed_one", "f (deleted)", "f (deleted)"),
    Row("composed", "caf\u00e9", "caf\u00e9"),
    Row("composed_for_decomposed", "caf\u00e9", "cafe\u0301"),
    Row("decomposed_for_composed", "cafe\u0301", "caf\u00e9"),
    Row("equivalent_directory", "e\u0301/file.txt", "\u00e9/file.txt"),
    Row("exact_form_wins", "caf\u00e9", "caf\u00e9", ["file root/cafe\u0301 other"]),
]


@BOTH
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_path_leads_to_the_file_inside(row: Row, resolver: str, tmp_path: Path) -> None:
    build(tmp_path, ["file root/file.txt text", "dir root/dir/sub", "link way -> root", *row.tree])
    wanted = tmp_path / "root" / row.found
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text("text")
    path = row.path.replace("{base}", str(tmp_path))
    with (
        workspace(rules(tmp_path / "way"), resolver=RESOLVERS[resolver](), home=str(tmp_path)) as work,
        work.target(ClientPath(path), Access.READ) as target,
    ):
        assert reading.read_all(target, 100)[0] == b"text"
        assert target.name == row.found
        assert target.resolved == f"{tmp_path}/root/{row.found}"


@BOTH
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_object_has_the_same_name_for_each_path_of_one_call(row: Row, resolver: str, tmp_path: Path) -> None:
    build(tmp_path, ["file root/file.txt text", "dir root/dir/sub", "link way -> root", *row.tree])
    wanted = tmp_path / "root" / row.found
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text("text")
    path = ClientPath(row.path.replace("{base}", str(tmp_path)))
    seen: dict[Root, str] = {}
    with workspace(rules(tmp_path / "way"), resolver=RESOLVERS[resolver](), home=str(tmp_path)) as work:
        for _ in range(2):
            with work.target(path, Access.READ, seen) as target:
                assert target.name == row.found
        assert list(seen.values()) == [f"{tmp_path}/root"]
        require_unmoved(seen)


def test_removed_file_is_not_taken_for_one_that_is_called_like_it(tmp_path: Path) -> None:
    build(tmp_path, ["file root/f text", "file root/a text", "link root/f (deleted) -> f"])
    with workspace(rules(tmp_path / "root"), resolver=RemovingResolver(tmp_path / "root/f")) as work:
        seen: dict[Root, str] = {}
        work.target(ClientPath("a"), Access.READ, seen).close()
        with pytest.raises(NotFound):
            work.target(ClientPath("f (deleted)"), Access.READ, seen)


ENOENT = "ENOENT: no such file or directory, open '{root}/"
ENOTDIR = "ENOTDIR: not a directory, realpath '{root}"
ELOOP = "ELOOP: too many symbolic links encountered, realpath '{root}/"
ERRORS: list[tuple[str, str, Sequence[str], type[FsserverError], str]] = [
    ("missing", "no.txt", [], NotFound, ENOENT + "no.txt'"),
    ("missing_directory", "no/x.txt", [], NotFound, ENOENT + "no/x.txt'"),
    ("missing_then_up", "no/../file.txt", [], NotFound, ENOENT + "no/../file.txt'"),
    ("missing_then_below", "no/../dir/x", [], NotFound, ENOENT + "no/../dir/x'"),
    ("below_a_file", "file.txt/x", [], NotADirectory, ENOTDIR + "/file.txt/x'"),
    ("up_from_a_file", "file.txt/..", [], NotADirectory, ENOTDIR + "/file.txt/..'"),
    ("dangling", "l", ["link root/l -> no.txt"], NotFound, ENOENT + "l'"),
    ("dangling_absolute", "l", ["link root/l -> {base}/root/no"], NotFound, ENOENT + "l'"),
    ("link_to_itself", "l", ["link root/l -> l"], LinkLoop, ELOOP + "l'"),
    ("two_links", "l/x", ["link root/l -> m", "link root/m -> {base}/root/l"], LinkLoop, ELOOP + "l/x'"),
    ("forty_one_links", "l41", CHAIN, LinkLoop, ELOOP + "l41'"),
    ("link_to_file_with_slash", "l", ["link root/l -> file.txt/"], NotADirectory, ENOTDIR + "/l'"),
    ("home", "~/x", [], OutsideRoots, "Access denied - path outside allowed directories: ~/x not in {root}"),
]


@BOTH
@pytest.mark.parametrize(("path", "tree", "error", "text"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_path_that_leads_nowhere_says_so(
    path: str, tree: Sequence[str], error: type[FsserverError], text: str, resolver: str, tmp_path: Path
) -> None:
    build(tmp_path, ["file root/file.txt text", "dir root/dir", *tree])
    with (
        workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work,
        pytest.raises(error) as raised,
        work.target(ClientPath(path), Access.READ),
    ):
        pass
    assert raised.value.message == text.format(root=f"{tmp_path}/root")


@BOTH
def test_name_too_long_for_the_kernel_to_tell_is_refused_as_that(resolver: str, tmp_path: Path) -> None:
    depth = (4090 - len("/x")) // 2
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with workspace(rules(tmp_path), resolver=RESOLVERS[resolver]()) as work:
        for access in (Access.READ, Access.LIST, Access.WRITE, Access.MAKE_DIRECTORY, Access.DELETE):
            with pytest.raises(FsserverError) as raised:
                work.target(ClientPath("d/" * depth + "x"), access)
            assert raised.value.code == "request.path"
            assert raised.value.message.startswith("ENAMETOOLONG: name too long, realpath '")
        with work.target(ClientPath("d"), Access.DELETE) as target:
            moving.delete(target, recursive=True)


def test_links_that_go_down_and_up_again_end_the_walk_in_time(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 600)
    os.makedirs(tmp_path / deep)
    for number in range(40):
        os.symlink(f"{deep}{'/..' * 600}/l{number + 1}", tmp_path / f"l{number}")
    (tmp_path / "l40").write_text("text")
    started = time.monotonic()
    with workspace(rules(tmp_path), resolver=WalkResolver()) as work, pytest.raises(LinkLoop):
        work.target(ClientPath("l0"), Access.READ)
    assert time.monotonic() - started < 5


def test_ambiguous_unicode_form_is_refused(tmp_path: Path) -> None:
    # Three spellings of one name: the client's own, which is absent, and two on disk.
    build(tmp_path, ["file \u212b.txt one", "file A\u030a.txt two"])
    with workspace(rules(tmp_path)) as work, pytest.raises(FsserverError) as raised:
        work.target(ClientPath("\u00c5.txt"), Access.READ)
    assert raised.value.message == "Ambiguous Unicode path component: \u00c5.txt"


@BOTH
def test_name_that_is_not_utf8_round_trips(resolver: str, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9\n.txt"
    Path(os.fsdecode(raw)).write_text("text")
    with workspace(rules(tmp_path), resolver=RESOLVERS[resolver]()) as work:
        with work.target(ClientPath("."), Access.LIST) as target:
            (entry,) = reading.list_entries(target)
            shown = display(entry.name)
        assert shown == "caf\\xe9\\x0a.txt"
        with work.target(ClientPath(shown), Access.READ) as target:
            assert reading.read_all(target, 100)[0] == b"text"
            assert display(target.shown) == f"{tmp_path}/{shown}"
        with work.target(ClientPath("new\\xff"), Access.WRITE) as target:
            writing.write_file(target, b"made")
    assert Path(os.fsdecode(os.fsencode(tmp_path) + b"/new\xff")).read_bytes() == b"made"


def test_relative_path_means_the_first_root_where_it_exists(tmp_path: Path) -> None:
    build(tmp_path, ["file one/a A1", "file two/a A2", "file two/b B2", "dir two/sub"])
    with workspace(rules(tmp_path / "one", name="one"), rules(tmp_path / "two", name="two")) as work:

        def found(path: str, access: Access) -> str:
            with work.target(ClientPath(path), access) as target:
                return target.shown.removeprefix(f"{tmp_path}/")

        assert found("a", Access.READ) == "one/a"
        assert found("b", Access.READ) == "two/b"
        assert found("b", Access.WRITE) == "two/b"
        assert found("new", Access.WRITE) == "one/new"
        assert found("sub/new", Access.WRITE) == "two/sub/new"
        assert found("../two/b", Access.READ) == "two/b"
        with pytest.raises(NotFound, match="one/none"):
            found("none", Access.READ)


Two: TypeAlias = tuple[dict[str, Any], dict[str, Any]]  # what the rules of two roots say

READ_ONLY_SECOND: Two = ({}, {"mode": Mode.RO})
READ_ONLY_FIRST: Two = ({"mode": Mode.RO}, {})
DENIED_SECOND: Two = ({}, {"deny": ["**/secret"]})
NOT_CREATED_FIRST: Two = ({"operations": {Action.CREATE: Effect.DENY}}, {})


@BOTH
@pytest.mark.parametrize(
    ("roots", "path", "access", "found"),
    [
        (READ_ONLY_SECOND, "new", Access.WRITE, "one/new"),
        (READ_ONLY_SECOND, "new", Access.CREATE, "one/new"),
        (READ_ONLY_SECOND, "new/below", Access.MAKE_DIRECTORY, "one/new/below"),
        (READ_ONLY_SECOND, "sub/new", Access.WRITE, "resource.not_found"),  # only the second has that directory
        (READ_ONLY_SECOND, "none/new", Access.WRITE, "resource.not_found"),
        (READ_ONLY_SECOND, "none", Access.EDIT, "resource.not_found"),
        (READ_ONLY_SECOND, "none", Access.DELETE, "resource.not_found"),
        (READ_ONLY_SECOND, "b", Access.WRITE, "denied.read_only"),  # it is there, and so it is meant
        (READ_ONLY_SECOND, "b", Access.READ, "two/b"),
        (READ_ONLY_FIRST, "b", Access.EDIT, "two/b"),
        (READ_ONLY_FIRST, "b", Access.DELETE, "two/b"),
        (READ_ONLY_FIRST, "new", Access.WRITE, "two/new"),
        (READ_ONLY_FIRST, "a", Access.WRITE, "denied.read_only"),
        (READ_ONLY_FIRST, "none", Access.EDIT, "resource.not_found"),
        (NOT_CREATED_FIRST, "new", Access.WRITE, "two/new"),
        (NOT_CREATED_FIRST, "a", Access.WRITE, "one/a"),
        (DENIED_SECOND, "secret", Access.READ, "denied.protected"),  # nobody is told whether the second has it
        (DENIED_SECOND, "secret", Access.WRITE, "denied.protected"),
        (DENIED_SECOND, "new", Access.WRITE, "one/new"),
    ],
)
def test_relative_path_passes_over_roots_that_refuse_what_they_do_not_have(
    roots: Two,
    path: str,
    access: Access,
    found: str,
    resolver: str,
    tmp_path: Path,
) -> None:
    build(tmp_path, ["file one/a A1", "file two/b B2", "dir two/sub"])
    one, two = (rules(tmp_path / name, name=name, **more) for name, more in zip(("one", "two"), roots, strict=True))
    with workspace(one, two, resolver=RESOLVERS[resolver]()) as work:
        before = len(os.listdir("/proc/self/fd"))
        try:
            with work.target(ClientPath(path), access) as target:
                result = target.shown.removeprefix(f"{tmp_path}/")
        except FsserverError as error:
            result = error.code
        assert result == found
        assert len(os.listdir("/proc/self/fd")) == before


@BOTH
@pytest.mark.parametrize("path", ["", ".", "./", "dir/.."])
def test_path_of_no_name_is_the_first_root(path: str, resolver: str, tmp_path: Path) -> None:
    build(tmp_path, ["dir root/dir"])
    with (
        workspace(rules(tmp_path / "root"), resolver=RESOLVERS[resolver]()) as work,
        work.target(ClientPath(path), Access.LIST) as target,
    ):
        assert target.name == ""
        assert target.shown == f"{tmp_path}/root"


@BOTH
@pytest.mark.parametrize(("access", "instead"), [(Access.WRITE, "create_directory"), (Access.READ, None)])
def test_missing_directory_says_how_to_make_it_to_those_who_write(
    access: Access, instead: str | None, resolver: str, tmp_path: Path
) -> None:
    with workspace(rules(tmp_path), resolver=RESOLVERS[resolver]()) as work, pytest.raises(NotFound) as raised:
        work.target(ClientPath("none/x.txt"), access)
    assert (raised.value.allowed_instead or "").split(" ")[0] == (instead or "")


def test_open_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    build(tmp_path, ["file a/f x", "link a/out -> /etc", "link a/l -> f", "dir b"])
    with workspace(rules(tmp_path / "a", name="a", deny=["x*"]), rules(tmp_path / "b", name="b")) as work:
        before = len(os.listdir("/proc/self/fd"))
        for path in ("f", "out", "l", "no", "no/no", "f/x", "xx", "../..", "", "e\u0301"):
            for access in Access:
                try:
                    work.target(ClientPath(path), access).close()
                except FsserverError:
                    continue
        assert len(os.listdir("/proc/self/fd")) == before
