"""The launcher: a process of its own that makes cells and hands them the server's requests. One thread, started first.

*Trust.* The policy was sealed before the server heard of any client. What the server asks for afterwards is hostile:
each request is judged here again. What a cell says of its command's end is believed as far as it can be.

*Invariant.* Nothing is run but a command of the policy with arguments that its rules accept, in a cell of its own
profile, with three pipes and nothing else of the server's. When the server is gone, so is all that was started.
"""

from __future__ import annotations

import fcntl
import gc
import math
import os
import resource
import select
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NoReturn

from fsserver.errors import FsserverError, SandboxSetupError
from fsserver.kernel import process
from fsserver.kernel.features import probe
from fsserver.policy.arguments import judge_call
from fsserver.policy.compiled import BuiltinProgram, Command, Effect, Layer
from fsserver.sandbox import bootstrap, messages
from fsserver.sandbox.aftermath import MOST_BYTES, Aftermath, killed, masked, measured
from fsserver.sandbox.cell_profile import CellProfile
from fsserver.sandbox.factory import Factory
from fsserver.sandbox.messages import NoRoomError, PeerGoneError
from fsserver.sandbox.pool import AFTER_S, Cell, Job, Pool
from fsserver.sandbox.runner import EndedBy
from fsserver.sandbox.supervisor import GRACE_S, ignore_signals

MOST_RUNNING: Final = 256
"""Commands that run or wait, where so many descriptors can be had."""
_PER_COMMAND: Final = 6
"""Descriptors: three pipes, that of the answer, and two of its cell."""
_FOR_OTHERS: Final = 128
"""Descriptors of the launcher itself, of cells that are ready, and of what is mounted while one is made."""
PATIENCE_S: Final = 5.0
"""How long after the last moment of its command a cell may take to say so."""
LOOK_S: Final = 0.2
"""How often to ask the kernel whether it killed a part of a command."""
_END_S: Final = 5.0
_NUMBERS_BYTES: Final = 512
"""More than what is said of a command's end beside the names."""
_WAYS: Final = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)


def main(policy: int, server: int) -> NoReturn:
    """Serve the process at the other end of the descriptor ``server`` until it is gone.

    Args:
        policy: a descriptor of what `bootstrap.write` made.
    """
    _leave_the_terminal()
    with socket.socket(fileno=server) as connection:
        launcher = Launcher(connection, Factory(bootstrap.read(policy), probe()))
        os.close(policy)
        try:
            launcher.run()
        except PeerGoneError:
            pass
        finally:
            launcher.end()
    os._exit(0)


def _leave_the_terminal() -> None:
    """A Ctrl-C is for the server, which then ends this process by closing its connection."""
    ignore_signals()
    process.set_no_new_privs()
    process.set_not_dumpable()


