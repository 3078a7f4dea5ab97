"""Processes in the background: whose they are, what of their output is kept, and that none outlives its session."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.policy.compiled import CommandLimits, Effect, Limits, Network, PinnedProgram
from fsserver.tools.approval import Answer, Consent
from fsserver.tools.commands import processes
from fsserver.tools.control import Control
from tests.commands import Commanded, command, commanded, script
from tests.gates import texts
from tests.support import wait_until
from tests.trees import build, rules

COMMANDS = (
    command("cat"),
    command("sleep"),
    command("printf"),
    command("head"),
    command("true", background=False),
    script("serve", "echo up; exec sleep 60", network=Network.FULL),
    script("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done"),
    script("noisy", 'yes "$1" | head -c "$2"; echo end >&2; exec cat', limits=CommandLimits(output_bytes=1000)),
    script("drip", 'printf "\\342"; read line; printf "\\202"; read line; printf "\\254"; read line; printf "\\342"'),
    script("leaves", "sleep 60 & echo left"),
    script("deaf", "exec <&-; echo closed; exec sleep 60"),
    script("asking", "exec cat", effect=Effect.ASK, reason="reaches production"),
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    build(tmp_path, ["dir work/d", "file work/.env SECRET"])
    return tmp_path / "work"


@pytest.fixture
def gate(tmp_path: Path, work: Path) -> Iterator[Commanded]:
    with commanded(tmp_path, COMMANDS, [rules(work, deny=["**/.env"])], limits=Limits(background=3)) as running:
        yield running


def start(gate: Commanded, name: str, *args: str) -> str:
    handle = gate.structured("start_process", command=name, args=list(args))["handle"]
    assert isinstance(handle, str)
    return handle


def read(gate: Commanded, handle: str, **more: Any) -> Mapping[str, Any]:
    return gate.structured("read_process", handle=handle, **more)


def until_exited(gate: Commanded, handle: str) -> Mapping[str, Any]:
    wait_until(lambda: read(gate, handle)["state"] == "exited", "the process has ended")
    return read(gate, handle)


def until_output(gate: Commanded, handle: str, text: str) -> Mapping[str, Any]:
    wait_until(lambda: text in read(gate, handle)["output"], f"it wrote {text!r}")
    return read(gate, handle)


def test_process_is_started_written_to_read_and_ends(gate: Commanded) -> None:
    result = gate.call("start_process", command="cat", cwd="d")
    assert result.structured is not None
    handle = result.structured["handle"]
    assert len(handle) >= 22
    assert result.structured["state"] == "running"
    assert "network namespace of its own" in texts(result)[0]
    assert gate.runner.requests[-1].timeout_s is None
    assert gate.runner.requests[-1].directory == "d"
    written = gate.structured("write_process", handle=handle, input="hello\n")
    assert (written["written"], written["left"]) == (6, 0)
    first = read(gate, handle, wait=5, offset=0)
    assert (first["output"], first["offset"], first["nextOffset"]) == ("hello\n", 0, 6)
    gate.structured("write_process", handle=handle, input="more", close=True)
    rest = until_exited(gate, handle)
    assert (rest["output"], rest["exitCode"], rest["signal"]) == ("hello\nmore", 0, None)
    assert read(gate, handle, offset=6)["output"] == "more"
    assert read(gate, handle, offset=99)["output"] == ""
    listed = gate.structured("list_processes")["processes"]
    assert [(each["handle"], each["command"], each["cwd"], each["state"]) for each in listed] == [
        (handle, "cat", "work/d", "exited")
    ]


def test_command_with_network_is_not_said_to_be_alone(gate: Commanded) -> None:
    assert "note" not in gate.structured("start_process", command="serve")


def test_quick_end_and_failure_show_at_once(tmp_path: Path, work: Path) -> None:
    gone = script("gone", "", program=PinnedProgram("/nonexistent/gone", 0, 0, None, 0, None))
    with commanded(tmp_path, [gone, command("printf")], [rules(work)]) as gate:
        assert gate.error("start_process", command="gone")["code"] == "resource.program"
        handle = start(gate, "printf", "x")
        assert until_exited(gate, handle)["exitCode"] == 0


def test_error_output_and_output_are_one_stream_of_which_the_newest_is_kept(gate: Commanded) -> None:
    handle = start(gate, "noisy", "0123456", "100000")
    fields = until_output(gate, handle, "end\n")
    assert fields["total"] == fields["nextOffset"] == 100_004
    assert fields["offset"] == fields["firstOffset"] == 100_004 - 1000
    assert len(fields["output"]) == 1000
    result = gate.call("read_process", handle=handle, offset=10)
    assert result.structured is not None
    assert (result.structured["offset"], result.structured["nextOffset"]) == (99_004, 100_004)
    assert "bytes before 99004 are gone" in texts(result)[0]


@pytest.mark.parametrize("limit", [2048, 64 * 1024])
def test_long_output_is_read_in_pages_that_fit(tmp_path: Path, work: Path, limit: int) -> None:
    with commanded(tmp_path, COMMANDS, [rules(work)], limits=Limits(result_bytes=limit)) as gate:
        handle = start(gate, "head", "-c", "100000", "/dev/zero")
        until_exited(gate, handle)
        newest = gate.call("read_process", handle=handle)
        assert newest.structured is not None
        assert newest.structured["nextOffset"] == 100_000
        assert "bytes before" in texts(newest)[0]
        offset = seen = 0
        while offset < 100_000:
            page = gate.call("read_process", handle=handle, offset=offset)
            assert page.structured is not None
            assert len(texts(page)[0]) + len(page.structured["output"]) <= limit
            assert page.structured["offset"] == offset
            seen += page.structured["output"].count("\\x00")
            assert page.structured["nextOffset"] > offset
            offset = page.structured["nextOffset"]
    assert seen == 100_000


def test_character_that_is_not_all_there_is_not_shown_in_pieces(gate: Commanded) -> None:
    handle = start(gate, "drip")
    wait_until(lambda: read(gate, handle)["total"] == 1, "its first byte is there")
    assert (read(gate, handle)["output"], read(gate, handle)["nextOffset"]) == ("", 0)
    gate.structured("write_process", handle=handle, input="\n\n")
    fields = until_output(gate, handle, "\u20ac")
    assert fields["nextOffset"] == 3
    gate.structured("write_process", handle=handle, input="\n")
    assert until_exited(gate, handle)["output"] == "\u20ac\\xe2"


def test_waiting_for_output_returns_when_there_is_some_or_the_time_is_over(gate: Commanded) -> None:
    handle = start(gate, "cat")
    began = time.monotonic()
    assert read(gate, handle, wait=0)["output"] == ""
    assert read(gate, handle, wait=0.2)["output"] == ""
    assert 0.15 < time.monotonic() - began < 5
    writer = threading.Thread(target=lambda: gate.structured("write_process", handle=handle, input="late"))
    writer.start()
    assert read(gate, handle, wait=30, offset=0)["output"] == "late"
    writer.join(10)
    assert time.monotonic() - began < 15


def test_cancelled_wait_ends_at_once_and_the_process_goes_on(gate: Commanded) -> None:
    handle = start(gate, "cat")
    control = Control()
    control.cancelled.set()
    result = gate.call("read_process", control, handle=handle, wait=30)
    assert result.is_error
    assert read(gate, handle)["state"] == "running"


@pytest.mark.parametrize(("name", "signal"), [("cat", "SIGTERM"), ("stubborn", "SIGKILL")])
def test_stop_ends_it_and_says_how(gate: Commanded, name: str, signal: str) -> None:
    handle = start(gate, name)
    if name == "stubborn":
        until_output(gate, handle, "ready")
    result = gate.call("stop_process", handle=handle)
    assert not result.is_error
    assert result.structured == {"state": "exited", "exitCode": None, "signal": signal, "endedBy": "cancelled"}
    again = gate.structured("stop_process", handle=handle)
    assert again["signal"] == signal
    assert gate.error("write_process", handle=handle, input="x")["code"] == "request.invalid"
    outcome = [record for record in gate.records() if record["tool"] == "stop_process"][1]
    assert (outcome["signal"], outcome["ended_by"]) == (signal, "cancelled")


def test_end_of_the_program_is_the_end_whoever_holds_its_pipes(gate: Commanded) -> None:
    handle = start(gate, "leaves")
    assert until_exited(gate, handle)["output"] == "left\n"


def test_input_that_is_not_read_is_taken_in_part_and_said(gate: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsserver.tools.commands.background.WRITE_S", 0.3)
    handle = start(gate, "sleep", "60")
    result = gate.call("write_process", handle=handle, input="x" * 3_000_000)
    assert result.structured is not None
    assert 0 < result.structured["written"] < 3_000_000
    assert result.structured["written"] + result.structured["left"] == 3_000_000
    assert "does not read on" in texts(result)[0]


def test_input_that_was_closed_is_refused(gate: Commanded) -> None:
    handle = start(gate, "deaf")
    until_output(gate, handle, "closed")
    assert "does not read" in gate.error("write_process", handle=handle, input="x")["message"]
    handle = start(gate, "sleep", "60")
    gate.structured("write_process", handle=handle, input="", close=True)
    assert "closed" in gate.error("write_process", handle=handle, input="x")["message"]


@pytest.mark.parametrize("other", [{"id": "s2"}, {"principal": "somebody"}], ids=["session", "principal"])
@pytest.mark.parametrize(
    ("tool", "more"), [("read_process", {}), ("stop_process", {}), ("write_process", {"input": "x"})]
)
def test_handle_of_another_is_as_unknown_as_none(
    gate: Commanded, tool: str, more: dict[str, Any], other: dict[str, Any]
) -> None:
    handle = start(gate, "cat")
    stranger = replace(gate, session=replace(gate.session, **other))
    theirs = stranger.error(tool, handle=handle, **more)
    assert theirs == stranger.error(tool, handle="none", **more)
    assert theirs["code"] == "request.process"
    assert stranger.records()[-1]["event"] == "call.refused"
    assert stranger.structured("list_processes")["processes"] == []
    assert read(gate, handle)["state"] == "running"


def test_more_than_the_policy_allows_is_refused_until_one_ends(gate: Commanded) -> None:
    handles = [start(gate, "cat") for _ in range(3)]
    error = gate.error("start_process", command="cat")
    assert error["code"] == "limit.exceeded"
    assert "limits.background" in error["message"]
    assert len(set(handles)) == 3
    gate.structured("stop_process", handle=handles[0])
    start(gate, "cat")
    stranger = replace(gate, session=replace(gate.session, id="s2"))
    start(stranger, "cat")


def test_list_that_does_not_fit_a_result_counts_the_rest(tmp_path: Path, work: Path) -> None:
    with commanded(tmp_path, COMMANDS, [rules(work)], limits=Limits(result_bytes=1024)) as gate:
        for _ in range(5):
            start(gate, "cat")
        fields = gate.structured("list_processes")
        assert 0 < len(fields["processes"]) < 5
        assert fields["more"] == 5 - len(fields["processes"])


def test_those_that_ended_are_forgotten_the_oldest_first(gate: Commanded) -> None:
    handles = []
    for _ in range(5):
        handles.append(start(gate, "printf", "x"))
        until_exited(gate, handles[-1])
    start(gate, "cat")
    for handle in handles[:2]:
        assert gate.error("read_process", handle=handle)["code"] == "request.process"
    for handle in handles[2:]:
        assert read(gate, handle)["output"] == "x"


def test_what_ended_long_ago_is_forgotten_when_another_starts_something(
    gate: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, running = start(gate, "printf", "x"), start(gate, "cat")
    until_exited(gate, ended)
    stranger = replace(gate, session=replace(gate.session, principal="somebody"))
    start(stranger, "cat")
    assert read(gate, ended)["output"] == "x"
    monkeypatch.setattr(processes, "KEPT_S", 0.0)
    start(stranger, "cat")
    assert gate.error("read_process", handle=ended)["code"] == "request.process"
    assert read(gate, running)["state"] == "running"


def test_command_that_is_not_for_the_background_is_refused_with_those_that_are(gate: Commanded) -> None:
    error = gate.error("start_process", command="true")
    assert error["code"] == "denied.command"
    assert "cat" in error["allowedInstead"]
    assert gate.error("start_process", command="cat", cwd="/etc")["code"] == "denied.outside_roots"


@pytest.mark.claim("C5")
@pytest.mark.parametrize("whose", ["everybody", "owner"])
def test_end_of_the_session_ends_its_processes(gate: Commanded, whose: str) -> None:
    for name in ("stubborn", "cat", "sleep"):
        start(gate, name, "60")
    stranger = replace(gate, session=replace(gate.session, id="s2"))
    theirs = start(stranger, "cat")
    began = time.monotonic()
    if whose == "everybody":
        gate.host.close()
        assert gate.error("start_process", command="cat")["code"] == "limit.exceeded"
    else:
        gate.host.processes.close((gate.session.principal, gate.session.id))
        assert read(stranger, theirs)["state"] == "running"
    assert time.monotonic() - began < 3
    left = 0 if whose == "everybody" else 1
    wait_until(lambda: sum(not each.closed for each in gate.runner.started) == left, "they are gone", timeout_s=3.0)
    assert gate.structured("list_processes")["processes"] == []


def test_input_of_a_command_that_asks_is_asked_about_too(tmp_path: Path, work: Path) -> None:
    with commanded(tmp_path, COMMANDS, [rules(work)], can_ask=True) as gate:
        needed = gate.needed("start_process", command="asking")
        result = gate.answered(Consent.to(needed, Answer.ACCEPTED), "start_process", command="asking")
        assert result.structured is not None
        handle = result.structured["handle"]
        needed = gate.needed("write_process", handle=handle, input="drop table\x1b")
        (question,) = needed.questions
        assert question.what.endswith("\n> drop table\\x1b")
        assert question.reason == "reaches production"
        assert read(gate, handle)["output"] == ""
        done = gate.answered(
            Consent.to(needed, Answer.ACCEPTED), "write_process", handle=handle, input="drop table\x1b"
        )
        assert not done.is_error
        assert "drop table" in read(gate, handle, wait=5, offset=0)["output"]


@pytest.mark.claim("C6")
def test_log_has_the_command_and_what_was_written_as_a_hash(gate: Commanded) -> None:
    handle = start(gate, "cat")
    gate.structured("write_process", handle=handle, input="secret words")
    intents = [record for record in gate.records() if record["event"] == "call.intent"]
    assert [record["tool"] for record in intents] == ["start_process", "write_process"]
    assert intents[0]["commands"] == intents[1]["commands"]
    assert intents[1]["arguments"]["input"]["bytes"] == 12
    assert re.fullmatch(r"[0-9a-f]{64}", intents[1]["arguments"]["input"]["sha256"])
