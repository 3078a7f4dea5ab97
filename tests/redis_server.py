"""A Redis server of a test's own: a free TCP port on loopback, a directory of its own, stopped and started at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import require_program, wait_until

PROGRAMS = ("redis-server", "valkey-server")


class RedisServer:
    """Keeps nothing on disk, so it has forgotten everything when it was stopped.

    Attributes:
        port: stays the same from one start to the next.
    """

    def __init__(self, program: str, directory: Path, options: Sequence[str] = ()) -> None:
        """Args:
        options: more of what its command line takes. With ``--tls-cert-file`` it takes connections with TLS only.
        """
        self.port = _free_port()
        self._tls = "--tls-cert-file" in options
        self._options = tuple(options)
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it takes connections."""
        command = [self._program, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]
        command += [str(self._directory), "--logfile", "log", *self._options]
        command += ["--port", "0", "--tls-port", str(self.port)] if self._tls else ["--port", str(self.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
        wait_until(self._takes_connections, f"{self._program} takes connections on port {self.port}")

    def stop(self) -> None:
        """Returns when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        """Goes on holding its connections and answers nothing, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _takes_connections(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def redis_server(*options: str, program: str | None = None) -> Iterator[RedisServer]:
    """A started server, ended with the context. Where there is none the test ends as `require_program` says."""
    found = program or next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        require_program(" or ".join(PROGRAMS))
    with tempfile.TemporaryDirectory(prefix="fsserver-redis-") as directory:
        server = RedisServer(found, Path(directory), options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
