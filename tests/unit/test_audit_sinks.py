"""A log with several places: each has every record in a chain of its own, and one that is optional stops nothing."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.verify import Status, verify
from fsserver.errors import AuditError, AuditLocked, ConfigError
from fsserver.policy.compiled import AuditRules, AuditSink
from tests.audit_logs import CALL, open_file, open_log, private, records, sealed
from tests.support import in_child

OWN = {"event", "call", "tool", "bytes"}


def rules(base: Path, *, required: bool = True) -> AuditRules:
    """A directory, and a file beside it."""
    second = AuditSink(None, str(base / "second/log.jsonl"), required)
    return AuditRules(str(base / "first"), others=(second,))


def told(path: Path | str) -> list[dict[str, object]]:
    return [{key: value for key, value in record.items() if key in OWN} for record in records(path)]


def test_every_sink_has_every_record_in_a_chain_of_its_own(tmp_path: Path) -> None:
    open_file(tmp_path / "second/log.jsonl").close()
    log = open_log(rules(tmp_path))
    numbers = [log.append("call.outcome", {**CALL, "call": number}) for number in range(3)]
    log.close()
    assert numbers == [2, 3, 4]
    assert told(log.path) == told(tmp_path / "second/log.jsonl")[2:]
    assert log.directories == (str(tmp_path / "first"), str(tmp_path / "second"))
    assert records(log.path)[-1]["hash"] == log.head != records(tmp_path / "second/log.jsonl")[-1]["hash"]
    for place in ("first", "second"):
        assert verify(str(tmp_path / place)).status is Status.WHOLE


def _locked(place: Path) -> AuditLog:
    return open_file(place / "log.jsonl")


def _not_a_log(place: Path) -> None:
    private(place)
    (place / "log.jsonl").write_bytes(b"hello\n")
    (place / "log.jsonl").chmod(0o600)


def _tampered(place: Path) -> None:
    _not_a_log(place)
    (place / "log.jsonl").write_bytes(sealed([{"event": "call.outcome"}]))


def _open_to_others(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


CANNOT_OPEN: dict[str, Callable[[Path], AuditLog | None]] = {
    "another server writes it": _locked,
    "it is no log": _not_a_log,
    "it does not verify": _tampered,
    "its directory is a file": lambda place: place.touch(),
    "its directory can be written by others": _open_to_others,
}


@pytest.mark.parametrize("name", CANNOT_OPEN)
def test_sink_that_cannot_be_opened_stops_the_start_only_if_it_is_required(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = CANNOT_OPEN[name](tmp_path / "second")
    with pytest.raises((AuditError, AuditLocked, ConfigError)):
        open_log(rules(tmp_path))
    with caplog.at_level(logging.WARNING):
        log = open_log(rules(tmp_path, required=False))
    log.append("call.outcome", CALL)
    assert log.ready
    log.close()
    if held is not None:
        held.close()
    assert records(log.path)[-1]["missed"] == {str(tmp_path / "second/log.jsonl"): 1}
    assert [message.count("no audit records in") for message in caplog.messages] == [1]
    assert log.directories == (str(tmp_path / "first"),)


def test_refused_start_ends_the_sinks_that_were_open(tmp_path: Path) -> None:
    (tmp_path / "second").touch()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError):
        open_log(rules(tmp_path))
    (name,) = os.listdir(tmp_path / "first")
    assert [record["event"] for record in records(tmp_path / "first" / name)] == ["run.start", "run.end"]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_optional_sink_that_fails_is_counted_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(rules(tmp_path, required=False))
    second = tmp_path / "second/log.jsonl"
    second.rename(tmp_path / "second/elsewhere.jsonl")
    for _ in range(3):
        log.append("call.intent", CALL)
        assert log.ready
    (tmp_path / "second/elsewhere.jsonl").rename(second)
    log.append("call.outcome", CALL)
    log.close()
    says = [message for message in caplog.messages if "second/log.jsonl" in message]
    assert ["takes no records" in says[0], "takes records again; it missed 3" in says[1], len(says)] == [True, True, 2]
    assert records(log.path)[-1]["missed"] == {str(second): 3}
    healed = records(second)[1]
    assert (healed["event"], healed["failed"], healed["error"]) == ("log.healed", 3, "audit.broken")
    assert verify(str(second)).status is Status.WHOLE


def test_optional_sink_that_has_no_end_is_told_by_the_others(tmp_path: Path) -> None:
    log = open_log(rules(tmp_path, required=False))
    (tmp_path / "second/log.jsonl").unlink()
    log.close()
    assert records(log.path)[-1]["missed"] == {str(tmp_path / "second/log.jsonl"): 1}


def test_second_required_sink_that_fails_refuses_calls_until_it_works(tmp_path: Path) -> None:
    log = open_log(rules(tmp_path))
    second = tmp_path / "second/log.jsonl"
    second.rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(AuditError):
        log.append("call.intent", CALL)
    assert not log.ready
    (tmp_path / "elsewhere.jsonl").rename(second)
    log.append("call.intent", CALL)
    assert log.ready
    log.close()
    assert "missed" not in records(log.path)[-1]
    assert [record["event"] for record in records(log.path)].count("call.intent") == 2
    assert [record["event"] for record in records(second)] == ["run.start", "log.healed", "call.intent", "run.end"]


def test_first_sink_that_fails_refuses_calls_and_the_others_have_them_all_the_same(tmp_path: Path) -> None:
    log = open_log(rules(tmp_path, required=False))
    moved = Path(f"{log.path}.moved")
    Path(log.path).rename(moved)
    with pytest.raises(AuditError):
        log.append("call.intent", CALL)
    moved.rename(log.path)
    log.close()
    assert "call.intent" in [record["event"] for record in records(tmp_path / "second/log.jsonl")]


def test_record_that_none_can_hold_fails_in_no_sink(tmp_path: Path) -> None:
    log = open_log(rules(tmp_path))
    for fields in ({"a": 1.5}, {"a": "x" * 5_000_000}):
        with pytest.raises(AuditError):
            log.append("call.outcome", fields)  # type: ignore[arg-type]
    assert log.ready
    log.close()
    for path in (log.path, tmp_path / "second/log.jsonl"):
        assert [record["event"] for record in records(path)] == ["run.start", "run.end"]


def test_log_is_not_ready_while_its_last_record_could_not_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def attack() -> list[bool | str]:
        log = open_file(tmp_path / "audit/log.jsonl")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        seen: list[bool | str] = [log.ready]
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        with pytest.raises(AuditError):
            log.append("call.intent", {**CALL, "text": "x" * 1000})
        seen.append(log.ready)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log.append("call.intent", CALL)
        seen.append(log.ready)
        log.close()
        return [*seen, *(message.partition("takes ")[2] for message in caplog.messages)]

    said = ["no records: No space left on device", "records again; it missed 1."]
    assert in_child(attack) == [True, False, True, *said]
