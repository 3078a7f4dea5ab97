"""What the real server writes about itself, its client and its calls: every record fits the schema."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsserver import __version__
from tests.audit_schema import require_fit
from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, Client, envelope
from tests.support import require_kernel, wait_until

Serve = Callable[..., Client]


def log_of(state: Path) -> list[dict[str, Any]]:
    (log,) = state.rglob("*.jsonl")
    require_fit(log)
    return [json.loads(line) for line in log.read_text().splitlines()]


def ended(client: Client, state: Path) -> list[dict[str, Any]]:
    client.close_input()
    assert client.wait() == 0
    return log_of(state)


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_a_client_is_in_the_log_from_its_handshake_on(serve: Serve, root: Path, tmp_path: Path, revision: str) -> None:
    client = serve("--root", root, "--write")
    client.open(revision)
    client.call("write_file", {"path": "n", "content": "x"})
    records = ended(client, tmp_path / "state")
    assert [record["event"] for record in records] == [
        "run.start",
        "run.confined",
        "session.client",
        "call.intent",
        "call.outcome",
        "run.end",
    ]
    start, _, who, intent, outcome, _ = records
    assert start["fsserver"] == __version__
    assert (who["client"], who["protocol"], who["transport"]) == ({"name": "tests", "version": "1"}, revision, "stdio")
    assert who["session"] == intent["session"] == outcome["session"] == start["run"]
    assert [(each["name"], each["change"]) for each in outcome["changes"]] == [("n", "created")]


def test_a_handshake_alone_is_in_the_log(serve: Serve, root: Path, tmp_path: Path) -> None:
    client = serve("--root", root)
    client.open()
    events = [record["event"] for record in ended(client, tmp_path / "state")]
    assert events == ["run.start", "run.confined", "session.client", "run.end"]


def test_a_modern_client_is_in_the_log_once_and_again_when_it_says_something_else(
    serve: Serve, root: Path, tmp_path: Path
) -> None:
    client = serve("--root", root)
    for name in ("tests", "tests", "other\x1b[2J", "other\x1b[2J"):
        meta = envelope()
        meta["io.modelcontextprotocol/clientInfo"] = {"name": name, "version": "1"}
        client.request("tools/call", {"name": "list_directory", "arguments": {"path": "."}, "_meta": meta})
    told = [record for record in ended(client, tmp_path / "state") if record["event"] == "session.client"]
    assert [record["client"]["name"] for record in told] == ["tests", "other\\x1b[2J"]
    assert {record["protocol"] for record in told} == {MODERN}


@pytest.mark.parametrize("revision", [*HANDSHAKE_REVISIONS, MODERN])
def test_call_and_resource_of_a_clients_trace_have_it_in_the_log(
    serve: Serve, root: Path, tmp_path: Path, revision: str
) -> None:
    client = serve("--root", root)
    meta = envelope() if revision == MODERN else {}
    if revision != MODERN:
        client.open(revision)
    traced = {**meta, "traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}
    for each in (traced, {**meta, "traceparent": "00-none"}, meta):
        client.request("tools/call", {"name": "list_directory", "arguments": {"path": "."}, "_meta": each})
    client.request("resources/read", {"uri": f"file://{root}", "_meta": traced})
    calls = [record for record in ended(client, tmp_path / "state") if record["event"] == "call.outcome"]
    assert [record.get("trace") for record in calls] == ["a1" * 16, None, None, "a1" * 16]


def test_commands_are_audited_with_what_they_change(serve: Serve, tmp_path: Path) -> None:
    """With the sandbox that this machine offers; where it offers none, there are no commands and the log says so."""
    (tmp_path / "work").mkdir()
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\nname: audited\nroots: {{work: {{path: {tmp_path}/work, mode: rw}}}}\naudit: {{changes: true}}\n"
        f"commands:\n  touch: {{exec: {shutil.which('touch')}, args: any}}\n"
    )
    client = serve("--policy", policy)
    client.open()
    ran = client.call("run_command", {"command": "touch", "args": ["n"]})
    records = ended(client, tmp_path / "state")
    (commands,) = [record for record in records if record["event"] == "run.commands"]
    if commands["unavailable"] is not None:
        require_kernel(commands["unavailable"])
    assert not ran.get("isError"), ran
    outcome = next(record for record in records if record["event"] == "call.outcome")
    assert [(each["name"], each["change"]) for each in outcome["changes"]] == [("n", "created")]
    assert "changes_cut" not in outcome


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_server_starts_ends_it_with_a_whole_log(
    number: signal.Signals, serve: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    """The log is open long before the protocol's libraries are loaded."""
    server = serve("--root", root)
    logs = tmp_path / "state" / "fsserver" / "audit"

    def events() -> list[str]:
        return [json.loads(line)["event"] for log in logs.glob("*.jsonl") for line in log.read_text().splitlines()]

    wait_until(lambda: "run.confined" in events(), "the server has confined itself")
    server.signal(number)
    assert server.wait() == 0
    assert server.stderr() == ""
    assert events()[-1] == "run.end"
