"""What a client does with a call while it runs, pipelines, and how a command's end is told."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tests.protocol.client import text_of
from tests.support import wait_until
from tests.work.desk import Desk, Work

POLICY = """commands:
  count: {exec: {in: workspace, find: count}, args: any}
  upper: {exec: {in: workspace, find: upper}, args: any}
  git: {exec: /usr/bin/git, subcommands: {log: {flags: {--oneline: flag}}}}
  head: {exec: /usr/bin/head, args: {flags: {-n: {int: {min: 1, max: 100}}}}}
"""

COUNT = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in range(int(sys.argv[1])):
    print("line", number, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def project(desk: Desk) -> Desk:
    desk.program("count", COUNT)
    desk.program("upper", "import sys\nfor line in sys.stdin:\n    print(line.upper(), end='')\n")
    return desk


def processes_of(work: Work, name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(work.client.process.pid).children(recursive=True):
        try:
            found += [process] if any(word.endswith(f"/{name}") for word in process.cmdline()) else []
        except psutil.Error:
            continue
    return found


def test_progress_shows_the_newest_lines_while_the_command_runs(project: Desk) -> None:
    with project.serve(POLICY) as work:
        arguments = {"command": "count", "args": ["8", "0.1"]}
        call = work.client.start_call("run_command", arguments, _meta={"progressToken": "t"})
        result = work.client.answer(call)["result"]
        shown = [each["params"] for each in work.client.unexpected if each["method"] == "notifications/progress"]
        assert result["structuredContent"]["exitCode"] == 0
        assert len(shown) >= 2
        assert {each["progressToken"] for each in shown} == {"t"}
        newest = shown[-1]["message"].splitlines()
        assert newest
        assert all(line in result["structuredContent"]["stdout"].splitlines() for line in newest)
        moments = [each["progress"] for each in shown]
        assert moments == sorted(set(moments))


def test_a_cancelled_command_is_gone_within_a_second_though_it_ignores_sigterm(project: Desk) -> None:
    with project.serve(POLICY) as work:
        call = work.client.start_call("run_command", {"command": "count", "args": ["1000", "0.5"]})
        wait_until(lambda: bool(processes_of(work, "count")), "the command runs")
        running = processes_of(work, "count")
        work.client.notify("notifications/cancelled", {"requestId": call, "reason": "enough"})
        began = time.monotonic()
        wait_until(lambda: not any(each.is_running() for each in running), "the command is gone")
        assert time.monotonic() - began < 2
        assert work.run("count", "1", "0")["exitCode"] == 0, "the next call works"


def test_a_pipeline_hands_on_bytes_and_its_first_stages_end_with_the_last(project: Desk) -> None:
    project.run("git", "init", "-q")
    for number in range(3):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        project.run("git", *identity, "commit", "-q", "--allow-empty", "-m", f"number {number}")
    with project.serve(POLICY) as work:
        stages = [{"command": "git", "args": ["log", "--oneline"]}, {"command": "head", "args": ["-n", "1"]}]
        piped = work.structured("run_pipeline", stages=[*stages, {"command": "upper"}])
        assert piped["stdout"].endswith(" NUMBER 2\n")
        assert [(stage["command"], stage["layer"]) for stage in piped["stages"]] == [
            ("git", "full"),
            ("head", "full"),
            ("upper", "full"),
        ]
        endless = [{"command": "count", "args": ["100000", "0"]}, {"command": "head", "args": ["-n", "2"]}]
        assert work.structured("run_pipeline", stages=endless)["stdout"] == "line 0\nline 1\n"
        fed = work.structured("run_pipeline", stages=[{"command": "upper"}, {"command": "head"}], stdin="a\nb\n")
        assert fed["stdout"] == "A\nB\n"


def test_an_end_that_the_launcher_sees_late_is_told_as_it_was(project: Desk) -> None:
    with project.serve(POLICY) as work:
        (launcher,) = psutil.Process(work.client.process.pid).children()
        call = work.client.start_call("run_command", {"command": "count", "args": ["2", "0.2"]})
        wait_until(lambda: bool(processes_of(work, "count")), "the command runs")
        (running,) = processes_of(work, "count")
        launcher.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: not running.is_running(), "it has ended, and nobody has heard of it")
        finally:
            launcher.send_signal(signal.SIGCONT)
        ran = work.client.answer(call)["result"]["structuredContent"]
        assert (ran["exitCode"], ran["signal"], ran["stdout"]) == (0, None, "line 0\nline 1\n")


def test_a_longer_time_than_the_policys_is_refused_and_a_shorter_one_ends_the_command(project: Desk) -> None:
    with project.serve(POLICY + "limits: {time: 30s}\n") as work:
        refused = work.error("run_command", command="count", args=["1", "0"], timeout=31)
        assert refused["allowedInstead"] == "timeout up to 30"
        result = work.client.call("run_command", {"command": "count", "args": ["100", "0.1"], "timeout": 0.5})
        ran = result["structuredContent"]
        assert (result["isError"], ran["endedBy"]) == (True, "time")
        assert ran["stdout"].startswith("line 0\nline 1\n")
        assert "it reached its time limit" in text_of(result)
