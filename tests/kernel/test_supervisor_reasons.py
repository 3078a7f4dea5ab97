"""Which limit a command is said to have reached, where it reached several."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack

from fsserver.policy.compiled import CommandLimits
from fsserver.sandbox.processes import Processes
from fsserver.sandbox.runner import EndedBy
from fsserver.sandbox.supervisor import Start, Supervisor
from tests.support import in_child

SLEEP = shutil.which("sleep") or "/bin/sleep"


def supervised(limits: CommandLimits) -> EndedBy | None:
    """Why ``sleep 60`` ended. In a child: a supervisor ends everything below its process."""

    def run() -> EndedBy | None:
        with ExitStack() as held:
            control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            held.enter_context(control)
            held.enter_context(other)
            pipes = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in range(3)]
            supervisor = Supervisor(control, Processes(alone=False, scoped=False, visible=True))
            return supervisor.run(Start(SLEEP, [SLEEP, "60"], {}, pipes, limits, 0.3)).ended_by

    return in_child(run)


def test_too_many_processes_are_named_before_the_memory_that_they_take() -> None:
    assert supervised(CommandLimits(processes=0, memory_bytes=1)) is EndedBy.PROCESSES


def test_too_much_memory_of_few_processes_is_named() -> None:
    assert supervised(CommandLimits(processes=8, memory_bytes=1)) is EndedBy.MEMORY


def test_command_within_its_limits_is_ended_by_its_time() -> None:
    assert supervised(CommandLimits(processes=8, memory_bytes=1 << 30)) is EndedBy.TIME
