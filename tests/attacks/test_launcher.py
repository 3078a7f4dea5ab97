"""Requests that only a server in wrong hands would send: the launcher judges each again, whoever sent it."""

from __future__ import annotations

import array
import fcntl
import os
import resource
import select
import socket
import tempfile
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from fsserver.errors import SandboxSetupError
from fsserver.kernel.features import probe
from fsserver.policy.compiled import (
    ArgumentForm,
    CommandLimits,
    Effect,
    Flag,
    Layer,
    Mode,
    PathAccess,
    PathValue,
    Positional,
)
from fsserver.sandbox import bootstrap as sealed
from fsserver.sandbox import messages
from fsserver.sandbox.factory import Factory
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.messages import PeerGoneError
from fsserver.sandbox.runner import Request
from tests.attacks.surroundings import open_directory
from tests.cells import RULE, Setting, bootstrap, launched, program, python, starting_as
from tests.support import wait_until
from tests.trees import build, rules

SETTING = Setting(Layer.FULL, root=False)
ANSWER_S = 10.0


class Raw:
    """The server's end of a launcher, without a server."""

    def __init__(self, runner: LauncherRunner) -> None:
        self.runner = runner
        self.socket = runner._socket
        assert self.word()[0] == "hello"

    def word(self) -> list[str]:
        """What the launcher says unasked. Raises `PeerGoneError` when it has ended."""
        while True:
            ready, _, _ = select.select([self.socket], [], [], ANSWER_S)
            assert ready, "the launcher does not answer"
            fields, descriptors = messages.receive(self.socket)
            assert descriptors == []
            if fields[0] != "log":
                return fields

    def ask(self, *fields: str, descriptors: Sequence[int] | None = None) -> list[str]:
        """The answer to a request with three good pipes, if it brings nothing else. Raises `PeerGoneError`: none."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with pipes() as good:
                messages.send(self.socket, fields, [*(good if descriptors is None else descriptors), writer])
            os.close(writer)
            assert messages.wait(reader, ANSWER_S), "the launcher does not answer"
            return messages.take_answer(reader)
        finally:
            os.close(reader)

    def ended(self) -> bool:
        """Whether the launcher has gone by itself, as it does when nobody it knows talks to it."""
        try:
            while True:
                self.word()
        except PeerGoneError:
            pass
        pid, status = os.waitpid(self.runner._pid, 0)
        return (pid, status) == (self.runner._pid, 0)


def own_user() -> Setting:
    """A launcher of this process's user, who can say how many files it may open; of another only who may do all can."""
    return Setting(Layer.FULL, root=os.geteuid() == 0)


def descriptors(launcher: Raw) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{launcher.runner._pid}/fd"))


@contextmanager
def pipes() -> Iterator[list[int]]:
    """What a command is given: one to read from, two to write to. Nobody is at the other ends."""
    made = [os.pipe() for _ in range(3)]
    try:
        yield [made[0][0], made[1][1], made[2][1]]
    finally:
        messages.close([end for pipe in made for end in pipe])


@contextmanager
def raw(base: Path, setting: Setting = SETTING) -> Iterator[Raw]:
    path = PathValue("work", PathAccess.READ, must_exist=False)
    form = ArgumentForm({"-n": Flag(None, RULE)}, (Positional(path, 0, 1),))
    limits = CommandLimits(time_s=20.0)
    commands = [
        program("strict", "/usr/bin/cat", arguments=form, limits=limits, background=False),
        program("asks", "/usr/bin/cat", arguments=form, limits=limits, effect=Effect.ASK),
        program("both", "/usr/bin/cat", roots={"notes": Mode.RO, "work": Mode.RO}, limits=limits),
        program("narrow", "/usr/bin/cat", roots={"notes": Mode.RO}, limits=limits),
    ]
    roots = [rules(base / "work", deny=["**/.env"]), rules(base / "notes", name="notes", mode=Mode.RO)]
    start = bootstrap(base, commands, roots, setting)
    with starting_as(setting):
        runner = LauncherRunner(start)
    try:
        yield Raw(runner)
    finally:
        runner.close()


@pytest.fixture
def base() -> Iterator[Path]:
    with open_directory() as directory:
        build(directory, ["file work/a.txt a", "file work/.env denied", "dir work/d", "file notes/b.txt b"])
        yield directory


@pytest.fixture(scope="module")
def launcher() -> Iterator[Raw]:
    """One for all of a module's requests that it survives."""
    with open_directory() as directory:
        build(directory, ["file work/a.txt a", "file work/.env denied", "dir work/d", "file notes/b.txt b"])
        with raw(directory) as running:
            yield running


