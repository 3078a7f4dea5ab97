"""The log of a running server: where it writes, how it goes on, rotates and closes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.verify import Status, verify
from fsserver.errors import AuditBroken, AuditError, AuditLocked, ConfigError
from fsserver.policy.compiled import AuditRules
from tests.audit_logs import CALL, IMPOSSIBLE_NAMES, open_directory, open_file, private, records, sealed, written


def test_directory_gets_a_private_file_of_this_run(tmp_path: Path) -> None:
    log = AuditLog.open(AuditRules(directory=str(tmp_path / "a/b/c")), run_id="r1", header={"host": "h"})
    assert log.append("call.outcome", CALL) == 2
    log.close()
    (name,) = os.listdir(tmp_path / "a/b/c")
    assert log.path == str(tmp_path / "a/b/c" / name)
    assert stat.S_IMODE(os.stat(log.path).st_mode) == 0o600
    assert {stat.S_IMODE(os.stat(tmp_path / part).st_mode) for part in ("a", "a/b", "a/b/c")} == {0o700}
    first, second, last = records(log.path)
    assert (first["event"], first["run"], first["host"], first["seq"]) == ("run.start", "r1", "h", 1)
    assert second.items() >= CALL.items()
    assert (last["event"], last["hash"]) == ("run.end", log.head)


def test_open_directories_are_not_needed_by_name_afterwards(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit", max_size=4000)
    (tmp_path / "audit").rename(tmp_path / "moved")
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    assert len(os.listdir(tmp_path / "moved")) > 1
    assert verify(str(tmp_path / "moved")).status is Status.WHOLE


def test_file_is_continued_by_the_next_run(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path, 2)
    head = records(path)[-1]["hash"]
    log = open_file(path, run_id="second")
    log.close()
    assert [(record["seq"], record["event"]) for record in records(path)][-3:] == [
        (4, "run.end"),
        (5, "run.start"),
        (6, "run.end"),
    ]
    assert records(path)[4]["prev"] == head
    assert verify(str(path), head).status is Status.WHOLE


@pytest.mark.parametrize("torn", [b"{", b'{"event":"call.outcome","x":1', b"\0" * 4096])
def test_torn_end_is_cut_and_told_by_the_next_run(tmp_path: Path, torn: bytes) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path)
    path.write_bytes(b"".join(lines) + torn)
    assert verify(str(path)).status is Status.TORN
    open_file(path).close()
    healed = records(path)[len(lines) + 1]
    assert (healed["event"], healed["at"], healed["cut_bytes"]) == ("log.healed", "start", len(torn))
    assert verify(str(path)).status is Status.WHOLE


def test_log_that_was_torn_in_its_first_record_begins_anew(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    path.write_bytes(b'{"event":"run.st')
    path.chmod(0o600)
    open_file(path).close()
    assert [record["event"] for record in records(path)] == ["run.start", "log.healed", "run.end"]
    assert verify(str(path)).status is Status.WHOLE


@pytest.mark.parametrize("kind", ["file", "dir"])
def test_torn_end_stays_while_a_full_disk_takes_no_record_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path)
    torn = path.read_bytes() + b'{"event":"call.int'
    path.write_bytes(torn)

    def start() -> None:
        (open_file(path) if kind == "file" else open_directory(path.parent)).close()

    whole = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: whole(fd, data if len(data) < 100 else data[:50]))
        with pytest.raises(AuditError):
            start()
    assert path.read_bytes() == torn
    start()
    assert verify(str(path)).status is Status.WHOLE
    assert [each["cut_bytes"] for each in records(path) if each["event"] == "log.healed"] == [18]


def test_torn_end_of_a_killed_run_is_healed_by_the_next_in_the_directory(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit")
    log.close()
    with open(log.path, "ab") as stream:
        stream.write(b'{"event"')
    assert verify(str(tmp_path / "audit")).status is Status.TORN
    open_directory(tmp_path / "audit", run_id="healer").close()
    assert records(log.path)[-1].items() >= {"event": "log.healed", "run": "healer", "cut_bytes": 8}.items()
    assert verify(str(tmp_path / "audit")).status is Status.WHOLE


def test_live_file_in_the_directory_is_left_alone(tmp_path: Path) -> None:
    live = open_directory(tmp_path / "audit")
    with open(live.path, "ab") as stream:
        stream.write(b"{")
    open_directory(tmp_path / "audit").close()
    assert Path(live.path).read_bytes().endswith(b"{")
    with pytest.raises(AuditBroken):
        live.close()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda lines: [*lines[:-1], lines[-1].replace(b"run.end", b"run.eNd")], id="last record changed"),
        pytest.param(lambda lines: lines[1:], id="first record removed"),
        pytest.param(lambda lines: [b"{}\n", *lines], id="something put before it"),
        pytest.param(lambda lines: [*lines, b"\n"], id="empty line at the end"),
        pytest.param(lambda lines: [*lines, b"x" * 5_000_000], id="tail longer than any record"),
        pytest.param(lambda lines: [b"x" * 20_000_000 + b"\n"], id="one endless line"),
        pytest.param(lambda _: [b"hello\n"], id="not a log at all"),
        pytest.param(lambda _: [sealed([{"event": "log.continued", "previous": "a"}])], id="the middle of another log"),
        pytest.param(
            lambda _: [sealed([{"event": "run.start"}, {"event": "log.rotated", "next": "../x.jsonl"}])],
            id="leads out of the directory",
        ),
        *(
            pytest.param(
                lambda _, name=name: [sealed([{"event": "run.start"}, {"event": "log.rotated", "next": name}])],
                id=f"next file {what}",
            )
            for what, name in IMPOSSIBLE_NAMES.items()
        ),
        pytest.param(
            lambda _: [sealed([{"event": "run.start"}, {"event": "log.rotated", "next": "log.jsonl"}])],
            id="goes on in itself",
        ),
        pytest.param(
            lambda _: [sealed([{"event": "run.start"}, {"event": "log.rotated", "next": "b.jsonl"}]), b"{"],
            id="goes on after its end",
        ),
        pytest.param(lambda _: [sealed([{"event": "run.start", "v": 2}])], id="written by a newer version"),
        pytest.param(lambda _: [b"my notes, one line without an end"], id="no log and no newline"),
        pytest.param(lambda _: [b"my notes\nof two lines"], id="no log"),
        pytest.param(lambda _: [b'{"event":"something else"'], id="another program's"),
    ],
)
def test_log_that_does_not_verify_is_refused_and_left_as_it_is(tmp_path: Path, spoil: Any) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    content = b"".join(spoil(written(path)))
    path.write_bytes(content)
    with pytest.raises((AuditBroken, AuditLocked)):
        open_file(path)
    assert path.read_bytes() == content


def test_second_server_on_a_file_is_refused_in_clear_words(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    with pytest.raises(AuditLocked, match=r"Another server is writing the audit log log\.jsonl"):
        open_file(tmp_path / "audit/log.jsonl")
    log.close()
    open_file(tmp_path / "audit/log.jsonl").close()


def test_file_stays_locked_after_rotation(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    with pytest.raises(AuditLocked):
        open_file(tmp_path / "audit/log.jsonl")
    log.close()


@pytest.mark.parametrize("sink", [open_file, open_directory])
def test_size_cap_rotates_and_loses_nothing(tmp_path: Path, sink: Any) -> None:
    place = tmp_path / "audit" if sink is open_directory else tmp_path / "audit/log.jsonl"
    log = sink(place, max_size=3000)
    numbers = [log.append("call.outcome", {**CALL, "call": call}) for call in range(100)]
    log.close()
    verdict = verify(log.path)
    (chain,) = verdict.chains
    assert verdict.status is Status.WHOLE
    assert len(chain.files) > 10
    assert chain.files[1] == Path(log.path).stem + ".0002.jsonl"
    assert all(os.path.getsize(tmp_path / "audit" / name) <= 3000 for name in chain.files)
    every = [record for name in chain.files for record in records(tmp_path / "audit" / name)]
    assert [record["call"] for record in every if record["event"] == "call.outcome"] == list(range(100))
    assert numbers == sorted(numbers)
    assert sorted(os.listdir(tmp_path / "audit")) == sorted(chain.files)
    assert verify(str(tmp_path / "audit")).status is Status.WHOLE


def test_record_larger_than_the_cap_gets_a_file_of_its_own(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit", max_size=3000)
    for _ in range(3):
        log.append("call.intent", {"argv": ["x" * 100_000]})
    log.close()
    assert len(os.listdir(tmp_path / "audit")) == 4
    assert verify(log.path).status is Status.WHOLE


def test_rotated_log_is_continued_in_its_last_file(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    for _ in range(3):
        log = open_file(path, max_size=3000)
        for _ in range(20):
            log.append("call.outcome", CALL)
        log.close()
    (chain,) = verify(str(path)).chains
    assert (chain.status, chain.runs, chain.last.head) == (Status.WHOLE, 3, log.head)


def rotated_once(path: Path) -> bytes:
    """A log at `path` that went on in ``log.0002.jsonl``, which is removed; what that file began with."""
    log = open_file(path, max_size=3000)
    while len(os.listdir(path.parent)) < 2:
        log.append("call.outcome", CALL)
    log.close()
    following = path.parent / "log.0002.jsonl"
    first_line = following.read_bytes().splitlines(keepends=True)[0]
    following.unlink()
    return first_line


def test_rotation_interrupted_before_the_next_file_had_its_name_is_finished_and_told(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    first_line = rotated_once(path)
    (tmp_path / "audit/.log.0002.jsonl.new").write_bytes(first_line)
    assert verify(str(path)).status is Status.TORN
    open_file(path, run_id="healer").close()
    assert sorted(os.listdir(tmp_path / "audit")) == ["log.0002.jsonl", "log.jsonl"]
    assert [record["event"] for record in records(tmp_path / "audit/log.0002.jsonl")] == [
        "log.continued",
        "run.start",
        "log.healed",
        "run.end",
    ]
    healed = records(tmp_path / "audit/log.0002.jsonl")[2]
    assert healed.items() >= {"at": "start", "run": "healer", "named": "log.0002.jsonl"}.items()
    (chain,) = verify(str(path)).chains
    assert (chain.status, chain.healed) == (Status.WHOLE, 1)


def left_in_a_directory(directory: Path, *, ended: bool = True) -> str:
    """A run killed while it changed files: before the next one had its name, or before it was ended; that name."""
    log = open_directory(directory, max_size=3000)
    while len(os.listdir(directory)) < 2:
        log.append("call.outcome", CALL)
    log.close()
    first, following = Path(log.path), Path(log.path).with_suffix(".0002.jsonl")
    (directory / f".{following.name}.new").write_bytes(following.read_bytes().splitlines(keepends=True)[0])
    following.unlink()
    if not ended:
        first.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[:-1]))
    return following.name


def test_rotation_that_was_interrupted_in_a_directory_is_finished_by_the_next_run(tmp_path: Path) -> None:
    name = left_in_a_directory(tmp_path / "audit")
    assert verify(str(tmp_path / "audit")).status is Status.TORN
    next_run = open_directory(tmp_path / "audit", run_id="healer")
    assert [record["event"] for record in records(tmp_path / "audit" / name)] == ["log.continued", "log.healed"]
    healed = records(tmp_path / "audit" / name)[1]
    assert healed.items() >= {"at": "start", "run": "healer", "named": name}.items()
    assert records(next_run.path)[0]["previous"]["head"] == healed["hash"]
    next_run.close()
    assert verify(str(tmp_path / "audit")).status is Status.WHOLE


def test_file_that_was_ready_for_a_rotation_that_never_was_gets_no_name(tmp_path: Path) -> None:
    name = left_in_a_directory(tmp_path / "audit", ended=False)
    open_directory(tmp_path / "audit").close()
    assert name not in os.listdir(tmp_path / "audit")
    assert verify(str(tmp_path / "audit")).status is Status.WHOLE


@pytest.mark.parametrize(
    ("prepared", "says"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(sealed([{"event": "run.start"}]), "does not verify", id="the beginning of another log"),
        pytest.param(b"hello\n", "does not verify", id="not a log at all"),
    ],
)
def test_prepared_file_that_does_not_come_next_gets_no_name(tmp_path: Path, prepared: bytes, says: str) -> None:
    path = tmp_path / "audit/log.jsonl"
    rotated_once(path)
    (tmp_path / "audit/.log.0002.jsonl.new").write_bytes(prepared)
    with pytest.raises(AuditBroken, match=says):
        open_file(path)
    assert sorted(os.listdir(tmp_path / "audit")) == [".log.0002.jsonl.new", "log.jsonl"]


def test_log_whose_next_file_is_missing_is_refused_with_what_to_do_and_stays_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path, max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    taken = {file: file.read_bytes() for file in path.parent.glob("log.0*.jsonl")}
    assert len(taken) > 2
    for file in taken:
        file.unlink()
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(AuditBroken, match=r"'log\.0002\.jsonl', which is not there.*Put it back, .* or move"):
            open_file(path)
        assert verify(str(path)).status is Status.CUT
    assert os.listdir(path.parent) == ["log.jsonl"]
    assert path.read_bytes() == before
    for file, content in taken.items():
        file.write_bytes(content)
    open_file(path).close()
    assert verify(str(path), log.head).status is Status.WHOLE


def test_unfit_fields_are_refused_and_do_no_harm(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    for fields in ({"a": 1.5}, {"seq": 7}, {"hash": "x"}, {"a": "x" * 5_000_000}, {"a": object()}, {"a": {1: 2}}):
        with pytest.raises(AuditError):
            log.append("call.outcome", fields)  # type: ignore[arg-type]
    assert log.append("call.outcome", CALL) == 2
    log.close()
    assert "log.healed" not in {record["event"] for record in records(log.path)}
    assert verify(log.path).status is Status.WHOLE


def test_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append("call.outcome", CALL)


def test_clock_that_steps_back_does_not_break_the_chain(tmp_path: Path) -> None:
    times = iter([10**18, 10**18, 5 * 10**17, 0, 10**18])
    rules = AuditRules(directory=None, file=str(tmp_path / "audit/log.jsonl"))
    log = AuditLog.open(rules, run_id="r", header={}, clock_ns=lambda: next(times))
    log.append("call.outcome", CALL)
    log.append("call.outcome", CALL)
    log.append("call.outcome", CALL)
    log.close()
    found = records(log.path)
    assert [record["time"] for record in found[1:4]] == [
        "2001-09-09T01:46:40.000000Z",
        "1985-11-05T00:53:20.000000Z",
        "1970-01-01T00:00:00.000000Z",
    ]
    assert [record["up_us"] for record in found] == sorted(record["up_us"] for record in found)
    assert verify(log.path).status is Status.WHOLE


def test_threads_share_one_chain(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=20_000)
    numbers: list[int] = []

    def work() -> None:
        numbers.extend(log.append("call.outcome", CALL) for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    log.close()
    assert len(numbers) == len(set(numbers)) == 1600
    assert verify(log.path).status is Status.WHOLE


def test_failed_open_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    path.write_bytes(b"hello\n")
    path.chmod(0o600)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(AuditBroken):
        open_file(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def _link_to_file(place: Path) -> None:
    (place / "other").touch(0o600)
    (place / "log.jsonl").symlink_to("other")


def _second_name(place: Path) -> None:
    (place / "log.jsonl").touch(0o600)
    os.link(place / "log.jsonl", place / "other")


def _fifo(place: Path) -> None:
    os.mkfifo(place / "log.jsonl", 0o600)


def _open_to_the_group(place: Path) -> None:
    (place / "log.jsonl").touch(0o600)
    (place / "log.jsonl").chmod(0o620)


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda place: place.chmod(0o770), id="directory the group can write"),
        pytest.param(lambda place: place.chmod(0o1777), id="directory like /tmp"),
        pytest.param(lambda place: (place.rmdir(), place.touch()), id="directory that is a file"),
        pytest.param(
            lambda place: (place.rename(f"{place}2"), place.symlink_to(f"{place}2")), id="link to a directory"
        ),
        pytest.param(_link_to_file, id="link to a file"),
        pytest.param(_second_name, id="file with a second name"),
        pytest.param(_fifo, id="FIFO"),
        pytest.param(lambda place: (place / "log.jsonl").mkdir(), id="file that is a directory"),
        pytest.param(_open_to_the_group, id="file the group can write"),
    ],
)
def test_place_where_others_could_interfere_is_refused(tmp_path: Path, arrange: Any) -> None:
    arrange(private(tmp_path / "audit"))
    with pytest.raises(ConfigError):
        open_file(tmp_path / "audit/log.jsonl")
