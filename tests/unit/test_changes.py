"""What the outcome record says that a file tool changed: names, and sizes and hashes before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths import changes, moving, renaming, writing
from fsserver.paths.changes import Change, Changes, Content, Sum, content_of
from fsserver.paths.workspace import Access, ClientPath
from tests.gates import Served, served
from tests.support import in_child
from tests.trees import build, rules, workspace


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    for name in ("work", "other"):
        (tmp_path / name).mkdir()
    build(tmp_path / "work", ["file a.txt one", "file d/b.txt two", "file d/e/c.txt three", "link l -> a.txt"])
    with served(tmp_path, [rules(tmp_path / "work"), rules(tmp_path / "other", name="other")]) as running:
        yield running


def held(text: str) -> dict[str, Any]:
    return {"bytes": len(text.encode()), "sha256": sha256(text.encode()).hexdigest()}


def file(name: str, change: str, before: str | None, after: str | None, **more: Any) -> dict[str, Any]:
    """One change of a file, as a record has it."""
    return {
        "root": "work",
        "name": name,
        "change": change,
        "before": None if before is None else held(before),
        "after": None if after is None else held(after),
        **more,
    }


def other(name: str, change: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"root": "work", "name": name, "change": change, "kind": kind, "before": None, "after": None, **more}


def edit(old: str, new: str) -> dict[str, Any]:
    return {"path": "a.txt", "edits": [{"oldText": old, "newText": new}]}


ONE = sha256(b"one").hexdigest()
DONE: dict[str, tuple[str, Mapping[str, Any], list[dict[str, Any]]]] = {
    "a new file": ("write_file", {"path": "n.txt", "content": "new"}, [file("n.txt", "created", None, "new")]),
    "an empty file": ("write_file", {"path": "n.txt", "content": ""}, [file("n.txt", "created", None, "")]),
    "a file overwritten": ("write_file", {"path": "a.txt", "content": "x"}, [file("a.txt", "changed", "one", "x")]),
    "a file overwritten with the same": (
        "write_file",
        {"path": "a.txt", "content": "one"},
        [file("a.txt", "changed", "one", "one")],
    ),
    "a version overwritten": (
        "write_file",
        {"path": "a.txt", "content": "x", "expectedSha256": ONE},
        [file("a.txt", "changed", "one", "x")],
    ),
    "a link written through": ("write_file", {"path": "l", "content": "x"}, [file("a.txt", "changed", "one", "x")]),
    "appended": (
        "write_file",
        {"path": "a.txt", "content": "+", "mode": "append"},
        [file("a.txt", "changed", "one", "one+")],
    ),
    "appended to nothing": (
        "write_file",
        {"path": "n.txt", "content": "+", "mode": "append"},
        [file("n.txt", "created", None, "+")],
    ),
    "edited": ("edit_file", edit("one", "1"), [file("a.txt", "changed", "one", "1")]),
    "edited to the same": ("edit_file", edit("one", "one"), []),
    "directories": (
        "create_directory",
        {"path": "d/f/g"},
        [other("d/f", "created", "directory"), other("d/f/g", "created", "directory")],
    ),
    "a directory that was there": ("create_directory", {"path": "d/e"}, []),
    "a file moved": (
        "move_file",
        {"source": "a.txt", "destination": "d/n.txt"},
        [file("d/n.txt", "moved", "one", "one", **{"from": "a.txt"})],
    ),
    "a file moved to another root": (
        "move_file",
        {"source": "a.txt", "destination": "{base}/other/n.txt"},
        [file("n.txt", "moved", "one", "one", **{"from": "a.txt", "root": "other", "from_root": "work"})],
    ),
    "a directory moved": (
        "move_file",
        {"source": "d", "destination": "n"},
        [other("n", "moved", "directory", **{"from": "d"})],
    ),
    "a link moved": ("move_file", {"source": "l", "destination": "n"}, [other("n", "moved", "link", **{"from": "l"})]),
    "a file copied": (
        "copy_file",
        {"source": "d/b.txt", "destination": "n.txt"},
        [file("n.txt", "created", None, "two")],
    ),
    "a file deleted": ("delete_file", {"path": "a.txt"}, [file("a.txt", "deleted", "one", None)]),
    "a link deleted": ("delete_file", {"path": "l"}, [other("l", "deleted", "link")]),
    "a tree deleted": (
        "delete_file",
        {"path": "d", "recursive": True},
        [
            file("d/b.txt", "deleted", "two", None),
            file("d/e/c.txt", "deleted", "three", None),
            other("d/e", "deleted", "directory"),
            other("d", "deleted", "directory"),
        ],
    ),
}


@pytest.mark.parametrize(("tool", "arguments", "expected"), DONE.values(), ids=DONE.keys())
def test_the_outcome_says_what_was_changed(
    gate: Served, tool: str, arguments: Mapping[str, Any], expected: list[dict[str, Any]]
) -> None:
    base = gate.top.parent
    gate.text(
        tool, **{key: value.format(base=base) if isinstance(value, str) else value for key, value in arguments.items()}
    )
    intent, outcome = gate.records()
    assert "changes" not in intent
    assert outcome["changes"] == expected
    assert "changes_cut" not in outcome
    for each in outcome["changes"]:
        if each["after"] is not None:
            assert each["after"]["sha256"] == sha256((base / each["root"] / each["name"]).read_bytes()).hexdigest()


READS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "read": ("read_text_file", {"path": "a.txt"}),
    "listed": ("list_directory", {"path": "."}),
    "edit tried": ("edit_file", {**edit("one", "1"), "dryRun": True}),
}


@pytest.mark.parametrize(("tool", "arguments"), READS.values(), ids=READS.keys())
def test_a_call_that_changes_nothing_has_no_changes(gate: Served, tool: str, arguments: Mapping[str, Any]) -> None:
    gate.text(tool, **arguments)
    assert all("changes" not in record for record in gate.records())


def test_a_refused_call_has_no_changes(gate: Served) -> None:
    gate.error("write_file", path="none/x", content="x")
    gate.error("delete_file", path="none")
    assert all("changes" not in record for record in gate.records())


def test_an_append_that_begins_again_tells_of_the_version_it_replaced(
    gate: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program replaces the file after the call was decided."""
    real = writing._open_current
    others = iter([lambda: (gate.top / "a.txt").write_text("theirs")])

    def late(target: Any) -> int:
        next(others, lambda: 0)()
        return real(target)

    monkeypatch.setattr(writing, "_open_current", late)
    gate.text("write_file", path="a.txt", content="+", mode="append")
    assert gate.records()[-1]["changes"] == [file("a.txt", "changed", "theirs", "theirs+")]


