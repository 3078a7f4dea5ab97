"""query, tail and explain over real logs and hostile ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsserver.audit.following import Follower
from fsserver.audit.query import MOST_OPEN, Query, search
from fsserver.audit.reading import Reader
from fsserver.audit.record import Json
from fsserver.cli.audit import audit_group
from fsserver.errors import AuditError
from tests.audit_logs import open_directory, open_file, sealed
from tests.audit_sample import write_sample
from tests.support import wait_until

WHO: dict[str, Json] = {"session": "s1", "principal": "ci"}
STAGE: dict[str, Json] = {
    "command": "make",
    "argv": ["/usr/bin/make", "all"],
    "root": "app",
    "directory": "",
    "paths": 0,
}


def path(name: str, action: str = "read") -> dict[str, Json]:
    return {"parameter": "path", "root": "app", "name": name, "action": action, "file": "1:2", "rule": "p.yaml:7"}


def read(call: int, name: str, **more: Json) -> dict[str, Json]:
    fields: dict[str, Json] = {"event": "call.outcome", "call": call, "tool": "read_text_file", **WHO, "ok": True}
    return {**fields, "arguments": {"path": name}, "paths": [path(name)], "duration_us": 150, **more}


EVENTS: list[dict[str, Json]] = [
    {
        "event": "run.start",
        "run": "r1",
        "policy": "p",
        "fsserver": "1",
        "host": "h",
        "time": "2026-01-01T10:00:00.000000Z",
    },
    read(1, "src/a.py", time="2026-01-01T10:00:01.000000Z"),
    {"event": "call.intent", "call": 2, "tool": "edit_file", **WHO, "paths": [path("src/b.py", "edit")]},
    {"event": "call.intent", "call": 3, "tool": "run_command", **WHO, "principal": "eve", "commands": [STAGE]},
    {
        "event": "call.outcome",
        "call": 2,
        "tool": "edit_file",
        "session": "s1",
        "ok": False,
        "error": "resource.no_space",
    },
    {"event": "call.outcome", "call": 3, "tool": "run_command", "session": "s1", "ok": True, "exit": 0},
    {
        "event": "call.refused",
        "call": 4,
        "tool": "write_file",
        **WHO,
        "session": "s2",
        "arguments": {"path": "/etc/passwd"},
        "paths": [],
        "ok": False,
        "error": "denied.outside_roots",
        "reason": "Access denied - path outside allowed directories: /etc/passwd",
        "rule": None,
        "time": "2026-01-01T12:00:00.000000Z",
    },
    {"event": "call.intent", "call": 5, "tool": "delete_file", **WHO, "paths": [path("docs/old.md", "delete")]},
]


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # a test runner may set it, and rows would be cut to it


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log.jsonl"
    file.write_bytes(sealed(EVENTS))
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit_group, [str(each) for each in arguments])


def numbers(*arguments: object) -> list[int]:
    """The numbers of the records that a query finds."""
    result = run("query", *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return [json.loads(line)["seq"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param([], [1, 2, 3, 5, 4, 6, 7, 8], id="everything, each intent before its outcome"),
        pytest.param(["--tool", "edit_file"], [3, 5], id="a tool"),
        pytest.param(["--tool", "edit_file", "--tool", "write_file"], [3, 5, 7], id="either of two tools"),
        pytest.param(["--decision", "ok"], [2, 4, 6], id="what succeeded"),
        pytest.param(["--decision", "failed"], [3, 5], id="what failed"),
        pytest.param(["--decision", "refused"], [7], id="what was refused"),
        pytest.param(["--event", "call.intent"], [3, 4, 8], id="intents are rows where they are asked for"),
        pytest.param(["--event", "run.start"], [1], id="an event of no call"),
        pytest.param(["--path", "*.py"], [2, 3, 5], id="a name at any depth, also where only the intent has it"),
        pytest.param(["--path", "/src/a.*"], [2], id="a name from the root"),
        pytest.param(["--path", "src"], [2, 3, 5], id="what is below a directory"),
        pytest.param(["--path", "/etc/**"], [7], id="a path that is in no root"),
        pytest.param(["--path", "old.md"], [8], id="a call without an end"),
        pytest.param(["--principal", "eve"], [4, 6], id="a principal, which only the intent has"),
        pytest.param(["--session", "s2"], [7], id="a session"),
        pytest.param(["--command", "make"], [4, 6], id="a command"),
        pytest.param(["--command", "ma"], [], id="a command is its whole name"),
        pytest.param(["--since", "2026-01-01T11:00:00Z"], [7], id="since a time"),
        pytest.param(
            ["--until", "2026-01-01T11:00:01+01:00", "--since", "2026-01-01T10:00:01Z"], [2], id="between times"
        ),
        pytest.param(["--since", "1h"], [], id="newer than an hour"),
        pytest.param(["--limit", "2"], [1, 2], id="the first two"),
        pytest.param(["--tool", "edit_file", "--decision", "ok"], [], id="options narrow each other"),
    ],
)
def test_query_finds(log: Path, options: list[str], found: list[int]) -> None:
    assert numbers(log, *options) == found


def test_ages_are_counted_back_from_now(tmp_path: Path) -> None:
    hours = [datetime.now(UTC) - timedelta(hours=each) for each in (30, 5, 1)]
    events = [{**EVENTS[min(place, 1)], "time": at.isoformat()} for place, at in enumerate(hours)]
    (tmp_path / "a.jsonl").write_bytes(sealed(events))
    assert [numbers(tmp_path / "a.jsonl", "--since", age) for age in ("2d", "6h", "90m")] == [[1, 2, 3], [2, 3], [3]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tool", "raed_file"], "Did you mean read_file?"),
        (["--decision", "refusd"], "Did you mean refused?"),
        (["--event", "call.outcom"], "Did you mean call.outcome?"),
        (["--format", "csv"], "There are: table, json."),
        (["--since", "yesterday"], "neither a time as 2026-11-23T16:42:00Z nor an age"),
        (["--since", "2026-01-01T11:00:00"], "has no zone: write 2026-01-01T11:00:00Z"),
        (["--since", "2026-01-01"], "has no zone: write 2026-01-01T00:00:00Z for UTC"),
        (["--until", "999999999w"], "neither a time"),
        (["--path", "a//b"], "a glob holds no empty"),
        (["--path", "{a,b}"], "braces do not list alternatives"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_query_refuses(log: Path, options: list[str], said: str) -> None:
    result = run("query", log, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_an_intent_and_its_outcome_are_one_row(log: Path) -> None:
    rows = run("query", log).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["1", "2", "5", "6", "7", "8"]
    assert "failed" in rows[2]
    assert "app/src/b.py" in rows[2]
    assert "make all; exit code 0" in rows[3]
    assert "begins" in rows[5]


@pytest.mark.parametrize("columns", [20, 40, 80, 132])
def test_rows_fit_the_terminal(log: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    longest = max(len(row) for row in run("query", log).stdout.splitlines())
    assert longest <= max(columns, 75)  # what is not cut: number, time, tool, result, and a word of the details


def test_a_directory_is_read_in_the_order_of_its_runs(tmp_path: Path) -> None:
    for name, hour in (("a.jsonl", 12), ("b.jsonl", 10), ("c.jsonl", 11)):
        start = {**EVENTS[0], "run": name, "time": f"2026-01-01T{hour}:00:00.000000Z"}
        (tmp_path / name).write_bytes(sealed([start]))
    result = run("query", tmp_path, "--format", "json")
    assert [json.loads(line)["run"] for line in result.stdout.splitlines()] == ["b.jsonl", "c.jsonl", "a.jsonl"]
    assert [row for row in run("query", tmp_path).stdout.splitlines() if row.endswith("jsonl") and " " not in row] == [
        "b.jsonl",
        "c.jsonl",
        "a.jsonl",
    ]


def test_rotated_files_are_read_with_their_first(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    for number in range(30):
        log.append("call.outcome", {"call": number, "tool": "read_file", "ok": True})
    log.close()
    assert len(list((tmp_path / "audit").iterdir())) > 2
    calls = [
        json.loads(line)["call"]
        for line in run("query", log.path, "--decision", "ok", "--format", "json").stdout.splitlines()
    ]
    assert calls == list(range(30))
    assert run("query", tmp_path / "audit", "--decision", "ok", "--format", "json").stdout.count("\n") == 30


def test_half_a_line_is_not_there_yet_and_what_is_no_record_is_counted(log: Path) -> None:
    with open(log, "ab") as stream:
        stream.write(b'not json\n{"event":"call.outc')
    result = run("query", log, "--decision", "ok")
    assert result.exit_code == 0
    assert "One line is no record" in result.stderr
    assert "call.outc" not in result.output


@pytest.mark.parametrize("verb", ["query", "tail"])
def test_log_that_leads_back_into_itself_is_shown_once(tmp_path: Path, verb: str) -> None:
    for name, following in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.jsonl").write_bytes(sealed([{"event": "log.rotated", "next": f"{following}.jsonl"}]))
    command = [sys.executable, "-m", "fsserver", "audit", verb, str(tmp_path / "a.jsonl")]
    shown = subprocess.run(command, capture_output=True, timeout=10, check=True).stdout.decode()
    assert [row.split()[4] for row in shown.splitlines()] == ["b.jsonl", "a.jsonl"]


@pytest.mark.parametrize("verb", ["query", "tail", "explain"])
@pytest.mark.parametrize("missing", ["nothing", "empty-directory", "fifo"])
def test_what_is_no_log_is_said(tmp_path: Path, verb: str, missing: str) -> None:
    (tmp_path / "empty-directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    result = run(verb, tmp_path / missing, *(["1"] if verb == "explain" else []))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


def test_constant_memory_however_many_calls_never_end(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    intent = {"event": "call.intent", "tool": "edit_file", "arguments": {"path": "x" * 2000}}
    with open(file, "wb") as stream:
        stream.writelines(
            json.dumps({"seq": number + 1, "call": number, **intent}).encode() + b"\n"
            for number in range(4 * MOST_OPEN)
        )
    tracemalloc.start()
    try:
        count = sum(1 for _ in search(Reader(str(file)).entries(), Query()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 4 * MOST_OPEN
    assert peak < 40 * 1024**2


# --- tail


def test_tail_shows_the_newest_records_of_the_newest_run(tmp_path: Path) -> None:
    for number in range(3):
        log = open_directory(tmp_path / "audit", run_id=f"run-{number}")
        for call in range(5):
            log.append("call.outcome", {"call": call, "tool": "read_file", "ok": True})
        log.close()
    newest = os.path.basename(log.path)
    rows = run("tail", tmp_path / "audit", "-n", "3").stdout.splitlines()
    assert rows[0] == newest
    assert [row.split()[0] for row in rows[1:]] == ["5", "6", "7"]
    assert run("tail", log.path, "-n", "0").stdout == ""


def test_following_goes_on_through_rotation_and_into_the_next_run(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit", max_size=2500)
    follower = Follower(str(tmp_path / "audit"))
    seen = [entry.record["seq"] for entry in follower.newest(10)]
    for number in range(25):
        log.append("call.outcome", {"call": number, "tool": "read_file", "ok": True})
        if number % 4 == 0:
            seen += [entry.record["seq"] for entry in follower.more()]
    log.close()
    seen += [entry.record["seq"] for entry in follower.more()]
    assert seen == list(range(1, len(seen) + 1))
    assert len(list((tmp_path / "audit").iterdir())) > 2
    second = open_directory(tmp_path / "audit", run_id="second")
    assert [entry.record.get("run") for entry in follower.more()] == ["second"]
    second.close()
    assert [entry.record["event"] for entry in follower.more()] == ["run.end"]
    follower.close()


def test_query_looks_through_the_other_files_where_one_cannot_be_read(tmp_path: Path) -> None:
    open_directory(tmp_path / "audit").close()
    (tmp_path / "audit/strange.jsonl").mkdir()
    found = run("query", tmp_path / "audit", "--event", "run.end")
    assert (found.exit_code, found.stderr) == (2, "Error: 'strange.jsonl' cannot be read: not a regular file.\n")
    assert "run.end" in found.stdout


def test_what_is_no_regular_file_is_told_as_that() -> None:
    assert run("query", "/dev/null").stderr == "Error: '/dev/null' cannot be read: not a regular file.\n"


def test_following_opens_no_ended_run_while_none_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        open_directory(tmp_path / "audit").close()
    follower = Follower(str(tmp_path / "audit"))
    assert [*follower.newest(0), *follower.more()] == []
    monkeypatch.setattr("fsserver.audit.reading.opened", pytest.fail)
    assert list(follower.more()) == []
    follower.close()


def test_following_ends_where_the_directory_is_gone(tmp_path: Path) -> None:
    open_directory(tmp_path / "audit").close()
    follower = Follower(str(tmp_path / "audit"))
    shutil.rmtree(tmp_path / "audit")
    with pytest.raises(AuditError, match=r"audit' cannot be read: No such file or directory\."):
        list(follower.more())


def test_a_line_is_followed_when_it_has_its_end(log: Path) -> None:
    follower = Follower(str(log))
    follower.newest(0)
    line = sealed([{"event": "run.end"}])
    with open(log, "ab", buffering=0) as stream:
        stream.write(line[:20])
        assert list(follower.more()) == []
        stream.write(line[20:])
        assert [entry.record["event"] for entry in follower.more()] == ["run.end"]
    follower.close()


def test_tail_follows_until_it_is_interrupted(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "audit")
    output = tmp_path / "output"
    with open(output, "wb") as stream:
        command = [sys.executable, "-m", "fsserver", "audit", "tail", "-f", str(tmp_path / "audit")]
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        following = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until(lambda: b"run.start" in output.read_bytes(), "the first record is shown")
        log.append("call.outcome", {"call": 1, "tool": "search_files", "ok": True})
        wait_until(lambda: b"search_files" in output.read_bytes(), "a record of the same run is shown")
        log.close()
        second = open_directory(tmp_path / "audit", run_id="the-second")
        wait_until(lambda: b"the-second" in output.read_bytes(), "the next run is shown")
        second.close()
        following.send_signal(signal.SIGINT)
        following.wait(timeout=10)
    finally:
        following.kill()
        following.wait()
    assert b"Traceback" not in output.read_bytes()
    assert following.returncode == 130


def test_tail_of_what_is_no_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a\nb\n")
    result = run("tail", tmp_path / "notes")
    assert (result.exit_code, result.output) == (
        0,
        "2 lines are no records. `fsserver audit verify` says what is wrong.\n",
    )


@pytest.mark.parametrize("verb", ["verify", "head", "report", "query", "tail"])
def test_output_that_cannot_be_written_is_no_verdict(tmp_path: Path, verb: str) -> None:
    """Code 1 would say that the log was tampered with: a reader that went away is silent, a full disk is an error."""
    open_directory(tmp_path / "audit").close()
    command = [sys.executable, "-m", "fsserver", "audit", verb, str(tmp_path / "audit")]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stream:
        gone = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (gone.returncode, gone.stderr) == (0, b"")
    with open("/dev/full", "wb") as stream:
        full = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (full.returncode, full.stderr) == (
        2,
        b"Error: standard output cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize(("verb", "closed"), [("tail", 1), ("query", 1), ("report", 2)])
def test_closed_standard_stream_is_no_verdict(tmp_path: Path, verb: str, closed: int) -> None:
    open_directory(tmp_path / "audit").close()
    command = [sys.executable, "-m", "fsserver", "audit", verb, str(tmp_path / "audit")]
    closing = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command]
    ended = subprocess.run(closing, capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_refused_command_is_shown_as_it_was_asked_for(tmp_path: Path) -> None:
    refused: dict[str, Json] = {"call": 1, "tool": "run_command", "ok": False, "error": "denied.command", "rule": "p:1"}
    where: Json = [{"parameter": "cwd", "root": "app", "name": "", "action": "list", "file": None, "rule": None}]
    one: Json = {"command": "git", "args": ["push", "a b"]}
    log = open_directory(tmp_path / "audit")
    log.append("call.refused", {**refused, "paths": where, "arguments": one})
    log.append("call.refused", {**refused, "paths": where, "arguments": {"stages": [one, {"command": "wc"}]}})
    log.close()
    shown = run("query", tmp_path / "audit", "--decision", "refused").output
    assert "refused  git push 'a b'; denied.command" in shown
    assert "refused  git push 'a b' | wc; denied.command" in shown


def test_resource_is_found_by_its_name_and_told_as_one(tmp_path: Path) -> None:
    who: dict[str, Json] = {"call": 1, "tool": "read_text_file", **WHO, "via": "resources/read"}
    asked: Json = {"uri": "file:///etc/passwd"}
    log = open_file(tmp_path / "a.jsonl")
    log.append("call.refused", {**who, "arguments": asked, "paths": [], "ok": False, "error": "e", "rule": None})
    log.close()
    for glob, count in (("passwd", 1), ("/etc/**", 1), ("*.py", 0)):
        assert run("query", tmp_path / "a.jsonl", "--path", glob).stdout.count("file:///etc/passwd") == count
    assert "called read_text_file by a request resources/read; it is call 1." in explained(tmp_path / "a.jsonl", 2)


@pytest.mark.parametrize(
    "asked",
    [
        {"uri": "file:///etc/%70assw%64"},
        {"uri": "FILE://LocalHost/etc/passwd"},
        {"uri": "file:/etc/passwd"},
        {"uri": "file://example.com/etc/passwd"},
        {"uri": "file:///etc/x%2F..%2fpasswd"},
        {"path": "/etc/%70asswd"},
    ],
    ids=str,
)
def test_no_spelling_hides_a_refused_request_from_a_search_by_name(asked: dict[str, Json], tmp_path: Path) -> None:
    who: dict[str, Json] = {"call": 1, "tool": "read_text_file", **WHO, "via": "resources/read"}
    log = open_file(tmp_path / "a.jsonl")
    log.append("call.refused", {**who, "arguments": asked, "paths": [], "ok": False, "error": "e", "rule": None})
    log.close()
    for glob in ("passwd", "/etc/**"):
        assert "refused" in run("query", tmp_path / "a.jsonl", "--path", glob).stdout, glob


# --- explain


def explained(file: Path, seq: int) -> str:
    result = run("explain", file, seq)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    directory.chmod(0o700)
    write_sample(directory / "log.jsonl")
    return directory / "log.jsonl"


def seq_of(file: Path, **fields: Json) -> int:
    records = [json.loads(line) for line in file.read_bytes().splitlines()]
    return next(int(each["seq"]) for each in records if all(each.get(key) == value for key, value in fields.items()))


def test_explaining_an_outcome_tells_its_whole_story(sample: Path) -> None:
    text = explained(sample, seq_of(sample, event="call.outcome", tool="delete_file"))
    for part in (
        "Claude Code 2.1.0, protocol 2025-11-25 (session s1, for ci) called delete_file",
        "path = /work/invoices/src/invoices/export.py",
        "It succeeded",
        "delete invoices/src/invoices/export.py: rule invoices.yaml:12",
        "A person was asked: delete:",
        "The answer was: accepted",
        "The policy of this run: invoices, digest ",
        "deleted invoices/src/invoices/export.py",
        "SHA-256 ",
        "after:  not there",
        "The server is confined in layer full; not enforced: stat (record 2).",
        "its bytes give that hash",
        "It carries the hash of the record before it",
        "This run has no key",
    ):
        assert part in text, part


def test_explaining_an_intent_tells_what_came_of_it(sample: Path) -> None:
    seq = seq_of(sample, event="call.intent", tool="run_command")
    text = explained(sample, seq)
    assert "Command pytest in invoices: pytest -q" in text
    assert "It succeeded (record " in text
    assert "exit code 0" in text


@pytest.mark.parametrize(
    ("seq", "said"),
    [
        (1, "It is the first of its chain."),
        (7, "It was refused before anything was done."),
        (7, "Reason: Access denied - path outside allowed directories: /etc/passwd (denied.outside_roots)"),
        (8, "What came of it is not in the log"),
        (5, "It failed.\n"),
    ],
)
def test_explaining_says(log: Path, seq: int, said: str) -> None:
    assert said in explained(log, seq)


def test_explaining_finds_the_signature_that_covers_a_record(tmp_path: Path) -> None:
    start: dict[str, Json] = {**EVENTS[0], "key": "k1"}
    sign: dict[str, Json] = {
        "event": "log.checkpoint",
        "signed_seq": 2,
        "signed_head": "x",
        "key": "k1",
        "signature": "",
    }
    (tmp_path / "a.jsonl").write_bytes(sealed([start, EVENTS[1], sign, EVENTS[1]]))
    assert "The signature of key k1 in record 3 covers it." in explained(tmp_path / "a.jsonl", 2)
    assert "No signature covers it yet." in explained(tmp_path / "a.jsonl", 4)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"tool":"read_text_file"', b'"tool":"read_text_fild"', "IT WAS CHANGED"),
        (b'"prev":"', b'"prev":"0', "IT WAS CHANGED"),
    ],
)
def test_explaining_a_changed_record_says_so(log: Path, old: bytes, new: bytes, said: str) -> None:
    log.write_bytes(log.read_bytes().replace(old, new))
    assert said in explained(log, 2)


def test_explaining_a_record_that_does_not_follow_says_so(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    assert "IT DOES NOT FOLLOW" in explained(log, 3)


def test_explaining_refuses_a_number_that_is_not_there_or_not_clear(tmp_path: Path, log: Path) -> None:
    assert "There is no record 99 here: the last one is 8." in run("explain", log, 99).stderr
    (tmp_path / "b.jsonl").write_bytes(sealed(EVENTS[:1]))
    assert "There are 2 runs here" in run("explain", tmp_path, 1).stderr


# --- hostile texts


def leaves(value: Json) -> Sequence[tuple[str, ...]]:
    if isinstance(value, Mapping):
        return [(key, *rest) for key, item in value.items() for rest in leaves(item)]
    return [()]


ACTING = "\x1b]0;owned\x07\x1b[31m\u202egnp.exe\u2066\x9b2J\r\n\u200b\udcff"


@pytest.mark.parametrize("number", range(1, len(EVENTS)))
def test_nothing_in_any_field_acts_on_the_terminal(tmp_path: Path, number: int) -> None:
    """Every text of a record is replaced, keys too, one record at a time."""
    keep = {"event", "time"}

    def poisoned(value: Json, key: str = "") -> Json:
        if isinstance(value, str):
            return value if key in keep else ACTING + value
        if isinstance(value, Mapping):
            return {
                (name if key == "" else name + ACTING * (key == "arguments")): poisoned(item, name)
                for name, item in value.items()
            }
        if isinstance(value, Sequence):
            return [poisoned(item, key) for item in value]
        return value

    event = poisoned(EVENTS[number])
    assert isinstance(event, dict)
    file = tmp_path / f"a{number}.jsonl"
    file.write_bytes(sealed([*EVENTS[:number], event]))
    for arguments in (["query", file], ["tail", file], ["explain", file, number + 1]):
        output = run(*arguments).stdout
        assert output
        assert all(each.isprintable() or each == "\n" for each in output), arguments


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [None, True, 7, -1, 2**63, [], ["x"], {}, {"a": {"b": []}}, "", "x" * 100_000, [[["x"]]]],
    ids=lambda value: repr(value)[:20],
)
def test_any_type_in_any_field_is_shown_and_bounded(tmp_path: Path, value: Json) -> None:
    fields = sorted({key for event in EVENTS for key in event} - {"event"} | {"changes", "client", "questions", "exit"})
    events = [{"event": event["event"], **dict.fromkeys(fields, value)} for event in EVENTS]
    extra = [
        {"event": name, **dict.fromkeys(fields, value)} for name in ("log.healed", "session.client", "log.removed")
    ]
    file = tmp_path / "a.jsonl"
    with open(file, "wb") as stream:
        stream.writelines(
            json.dumps({**event, "seq": seq}).encode() + b"\n" for seq, event in enumerate([*events, *extra], 1)
        )
    for arguments in (
        ["query", file],
        ["query", file, "--path", "*.py"],
        ["query", file, "--since", "1h"],
        ["tail", file],
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert len(result.stdout) < 40_000
    for seq in range(1, len(events) + 1):
        assert run("explain", file, seq).exit_code == 0
