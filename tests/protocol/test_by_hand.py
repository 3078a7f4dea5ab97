"""The server as a person starts it: what it says on a terminal, when it says it, and without any input."""

from __future__ import annotations

import json
import os
import pty
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsserver.audit.verify import Status, verify
from tests.protocol.client import Client
from tests.support import wait_until

WAITING = "Now waiting for a client on this terminal."


@pytest.fixture
def policy(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"version: 1\nroots: {{work: {{path: {root}, mode: rw}}}}\nprofiles: {{reader: {{roots: {{work: ro}}}}}}\n"
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def on_terminal(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts the real server with a terminal as its standard input; the terminal is the client's ``writer``."""
    started: list[Client] = []

    def start(*arguments: str | Path) -> Client:
        ours, theirs = pty.openpty()
        argv = ["-m", "fsserver", "serve", *map(str, arguments)]
        started.append(Client(argv, stdin=theirs, writer=ours, env={"XDG_STATE_HOME": str(tmp_path / "state")}))
        return started[-1]

    yield start
    for client in started:
        client.close()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--root", "{root}"], id="directory"),
        pytest.param(["--root", "{root}", "--write", "--strict"], id="writable directory, strictly"),
        pytest.param(["--policy", "{policy}"], id="policy"),
        pytest.param(["--policy", "{policy}", "--profile", "reader", "--strict"], id="profile, strictly"),
    ],
)
def test_on_a_terminal_the_printed_configuration_starts_what_was_started(
    arguments: list[str], on_terminal: Callable[..., Client], root: Path, policy: Path
) -> None:
    given = [argument.format(root=root, policy=policy) for argument in arguments]
    client = on_terminal(*given)
    wait_until(lambda: WAITING in client.stderr(), "the server introduces itself")
    text = client.stderr()
    entry = json.loads(text[text.index("{") : text.index("\n}\n") + 2])["mcpServers"]["fsserver"]
    (line,) = (line for line in text.splitlines() if line.startswith("  claude mcp add"))
    for command in ([entry["command"], *entry["args"]], shlex.split(line.partition(" -- ")[2])):
        assert command[command.index("serve") + 1 :] == given
    os.write(client.writer, b"\x04")  # Ctrl-D
    assert client.wait() == 0


def test_on_a_terminal_the_commands_of_the_policy_are_listed_with_its_roots(
    on_terminal: Callable[..., Client], root: Path, policy: Path
) -> None:
    with policy.open("a") as stream:
        stream.write("commands: {first: {exec: /usr/bin/head, args: {flags: {-n: {int: {}}}}}}\n")
    client = on_terminal("--policy", policy)
    wait_until(lambda: WAITING in client.stderr(), "the server introduces itself")
    assert f"It grants:\n  rw  {root}\n  run first\n" in client.stderr()


def test_nothing_is_said_to_wait_before_the_audit_log_is_open(
    on_terminal: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "state/fsserver/audit").mkdir(parents=True)
    (tmp_path / "state/fsserver/audit").chmod(0o777)
    client = on_terminal("--root", root)
    assert client.wait() == 2
    assert "is writable by others" in client.stderr()
    assert WAITING not in client.stderr()


def test_what_is_said_on_a_terminal_comes_after_the_server_has_confined_itself(
    on_terminal: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    client = on_terminal("--root", root)
    wait_until(lambda: WAITING in client.stderr(), "the server introduces itself")
    (log,) = (tmp_path / "state/fsserver/audit").glob("*.jsonl")
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()][:2] == ["run.start", "run.confined"]
    os.write(client.writer, b"\x04")
    assert client.wait() == 0


def test_a_pipe_gets_no_introduction(serve: Callable[..., Client], root: Path) -> None:
    client = serve("--root", root)
    client.close_input()
    assert client.wait() == 0
    assert client.stderr() == ""


CLOSED = "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, '-m', 'fsserver', *sys.argv[1:]])"


def test_a_closed_standard_input_is_an_end_of_input_at_once(root: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Client(["-c", CLOSED, "serve", "--root", str(root)], env={"XDG_STATE_HOME": str(state)}) as client:
        assert client.rest() == []
        assert client.wait() == 0
        assert client.stderr() == ""
    (chain,) = verify(str(state / "fsserver/audit")).chains
    assert (chain.status, chain.ended) == (Status.WHOLE, True)
