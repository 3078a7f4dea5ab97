"""Globs against two references: a slow matcher written from gitignore(5), and the pathspec library."""

from __future__ import annotations

from functools import cache

import pathspec
from hypothesis import given
from hypothesis import strategies as st

from fsserver.policy.globs import components
from fsserver.policy.rules import Matcher, Origin, PathRule

HERE = Origin("test.yaml", 1)

NAMES = st.lists(
    st.text("ab.-*", min_size=1, max_size=5).filter(lambda part: part not in (".", "..")), min_size=1, max_size=6
)
PIECES = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "[a-b]", r"\*"]), min_size=1, max_size=5)
PARTS = st.one_of(PIECES.map("".join).filter(lambda part: part not in (".", "..")), st.just("**"))


@st.composite
def globs(draw: st.DrawFn) -> str:
    parts = draw(st.lists(PARTS, min_size=1, max_size=4))
    return draw(st.sampled_from(["", "/"])) + "/".join(parts)


def found(glob: str, name: str) -> bool:
    return Matcher([PathRule(glob, HERE)]).find(name) is not None


def slow(glob: str, name: str) -> bool:
    """By trying every way in which stars can match, without a regular expression."""
    parts, names = components(glob), tuple(name.split("/"))

    @cache
    def path(i: int, j: int) -> bool:
        if i == len(parts):
            return True  # and everything below
        if parts[i] == "**":
            if i == len(parts) - 1:
                return j < len(names)
            return path(i + 1, j) or (j < len(names) and path(i, j + 1))
        return j < len(names) and component(parts[i], names[j]) and path(i + 1, j + 1)

    return path(0, 0)


def component(part: str, name: str) -> bool:
    if not part:
        return not name
    if part[0] == "*":
        return component(part[1:], name) or (bool(name) and component(part, name[1:]))
    if not name:
        return False
    if part[0] == "[":
        end = part.index("]")
        inside = part[1:end]
        matches = name[0] not in inside[1:] if inside[0] == "!" else name[0] in inside.replace("-", "")
        return matches and component(part[end + 1 :], name[1:])
    if part[0] == "\\":
        return name[0] == part[1] and component(part[2:], name[1:])
    return (part[0] == "?" or part[0] == name[0]) and component(part[1:], name[1:])


@given(globs(), NAMES)
def test_a_glob_matches_what_the_slow_reference_matches(glob: str, name: list[str]) -> None:
    assert found(glob, "/".join(name)) is slow(glob, "/".join(name))


@given(globs().filter(lambda glob: "!" not in glob and not glob.endswith("/*")), NAMES)
def test_a_glob_matches_what_pathspec_matches(glob: str, name: list[str]) -> None:
    """Where both mean the same.

    pathspec lets a negated class match a slash, which git does not; and it takes ``a/*`` for what lies directly in
    ``a``, while a rule of ours covers what lies below a covered directory.
    """
    joined = "/".join(name)
    expected = pathspec.PathSpec.from_lines("gitignore", [glob]).match_file(joined)
    assert found(glob, joined) is expected


@given(globs(), NAMES, NAMES)
def test_what_lies_below_a_covered_name_is_covered(glob: str, name: list[str], below: list[str]) -> None:
    if found(glob, "/".join(name)):
        assert found(glob, "/".join([*name, *below]))
