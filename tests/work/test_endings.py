"""Who ends with whom: the server, its launcher, their commands, whoever is killed, and at whatever moment."""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fsserver.sandbox.cgroup import PREFIX
from fsserver.sandbox.hierarchies import find_own_directories
from fsserver.sandbox.pool import BURST_S, IDLE_S
from tests.protocol.client import Client
from tests.support import children_of, wait_until
from tests.work.desk import Desk, Work

MIB = 1024**2

# Ignores what asks it to end, and has a child in a session of its own that does the same.
STUBBORN = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
print("up", flush=True)
time.sleep(3600)
"""
POLICY = """
commands:
  stubborn: {exec: {in: workspace, find: stubborn}, args: any, background: true}
  quick: {exec: {in: workspace, find: quick}, args: any}
  waits: {exec: {in: workspace, find: waits}, args: any}
limits: {background: 8}
"""
MOMENTS = 20
WITHIN_S = 0.25  # after the first request, in which all of them come to run


@pytest.fixture
def project(desk: Desk) -> Desk:
    desk.program("stubborn", STUBBORN)
    desk.write("quick", "#!/bin/sh\n", mode=0o755)
    desk.write("waits", '#!/bin/sh\nexec sleep "$1"\n', mode=0o755)
    return desk


def below(pid: int | None = None) -> list[psutil.Process]:
    """What runs below this process, or another. What only waits to be reaped does not."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def launcher_of(client: Client) -> psutil.Process:
    (launcher,) = psutil.Process(client.process.pid).children()
    return launcher


def busy(work: Work) -> list[int]:
    """Commands that run and processes in the background; the ids of the calls that are not answered yet."""
    for _ in range(3):
        work.structured("start_process", command="stubborn")
    calls = [work.client.start_call("run_command", {"command": "stubborn"}) for _ in range(3)]
    server = work.client.process.pid
    wait_until(lambda: sum("stubborn" in " ".join(each.cmdline()) for each in alive(server)) == 12, "all of them run")
    return calls


def alive(pid: int) -> list[psutil.Process]:
    return [each for each in below(pid) if each.is_running()]


@pytest.mark.slow
@pytest.mark.timeout(300)  # twenty servers, on a machine with other things to do
@pytest.mark.claim("C5")
def test_server_killed_at_any_moment_leaves_no_process_and_the_next_one_starts(project: Desk) -> None:
    dice = random.Random(os.geteuid())  # others in the run as another user
    before = {each.pid for each in below()}
    for number in range(MOMENTS):
        with project.serve(POLICY) as work:
            client = work.client
            for _ in range(3):
                client.start_call("start_process", {"command": "stubborn"})
                client.start_call("run_command", {"command": "quick"})
                client.start_call("run_command", {"command": "stubborn"})
            # One in each twentieth of the time, from the first request to all of them running.
            select.select([], [], [], (number + dice.random()) / MOMENTS * WITHIN_S)
            client.signal(signal.SIGKILL)
            client.wait()
            wait_until(
                lambda: not {each.pid for each in below()} - before, "all that it started has ended", every_s=0.05
            )
    with project.serve(POLICY) as work:
        assert work.run("quick")["exitCode"] == 0


@pytest.mark.claim("C5")
def test_groups_of_a_killed_server_are_taken_away_by_the_next_one(project: Desk) -> None:
    def groups(run: str) -> list[str]:
        return [each for each in find_own_directories().values() if os.path.isdir(f"{each}/{PREFIX}{run}")]

    with project.serve(POLICY) as work:
        first = _run_id(project, 1)
        if not groups(first):
            pytest.skip("this user has no control groups; the run as root covers it")
        busy(work)
        work.client.signal(signal.SIGKILL)
        work.client.wait()
        wait_until(lambda: not below(), "all that it started has ended")
    with project.serve(POLICY) as work:
        assert work.run("quick")["exitCode"] == 0
        assert groups(first) == []
        second = _run_id(project, 2)
        assert groups(second)
    wait_until(lambda: not groups(second), "its own are gone with it")


def _run_id(desk: Desk, count: int) -> str:
    logs = sorted(desk.state.rglob("*.jsonl"), key=os.path.getmtime)
    assert len(logs) == count
    found = re.search(r'"run":"([0-9a-f]+)"', logs[-1].read_text())
    assert found
    return found[1]


@pytest.mark.claim("C5")
def test_killed_launcher_takes_its_commands_along_and_the_server_says_so(project: Desk) -> None:
    with project.serve(POLICY) as work:
        calls = busy(work)
        launcher = launcher_of(work.client)
        commands = below(launcher.pid)
        launcher.kill()
        for call in calls:
            answer = work.client.answer(call)
            error = answer["result"]["structuredContent"]["error"]
            assert error["code"] == "sandbox.setup"
            assert "launcher of commands has ended" in error["message"]
        wait_until(lambda: not any(_runs(each) for each in commands), "its commands have ended")
        assert "has ended" in work.error("run_command", command="quick")["message"]
        assert "stubborn" in work.call("list_directory", path=str(project.root)), "file tools are served on"


