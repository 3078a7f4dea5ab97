"""Commands that want more than they may have, or more time than they may take; and what is left of them: nothing."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import CommandLimits, Layer
from fsserver.sandbox.runner import EndedBy
from tests.attacks.surroundings import open_directory
from tests.cells import Launched, Setting, alive, every_setting, launched, python
from tests.support import children_of, wait_until
from tests.trees import rules

MIB = 1024**2

FORKS = """
import os, signal
while True:
    try:
        if os.fork() == 0:
            signal.pause()
    except BlockingIOError:
        pass
"""
# Each process goes on forking, and ignores what asks it to end.
BOMB = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except BlockingIOError:
        pass
"""
THREADS = """
import threading
while True:
    try:
        threading.Thread(target=threading.Event().wait).start()
    except RuntimeError:
        pass
"""
HOG = "import time\nheld = []\nwhile True:\n    held.append(bytearray(b'x') * (4 << 20))\n    time.sleep(0.002)\n"
HOGS = """
import os, time
for _ in range(7):
    if os.fork() == 0:
        break
held = bytearray(b'x') * (16 << 20)
time.sleep(60)
"""
SHARED_HOG = """
import mmap, os, time
held = []
while True:
    held.append(mmap.mmap(-1, 4 << 20))
    held[-1].write(bytes(4 << 20))
    time.sleep(0.002)
"""
# The kernel kills the child, and the first process goes on.
CHILD_HOG = """
import os, time
if os.fork() == 0:
    held = []
    while True:
        held.append(bytearray(b'x') * (4 << 20))
        time.sleep(0.002)
time.sleep(60)
"""
SPIN = "while True: pass"
SPINS = "import os\nfor _ in range(3): os.fork()\nwhile True: pass\n"
SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
TIDY = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print('up', flush=True)
time.sleep(60)
"""
BIG_FILE = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with open('big', 'wb') as stream:
    for _ in range(64):
        stream.write(bytes(1 << 16))
        stream.flush()
"""
NEXT = "raise SystemExit(7)"
OUTPUT = "import os\nblock = b'x' * (1 << 20)\nfor _ in range(1024):\n    rest = memoryview(block)\n" + (
    "    while rest:\n        rest = rest[os.write(1, rest):]\n"
)
DETACHED = """
import os, signal, sys, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        null = os.open('/dev/null', os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        time.sleep(600)
    os._exit(0)
os.wait()
print('left', flush=True)
"""
KILL_ALL = """
import os, signal
child = os.fork()
if child == 0:
    signal.pause()
try:
    os.kill(-1, signal.SIGKILL)
except PermissionError:
    pass
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILL_PARENT = (
    "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.2); print('lives', flush=True)"
)

STOP_PARENT = (
    "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(0.5); print('lives', flush=True)"
)
# Of its own directories, where these are not in memory: more levels than a program calls itself, and than it may open.
DEEP = """
import os
print(os.environ['TMPDIR'])
os.chdir(os.environ['TMPDIR'])
for _ in range(1500):
    os.mkdir('d')
    os.chdir('d')
os.chmod('.', 0)
"""
MANY = """
import os
print(os.environ['TMPDIR'])
for number in range(1500):
    os.mkdir(f"{os.environ['TMPDIR']}/{number}")
os.chmod(os.environ['HOME'], 0)
"""

TELL = """
import os
for process in (os.getpid(), os.getppid()):
    lines = open(f"/proc/{process}/limits").read().splitlines()
    print(next(line for line in lines if line.startswith("Max cpu time")).split()[3])
