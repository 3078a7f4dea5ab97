"""Attacks on the log: somebody who can write to its file, a full disk, a kill at the wrong moment."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.chain import Position
from fsserver.audit.log import AuditLog
from fsserver.audit.record import Json
from fsserver.audit.segment import LOOK_S
from fsserver.audit.verify import Status, verify
from fsserver.errors import AuditBroken, AuditError, AuditLocked
from tests.audit_logs import CALL, open_directory, open_file, private, records, sealed, written
from tests.mounts import mount_small_tmpfs
from tests.support import in_child, wait_until

Lines = list[bytes]


def flipped(line: bytes, position: int) -> bytes:
    return line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :]


def place_of_value(line: bytes) -> int:
    """A digit of a number: flipped, the line is still a record in canonical form, so only its hash can tell."""
    return line.index(b'"bytes":12') + len(b'"bytes":1')


def head_of(line: bytes) -> str:
    return str(json.loads(line)["hash"])


# What is done to the ten lines of a log, what verify says without a head, and with the log's own last head.
TAMPERING: dict[str, tuple[Callable[[Lines, Lines], Lines], Status, Status]] = {
    "a bit of a value is flipped": (
        lambda log, _: [*log[:4], flipped(log[4], place_of_value(log[4])), *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "a bit of a hash is flipped": (
        lambda log, _: [*log[:4], log[4].replace(head_of(log[4]).encode(), b"0" * 64), *log[5:]],
        Status.TAMPERED, Status.TAMPERED),
    "a line end is flipped": (
        lambda log, _: [*log[:4], flipped(log[4], -1 % len(log[4])), *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "a record is deleted": (lambda log, _: [*log[:4], *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "the first record is deleted": (lambda log, _: log[1:], Status.TAMPERED, Status.TAMPERED),
    "all but the last record are deleted": (lambda log, _: log[-1:], Status.TAMPERED, Status.TAMPERED),
    "two records are swapped": (
        lambda log, _: [*log[:4], log[5], log[4], *log[6:]], Status.TAMPERED, Status.TAMPERED),
    "a record is duplicated": (lambda log, _: [*log[:5], log[4], *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "the last record is duplicated": (lambda log, _: [*log, log[-1]], Status.TAMPERED, Status.TAMPERED),
    "the whole log is put twice": (lambda log, _: log * 2, Status.TAMPERED, Status.TAMPERED),
    "a record of another log is spliced in": (
        lambda log, other: [*log[:4], other[4], *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "the tail of another log is spliced on": (
        lambda log, other: [*log[:4], *other[4:]], Status.TAMPERED, Status.TAMPERED),
    "another log is put after it": (lambda log, other: [*log, *other], Status.TAMPERED, Status.TAMPERED),
    "an empty line is put in": (lambda log, _: [*log[:4], b"\n", *log[4:]], Status.TAMPERED, Status.TAMPERED),
    "a record is changed and its own hash computed anew": (
        lambda log, _: [*log[:4], resealed(log[4]), *log[5:]], Status.TAMPERED, Status.TAMPERED),
    "the tail is cut at a record's end": (lambda log, _: log[:6], Status.WHOLE, Status.CUT),
    "the tail is cut inside a record": (lambda log, _: [*log[:6], log[6][:50]], Status.TORN, Status.TORN),
    "the last line end is removed": (lambda log, _: [*log[:-1], log[-1][:-1]], Status.TORN, Status.TORN),
    "everything is written anew": (
        lambda log, _: [sealed([json_without_hash(line) for line in log if b'"call":3' not in line])],
        Status.WHOLE, Status.CUT),
    "another log is put in its place": (lambda _, other: other, Status.WHOLE, Status.CUT),
    "everything is removed": (lambda _, __: [], Status.UNREADABLE, Status.CUT),
}  # fmt: skip


def json_without_hash(line: bytes) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if key not in ("hash", "prev", "seq")}


def resealed(line: bytes) -> bytes:
    record = json_without_hash(line)
    old = json.loads(line)
    return sealed([{**record, "bytes": 0}], Position(old["seq"] - 1, old["prev"]))


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", TAMPERING)
def test_what_is_done_to_the_file_gives_its_documented_verdict(tmp_path: Path, name: str) -> None:
    change, without_head, with_head = TAMPERING[name]
    log = written(private(tmp_path / "audit") / "log.jsonl", 8)
    other = written(private(tmp_path / "other") / "log.jsonl", 8)
    path = tmp_path / "audit" / "log.jsonl"
    path.write_bytes(b"".join(change(list(log), list(other))))
    expected = {with_head} if with_head is not Status.TORN else {Status.CUT}
    assert verify(str(path)).status is without_head
    assert verify(str(tmp_path / "audit")).status is without_head
    assert {verify(str(path), head_of(log[-1])).status} == expected


def test_cut_tail_with_a_head_from_before_the_cut_is_not_seen(tmp_path: Path) -> None:
    """The honest limit: a head proves what came up to it, nothing after."""
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path, 8)
    path.write_bytes(b"".join(lines[:6]))
    assert verify(str(path), head_of(lines[5])).status is Status.WHOLE
    assert verify(str(path), head_of(lines[6])).status is Status.CUT


@pytest.mark.parametrize(
    ("line", "reason"),
    [(4, "was changed"), (1, "is not JSON"), (10, "does not have number")],
)
def test_first_bad_record_is_named(tmp_path: Path, line: int, reason: str) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path, 8)
    lines[3] = lines[3].replace(b'"bytes":12', b'"bytes":13') if line == 4 else lines[3]
    lines[0] = b"{" + lines[0] if line == 1 else lines[0]
    lines[9:] = [lines[8]] if line == 10 else lines[9:]
    path.write_bytes(b"".join(lines))
    (chain,) = verify(str(path)).chains
    assert chain.problem is not None
    assert (chain.problem.file, chain.problem.line, chain.problem.seq) == ("log.jsonl", line, line)
    assert reason in chain.problem.reason


def add(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def replace_by_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def append_valid(path: Path) -> None:
    last = json.loads(path.read_bytes().splitlines()[-1])
    add(path, sealed([CALL], Position(last["seq"], last["hash"])))


def rotated(directory: Path) -> tuple[AuditLog, list[str]]:
    """A log in `directory` that went through several files."""
    log = open_file(directory / "log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    return log, sorted(os.listdir(directory))


SEGMENTS: dict[str, tuple[Callable[[Path], object], Status]] = {
    "the first file is removed": (lambda d: (d / "log.jsonl").unlink(), Status.TAMPERED),
    "a file in the middle is removed": (lambda d: (d / "log.0003.jsonl").unlink(), Status.TAMPERED),
    "two files are swapped": (
        lambda d: (
            (d / "log.0002.jsonl").rename(d / "x"), (d / "log.0003.jsonl").rename(d / "log.0002.jsonl"),
            (d / "x").rename(d / "log.0003.jsonl")), Status.TAMPERED),
    "a file is emptied": (lambda d: (d / "log.0002.jsonl").write_bytes(b""), Status.TAMPERED),
    "a file is replaced by a link to another": (
        lambda d: replace_by_link(d / "log.0002.jsonl", "log.0003.jsonl"),
        Status.TAMPERED),
    "a file is copied": (
        lambda d: shutil.copy(d / "log.0002.jsonl", d / "log.0099.jsonl"), Status.TAMPERED),
    "a record is added after the end of a file": (
        lambda d: append_valid(d / "log.jsonl"), Status.TAMPERED),
    "half a record is added after the end of a file": (
        lambda d: add(d / "log.jsonl", b"{"), Status.TORN),
}  # fmt: skip


@pytest.mark.parametrize("name", SEGMENTS)
def test_files_of_one_chain_hold_together(tmp_path: Path, name: str) -> None:
    change, status = SEGMENTS[name]
    rotated(private(tmp_path / "audit"))
    change(tmp_path / "audit")
    verdict = verify(str(tmp_path / "audit"))
    assert verdict.status is not Status.WHOLE
    assert verdict.status is status or Status.TAMPERED in {chain.status for chain in verdict.chains}


def test_removed_last_file_is_a_cut_even_without_a_head(tmp_path: Path) -> None:
    _, names = rotated(private(tmp_path / "audit"))
    (tmp_path / "audit" / names[-2]).unlink()  # the last name is the first file, "log.jsonl"
    assert verify(str(tmp_path / "audit/log.jsonl")).status is Status.CUT
    assert verify(str(tmp_path / "audit")).status is Status.CUT


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\r\nb\u2028c\u2029d\x85e\x0bf",
        '","hash":"' + "0" * 64,
        '"}\n{"v":1,"seq":1}',
        "\udcff\udc80",
        "\ud83d\ude00 as two halves",
        "\x00\x1b]0;title\x07\u202e",
    ],
    ids=ascii,
)
def test_text_of_a_client_stays_inside_its_record(tmp_path: Path, name: str) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    log.append("call.intent", {"arguments": {"path": name, name: [name]}, "hash ": name})
    log.append("call.outcome", CALL)
    log.close()
    content = Path(log.path).read_bytes()
    assert content.count(b"\n") == len(content.splitlines()) == 4
    assert content.isascii()
    assert verify(log.path).status is Status.WHOLE


@pytest.mark.parametrize("number", [1, 2, 3])
def test_arguments_that_imitate_the_chain_change_nothing(tmp_path: Path, number: int) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    for _ in range(number):
        forged: dict[str, Json] = {"a": 1, "hash": log.head, "prev": log.head, "seq": 99, "event": "log.rotated"}
        log.append("call.intent", {"arguments": forged, "z": [forged]})
    log.close()
    assert verify(log.path).status is Status.WHOLE


# --- Something else changes the file while the log is open.


MEDDLING = {
    "deleted": lambda path: path.unlink(),
    "moved away": lambda path: path.rename(path.parent / "elsewhere.jsonl"),
    "moved away and begun anew": lambda path: (path.rename(path.parent / "elsewhere.jsonl"), path.touch()),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 10),
    "appended to": append_valid,
    "appended to with half a record": lambda path: add(path, b'{"arguments'),
    "replaced": lambda path: (shutil.copy(path, f"{path}.copy"), Path(f"{path}.copy").replace(path)),
}


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", MEDDLING)
def test_call_is_refused_when_the_open_log_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path)
    log.append("call.outcome", CALL)
    MEDDLING[name](path)  # type: ignore[no-untyped-call]
    for _ in range(2):
        with pytest.raises(AuditBroken):
            log.append("call.intent", CALL)
    with pytest.raises(AuditBroken):
        log.close()


def outcomes_until_refused(log: AuditLog) -> list[int]:
    """The numbers of those that were taken before one was not."""
    taken: list[int] = []
    begun_s = time.monotonic()
    with suppress(AuditBroken):
        while time.monotonic() < begun_s + 10 * LOOK_S:
            taken.append(log.append("call.outcome", CALL))
        pytest.fail("nobody noticed")
    return taken


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", MEDDLING)
def test_results_are_withheld_a_moment_after_the_open_log_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path)
    MEDDLING[name](path)  # type: ignore[no-untyped-call]
    outcomes_until_refused(log)
    with pytest.raises(AuditBroken):
        log.append("call.outcome", CALL)


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", MEDDLING)
def test_nothing_is_taken_after_a_change_was_refused_because_the_open_log_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path)
    log.append("call.intent", CALL)
    MEDDLING[name](path)  # type: ignore[no-untyped-call]
    for event in ("call.intent", "call.outcome"):
        with pytest.raises(AuditBroken):
            log.append(event, CALL)


def test_what_is_recorded_in_the_moment_after_the_log_was_moved_is_where_it_is_now(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "audit/log.jsonl", tmp_path / "audit/elsewhere.jsonl"
    log = open_file(path)
    path.rename(elsewhere)
    taken = outcomes_until_refused(log)
    assert [record["seq"] for record in records(elsewhere)] == [1, *taken]


def test_other_bytes_are_never_cut_as_if_they_were_ours(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path)
    add(path, b"evidence")
    for _ in range(3):
        with pytest.raises(AuditBroken):
            log.append("call.intent", CALL)
    assert path.read_bytes().endswith(b"evidence")


# --- The disk.


def assert_fails_and_heals(log: AuditLog, path: Path, free: Callable[[], None]) -> None:
    """Write until the file takes no more; nothing half written stays; when there is room, the log goes on."""
    written_records = 0
    with suppress(AuditError):
        for _ in range(1000):
            log.append("call.intent", {**CALL, "text": "x" * 500})
            written_records += 1
    assert 0 < written_records < 1000
    for _ in range(3):
        with pytest.raises(AuditError) as caught:
            log.append("call.intent", {**CALL, "text": "x" * 10_000})
        assert caught.value.transient
        assert verify(str(path)).status is Status.WHOLE
    free()
    log.append("call.intent", CALL)
    log.close()
    (chain,) = verify(str(path)).chains
    assert (chain.status, chain.healed, chain.ended) == (Status.WHOLE, 1, True)
    healed = next(
        json.loads(line)
        for name in chain.files
        for line in (path.parent / name).read_bytes().splitlines()
        if b'"log.healed"' in line
    )
    assert healed["at"] == "append"
    assert healed["failed"] == 4
    assert healed["error"] in ("ENOSPC", "EFBIG")


def test_file_size_limit_refuses_calls_and_heals(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"

    def attack() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        assert_fails_and_heals(open_file(path), path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))

    in_child(attack)


@pytest.mark.parametrize("max_size", [1024**3, 30_000], ids=["one file", "while it rotates"])
def test_full_disk_refuses_calls_and_heals(tmp_path: Path, max_size: int) -> None:
    place = private(tmp_path / "audit")

    def attack() -> None:
        mount_small_tmpfs(place)
        ballast = place / "ballast"
        ballast.write_bytes(b"\0" * 40_000)
        path = place / "log.jsonl"
        log = open_file(path, max_size=max_size)
        assert_fails_and_heals(log, path, ballast.unlink)

    in_child(attack)


def test_start_on_a_full_disk_is_refused_and_leaves_no_empty_log(tmp_path: Path) -> None:
    def attack() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        with pytest.raises(AuditError, match="cannot be written"):
            open_directory(tmp_path / "audit")
        with pytest.raises(AuditError, match="cannot be written"):
            open_file(tmp_path / "audit/log.jsonl")
        assert [(name, os.path.getsize(tmp_path / "audit" / name)) for name in os.listdir(tmp_path / "audit")] in (
            [],
            [("log.jsonl", 0)],
        )

    in_child(attack)
    open_file(tmp_path / "audit/log.jsonl").close()
    assert verify(str(tmp_path / "audit")).status is Status.WHOLE


# --- Other processes.


WRITER_RECORDS = 600  # what a writing child may write in all: 6 MB, however its parent ends
WRITER_LIFE_S = 60


def child_writing(path: Path, max_size: int) -> int:
    """A forked child that appends as fast as it can, then holds the log open, until it is killed; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(WRITER_LIFE_S)
            log = open_file(path, max_size=max_size)
            for _ in range(WRITER_RECORDS):
                log.append("call.intent", {**CALL, "argv": ["x" * 9000]})
            signal.pause()
        finally:
            os._exit(1)
    return pid


