"""What run_command is compared with: other MCP servers that run commands without a sandbox, and bubblewrap alone.

The servers are installed into the user's cache when they are missing, in exactly these versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.servers import Command
from tests.compat.install import MissingError, cached, installed

PYTHON_PEERS = ("mcp-shell-server==1.1.14", "cli-mcp-server==0.2.5", "mcp==1.30.0")
NODE_PEER = "mcp-server-commands", "0.5.0"
DIRECTORY = "fsserver-peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server and the call that has it run ``true``."""

    command: Command
    tool: str
    arguments: Mapping[str, Any]


def peers(root: str) -> list[Peer]:
    """The servers, to be started on ``root``.

    Raises:
        MissingError: one of them cannot be installed.
    """
    binaries = os.path.join(_python_peers(), "bin")
    node = installed(NODE_PEER, directory=os.path.join(cached(DIRECTORY), "node"))
    entry = os.path.join(node, "node_modules", NODE_PEER[0], "build", "index.js")
    shell, line = (each.replace("==", " ") for each in PYTHON_PEERS[:2])
    return [
        Peer(
            _command(shell, root, os.path.join(binaries, "mcp-shell-server"), ALLOW_COMMANDS="true"),
            "shell_execute",
            {"command": ["true"], "directory": root},
        ),
        Peer(
            _command(line, root, os.path.join(binaries, "cli-mcp-server"), ALLOWED_COMMANDS="true", ALLOWED_DIR=root),
            "run_command",
            {"command": "true"},
        ),
        Peer(_command(" ".join(NODE_PEER), root, "node", entry), "run_command", {"command": "true", "workdir": root}),
    ]


def bubblewrap(root: str, masked: str) -> list[str]:
    """An argument vector that runs ``/bin/true`` with namespaces and mounts comparable to a cell's.

    Args:
        masked: a file in the root that the command must not read.

    Raises:
        MissingError: bubblewrap is not installed.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise MissingError("bwrap is not on the PATH. On Debian: apt-get install bubblewrap.")
    argv = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for path in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            argv += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/ssl/certs"):
        argv += ["--ro-bind-try", path, path]
    argv += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/home"]
    argv += ["--bind", root, root, "--ro-bind", "/dev/null", masked, "--chdir", root]
    return [*argv, "/bin/true"]


def _python_peers() -> str:
    """The virtual environment that holds `PYTHON_PEERS`; the name of its directory says which versions."""
    directory = os.path.join(cached(DIRECTORY), "-".join(each.replace("==", "-") for each in PYTHON_PEERS))
    if os.path.exists(os.path.join(directory, "complete")):
        return directory
    print(f"installing {', '.join(PYTHON_PEERS)} into {directory}", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    pip = [os.path.join(directory, "bin", "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", directory], [*pip, "--only-binary", ":all:", *PYTHON_PEERS]):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            raise MissingError(f"{command[2]} {command[3]} failed:\n{(done.stdout + done.stderr).strip()[-1000:]}")
    with open(os.path.join(directory, "complete"), "w", encoding="ascii"):
        pass
    return directory


def _command(name: str, root: str, *argv: str, **env: str) -> Command:
    home = os.path.join(os.path.dirname(root), "peers-home")
    os.makedirs(home, mode=0o700, exist_ok=True)
    variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LANG": "C.UTF-8", **env}
    return Command(name, argv, tuple(variables.items()), root)