"""

SMALL = CommandLimits(memory_bytes=64 * MIB, processes=40, cpu_s=1.0, file_bytes=MIB)
FEW = CommandLimits(processes=20)
LIMITS = {"forks": FEW, "bomb": FEW, "threads": FEW, "deep": FEW, "many": FEW}


@pytest.fixture(scope="module", params=every_setting())
def cells(request: pytest.FixtureRequest) -> Iterator[Launched]:
    codes = {name.lower(): code for name, code in globals().items() if name.isupper() and isinstance(code, str)}
    commands = [python(name, code, limits=LIMITS.get(name, SMALL)) for name, code in codes.items()]
    with open_directory() as base:
        (base / "work").mkdir()
        with launched(base, request.param, commands, [rules(base / "work")]) as running:
            yield running


@pytest.fixture
def marker(cells: Launched) -> Iterator[str]:
    """An argument that finds what a command left; at the end there is nothing."""
    name = secrets.token_hex(8)
    yield name
    assert alive(name) == []
    assert cells.run("next").ending.exit_code == 7, "the next command runs"


@pytest.mark.claim("C5")
@pytest.mark.parametrize(
    ("command", "ended_by"),
    [
        ("forks", EndedBy.PROCESSES),
        ("bomb", EndedBy.PROCESSES),
        ("threads", EndedBy.PROCESSES),
        ("hog", EndedBy.MEMORY),
        ("hogs", EndedBy.MEMORY),
        ("shared_hog", EndedBy.MEMORY),
        ("child_hog", EndedBy.MEMORY),
        ("spin", EndedBy.CPU),
        ("spins", EndedBy.CPU),
        ("big_file", EndedBy.FILE_SIZE),
    ],
)
def test_command_over_its_limit_is_ended_and_the_limit_is_named(
    cells: Launched, marker: str, command: str, ended_by: EndedBy
) -> None:
    run = cells.run(command, marker)
    assert run.ending.ended_by == ended_by, run
    assert run.ending.exit_code is None or command == "hog"


@pytest.mark.claim("C5")
def test_limit_of_processor_time_is_not_reached_by_who_looks_after_the_command(cells: Launched) -> None:
    """Who looks at 100 idle processes has used a minute in a quarter of an hour."""
    own, other = cells.run("tell").stdout.split()
    assert (own, other == own) == (b"1", False)


@pytest.mark.claim("C5")
@pytest.mark.parametrize("command", ["sleep", "stubborn"])
def test_command_over_its_time_is_ended_within_the_grace(cells: Launched, marker: str, command: str) -> None:
    began = time.monotonic()
    run = cells.run(command, marker, timeout_s=0.3)
    assert run.ending.ended_by == EndedBy.TIME
    assert run.ending.signal == ("SIGKILL" if command == "stubborn" else "SIGTERM")
    assert time.monotonic() - began < 3.0


@pytest.mark.claim("C5")
def test_command_may_end_tidily_when_its_time_is_over(cells: Launched, marker: str) -> None:
    run = cells.run("tidy", marker, timeout_s=0.5)
    assert (run.ending.ended_by, run.ending.exit_code, run.stdout) == (EndedBy.TIME, 7, b"up\n")


@pytest.mark.claim("C5")
@pytest.mark.parametrize("command", ["stubborn", "tidy"])
def test_cancelled_command_is_gone_within_a_second(cells: Launched, marker: str, command: str) -> None:
    with cells.running(command, marker) as running:
        assert running.stdout is not None
        assert os.read(running.stdout, 3) == b"up\n"
        assert len(alive(marker)) == 1
        began = time.monotonic()
        run = cells.stopped(running)
        assert run.ending.ended_by == EndedBy.CANCELLED
        assert time.monotonic() - began < 1.0 + 0.5  # a grace of 0.5 s, and a machine with other things to do


@pytest.mark.claim("C5")
def test_detached_process_ends_with_its_command(cells: Launched, marker: str) -> None:
    run = cells.run("detached", marker)
    assert (run.ending.exit_code, run.ending.ended_by, run.stdout) == (0, None, b"left\n")
    # The marker's fixture looks that it is gone.


@pytest.mark.claim("C4")
def test_signal_to_everybody_reaches_nobody_outside(cells: Launched, marker: str) -> None:
    with cells.running("stubborn", marker) as other:
        assert other.stdout is not None
        assert os.read(other.stdout, 3) == b"up\n"
        run = cells.run("kill_all")
        if cells.setting.layer is Layer.FULL:
            assert run.stdout == b"-9\n"
        assert len(alive(marker)) == 1, "another command runs on"
        assert cells.run("next").ending.exit_code == 7


@pytest.mark.claim("C5")
def test_command_cannot_outlive_the_process_that_watches_it(cells: Launched, marker: str) -> None:
    run = cells.run("kill_parent", marker)
    if cells.setting.layer is Layer.FULL:
        assert run.stdout == b"lives\n", "PID 1 of a namespace gets no signal from inside"
    else:
        assert (run.ending.signal, run.stdout) == ("SIGKILL", b"")


@pytest.mark.claim("C5")
def test_command_that_stops_the_process_that_watches_it_is_ended(cells: Launched, marker: str) -> None:
    began = time.monotonic()
    run = cells.run("stop_parent", marker)
    if cells.setting.layer is Layer.FULL:
        assert run.stdout == b"lives\n", "PID 1 of a namespace gets no signal from inside"
    else:
        assert (run.ending.signal, run.stdout) == ("SIGKILL", b"")
    assert time.monotonic() - began < 5.0


@pytest.mark.claim("C5")
def test_a_gigabyte_of_output_is_drained_in_constant_memory() -> None:
    with open_directory() as base:
        (base / "work").mkdir()
        commands = [python("output", OUTPUT)]
        with launched(base, Setting(Layer.FULL, root=False), commands, [rules(base / "work")]) as cells:
            before = _resident(cells.pid)
            run = cells.run("output")
            assert (run.ending.exit_code, run.written) == (0, 1 << 30)
            assert _resident(cells.pid) - before < 2 * MIB


@pytest.mark.claim("C5")
@pytest.mark.parametrize("setting", every_setting())
def test_killed_launcher_takes_its_cells_and_their_commands_along(setting: Setting) -> None:
    marker = secrets.token_hex(8)
    commands = [python("stubborn", STUBBORN), python("detached", DETACHED + "\ntime.sleep(60)")]
    with open_directory() as base:
        (base / "work").mkdir()
        with launched(base, setting, commands, [rules(base / "work")]) as cells, ExitStack() as stack:
            for name in ("stubborn", "detached"):
                running = stack.enter_context(cells.running(name, marker, timeout_s=None))
                assert running.stdout is not None
                assert os.read(running.stdout, 1)
            assert len(alive(marker)) == 3
            assert cells.runner.running == 2
            below = children_of(cells.pid)
            assert len(below) >= 2
            os.kill(cells.pid, signal.SIGKILL)
            wait_until(lambda: alive(marker) == [], "the commands have ended")
            wait_until(lambda: not any(map(_runs, below)), "the cells have ended")
            with pytest.raises(SandboxSetupError, match="has ended"):
                running.wait(10.0)
            wait_until(lambda: cells.runner.running == 0, "none counts as running")


def _runs(pid: int) -> bool:
    """Whether it is more than a zombie: whoever adopted it may not have waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.claim("C5")
