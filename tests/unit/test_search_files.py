"""search_files: the same names whether a cell goes through them or this process, and what it can be asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsserver.policy.compiled import Limits
from fsserver.tools.search import engine, names
from tests.gates import Served, served, texts
from tests.searching import searched
from tests.trees import build, rules

DENY = ["**/.env", "secret"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("search")
    base.chmod(0o755)
    (base / "work").mkdir()
    return base


@pytest.fixture(scope="module")
def cells(place: Path) -> Iterator[Served]:
    with searched(place, [rules(place / "work", deny=DENY)]) as gate:
        yield gate


@pytest.fixture(params=["cell", "walk"])
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    tmp_path.chmod(0o755)
    (tmp_path / "work").mkdir()
    within = searched if request.param == "cell" else served
    with within(tmp_path, [rules(tmp_path / "work", deny=DENY)]) as running:
        yield running


def found(gate: Served, pattern: str = "**", **arguments: Any) -> list[str]:
    """Paths beneath the root, from one result."""
    text = gate.text("search_files", path=str(gate.top), pattern=pattern, **arguments)
    return [] if text == "No matches found" else [os.path.relpath(line, gate.top) for line in text.split("\n")]


TREE = [
    "file a.py x",
    "file b/c.py x",
    "file b/d/e.txt x",
    "file b/.h.py x",
    "dir b.d",
    "dir empty",
    "link b/in -> ../a.py",
    "link b/out -> /etc/passwd",
    "link b/env -> ../.env",
    "file .env x",
    "file secret/key.py x",
    "fifo pipe",
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pattern": "*"}, [".env", "a.py", "b", "b.d", "empty", "pipe", "secret"]),
        ({"pattern": "**/*.py"}, ["a.py", "b/.h.py", "b/c.py"]),
        ({"pattern": "b/**"}, ["b/.h.py", "b/c.py", "b/d", "b/d/e.txt", "b/in"]),
        ({"pattern": "**", "maxDepth": 1}, [".env", "a.py", "b", "b.d", "empty", "pipe", "secret"]),
        ({"pattern": "**/*.py", "maxDepth": 1}, ["a.py"]),
        ({"pattern": "**/*.py", "excludePatterns": ["b"]}, ["a.py"]),
        ({"pattern": "**", "kind": "directory"}, ["b", "b/d", "b.d", "empty", "secret"]),
        ({"pattern": "**", "kind": "file"}, [".env", "a.py", "b/.h.py", "b/c.py", "b/d/e.txt"]),
        ({"pattern": "**/*.{txt,md}"}, ["b/d/e.txt"]),
        ({"pattern": "!**/*.py", "maxDepth": 1}, [".env", "b", "b.d", "empty", "pipe", "secret"]),
        ({"pattern": "*.rs"}, []),
    ],
)
def test_names_are_found_by_a_cell_as_by_a_walk(gate: Served, arguments: dict[str, Any], expected: list[str]) -> None:
    build(gate.top, TREE)
    assert found(gate, **arguments) == expected


def test_newest_come_first_and_what_is_denied_last(gate: Served) -> None:
    build(gate.top, ["file old x", "file new x", "file .env x", "file d/newest x"])
    for name, when in (("old", 10), ("new", 20), (".env", 90), ("d/newest", 30), ("d", 5)):
        os.utime(gate.top / name, (when, when))
    assert found(gate, sortBy="modified") == ["d/newest", "new", "old", "d", ".env"]
    seen: list[str] = []
    cursor = None
    while len(seen) < 5:
        result = gate.call(
            "search_files", path=str(gate.top), pattern="**", sortBy="modified", maxResults=2, cursor=cursor
        )
        seen += texts(result)[0].split("\n")
        cursor = (result.meta or {}).get("fsserver/nextCursor")
    assert cursor is None
    assert [os.path.relpath(each, gate.top) for each in seen] == ["d/newest", "new", "old", "d", ".env"]


@pytest.mark.parametrize("most", [None, 3, 50])
def test_newest_of_more_than_are_held_go_on_page_by_page(
    gate: Served, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    monkeypatch.setattr(names, "MOST_SORTED", 4)
    expected = [f"f{number:02}" for number in range(17)]
    for when, name in enumerate(expected):
        (gate.top / name).touch()
        os.utime(gate.top / name, (100 - when, 100 - when))
    seen: list[str] = []
    cursor = None
    for _ in expected:
        arguments = {"pattern": "*", "sortBy": "modified", "maxResults": most, "cursor": cursor}
        result = gate.call("search_files", path=str(gate.top), **arguments)
        seen += [os.path.relpath(each, gate.top) for each in texts(result)[0].split("\n")]
        cursor = (result.meta or {}).get("fsserver/nextCursor")
        if cursor is None:
            break
    assert seen == expected


def test_denied_file_is_not_dated_by_another_of_its_names(gate: Served) -> None:
    build(gate.top, ["file .env x", "hard other = .env", "file a x"])
    os.utime(gate.top / ".env", (90, 90))
    os.utime(gate.top / "a", (10, 10))
    assert found(gate, sortBy="modified") == ["a", ".env", "other"]


def test_cursor_of_another_order_is_refused(gate: Served) -> None:
    error = gate.error("search_files", path=str(gate.top), pattern="**", sortBy="modified", cursor="a/b")
    assert error["code"] == "request.arguments"
    assert "sortBy" in error["message"]


def test_names_that_are_no_text_are_found_and_read_back(gate: Served) -> None:
    name = os.fsdecode(b"a\xff\n\xc3\xa9.py")
    (gate.top / name).write_text("text")
    (shown,) = found(gate, "**/*.py")
    assert shown == "a\\xff\\x0aé.py"
    assert gate.text("read_text_file", path=f"{gate.top}/{shown}") == "text"


def test_pages_go_on_after_names_that_look_escaped(gate: Served) -> None:
    names = [b"a\\x1f", b"a\x1f", b"a\\x5cx1f", b"a\\xff", b"a\xff", b"b"]
    for name in names:
        (gate.top / os.fsdecode(name)).touch()
    whole = found(gate)
    seen: list[str] = []
    cursor = None
    for _ in range(len(names) + 1):
        result = gate.call("search_files", path=str(gate.top), pattern="**", maxResults=1, cursor=cursor)
        seen.append(os.path.relpath(texts(result)[0], gate.top))
        cursor = (result.meta or {}).get("fsserver/nextCursor")
        if cursor is None:
            break
    assert seen == whole
    assert len(whole) == len(names)


def test_without_ripgrep_gitignore_is_refused_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with served(tmp_path, [rules(tmp_path / "work")]) as gate:
        error = gate.error("search_files", path=str(gate.top), pattern="**", respectGitignore=True)
        assert "respectGitignore cannot be used" in error["message"]
        assert error["allowedInstead"] == "excludePatterns, without it"


def test_what_git_ignores_is_left_out_when_asked_for(cells: Served) -> None:
    base = cells.top / "ignoring"
    build(
        base,
        [
            "file .gitignore build/\n*.log",
            "file .ignore *.py",  # which git does not know
            "file a.py x",
            "file a.log x",
            "file build/x.py x",
            "file sub/.gitignore !keep.log",
            "file sub/keep.log x",
            "file sub/deep/b.py x",
            "file .git/config x",
            "file only/a.log x",
            "dir empty",
        ],
    )

    def search(**arguments: Any) -> list[str]:
        text = cells.text("search_files", path=str(base), respectGitignore=True, **arguments)
        return [os.path.relpath(line, base) for line in text.split("\n")]

    everything = [".gitignore", ".ignore", "a.py", "sub", "sub/.gitignore", "sub/deep", "sub/deep/b.py", "sub/keep.log"]
    assert search(pattern="**") == everything
    assert search(pattern="**", kind="directory") == ["sub", "sub/deep"]
    assert search(pattern="**", maxDepth=1) == [".gitignore", ".ignore", "a.py", "sub"]
    assert search(pattern="**", excludePatterns=["sub/deep"]) == [each for each in everything if "deep" not in each]
    pages = [search(pattern="**", maxResults=1)]
    while len(pages) < len(everything):
        pages.append(search(pattern="**", maxResults=1, cursor=pages[-1][0]))
    assert [each for page in pages for each in page] == everything


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_file_is_no_directory_to_search(gate: Served, kind: str) -> None:
    build(gate.top, [f"{kind} p"])
    error = gate.error("search_files", path="p", pattern="*")
    assert error["message"] == f"ENOTDIR: not a directory, scandir '{gate.top}/p'"
    assert "allowedInstead" not in error


def test_directory_that_git_could_not_read_is_counted_and_a_denied_one_is_not(cells: Served) -> None:
    base = Path(tempfile.mkdtemp(dir=cells.top))
    base.chmod(0o755)
    build(base, ["file open x", "file shut/a x", "file secret/a x", "file .env x"])
    (base / "shut").chmod(0)
    try:
        result = cells.call("search_files", path=str(base), pattern="o*", respectGitignore=True)
    finally:
        (base / "shut").chmod(0o755)
    assert texts(result) == [f"{base}/open", "1 directory could not be read and may hold more."]


def test_more_matches_than_a_result_holds_are_all_found_page_by_page(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    names = [f"d{number % 7}/e{number % 3}/f{number:03}.py" for number in range(90)]
    build(tmp_path / "work", [f"file {name} x" for name in names])
    seen: list[str] = []
    cursor = None
    with searched(tmp_path, [rules(tmp_path / "work")], limits=Limits(result_bytes=1024)) as gate:
        for _ in names:
            result = gate.call("search_files", path=str(gate.top), pattern="**/*.py", cursor=cursor)
            seen += texts(result)[0].split("\n")
            cursor = (result.meta or {}).get("fsserver/nextCursor")
            if cursor is None:
                break
    assert [os.path.relpath(path, tmp_path / "work") for path in seen] == sorted(names)


def test_search_that_takes_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    for number in range(100):
        build(tmp_path / "work", [f"dir d{number:03}"])
        for each in range(200):
            os.close(os.open(tmp_path / f"work/d{number:03}/f{each}", os.O_CREAT | os.O_WRONLY))
    monkeypatch.setattr(engine, "LEAST_S", 0.001)  # less than any machine needs for 20,000 names
    with searched(tmp_path, [rules(tmp_path / "work")], limits=Limits(time_s=0.004)) as gate:
        _, *notes = texts(gate.call("search_files", path=str(gate.top), pattern="!**/f*"))
        assert gate.records()[-1]["stopped"] == "it took as long as a call may"
    assert "Not all was searched: it took as long as a call may" in notes[0]
    assert "Cut" not in notes[0]


NAMES = st.text(st.sampled_from(["a", "b", ".", "é", "-", "*", "[", "\udcff", "\n"]), min_size=1, max_size=3)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.sampled_from("fdl"), max_size=14)
PATTERNS = st.one_of(
    st.sampled_from(["**", "*", "**/a*", "a/**", "!a", "**/[ab]", "{a,b}/**", "**/.*"]),
    st.text(st.sampled_from("ab.*?[]{},!/-"), max_size=6),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=TREES,
    pattern=PATTERNS,
    excluded=st.lists(PATTERNS, max_size=2),
    depth=st.sampled_from([None, 1, 2]),
    most=st.sampled_from([None, 1, 2]),
)
def test_cell_and_walk_agree_on_every_tree(
    cells: Served,
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[str, str],
    pattern: str,
    excluded: list[str],
    depth: int | None,
    most: int | None,
) -> None:
    top = Path(tempfile.mkdtemp(dir=cells.top))
    top.chmod(0o755)
    for name, kind in tree.items():
        parts = name.split("/")
        if any(part in (".", "..") for part in parts):
            continue
        path = f"{top}/{name}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if kind == "d":
                os.makedirs(path, exist_ok=True)
            elif kind == "l":
                os.symlink("a", path)
            else:
                Path(path).touch()
        except OSError:
            continue  # another line of the tree is in the way
    arguments = {"path": str(top), "pattern": pattern, "excludePatterns": excluded, "maxDepth": depth}
    with ExitStack() as held:
        walk = held.enter_context(served(tmp_path_factory.mktemp("walk"), [rules(cells.top, deny=DENY)]))
        answers: list[list[list[str]]] = []
        for gate in (cells, walk):
            pages: list[list[str]] = []
            cursor = None
            for _ in range(40):
                result = gate.call("search_files", **arguments, maxResults=most, cursor=cursor)
                pages.append(texts(result))
                cursor = (result.meta or {}).get("fsserver/nextCursor")
                if cursor is None:
                    break
            answers.append(pages)
    assert answers[0] == answers[1]
