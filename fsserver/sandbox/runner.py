"""The server's side of commands: requests to the launcher, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fsserver.policy.compiled import Layer


class EndedBy(StrEnum):
    """What ended a command that did not end by itself."""

    TIME = "time"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    FILE_SIZE = "file_size"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Request:
    """One run of one command.

    Attributes:
        command: its name in the policy.
        arguments: the client's, without what the policy prepends.
        root: the name of the root in which it runs.
        directory: where beneath the root, components joined by "/", "" for the root itself.
        timeout_s: None is none, for background processes.
    """

    command: str
    arguments: tuple[str, ...]
    root: str
    directory: str
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        exit_code: None if a signal ended it.
        signal: its name, such as SIGKILL, or None.
        ended_by: the limit that ended it, None if it ended by itself.
        duration_s, cpu_s: of the clock, and of all its processes together.
        peak_memory_bytes: None if it was too short to be measured.
        quarantined: protected names that it made, as ``root/name``: moved out of the root, to the state directory.
        not_moved: those of them that could not be moved, and are still where it made them.
        masked: protected names that it could not see, as ``root/name``; at most 20, only if it failed.
    """

    exit_code: int | None
    signal: str | None
    ended_by: EndedBy | None
    duration_s: float
    cpu_s: float
    peak_memory_bytes: int | None
    layer: Layer
    quarantined: tuple[str, ...] = ()
    not_moved: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()


class Running(Protocol):
    """A command that was started. Its owner closes it, which ends what still runs.

    Attributes:
        stdin: the descriptor to write its input to, None where the request brought its own or closed it already.
        stdout, stderr: descriptors to read from; stdout is None where the request brought its own. Pipes; blocking.
    """

    stdin: int | None
    stdout: int | None
    stderr: int

    def close_stdin(self) -> None:
        """The command reads end of file then. May be called twice."""

    def stop(self, why: EndedBy) -> None:
        """SIGTERM to what runs, SIGKILL after a grace; does not wait. Harmless when it is over."""

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        """How it ended, None if it still runs after ``timeout_s``.

        Raises:
            SandboxSetupError: the cell could not be made, or the launcher is gone.
            ProgramNotFound, and other kinds of FsserverError: it never ran.
        """

    def close(self) -> None:
        """End it if it runs, wait until nothing of it is left, and close the descriptors. May be called twice."""


class Runner(Protocol):
    """Starts commands. Thread-safe."""

    @property
    def layer(self) -> Layer:
        """How strongly commands are confined."""

    @property
    def gaps(self) -> Sequence[str]:
        """What this layer does not stop, each completing "not enforced: …"."""

    @property
    def unavailable(self) -> str | None:
        """Why no command can be run, in one sentence for clients; None if they can."""

    def start(self, request: Request, *, stdin: int | None = None, stdout: int | None = None) -> Running:
        """Begin a run. Returns before the program does anything.

        Args:
            stdin, stdout: pipe ends to use instead of new pipes, for pipelines. The caller keeps and closes its own.

        Raises:
            As `Running.wait`.
        """
