"""What the demo shows of commands: a test run, what a program in the sandbox cannot do, and a question to a person."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcp.client.session import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from scripts.demo_screen import DIM, RED, YELLOW, Answer, Session, behaved, fail, note, show, title

# The interpreter itself, not the environment of fsserver that it was started from.
PYTHON = os.path.realpath(sys.executable)

# The programs are Python, which is on every machine that can run the demo; none of them is made for it.
COMMANDS = f"""\
commands:
  tests: {{exec: {PYTHON}, prepend: [-m, unittest], args: {{flags: {{-v: flag}}}}}}
  python:
    exec: {PYTHON}
    args: {{positionals: [{{value: {{path: {{root: workspace, access: read}}}}}}]}}
    limits: {{time: 10s, memory: 128MiB, processes: 32}}
  sort: {{exec: {shutil.which("sort")}, args: {{flags: {{-r: flag, -n: flag}}}}}}
  head: {{exec: {shutil.which("head")}, args: {{flags: {{-n: {{int: {{min: 1, max: 100}}}}}}}}}}
  release: {{exec: {PYTHON}, prepend: [release.py], decision: ask, reason: everybody gets it}}
"""

FILES = {
    "prices.py": "def total(prices):\n    return round(sum(prices), 2)\n",
    "test_prices.py": """\
import unittest
from prices import total

class Prices(unittest.TestCase):
    def test_of_nothing(self): self.assertEqual(total([]), 0)
    def test_of_cents(self): self.assertEqual(total([0.1, 0.2]), 0.3)
""",
    "leak.py": "print(open('.env').read())\n",
    "call_home.py": "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=2)\nprint('connected')\n",
    "bomb.py": """\
import os, time
while True:
    try: os.fork()
    except OSError: time.sleep(0.1)
""",
    "hog.py": "blocks = []\nwhile True: blocks.append(b'x' * 2**20)\n",
    "bill.py": "for price in (5, 40, 12): print(price)\n",
    "release.py": "open('released.txt', 'w').write('1.0')\nprint('released 1.0')\n",
}


class Person:
    """Stands in for whoever sits at the client: says what the demo lets it say, and keeps what it was shown."""

    def __init__(self) -> None:
        self.agrees = False
        self.shown: list[str] = []

    async def asked(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG002
        if params.message not in self.shown:
            show(params.message, YELLOW)
        self.shown.append(params.message)
        note(f"the person says {'yes' if self.agrees else 'no'}")
        return ElicitResult(action="accept", content={"approve": self.agrees})


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A server on this machine, which a command without network must not reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=2), server.accept()[0]:
            pass  # it can be reached from outside of the sandbox
        server.setblocking(False)
        yield server


def write(root: Path, port: int) -> None:
    """The little project that the commands work in."""
    for name, text in FILES.items():
        (root / name).write_text(text.replace("PORT", str(port)))


async def run_commands(session: Session, root: Path, person: Person, server: socket.socket, layer: str) -> None:
    """Everything about commands that ``layer`` can show."""
    await work(session, layer)
    await leave(session, root, server, layer)
    await exceed(session)
    await ask(session, root, person)


async def work(session: Session, layer: str) -> None:
    title("It runs the project's tests, in a sandbox of their own")
    result = await run(session, "tests", "-v")
    behaved(result.fields["exitCode"] == 0 and "Ran 2 tests" in result.fields["stderr"], "they pass")
    behaved(result.fields["layer"] == layer, f"and every result says what confined it: {layer}")
    stages = [
        {"command": "python", "args": ["bill.py"]},
        {"command": "sort", "args": ["-n", "-r"]},
        {"command": "head", "args": ["-n1"]},
    ]
    piped = await session.call("run_pipeline", stages=stages)
    session.show(piped.text, DIM)
    behaved(piped.fields["stdout"] == "40\n" and not piped.is_error, "pipelines need no shell: each stage has its own")
    error = await session.refusal("run_command", command="sort", args=["-o", "prices.py"])
    behaved(error["code"] == "denied.command", "an argument that the policy does not list is refused")


async def leave(session: Session, root: Path, server: socket.socket, layer: str) -> None:
    title("A program tries what its arguments do not show")
    if layer == "full":
        result = await run(session, "python", "leak.py")
        failed = "PermissionError" in result.fields["stderr"] and result.fields["exitCode"] == 1
        secret = (root / ".env").read_text().strip()
        behaved(failed and secret not in result.text, "`.env` cannot be read from inside a command either …")
        behaved(result.fields["protected"] == ["workspace/.env"], "… and the result says which names it did not see")
    else:
        limits = [line for line in (await session.answer("describe_policy")).splitlines() if line.startswith("Not enf")]
        session.show("\n".join(limits), YELLOW)
        behaved(bool(limits), f"what the layer {layer} leaves open is told to whoever asks, `.env` first")
    result = await run(session, "python", "call_home.py")
    behaved(result.fields["exitCode"] == 1 and "connected" not in result.fields["stdout"], "it has no network …")
    behaved(nobody_connected(server), "… and nobody came to the server that listens on this machine")


async def exceed(session: Session) -> None:
    title("A fork bomb, and a program that takes all memory")
    result = await run(session, "python", "bomb.py")
    behaved(result.is_error and result.fields["endedBy"] == "processes", "ended by the limit that it reached")
    behaved(not processes_of("bomb.py"), "with every process that it started")
    result = await run(session, "python", "hog.py")
    behaved(result.is_error and result.fields["endedBy"] == "memory", "so was this, in milliseconds")


async def ask(session: Session, root: Path, person: Person) -> None:
    title("What the policy says to ask about, a person decides")
    person.agrees, released = False, root / "released.txt"
    error = await session.refusal("run_command", command="release")
    behaved(error["code"] == "denied.consent" and not released.exists(), "nothing was run")
    person.agrees = True
    result = await run(session, "release")
    behaved(result.fields["stdout"] == "released 1.0\n" and released.read_text() == "1.0", "now it was, this once")
    whole = f"{PYTHON} release.py"
    behaved(len(person.shown) == 2 and all(whole in text for text in person.shown), "the whole command line was shown")


async def run(session: Session, command: str, *args: str) -> Answer:
    """A command that is started, whatever comes of it."""
    result = await session.call("run_command", command=command, args=list(args))
    if result.error:
        fail(f"{command} was not run: {result.text}")
    lines = result.text.splitlines()
    last = [*lines[:2], "…", *lines[-3:]] if len(lines) > 6 else lines
    session.show("\n".join(last), RED if result.fields["exitCode"] != 0 else DIM)
    return result


def nobody_connected(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def processes_of(script: str) -> list[str]:
    """The processes of this machine that run ``script``."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended
            found += [entry] if script.encode() in words else []
    return found
