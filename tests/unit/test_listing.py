"""Listings, trees and name search: the reference's form, pages that lose nothing, and what is not told."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths.names import display
from fsserver.policy.compiled import Limits
from fsserver.tools.control import Control
from fsserver.tools.files.info import js_date
from fsserver.tools.files.tree import TreeText
from tests.gates import Served, served, texts
from tests.trees import build, rules


@pytest.fixture
def top(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def gate(tmp_path: Path, top: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(top, deny=["**/.env", "secret"])]) as running:
        yield running


@pytest.fixture
def small(tmp_path: Path, top: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=1024)) as running:
        yield running


def test_names_are_sorted_by_bytes_and_marked(gate: Served) -> None:
    build(gate.top, ["file b x", "dir a", "file B x", "file é x", "link l -> a", "file .env x"])
    assert gate.text("list_directory", path=".") == "[FILE] .env\n[FILE] B\n[DIR] a\n[FILE] b\n[FILE] l\n[FILE] é"
    assert gate.text("list_directory", path="a") == ""


def test_name_that_turns_the_direction_of_writing_is_shown_escaped_and_reads_back(gate: Served) -> None:
    build(gate.top, ["file photo\u202egpj.sh x"])
    shown = r"photo\xe2\x80\xaegpj.sh"
    assert gate.text("list_directory", path=".") == f"[FILE] {shown}"
    assert gate.text("list_directory_with_sizes", path=".").startswith(f"[FILE] {shown} ")
    assert json.loads(gate.text("directory_tree", path="."))[0]["name"] == shown
    assert gate.text("search_files", path=".", pattern="*") == f"{gate.top}/{shown}"
    assert gate.text("read_text_file", path=shown) == "x"


def test_sizes_in_the_references_columns(gate: Served) -> None:
    build(gate.top, ["file big " + "x" * 2048, "file a 123", "dir d"])
    expected = (
        f"[FILE] {'a':30} {'3 B':>10}\n[FILE] {'big':30} {'2.00 KB':>10}\n[DIR] {'d':30} \n"
        "\nTotal: 2 files, 1 directories\nCombined size: 2.00 KB"
    )
    assert gate.text("list_directory_with_sizes", path=".") == expected
    by_size = gate.text("list_directory_with_sizes", path=".", sortBy="size").split("\n")
    assert by_size.index(f"[FILE] {'big':30} {'2.00 KB':>10}") < by_size.index(f"[FILE] {'a':30} {'3 B':>10}")
    assert gate.text("list_directory_with_sizes", path="d") == "\nTotal: 0 files, 0 directories\nCombined size: 0 B"


def test_sizes_outside_and_of_protected_names_are_not_told(gate: Served, tmp_path: Path) -> None:
    build(tmp_path, ["file outside/s 123456789"])
    build(
        gate.top,
        ["file .env 12345", "link to-env -> .env", f"link out -> {tmp_path}/outside/s", "file f 12", "link in -> f",
         "link nowhere -> none"],
    )  # fmt: skip
    lines = gate.text("list_directory_with_sizes", path=".").split("\n")
    sizes = {line[7:37].strip(): line[38:].strip() for line in lines if line.startswith("[")}
    assert sizes == {".env": "-", "to-env": "-", "out": "-", "f": "2 B", "in": "2 B", "nowhere": "0 B"}
    assert lines[-1] == "Combined size: 4 B"


def test_size_of_a_protected_file_is_not_told_under_another_name(gate: Served) -> None:
    build(gate.top, ["file .env 12345", "hard plain = .env", "file f 12", "hard g = f"])
    lines = gate.text("list_directory_with_sizes", path=".").split("\n")
    sizes = {line[7:37].strip(): line[38:].strip() for line in lines if line.startswith("[")}
    assert sizes == {".env": "-", "plain": "-", "f": "2 B", "g": "2 B"}


def names(text: str) -> list[str]:
    return [line.split(" ", 1)[1][:30].strip() for line in text.split("\n") if line.startswith("[")]


@pytest.mark.parametrize("tool", ["list_directory", "list_directory_with_sizes"])
@pytest.mark.parametrize("arguments", [{}, {"maxEntries": 7}])
def test_pages_of_a_listing_are_the_listing(small: Served, tool: str, arguments: dict[str, Any]) -> None:
    build(small.top, [f"file name-{number:03} x" for number in range(100)])
    (small.top / os.fsdecode(b"name-050\xff")).write_text("x")
    seen: list[str] = []
    cursor = None
    for _ in range(100):
        result = small.call(tool, path=".", cursor=cursor, **arguments)
        assert sum(len(text.encode()) for text in texts(result)) <= 1024
        seen += names(texts(result)[0])
        if result.meta is None:
            break
        cursor = result.meta["fsserver/nextCursor"]
        assert texts(result)[1].endswith(f"nextCursor: {cursor}")
    assert len(seen) == len(set(seen)) == 101
    assert r"name-050\xff" in seen


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_directory", {}),
        ("list_directory_with_sizes", {}),
        ("directory_tree", {}),
        ("search_files", {"pattern": "*"}),
    ],
)
def test_file_that_is_listed_is_refused_and_the_refusal_says_what_reads_it(
    gate: Served, tool: str, arguments: dict[str, Any]
) -> None:
    build(gate.top, ["file f x"])
    error = gate.error(tool, path="f", **arguments)
    assert error["message"] == f"ENOTDIR: not a directory, scandir '{gate.top}/f'"
    assert error["allowedInstead"] == "read_text_file reads it"


def test_cursor_of_an_entry_that_is_gone_is_refused_or_goes_on(gate: Served) -> None:
    build(gate.top, ["file a x", "file c x"])
    assert gate.text("list_directory", path=".", cursor="b") == "[FILE] c"
    assert gate.error("list_directory_with_sizes", path=".", cursor="b")["code"] == "request.arguments"


def expected_tree(path: Path) -> list[dict[str, Any]]:
    entries = []
    for name in sorted(os.listdir(path), key=os.fsencode):
        below = path / name
        if below.is_dir() and not below.is_symlink():
            entries.append({"name": name, "type": "directory", "children": expected_tree(below)})
        else:
            entries.append({"name": name, "type": "file"})
    return entries


TREE = ["file a/b/c.txt x", "dir a/empty", "file z x", "file a/B x", 'file q"\\é x', "link a/up -> ..", "dir a/b/d/e"]


def test_tree_is_what_json_stringify_writes(gate: Served) -> None:
    build(gate.top, TREE)
    assert gate.text("directory_tree", path=".") == json.dumps(expected_tree(gate.top), indent=2, ensure_ascii=False)
    assert gate.text("directory_tree", path="a/empty") == "[]"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["b"], ["a", "B", "empty", "up", 'q"\\é', "z"]),
        (["a"], ['q"\\é', "z"]),
        (["*"], []),
        (["a/*"], ["a", 'q"\\é', "z"]),
        (["**/*.txt", "z"], ["a", "B", "b", "d", "e", "empty", "up", 'q"\\é']),
    ],
)
def test_tree_leaves_out_what_it_is_told(gate: Served, patterns: list[str], names: list[str]) -> None:
    build(gate.top, TREE)
    text = gate.text("directory_tree", path=".", excludePatterns=patterns)
    assert [json.loads(f'"{name}"') for name in re.findall(r'"name": "(.*)"', text)] == names


def test_tree_says_where_it_did_not_look(gate: Served) -> None:
    build(gate.top, TREE)
    text, note = texts(gate.call("directory_tree", path=".", maxDepth=2))
    assert '"b"' in text
    assert "c.txt" not in text
    assert note == "2 directories at maxDepth are shown empty and may hold entries."


def test_protected_directory_shows_its_name_only(gate: Served) -> None:
    build(gate.top, ["file secret/key x", "file open/x x"])
    (secret,) = (entry for entry in json.loads(gate.text("directory_tree", path=".")) if entry["name"] == "secret")
    assert secret["children"] == []
    assert "key" not in gate.text("search_files", path=".", pattern="**")
    assert gate.error("list_directory", path="secret")["code"] == "denied.protected"


def flattened(tree: list[dict[str, Any]], above: str = "") -> Iterator[str]:
    for entry in tree:
        yield above + entry["name"]
        yield from flattened(entry.get("children", []), f"{above}{entry['name']}/")


@pytest.mark.parametrize("arguments", [{}, {"maxEntries": 5}])
def test_pages_of_a_tree_hold_every_entry(small: Served, arguments: dict[str, Any]) -> None:
    build(small.top, [f"file d{number % 7}/e{number % 3}/f{number:03} x" for number in range(120)])
    seen: set[str] = set()
    cursor = None
    for _ in range(200):
        result = small.call("directory_tree", path=".", cursor=cursor, **arguments)
        assert sum(len(text.encode()) for text in texts(result)) <= 1024
        seen.update(flattened(json.loads(texts(result)[0])))
        if result.meta is None:
            break
        assert result.meta["fsserver/nextCursor"] != cursor
        cursor = result.meta["fsserver/nextCursor"]
    assert seen == set(flattened(expected_tree(small.top)))


def test_deep_tree_stays_in_its_budget_and_is_json() -> None:
    tree = TreeText(5000)
    depth = 1
    while tree.add("d", directory=True, depth=depth):
        depth += 1
    text = tree.finish()
    assert len(text) <= 5000
    assert len(list(flattened(json.loads(text)))) == depth - 1


def pages(gate: Served, tool: str, **arguments: Any) -> list[list[str]]:
    """The texts of each page, to the last one. No page is as the one before, and their number has a bound."""
    found: list[list[str]] = []
    cursors: set[str] = set()
    cursor: str | None = None
    while True:
        result = gate.call(tool, path=".", cursor=cursor, **arguments)
        assert not result.is_error
        found.append(texts(result))
        if result.meta is None:
            return found
        cursor = result.meta["fsserver/nextCursor"]
        assert cursor
        assert cursor not in cursors
        cursors.add(cursor)
        assert len(found) < 500


TOO_DEEP = re.compile(r"^Too deep for one result: call directory_tree with path (.*)$", re.MULTILINE)
TOO_LONG = re.compile(r"^(\d+) (?:name|path)s? (?:is|are) too long for a result and left out\.$", re.MULTILINE)

SHAPES = {
    "a chain": ["file " + "d/" * 110 + "f x", "file zzz x"],
    "two chains": ["dir " + "a/" * 40, "file a/z x", "dir " + "b/" * 40, "file b/b/z x", "file zzz x"],
    "a comb": [f"file {'d/' * depth}t{depth} x" for depth in range(40)],
    "long names": [f"file {'n' * 200}{number}/{'m' * 200}/f x" for number in range(3)] + ["file a x", "file z x"],
    "wide": [f"file d{number % 7}/e{number % 3}/f{number:03} x" for number in range(60)],
    "names of bytes": ["file " + "\x01" * 60 + "/f x", "file " + "\x02" * 160 + " x", "file z x"],
}


@pytest.mark.parametrize("most", [None, 1, 5])
@pytest.mark.parametrize("limit", [700, 1024, 2048, 5000, 64 * 1024])
@pytest.mark.parametrize("shape", SHAPES)
def test_pages_of_any_tree_end_and_show_or_name_every_entry_once(
    tmp_path: Path, top: Path, shape: str, limit: int, most: int | None
) -> None:
    build(top, SHAPES[shape])
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=limit)) as gate:
        shown = pages(gate, "directory_tree", maxEntries=most)
    new: list[str] = []
    below: list[str] = []
    long = 0
    for blocks in shown:
        assert sum(len(block.encode()) for block in blocks) <= limit
        entries = list(flattened(json.loads(blocks[0])))
        again = set(entries) & set(new)
        fresh = [entry for entry in entries if entry not in again]
        assert all(f"{new[-1]}/".startswith(f"{above}/") for above in again)  # only what leads to where it goes on
        new += fresh
        notes = "\n".join(blocks[1:])
        below += [path.removeprefix(f"{top}/") for path in TOO_DEEP.findall(notes)]
        long += sum(int(number) for number in TOO_LONG.findall(notes))
    assert len(new) == len(set(new))
    missing = [entry for entry in map(display, flattened(expected_tree(top))) if entry not in set(new)]
    unnamed = [entry for entry in missing if not any(entry.startswith(f"{each}/") for each in below)]
    if "too long to name it" not in str(shown):
        assert len([entry for entry in unnamed if os.path.dirname(entry) not in unnamed]) == long
    if limit == 64 * 1024 and shape != "a chain":
        assert not missing


def test_deep_chain_does_not_hide_what_comes_after_it(gate: Served) -> None:
    build(gate.top, SHAPES["a chain"])
    first, second = pages(gate, "directory_tree")
    assert "zzz" not in first[0]
    assert json.loads(second[0]) == [{"name": "zzz", "type": "file"}]
    (deep,) = TOO_DEEP.findall(second[1])
    assert '"f"' in gate.text("directory_tree", path=deep)


def test_tree_goes_on_after_a_directory_that_was_left_out_whole(gate: Served) -> None:
    build(gate.top, ["file a/b/c x", "file a/d x", "file e x"])
    text = gate.text("directory_tree", path=".", cursor="a/b/")
    assert list(flattened(json.loads(text))) == ["a", "a/d", "e"]


def test_search_leaves_out_a_path_that_no_result_holds_and_finds_the_others(small: Served) -> None:
    build(small.top, ["file aa.txt x", "file " + "/".join(["n" * 200] * 9) + "/f.txt x", "file zz.txt x"])
    ((text, note),) = pages(small, "search_files", pattern="**/*.txt")
    assert text == f"{small.top}/aa.txt\n{small.top}/zz.txt"
    assert note == "1 path is too long for a result and left out."
    ((text, note),) = pages(small, "search_files", pattern="**/f.txt")
    assert (text, note) == ("", "1 path is too long for a result and left out.")


@pytest.mark.parametrize("most", [None, 1, 4])
@pytest.mark.parametrize("limit", [1, 600, 1024, 3000])
@pytest.mark.parametrize("shape", SHAPES)
def test_pages_of_any_search_end_and_hold_or_count_every_match_once(
    tmp_path: Path, top: Path, shape: str, limit: int, most: int | None
) -> None:
    build(top, SHAPES[shape])
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=limit)) as gate:
        shown = pages(gate, "search_files", pattern="**", maxResults=most)
    found = [path for text, *_ in shown if text.startswith("/") for path in text.split("\n")]
    assert len(found) == len(set(found))
    everything = {f"{top}/{display(entry)}" for entry in flattened(expected_tree(top))}
    assert set(found) <= everything
    if limit == 3000:
        assert set(found) == everything
    if limit > 1 and len(found) < len(everything):
        assert any(TOO_LONG.search(note) for _, *notes in shown for note in notes)


@pytest.mark.parametrize("tool", ["list_directory", "list_directory_with_sizes"])
@pytest.mark.parametrize("limit", [1, 600, 1024, 2048, 4096])
def test_pages_of_a_listing_with_names_that_no_result_holds_end_and_count_them(
    tmp_path: Path, top: Path, tool: str, limit: int
) -> None:
    for number in range(8):
        (top / os.fsdecode(bytes([0x80 + number]) * 250)).write_text("x")
        (top / f"{number}{'n' * 150}").write_text("x")
        (top / f"z{number}").write_text("x")
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=limit)) as gate:
        shown = pages(gate, tool)
    lines = [line for text, *_ in shown for line in text.split("\n") if line.startswith("[FILE] ")]
    found = [line.split(" ")[1] for line in lines]
    assert len(found) == len(set(found))
    if limit == 1:
        return
    assert all(sum(len(block.encode()) for block in blocks) <= limit for blocks in shown)
    left_out = max(sum(int(number) for number in TOO_LONG.findall("\n".join(notes))) for _, *notes in shown)
    assert len(found) + left_out == 24
    assert left_out == (8 if limit < 4096 else 0)


def test_search_gives_full_paths_in_the_walks_order(gate: Served) -> None:
    build(gate.top, ["file b.py x", "file a/c.py x", "file a/.h.py x", "file a/d/e.py x", "file a.txt x", "dir x.py"])
    found = ["a/.h.py", "a/c.py", "a/d/e.py", "b.py", "x.py"]
    assert gate.text("search_files", path=".", pattern="**/*.py").split("\n") == [
        f"{gate.top}/{name}" for name in found
    ]
    assert gate.text("search_files", path="a", pattern="*.py").count("\n") == 1
    assert gate.text("search_files", path=".", pattern="**/*.py", maxDepth=1).count("\n") == 1
    assert gate.text("search_files", path=".", pattern="**/*.py", excludePatterns=["a/**"]).count("\n") == 1
    assert gate.text("search_files", path=".", pattern="*.rs") == "No matches found"
    assert "not available" in gate.error("search_files", path=".", pattern="+(a)")["message"]


def test_search_tells_of_no_link_that_leads_out_or_nowhere(gate: Served) -> None:
    build(
        gate.top,
        ["file a x", "link in -> a", "link out -> /etc", "link nowhere -> none", "link env -> .env", "file .env x"],
    )
    found = gate.text("search_files", path=".", pattern="*").split("\n")
    assert [os.path.basename(path) for path in found] == [".env", "a", "in"]


@pytest.mark.parametrize("arguments", [{}, {"maxResults": 3}])
def test_pages_of_a_search_hold_every_match_once(small: Served, arguments: dict[str, Any]) -> None:
    build(small.top, [f"file d{number % 5}/e/f{number:03}.py x" for number in range(60)])
    seen: list[str] = []
    cursor = None
    for _ in range(100):
        result = small.call("search_files", path=".", pattern="**/*.py", cursor=cursor, **arguments)
        assert sum(len(text.encode()) for text in texts(result)) <= 1024
        seen += texts(result)[0].split("\n")
        if result.meta is None:
            break
        cursor = result.meta["fsserver/nextCursor"]
    assert len(seen) == len(set(seen)) == 60


def test_directory_that_cannot_be_read_is_said_to_be_missing(gate: Served) -> None:
    build(gate.top, ["file shut/x x", "file open/y x"])
    os.chmod(gate.top / "shut", 0)
    try:
        if os.access(gate.top / "shut", os.R_OK):
            assert os.geteuid() == 0  # root reads everything: nothing is missing
            return
        for tool, arguments in (("search_files", {"pattern": "**"}), ("directory_tree", {})):
            assert "1 directory could not be read" in texts(gate.call(tool, path=".", **arguments))[1]
    finally:
        os.chmod(gate.top / "shut", 0o755)


def test_info_has_the_references_lines(gate: Served) -> None:
    build(gate.top, ["file f 123"])
    os.chmod(gate.top / "f", 0o4640)
    os.utime(gate.top / "f", ns=(10**18, 1_700_000_000_999_600_000))
    lines = gate.text("get_file_info", path="f").split("\n")
    assert [line.split(":")[0] for line in lines] == [
        "size", "created", "modified", "accessed", "isDirectory", "isFile", "permissions",
    ]  # fmt: skip
    assert lines[0] == "size: 3"
    assert lines[4:] == ["isDirectory: false", "isFile: true", "permissions: 640"]


@pytest.mark.parametrize(
    ("nanoseconds", "zone", "text"),
    [
        (0, "UTC", "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"),
        (1_795_450_173_000_000_000, "UTC", "Mon Nov 23 2026 16:09:33 GMT+0000 (Coordinated Universal Time)"),
        (999_600_000, "UTC", "Thu Jan 01 1970 00:00:01 GMT+0000 (Coordinated Universal Time)"),
        (0, "XYZ-05:30", "Thu Jan 01 1970 05:30:00 GMT+0530 (XYZ)"),
        (0, "XYZ+03:30", "Wed Dec 31 1969 20:30:00 GMT-0330 (XYZ)"),
        (2**62 * 10**9, "UTC", "Invalid Date"),
    ],
)
def test_dates_read_as_javascripts(nanoseconds: int, zone: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert js_date(nanoseconds) == text
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_allowed_directories_are_the_roots(gate: Served) -> None:
    assert gate.text("list_allowed_directories") == f"Allowed directories:\n{gate.top}"


def test_allowed_directories_show_a_root_that_is_a_link_in_both_spellings(tmp_path: Path, top: Path) -> None:
    (tmp_path / "alias").symlink_to(top)
    with served(tmp_path, [rules(tmp_path / "alias")]) as gate:
        assert gate.text("list_allowed_directories") == f"Allowed directories:\n{tmp_path}/alias\n{top}"


@pytest.mark.parametrize(
    ("tool", "more"), [("list_directory_with_sizes", {}), ("search_files", {"pattern": "**"})], ids=["sizes", "search"]
)
def test_links_that_take_long_to_follow_end_with_the_calls_time(gate: Served, tool: str, more: dict[str, str]) -> None:
    around = "a/../" * 750
    build(gate.top, ["dir a", "dir links", "file c39 x"])
    build(gate.top, [f"link c{number} -> {gate.top}/{around}c{number + 1}" for number in range(39)])
    build(gate.top, [f"link links/l{number} -> {gate.top}/c0" for number in range(20)])
    started = time.monotonic()
    result = gate.call(tool, Control(deadline=started + 0.3), path="links", **more)
    assert time.monotonic() - started < 2.5
    assert "as a call may" in texts(result)[-1] or "limits.time" in texts(result)[0]
