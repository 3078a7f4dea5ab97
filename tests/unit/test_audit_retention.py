"""Which runs a start or a rotation removes from a directory, and what it never does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.audit import retention
from fsserver.audit.runs import Run
from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import AuditRules
from tests.audit_logs import CALL, open_directory, open_file, open_log, private, records, records_of

DAY_S = 86400
RECORDS = 20  # so a run has about 5 kB


def run(directory: Path, age_days: float, *, files: bool = False) -> list[str]:
    """The names of the files of an ended run that was last written to so long ago."""
    log = open_directory(directory, max_size=3000 if files else 1024**3)
    for _ in range(RECORDS):
        log.append("call.outcome", CALL)
    log.close()
    (chain,) = verify(log.path).chains
    age(directory, chain.files, age_days)
    return chain.files


def age(directory: Path, names: list[str], days: float) -> None:
    when = time.time() - days * DAY_S
    for name in names:
        os.utime(directory / name, (when, when))


def start(directory: Path, *, keep_days: float | None = None, keep_bytes: int | None = None) -> list[dict[str, object]]:
    """One more run with these rules; what its log says of removals."""
    keep_s = None if keep_days is None else keep_days * DAY_S
    log = open_log(AuditRules(str(directory), keep_s=keep_s, keep_bytes=keep_bytes))
    log.close()
    found = [record for record in records(log.path) if record["event"] == "log.removed"]
    assert verify(log.path).status is Status.WHOLE
    return [{key: record[key] for key in ("files", "runs", "why")} for record in found]


def test_runs_older_than_the_time_are_removed_and_told(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    old, rotated, young = run(audit, 30), run(audit, 11, files=True), run(audit, 9)
    (told,) = start(audit, keep_days=10)
    assert (told["runs"], told["why"]) == (2, "time")
    assert sorted(told["files"]) == sorted(old + rotated)  # type: ignore[call-overload]
    assert set(os.listdir(audit)) >= set(young)
    assert not set(os.listdir(audit)) & {*old, *rotated}
    assert start(audit, keep_days=10) == []


def test_the_oldest_runs_are_removed_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    runs = [run(audit, days, files=days == 3) for days in (4, 3, 2, 1)]
    left = sum((audit / name).stat().st_size for names in runs[2:] for name in names)
    (told,) = start(audit, keep_bytes=left)
    assert (told["files"], told["runs"], told["why"]) == (runs[0] + runs[1], 2, "size")
    assert set(os.listdir(audit)) >= {*runs[2], *runs[3]}


def test_both_limits_are_kept_and_told_apart(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    runs = [run(audit, days) for days in (20, 3, 2)]
    told = start(audit, keep_days=10, keep_bytes=(audit / runs[2][0]).stat().st_size)
    assert told == [{"files": runs[0], "runs": 1, "why": "time"}, {"files": runs[1], "runs": 1, "why": "size"}]


def test_without_limits_nothing_is_removed(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    old = run(audit, 10_000)
    assert start(audit) == []
    assert set(os.listdir(audit)) >= set(old)


def test_own_run_is_never_removed_however_small_the_limit(tmp_path: Path) -> None:
    log = open_log(AuditRules(str(tmp_path / "audit"), keep_s=0.0, keep_bytes=0, max_size=3000))
    for _ in range(60):
        log.append("call.outcome", CALL)
    log.close()
    (chain,) = verify(str(tmp_path / "audit")).chains
    assert (chain.status, chain.ended) == (Status.WHOLE, True)
    assert len(chain.files) > 5


def test_rotation_removes_what_is_too_much_by_then(tmp_path: Path) -> None:
    log = open_log(AuditRules(str(tmp_path / "audit"), keep_s=DAY_S * 10.0, max_size=3000))
    old = run(tmp_path / "audit", 11)
    for _ in range(20):
        log.append("call.outcome", CALL)
    log.close()
    told = [record for record in records_of(log.path) if record["event"] == "log.removed"]
    assert [record["files"] for record in told] == [old]
    assert not (tmp_path / "audit" / old[0]).exists()


def _is_live(audit: Path, names: list[str]) -> object:
    """The lock that a server holds on its run's first file."""
    stream = (audit / names[0]).open("rb")
    fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def _changed(audit: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (audit / name).write_bytes(change((audit / name).read_bytes()))
    age(audit, [name], 30)


def _is_a_link(audit: Path, names: list[str]) -> None:
    (audit / names[0]).rename(audit.parent / "elsewhere")
    (audit / names[0]).symlink_to(audit.parent / "elsewhere")


STAYS: dict[str, Callable[[Path, list[str]], object]] = {
    "a server writes it": _is_live,
    "its first record was changed": lambda audit, names: _changed(audit, names[0], lambda data: b"{" + data),
    "its last record was changed": lambda audit, names: _changed(
        audit, names[-1], lambda data: data.replace(b"run.end", b"run.eNd")
    ),
    "its first file is missing": lambda audit, names: (audit / names[0]).unlink(),
    "a file of it is another log's": lambda audit, names: _changed(
        audit, names[1], lambda data: (audit / names[0]).read_bytes()
    ),
    "it is a link": _is_a_link,
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_no_ended_run_of_ours_stays(tmp_path: Path, name: str) -> None:
    audit = private(tmp_path / "audit")
    names = run(audit, 30, files=True)
    held = STAYS[name](audit, names)
    before = set(os.listdir(audit))
    assert start(audit, keep_days=10, keep_bytes=0) == []
    assert set(os.listdir(audit)) >= before
    if hasattr(held, "close"):
        held.close()


@pytest.mark.parametrize(
    "name", ["log.jsonl", "notes.txt", "20200101T000000Z-1-0000000g.jsonl", "20200101T000000Z-1-00000000.jsonl.gz"]
)
def test_file_with_another_name_stays_also_if_it_is_a_log(tmp_path: Path, name: str) -> None:
    audit = private(tmp_path / "audit")
    open_file(audit / name).close()
    age(audit, [name], 1000)
    assert start(audit, keep_days=1, keep_bytes=0) == []
    assert (audit / name).exists()


def test_removal_that_was_killed_half_way_is_finished_by_the_next_start(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    names = run(audit, 30, files=True)
    for name in names[2:]:  # the last ones go first
        (audit / name).unlink()
    (told,) = start(audit, keep_days=10)
    assert told["files"] == names[:2]
    assert not set(os.listdir(audit)) & set(names)


def test_run_that_was_killed_counts_as_ended(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    (name,) = run(audit, 30)
    _changed(audit, name, lambda data: data[: data.index(b'{"event":"run.end"')])
    (told,) = start(audit, keep_days=10)
    assert told["files"] == [name]


def test_the_limit_of_time_follows_the_clock_of_the_log(tmp_path: Path) -> None:
    audit = private(tmp_path / "audit")
    names = run(audit, 0)
    later = open_log(AuditRules(str(audit), keep_s=10.0 * DAY_S), clock_ns=lambda: time.time_ns() + 11 * DAY_S * 10**9)
    later.close()
    assert not (audit / names[0]).exists()


@pytest.mark.parametrize("filled", range(1400, 2000, 50))
def test_end_of_a_run_stays_its_last_record_also_when_it_begins_a_file(tmp_path: Path, filled: int) -> None:
    """At some of these sizes the end itself needs the next file, after which there is something to remove."""
    log = open_log(AuditRules(str(tmp_path / "audit"), keep_s=DAY_S * 10.0, max_size=3000))
    run(tmp_path / "audit", 11)
    log.append("call.outcome", {**CALL, "text": "x" * filled})
    log.close()
    assert records_of(log.path)[-1]["event"] == "run.end"


def test_many_files_are_told_in_several_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsserver.audit.retention._NAMED_AT_ONCE", 2)
    audit = private(tmp_path / "audit")
    names = [name for days in (15, 14, 13, 12, 11) for name in run(audit, days)]
    told = start(audit, keep_days=10)
    assert [record["runs"] for record in told] == [2, 2, 1]
    assert sorted(name for record in told for name in record["files"]) == sorted(names)  # type: ignore[attr-defined]
    assert not set(os.listdir(audit)) & set(names)


def test_a_run_that_cannot_be_removed_does_not_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = private(tmp_path / "audit")
    seen, gone, other = (run(audit, 30)[0] for _ in range(3))
    whole = retention.remove

    def remove(directory: int, each: Run) -> None:
        if each.files == (gone,):
            (audit / gone).unlink()  # by another server, at this moment
        with (audit / seen).open() as looking:  # as `verify` does, for an instant
            fcntl.flock(looking, fcntl.LOCK_SH)
            whole(directory, each)

    monkeypatch.setattr("fsserver.audit.writer.remove", remove)
    assert len(start(audit, keep_days=10)) == 1
    assert {seen, gone, other} & set(os.listdir(audit)) == {seen}
    monkeypatch.undo()
    (told,) = start(audit, keep_days=10)
    assert told["files"] == [seen]


def test_a_run_that_went_on_and_ended_meanwhile_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = private(tmp_path / "audit")
    other = open_directory(audit, max_size=3000)
    is_over = retention._is_over

    def ended_just_before(directory: int, each: Run) -> bool:
        for _ in range(RECORDS):
            other.append("call.outcome", CALL)
        other.close()
        return is_over(directory, each)

    monkeypatch.setattr(retention, "_is_over", ended_just_before)
    assert start(audit, keep_bytes=1) == []
    assert verify(str(audit)).status is Status.WHOLE
    (chain,) = verify(other.path).chains
    monkeypatch.undo()
    (told,) = start(audit, keep_bytes=1)
    assert len(chain.files) > 1
    assert set(chain.files) < set(told["files"])  # type: ignore[call-overload]
    assert verify(str(audit)).status is Status.WHOLE
