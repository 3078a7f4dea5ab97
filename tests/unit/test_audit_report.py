"""audit report: its numbers, what it proves, and that no text of a log becomes anything else in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fsserver.audit.chain import GENESIS
from fsserver.audit.record import Json
from fsserver.audit.report import make_report
from fsserver.audit.report_changes import MOST_FILES
from fsserver.audit.report_markdown import escaped
from fsserver.audit.signing import PublicKey, generate
from fsserver.audit.tally import MOST_BUCKETS, Distinct, Histogram, Timeline, Top
from fsserver.cli.audit import audit_group
from tests.audit_logs import open_directory, open_file, sealed
from tests.audit_sample import write_sample
from tests.gates import served
from tests.trees import build, rules

WHO: dict[str, Json] = {"session": "s1", "principal": "ci"}
STATE: dict[str, Json] = {"bytes": 12, "sha256": "ab" * 32}
START: dict[str, Json] = {
    "event": "run.start",
    "run": "r1",
    "policy": "invoices",
    "policy_digest": "cd" * 32,
    "fsserver": "1.0",
    "host": "build-7",
}
CONFINED: dict[str, Json] = {"event": "run.confined", "layer": "full", "not_enforced": ["stat"]}
CLIENT: dict[str, Json] = {"event": "session.client", **WHO, "client": {"name": "Claude Code", "version": "2"}}
END: dict[str, Json] = {"event": "run.end"}


def outcome(call: int, tool: str, microseconds: int, **more: Json) -> dict[str, Json]:
    who: dict[str, Json] = {"event": "call.outcome", "call": call, "tool": tool, **WHO}
    return {**who, "ok": True, "duration_us": microseconds, **more}


def intent(call: int, tool: str, **more: Json) -> dict[str, Json]:
    return {"event": "call.intent", "call": call, "tool": tool, **WHO, **more}


def refused(call: int, error: str, rule: str | None, **more: Json) -> dict[str, Json]:
    fields: dict[str, Json] = {"event": "call.refused", "call": call, "tool": "write_file", **WHO, "ok": False}
    return {**fields, "error": error, "rule": rule, "reason": f"Access denied - {error}", "duration_us": 10, **more}


def change(name: str, before: Json, after: Json, how: str = "changed") -> dict[str, Json]:
    return {"root": "app", "name": name, "change": how, "before": before, "after": after}


def stage(command: str) -> dict[str, Json]:
    return {"command": command, "argv": [f"/usr/bin/{command}", "all"], "root": "app", "directory": "", "paths": 0}


HAND_MADE: list[dict[str, Json]] = [
    START,
    CONFINED,
    CLIENT,
    outcome(1, "read_text_file", 100, bytes=10),
    outcome(2, "read_text_file", 300, bytes=20),
    outcome(3, "read_text_file", 200, ok=False, error="resource.not_found"),
    refused(4, "denied.protected", "p.yaml:4"),
    refused(5, "denied.protected", "p.yaml:4"),
    refused(6, "denied.outside_roots", None),
    {
        "event": "call.refused",
        "call": 7,
        "tool": "read_multiple_files",
        **WHO,
        "path": "/x",
        "ok": False,
        "error": "denied.protected",
        "rule": "p.yaml:4",
    },
    outcome(7, "read_multiple_files", 50),
    intent(8, "edit_file"),
    outcome(8, "edit_file", 1000, changes=[change("a.py", STATE, {"bytes": 13, "sha256": "cd" * 32})]),
    intent(9, "edit_file"),
    outcome(
        9,
        "edit_file",
        1000,
        changes=[change("a.py", {"bytes": 13, "sha256": "cd" * 32}, STATE), change("b.py", None, STATE, "created")],
    ),
    intent(10, "delete_file"),
    outcome(
        10, "delete_file", 500, changes=[change("b.py", STATE, None, "deleted"), change("c.py", STATE, None, "deleted")]
    ),
    intent(11, "run_command", commands=[stage("make")]),
    outcome(11, "run_command", 2_000_000, exit=2, ended_by=None, cpu_ms=1500, stdout_bytes=100),
    intent(12, "run_command", commands=[stage("make")]),
    outcome(12, "run_command", 9_000_000, exit=None, signal="SIGKILL", ended_by="memory", cpu_ms=1),
    intent(13, "run_pipeline", commands=[stage("cat"), stage("make")]),
    outcome(13, "run_pipeline", 1000, exit=0, stages=[{"exit": 1, "ended_by": None}, {"exit": 0, "ended_by": None}]),
    refused(14, "limit.quota", None),
    {
        "event": "call.asked",
        "call": 15,
        "tool": "delete_file",
        **WHO,
        "questions": [{"what": "delete:\n/app/a", "rule": "p:1"}],
    },
    {"event": "call.consent", "call": 16, "tool": "delete_file", **WHO, "answer": "declined", "asked": 15},
    refused(16, "denied.consent", "p:1"),
    {"event": "log.healed", "at": "append", "error": "ENOSPC", "failed": 3, "cut_bytes": 0},
    intent(17, "write_file"),
    END,
]


def make(tmp_path: Path, events: Sequence[Mapping[str, Json]] = HAND_MADE, name: str = "log.jsonl") -> Path:
    file = tmp_path / name
    file.write_bytes(sealed(events))
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit_group, ["report", *(str(each) for each in arguments)])


def as_json(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--format", "json")
    assert result.stdout, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def as_html(tmp_path: Path, *arguments: object) -> str:
    result = run(*arguments, "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").exists(), result.output
    return (tmp_path / "report.html").read_text()


# --- Numbers


def test_the_numbers_are_those_of_a_log_made_by_hand(tmp_path: Path) -> None:
    made = as_json(make(tmp_path))
    assert {
        key: made[key] for key in ("records", "calls", "ok", "failed", "refused", "pathsRefused", "unfinished")
    } == {
        "records": 30,
        "calls": 15,
        "ok": 8,
        "failed": 2,
        "refused": 5,
        "pathsRefused": 1,
        "unfinished": 1,
    }
    tools = {each["tool"]: each for each in made["tools"]}
    assert tools["read_text_file"] == {
        "tool": "read_text_file",
        "calls": 3,
        "ok": 2,
        "failed": 1,
        "refused": 0,
        "bytes": 30,
        "p50Us": 204,
        "p95Us": 296,
        "maxUs": 300,
    }
    assert [(each["code"], each["rule"], each["count"], each["paths"]) for each in made["refusals"]] == [
        ("denied.protected", "p.yaml:4", 3, 1),
        ("denied.outside_roots", None, 1, 0),
        ("limit.quota", None, 1, 0),
        ("denied.consent", "p:1", 1, 0),
    ]
    assert [(each["code"], each["count"]) for each in made["limits"]] == [("memory limit", 1), ("quota of the root", 1)]
    commands = {each["command"]: (each["runs"], each["exits"]) for each in made["commands"]}
    assert commands == {"make": (3, {"2": 1, "memory limit": 1, "0": 1}), "cat": (1, {"1": 1})}
    assert [(each["seq"], each["durationUs"]) for each in made["slowest"]][:2] == [(21, 9_000_000), (19, 2_000_000)]
    assert [(each["tool"], each["about"], each["answer"]) for each in made["questions"]] == [
        ("delete_file", "delete: /app/a", "declined")
    ]
    assert [each["what"].split("(")[0] for each in made["gaps"]] == [
        "the log could not be written ",
        ": this call began, and what came of it is not in the log",
    ]


def test_each_file_is_told_once_from_its_first_state_to_its_last(tmp_path: Path) -> None:
    made = as_json(make(tmp_path))
    states = {
        each["name"]: (each["changes"], each["before"]["sha256"], each["after"]["sha256"]) for each in made["changes"]
    }
    assert states == {"a.py": (2, "ab" * 32, "ab" * 32), "b.py": (2, None, None), "c.py": (1, "ab" * 32, None)}
    assert made["changesCut"] == 0
    assert made["changesUnknown"] == 2
    sentence = "3 files changed: 1 was changed, 1 was deleted and 1 was created and deleted again."
    assert any(each.startswith(sentence) for each in made["summary"])


def test_moves_and_directories_are_told_as_what_became_of_them(tmp_path: Path) -> None:
    """The record of a move has the old name in `from`; that of a directory has no contents before or after."""
    folder = {"kind": "directory"}
    changes = [
        change("new", None, STATE, "created"),
        change("there", STATE, STATE, "moved") | {"from": "new"},
        change("b", STATE, STATE, "moved") | {"from": "a", "from_root": "lib"},
        change("there", STATE, None, "deleted"),
        change("made", None, None, "created") | folder,
        change("made/x", None, STATE, "created"),
        change("kept", None, None, "moved") | folder | {"from": "made"},
        change("old", None, None, "deleted") | folder,
        change("touched", {"bytes": 3, "cut": True}, STATE),
    ]
    made = as_json(make(tmp_path, [START, intent(1, "x"), outcome(1, "x", 1, changes=changes), END]))
    became = {
        f"{each['root']}/{each['name']}": (each["before"]["size"], each["after"]["size"], each["last"])
        for each in made["changes"]
    }
    size = f"{STATE['bytes']} bytes"
    assert became == {
        "app/b": ("not there", size, "moved from lib/a"),
        "app/kept": ("not there", "a directory", "moved from made"),
        "app/made": ("not there", "not there", "moved to kept"),
        "app/made/x": ("not there", "not there", "moved with made/ to kept/"),
        "app/new": ("not there", "not there", "moved to there"),
        "app/old": ("a directory", "not there", "deleted"),
        "app/there": ("not there", "not there", "deleted"),
        "app/touched": ("3 bytes, not hashed", size, "changed"),
        "lib/a": (size, "not there", "moved to app/b"),
    }
    sentence = (
        "9 files changed: 1 was changed, 2 were moved here, 1 was moved away, 1 was deleted, 3 were created and moved "
        "away and 1 was moved here and deleted again."
    )
    assert any(each.startswith(sentence) for each in made["summary"]), made["summary"]


def test_what_was_not_looked_at_is_not_called_unchanged(tmp_path: Path) -> None:
    """A root with too many names, or a command in the background: the list of changes is empty, and says why."""
    ended = outcome(1, "start_process", 1, changes=[], changes_cut="what it changes later is not looked at")
    log = make(tmp_path, [START, intent(1, "start_process"), ended, END])
    assert as_json(log)["changesUnknown"] == 1
    for text in (as_html(tmp_path, log), run(log).stdout):
        assert "No file was changed" not in text
        assert "Of 1 call the log does not say which files it changed" in text


def test_the_summary_is_in_sentences(tmp_path: Path) -> None:
    first, *rest = as_json(make(tmp_path))["summary"]
    assert first == "In less than a second, Claude Code 2 made 15 calls: 8 succeeded, 5 were refused and 2 failed."
    assert "A person had to be asked once, and agreed never." in rest
    assert rest[-1] == "All of it happened in a server that the kernel confined to its directories (layer full)."


def test_more_files_than_are_shown_are_counted(tmp_path: Path) -> None:
    events = [START]
    for number in range(MOST_FILES + 50):
        changes = [change(f"{number}.txt", None, STATE, "created")]
        events += [intent(number, "write_file"), outcome(number, "write_file", 1, changes=changes)]
    made = as_json(make(tmp_path, events))
    assert (len(made["changes"]), made["changesCut"], made["changesAtLeast"]) == (MOST_FILES, 50, False)


def test_runs_of_a_directory_are_told_apart(tmp_path: Path) -> None:
    for number in range(3):
        log = open_directory(tmp_path / "audit", run_id=f"r{number}")
        log.append("call.outcome", {"call": 1, "tool": "read_file", "ok": True, "duration_us": 1})
        if number < 2:
            log.close()
    made = as_json(tmp_path / "audit")
    assert [
        (each["run"], each["end"], each["calls"]) for each in sorted(made["runs"], key=lambda run: str(run["run"]))
    ] == [
        ("r0", "ended", 1),
        ("r1", "ended", 1),
        ("r2", "still running", 1),
    ]
    log.close()


def test_a_clock_that_was_set_back_is_told(tmp_path: Path) -> None:
    times = ["2026-01-01T10:00:00.000000Z", "2026-01-01T10:05:00.000000Z", "2026-01-01T10:01:00.000000Z"]
    events = [{**event, "time": at} for event, at in zip([START, CONFINED, END], times, strict=True)]
    made = as_json(make(tmp_path, events))
    assert [each["what"] for each in made["gaps"]] == ["the clock was set back by 4 min"]
    assert made["seconds"] == 300


def test_calls_through_the_gate_are_counted_as_the_client_saw_them(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    build(top, ["file a.txt one", "file .env SECRET"])
    with served(tmp_path, [rules(top, deny=["**/.env"])]) as gate:
        gate.text("read_text_file", path="a.txt")
        gate.text("write_file", path="new.txt", content="x")
        assert gate.error("read_text_file", path=".env")["code"] == "denied.protected"
        assert gate.error("read_text_file", path="/etc/passwd")["code"] == "denied.outside_roots"
        assert gate.error("read_text_file", path="nothing.txt")["code"] == "resource.not_found"
        assert gate.call("read_multiple_files", paths=["a.txt", ".env"]).is_error is False
    made = as_json(gate.log.path)
    counts = [made[key] for key in ("calls", "ok", "refused", "failed", "pathsRefused", "unfinished")]
    assert counts == [6, 3, 2, 1, 1, 0]
    groups = {each["code"]: (each["count"], each["paths"]) for each in made["refusals"]}
    assert groups == {"denied.protected": (2, 1), "denied.outside_roots": (1, 0)}


# --- Verdicts


def test_exit_code_and_first_words_are_those_of_the_verdict(tmp_path: Path) -> None:
    whole = make(tmp_path)
    lines = whole.read_bytes().splitlines(keepends=True)
    (tmp_path / "tampered.jsonl").write_bytes(b"".join([*lines[:9], lines[9].replace(b"1", b"2", 1), *lines[10:]]))
    (tmp_path / "torn.jsonl").write_bytes(b"".join(lines) + b'{"arg')
    for name, options, code, headline in (
        ("log", [], 0, "The log is whole"),
        ("log", ["--expect-head", json.loads(lines[4])["hash"]], 0, "The log is whole"),
        ("log", ["--expect-head", GENESIS], 3, "Part of the log is missing"),
        ("tampered", [], 1, "The log was tampered with"),
        ("torn", [], 4, "The log ends in the middle of a record"),
    ):
        result = run(tmp_path / f"{name}.jsonl", "--format", "json", *options)
        assert (result.exit_code, json.loads(result.stdout)["verdict"]["headline"]) == (code, headline)


def test_what_comes_after_a_changed_record_is_not_counted(tmp_path: Path) -> None:
    lines = make(tmp_path).read_bytes().splitlines(keepends=True)
    (tmp_path / "t.jsonl").write_bytes(b"".join([*lines[:6], lines[6].replace(b"p.yaml:4", b"p.yaml:5"), *lines[7:]]))
    made = as_json(tmp_path / "t.jsonl")
    assert (made["records"], made["calls"], made["refused"]) == (6, 3, 0)
    assert made["runs"][0]["end"] == "not read to its end: see the verdict"
    assert any("record 7 was changed" in each for each in made["verdict"]["sentences"])
    assert "Everything below is from the sound records before that place only." in made["verdict"]["sentences"]


def test_a_head_that_was_kept_is_found(tmp_path: Path) -> None:
    file = make(tmp_path)
    head = json.loads(file.read_bytes().splitlines()[9])["hash"]
    sentences = as_json(file, "--expect-head", head)["verdict"]["sentences"]
    assert any(each.startswith("The head that was kept elsewhere is record 10") for each in sentences)
    assert any("20 records follow" in each for each in sentences)


@pytest.mark.parametrize("empty", ["no file", "empty file", "empty directory", "text"])
def test_what_is_no_log_is_refused_and_nothing_is_written(tmp_path: Path, empty: str) -> None:
    place = tmp_path / "log.jsonl"
    if empty == "empty directory":
        place.mkdir()
    elif empty != "no file":
        place.write_text("hello\n" if empty == "text" else "")
    result = run(place, "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert not (tmp_path / "report.html").exists()


def test_a_log_that_is_being_written_is_reported_up_to_now(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    log.append("call.outcome", {"call": 1, "tool": "read_file", "ok": True, "duration_us": 5})
    with open(log.path, "ab") as stream:
        stream.write(b'{"half')
    result = run(log.path, "--format", "json")
    made = json.loads(result.stdout)
    assert (result.exit_code, made["calls"], made["runs"][0]["end"]) == (4, 1, "still running")
    assert made["verdict"]["headline"] == "The log is sound, and is being written"


def signed(directory: Path, *, by: str = "a") -> tuple[Path, str]:
    """A log with a good signature, of a server that was killed, and the public key of ``by``."""
    signers = {name: generate(str(directory / f"{name}.key"), str(directory / f"{name}.pub")) for name in ("a", "b")}
    public = signers["a"].public
    start = {**START, "key": public.id, "public_key": public.text}
    head = json.loads(sealed([start, CONFINED]).splitlines()[-1])["hash"]
    fields: dict[str, Json] = {"signed_seq": 2, "signed_head": head, "key": signers["a"].public.id}
    checkpoint = {"event": "log.checkpoint", **fields, "signature": signers["a"].sign("log.checkpoint", 2, head)}
    return make(directory, [start, CONFINED, checkpoint, outcome(1, "read_file", 1)]), str(directory / f"{by}.pub")


def test_signatures_are_checked_with_the_key_that_is_given(tmp_path: Path) -> None:
    file, key = signed(tmp_path)
    result = run(file, "--format", "json", "--public-key", key)
    made = json.loads(result.stdout)
    assert result.exit_code == 0
    assert "Signed by the given key" in made["signatures"]
    assert "2 records come after" in made["signatures"]
    assert "that the log itself names" in as_json(file)["signatures"]


def test_either_key_of_a_log_whose_key_was_changed_may_have_signed(tmp_path: Path) -> None:
    file, key = signed(tmp_path)
    result = run(file, "--format", "json", "--public-key", key, "--public-key", tmp_path / "b.pub")
    made = json.loads(result.stdout)
    assert (result.exit_code, made["verdict"]["tone"]) == (0, "good")
    assert f"Signed by the given key {PublicKey.load(key).id}: nobody" in made["signatures"]


@pytest.mark.parametrize(("case", "code"), [("another key", 1), ("no signature", 3)])
def test_signatures_that_are_not_there_are_a_bad_verdict(tmp_path: Path, case: str, code: int) -> None:
    file, key = signed(tmp_path, by="b")
    file = make(tmp_path, name="unsigned.jsonl") if case == "no signature" else file
    result = run(file, "--format", "json", "--public-key", key)
    made = json.loads(result.stdout)
    assert (result.exit_code, made["verdict"]["tone"]) == (code, "bad")


# --- The command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "html"], "HTML goes to a file"),
        (["-o", "report.txt"], "does not say which format"),
        (["--format", "htlm"], "Did you mean html?"),
        (["--public-key", "/nowhere"], "cannot be read"),
        (["--expect-head", "abc"], "64 hexadecimal digits"),
        (["-o", "/proc/nowhere/report.md"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, options: list[str], said: str) -> None:
    result = run(make(tmp_path), *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_report_never_takes_the_place_of_the_log(tmp_path: Path) -> None:
    log = make(tmp_path)
    (tmp_path / "link.json").symlink_to(log)
    before = log.read_bytes()
    for output in (log, tmp_path / "link.json", tmp_path / "log.0002.jsonl"):
        result = run(log, "-o", output, "--format", "json")
        assert result.exit_code == 2
        assert "is a file of the log" in result.output
    assert log.read_bytes() == before


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!doctype html>"), ("r.md", "## "), ("r.json", "{")])
def test_the_name_of_the_output_says_the_format(tmp_path: Path, name: str, start: str) -> None:
    assert run(make(tmp_path), "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / name).read_text().startswith(start)


# --- HTML

ALLOWED = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "http-equiv", "content", "name"},
    "title": set(),
    "style": set(),
    "body": set(),
    "header": set(),
    "main": set(),
    "footer": set(),
    "nav": {"aria-label"},
    "section": {"class", "id", "aria-label"},
    "div": {"class", "tabindex", "role", "aria-label", "aria-hidden"},
    "a": {"href"},
    "svg": {"class", "viewbox", "width", "height", "preserveaspectratio", "role", "aria-label", "aria-hidden"},
    "path": {"d", "fill", "stroke", "stroke-width", "stroke-linecap"},
    "rect": {"x", "y", "width", "height", "rx"},
    "th": {"class", "scope"},
    "td": {"class"},
    "p": {"class"},
    "ul": {"class"},
    "dl": {"class"},
} | {name: set() for name in ("h1", "h2", "li", "dt", "dd", "code", "small", "span", "figcaption", "figure")}
ALLOWED |= {name: set() for name in ("table", "caption", "thead", "tbody", "tr")}
VOID = {"meta"}


class Page(HTMLParser):
    """Fails for a tag, an attribute or a nesting that a report never has; gathers the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.style = ""
        self.metas: dict[str, str] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        values = dict(attrs)
        assert values.keys() <= ALLOWED[tag], (tag, attrs)
        assert "viewbox" not in values or re.fullmatch(r"0 0 \d+ \d+", str(values["viewbox"]))
        self.links += [str(values["href"])] if "href" in values else []
        self.ids += [str(values["id"])] if "id" in values else []
        if tag == "meta":
            self.metas[str(values.get("http-equiv") or values.get("name") or "charset")] = str(values.get("content"))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def test_the_page_has_no_script_no_network_and_the_hash_of_its_style(tmp_path: Path) -> None:
    text = as_html(tmp_path, make(tmp_path))
    page = Page(text)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = page.metas["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "unsafe" not in policy
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"https?:|//|@import|url\(", text)
    assert not re.search(r"\bon\w+=|\bstyle=|<script", text)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_background_differ_enough(tmp_path: Path, scheme: int) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1; what only is drawn, 1.4.11: 3 to 1."""
    style = Page(as_html(tmp_path, make(tmp_path))).style
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    pairs = [(text, page, 4.5) for text in ("ink", "soft", "link") for page in ("page", "card")]
    pairs += [(tone, f"{tone}-page", 4.5) for tone in ("good", "careful", "bad")]
    pairs += [("ink", f"{tone}-page", 4.5) for tone in ("good", "careful", "bad")]
    pairs += [(bar, page, 3.0) for bar in ("calls", "refused", "failed") for page in ("page", "card")]
    for text, page, least in pairs:
        light, dark = sorted((luminance(colours[text]), luminance(colours[page])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, (text, page)


HOSTILE = {
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "an attribute": '" onmouseover="alert(1)" x=\'y\'',
    "an end": "</td></table></style></title><!-- ]]> --><plaintext>",
    "references": "&lt;script&gt;&#60;b&#62;&quot;",
    "bidi": "\u202egnp.exe\u2066\u200f\u061c",
    "control": "\x00\x1b[2J\x1b]0;x\x07\r\n\x9b\x7f\u2028",
    "not UTF-8": "\udcff\udc80\ud800",
    "Markdown": "|x| `code` ![i](http://e.example/) [l](javascript:x) **b** @you #1 :x: $$x$$ www.e.example <b> \\|",
    "zero width": "a\u200bb\u2060\ufeff\U000e0041",
    "long": "<" * 150_000,
}


def poisoned(value: Json, text: str, key: str = "") -> Json:
    """Every text of a record, but those that hold it together; keys of arguments too."""
    if isinstance(value, str):
        return value if key in ("event", "time") else text
    if isinstance(value, Mapping):
        return {name: poisoned(item, text, name) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [poisoned(item, text, key) for item in value]
    return value


def poisoned_log(tmp_path: Path, text: str) -> Path:
    events = []
    for event in HAND_MADE:
        bad = poisoned(event, text)
        assert isinstance(bad, dict)
        events.append({**bad, "arguments": {text: text}} if str(event["event"]).startswith("call.") else bad)
    events.append({"event": "log.healed", "at": "start", "cut_bytes": 3, "named": text})
    return make(tmp_path, events)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_stays_text_in_every_field(tmp_path: Path, text: str) -> None:
    file = poisoned_log(tmp_path, text)
    plain = make(tmp_path, name="plain.jsonl")
    page = Page(as_html(tmp_path, file))
    assert all(
        each.isprintable() for each in "".join(page.texts).replace("\n", "").replace("\N{NARROW NO-BREAK SPACE}", "")
    )
    markdown = run(file).stdout
    assert all(each.isprintable() or each in "\n\N{NARROW NO-BREAK SPACE}\ufe0f" for each in markdown)
    assert not re.search(r"<(?!\d)", markdown)
    assert len(markdown) < 200_000
    for line in markdown.splitlines():
        if line.startswith("| "):  # as many cells as a row of a log without hostile texts
            assert len(re.findall(r"(?<!\\)\|", line)) in {5, 4, 6, 9}
    assert run(file, "--format", "json").exit_code == 0
    assert len(as_html(tmp_path, plain)) < 60_000


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a|b", r"a\|b"),
        ("[l](x)", r"\[l\](x)"),
        ("<b>&amp;", "&#60;b&#62;&#38;amp;"),
        ("http://x", "http&#58;//x"),
        ("www.x", "www&#46;x"),
        ("@you", "&#64;you"),
        ("#1", r"\#1"),
        ("`x`", r"\`x\`"),
        ("\\|", r"\\\|"),
        ("so: yes", "so: yes"),
    ],
)
def test_markdown_escapes(text: str, result: str) -> None:
    assert escaped(text) == result


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [None, True, 7, -1, 2**63, [], ["x"], {}, {"a": {"b": []}}, "", [[["x"]]]],
    ids=lambda value: repr(value)[:20],
)
def test_any_type_in_any_field_makes_a_report(tmp_path: Path, value: Json) -> None:
    extra: list[dict[str, Json]] = [
        {"event": "log.removed"},
        {"event": "log.checkpoint", "signature": "x"},
        {"event": "x"},
    ]
    events = [*HAND_MADE, *extra]
    fields = sorted({key for event in events for key in event} - {"event"})
    lists: list[dict[str, Json]] = [
        {key: [value] for key in ("changes", "commands", "paths", "questions", "stages")},
        {},
    ]
    file = make(
        tmp_path,
        [{**dict.fromkeys(fields, value), **more, "event": event["event"]} for more in lists for event in events],
    )
    Page(as_html(tmp_path, file))
    verdict = run(file)
    assert verdict.exit_code in (0, 1), verdict.output  # a signature or a link that is none is tampering
    whole = json.loads(run(file, "--format", "json").stdout)
    assert whole["records"] == 2 * len(events) or verdict.exit_code == 1


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00.000000Z",
        "9999-12-31T23:59:59.999999Z",
    ],
)
def test_time_in_no_year_of_ours_makes_a_report(tmp_path: Path, time: str) -> None:
    file = make(tmp_path, [START, {**CONFINED, "time": time}, {"event": "call.outcome", "call": 1, "ok": True}, END])
    Page(as_html(tmp_path, file))
    assert as_json(file)["records"] == 4
    assert run(file, "--format", "markdown").exit_code == 0


# --- What holds memory


def test_quantiles_are_within_four_per_cent() -> None:
    histogram = Histogram()
    for value in range(1, 100_001):
        histogram.add(value)
    for share in (0.01, 0.5, 0.95, 0.99):
        assert abs((histogram.quantile(share) or 0) / (share * 100_000) - 1) < 0.04
    assert histogram.quantile(1) == 100_000


@pytest.mark.parametrize("seconds", [(0,), (5, 3), (0, 10**6), (-(10**10), 10**11), (7, 7 + MOST_BUCKETS)])
def test_a_timeline_of_any_length_has_few_buckets_and_loses_nothing(seconds: tuple[int, ...]) -> None:
    timeline = Timeline(1)
    for second in seconds:
        timeline.add(second, 0)
    rows = list(timeline.rows())
    assert len(rows) <= MOST_BUCKETS
    assert sum(counts[0] for _, counts in rows) == len(seconds)
    assert all(any(start <= each < start + timeline.width for start, (count,) in rows if count) for each in seconds)


def test_the_largest_are_kept_and_the_different_are_counted() -> None:
    top: Top[str] = Top(2)
    for size, item in ((1, "a"), (5, "b"), (3, "c"), (5, "d")):
        top.add(size, item)
    assert top.largest_first() == ["b", "d"]
    distinct = Distinct(3)
    for key in "aabbcc":
        distinct.add(key)
    assert (len(distinct), distinct.full) == (3, False)
    distinct.add("d")
    assert (len(distinct), distinct.full) == (3, True)


MEASURE = """
import resource, sys
from fsserver.audit.report import make_report
from fsserver.audit.report_html import render
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
page = render(make_report(sys.argv[1]), title="x")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(page))
"""


@pytest.mark.slow
def test_ninety_thousand_records_take_little_memory(tmp_path: Path) -> None:
    """Each with a file, a tool, a rule and a command of its own: what grows has a bound."""
    log = open_file(tmp_path / "audit/log.jsonl")
    for number in range(30_000):
        tool = f"tool-{number}"
        log.append("call.intent", {"call": number, "tool": tool, "commands": [{"command": tool, "argv": [tool]}]})
        changes = [{"root": "r", "name": f"{number}.txt", "change": "created", "before": None, "after": STATE}]
        log.append(
            "call.outcome", {"call": number, "tool": tool, "ok": True, "duration_us": number, "changes": changes}
        )
        refusal: dict[str, Json] = {"error": "denied.protected", "rule": f"p:{number}", "reason": "no", "ok": False}
        log.append("call.refused", {"call": number, "tool": tool, "path": f"/{number}", **refusal})
    log.close()
    command = [sys.executable, "-c", MEASURE, log.path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    kibibytes, size = map(int, done.stdout.split())
    assert kibibytes < 100 * 1024
    assert size < 2 * 1024**2


def test_the_sample_is_the_same_every_time(tmp_path: Path) -> None:
    reports = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir(mode=0o700)
        write_sample(tmp_path / name / "log.jsonl")
        made = make_report(str(tmp_path / name / "log.jsonl"))
        reports.append((made.calls, made.refused, made.failed, len(made.changes), made.seconds, made.first))
    assert reports[0] == reports[1]
    assert reports[0][0] > 100