class Launcher:
    """The loop and what it does about each event."""

    def __init__(self, server: socket.socket, factory: Factory) -> None:
        self._server = server
        self._factory = factory
        self._policy = factory.policy
        self._pools: list[Pool] = []
        self._pool_of: dict[str, Pool] = {}
        self._cells: dict[int, Cell] = {}
        self._poller = select.poll()
        self._next_look = 0.0
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_running = max(1, min(MOST_RUNNING, (descriptors - _FOR_OTHERS) // _PER_COMMAND))
        self._aftermath = Aftermath(factory.indexes, None, factory.run_id)

    def run(self) -> None:
        """Say which layer there is, then serve. Raises `PeerGoneError` when the server is gone."""
        layer, why = self._begin()
        messages.send(self._server, ["hello", layer, why, *self._factory.gaps(layer)])
        self._poller.register(self._server, select.POLLIN)
        while True:
            self._refill()
            if not any(pool.building for pool in self._pools):
                self._factory.tidy()
            for descriptor, _ in self._poller.poll(self._patience_ms()):
                self._handle(descriptor)
            self._kill_the_late()
            self._stop_the_starved()

    def end(self) -> None:
        """Kill every cell, wait until they are gone, and take away their groups and directories.

        What their commands made under protected names goes too; nobody is told of that any more.
        """
        deadline = time.monotonic() + _END_S
        interrupted: list[tuple[CellProfile, Job]] = []
        while self._cells and time.monotonic() < deadline:
            for cell in set(self._cells.values()):
                cell.kill()
            for cell in set(self._cells.values()):
                if messages.wait(cell.pidfd, max(0.0, deadline - time.monotonic())):
                    if cell.job is not None and not cell.answered:
                        interrupted.append((cell.pool.profile, cell.job))
                    self._bury(cell)
        for profile, job in interrupted:  # when all are gone: none makes a name again
            self._aftermath.put_away(profile.roots, job.before, job.generation, job.command)
        self._factory.close()

    # --- Before the first request

    def _begin(self) -> tuple[Layer, str]:
        """The strongest layer that works here, tried with a real cell, and why no command can be run, or nothing."""
        order = (Layer.FULL, Layer.LANDLOCK, Layer.NONE)
        require = self._policy.sandbox.require
        for layer in order[: order.index(require) + 1]:
            trouble = self._try(layer)
            if trouble is None:
                quarantine = self._factory.open_quarantine() if self._factory.writable_roots() else None
                self._aftermath = Aftermath(self._factory.indexes, quarantine, self._factory.run_id)
                return layer, ""
            self._log(f"No cell of layer {layer}: {trouble.removesuffix('.')}.")
        if require is Layer.NONE:
            return Layer.NONE, "This machine runs no command for this user, not even without a sandbox."
        return Layer.NONE, f"The policy requires sandbox layer {require}, which this machine does not give to commands."

    def _try(self, layer: Layer) -> str | None:
        """Make a pool for each profile in this layer and one cell for the first of them. None, or what failed."""
        try:
            pools = self._factory.pools(layer)
            first = next(iter(pools.values()))
            for pool in set(pools.values()):
                self._factory.refresh(pool.profile)
            gc.collect()
            gc.freeze()  # what is shared with every cell from now on is not looked at again, in any of them
            gc.disable()
            cell = self._build(first)
        except (FsserverError, OSError) as error:
            return str(error)
        trouble: str | None = "a cell did not become ready"
        if messages.wait(cell.control.fileno(), _END_S):
            trouble = self._hear_of_building(cell)
        if trouble is not None:
            self._discard(cell)
            return trouble
        self._pool_of = pools
        self._pools = list(dict.fromkeys(pools.values()))
        return None

    # --- The loop's parts

    def _handle(self, descriptor: int) -> None:
        if descriptor == self._server.fileno():
            self._hear_server()
            return
        cell = self._cells.get(descriptor)
        if cell is None:
            return  # it ended while this round's events were handled
        if descriptor == cell.pidfd:
            self._gone(cell)
        elif cell.job is None:
            self._hear_of_building(cell)
            self._serve_waiting(cell.pool)
        else:
            self._hear_of_end(cell)

    def _patience_ms(self) -> float | None:
        now = time.monotonic()
        moments = [cell.kill_at for cell in set(self._cells.values()) if cell.kill_at is not None]
        if any(cell.runs and cell.leaf is not None for cell in self._cells.values()):
            moments.append(self._next_look)
        moments += [moment for pool in self._pools if (moment := pool.next_look()) > now and moment != math.inf]
        return max(0.0, min(moments) - now) * 1000 + 1 if moments else None

    def _stop_the_starved(self) -> None:
        """End commands of which the kernel killed a part for their memory: it kills until the rest has enough."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        for cell in set(self._cells.values()):
            if cell.runs and cell.leaf is not None and cell.leaf.oom_killed():
                self._ask_to_stop(cell, EndedBy.MEMORY)

    def _kill_the_late(self) -> None:
        now = time.monotonic()
        for cell in set(self._cells.values()):
            if cell.kill_at is not None and now >= cell.kill_at:
                cell.kill()
                cell.kill_at = now + PATIENCE_S

    def _refill(self) -> None:
        now = time.monotonic()
        for pool in self._pools:
            for cell in pool.superfluous(now):
                cell.kill()
            built = False
            while pool.wanted(now) > 0:
                try:
                    if pool.failures:
                        # Else a request looks, before it is given a cell.
                        self._factory.refresh(pool.profile, everywhere=True)
                    self._build(pool)
                    built = True
                except (FsserverError, OSError) as error:
                    self._failed(pool, str(error))
            if built and not pool.hurried:
                with suppress(OSError, NoRoomError):  # it is out of descriptors: who asks now waits a little longer
                    self._rehearse(pool)

    def _rehearse(self, pool: Pool) -> None:
        """Go through what a request goes through. After a fork the kernel copies each page when one of the two
        processes first writes to it: now, and not while somebody waits.
        """
        name = next(iter(pool.commands))
        root = next(iter(self._factory.commands[name].roots))
        pipes: list[int] = []
        again: list[int] = []
        ours, theirs = messages.pair()
        try:
            for _ in range(4):
                pipes += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            messages.send(ours, ["run", "0", name, root, "", "1"], [pipes[0], pipes[3], pipes[5], pipes[7]])
            fields, received = messages.receive(theirs, messages.ROOM)
            judge_call(
                self._factory.commands, name, fields[6:], directory=(root, ""), spellings=self._factory.spellings
            )
            assert _answerable(received)
            _require_pipes(received[:3])
            job = Job("0", name, fields[2:], received[:3], received[3])
            job.before, job.generation = self._factory.names(pool.profile), self._factory.generation(pool.profile)
            try:
                messages.send(theirs, ["run", *job.fields], job.pipes)
                _, again = messages.receive(ours, messages.ROOM)
            finally:
                messages.close([*job.pipes, *again])
                self._tell(job, ["ended", "0", "", "0.0", "0.0", "0", "0", "0"])
        finally:
            messages.close(pipes)
            ours.close()
            theirs.close()

    def _failed(self, pool: Pool, why: str) -> None:
        """A cell could not be made. Who waits for it is told, unless another try may do better."""
        self._log(f"A cell could not be made: {why}.")
        if pool.failed():
            return
        while pool.waiting:
            self._fail(
                pool.waiting.popleft(),
                SandboxSetupError.code,
                "The command's sandbox could not be made; the server's log says why.",
            )

    # --- Requests

    def _hear_server(self) -> None:
        try:
            fields, pipes = messages.receive(self._server, messages.ROOM)
        except NoRoomError:
            self._log("A request could not be taken: too many files are open.")
            return  # the server reads the end of the pipe for the answer
        match fields:
            case ["run", number, command, root, directory, timeout, *arguments] if _answerable(pipes):
                job = Job(number, command, [command, root, directory, timeout, *arguments], pipes[:3], pipes[3])
                try:
                    self._accept(job, root, directory, timeout, arguments)
                except FsserverError as error:
                    self._fail(job, error.code, error.message, error.rule or "", error.allowed_instead or "")
                except (OSError, ValueError) as error:
                    self._log(f"A request of the server's could not be served: {error}.")
                    self._fail(job, SandboxSetupError.code, "The command could not be started.")
            case ["wake"] if not pipes:
                pass  # it was read late enough
            case ["stop", number, why] if not pipes and why in set(EndedBy):
                self._stop(number, EndedBy(why))
            case _:
                messages.close(pipes)
                raise PeerGoneError  # not the server that started this process

    def _accept(self, job: Job, root: str, directory: str, timeout: str, arguments: Sequence[str]) -> None:
        """Judge the request as the server's gate did, and hand it to a cell, now or when there is one."""
        judgement = judge_call(
            self._factory.commands,
            job.command,
            arguments,
            directory=(root, directory),
            spellings=self._factory.spellings,
        )
        if judgement.effect is Effect.DENY:
            raise SandboxSetupError(f"The launcher refuses what the gate allowed: {judgement.reason}")
        command = self._factory.commands[job.command]
        job.kill_after_s = _seconds(command, timeout)
        _require_pipes(job.pipes)
        waiting = sum(len(pool.waiting) for pool in self._pools)
        if waiting + sum(cell.job is not None for cell in set(self._cells.values())) >= self._most_running:
            raise SandboxSetupError("Too many commands are running.", allowed_instead="again when one has ended")
        pool = self._pool_of[job.command]
        self._factory.require_protection(command, pool.profile)
        if not isinstance(command.program, BuiltinProgram):
            self._factory.refresh(pool.profile)
        job.before = self._factory.names(pool.profile)
        job.generation = self._factory.generation(pool.profile)
        pool.drop_older(job.generation)
        cell = pool.take()
        if cell is not None:
            self._hand_over(cell, job)
            return
        pool.waiting.append(job)
        pool.not_before = 0.0  # somebody waits: try at once, and tell what fails

    def _serve_waiting(self, pool: Pool) -> None:
        pool.drop_older(self._factory.generation(pool.profile))
        while pool.waiting and pool.ready:
            self._hand_over(pool.ready.popleft(), pool.waiting.popleft())

    def _hand_over(self, cell: Cell, job: Job) -> None:
        if not any(each.runs for each in self._cells.values()):
            self._next_look = time.monotonic() + LOOK_S  # nothing is starved yet, and the cell has no processor so long
        cell.job = job
        cell.pool.begun()
        if job.kill_after_s is not None:
            cell.kill_at = time.monotonic() + job.kill_after_s + GRACE_S + PATIENCE_S
        try:
            messages.send(cell.control, ["run", *job.fields], job.pipes)
        except (PeerGoneError, OSError):
            cell.kill()  # its end is heard of
        messages.close(job.pipes)
        job.pipes = []

    def _stop(self, number: str, why: EndedBy) -> None:
        for pool in self._pools:
            for job in [each for each in pool.waiting if each.number == number]:
                pool.waiting.remove(job)
                self._fail(job, "request.cancelled", "The command was cancelled before it began.")
        for cell in set(self._cells.values()):
            if cell.runs and cell.job is not None and cell.job.number == number:
                self._ask_to_stop(cell, why)

    def _ask_to_stop(self, cell: Cell, why: EndedBy) -> None:
        with suppress(PeerGoneError):
            messages.send(cell.control, ["stop", why])
        cell.kill_at = time.monotonic() + GRACE_S + PATIENCE_S

    # --- Cells

    def _build(self, pool: Pool) -> Cell:
        cell = self._factory.build(pool)
        pool.building.append(cell)
        self._cells[cell.pidfd] = cell
        self._cells[cell.control.fileno()] = cell
        self._poller.register(cell.pidfd, select.POLLIN)
        self._poller.register(cell.control, select.POLLIN)
        cell.kill_at = time.monotonic() + PATIENCE_S
        return cell

    def _hear_of_building(self, cell: Cell) -> str | None:
        """None if it is ready, else what failed."""
        try:
            fields, descriptors = messages.receive(cell.control, messages.ROOM)
            messages.close(descriptors)
        except PeerGoneError:
            fields = ["broken", "it ended"]
        pool = cell.pool
        if fields[0] == "ready" and cell in pool.building:
            cell.ready = True
            cell.kill_at = None
            pool.building.remove(cell)
            pool.ready.append(cell)
            pool.built()
            self._factory.note(fields[1:])
            return None
        self._unwatch(cell)
        if cell in pool.building or cell in pool.ready:
            pool.forget(cell)
            self._failed(pool, fields[-1])
        cell.kill()
        return fields[-1]

    def _hear_of_end(self, cell: Cell) -> None:
        """What a cell with a command says is its last word."""
        try:
            fields, descriptors = messages.receive(cell.control, messages.ROOM)
            messages.close(descriptors)
        except PeerGoneError:
            self._unwatch(cell)
            return  # how it ended is known when it is reaped
        self._unwatch(cell)
        self._answer(cell, fields)

    def _answer(self, cell: Cell, fields: Sequence[str]) -> None:
        job = cell.job
        if job is None or cell.answered:
            return
        cell.answered = True
        cell.pool.ended()
        cell.kill_at = time.monotonic() + AFTER_S
        most = min(MOST_BYTES, (messages.room_for_answer(job.answer) - _NUMBERS_BYTES) // 3)
        moved, left = self._aftermath.put_away(cell.pool.profile.roots, job.before, job.generation, job.command, most)
        match fields:
            case ["ended", status, ended_by, duration, cpu, peak]:
                if cell.leaf is not None:
                    ended_by, peak = measured(cell.leaf, int(status), ended_by, float(duration), peak)
                hidden = status != "0" and cell.pool.profile.layer is Layer.FULL  # only mounts hide any
                names = [*moved, *left, *(masked(job.before, most) if hidden else ())]
                counts = [str(len(moved)), str(len(left))]
                self._tell(job, ["ended", status, ended_by, duration, cpu, peak, *counts, *names])
            case ["failed", code, word]:
                self._fail(job, code, word)
            case _:
                self._fail(job, SandboxSetupError.code, "The command's sandbox broke.")

    def _gone(self, cell: Cell) -> None:
        """A cell's process has ended."""
        self._hear_last_word(cell)
        job = cell.job
        if job is not None and not cell.answered:
            late = cell.kill_at is not None and time.monotonic() >= cell.kill_at - PATIENCE_S
            self._answer(cell, killed(cell.leaf, late=late))
        elif job is None and (cell in cell.pool.building or cell in cell.pool.ready):
            cell.pool.forget(cell)
            self._failed(cell.pool, "it ended before it was used")
        self._bury(cell)

    def _hear_last_word(self, cell: Cell) -> None:
        """Of a cell that has ended. poll(2) may tell of both in one round, and of the end first."""
        number = cell.control.fileno()
        if number not in self._cells or not messages.wait(number, 0):
            return
        if cell.job is None:
            self._hear_of_building(cell)
        else:
            self._hear_of_end(cell)

    def _bury(self, cell: Cell) -> None:
        self._unwatch(cell)
        with suppress(KeyError):
            self._poller.unregister(cell.pidfd)
        self._cells.pop(cell.pidfd, None)
        cell.pool.forget(cell)
        with suppress(ChildProcessError):
            os.waitpid(cell.pid, 0)
        os.close(cell.pidfd)
        cell.control.close()
        self._factory.clear(cell)

    def _discard(self, cell: Cell) -> None:
        cell.kill()
        messages.wait(cell.pidfd, _END_S)
        self._bury(cell)

    def _unwatch(self, cell: Cell) -> None:
        number = cell.control.fileno()
        if self._cells.pop(number, None) is not None:
            self._poller.unregister(number)

    # --- Answers

    def _fail(self, job: Job, code: str, message: str, rule: str = "", instead: str = "") -> None:
        messages.close(job.pipes)
        job.pipes = []
        self._tell(job, ["failed", code, message, rule, instead])

    def _tell(self, job: Job, fields: Sequence[str]) -> None:
        """The last word about a request. The server may have stopped to wait for it."""
        with suppress(PeerGoneError):
            messages.answer(job.answer, fields)
        os.close(job.answer)

    def _log(self, text: str) -> None:
        """For the server's log, which is not for clients."""
        messages.send(self._server, ["log", text.replace("\0", "")[:2000]])


def _answerable(pipes: Sequence[int]) -> bool:
    """Whether there are a command's three pipes and one for the answer, on which this process never waits."""
    return len(pipes) == len(_WAYS) + 1 and _is_pipe(pipes[-1], os.O_WRONLY | os.O_NONBLOCK)


def _require_pipes(pipes: Sequence[int]) -> None:
    """One to read from and two to write to. A directory, say, would let the command read the host through it."""
    if not all(map(_is_pipe, pipes, _WAYS)):
        raise SandboxSetupError("A command's streams are pipes, each in its direction.")


def _is_pipe(descriptor: int, flags: int) -> bool:
    """Whether it is one in this direction, and does not block if the flags say so."""
    found = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    meant = found & os.O_ACCMODE | found & flags & os.O_NONBLOCK
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and meant == flags and not found & os.O_PATH


def _seconds(command: Command, timeout: str) -> float | None:
    """The time limit of one run; None for a process in the background. Raises `SandboxSetupError`."""
    if not timeout and command.background:
        return None
    seconds = float(timeout or "nan")
    if not 0 < seconds <= command.limits.time_s:
        raise SandboxSetupError("The time limit is not one that the policy allows.")
    return seconds
