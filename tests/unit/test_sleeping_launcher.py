"""The launcher of a server that may never need it: it sleeps, is woken once, and goes when its server goes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import Layer, Own
from fsserver.policy.searching import Ripgrep, search_commands
from fsserver.sandbox import launching, messages
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.runner import Request
from tests.cells import Setting, bootstrap
from tests.support import let_no_thread_begin
from tests.trees import rules


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[LauncherRunner]:
    (tmp_path / "work").mkdir()
    start = bootstrap(tmp_path, [], [rules(tmp_path / "work")], Setting(Layer.FULL, root=os.geteuid() == 0))
    start = replace(start, own=search_commands(start.policy, Ripgrep(None, "it is not needed")))
    with closing(LauncherRunner(start, asleep=True)) as asleep:
        yield asleep


def test_it_ends_where_it_sleeps_when_the_server_is_gone() -> None:
    ours, theirs = messages.pair()
    policy = os.memfd_create("no policy, so that it would fail if it read it")
    pid = launching._spawn(policy, theirs.fileno(), asleep=True)
    theirs.close()
    os.close(policy)
    ours.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_two_searches_at_once_wake_it_once(runner: LauncherRunner) -> None:
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)
        runner.listen()

    runner.on_first_use = wake
    both = threading.Barrier(2)
    statuses: list[int | None] = []

    def search() -> None:
        both.wait(10)
        running = runner.start(Request(Own.NAMES, ("--match=x",), "work", "", 5.0))
        with closing(running):
            ending = running.wait(20)
            statuses.append(None if ending is None else ending.exit_code)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [0, 0]
    assert woken == [1]


def test_one_that_was_killed_in_its_sleep_is_said_not_to_have_started(runner: LauncherRunner) -> None:
    runner.on_first_use = runner.listen
    os.kill(runner._pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(SandboxSetupError, match="did not start"):
            runner.start(Request(Own.NAMES, ("--match=x",), "work", "", 5.0))
    assert runner.unavailable == "The launcher of commands did not start."


def test_where_no_thread_can_begin_the_next_command_is_the_first(
    runner: LauncherRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.on_first_use = runner.listen
    request = Request(Own.NAMES, ("--match=x",), "work", "", 5.0)
    with monkeypatch.context() as patch:
        let_no_thread_begin(patch)
        with pytest.raises(RuntimeError):
            runner.start(request)
    with closing(runner.start(request)) as running:
        ending = running.wait(10)
    assert ending is not None
    assert ending.exit_code == 0
