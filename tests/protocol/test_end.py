"""How a session ends, whatever the descriptors are: results in time, then exit within three seconds with status 0."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.client import Client, text_of
from tests.protocol.conftest import StartFixture
from tests.support import wait_until

LONGEST_END_S = 3.0

End = Callable[[Client], None]


def end_of_input(client: Client) -> None:
    client.close_input()


def sigterm(client: Client) -> None:
    client.signal(signal.SIGTERM)


def sigint(client: Client) -> None:
    client.signal(signal.SIGINT)


def sighup(client: Client) -> None:
    client.signal(signal.SIGHUP)


ENDS = pytest.mark.parametrize("end", [end_of_input, sigterm, sigint, sighup])


def ends_in_time(client: Client, begin: float) -> None:
    assert client.wait(LONGEST_END_S + 5) == 0, client.stderr()
    assert time.monotonic() - begin < LONGEST_END_S
    assert client.stderr() == ""


@ENDS
def test_an_idle_server_ends_at_once(end: End, client: Client) -> None:
    client.request("ping")
    begin = time.monotonic()
    end(client)
    assert client.rest() == []
    ends_in_time(client, begin)
    assert time.monotonic() - begin < 1


@ENDS
def test_calls_that_finish_in_time_are_answered(end: End, start: StartFixture) -> None:
    client = start(2)
    client.open()
    identifiers = [client.start_call("sleep", {"seconds": 0.4}) for _ in range(4)]
    client.request("ping")  # all have been read; two of them wait
    begin = time.monotonic()
    end(client)
    answers = {message["id"]: message for message in client.rest()}
    assert [text_of(answers[identifier]["result"]) for identifier in identifiers] == ["slept"] * 4
    ends_in_time(client, begin)


@pytest.mark.claim("C5")
@ENDS
def test_calls_that_take_too_long_are_stopped_and_answered_with_an_error(
    end: End, start: StartFixture, tmp_path: Path
) -> None:
    client = start(1)
    client.open()
    note = tmp_path / "note"
    running = client.start_call("sleep", {"seconds": 60, "note": str(note)})
    waiting = client.start_call("echo")
    client.request("ping")
    begin = time.monotonic()
    end(client)
    answers = {message["id"]: message for message in client.rest()}
    assert set(answers) == {running, waiting}
    assert note.read_text() == "cancelled"
    ends_in_time(client, begin)


@ENDS
def test_a_call_that_hangs_in_the_kernel_does_not_keep_the_process(end: End, client: Client, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hanging = client.start_call("hang", {"fifo": str(fifo)})
    client.request("ping")
    begin = time.monotonic()
    end(client)
    (answer,) = client.rest()
    assert answer["id"] == hanging
    assert answer["error"]["message"] == "The session ended before this was done"
    ends_in_time(client, begin)


def test_a_second_signal_ends_the_wait(client: Client) -> None:
    client.start_call("sleep", {"seconds": 60})
    client.request("ping")
    begin = time.monotonic()
    client.signal(signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        wait_until(lambda: _sent_twice(client), "it ended after the second signal", timeout_s=1.5)
    assert client.wait() == 0
    assert time.monotonic() - begin < 1.5
    assert client.stderr() == ""


def _sent_twice(client: Client) -> bool:
    client.signal(signal.SIGINT)
    return client.process.poll() is not None


def test_signals_during_the_end_change_nothing(client: Client) -> None:
    client.request("ping")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT) * 20:
        if client.process.poll() is None:
            client.signal(number)
    assert client.wait() == 0
    assert client.stderr() == ""


def test_a_client_that_reads_no_more_ends_the_session(client: Client) -> None:
    os.close(client.reader)
    client.reader = -1
    begin = time.monotonic()
    with contextlib.suppress(BrokenPipeError):
        client.start("ping")
    ends_in_time(client, begin)


def test_a_client_that_does_not_read_the_last_answers_is_not_waited_for(client: Client) -> None:
    for _ in range(20):
        client.start_call("big", {"bytes": 1_000_000})
    begin = time.monotonic()
    client.close_input()
    ends_in_time(client, begin)


def test_everything_that_was_written_before_the_end_is_answered(client: Client) -> None:
    identifiers = [client.start_call("echo", {"text": "x"}) for _ in range(500)]
    client.close_input()
    assert {message["id"] for message in client.rest()} == set(identifiers)
    assert client.wait() == 0


def test_a_last_line_without_its_newline_is_read(client: Client) -> None:
    client.raw(b'{"jsonrpc":"2.0","id":5,"method":"ping"}')
    client.close_input()
    assert client.rest() == [{"jsonrpc": "2.0", "id": 5, "result": {}}]


def test_a_last_line_that_was_cut_is_an_error(client: Client) -> None:
    client.raw(b'{"jsonrpc":"2.0","id":5,"met')
    client.close_input()
    (answer,) = client.rest()
    assert answer["error"]["code"] == -32700


# --- kinds of descriptors


def session(client: Client) -> None:
    client.open()
    assert text_of(client.call("echo", {"text": "x" * 300_000})) == "x" * 300_000
    begin = time.monotonic()
    client.close_input()
    assert client.wait() == 0
    assert time.monotonic() - begin < LONGEST_END_S


def test_over_two_socket_pairs_as_node_makes_them(start: StartFixture) -> None:
    ours_in, theirs_in = socket.socketpair()
    ours_out, theirs_out = socket.socketpair()
    session(
        start(stdin=theirs_in.detach(), stdout=theirs_out.detach(), writer=ours_in.detach(), reader=ours_out.detach())
    )


def test_over_one_socket_for_both_directions(start: StartFixture) -> None:
    ours, theirs = socket.socketpair()
    descriptor = theirs.detach()
    client = start(stdin=descriptor, stdout=descriptor, reader=ours.fileno(), writer=os.dup(ours.fileno()))
    client.open()
    assert text_of(client.call("echo", {"text": "x" * 300_000})) == "x" * 300_000
    ours.shutdown(socket.SHUT_WR)
    assert client.wait() == 0
    ours.detach()


def requests() -> bytes:
    handshake: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    }
    messages = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": handshake},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}},
    )
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def test_from_a_file_into_a_file(start: StartFixture, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(requests())
    stdin = os.open(tmp_path / "in", os.O_RDONLY)
    stdout = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    assert start(stdin=stdin, stdout=stdout).wait() == 0
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert text_of(answers[1]["result"]) == "x"


def test_the_null_device_as_input_is_an_end_at_once(start: StartFixture) -> None:
    client = start(stdin=os.open(os.devnull, os.O_RDONLY))
    assert client.rest() == []
    assert client.wait() == 0


def test_a_closed_input_is_an_end_at_once() -> None:
    with Client(["-c", CLOSED.format(0)]) as client:
        assert client.rest() == []
        assert client.wait() == 0
        assert client.stderr() == ""


def test_a_closed_output_is_said_and_not_served() -> None:
    with Client(["-c", CLOSED.format(1)]) as client:
        assert client.wait() != 0
        assert "standard output is closed" in client.stderr()


def test_a_closed_standard_error_is_no_reason_not_to_serve() -> None:
    with Client(["-c", CLOSED.format(2)]) as client:
        client.open()
        assert client.error("tools/call", {"name": "broken", "arguments": {}})["code"] == -32603
        assert text_of(client.call("echo", {"text": "x"})) == "x"
        client.close_input()
        assert client.wait() == 0


CLOSED = "import os; os.close({}); import runpy; runpy.run_module('tests.protocol.fixture_server', run_name='__main__')"


def test_on_a_terminal_lines_are_served_and_the_shells_end_of_it_stays_blocking(start: StartFixture) -> None:
    ours, theirs = pty.openpty()
    client = start(stdin=theirs, stdout=os.dup(theirs), reader=ours, writer=os.dup(ours))
    client.raw(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
    assert b'"id":1' in (client.line() or b"")  # its echo
    assert json.loads(client.line() or b"") == {"jsonrpc": "2.0", "id": 1, "result": {}}
    os.write(client.writer, b"\x04")  # Ctrl-D
    assert client.wait() == 0