@pytest.mark.parametrize("generations", [1, 2], ids=["the one that watches", "the one that guards"])
def test_command_ends_when_the_kernel_kills_what_watches_it(cells: Launched, marker: str, generations: int) -> None:
    """As it does when memory runs out. In the full layer both are PID 1."""
    with cells.running("stubborn", marker) as running:
        assert running.stdout is not None
        assert os.read(running.stdout, 3) == b"up\n"
        (pid,) = alive(marker)
        for _ in range(1 if cells.setting.layer is Layer.FULL else generations):
            pid = _parent(pid)
        os.kill(pid, signal.SIGKILL)
        run = cells.finish(running)
        assert (run.ending.exit_code, run.ending.signal) == (None, "SIGKILL")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.claim("C5")
@pytest.mark.parametrize("command", ["deep", "many"])
def test_directories_of_a_command_are_removed_whatever_it_made_of_them(
    cells: Launched, marker: str, command: str
) -> None:
    run = cells.run(command, marker)
    assert run.ending.exit_code == 0, run
    assert cells.run("next").ending.exit_code == 7, "the launcher lives"
    if cells.setting.layer is not Layer.FULL:
        directory = Path(run.stdout.decode().strip())
        wait_until(lambda: not directory.parent.exists(), "nothing is left of its directories")
