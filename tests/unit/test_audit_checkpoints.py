"""Signed heads: after so many records, after so long, and at the end; and what a run says of the one before it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.checkpoints import CheckpointTimer
from fsserver.audit.signing import PublicKey
from fsserver.audit.verify import Status, verify
from fsserver.errors import ConfigError
from fsserver.policy.compiled import AuditRules, AuditSink
from tests.audit_logs import CALL, key_pair, open_directory, open_log, records, records_of
from tests.support import let_no_thread_begin, wait_until

SIGNED = {"signed_seq", "signed_head", "key", "signature"}


def assert_signed(chain: list[dict[str, Any]], public: PublicKey) -> list[int]:
    """Every checkpoint and the end sign the record before; the numbers of the checkpoints."""
    signing = [record for record in chain if record["event"] in ("log.checkpoint", "run.end")]
    for record in signing:
        before = chain[record["seq"] - 2]
        assert (record["signed_seq"], record["signed_head"], record["key"]) == (
            before["seq"],
            before["hash"],
            public.id,
        )
        assert public.signed(record["event"], record["signed_seq"], record["signed_head"], record["signature"])
    assert all(record in signing or SIGNED.isdisjoint(record) for record in chain if record["event"] != "run.start")
    return [record["seq"] for record in signing if record["event"] == "log.checkpoint"]


def test_head_is_signed_after_so_many_records_and_at_the_end(tmp_path: Path) -> None:
    key, public = key_pair(tmp_path)
    log = open_log(AuditRules(str(tmp_path / "audit"), key=key, checkpoint_records=3))
    for _ in range(7):
        log.append("call.outcome", CALL)
    log.close()
    chain = records(log.path)
    assert (chain[0]["key"], chain[0]["public_key"]) == (public.id, public.text)
    assert assert_signed(chain, public) == [4, 8]
    assert chain[-1]["event"] == "run.end"
    assert verify(log.path).status is Status.WHOLE


def test_without_a_key_nothing_is_signed_and_no_thread_runs(tmp_path: Path) -> None:
    before = threading.active_count()
    log = open_log(AuditRules(str(tmp_path / "audit"), checkpoint_records=1, checkpoint_s=0.01))
    log.append("call.outcome", CALL)
    assert threading.active_count() == before
    log.close()
    assert [record["event"] for record in records(log.path)] == ["run.start", "call.outcome", "run.end"]
    assert all((SIGNED | {"public_key"}).isdisjoint(record) for record in records(log.path))


def test_head_is_signed_after_so_long_though_nothing_more_comes_and_then_not_again(tmp_path: Path) -> None:
    key, public = key_pair(tmp_path)
    log = open_log(AuditRules(str(tmp_path / "audit"), key=key, checkpoint_s=0.02))
    assert "audit checkpoints" not in {each.name for each in threading.enumerate()}, "before the server is confined"
    log.append("call.outcome", CALL)
    wait_until(lambda: records(log.path)[-1]["event"] == "log.checkpoint", "the timer signs")
    log.append("call.outcome", CALL)
    wait_until(lambda: records(log.path)[-1]["event"] == "log.checkpoint", "the timer signs again")
    log.close()
    assert "audit checkpoints" not in {each.name for each in threading.enumerate()}
    chain = records(log.path)
    assert len(assert_signed(chain, public)) in (2, 3)  # 3: the first came between the start and the first call
    pairs = list(itertools.pairwise(chain))
    assert not [a for a, b in pairs if a["event"] == b["event"] == "log.checkpoint"], "nothing new was signed"


@pytest.mark.parametrize("many", [1, 2, 7])
def test_rotated_chain_is_signed_across_its_files(tmp_path: Path, many: int) -> None:
    key, public = key_pair(tmp_path)
    rules = AuditRules(str(tmp_path / "audit"), max_size=3000, key=key, checkpoint_records=many)
    log = open_log(rules)
    for number in range(60):
        log.append("call.outcome", {**CALL, "call": number})
    log.close()
    chain = records_of(log.path)
    assert len(os.listdir(tmp_path / "audit")) > 5
    assert len(assert_signed(chain, public)) >= 60 // many
    gaps = [record["seq"] for record in chain if record["event"] in ("log.checkpoint", "run.end")]
    assert max(b - a for a, b in itertools.pairwise([0, *gaps])) <= many + 3, "a rotation adds two records"
    assert verify(log.path).status is Status.WHOLE


def test_every_sink_signs_its_own_head(tmp_path: Path) -> None:
    key, public = key_pair(tmp_path)
    second = AuditSink(None, str(tmp_path / "second/log.jsonl"))
    log = open_log(AuditRules(str(tmp_path / "audit"), others=(second,), key=key, checkpoint_records=2))
    for _ in range(5):
        log.append("call.outcome", CALL)
    log.close()
    heads = [record["signed_head"] for record in records(log.path) if "signed_head" in record]
    others = [record["signed_head"] for record in records(tmp_path / "second/log.jsonl") if "signed_head" in record]
    assert len(heads) == len(others) >= 2
    assert not set(heads) & set(others)
    assert_signed(records(tmp_path / "second/log.jsonl"), public)


def _for_others(path: Path) -> None:
    path.chmod(0o644)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD_KEYS: dict[str, Callable[[Path], object]] = {
    "it is not there": lambda path: path.unlink(),
    "others can read it": _for_others,
    "it is no key": lambda path: path.write_text("hello"),
    "it is the public half": lambda path: path.write_bytes(Path(f"{path}.pub").read_bytes()),
    "it is a directory": _directory,
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_key_that_will_not_do_refuses_the_start_and_begins_no_log(tmp_path: Path, name: str) -> None:
    key, _ = key_pair(tmp_path)
    BAD_KEYS[name](Path(key))
    with pytest.raises(ConfigError):
        open_log(AuditRules(str(tmp_path / "audit"), key=key))
    assert not (tmp_path / "audit").exists()


def test_key_is_not_needed_any_more_once_the_log_is_open(tmp_path: Path) -> None:
    key, public = key_pair(tmp_path)
    log = open_log(AuditRules(str(tmp_path / "audit"), key=key, checkpoint_records=1))
    Path(key).unlink()
    log.append("call.outcome", CALL)
    log.close()
    assert assert_signed(records(log.path), public)


# --- The run before.


def test_run_names_the_newest_one_before_it_in_its_directory(tmp_path: Path) -> None:
    first = open_directory(tmp_path / "audit")
    first.close()
    second = open_directory(tmp_path / "audit", max_size=3000)
    for _ in range(20):
        second.append("call.outcome", CALL)
    second.close()
    third = open_directory(tmp_path / "audit")
    third.close()
    assert "previous" not in records(first.path)[0]
    assert records(second.path)[0]["previous"] == {"file": os.path.basename(first.path), "head": first.head}
    assert records(third.path)[0]["previous"] == {"file": os.path.basename(second.path), "head": second.head}


def test_run_that_is_still_going_on_is_named_by_the_head_it_has(tmp_path: Path) -> None:
    first = open_directory(tmp_path / "audit")
    first.append("call.outcome", CALL)
    head = first.head
    second = open_directory(tmp_path / "audit")
    first.close()
    second.close()
    assert records(second.path)[0]["previous"] == {"file": os.path.basename(first.path), "head": head}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("20990101T000000Z-1-00000000.jsonl", b"hello\n", id="no log"),
        pytest.param("20990101T000000Z-1-00000000.jsonl", b"", id="empty"),
        pytest.param("20990101T000000Z-1-00000000.0002.jsonl", b"{}\n", id="a continuation of nothing"),
        pytest.param("20990101T000000Z-1-00000000.jsonl", b"x" * 20_000_000, id="endless"),
    ],
)
def test_what_is_no_run_is_not_named_and_stops_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    open_directory(tmp_path / "audit").close()
    (tmp_path / "audit" / name).write_bytes(content)
    log = open_directory(tmp_path / "audit")
    log.close()
    assert "previous" not in records(log.path)[0]


def test_header_says_what_intents_wait_for(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit")
    log.close()
    assert records(log.path)[0]["durability"] == "kernel"


def test_a_timer_whose_thread_cannot_be_started_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start {thread.name}")

    timer = CheckpointTimer(lambda: 1.0, 1.0)
    monkeypatch.setattr(threading.Thread, "start", start)
    timer.begin()
    timer.end()


def test_record_is_taken_also_where_no_thread_can_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, public = key_pair(tmp_path)
    log = open_log(AuditRules(str(tmp_path / "audit"), key=key, checkpoint_s=0.01))
    with monkeypatch.context() as patch:
        let_no_thread_begin(patch)
        log.append("call.outcome", CALL)
    log.append("call.outcome", CALL)
    wait_until(lambda: records(log.path)[-1]["event"] == "log.checkpoint", "the head is signed")
    log.close()
    assert assert_signed(records(log.path), public) == [4]
