"""`durability: effect`: what was promised to be on the disk is there, and a sync that failed is not believed again."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.verify import Status, verify
from fsserver.errors import AuditError
from fsserver.policy.compiled import AuditRules, AuditSink, Durability
from tests.audit_logs import CALL, UNLIMITED, open_file, open_log, records, records_of
from tests.support import wait_until


class Disk:
    """Stands before fdatasync(2) and fsync(2): counts them, and fails those that a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.before: Callable[[int], None] = lambda number: None
        self.failing: Callable[[str], bool] = lambda path: False
        for name in ("fdatasync", "fsync"):
            monkeypatch.setattr(os, name, self._standing_before(getattr(os, name)))

    def _standing_before(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self.synced.append(path)
            self.before(len(self.synced))
            if self.failing(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        return sync

    def count(self, path: str) -> int:
        return self.synced.count(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def effect(base: Path, **more: Any) -> AuditRules:
    return AuditRules(str(base / "audit"), durability=Durability.EFFECT, **more)


def test_intent_is_on_the_disk_when_it_returns_and_an_outcome_waits_for_nothing(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path))
    assert disk.synced == [str(tmp_path / "audit")], "the name of the new file"
    log.append("call.outcome", CALL)
    assert disk.count(log.path) == 0
    log.append("call.intent", CALL, durable=True)
    assert disk.count(log.path) == 1
    log.close()
    assert records(log.path)[0]["durability"] == "effect"


def test_kernel_durability_puts_nothing_on_the_disk_before_the_end(tmp_path: Path, disk: Disk) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    for _ in range(10):
        log.append("call.intent", CALL, durable=True)
    assert disk.synced == []
    log.close()
    assert disk.synced == [log.path]


def in_threads(number: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_many_that_wait_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path))

    def until_all_have_written(number: int) -> None:
        if number == 2:  # the first sync of the file, after the directory's
            wait_until(lambda: Path(log.path).read_bytes().count(b"\n") == 17, "16 threads write during one sync")

    disk.before = until_all_have_written
    in_threads(16, lambda: log.append("call.intent", CALL, durable=True))
    assert disk.count(log.path) == 2, "one for the first, one for the fifteen that wrote meanwhile"
    log.close()
    assert verify(log.path).status is Status.WHOLE


def test_threads_that_wait_are_all_served_while_files_change(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path, max_size=4000))
    numbers: list[int] = []
    in_threads(16, lambda: numbers.extend(log.append("call.intent", CALL, durable=True) for _ in range(20)))
    log.close()
    chain = records_of(log.path)
    assert sorted(numbers) == [record["seq"] for record in chain if record["event"] == "call.intent"]
    directory = tmp_path / "audit"
    assert {str(directory / name) for name in os.listdir(directory)} <= set(disk.synced)
    assert disk.count(str(directory)) == len(os.listdir(directory)), "the name of each file"


def failed_once(log: AuditLog, disk: Disk) -> None:
    disk.failing = lambda path: path == log.path
    with pytest.raises(AuditError, match="cannot be put on the disk"):
        log.append("call.intent", CALL, durable=True)
    assert not log.ready


def test_failed_sync_refuses_the_call_and_the_log_goes_on_in_a_new_file(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path))
    failed_once(log, disk)
    disk.failing = lambda path: False  # as the kernel does: it tells a failure once
    log.append("call.outcome", CALL)
    assert log.ready
    log.append("call.intent", CALL, durable=True)
    log.close()
    assert disk.count(log.path) == 1, "what the kernel says of that file now means nothing"
    (chain,) = verify(log.path).chains
    assert (chain.status, len(chain.files)) == (Status.WHOLE, 2)
    told = [(record["event"], record.get("error")) for record in records(tmp_path / "audit" / chain.files[1])]
    assert told[:3] == [("log.continued", None), ("log.healed", "EIO"), ("call.outcome", None)]


def test_disk_that_goes_on_failing_refuses_every_call_and_leaves_no_file_behind(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path))
    disk.failing = lambda path: True
    for durable in (True, False, True):
        with pytest.raises(AuditError):
            log.append("call.intent", CALL, durable=durable)
        assert not log.ready
    assert len(os.listdir(tmp_path / "audit")) == 1
    disk.failing = lambda path: False
    log.append("call.intent", CALL, durable=True)
    log.close()
    (healed,) = [record for record in records_of(log.path) if record["event"] == "log.healed"]
    assert (healed["error"], healed["failed"]) == ("EIO", 3)
    assert verify(log.path).status is Status.WHOLE


def test_failed_sync_fails_all_that_waited_for_it(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path))
    outcomes: list[str] = []

    def until_all_have_written(number: int) -> None:
        if number == 2:
            wait_until(lambda: Path(log.path).read_bytes().count(b"\n") == 9, "8 threads write during one sync")

    def append() -> None:
        try:
            log.append("call.intent", CALL, durable=True)
            outcomes.append("on the disk")
        except AuditError:
            outcomes.append("refused")

    disk.before = until_all_have_written
    disk.failing = lambda path: path == log.path
    in_threads(8, append)
    assert outcomes == ["refused"] * 8
    assert disk.count(log.path) == 1
    log.close()
    assert records_of(log.path)[-2]["failed"] == 8


def test_file_whose_name_may_not_be_on_the_disk_is_not_trusted(tmp_path: Path, disk: Disk) -> None:
    log = open_log(effect(tmp_path, max_size=3000))
    disk.failing = lambda path: path == str(tmp_path / "audit")
    with suppress(AuditError):
        for _ in range(30):
            log.append("call.intent", CALL)
    assert not log.ready
    disk.failing = lambda path: False
    distrusted = min(os.listdir(tmp_path / "audit"))
    assert distrusted.endswith(".0002.jsonl")
    log.append("call.intent", CALL, durable=True)
    log.close()
    events = [record["event"] for record in records(tmp_path / "audit" / distrusted)]
    assert events == ["log.continued", "log.rotated"]
    assert verify(log.path).status is Status.WHOLE


def test_only_required_sinks_are_waited_for(tmp_path: Path, disk: Disk) -> None:
    others = (AuditSink(str(tmp_path / "b")), AuditSink(str(tmp_path / "c"), None, required=False))
    log = open_log(AuditRules(str(tmp_path / "a"), others=others, durability=Durability.EFFECT, max_size=UNLIMITED))
    before = len(disk.synced)
    log.append("call.intent", CALL, durable=True)
    assert [os.path.basename(os.path.dirname(path)) for path in disk.synced[before:]] == ["a", "b"]
    log.close()


def test_start_is_refused_when_its_file_cannot_be_put_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    disk.failing = lambda path: True
    with pytest.raises(AuditError, match="cannot be written"):
        open_log(effect(tmp_path))
