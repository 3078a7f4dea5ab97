"""The real transport and the real protocol over a gate whose tools misbehave on request. Run as a process by tests.

``python -m tests.protocol.fixture_server [concurrency]``
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import AuditRules, Limits, Policy
from fsserver.server.lazy import put_off
from fsserver.telemetry.logging import configure
from fsserver.tools.approval import Consent
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from fsserver.tools.registry import Tool
from fsserver.tools.result import Audio, Image, Text, ToolResult, text_result
from fsserver.tools.session import Session
from fsserver.transport.descriptors import StandardStreams
from fsserver.transport.workers import Workers

SECRET = "a secret that no client may see"


class MisbehavingGate:
    """Stands in for `Gate`: every name of a tool is a method here."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    def tools(self, session: Session) -> tuple[Tool[Any], ...]:
        return ()

    def knows(self, name: str) -> bool:
        return hasattr(self, name)

    def waits(self, name: str) -> bool:
        return False

    def introduce(self, session: Session) -> None:
        pass

    def call(
        self,
        session: Session,
        name: str,
        arguments: Mapping[str, Any] | None,
        control: Control,
        *,
        consent: Consent | None = None,
        asks: bool = True,
        counted: bool = False,
    ) -> ToolResult:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            result: ToolResult = getattr(self, name)(session, arguments or {}, control)
            return result
        finally:
            self.running -= 1

    def echo(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        return text_result(str(arguments.get("text", "")))

    def session(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        client = session.client
        assert client is not None
        return text_result(f"{client.name}/{client.version} {session.protocol}")

    def most_at_once(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        return text_result(str(self.most))

    def sleep(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        """Stops at once when cancelled."""
        end = time.monotonic() + float(arguments["seconds"])
        while (left := end - time.monotonic()) > 0:
            if control.cancelled.wait(left):
                if "note" in arguments:
                    with open(arguments["note"], "w") as note:
                        note.write("cancelled")
                return ToolResult((Text("cancelled"),), is_error=True)
        return text_result("slept")

    def hang(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        """Hears nothing: an open of a FIFO that nobody writes to."""
        os.close(os.open(arguments["fifo"], os.O_RDONLY))
        return text_result("opened")

    def big(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        return text_result("x" * int(arguments["bytes"]))

    def broken(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        raise RuntimeError(SECRET)

    def half_a_pair(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        return text_result("\ud83d")

    def media(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        return ToolResult((Text("t"), Image("AAAA", "image/png"), Audio("AAAA", "audio/wav")))

    def counted(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        """Reports progress as often as it can, for a while, with a step back in between."""
        end = time.monotonic() + float(arguments["seconds"])
        done = 0
        while time.monotonic() < end:
            done += 1
            control.report(done, None, "counting")
            control.report(done - 1)
        return text_result(str(done))

    def noisy(self, session: Session, arguments: Mapping[str, Any], control: Control) -> ToolResult:
        """Writes to standard output in every way there is, and has a child that reads standard input."""
        print("printed", flush=True)
        os.write(1, b"written\n")
        child = subprocess.run(["sh", "-c", "echo child; cat"], stdout=None, timeout=10, check=False)
        subprocess.run([sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"], timeout=10, check=False)
        return text_result(str(child.returncode))


def main() -> None:
    concurrency = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    gc.disable()  # as `fsserver serve` begins; the transport turns it on again
    put_off("mcp", "mcp.server")
    from fsserver.server.files import FileServer  # noqa: PLC0415
    from fsserver.transport.stdio import serve  # noqa: PLC0415

    configure()
    policy = Policy(
        name="fixture",
        source=None,
        digest="0" * 64,
        roots=(),
        audit=AuditRules(directory=None),
        limits=Limits(concurrency=concurrency),
    )
    with StandardStreams.take() as streams:
        server = FileServer(
            cast("Gate", MisbehavingGate()),
            Session("s", "tests", None, None, Workspace(())),
            policy=policy,
            run=Workers(concurrency).run,
        )
        serve(server, streams)


if __name__ == "__main__":
    main()
