"""A user's desk for these tests: a project, a policy, the real server in a process of its own, and a client of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.client import Client, Message, text_of
from tests.support import require_kernel

PYTHON = os.path.realpath(sys.executable)

# Goes on in a user namespace in which everybody is who he was, and that allows none below it.
_WITHOUT_NAMESPACES = """
import ctypes, os, sys
whole = "0 0 4294967295" if os.getuid() == 0 else None
maps = {"uid_map": whole or f"{os.getuid()} {os.getuid()} 1", "gid_map": whole or f"{os.getgid()} {os.getgid()} 1"}
entered, mapped = os.pipe(), os.pipe()
process = os.getpid()
if os.fork() == 0:
    os.read(entered[0], 1)
    if whole is None:
        open(f"/proc/{process}/setgroups", "w").write("deny")
    for name, text in maps.items():
        open(f"/proc/{process}/{name}", "w").write(text)
    os.write(mapped[1], b"x")
    os._exit(0)
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(entered[1], b"x")
os.close(mapped[1])
assert os.read(mapped[0], 1) == b"x"
os.wait()
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def need(program: str) -> str:
    """Where it is; without it the test is skipped, for it is not needed to use fsserver."""
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@dataclass(frozen=True)
class Desk:
    """Directories of one user. The root is called ``workspace``, as the presets have it."""

    base: Path

    @property
    def root(self) -> Path:
        return self.base / "project"

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def state(self) -> Path:
        return self.base / "state/fsserver"

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        """A file in the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def program(self, name: str, text: str) -> None:
        """A Python program in the root."""
        self.write(name, f"#!{PYTHON}\n{text}", mode=0o755)

    def run(self, *arguments: str) -> str:
        """What the user does in the project, without any server."""
        done = subprocess.run(
            arguments,
            cwd=self.root,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)},
            check=True,
            timeout=60,
            capture_output=True,
            text=True,
        )
        return done.stdout

    @contextmanager
    def serve(
        self, policy: str, *, layer: str = "full", profile: str = "", file: str = "policy.yaml"
    ) -> Iterator[Work]:
        """A server of the policy, to which ``version`` and the root are added, and a client of it.

        Args:
            layer: ``landlock`` starts the server as on a machine where nobody may make a user namespace.
        """
        path = self.base / file
        path.write_text(f"version: 1\nroots: {{workspace: {{path: {self.root}, mode: rw}}}}\n{policy}")
        path.chmod(0o600)
        env = {"XDG_STATE_HOME": str(self.base / "state"), "HOME": str(self.home)}
        argv = ["-m", "fsserver", "serve", "--policy", str(path)]
        if profile:
            argv += ["--profile", profile]
        with Client(argv if layer == "full" else ["-c", _WITHOUT_NAMESPACES, *argv], env=env) as client:
            client.open()
            if "run_command" not in {tool["name"] for tool in client.request("tools/list")["tools"]}:
                require_kernel(f"layer {layer} for commands: {client.stderr()}")
            yield Work(client)


@dataclass(frozen=True)
class Work:
    """What a client asks for."""

    client: Client

    def structured(self, tool: str, /, **arguments: Any) -> Message:
        """The result for programs; fails the test on an error."""
        result = self.client.call(tool, arguments)
        assert "structuredContent" in result, text_of(result)
        assert "error" not in result["structuredContent"], text_of(result)
        return dict(result["structuredContent"])

    def run(self, command: str, *args: str, **more: Any) -> Message:
        """What run_command says, whatever the exit code is."""
        return self.structured("run_command", command=command, args=list(args), **more)

    def works(self, command: str, *args: str, **more: Any) -> str:
        """The standard output of a command that must end with 0."""
        ran = self.run(command, *args, **more)
        assert (ran["exitCode"], ran["layer"]) == (0, "full"), ran
        return str(ran["stdout"])

    def call(self, tool: str, /, **arguments: Any) -> str:
        """The text of a result that must be no error."""
        result = self.client.call(tool, arguments)
        assert not result.get("isError"), text_of(result)
        return text_of(result)

    def error(self, tool: str, /, **arguments: Any) -> Mapping[str, Any]:
        result = self.client.call(tool, arguments)
        assert result["isError"], text_of(result)
        error: Mapping[str, Any] = result["structuredContent"]["error"]
        return error


def desk_in(base: Path) -> Desk:
    desk = Desk(base)
    for name in ("project", "home", "state"):
        (base / name).mkdir()
    return desk