GOOD = ("strict", "work", "", "5")

REFUSED: dict[str, tuple[str, ...]] = {
    "unknown command": ("cat", "work", "", "5"),
    "command by its path": ("/usr/bin/cat", "work", "", "5"),
    "no command": ("", "work", "", "5"),
    "flag that is not listed": (*GOOD, "-A"),
    "flag that looks like a positional after none": (*GOOD, "--", "-A", "a.txt"),
    "too many positionals": (*GOOD, "a.txt", "a.txt"),
    "operand outside by dots": (*GOOD, "../outside"),
    "operand outside by its absolute path": (*GOOD, "/etc/passwd"),
    "unknown root": ("strict", "nowhere", "", "5"),
    "root that the command does not have": ("strict", "notes", "", "5"),
    "root that another command has": ("narrow", "work", "", "5"),
    "directory by dots": ("strict", "work", "..", "5"),
    "directory by dots inside": ("strict", "work", "d/../..", "5"),
    "absolute directory": ("strict", "work", "/", "5"),
    "directory with an empty component": ("strict", "work", "d//d", "5"),
    "denied directory": ("strict", "work", ".env", "5"),
    "directory that is not there": ("strict", "work", "missing", "5"),
    "no time limit in the foreground": ("strict", "work", "", ""),
    "longer than the policy allows": ("strict", "work", "", "20.1"),
    "endless": ("strict", "work", "", "inf"),
    "no number": ("strict", "work", "", "nan"),
    "negative": ("strict", "work", "", "-1"),
    "zero": ("strict", "work", "", "0"),
    "words": ("strict", "work", "", "soon"),
}


@pytest.mark.claim("C3")
@pytest.mark.parametrize("name", REFUSED)
def test_request_that_the_gate_would_have_refused_is_refused_again(launcher: Raw, name: str) -> None:
    answer = launcher.ask("run", name, *REFUSED[name])
    assert answer[0] == "failed", answer
    runs(launcher)


@pytest.mark.claim("C3")
def test_command_that_asks_is_left_to_the_gate(launcher: Raw) -> None:
    """Who consented cannot be judged here: it is the server that asks. The launcher still holds its arguments."""
    assert launcher.ask("run", "1", "asks", "work", "", "5", "a.txt")[0] == "ended"
    assert launcher.ask("run", "2", "asks", "work", "", "5", "-A")[0] == "failed"


def runs(launcher: Raw) -> None:
    """What the policy allows still works."""
    answer = launcher.ask("run", "good", *GOOD, "a.txt")
    assert answer[:2] in (["ended", "0"], ["ended", "-13"]), answer


def _directory(stack: ExitStack) -> int:
    descriptor = os.open("/", os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor


def _file(stack: ExitStack) -> int:
    return stack.enter_context(tempfile.TemporaryFile()).fileno()


def _socket(stack: ExitStack) -> int:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    return stack.enter_context(theirs).fileno()


def _device(stack: ExitStack) -> int:
    descriptor = os.open("/dev/null", os.O_RDWR)
    stack.callback(os.close, descriptor)
    return descriptor


def _name_only(stack: ExitStack) -> int:
    reader, writer = os.pipe()
    stack.callback(messages.close, [reader, writer])
    descriptor = os.open(f"/proc/self/fd/{reader}", os.O_PATH)
    stack.callback(os.close, descriptor)
    return descriptor


def _both_ways(stack: ExitStack) -> int:
    reader, writer = os.pipe()
    stack.callback(messages.close, [reader, writer])
    descriptor = os.open(f"/proc/self/fd/{reader}", os.O_RDWR)
    stack.callback(os.close, descriptor)
    return descriptor


def _wrong_way(stack: ExitStack) -> int:
    reader, writer = os.pipe()
    stack.callback(messages.close, [reader, writer])
    return writer


STREAMS: dict[str, Callable[[ExitStack], int]] = {
    "directory": _directory,
    "file": _file,
    "socket": _socket,
    "device": _device,
    "pipe by its name only": _name_only,
    "pipe in both directions": _both_ways,
    "pipe in the wrong direction": _wrong_way,
}


@pytest.mark.claim("C4")
@pytest.mark.parametrize("name", STREAMS)
def test_anything_but_a_pipe_in_its_direction_is_refused_as_input(launcher: Raw, name: str) -> None:
    with ExitStack() as stack, pipes() as good:
        answer = launcher.ask("run", "1", *GOOD, "a.txt", descriptors=[STREAMS[name](stack), *good[1:]])
    assert answer[:2] == ["failed", "sandbox.setup"]
    runs(launcher)


@pytest.mark.claim("C4")
@pytest.mark.parametrize("name", ["directory", "file", "socket", "device"])
@pytest.mark.parametrize("place", [1, 2])
def test_anything_but_a_pipe_is_refused_as_output(launcher: Raw, name: str, place: int) -> None:
    with ExitStack() as stack, pipes() as given:
        given[place] = STREAMS[name](stack)
        assert launcher.ask("run", "1", *GOOD, "a.txt", descriptors=given)[0] == "failed"
    runs(launcher)


@pytest.mark.claim("C4")
def test_refused_requests_leave_no_descriptor_in_the_launcher(launcher: Raw) -> None:
    if os.geteuid() != 0:
        pytest.skip("a launcher is not dumpable, so only root sees its descriptors; the run as root covers it")
    runs(launcher)
    before = descriptors(launcher)
    for name, fields in REFUSED.items():
        launcher.ask("run", name, *fields)
    wait_until(lambda: descriptors(launcher) <= before + 4, "descriptors of refused requests are closed")


@pytest.mark.claim("C5")
def test_request_whose_pipes_find_no_room_is_not_served_and_the_next_one_is(base: Path) -> None:
    with raw(base, own_user()) as launcher:
        runs(launcher)
        pid = launcher.runner._pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (12, before[1]))
        with pytest.raises(PeerGoneError):
            launcher.ask("run", "1", *GOOD, "a.txt")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        runs(launcher)