def test_what_is_written_until_the_last_moment_is_in_the_hash_before(
    gate: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def late(*names: Any, **more: Any) -> None:
        (gate.top / "a.txt").write_text("in place")
        real(*names, **more)

    monkeypatch.setattr(os, "rename", late)
    gate.text("write_file", path="a.txt", content="x")
    assert gate.records()[-1]["changes"] == [file("a.txt", "changed", "in place", "x")]


# --- failures after the intent


def failing(error: OSError) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_write_that_fails_changed_nothing(gate: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_flush", failing(OSError(28, "no space")))
    for path in ("a.txt", "n.txt"):
        gate.error("write_file", path=path, content="x")
        outcome = gate.records()[-1]
        assert (outcome["ok"], outcome["changes"]) == (False, [])
    assert (gate.top / "a.txt").read_text() == "one"


def test_directories_made_before_one_failed_are_told(gate: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([os.mkdir, failing(OSError(28, "no space"))])

    def mkdir(*names: Any, **more: Any) -> None:
        next(left)(*names, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert gate.error("create_directory", path="d/f/g")["code"] == "resource.no_space"
    assert gate.records()[-1]["changes"] == [other("d/f", "created", "directory")]


def test_a_tree_deleted_half_way_is_told_so_far(gate: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rmdir", failing(OSError(16, "busy")))
    assert gate.error("delete_file", path="d", recursive=True)["code"] == "resource.io"
    names = [(each["name"], each["before"]) for each in gate.records()[-1]["changes"]]
    assert names == [("d/b.txt", held("two")), ("d/e/c.txt", held("three"))]
    assert not (gate.top / "d/b.txt").exists()


def test_a_move_that_was_taken_back_changed_nothing_and_one_that_was_not_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protected name appears in a directory between the look at it and its move."""
    real = renaming.rename_no_replace

    def served_move(base: Path, *, back: bool) -> dict[str, Any]:
        base.mkdir()
        (base / "work").mkdir()
        build(base / "work", ["file d/x 1"])
        moves = 0

        def rename(*places: Any) -> None:
            nonlocal moves
            moves += 1
            if moves == 1:
                (base / "work/d/y").write_text("2")
            if moves == 2 and not back:
                raise OSError(5, "io")
            real(*places)

        monkeypatch.setattr(moving, "rename_no_replace", rename)
        with served(base, [rules(base / "work", deny=["n/y"])]) as gate:
            assert gate.error("move_file", source="d", destination="n")["code"] == "denied.protected"
            return gate.records()[-1]

    assert served_move(tmp_path / "back", back=True)["changes"] == []
    stays = served_move(tmp_path / "stays", back=False)
    assert stays["changes"] == [other("n", "moved", "directory", **{"from": "d"})]


def test_a_new_file_that_cannot_be_taken_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is moved between the last look and the rename, and then it cannot be removed."""
    (tmp_path / "d").mkdir()
    real = renaming.rename_no_replace

    def rename(*places: Any) -> None:
        real(*places)
        (tmp_path / "d").rename(tmp_path / "elsewhere")

    monkeypatch.setattr(writing, "rename_no_replace", rename)
    noted = Changes()
    noted.watched = True
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("d/x"), Access.WRITE) as target:
        monkeypatch.setattr(os, "unlink", failing(OSError(5, "io")))
        with pytest.raises(Exception, match="moved meanwhile"):
            writing.write_file(target, b"new", changes=noted)
    record = noted.record()
    assert record["changes"] == [file("d/x", "created", None, "new")]
    assert "could not be taken back" in record["changes_cut"]


# --- bounds


def test_a_file_above_the_bound_has_its_size_only(gate: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_FILE", 3)
    build(gate.top, ["file big four"])
    gate.text("write_file", path="big", content="x")
    gate.text("write_file", path="a.txt", content="longer")
    gate.text("copy_file", source="a.txt", destination="copy")
    gate.text("delete_file", path="copy")
    big, small, copy, deleted = (record["changes"][0] for record in gate.records() if "changes" in record)
    assert big["before"] == {"bytes": 4, "cut": True}
    assert small["before"] == held("one")
    assert small["after"] == held("longer"), "what was written is known anyway"
    assert copy["after"] == {"bytes": 6, "cut": True}
    assert deleted["before"] == {"bytes": 6, "cut": True}


def test_the_files_of_a_call_are_read_up_to_a_bound_together(gate: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_READ", 5)
    build(gate.top, ["file t/1 abc", "file t/2 def", "file t/3 gh"])
    gate.text("delete_file", path="t", recursive=True)
    befores = [each["before"] for each in gate.records()[-1]["changes"]]
    assert befores == [held("abc"), {"bytes": 3, "cut": True}, held("gh"), None]


def test_of_many_changes_the_first_are_listed_and_the_rest_is_counted(gate: Served) -> None:
    build(gate.top, ["dir t", *(f"file t/{number:04} {number}" for number in range(changes.MAX_LISTED + 4))])
    gate.text("delete_file", path="t", recursive=True)
    outcome = gate.records()[-1]
    assert len(outcome["changes"]) == changes.MAX_LISTED
    assert outcome["changes"][-1] == file("t/0999", "deleted", "999", None)
    assert outcome["changes_cut"] == 5
    assert not (gate.top / "t").exists()


def test_names_are_listed_up_to_a_bound_of_characters() -> None:
    noted = Changes()
    noted.watched = True
    for number in range(40):
        noted.note(Change("work", f"{number:02}" + "n" * 4000, "created", "file"))
    record = noted.record()
    assert len(record["changes"]) == changes.MAX_NAMES // 4002
    assert record["changes_cut"] == 40 - len(record["changes"])


def test_what_is_cut_and_what_is_incomplete_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_LISTED", 1)
    noted = Changes()
    noted.watched = True
    for name in "abc":
        noted.note(Change("work", name, "created", "file"))
    noted.incomplete("nobody looked")
    noted.incomplete("nobody looked")
    assert noted.record()["changes_cut"] == "2 more; nobody looked"


def test_what_this_user_cannot_read_has_its_size_only(open_tmp_path: Path) -> None:
    def act() -> list[Any]:
        base = open_tmp_path / "base"
        (base / "work").mkdir(parents=True)
        build(base / "work", ["file a one", "file b two", "file d/c three"])
        for name in ("a", "b", "d/c"):
            (base / "work" / name).chmod(0o200)
        with served(base, [rules(base / "work")]) as gate:
            gate.text("write_file", path="a", content="x")
            gate.text("delete_file", path="b")
            gate.text("delete_file", path="d", recursive=True)
            return [record["changes"][0]["before"] for record in gate.records() if "changes" in record]

    assert in_child(act, unprivileged=True) == [{"bytes": size, "cut": True} for size in (3, 3, 5)]


def test_a_fifo_is_never_opened(gate: Served) -> None:
    build(gate.top, ["fifo t/f", "socket t/s"])
    gate.text("delete_file", path="t", recursive=True)
    assert gate.records()[-1]["changes"] == [
        other("t/f", "deleted", "other"),
        other("t/s", "deleted", "other"),
        other("t", "deleted", "directory"),
    ]


SPARSE = {
    "no hole": [(0, b"abc"), (3, b"def")],
    "a hole at the beginning": [(4, b"abc")],
    "a hole in the middle": [(0, b"a"), (5, b"b")],
    "nothing": [],
}


@pytest.mark.parametrize("pieces", SPARSE.values(), ids=SPARSE.keys())
@pytest.mark.parametrize("hole", [0, 3])
def test_the_sum_of_pieces_is_that_of_the_file(pieces: list[tuple[int, bytes]], hole: int) -> None:
    whole, total = bytearray(), Sum()
    for offset, data in pieces:
        whole += bytes(offset - len(whole)) + data
        total.add(offset, data)
    whole += bytes(hole)
    assert total.content(len(whole)) == content_of(bytes(whole))


def test_a_sum_beyond_the_bound_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_FILE", 4)
    total = Sum()
    total.add(0, b"abc")
    total.add(10**15, b"d")
    assert total.content(10**15 + 1) == Content(10**15 + 1, None)


def test_a_copy_with_holes_has_the_hash_of_its_contents(gate: Served) -> None:
    with open(gate.top / "sparse", "wb") as sparse:
        sparse.seek(1 << 20)
        sparse.write(b"end")
        sparse.truncate((1 << 20) + 5000)
    gate.text("copy_file", source="sparse", destination="copy")
    data = (gate.top / "copy").read_bytes()
    assert gate.records()[-1]["changes"][0]["after"] == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
