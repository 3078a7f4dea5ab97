"""nginx with the configuration that is shipped, on free ports, with files in a directory of its own."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import REPOSITORY, require_program, wait_until

SHIPPED: Final = REPOSITORY / "deploy/nginx/fsserver.conf"
EXAMPLES: Final = ("10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080")

_MAIN: Final = """
daemon off;
{user}worker_processes 2;
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/fsserver.conf;
}}
"""


@dataclass
class Proxy:
    """A running nginx. ``port``: where it listens on 127.0.0.1."""

    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def log(self) -> str:
        """A line for each request."""
        return (self.directory / "access.log").read_text()

    def messages(self) -> str:
        return (self.directory / "error.log").read_text()


@contextmanager
def nginx(replicas: Sequence[str], directory: Path, more: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """nginx as it is shipped, in front of these addresses. Where there is none the test ends as `require_program` says.

    Args:
        directory: is made.
        more: what else is replaced in the configuration, by what.
    """
    port = free_port()
    listens = {"listen 80;": f"listen 127.0.0.1:{port};"}
    command = configured(replicas, directory, SHIPPED.read_text(), listens | dict(more or {}))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: _connects(port) or process.poll() is not None, "nginx listens")
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        yield Proxy(port, directory)
    finally:
        process.terminate()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


def configured(replicas: Sequence[str], directory: Path, text: str, more: Mapping[str, str]) -> list[str]:
    """The command that starts nginx with this configuration, but for these addresses and what is replaced."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        require_program("nginx")
    directory.mkdir()
    changes = {"/var/log/nginx/fsserver.log": f"{directory}/access.log", **dict(zip(EXAMPLES, replicas, strict=True))}
    for shipped, ours in {**changes, **more}.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, ours)
    (directory / "fsserver.conf").write_text(text)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(_MAIN.format(directory=directory, user=user))
    return [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")]


def free_port() -> int:
    """Free now, and none that the system gives to whoever connects: so it stays free until somebody listens there."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
