"""write_file, edit_file and the tools that change names: what is on disk afterwards, and what was said."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths import metadata, writing
from fsserver.policy.compiled import Action, Effect, Limits
from fsserver.tools.control import Control
from fsserver.tools.files.whole import LARGE_BYTES
from fsserver.tools.files.write import ATTEMPTS
from fsserver.tools.gate import LARGE_AT_ONCE
from tests.gates import Served, served, texts
from tests.trees import build, rules, snapshot


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    top = tmp_path / "work"
    top.mkdir()
    with served(tmp_path, [rules(top, deny=["**/.env"])]) as running:
        yield running


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_write_says_what_the_reference_says_and_the_hash(gate: Served) -> None:
    digest = sha256("é\n".encode())
    assert gate.text("write_file", path="f", content="é\n") == f"Successfully wrote to f\nsha256: {digest}"
    assert (gate.top / "f").read_bytes() == "é\n".encode()


def test_create_refuses_a_file_that_exists(gate: Served) -> None:
    gate.text("write_file", path="f", content="a", mode="create")
    assert gate.error("write_file", path="f", content="b", mode="create")["code"] == "resource.exists"
    assert (gate.top / "f").read_text() == "a"


@pytest.mark.parametrize(
    ("old", "content", "new"),
    [
        (None, "x\n", b"x\n"),
        (b"a\n", "b\n", b"a\nb\n"),
        (b"caf\xe9\n", "plain\n", b"caf\xe9\nplain\n"),
        ("\ufeffa\n".encode("utf-16-le"), "b\n", "\ufeffa\nb\n".encode("utf-16-le")),
    ],
)
def test_append_keeps_what_is_there_and_its_encoding(gate: Served, old: bytes | None, content: str, new: bytes) -> None:
    if old is not None:
        (gate.top / "f").write_bytes(old)
    gate.text("write_file", path="f", content=content, mode="append")
    assert (gate.top / "f").read_bytes() == new


def test_append_never_mixes_two_encodings(gate: Served) -> None:
    (gate.top / "f").write_bytes(b"caf\xe9\n")
    error = gate.error("write_file", path="f", content="é", mode="append")
    assert error["code"] == "request.encoding"
    assert error["allowedInstead"] == "edit_file with the file's encoding, or ASCII text"  # it takes no encoding itself


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_stale_write_changes_nothing(gate: Served, mode: str) -> None:
    (gate.top / "f").write_text("now")
    arguments = {"path": "f", "content": "x", "mode": mode}
    error = gate.error("write_file", **arguments, expectedSha256=sha256(b"then"))
    assert error["code"] == "request.stale"
    assert sha256(b"now") in error["message"]
    assert (gate.top / "f").read_text() == "now"
    gate.text("write_file", **arguments, expectedSha256=sha256(b"now").upper())


@pytest.mark.parametrize("exists", [True, False])
def test_appends_at_the_same_time_are_all_there_and_whole(gate: Served, exists: bool) -> None:
    if exists:
        (gate.top / "f").write_text("first\n")
    lines = [[f"{letter}{number:02} " + letter * 2000 + "\n" for number in range(12)] for letter in "abcdefgh"]
    ready = threading.Barrier(len(lines))
    failed: list[list[str]] = []

    def append(mine: list[str]) -> None:
        ready.wait(30)
        for line in mine:
            result = gate.call("write_file", path="f", content=line, mode="append")
            if result.is_error:
                failed.append(texts(result))

    threads = [threading.Thread(target=append, args=(mine,)) for mine in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    found = (gate.top / "f").read_text().splitlines(keepends=True)
    assert found[: int(exists)] == ["first\n"] * exists
    assert sorted(found[int(exists) :]) == sorted(line for mine in lines for line in mine)
    for mine in lines:  # each client's own order
        assert [line for line in found if line in mine] == mine
    assert os.listdir(gate.top) == ["f"]


def replacing_at_each_write(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> list[str]:
    """Another program that replaces the file while a write is under way, so many times. Returns what it adds."""
    written: list[str] = []
    real = metadata.carry_over

    def replace(old: int, status: os.stat_result, new: int, shown: str) -> None:
        if len(written) < times:
            written.append(f"theirs {len(written)}\n")
            other = path.with_name("other")
            other.write_text(path.read_text() + written[-1])
            other.rename(path)
        real(old, status, new, shown)

    monkeypatch.setattr(writing, "carry_over", replace)
    return written


def test_append_goes_after_what_others_wrote_meanwhile_and_its_record_says_what_it_replaced(
    gate: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gate.top / "f"
    path.write_text("first\n")
    written = replacing_at_each_write(monkeypatch, path, 3)
    said = gate.text("write_file", path="f", content="ours\n", mode="append")
    assert path.read_text() == "first\n" + "".join(written) + "ours\n"
    assert len(written) == 3
    assert said.endswith(sha256(path.read_bytes()))
    intent, outcome = gate.records()
    assert (intent["event"], outcome["event"]) == ("call.intent", "call.outcome")
    assert outcome["bytes"] == len(path.read_bytes())
    assert outcome["action"] == "overwrite"
    assert outcome["file"] != intent["paths"][0]["file"]


@pytest.mark.parametrize(
    ("rest", "code", "transient"),
    [({"mode": "append"}, "denied.unstable", True), ({"mode": "append", "expected": True}, "request.stale", False)],
)
def test_append_that_others_spoil_each_time_is_refused_with_nothing_lost(
    gate: Served, monkeypatch: pytest.MonkeyPatch, rest: dict[str, Any], code: str, transient: bool
) -> None:
    path = gate.top / "f"
    path.write_text("first\n")
    expected = {"expectedSha256": sha256(b"first\n")} if rest.pop("expected", False) else {}
    written = replacing_at_each_write(monkeypatch, path, 1000)
    error = gate.error("write_file", path="f", content="ours\n", **rest, **expected)
    assert (error["code"], error["transient"]) == (code, transient)
    assert path.read_text() == "first\n" + "".join(written)
    assert len(written) == (1 if expected else 1 + ATTEMPTS)


def test_append_that_begins_again_is_bounded_by_the_roots_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "work"
    build(top, ["file f " + "x" * 80])
    with served(tmp_path, [rules(top, max_file=95)]) as gate:
        replacing_at_each_write(monkeypatch, top / "f", 1)
        assert gate.error("write_file", path="f", content="y" * 10, mode="append")["code"] == "limit.file_size"
    assert (top / "f").read_text() == "x" * 80 + "theirs 0\n"


def test_expected_version_of_an_absent_file_is_stale(gate: Served) -> None:
    assert gate.error("write_file", path="f", content="x", expectedSha256="0" * 64)["code"] == "request.stale"


def edit(old: str, new: str, **more: Any) -> list[dict[str, Any]]:
    return [{"oldText": old, "newText": new, **more}]


def test_edit_shows_the_references_diff_and_the_hash(gate: Served) -> None:
    (gate.top / "f").write_text("a\nb\nc\n")
    digest = sha256(b"a\nB\nc\n")
    assert gate.text("edit_file", path="f", edits=edit("b", "B")) == (
        f"```diff\nIndex: {gate.top}/f\n{'=' * 67}\n--- {gate.top}/f\toriginal\n+++ {gate.top}/f\tmodified\n"
        f"@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n```\n\nsha256: {digest}"
    )


@pytest.mark.parametrize(
    ("data", "old", "new", "result", "more"),
    [
        (b"a\r\nb\r\n", "a\nb", "a\nc", b"a\r\nc\r\n", {}),
        (b"\xef\xbb\xbfa\nb", "a", "x", b"\xef\xbb\xbfx\nb", {}),
        (b"\xef\xbb\xbfa\nb", "\ufeffa", "\ufeffx", b"\xef\xbb\xbfx\nb", {}),
        ("\ufeffa\r\nb\r\n".encode("utf-16-be"), "b", "c", "\ufeffa\r\nc\r\n".encode("utf-16-be"), {}),
        (b"caf\xe9 a\n", "a\n", "é\n", b"caf\xe9 \xe9\n", {"encoding": "latin-1"}),
    ],
)
def test_edit_keeps_endings_mark_and_encoding(
    gate: Served, data: bytes, old: str, new: str, result: bytes, more: dict[str, Any]
) -> None:
    (gate.top / "f").write_bytes(data)
    gate.text("edit_file", path="f", edits=edit(old, new), **more)
    assert (gate.top / "f").read_bytes() == result


@pytest.mark.parametrize(
    ("data", "arguments", "code"),
    [
        (b"a\n", {"edits": edit("zz", "x")}, "request.no_match"),
        (b"a\na\n", {"edits": edit("a", "x")}, "request.ambiguous"),
        (b"a\n", {"edits": [*edit("a", "b"), *edit("zz", "x")]}, "request.no_match"),
        (b"a\n", {"edits": edit("", "x")}, "request.arguments"),
        (b"a\n", {"edits": edit("a", "x"), "expectedSha256": "0" * 64}, "request.stale"),
        (b"\xff\n", {"edits": edit("a", "x")}, "request.encoding"),
        (b"a\0", {"edits": edit("a", "x")}, "request.encoding"),
        (b"a\n", {"edits": edit("a", "\u20ac"), "encoding": "latin-1"}, "request.encoding"),
    ],
)
def test_edit_that_fails_changes_nothing(gate: Served, data: bytes, arguments: dict[str, Any], code: str) -> None:
    (gate.top / "f").write_bytes(data)
    before = snapshot(gate.top)
    assert gate.error("edit_file", path="f", **arguments)["code"] == code
    assert snapshot(gate.top) == before


def test_edit_that_changes_nothing_does_not_write(gate: Served) -> None:
    (gate.top / "f").write_text("a\n")
    inode = os.stat(gate.top / "f").st_ino
    assert "@@" not in gate.text("edit_file", path="f", edits=edit("a", "a"))
    assert os.stat(gate.top / "f").st_ino == inode


def test_long_diff_is_cut_in_a_fence_that_closes(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    (top / "f").write_text("`````\n" + "a\n" * 3000)
    with served(tmp_path, [rules(top)], limits=Limits(result_bytes=2048)) as gate:
        (text,) = texts(gate.call("edit_file", path="f", edits=edit("a", "b", replaceAll=True)))
    assert len(text.encode()) <= 2048
    assert text.startswith("``````diff\n")
    assert "\n``````\n\nThe diff is cut: " in text
    assert "sha256: " + sha256(b"`````\n" + b"b\n" * 3000) in text


def test_edit_of_a_file_that_grows_over_the_roots_limit_is_refused(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    (top / "f").write_text("a")
    with served(tmp_path, [rules(top, max_file=100)]) as gate:
        assert gate.error("edit_file", path="f", edits=edit("a", "b" * 101))["code"] == "limit.file_size"
        assert gate.error("write_file", path="f", content="b" * 101)["code"] == "limit.file_size"
        assert gate.error("write_file", path="f", content="b" * 100, mode="append")["code"] == "limit.file_size"
    assert (top / "f").read_text() == "a"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("write_file", {"path": "f", "content": "b" * 101}, "The file would be larger than the 100 bytes"),
        ("write_file", {"path": "new", "content": "b" * 101}, "The file would be larger than the 100 bytes"),
        ("write_file", {"path": "f", "content": "b" * 51, "mode": "append"}, "The file would be larger than the 100 "),
        ("write_file", {"path": "big", "content": "b", "mode": "append"}, "The file would be larger than the 100 "),
        ("edit_file", {"path": "f", "edits": edit("a" * 50, "b" * 101)}, None),
        ("edit_file", {"path": "big", "edits": edit("a", "b")}, "The file is larger than the 100 bytes"),
        ("copy_file", {"source": "big", "destination": "new"}, "The file is larger than the 100 bytes"),
    ],
)
def test_change_over_the_roots_limit_says_which_file_is_too_large_and_not_to_read_a_part(
    tmp_path: Path, name: str, arguments: dict[str, Any], message: str | None
) -> None:
    top = tmp_path / "work"
    build(top, ["file f " + "a" * 50, "file big " + "a" * 150])
    before = snapshot(top)
    with served(tmp_path, [rules(top, max_file=100)]) as gate:
        error = gate.error(name, **arguments)
    assert error["code"] == "limit.file_size"
    assert message is None or error["message"].startswith(message)
    assert "read a part" not in error.get("allowedInstead", "")
    assert snapshot(top) == before


@pytest.mark.parametrize(
    ("effect", "says"), [(Effect.ALLOW, "delete files, or write less"), (Effect.DENY, "write less")]
)
def test_full_quota_says_to_delete_only_where_that_is_granted(tmp_path: Path, effect: Effect, says: str) -> None:
    top = tmp_path / "work"
    top.mkdir()
    with served(tmp_path, [rules(top, quota=10, operations={Action.DELETE: effect})]) as gate:
        error = gate.error("write_file", path="f", content="x" * 11)
    assert (error["code"], error["allowedInstead"]) == ("limit.quota", says)


def test_quota_is_asked_before_the_intent(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    (top / "f").write_bytes(b"x" * 5000)
    with served(tmp_path, [rules(top, quota=8192)]) as gate:
        assert gate.error("write_file", path="g", content="x" * 5000)["code"] == "limit.quota"
        assert gate.error("copy_file", source="f", destination="g")["code"] == "limit.quota"
        assert [record["event"] for record in gate.records()] == ["call.refused"] * 2
    assert not (top / "g").exists()


def test_copy_of_a_sparse_file_counts_for_what_it_holds(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    with open(top / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with served(tmp_path, [rules(top, quota=8192)]) as gate:
        gate.text("copy_file", source="sparse", destination="copy")
    assert (top / "copy").stat().st_size == 1 << 40


def test_names_change_as_the_reference_says(gate: Served) -> None:
    build(gate.top, ["file a one"])
    assert gate.text("create_directory", path="x/y") == "Successfully created directory x/y"
    assert gate.text("create_directory", path="x/y") == "Successfully created directory x/y"
    assert gate.text("move_file", source="a", destination="x/b") == "Successfully moved a to x/b"
    assert gate.text("copy_file", source="x/b", destination="c") == "Successfully copied x/b to c"
    assert gate.text("delete_file", path="c") == "Successfully deleted c"
    assert sorted(snapshot(gate.top)) == ["x", "x/b", "x/y"]


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("move_file", {"source": "a", "destination": "b"}, "resource.exists"),
        ("copy_file", {"source": "a", "destination": "b"}, "resource.exists"),
        ("copy_file", {"source": "d", "destination": "e"}, "resource.is_a_directory"),
        ("copy_file", {"source": "a", "destination": "link"}, "resource.exists"),
        ("delete_file", {"path": "d"}, "resource.not_empty"),
        ("delete_file", {"path": "secret", "recursive": True}, "denied.protected"),
        ("move_file", {"source": "secret", "destination": "moved"}, None),
        ("move_file", {"source": "a", "destination": ".env"}, "denied.protected"),
        ("delete_file", {"path": "."}, "denied.operation"),
        ("move_file", {"source": ".", "destination": "x"}, "denied.operation"),
        ("create_directory", {"path": "a"}, "resource.exists"),
    ],
)
def test_change_of_names_that_is_refused(gate: Served, name: str, arguments: dict[str, Any], code: str | None) -> None:
    build(gate.top, ["file a one", "file b two", "file d/x x", "file secret/.env S", "link link -> nowhere"])
    if code is None:
        gate.text(name, **arguments)
        return
    before = snapshot(gate.top)
    assert gate.error(name, **arguments)["code"] == code
    assert snapshot(gate.top) == before


def test_links_are_moved_and_deleted_themselves(gate: Served) -> None:
    build(gate.top, ["file a one", "link l -> a"])
    gate.text("move_file", source="l", destination="m")
    gate.text("delete_file", path="m")
    assert (gate.top / "a").read_text() == "one"


def test_recursive_delete_takes_all_and_follows_nothing(gate: Served, tmp_path: Path) -> None:
    build(tmp_path, ["file outside/keep x"])
    build(gate.top, ["file d/e/f x", f"link d/out -> {tmp_path}/outside", "link d/up -> .."])
    gate.text("delete_file", path="d", recursive=True)
    assert os.listdir(gate.top) == []
    assert (tmp_path / "outside/keep").exists()


def test_few_large_files_are_appended_to_or_compared_at_once(gate: Served) -> None:
    (gate.top / "large").write_text("o" * LARGE_BYTES + "x")
    sha256 = hashlib.sha256((gate.top / "large").read_bytes()).hexdigest()
    turns = gate.gate._large_turns
    rows: tuple[dict[str, str], ...] = ({"mode": "append"}, {"expectedSha256": sha256})
    with ExitStack() as taken:
        for _ in range(LARGE_AT_ONCE):
            taken.enter_context(turns)
        for row in rows:
            late = gate.call("write_file", Control(deadline=time.monotonic() + 0.1), path="large", content="y", **row)
            assert late.structured is not None
            assert late.structured["error"]["code"] == "limit.time"
        gate.text("write_file", path="large", content="o" * LARGE_BYTES + "x")
        gate.text("write_file", path="small", content="y", mode="append")
    for row in rows[::-1]:
        gate.text("write_file", path="large", content="y", **row)
    gate.error("write_file", path="large", content="y", expectedSha256=sha256)
    assert all(turns.acquire(blocking=False) for _ in range(LARGE_AT_ONCE))


def test_few_large_edits_are_under_way_at_once(gate: Served) -> None:
    (gate.top / "large").write_text("old " + "x" * LARGE_BYTES)
    (gate.top / "small").write_text("old")
    (gate.top / "grows").write_text("o" * 5)
    single = [{"oldText": "old", "newText": "new"}]
    stretched = [{"oldText": "o", "newText": "x" * 1024**2, "replaceAll": True}]
    turns = gate.gate._large_turns
    with ExitStack() as taken:
        for _ in range(LARGE_AT_ONCE):
            taken.enter_context(turns)
        for path, edits in (("large", single), ("grows", stretched)):
            before = (gate.top / path).read_bytes()
            late = gate.call("edit_file", Control(deadline=time.monotonic() + 0.1), path=path, edits=edits)
            assert late.structured is not None
            assert late.structured["error"]["code"] == "limit.time"
            assert (gate.top / path).read_bytes() == before
        gate.text("edit_file", path="small", edits=single)
    for path, edits in (("large", single), ("grows", stretched)):
        gate.text("edit_file", path=path, edits=edits)
    assert gate.error("edit_file", path="large", edits=single)["code"] == "request.no_match"
    assert all(turns.acquire(blocking=False) for _ in range(LARGE_AT_ONCE))
