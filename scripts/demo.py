"""What fsserver does, shown on a temporary workspace: the official MCP client talks to the real server over stdio.

Every step is checked. Exit 0 means that each of them behaved as its text says, 1 that one did not.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters

from scripts import demo_commands
from scripts.demo_screen import (
    BOLD,
    CALL_TIMEOUT_S,
    DIM,
    GREEN,
    RED,
    Session,
    StepError,
    behaved,
    note,
    paint,
    show,
    title,
)

POLICY = f"""\
version: 1
extends: [preset:secrets]
roots:
  workspace: {{path: WORKSPACE, mode: rw}}
{demo_commands.COMMANDS}"""

# For machines without user namespaces, after the stricter policy above was seen to run no command there.
LESS = "sandbox: {require: landlock, accept_unprotected: true, accept_uid0: true}\n"


class Workspace:
    """A root with a few files in it, something outside that is worth stealing, and the server's state beside them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "workspace"
        self.outside = base / "outside"
        self.state = base / "state"
        self.policy = base / "demo.yaml"
        for directory in (self.root / "src", self.outside, self.state):
            directory.mkdir(parents=True)
        self.app.write_bytes(b'GREETING = "hello"\r\n\r\nprint(GREETING)\r\n')
        (self.root / ".env").write_text("API_KEY=do-not-read\n")
        (self.outside / "secret.txt").write_text("outside the workspace\n")
        (self.root / "notes").symlink_to(self.outside)
        self.write_policy()

    def write_policy(self, more: str = "") -> None:
        self.policy.write_text(POLICY.replace("WORKSPACE", str(self.root)) + more)

    @property
    def app(self) -> Path:
        return self.root / "src" / "app.py"

    @property
    def log(self) -> Path:
        """The audit log of the first run."""
        return min((self.state / "fsserver" / "audit").glob("*.jsonl"))


async def work(session: Session, workspace: Workspace) -> None:
    title("A client lists, reads and edits")
    listing = await session.answer("list_directory", path=str(workspace.root))
    session.show(listing, DIM)
    behaved("[DIR] src" in listing and "[FILE] .env" in listing, "a protected file is seen by its name …")
    error = await session.refusal("read_text_file", path=str(workspace.root / ".env"))
    behaved(error.get("code") == "denied.protected", "… and cannot be read")

    text = await session.answer("read_text_file", path=str(workspace.app))
    session.show(text, DIM)
    behaved(text.encode() == workspace.app.read_bytes(), "what is read is what is there, byte for byte")

    edit = {"oldText": '"hello"', "newText": '"hello, world"'}
    session.show_diff(await session.answer("edit_file", path=str(workspace.app), edits=[edit]))
    expected = b'GREETING = "hello, world"\r\n\r\nprint(GREETING)\r\n'
    behaved(workspace.app.read_bytes() == expected, "the edit kept the file's Windows line endings")


async def search(session: Session, client: Client, workspace: Workspace) -> None:
    title("It searches")
    names = await session.answer("search_files", path=str(workspace.root), pattern="**/*.py")
    session.show(names, DIM)
    behaved(names == str(workspace.app), "names are found")
    if not any(tool.name == "search_content" for tool in (await client.list_tools()).tools):
        note("this machine gives a search in files no sandbox, so it is not offered")
        return
    pattern = "hello|do-not-read|outside"
    found = await session.answer("search_content", path=str(workspace.root), pattern=pattern, includeHidden=True)
    session.show(found, DIM)
    behaved(found == f'{workspace.app}:1:13:GREETING = "hello, world"', "and lines, of what may be read and of no more")


async def try_to_leave(session: Session, workspace: Workspace) -> None:
    title("It tries to leave the workspace")
    error = await session.refusal("read_text_file", path=f"{workspace.root}/../outside/secret.txt")
    behaved(error.get("code") == "denied.outside_roots", "`..` leads nowhere")
    behaved(error.get("rule") == "demo.yaml:4", "and the refusal names the line of the policy that decides")
    error = await session.refusal("read_text_file", path=str(workspace.root / "notes" / "secret.txt"))
    behaved(error.get("code") == "denied.link_escape", "neither does a symbolic link")
    behaved(error.get("rule") == "demo.yaml:4", "refused by the same line")
    error = await session.refusal("write_file", path=str(workspace.root / "notes" / "new.txt"), content="planted")
    behaved(not (workspace.outside / "new.txt").exists(), "nor can anything be written through it")


