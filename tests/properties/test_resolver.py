"""The resolvers against a slow model of what they must do, on random trees of directories, files and links."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fsserver.errors import BadPath
from fsserver.paths.client import ClientPath, parse
from fsserver.paths.names import collapse, components, display, undisplay
from fsserver.paths.resolver import EscapeError, OpenAt2Resolver, Resolver, WalkResolver
from fsserver.paths.root import Root
from tests.trees import rules

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.sampled_from(["a", "b", "c", "..", "."])
ROOT = "{root}"


@dataclass(eq=False)
class Node:
    """A directory, a file (no ``children``) or a link (``text``)."""

    parent: Node | None
    children: dict[str, Node] | None = None
    text: str | None = None
    below: list[str] = field(default_factory=list)


def _texts() -> st.SearchStrategy[str]:
    relative = st.lists(STEPS, min_size=1, max_size=5).map("/".join)
    absolute = st.lists(STEPS, max_size=4).map(lambda parts: "/".join([ROOT, *parts]))
    outside = st.sampled_from(["/", "/etc", ROOT + "-evil/a", "/proc/self/cwd", "../outside/a", ROOT + "/../outside"])
    return st.tuples(st.one_of(relative, absolute, outside), st.sampled_from(["", "", "/"])).map("".join)


TREES = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=4), st.one_of(st.just("dir"), st.just("file"), _texts())),
    max_size=14,
)
PATHS = st.lists(
    st.tuples(st.lists(st.sampled_from(["a", "b", "c", "a", "b", ".."]), min_size=1, max_size=6), st.booleans()),
    min_size=1,
    max_size=8,
)


def _grow(top: str, plan: list[tuple[list[str], str]]) -> Node:
    """Make what can be made of the plan, on disk and in the model alike."""
    root = Node(None, {})
    for names, kind in plan:
        node = root
        for name in names[:-1]:
            assert node.children is not None
            node = node.children.setdefault(name, Node(node, {}))
            if node.children is None:
                break
        if node.children is None or names[-1] in node.children:
            continue
        made = Node(node, {} if kind == "dir" else None, None if kind in ("dir", "file") else kind)
        node.children[names[-1]] = made
    _write(top, top, root)
    return root


def _write(top: str, here: str, node: Node) -> None:
    for name, child in (node.children or {}).items():
        path = os.path.join(here, name)
        if child.children is not None:
            os.mkdir(path)
            _write(top, path, child)
        elif child.text is not None:
            child.text = child.text.replace(ROOT, top)
            os.symlink(child.text, path)
        else:
            os.close(os.open(path, os.O_CREAT))


def _model(root: Node, prefix: list[str], parts: list[str], *, follow: bool) -> Node | int | None:
    """The node, an errno, or None for an escape: one component after the other, as path_resolution(7) says."""
    here, pending, links = root, parts[::-1], 0
    while pending:
        part = pending.pop()
        children = here.children
        if children is None:
            return errno.ENOTDIR
        if part == ".":
            continue
        if part == "..":
            if here.parent is None:
                return None
            here = here.parent
            continue
        child = children.get(part)
        if child is None:
            return errno.ENOENT
        if child.text is None or not (pending or follow):
            here = child
            continue
        links += 1
        if links > 40:
            return errno.ELOOP
        steps = [step for step in child.text.split("/") if step]
        if child.text.startswith("/"):
            if steps[: len(prefix)] != prefix:
                return None
            here, steps = root, steps[len(prefix) :]
        if child.text.endswith("/"):
            steps.append(".")
        pending += reversed(steps)
    return here


def _name(node: Node) -> Iterator[str]:
    if node.parent is not None:
        yield from _name(node.parent)
        yield next(name for name, child in (node.parent.children or {}).items() if child is node)


def _real(resolver: Resolver, root: Root, parts: list[str], *, follow: bool) -> tuple[int, int] | int | None:
    try:
        descriptor = resolver.open(root, "/".join(parts), follow=follow)
    except EscapeError:
        return None
    except OSError as error:
        return error.errno
    try:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino
    finally:
        os.close(descriptor)


@settings(max_examples=300)
@given(TREES, PATHS)
def test_both_resolvers_do_as_the_model_does(
    plan: list[tuple[list[str], str]], paths: list[tuple[list[str], bool]]
) -> None:
    base = tempfile.mkdtemp()
    try:
        top = os.path.join(base, "root")
        os.mkdir(top)
        model = _grow(top, plan)
        root = Root.open(rules(top))
        try:
            for parts, follow in paths:
                expected: tuple[int, int] | int | None
                answer = _model(model, list(root.prefixes[0]), parts, follow=follow)
                if isinstance(answer, Node):
                    status = os.lstat("/".join([top, *_name(answer)]))
                    expected = (status.st_dev, status.st_ino)
                else:
                    expected = answer
                for resolver in (OpenAt2Resolver(), WalkResolver()):
                    assert _real(resolver, root, parts, follow=follow) == expected, type(resolver)
        finally:
            root.close()
    finally:
        shutil.rmtree(base)


FILE_NAMES = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"").replace(b"/", b"")).filter(bool)


@given(FILE_NAMES)
@example(b"a\xe2\x80\xa8b\xc2\x85c\xc2\x9b31m")
def test_any_file_name_is_shown_on_one_line_of_valid_text_and_comes_back(raw: bytes) -> None:
    shown = display(os.fsdecode(raw))
    shown.encode()
    assert len(shown.splitlines()) == 1
    assert not any(unicodedata.category(character) == "Cc" for character in shown)
    assert os.fsencode(undisplay(shown)) == raw


@given(
    st.lists(st.sampled_from(["\\", "x", "5", "c", "f", "0", "a", "\\x5c", "\\xff", "\udcff", "\n"]), min_size=1).map(
        "".join
    )
)
def test_names_that_look_like_escapes_come_back(name: str) -> None:
    name = os.fsdecode(os.fsencode(name))
    assert undisplay(display(name)) == name


@given(st.text(min_size=1))
def test_ordinary_text_without_backslashes_is_shown_as_it_is(text: str) -> None:
    if text.isprintable() and "\\" not in text:
        assert display(text) == text


@given(st.text(max_size=200))
def test_parsed_components_are_single_names(text: str) -> None:
    try:
        request = parse(ClientPath(text), "/home/user")
    except BadPath:
        return
    for part in request.parts:
        assert part not in ("", ".")
        assert "/" not in part
        assert "\0" not in part
        assert os.fsdecode(os.fsencode(part)) == part


@given(st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=12))
def test_collapsed_components_never_climb(parts: list[str]) -> None:
    path = "/".join(parts)
    collapsed = collapse(components(path))
    normal = os.path.normpath("/top/" + path)
    if collapsed is None:
        depth = 0
        for part in components(path):
            depth += -1 if part == ".." else 1
            if depth < 0:
                return
        raise AssertionError("it never climbs above its beginning")
    assert normal == os.path.normpath("/top/" + "/".join(collapsed))
