"""The audit log of the real, confined server: several places, signed, rotated, and with old runs removed meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import AuditRules
from tests.audit_logs import key_pair, open_directory, open_log, private, records_of
from tests.protocol.client import Client
from tests.support import wait_until

READ = {"name": "read_text_file", "arguments": {"path": "a.txt"}}


def policy(tmp_path: Path, audit: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nroots: {{work: {{path: {tmp_path}/root, mode: rw}}}}\naudit: {audit}\n")
    path.chmod(0o600)
    return path


def test_confined_server_writes_every_place_signs_rotates_and_removes(
    serve: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    key, public = key_pair(private(tmp_path / "keys"))
    sinks = f"[{{dir: {tmp_path}/first}}, {{file: {tmp_path}/second/log.jsonl}}]"
    more = f"key: {key}, checkpoint: {{records: 5, time: 1s}}, durability: effect, max_size: 6KiB, keep: {{time: 1d}}"
    path = policy(tmp_path, f"{{sinks: {sinks}, {more}}}")
    client = serve("--policy", path)
    client.open()
    old = open_directory(tmp_path / "first")
    old.close()
    long_ago = time.time() - 2 * 86400
    os.utime(old.path, (long_ago, long_ago))
    for number in range(20):
        content = f"{number} " + "x" * 300
        client.request("tools/call", {"name": "write_file", "arguments": {"path": "b.txt", "content": content}})
        assert (root / "b.txt").read_text() == content
    (first,) = {name.partition(".")[0] for name in os.listdir(tmp_path / "first")} - {Path(old.path).stem}
    second = tmp_path / "second/log.jsonl"
    wait_until(lambda: records_of(second)[-1]["event"] == "log.checkpoint", "the timer signs what is left")
    client.close_input()
    assert client.wait() == 0
    assert client.stderr() == ""
    for begun in (tmp_path / f"first/{first}.jsonl", second):
        (chain,) = verify(str(begun)).chains
        assert (chain.status, chain.ended, len(chain.files) > 2) == (Status.WHOLE, True, True)
        signed = [record for record in records_of(begun) if "signature" in record]
        assert len(signed) > 3
        assert all(
            public.signed(each["event"], each["signed_seq"], each["signed_head"], each["signature"]) for each in signed
        )
    (removed,) = [each for each in records_of(tmp_path / f"first/{first}.jsonl") if each["event"] == "log.removed"]
    assert removed["files"] == [Path(old.path).name]
    assert not Path(old.path).exists()


def test_optional_place_that_another_server_has_is_said_and_calls_are_served(
    serve: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    second = f"{tmp_path}/second/log.jsonl"
    held = open_log(AuditRules(None, second))
    path = policy(tmp_path, f"{{sinks: [{{dir: {tmp_path}/first}}, {{file: {second}, required: false}}]}}")
    client = serve("--policy", path)
    client.open()
    assert not client.request("tools/call", READ).get("isError")
    client.close_input()
    assert client.wait() == 0
    held.close()
    assert "has no audit records in" in client.stderr()
    (name,) = os.listdir(tmp_path / "first")
    _, *missed, end = records_of(tmp_path / "first" / name)
    assert (end["missed"], missed[-1]["event"]) == ({second: len(missed)}, "call.outcome")


def test_key_that_others_can_read_refuses_the_start(serve: Callable[..., Client], root: Path, tmp_path: Path) -> None:
    key, _ = key_pair(private(tmp_path / "keys"))
    Path(key).chmod(0o644)
    client = serve("--policy", policy(tmp_path, f"{{sinks: [{{dir: {tmp_path}/first}}], key: {key}}}"))
    assert client.wait() == 2
    assert "chmod 600" in client.stderr()
    assert not (tmp_path / "first").exists()