def holds(directory: Path, size: int) -> bool:
    return size_of(directory) > size


def size_of(directory: Path) -> int:
    total = 0
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            total += os.path.getsize(directory / name)
    return total


@pytest.mark.parametrize("max_size", [1024**3, 100_000], ids=["one file", "while it rotates"])
def test_killed_writer_leaves_a_log_that_is_whole_or_torn_and_is_continued(tmp_path: Path, max_size: int) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    for round_ in range(15):
        enough = size_of(path.parent) + 50_000 + 7_001 * round_
        pid = child_writing(path, max_size)
        try:
            wait_until(partial(holds, path.parent, enough), "the child writes")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert verify(str(path)).status in (Status.WHOLE, Status.TORN)
    open_file(path).close()
    (chain,) = verify(str(path)).chains
    assert (chain.status, chain.runs, chain.ended) == (Status.WHOLE, 16, True)


@pytest.mark.parametrize("max_size", [1024**3, 60_000], ids=["one file", "while it rotates"])
def test_log_that_is_being_written_is_never_called_tampered(tmp_path: Path, max_size: int) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    pid = child_writing(path, max_size)
    try:
        wait_until(lambda: path.exists() and path.stat().st_size > 0, "the child writes")
        verdicts = [verify(str(place)) for _ in range(10) for place in (path, path.parent)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert {verdict.status for verdict in verdicts} <= {Status.WHOLE, Status.TORN}
    assert all(chain.live for verdict in verdicts for chain in verdict.chains)


def test_second_server_on_one_file_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    log = open_file(path)

    def second() -> str:
        try:
            open_file(path)
        except AuditLocked as error:
            return error.code
        return "opened"

    assert in_child(second) == "audit.locked"
    log.append("call.outcome", CALL)
    log.close()
    assert in_child(second) == "opened"
    assert verify(str(path)).status is Status.WHOLE


def test_two_servers_in_one_directory_do_not_meet(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit")

    def second() -> None:
        other = open_directory(tmp_path / "audit")
        other.append("call.outcome", CALL)
        other.close()

    in_child(second)
    log.append("call.outcome", CALL)
    log.close()
    verdict = verify(str(tmp_path / "audit"))
    assert verdict.status is Status.WHOLE
    assert len(verdict.chains) == 2
