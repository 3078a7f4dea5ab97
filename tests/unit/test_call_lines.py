"""The line for each call on standard error: what is in it, and that it keeps nobody waiting. In processes of their own,
whose standard error it is.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY

BEGIN = """
import logging, sys, time
from fsserver.telemetry.calls import CallLines
from fsserver.telemetry.logging import configure
from fsserver.telemetry.seen import Decision, Seen

configure()
lines = CallLines()
TRACE = "a" * 32
SEEN = Seen(7, "read_text_file", None, "s1", "alice", "4f2a", TRACE, Decision.ALLOWED, None, None, 0.0123456, 42, False)
"""


def run(code: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    program = BEGIN + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=True
    )


def told(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code).stderr.splitlines()]


def test_line_says_who_called_what_and_how_it_went() -> None:
    (line,) = told("lines.over(SEEN)")
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "call",
        "logger": "fsserver.calls",
        "call": 7,
        "tool": "read_text_file",
        "principal": "alice",
        "session": "s1",
        "decision": "allowed",
        "outcome": "ok",
        "duration_ms": 12.346,
        "result_bytes": 42,
        "request_id": "4f2a",
        "trace_id": "a" * 32,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            "decision=Decision.DENIED, code='denied.protected', rule='p.yaml:3', is_error=True",
            {"decision": "denied", "outcome": "error", "code": "denied.protected", "rule": "p.yaml:3"},
        ),
        ("decision=Decision.ASKED", {"decision": "asked", "outcome": "asked"}),
        ("code='command.time', is_error=True", {"decision": "allowed", "outcome": "error", "code": "command.time"}),
        ("via='resources/read'", {"via": "resources/read", "tool": "read_text_file"}),
    ],
    ids=["denied", "asked", "a command out of time", "a resource"],
)
def test_line_of_a_call_that_went_otherwise(changes: str, said: dict[str, str]) -> None:
    (line,) = told(f"lines.over(SEEN._replace({changes}))")
    assert {key: line[key] for key in said} == said


def test_call_that_comes_again_has_no_line_of_its_own() -> None:
    assert told("lines.over(SEEN._replace(decision=Decision.ASKED, again=True))") == []


def test_calls_have_lines_whatever_other_messages_need() -> None:
    lines = told("logging.getLogger('fsserver.other').info('unheard'); lines.over(SEEN)")
    assert [line["logger"] for line in lines] == ["fsserver.calls"]


def test_name_that_a_client_invented_makes_no_second_line() -> None:
    (line,) = told(r"""lines.over(SEEN._replace(tool='x\n{"event": "call"}', principal='\x1b[2J\u202e'))""")
    assert line["tool"] == 'x\n{"event": "call"}'


def test_name_that_a_client_invented_does_nothing_to_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        run(r"""lines.over(SEEN._replace(tool='x\x1b[2J\nforged', principal='\u202e'))""", stderr=theirs)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "x\\x1b[2J\\nforged" in shown
    assert "\\u202e" in shown
    assert shown.count("\n") == 1
    assert "\x1b[2J" not in shown


def test_standard_error_that_nobody_reads_keeps_no_call_waiting() -> None:
    reader, writer = os.pipe()
    try:
        began = time.monotonic()
        done = run("for _ in range(5000): lines.over(SEEN)\nprint('through')", stderr=writer)
        assert done.stdout == b"through\n"
        assert time.monotonic() - began < 30
        lines = os.read(reader, 1 << 20).splitlines()
    finally:
        os.close(reader)
        os.close(writer)
    assert len(lines) < 5000
    assert {json.loads(line)["event"] for line in lines} == {"call"}, "each that was written is whole"


def test_a_line_begins_anew_after_one_that_was_cut_off() -> None:
    done = run("""
        import os
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        for _ in range(3):
            logging.getLogger("x").error("x" * 50_000)
        torn = os.read(reader, 1 << 20)
        lines.over(SEEN)
        sys.stdout.buffer.write(torn + os.read(reader, 1 << 20))
    """)
    whole, cut, last = done.stdout.splitlines()
    assert [json.loads(line)["level"] for line in (whole, last)] == ["error", "info"]
    assert 0 < len(cut) < len(whole)


def test_standard_error_that_is_closed_harms_no_call(tmp_path: Path) -> None:
    done = run("import os; os.close(2)\nlines.over(SEEN)\nprint('through')")
    assert done.stdout == b"through\n"
