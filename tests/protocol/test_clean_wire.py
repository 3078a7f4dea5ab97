"""Only protocol messages reach the client, and nobody else reads what the client sends."""

from __future__ import annotations

import os
from pathlib import Path

from tests.protocol.client import Client, text_of
from tests.protocol.conftest import StartFixture


def test_prints_and_children_do_not_touch_the_wire(client: Client) -> None:
    noisy = client.start_call("noisy")
    client.request("ping")  # the child, which reads its standard input, does not take it
    assert text_of(client.answer(noisy)["result"]) == "0"
    assert client.unexpected == []
    said = client.stderr()
    assert "printed\n" in said
    assert "written\n" in said
    assert "child\n" in said


def test_a_child_inherits_no_descriptor_of_the_wire(client: Client) -> None:
    client.call("noisy")
    # 0, 1, 2 and the one with which the directory was read
    assert "['0', '1', '2', '3']" in client.stderr()


def test_a_client_that_never_reads_standard_error_is_served(start: StartFixture) -> None:
    reader, writer = os.pipe()
    try:
        client = start(stderr=writer)
        os.close(writer)
        client.open()
        for _ in range(200):
            assert client.error("tools/call", {"name": "broken", "arguments": {}})["code"] == -32603
        assert text_of(client.call("echo", {"text": "x"})) == "x"
        client.close_input()
        assert client.wait() == 0
    finally:
        os.close(reader)


def test_the_flags_of_the_clients_pipe_are_as_before(start: StartFixture, tmp_path: Path) -> None:
    reader, stdout = os.pipe()
    kept = os.dup(stdout)  # shares the open file description with the server
    client = start(stdout=stdout, reader=reader)
    client.open()
    client.close_input()
    assert client.wait() == 0
    assert os.get_blocking(kept)
    os.close(kept)
