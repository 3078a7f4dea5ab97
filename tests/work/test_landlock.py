"""Work on a machine without user namespaces, such as a container: less is stopped, that is said, and the tools work."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from tests.cells import PYTHON
from tests.support import wait_until
from tests.work.desk import Desk, Work

POLICY = """sandbox: {require: landlock, accept_uid0: true}
commands:
  sh: {exec: {in: workspace, find: attempt}, args: any}
  kept: {exec: {in: workspace, find: attempt}, args: any, home: kept}
  sockets: {exec: {in: workspace, find: attempt}, args: any, unix_sockets: true}
"""


@pytest.fixture
def project(desk: Desk) -> Desk:
    desk.write("attempt", '#!/bin/sh\neval "$1"\n', mode=0o755)
    return desk


def run(work: Work, script: str, command: str = "sh") -> str:
    ran = work.run(command, script)
    assert (ran["exitCode"], ran["layer"]) == (0, "landlock"), ran
    return str(ran["stdout"])


def test_a_day_of_work_in_layer_landlock(project: Desk) -> None:
    with project.serve(POLICY, layer="landlock") as work:
        run(work, "git init -q sub && cd sub && git commit -q --allow-empty -m x")
        assert run(work, "cd sub && git log --oneline | wc -l").strip() == "1"
        assert run(work, 'f=$(mktemp) && echo x > "$f" && cat "$f"') == "x\n"
        assert run(work, 'ls -A "$TMPDIR"; ls -A "$HOME"') == ".gitconfig\n"
        assert [run(work, 'echo x >> "$HOME/a"; wc -l < "$HOME/a"', "kept").strip() for _ in range(2)] == ["1", "2"]
        assert "sandbox layer landlock" in work.call("describe_policy")
        assert "Not enforced: " in work.call("describe_policy")
        assert work.run("sh", f"cat {project.base}/policy.yaml")["exitCode"] == 1
    wait_until(lambda: not list(project.state.glob("cells/*")), "the directories of the cells are gone")


def test_a_command_whose_root_has_protected_names_is_refused_there_with_what_allows_it(project: Desk) -> None:
    with project.serve("extends: [preset:secrets]\n" + POLICY, layer="landlock") as work:
        refused = work.error("run_command", command="sh", args=["true"])
        assert refused["code"] == "denied.unconfined"
        assert "accept_unprotected: true" in refused["allowedInstead"]


def test_a_command_that_may_have_sockets_reaches_none_outside_its_roots(project: Desk) -> None:
    with tempfile.TemporaryDirectory() as outside, socket.socket(socket.AF_UNIX) as listener:
        os.chmod(outside, 0o755)
        listener.bind(f"{outside}/socket")
        os.chmod(f"{outside}/socket", 0o777)
        listener.listen()
        text = f"import socket; socket.socket(socket.AF_UNIX).connect('{outside}/socket')"
        with project.serve(POLICY, layer="landlock") as work:
            assert "PermissionError" in work.run("sockets", f'{PYTHON} -c "{text}"')["stderr"]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