@pytest.mark.claim("C5")
def test_client_that_leaves_ends_everything_within_three_seconds(project: Desk) -> None:
    with project.serve(POLICY) as work:
        busy(work)
        everything = below(work.client.process.pid)
        began = time.monotonic()
        work.client.close_input()
        assert work.client.wait() == 0
        assert time.monotonic() - began < 3.5
        wait_until(lambda: not any(_runs(each) for each in everything), "all that it started has ended", timeout_s=1.0)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Belongings:
    """What a process has: descriptors, mounts, children, groups, memory. As far as this user may look."""

    def __init__(self, process: psutil.Process, desk: Desk) -> None:
        self.process = process
        self.memory = process.memory_info().rss
        self.children = len(process.children())
        self.descriptors = self.mounts = 0
        try:
            self.descriptors = process.num_fds()
            self.mounts = len(Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines())
        except (psutil.AccessDenied, PermissionError):
            assert os.geteuid() != 0, "a launcher is not dumpable, so only root sees these"
        self.groups = [len(list(Path(each).glob(f"{PREFIX}{_run_id(desk, 1)}/*/"))) for each in _groups()]
        self.scratch = len(list((desk.state / "cells").glob("*/*")))


def _groups() -> Iterator[str]:
    yield from (each for name, each in find_own_directories().items() if name != "unified")


@pytest.mark.slow
@pytest.mark.claim("C5")
def test_two_hundred_commands_in_a_row_and_sixteen_at_once_leave_nothing(project: Desk) -> None:
    with project.serve(POLICY) as work:
        server, launcher = psutil.Process(work.client.process.pid), launcher_of(work.client)

        def settle() -> None:
            """One cell waits again, and the pool has come back to it, which it does after `IDLE_S`."""
            wait_until(
                lambda: len(children_of(launcher.pid)) <= 4, "the cells that ended are gone", timeout_s=2 * IDLE_S
            )

        def at_once() -> None:
            calls = [work.client.start_call("run_command", {"command": "quick"}) for _ in range(16)]
            for call in calls:
                assert work.client.answer(call)["result"]["structuredContent"]["exitCode"] == 0

        for _ in range(20):
            assert work.run("quick")["exitCode"] == 0
        at_once()
        settle()
        before = {each: Belongings(each, project) for each in (server, launcher)}
        for _ in range(200):
            assert work.run("quick")["exitCode"] == 0
        at_once()
        settle()
        for process, old in before.items():
            new = Belongings(process, project)
            assert new.memory - old.memory < 5 * MIB, process
            # A pool keeps as many ready cells as it has found useful, each with its descriptors.
            assert new.descriptors <= old.descriptors + 16, process
            assert new.mounts == old.mounts, process
            assert new.children <= 4, process
            assert max(new.groups, default=0) <= 5, process
            assert new.scratch == old.scratch


@pytest.mark.claim("C5")
def test_commands_with_pauses_between_leave_no_descriptor_in_the_launcher(project: Desk) -> None:
    """In a pause a cell is made, and the launcher and the cell go through what a request goes through."""
    if os.geteuid() != 0:
        pytest.skip("a launcher is not dumpable, so only root sees its descriptors; the run as root covers it")
    with project.serve(POLICY) as work:
        launcher = launcher_of(work.client)

        def paused() -> None:
            began, cells = time.monotonic(), children_of(launcher.pid)
            assert work.run("quick")["exitCode"] == 0
            wait_until(lambda: children_of(launcher.pid) - cells != set(), "there is a new cell")
            wait_until(lambda: time.monotonic() - began > 2 * BURST_S, "commands do not follow each other closely")

        paused()
        before = launcher.num_fds()
        for _ in range(10):
            paused()
        wait_until(lambda: launcher.num_fds() <= before + 4, "what was opened for the commands is closed")


def test_what_came_together_with_a_command_is_answered_while_it_runs(project: Desk) -> None:
    with project.serve(POLICY) as work:
        client = work.client
        began = time.monotonic()
        for number in range(20):
            assert work.run("waits", "0.01")["exitCode"] == 0  # so long that whoever reads may be relieved
            calls = [
                {"name": "run_command", "arguments": {"command": "waits", "args": ["60"]}},
                {"name": "list_directory", "arguments": {"path": str(project.root)}},
            ]
            requests = [
                {"jsonrpc": "2.0", "id": f"{number}-{place}", "method": "tools/call", "params": call}
                for place, call in enumerate(calls)
            ]
            client.raw(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
            assert "stubborn" in client.answer(f"{number}-1")["result"]["content"][0]["text"]
            client.notify("notifications/cancelled", {"requestId": f"{number}-0"})
        assert time.monotonic() - began < 60


def test_a_timeout_of_less_than_a_millisecond_is_a_timeout(desk: Desk) -> None:
    desk.program("tool", "import time\ntime.sleep(20)\n")
    with desk.serve("commands: {tool: {exec: {in: workspace, find: tool}}}\n") as work:
        answer = work.client.call("run_command", {"command": "tool", "timeout": 0.0001})
    assert answer["structuredContent"]["endedBy"] == "time"
