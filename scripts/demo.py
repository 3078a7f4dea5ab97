"""What fsserver does, shown on a temporary workspace: the official MCP client talks to the real server over stdio.

Every step is checked. Exit 0 means that each of them behaved as its text says, 1 that one did not.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CallToolResult, TextContent

COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
CALL_TIMEOUT_S = 10.0

POLICY = """\
version: 1
extends: [preset:secrets]
roots:
  workspace: {path: WORKSPACE, mode: rw}
"""


class StepError(Exception):
    """A step did not do what its text says."""


def paint(text: str, *styles: str) -> str:
    return f"\033[{';'.join(styles)}m{text}\033[0m" if COLOUR else text


def title(text: str) -> None:
    print(f"\n{paint(text, BOLD)}")


def show(text: str, *styles: str) -> None:
    for line in text.splitlines():
        print(f"    {paint(line, *styles) if styles else line}")


def show_diff(diff: str) -> None:
    colours = {"+": GREEN, "-": RED, "@": DIM}
    for line in diff.splitlines():
        show(line, colours.get(line[:1], DIM))


def fail(text: str) -> NoReturn:
    print(f"  {paint('✗', RED)} {text}")
    raise StepError(text)


def behaved(condition: bool, text: str) -> None:
    if not condition:
        fail(text)
    print(f"  {paint('✓', GREEN)} {text}")


class Workspace:
    """A root with a few files in it, something outside that is worth stealing, and the server's state beside them."""

    def __init__(self, base: Path) -> None:
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
        self.policy.write_text(POLICY.replace("WORKSPACE", str(self.root)))

    @property
    def app(self) -> Path:
        return self.root / "src" / "app.py"

    @property
    def log(self) -> Path:
        """The audit log of the one run."""
        (log,) = (self.state / "fsserver" / "audit").glob("*.jsonl")
        return log


class Session:
    """One connection of the client; calls are printed as they are made."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, arguments: dict[str, object]) -> CallToolResult:
        shown = ", ".join(f"{name}: {value!r}" for name, value in arguments.items())
        print(f"  {paint('→', YELLOW)} {tool} {{{shown}}}")
        return await self._client.call_tool(tool, arguments, read_timeout_seconds=CALL_TIMEOUT_S)

    async def answer(self, tool: str, **arguments: object) -> str:
        """The first text of a call that has to succeed."""
        result = await self.call(tool, arguments)
        if result.is_error:
            fail(f"{tool} failed: {text_of(result)}")
        return text_of(result)

    async def refusal(self, tool: str, **arguments: object) -> dict[str, object]:
        """The error of a call that has to be refused."""
        result = await self.call(tool, arguments)
        if not result.is_error:
            fail(f"{tool} was not refused: {text_of(result)}")
        show(text_of(result), RED)
        error = (result.structured_content or {}).get("error", {})
        show(f"code {error.get('code')}   rule {error.get('rule')}", DIM)
        return dict(error)


def text_of(result: CallToolResult) -> str:
    first = result.content[0] if result.content else None
    return first.text if isinstance(first, TextContent) else ""


async def talk(session: Session, workspace: Workspace) -> None:
    await work(session, workspace)
    await try_to_leave(session, workspace)
    await write_on_top_of_a_change(session, workspace)


async def work(session: Session, workspace: Workspace) -> None:
    title("A client lists, reads and edits")
    listing = await session.answer("list_directory", path=str(workspace.root))
    show(listing)
    behaved("[DIR] src" in listing and "[FILE] .env" in listing, "a protected file is seen by its name …")
    error = await session.refusal("read_text_file", path=str(workspace.root / ".env"))
    behaved(error.get("code") == "denied.protected", "… and cannot be read")

    text = await session.answer("read_text_file", path=str(workspace.app))
    show(text)
    behaved(text.encode() == workspace.app.read_bytes(), "what is read is what is there, byte for byte")

    edit = {"oldText": '"hello"', "newText": '"hello, world"'}
    show_diff(await session.answer("edit_file", path=str(workspace.app), edits=[edit]))
    expected = b'GREETING = "hello, world"\r\n\r\nprint(GREETING)\r\n'
    behaved(workspace.app.read_bytes() == expected, "the edit kept the file's Windows line endings")


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
    command = [sys.executable, "-m", "fsserver", "audit", "verify", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def check_the_log(log: Path) -> None:
    title("Every call is in the audit log")
    records = log.read_bytes().splitlines(keepends=True)
    status, verdict = verify(log)
    show(verdict)
    behaved(status == 0, f"{len(records)} records, each chained to the one before it")

    title("One byte of it is changed")
    at = next(index for index, record in enumerate(records) if b"denied.link_escape" in record)
    records[at] = records[at].replace(b"denied.link_escape", b"denied.link_escapf", 1)
    log.write_bytes(b"".join(records))
    status, verdict = verify(log)
    show(verdict, RED)
    behaved(status == 1 and f"record {at + 1} was changed" in verdict, "the change is found, and where it is")


async def run(workspace: Workspace) -> None:
    title("The policy")
    show(workspace.policy.read_text(), DIM)
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "fsserver", "serve", "--policy", str(workspace.policy)],
        env={"XDG_STATE_HOME": str(workspace.state)},
    )
    async with Client(server, read_timeout_seconds=CALL_TIMEOUT_S) as client:
        await talk(Session(client), workspace)
    check_the_log(workspace.log)


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory(prefix="fsserver-demo-") as base:
        try:
            asyncio.run(run(Workspace(Path(base))))
        except* StepError:  # has said what is wrong; the client's task group wraps what is raised inside it
            failed = True
        except* MCPError as errors:
            print(f"  {paint('✗', RED)} the client got no answer: {errors.exceptions}")
            failed = True
    if failed:
        return 1
    print(f"\n{paint('Every step behaved.', BOLD, GREEN)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
