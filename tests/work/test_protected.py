"""Protected names as a user of commands meets them: what cannot be read, what a command made, and how that is told."""

from __future__ import annotations

import pytest

from tests.protocol.client import text_of
from tests.work.desk import Desk, Work

POLICY = "extends: [preset:secrets]\ncommands: {sh: {exec: {in: workspace, find: attempt}, args: any}}\n"


@pytest.fixture
def project(desk: Desk) -> Desk:
    desk.write("attempt", '#!/bin/sh\neval "$1"\n', mode=0o755)
    desk.write(".env", "TOKEN=SECRET\n")
    desk.write("a.txt", "harmless\n")
    return desk


def told(work: Work, script: str) -> tuple[int, list[str], str]:
    """The exit code, the protected names, and the line of the text that tells them."""
    result = work.client.call("run_command", {"command": "sh", "args": [script]})
    fields = result["structuredContent"]
    lines = [line for line in text_of(result).splitlines() if line.startswith("protected names")]
    return fields["exitCode"], fields["protected"], "".join(lines)


def test_names_are_told_where_they_explain_a_failure_or_were_taken_away(project: Desk) -> None:
    with project.serve(POLICY) as work:
        assert told(work, "cat a.txt") == (0, [], "")
        code, names, line = told(work, "cat .env")
        assert (code, names) == (1, ["workspace/.env"])
        assert line == "protected names that it could not see: workspace/.env"
        code, names, line = told(work, "echo x > .npmrc")
        assert (code, names) == (0, ["workspace/.npmrc"])
        assert line == "protected names that it made and that were moved to quarantine: workspace/.npmrc"
        code, names, line = told(work, "mkdir -p d/.ssh; exit 3")
        assert (code, names) == (3, ["workspace/d/.ssh", "workspace/.env"])
        assert "moved to quarantine: workspace/d/.ssh" in line
        assert "could not see: workspace/.env" in line
    assert sorted(path.name for path in project.root.iterdir()) == [".env", "a.txt", "attempt", "d"]
    assert (project.root / ".env").read_text() == "TOKEN=SECRET\n"
    assert {path.name for path in project.state.glob("quarantine/*/*")} >= {"1-.npmrc", "2-.ssh"}


def test_a_name_is_taken_when_its_command_has_ended_and_not_before(project: Desk) -> None:
    """Meanwhile cells are built for the next ones."""
    with project.serve(POLICY) as work:
        code, names, _ = told(work, "echo mine > .npmrc; sleep 0.5; grep mine .npmrc")
        assert (code, names) == (0, ["workspace/.npmrc"])


def test_a_signal_that_is_no_limits_of_the_policy_is_told_as_a_signal(project: Desk) -> None:
    with project.serve(POLICY) as work:
        ran = work.run("sh", "ulimit -f 1; exec dd if=/dev/zero of=/tmp/x bs=1M count=1")
        assert (ran["signal"], ran["endedBy"]) == ("SIGXFSZ", None)