async def write_on_top_of_a_change(session: Session, workspace: Workspace) -> None:
    title("Somebody saves the file while the client thinks about it")
    digest = hashlib.sha256(workspace.app.read_bytes()).hexdigest()
    saved = b'GREETING = "saved by a person"\r\n'
    workspace.app.write_bytes(saved)
    error = await session.refusal("write_file", path=str(workspace.app), content="overwritten", expectedSha256=digest)
    behaved(error.get("code") == "request.stale", "the stale write is refused")
    behaved(workspace.app.read_bytes() == saved, "and the file is as the person left it")


def verify(log: Path) -> tuple[int, str]:
    return audit("verify", str(log))


def audit(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "fsserver", "audit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def check_the_log(log: Path) -> None:
    title("Every call is in the audit log")
    records = log.read_bytes().splitlines(keepends=True)
    status, verdict = verify(log)
    show(verdict)
    behaved(status == 0, f"{len(records)} records, each chained to the one before it")

    title("And anybody can read it")
    status, report = audit("report", str(log), "--format", "markdown")
    show(report.split("\n### ")[0].partition("\n")[2].strip())
    behaved(status == 0, "a report says what happened, in words")

    title("One byte of it is changed")
    at = next(index for index, record in enumerate(records) if b"denied.link_escape" in record)
    records[at] = records[at].replace(b"denied.link_escape", b"denied.link_escapf", 1)
    log.write_bytes(b"".join(records))
    status, verdict = verify(log)
    show(verdict, RED)
    behaved(status == 1 and f"record {at + 1} was changed" in verdict, "the change is found, and where it is")


async def run(workspace: Workspace) -> None:
    title("The policy")
    show(workspace.policy.read_text().replace(str(workspace.base), "…"), DIM)
    person = demo_commands.Person()
    with demo_commands.listening() as server:
        async with connected(workspace, person) as client:
            session = Session(client, str(workspace.base))
            await work(session, workspace)
            await search(session, client, workspace)
            await try_to_leave(session, workspace)
            await write_on_top_of_a_change(session, workspace)
            demo_commands.write(workspace.root, server.getsockname()[1])
            complete = await commands(session, client, workspace, person, server, "full")
        if not complete:
            workspace.write_policy(LESS)
            show(LESS, DIM)
            async with connected(workspace, person) as client:
                await commands(Session(client, str(workspace.base)), client, workspace, person, server, "landlock")
    check_the_log(workspace.log)


def connected(workspace: Workspace, person: demo_commands.Person) -> Client:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "fsserver", "serve", "--policy", str(workspace.policy)],
        env={"XDG_STATE_HOME": str(workspace.state)},
    )
    return Client(server, read_timeout_seconds=CALL_TIMEOUT_S, elicitation_callback=person.asked)


async def commands(
    session: Session,
    client: Client,
    workspace: Workspace,
    person: demo_commands.Person,
    server: socket.socket,
    layer: str,
) -> bool:
    """Show them; or that they are refused where the machine lacks the layer, and return False."""
    if any(tool.name == "run_command" for tool in (await client.list_tools()).tools):
        await demo_commands.run_commands(session, workspace.root, person, server, layer)
        return True
    title(f"This machine does not give commands the layer {layer}")
    error = await session.refusal("run_command", command="tests")
    behaved(error["code"] == "denied.tool", "so none is run: a missing layer is a refusal, never a silent weakness")
    return False


def main() -> int:
    failed = False
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fsserver-demo-") as base:
        try:
            asyncio.run(run(Workspace(Path(base).resolve())))
        except* StepError:  # has said what is wrong; the client's task group wraps what is raised inside it
            failed = True
        except* MCPError as errors:
            print(f"  {paint('✗', RED)} the client got no answer: {errors.exceptions}")
            failed = True
    if failed:
        return 1
    print(f"\n{paint(f'Every step behaved. {time.monotonic() - began:.1f} s', BOLD, GREEN)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