@pytest.mark.claim("C5")
def test_root_that_was_replaced_leaves_no_descriptor_in_the_launcher_at_each_request(base: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's launcher opens the roots itself; the run as root covers it")
    with raw(base, Setting(Layer.FULL, root=True)) as launcher:
        (base / "work").rename(base / "before")
        (base / "work").mkdir()
        before = descriptors(launcher)
        for number in range(12):
            launcher.ask("run", str(number), "both", "work", "", "5")
        wait_until(
            lambda: descriptors(launcher) <= before + 4, "what was opened for cells that could not be made is closed"
        )


def _too_many_descriptors(raw: Raw) -> None:
    with pipes() as good, pipes() as more:
        messages.send(raw.socket, ["run", "1", *GOOD], [*good, *more])


def _without_its_pipes(count: int) -> Callable[[Raw], None]:
    def send(raw: Raw) -> None:
        with pipes() as good:
            messages.send(raw.socket, ["run", "1", *GOOD], good[:count])

    return send


def _answer_to(make: Callable[[ExitStack], int]) -> Callable[[Raw], None]:
    def send(raw: Raw) -> None:
        with ExitStack() as stack, pipes() as good:
            messages.send(raw.socket, ["run", "1", *GOOD], [*good, make(stack)])

    return send


def _blocking(stack: ExitStack) -> int:
    reader, writer = os.pipe()
    stack.callback(messages.close, [reader, writer])
    return writer


def _too_long(raw: Raw) -> None:
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    packet = b"run\0" + b"x" * (messages.MAX_PACKET + 1)
    raw.socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [2]))])


HOPELESS: dict[str, Callable[[Raw], None]] = {
    "more descriptors than a request has": _too_many_descriptors,
    **{f"{count} descriptors": _without_its_pipes(count) for count in range(4)},
    **{f"answer to a {name}": _answer_to(STREAMS[name]) for name in ("directory", "file", "socket", "device")},
    "answer to a pipe that would have to be waited for": _answer_to(_blocking),
    "longer than a packet may be": _too_long,
    "empty": lambda raw: messages.send(raw.socket, [""]),
    "unknown verb": lambda raw: messages.send(raw.socket, ["execute", "/bin/sh"]),
    "cut request": lambda raw: messages.send(raw.socket, ["run", "1", "strict"]),
    "stop with a descriptor": lambda raw: messages.send(raw.socket, ["stop", "1", "cancelled"], [2]),
    "stop for no reason": lambda raw: messages.send(raw.socket, ["stop", "1", "whim"]),
    "a cell's word": lambda raw: messages.send(raw.socket, ["ended", "0", "", "0", "0", "0"]),
    "bytes": lambda raw: raw.socket.sendall(b"\xff\xfe\x00\x80"),
}


