"""A web server and a program that reads its input, started in the background, used, listed and ended."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.support import wait_until
from tests.work.desk import PYTHON, Desk, Work

# It serves this directory, asks itself as soon as it can be asked, and once more for each line that it is told.
SITE = """
import http.server, sys, threading, urllib.request
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", flush=True)
for line in sys.stdin:
    with urllib.request.urlopen("http://localhost:8000/" + line.strip()) as answer:
        print(answer.status, answer.read().decode(), flush=True)
print("closed", flush=True)
"""


def policy(python: str = PYTHON) -> str:
    tool = "{exec: {in: workspace, find: %s}, args: any, background: true}"
    return f"commands: {{site: {tool % 'site'}, slow: {tool % 'slow'}}}\nlimits: {{background: 2}}\n"


@pytest.fixture
def project(desk: Desk) -> Desk:
    desk.program("site", SITE)
    desk.program("slow", "import time\nprint('waiting', flush=True)\ntime.sleep(3600)\n")
    desk.write("page.html", "hello")
    return desk


def read_until(work: Work, handle: str, text: str) -> str:
    """Its output from the beginning, once ``text`` is in it; follows it as a client would."""
    output, offset = "", 0

    def there() -> bool:
        nonlocal output, offset
        read = work.structured("read_process", handle=handle, offset=offset, wait=1)
        output, offset = output + read["output"], read["nextOffset"]
        return text in output

    wait_until(there, f"the process writes {text!r}", timeout_s=20)
    return output


def test_a_server_on_loopback_is_asked_told_listed_and_stopped(project: Desk) -> None:
    with project.serve(policy()) as work:
        started = work.structured("start_process", command="site")
        handle = started["handle"]
        assert (started["state"], started["layer"]) == ("running", "full")
        assert "no other program can connect" in started["note"]
        read_until(work, handle, "serving\n")
        assert work.structured("write_process", handle=handle, input="page.html\n")["left"] == 0
        assert "200 hello\n" in read_until(work, handle, "200 hello\n")
        (row,) = work.structured("list_processes")["processes"]
        assert (row["handle"], row["command"], row["state"]) == (handle, "site", "running")
        stopped = work.structured("stop_process", handle=handle)
        assert (stopped["state"], stopped["signal"], stopped["endedBy"]) == ("exited", "SIGTERM", "cancelled")


def test_a_process_whose_input_is_closed_ends_by_itself(project: Desk) -> None:
    with project.serve(policy()) as work:
        handle = work.structured("start_process", command="site")["handle"]
        work.structured("write_process", handle=handle, input="", close=True)
        assert "closed\n" in read_until(work, handle, "closed\n")
        wait_until(
            lambda: work.structured("read_process", handle=handle, wait=1)["state"] == "exited", "the process ends"
        )
        assert work.structured("read_process", handle=handle)["exitCode"] == 0


def test_two_servers_take_the_same_port_and_one_command_more_is_refused(project: Desk) -> None:
    with project.serve(policy()) as work:
        handles = [work.structured("start_process", command="site")["handle"] for _ in range(2)]
        for handle in handles:
            read_until(work, handle, "serving\n")
        refused = work.error("start_process", command="slow")
        assert "limits.background" in refused["message"]
        assert "stop_process" in refused["allowedInstead"]


@pytest.mark.parametrize("end", ["end of input", "SIGTERM", "SIGKILL"])
def test_a_process_ends_with_its_server(project: Desk, end: str) -> None:
    with project.serve(policy()) as work:
        handle = work.structured("start_process", command="slow")["handle"]
        read_until(work, handle, "waiting\n")
        below = psutil.Process(work.client.process.pid).children(recursive=True)
        assert any(str(project.root / "slow") in child.cmdline() for child in below)
        if end == "end of input":
            work.client.close_input()
        else:
            work.client.signal(signal.Signals[end])
        work.client.wait()
        wait_until(lambda: not any(map(_runs, below)), "everything that it started has ended", timeout_s=5)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_directories_of_a_session_are_gone_with_it(project: Desk) -> None:
    with project.serve(policy()) as work:
        work.structured("start_process", command="slow")
        work.client.close_input()
        work.client.wait()
    assert not list(project.state.glob("cells/*"))
    assert list(project.state.glob("audit/*"))