def test_launcher_that_may_open_few_files_refuses_what_is_too_much_and_goes_on(base: Path) -> None:
    waits = python("waits", "import sys; sys.stdin.read()")
    setting = own_user()
    start = bootstrap(base, [waits], [rules(base / "work")], setting)
    with starting_as(setting):
        runner = LauncherRunner(start, asleep=True)
    try:
        few = 170  # of which 128 are not for commands, and each of those takes six
        resource.prlimit(runner._pid, resource.RLIMIT_NOFILE, (few, few))
        runner.listen()
        request = Request("waits", (), "work", "", 60.0)
        with ExitStack() as held:
            runs = [runner.start(request) for _ in range(12)]
            for run in runs:
                held.callback(run.close)
            for run in runs[7:]:
                with pytest.raises(SandboxSetupError, match="Too many commands are running"):
                    run.wait(ANSWER_S)
        with closing(runner.start(request)) as last:
            last.close_stdin()
            ending = last.wait(ANSWER_S)
            assert ending is not None
            assert ending.exit_code == 0
    finally:
        runner.close()


@pytest.mark.claim("C5")
@pytest.mark.parametrize("name", HOPELESS)
def test_launcher_ends_with_all_its_cells_when_what_comes_is_no_request(base: Path, name: str) -> None:
    with raw(base) as launcher:
        pid = launcher.runner._pid
        wait_until(lambda: children(pid) != [], "there is a cell")
        cells = children(pid)
        HOPELESS[name](launcher)
        assert launcher.ended()
        wait_until(lambda: not any(os.path.exists(f"/proc/{cell}") for cell in cells), "its cells have ended")


@pytest.mark.claim("C5")
def test_launcher_waits_for_no_answer_whose_pipe_was_filled_and_made_to_block(base: Path) -> None:
    """The description of the pipe is the server's too, whatever its flags were when it came."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    source, feed = os.pipe()
    with raw(base) as launcher, pipes() as good:
        messages.send(launcher.socket, ["run", "1", *GOOD], [source, *good[1:], writer])
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        wait_until(lambda: _reads(feed), "the command has its input")
        os.set_blocking(writer, True)
        messages.close([source, feed])
        runs(launcher)
    messages.close([reader, writer])


@pytest.mark.claim("C5")
def test_cell_that_has_not_begun_ends_with_its_launcher(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds copies of all that the launcher held: of other commands' pipes, whose end is then never heard."""
    start = bootstrap(base, [python("any", "")], [rules(base / "work")], Setting(Layer.FULL, root=os.geteuid() == 0))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            monkeypatch.setattr(
                messages, "send", lambda *_args: os._exit(0)
            )  # in the moment before the cell is told to
            factory = Factory(start, probe())
            factory.build(next(iter(factory.pools(Layer.FULL).values())))
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.waitpid(pid, 0)[1] == 0
        assert messages.wait(reader, ANSWER_S), "the cell goes on"
    finally:
        os.close(reader)


def _reads(feed: int) -> bool:
    """Whether what was written was read."""
    left = array.array("i", [0])
    os.write(feed, b"x")
    fcntl.ioctl(feed, termios.FIONREAD, left)
    return left[0] == 0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- What it is told at its start


@pytest.mark.claim("C7")
def test_policy_in_memory_that_is_not_sealed_is_not_read(tmp_path: Path) -> None:
    descriptor = os.memfd_create("policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, b"\x80\x05N.")
        with pytest.raises(SandboxSetupError):
            sealed.read(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.claim("C7")
def test_launcher_does_not_serve_a_policy_that_could_still_be_changed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = bootstrap(base, [python("never", "pass")], [rules(base / "work")], SETTING)
    monkeypatch.setattr(sealed, "SEALS", 0)  # here; the launcher is a program of its own
    with starting_as(SETTING):
        runner = LauncherRunner(start)
    try:
        runner.listen()
        assert runner.unavailable == "The launcher of commands did not start."
    finally:
        runner.close()


@pytest.mark.claim("C7")
def test_sealed_policy_cannot_be_changed_by_whoever_holds_it(base: Path) -> None:
    start = bootstrap(base, [python("never", "pass")], [rules(base / "work")], SETTING)
    descriptor = sealed.write(start)
    try:
        for change in (
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: os.ftruncate(descriptor, 0),
            lambda: os.ftruncate(descriptor, 1 << 20),
        ):
            with pytest.raises(PermissionError):
                change()
        assert sealed.read(descriptor) == start
    finally:
        os.close(descriptor)


def test_arguments_of_a_whole_packet_arrive(base: Path) -> None:
    counts = python("counts", "import sys; print(len(sys.argv) - 1, sum(map(len, sys.argv[1:])))")
    with launched(base, SETTING, [counts], [rules(base / "work")]) as cells:
        many = ["x" * 40] * 3000
        assert cells.run("counts", *many).stdout == b"3000 120000\n"
        with pytest.raises(SandboxSetupError):
            cells.run("counts", *(["x" * 60] * 4000))
        assert cells.run("counts", "next").stdout == b"1 4\n"
