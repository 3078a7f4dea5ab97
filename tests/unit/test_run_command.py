"""run_command and run_pipeline with real programs: what is decided, what comes back, and what ends them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from fsserver.paths.narrowing import narrowed
from fsserver.policy.compiled import (
    Action,
    ArgumentForm,
    CommandLimits,
    Effect,
    Flag,
    Limits,
    Mode,
    PathAccess,
    PathValue,
    PinnedProgram,
    Positional,
    SoughtProgram,
    Subcommand,
    Subcommands,
    TextValue,
)
from fsserver.policy.toolnames import TOOL_NAMES
from fsserver.tools.approval import Answer, Consent
from fsserver.tools.catalog import every_tool
from fsserver.tools.control import Control
from fsserver.tools.result import ToolResult
from tests.commands import RULE, Commanded, command, commanded, script
from tests.gates import texts
from tests.support import wait_until
from tests.trees import build, rules

READS = Positional(PathValue("work", PathAccess.READ, must_exist=False), 0, 10)
WRITES = Positional(PathValue("work", PathAccess.WRITE, must_exist=False), 0, 10)


def form(*positionals: Positional, **flags: Any) -> ArgumentForm:
    return ArgumentForm(MappingProxyType({f"-{name}": Flag(value, RULE) for name, value in flags.items()}), positionals)


ASKING = Subcommands(
    MappingProxyType(
        {
            "push": Subcommand(form(Positional(TextValue(), 0, 3)), Effect.ASK, "publishes code", RULE),
            "log": Subcommand(form(Positional(TextValue(), 0, 3)), Effect.ALLOW, None, RULE),
        }
    )
)

COMMANDS = (
    command("cat", arguments=form(READS, n=None)),
    command("echo"),
    command("printf"),
    command("true"),
    command("head"),
    command("yes"),
    command("wc"),
    command("tr"),
    command("pwd"),
    command("touch", arguments=form(WRITES)),
    command("sleep", limits=CommandLimits(time_s=1.0)),
    script("git", 'echo "$@"', arguments=ASKING),
    script("fail", 'cat >/dev/null; echo out; echo wrong >&2; exit "${1:-1}"'),
    script("killed", "kill -9 $$"),
    script("both", 'head -c "$1" /dev/zero | tr "\\\\0" o; head -c "$2" /dev/zero | tr "\\\\0" e >&2'),
    script("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done"),
    script("deaf", "exec <&-; sleep 0.2; echo done"),
    script("leaves", "sleep 30 & echo left"),
    script("other", "pwd", roots={"notes": Mode.RW}),
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    build(
        tmp_path,
        [
            "file work/a.txt one\n",
            "file work/.env SECRET",
            "file work/d/b.txt two",
            "file work/frozen/x three",
            "file outside/s.txt SECRET",
            "link work/out -> ../outside",
            "link work/to-env -> .env",
            "link work/to-d -> d",
            "dir notes/d",
            "dir work/work",
        ],
    )
    return tmp_path / "work"


def roots(work: Path) -> list[Any]:
    kept = rules(work, deny=["**/.env"], read_only=["frozen"])
    return [kept, rules(work.parent / "notes", name="notes")]


@pytest.fixture
def gate(tmp_path: Path, work: Path) -> Iterator[Commanded]:
    with commanded(tmp_path, COMMANDS, roots(work)) as running:
        yield running


# --- what comes back


def test_success_has_every_field(gate: Commanded) -> None:
    result = gate.call("run_command", command="echo", args=["hello", "$HOME", "; id"])
    assert not result.is_error
    assert result.structured is not None
    fields = dict(result.structured)
    assert fields.pop("durationMs") >= 0
    assert fields.pop("peakMemoryBytes") > 0
    assert fields == {
        "exitCode": 0,
        "signal": None,
        "endedBy": None,
        "stdout": "hello $HOME ; id\n",
        "stderr": "",
        "stdoutCut": 0,
        "stderrCut": 0,
        "layer": "none",
        "protected": [],
    }
    (text,) = texts(result)
    assert text.startswith("exit code 0, ")
    assert text.endswith("layer none\n--- stdout\nhello $HOME ; id")


@pytest.mark.parametrize(
    ("name", "args", "code", "signal", "stdout", "stderr"),
    [
        ("true", (), 0, None, "", ""),
        ("fail", (), 1, None, "out\n", "wrong\n"),
        ("fail", ("77",), 77, None, "out\n", "wrong\n"),
        ("killed", (), None, "SIGKILL", "", ""),
        ("deaf", (), 0, None, "done\n", ""),
        ("leaves", (), 0, None, "left\n", ""),
    ],
    ids=["nothing", "failure", "another code", "signal", "reads no input", "leaves one behind"],
)
def test_end_of_a_program_is_a_result_and_no_error(
    gate: Commanded, name: str, args: tuple[str, ...], code: int | None, signal: str | None, stdout: str, stderr: str
) -> None:
    began = time.monotonic()
    fields = gate.run(name, *args, stdin="x" * 200_000)
    assert (fields["exitCode"], fields["signal"], fields["endedBy"]) == (code, signal, None)
    assert (fields["stdout"], fields["stderr"]) == (stdout, stderr)
    assert time.monotonic() - began < 10


HOSTILE = {
    "colour": (r"\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m"),
    "NUL": (r"a\000b", "a\\x00b"),
    "bidi": (r"\342\200\256abc", "\\xe2\\x80\\xaeabc"),
    "no UTF-8": (r"\377\376", "\\xff\\xfe"),
    "C1": (r"\302\2332J", "\\xc2\\x9b2J"),
    "bell": (r"\007", "\\x07"),
    "letters": (r"gr\303\266\303\237e", "größe"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_output_is_spelt_out(gate: Commanded, name: str) -> None:
    written, shown = HOSTILE[name]
    result = gate.call("run_command", command="printf", args=[written])
    assert result.structured is not None
    assert result.structured["stdout"] == shown
    assert texts(result)[0].endswith(f"--- stdout\n{shown}")


def test_protected_names_are_in_the_result_and_in_the_log(gate: Commanded) -> None:
    gate.runner.masked = ("work/.npmrc",)
    gate.runner.quarantined = ("work/new/.env", "work/\u202ex\n")
    gate.runner.not_moved = ("work/stays/.env",)
    result = gate.call("run_command", command="fail")
    assert result.structured is not None
    moved = ["work/new/.env", "work/\\xe2\\x80\\xaex\\x0a"]
    assert result.structured["protected"] == ["work/stays/.env", *moved, "work/.npmrc"]
    assert f"moved to quarantine: {', '.join(moved)}\n" in texts(result)[0]
    assert "could not be moved away: work/stays/.env\n" in texts(result)[0]
    assert "could not see: work/.npmrc\n" in texts(result)[0]
    assert gate.records()[-1]["not_moved"] == ["work/stays/.env"]
    assert gate.records()[-1]["quarantined"] == ["work/new/.env", "work/\u202ex\n"]


def test_many_protected_names_are_counted(gate: Commanded) -> None:
    gate.runner.quarantined = tuple(f"work/{'n' * 200}{number}" for number in range(1000))
    result = gate.call("run_command", command="true")
    assert result.structured is not None
    names = result.structured["protected"]
    assert len(json.dumps(names)) < 10_000
    assert names[-1] == f"and {1000 - len(names) + 1} more"
    recorded = gate.records()[-1]["quarantined"]
    assert recorded[-1] == {"cut": 1000 - len(recorded) + 1}


# --- how much comes back


@pytest.mark.parametrize(
    ("out", "err"),
    [(10, 10), (100_000, 0), (0, 100_000), (100_000, 10), (10, 100_000), (300_000, 300_000), (10_000_000, 1)],
)
@pytest.mark.parametrize("limit", [1024, 4096, 64 * 1024])
def test_result_fits_and_counts_what_is_left_out(tmp_path: Path, work: Path, out: int, err: int, limit: int) -> None:
    with commanded(tmp_path, COMMANDS, roots(work), limits=Limits(result_bytes=limit)) as gate:
        result = gate.call("run_command", command="both", args=[str(out), str(err)])
    fields = result.structured
    assert fields is not None
    texts_size = sum(len(text.encode()) for text in texts(result))
    assert texts_size + len(fields["stdout"].encode()) + len(fields["stderr"].encode()) <= limit
    for name, letter, written in (("stdout", "o", out), ("stderr", "e", err)):
        shown = fields[name]
        assert shown.replace("bytes left out", "").count(letter) + fields[f"{name}Cut"] == written
        if fields[f"{name}Cut"] and shown:
            assert f"\n[... {fields[f'{name}Cut']} bytes left out ...]\n" in shown
            assert shown.startswith(letter)
            assert shown.endswith(letter)
    if limit == 64 * 1024:
        assert bool(fields["stdoutCut"]) == (out > 30_000)
        assert len(fields["stdout"]) >= min(out, 10_000)
        assert len(fields["stderr"]) >= min(err, 10_000)


def test_policys_output_limit_bounds_what_is_kept(tmp_path: Path, work: Path) -> None:
    short = command("head", limits=CommandLimits(time_s=20.0, output_bytes=100))
    with commanded(tmp_path, [short], roots(work)) as gate:
        fields = gate.run("head", "-c", "1000", "/dev/zero")
    assert fields["stdoutCut"] == 900
    assert fields["stdout"].count("\\x00") == 100


def test_output_that_only_escapes_can_show_fits_too(gate: Commanded) -> None:
    fields = gate.run("head", "-c", "300000", "/dev/zero")
    assert fields["stdoutCut"] + fields["stdout"].count("\\x00") == 300_000
    assert len(fields["stdout"]) <= 32 * 1024


def test_endless_line_is_cut_inside(gate: Commanded) -> None:
    fields = gate.structured(
        "run_pipeline",
        stages=[{"command": "head", "args": ["-c", "10000000", "/dev/zero"]}, {"command": "tr", "args": ["\\0", "z"]}],
    )
    assert fields["stdout"].count("z") + fields["stdoutCut"] == 10_000_000


@pytest.mark.claim("C5")
def test_200_megabytes_of_output_take_constant_memory(gate: Commanded) -> None:
    gate.run("head", "-c", "1000000", "/dev/zero")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = gate.run("head", "-c", "200000000", "/dev/zero")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fields["stdoutCut"] > 199_000_000
    assert after - before < 16 * 1024, "KiB"


# --- what goes in


def test_standard_input_of_5_megabytes_passes_through(gate: Commanded) -> None:
    data = "0123456789abcdef" * (5 * 65536)
    fields = gate.run("wc", "-c", stdin=data)
    assert fields["stdout"].strip() == str(len(data))
    fields = gate.run("cat", stdin=data)
    head, _, tail = fields["stdout"].partition("\n[... ")
    tail = tail.partition(" bytes left out ...]\n")[2]
    assert data.startswith(head)
    assert data.endswith(tail)
    assert len(head) + len(tail) + fields["stdoutCut"] == len(data)


def test_without_standard_input_it_is_at_its_end(gate: Commanded) -> None:
    assert gate.run("cat")["stdout"] == ""


@pytest.mark.parametrize(
    ("cwd", "there"),
    [
        (None, ""),
        (".", ""),
        ("d", "d"),
        ("work", ""),
        ("work/d", "d"),
        ("work/", ""),
        ("{work}/d", "d"),
        ("{work}", ""),
        ("to-d", "d"),
        ("d/..", ""),
        ("./work", "work"),
    ],
)
def test_directory_is_a_roots_name_or_a_path(gate: Commanded, cwd: str | None, there: str) -> None:
    given = None if cwd is None else cwd.format(work=gate.top)
    fields = gate.run("pwd", cwd=given)
    assert fields["stdout"] == f"{os.path.realpath(gate.top / there)}\n"
    assert gate.runner.requests[-1].directory == there


@pytest.mark.parametrize(
    ("name", "cwd", "code"),
    [
        ("pwd", "/etc", "denied.outside_roots"),
        ("pwd", "..", "denied.outside_roots"),
        ("pwd", "../outside", "denied.outside_roots"),
        ("pwd", "work/../../outside", "denied.outside_roots"),
        ("pwd", "out", "denied.link_escape"),
        ("pwd", "a.txt", "resource.not_a_directory"),
        ("pwd", "none", "resource.not_found"),
        ("pwd", ".env", "denied.protected"),
        ("pwd", "notes", "denied.command"),
        ("pwd", "notes/d", "denied.command"),
        ("pwd", "{work}/../notes", "denied.command"),
        ("other", "work", "denied.command"),
        ("pwd", "a\0b", "request.path"),
    ],
)
def test_directory_elsewhere_is_refused_and_recorded(gate: Commanded, name: str, cwd: str, code: str) -> None:
    error = gate.error("run_command", command=name, cwd=cwd.format(work=gate.top))
    assert error["code"] == code
    assert not gate.runner.requests
    (record,) = gate.records()
    assert record["event"] == ("call.outcome" if code.startswith("resource.") else "call.refused")


def test_command_runs_in_its_own_first_root(gate: Commanded) -> None:
    assert gate.run("other")["stdout"].endswith("/notes\n")
    assert gate.run("other", cwd="d")["stdout"].endswith("/notes/d\n")


def test_program_that_is_content_of_a_root_runs_in_that_root(tmp_path: Path, work: Path) -> None:
    planted = work.parent / "notes" / "here"
    planted.write_text("#!/bin/sh\npwd\n")
    planted.chmod(0o755)
    both = {"work": Mode.RW, "notes": Mode.RW}
    with commanded(
        tmp_path, [script("here", "", program=SoughtProgram("notes", "here"), prepend=(), roots=both)], roots(work)
    ) as gate:
        assert gate.run("here")["stdout"].endswith("/notes\n")
        assert gate.run("here", cwd="notes/d")["stdout"].endswith("/notes/d\n")
        error = gate.error("run_command", command="here", cwd="work")
    assert error["code"] == "denied.command"
    assert "runs there only" in error["message"]


# --- what is refused


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ehco", "Did you mean echo?"), ("/bin/echo", "never a path"), ("", "never a path"), ("sh\x1b[0m", "\\x1b")],
)
def test_unknown_command_is_refused_with_those_there_are(gate: Commanded, name: str, meant: str) -> None:
    error = gate.error("run_command", command=name)
    assert error["code"] == "denied.command"
    assert meant in error["message"]
    assert error["allowedInstead"].startswith("cat, echo, printf")


def test_arguments_that_are_not_listed_are_refused_with_rule_and_alternative(gate: Commanded) -> None:
    error = gate.error("run_command", command="git", args=["push", "--force", "origin"])
    assert error["code"] == "denied.command"
    assert "git push --force origin: the flag --force is not listed" in error["message"]
    assert error["rule"] == "policy.yaml:20"
    assert "asks a person first" in error["allowedInstead"]
    assert not gate.runner.requests


@pytest.mark.parametrize(
    ("name", "path", "code"),
    [
        ("cat", ".env", "denied.protected"),
        ("cat", "d/../.env", "denied.protected"),
        ("cat", "to-env", "denied.protected"),
        ("cat", "out/s.txt", "denied.link_escape"),
        ("cat", "../outside/s.txt", "denied.command"),
        ("cat", "/etc/passwd", "denied.command"),
        ("cat", "{work}/.env", "denied.protected"),
        ("touch", "frozen/x", "denied.read_only"),
        ("touch", "frozen/new", "denied.read_only"),
        ("touch", "frozen", "denied.read_only"),
        ("touch", "new/.env", "denied.protected"),
        ("touch", "out/new", "denied.link_escape"),
    ],
)
def test_path_among_the_arguments_obeys_the_roots_rules(gate: Commanded, name: str, path: str, code: str) -> None:
    error = gate.error("run_command", command=name, args=[path.format(work=gate.top)])
    assert error["code"] == code
    assert not gate.runner.requests
    assert [record["event"] for record in gate.records()] == ["call.refused"]


def test_paths_that_the_rules_allow_are_used(gate: Commanded) -> None:
    assert gate.run("cat", "a.txt", "d/b.txt")["stdout"] == "one\ntwo"
    assert gate.run("cat", "b.txt", cwd="d")["stdout"] == "two"
    assert gate.run("touch", "new", "a.txt", "d")["exitCode"] == 0
    assert (gate.top / "new").exists()
    paths = [(path["name"], path["parameter"]) for path in gate.records()[-2]["paths"]]
    assert paths[0] == ("", "cwd")
    assert ("new", "args[0]") in paths


def test_name_with_a_literal_escape_is_judged_as_itself(gate: Commanded) -> None:
    build(gate.top, ["file \\xc3\\xa4 literal"])
    assert gate.run("cat", "\\xc3\\xa4")["stdout"] == "literal"
    assert gate.records()[-2]["paths"][1]["name"] == "\\xc3\\xa4"


def test_a_part_of_a_root_is_not_enough_for_a_command(tmp_path: Path, work: Path) -> None:
    with commanded(
        tmp_path, COMMANDS, roots(work), workspace=lambda whole: narrowed(whole, [f"file://{work}/d"])
    ) as gate:
        error = gate.error("run_command", command="pwd", cwd=f"{work}/d")
    assert error["code"] == "denied.command"
    assert "client_roots" in error["allowedInstead"]
    with commanded(
        tmp_path, COMMANDS, roots(work), workspace=lambda whole: narrowed(whole, [f"file://{work}"])
    ) as gate:
        assert gate.run("pwd")["exitCode"] == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"command": "true", "args": "x"}, "expected array"),
        ({"command": "true", "args": [1]}, "expected string"),
        ({"command": "true", "timeout": 0}, "Too small"),
        ({"command": "true", "timeout": "1"}, "expected number"),
        ({"args": []}, "expected string, received undefined at command"),
        ({"command": "true", "shell": True}, "Unknown argument shell"),
    ],
)
def test_malformed_arguments_are_refused(gate: Commanded, arguments: dict[str, Any], part: str) -> None:
    error = gate.error("run_command", **arguments)
    assert error["code"] == "request.arguments"
    assert part in error["message"]


# --- consent


def test_command_that_asks_runs_only_with_consent_to_exactly_it(tmp_path: Path, work: Path) -> None:
    with commanded(tmp_path, COMMANDS, roots(work), can_ask=True) as gate:
        call = {"command": "git", "args": ["push", "a b"], "cwd": "d", "stdin": "told\x1b"}
        needed = gate.needed("run_command", **call)
        assert not gate.runner.requests
        (question,) = needed.questions
        assert question.what.splitlines()[0].endswith(" push 'a b'")
        assert "in: work/d\nwith this standard input:\n> told\\x1b" in question.what
        assert (question.rule, question.reason) == ("policy.yaml:20", "publishes code")
        other = gate.answered(Consent.to(needed, Answer.ACCEPTED), "run_command", **{**call, "stdin": "else"})
        assert other.is_error
        assert not gate.runner.requests
        result = gate.answered(Consent.to(needed, Answer.ACCEPTED), "run_command", **call)
        assert not result.is_error
        assert len(gate.runner.requests) == 1
        assert gate.run("git", "log")["stdout"] == "log\n"


def test_standard_input_cannot_pretend_to_be_a_part_of_the_question(tmp_path: Path, work: Path) -> None:
    told = "a\nrule: policy.yaml:1\n\nAllow run_command to do this?\n\nrun: true\n"
    with commanded(tmp_path, COMMANDS, roots(work), can_ask=True) as gate:
        message = gate.needed("run_command", command="git", args=["push"], stdin=told).message()
    lines = message.splitlines()
    assert [line for line in lines if line.startswith("rule:")] == ["rule: policy.yaml:20"]
    assert lines.count("Allow run_command to do this?") == 1
    assert [line for line in lines if line.startswith("> ")][:2] == ["> a", "> rule: policy.yaml:1"]


def test_program_of_a_root_that_changed_since_a_person_was_asked_is_not_run(tmp_path: Path, work: Path) -> None:
    """In the middle of the question somebody puts another program there, in its place or nearer to the directory."""
    (work / "bin").mkdir()
    program = work / "bin" / "publish"

    def write(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\necho {text}\n")
        path.chmod(0o755)

    write(program, "good")
    asking = script("publish", "", program=SoughtProgram("work", "bin/publish"), prepend=(), effect=Effect.ASK)
    with commanded(tmp_path, [asking], roots(work), can_ask=True) as gate:
        call = {"command": "publish", "cwd": "d"}
        needed = gate.needed("run_command", **call)
        assert f"\nprogram: {program}\n" in needed.questions[0].what
        write(program, "evil")
        assert gate.answered(Consent.to(needed, Answer.ACCEPTED), "run_command", **call).is_error
        needed = gate.needed("run_command", **call)
        (work / "d" / "bin").mkdir()
        write(work / "d" / "bin" / "publish", "nearer")
        assert gate.answered(Consent.to(needed, Answer.ACCEPTED), "run_command", **call).is_error
        assert not gate.runner.requests
        needed = gate.needed("run_command", **call)
        assert f"\nprogram: {work}/d/bin/publish\n" in needed.questions[0].what
        assert not gate.answered(Consent.to(needed, Answer.ACCEPTED), "run_command", **call).is_error


def test_command_that_asks_is_refused_where_nobody_can_be_asked(gate: Commanded) -> None:
    error = gate.error("run_command", command="git", args=["push"])
    assert error["code"] == "denied.consent"
    assert not gate.runner.requests


def test_pipeline_asks_once_for_all_of_it(tmp_path: Path, work: Path) -> None:
    stages = [{"command": "echo", "args": ["x"]}, {"command": "git", "args": ["push"]}, {"command": "cat"}]
    with commanded(tmp_path, COMMANDS, roots(work), can_ask=True) as gate:
        needed = gate.needed("run_pipeline", stages=stages)
        (question,) = needed.questions
        assert question.what.count(" |\n") == 2
        assert not gate.runner.requests


def test_path_that_is_changed_only_with_consent_is_asked_about(tmp_path: Path, work: Path) -> None:
    asking = rules(work, operations={Action.OVERWRITE: Effect.ASK})
    with commanded(tmp_path, [command("touch", arguments=form(WRITES))], [asking], can_ask=True) as gate:
        needed = gate.needed("run_command", command="touch", args=["a.txt"])
        run, write = needed.questions
        assert run.what == f"run: {shutil.which('touch')} a.txt\nin: work"
        assert write.what == f"let it write to:\n{work}/a.txt"
        assert run.rule == write.rule
        assert gate.run("touch", "new")["exitCode"] == 0


# --- what ends it


def test_time_limit_of_the_policy_ends_it_as_an_error_with_its_output(gate: Commanded) -> None:
    result = gate.call("run_command", command="sleep", args=["60"])
    assert result.is_error
    assert result.structured is not None
    assert (result.structured["endedBy"], result.structured["signal"]) == ("time", "SIGTERM")
    assert "it reached its time limit" in texts(result)[0]
    assert "rule: policy.yaml:20" in texts(result)[0]
    assert gate.records()[-1]["ended_by"] == "time"


def test_timeout_of_the_client_may_be_shorter_and_not_longer(gate: Commanded) -> None:
    assert gate.call("run_command", command="stubborn", timeout=0.2).is_error
    assert gate.runner.requests[-1].timeout_s == 0.2
    error = gate.error("run_command", command="sleep", args=["0"], timeout=1.5)
    assert error["code"] == "limit.time"
    assert error["rule"] == "policy.yaml:20"
    assert error["allowedInstead"] == "timeout up to 1"


def test_calls_deadline_does_not_cut_a_commands_own_time_short(gate: Commanded) -> None:
    control = Control(deadline=time.monotonic() - 0.001 + 0.2)
    result = gate.call("run_command", control, command="sleep", args=["0.5"])
    assert not result.is_error, texts(result)


@pytest.mark.claim("C5")
@pytest.mark.parametrize(
    ("name", "stdin"),
    [("stubborn", None), ("yes", None), ("stubborn", "x" * 10_000_000)],
    ids=["ignores SIGTERM", "never stops writing", "reads nothing"],
)
def test_cancelled_call_ends_within_a_second_and_is_recorded(gate: Commanded, name: str, stdin: str | None) -> None:
    control = Control()
    results: list[ToolResult] = []
    call = threading.Thread(target=lambda: results.append(gate.call("run_command", control, command=name, stdin=stdin)))
    call.start()
    wait_until(lambda: bool(gate.runner.started), "the command was started")
    control.cancelled.set()
    began = time.monotonic()
    call.join(10)
    assert not call.is_alive()
    assert time.monotonic() - began < 1.0
    assert results[0].is_error
    assert results[0].structured is not None
    assert results[0].structured["endedBy"] == "cancelled"
    assert gate.records()[-1]["ended_by"] == "cancelled"


def test_program_that_is_not_there_is_an_error_with_an_outcome(tmp_path: Path, work: Path) -> None:
    gone = script("gone", "", program=PinnedProgram("/nonexistent/gone", 0, 0, None, 0, None))
    commands = [gone, *COMMANDS[:3]]
    with commanded(tmp_path, commands, roots(work)) as gate:
        assert gate.error("run_command", command="gone")["code"] == "resource.program"
        error = gate.error("run_pipeline", stages=[{"command": "echo"}, {"command": "gone"}, {"command": "cat"}])
        assert error["code"] == "resource.program"
        assert [record["event"] for record in gate.records()] == ["call.intent", "call.outcome"] * 2
        assert gate.records()[-1]["error"] == "resource.program"


def test_progress_carries_the_newest_lines_neutralised(gate: Commanded) -> None:
    told: list[tuple[float, float | None, str | None]] = []
    control = Control(progress=lambda done, whole, message: told.append((done, whole, message)))
    gate.call("run_command", control, command="stubborn", timeout=0.8)
    assert told
    assert told[-1][1] == 0.8
    assert told[-1][2] == "ready"
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


# --- the log


@pytest.mark.claim("C6")
def test_intent_has_the_whole_argument_vector_and_the_outcome_what_came_of_it(gate: Commanded) -> None:
    args = [f"argument {number}" for number in range(100)]
    gate.run("echo", *args, stdin="secret words")
    intent, outcome = gate.records()
    assert (intent["event"], outcome["event"]) == ("call.intent", "call.outcome")
    (ran,) = intent["commands"]
    assert ran["argv"][1:] == args
    assert (ran["command"], ran["root"], ran["directory"]) == ("echo", "work", "")
    assert intent["arguments"]["stdin"]["bytes"] == 12
    assert "secret words" not in json.dumps([intent, outcome])
    assert outcome["exit"] == 0
    assert outcome["stdout_bytes"] == sum(map(len, args)) + 100
    assert outcome["layer"] == "none"


def long_name(work: Path) -> str:
    """A directory of nearly 4,096 bytes, in characters that a record spells with six each."""
    name = "/".join(["\x01" * 200] * 16)
    (work / name).mkdir(parents=True)
    return name


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", ["cat", "touch"])
def test_a_thousand_long_paths_are_decided_and_fit_the_record(tmp_path: Path, work: Path, name: str) -> None:
    deep = long_name(work)
    (work / "l").symlink_to(deep)
    many = Positional(
        PathValue("work", PathAccess.READ if name == "cat" else PathAccess.WRITE, must_exist=False), 0, 5000
    )
    before = len(os.listdir("/proc/self/fd"))
    with commanded(tmp_path, [command(name, arguments=form(many))], roots(work)) as gate:
        assert gate.run(name, *(f"l/{number}" for number in range(1024)))["exitCode"] == (1 if name == "cat" else 0)
        intent, _ = gate.records()
        named = [path["name"] for path in intent["paths"]]
        assert named[0] == ""
        assert len(named) >= 1024 - 1 if name == "touch" else len(named) == 1
        assert gate.error("run_command", command=name, args=["x"] * 1025)["code"] == "denied.command"
        assert gate.records()[-1]["event"] == "call.refused"
    assert len(os.listdir("/proc/self/fd")) == before


def test_arguments_of_all_stages_together_are_bounded(gate: Commanded) -> None:
    large = "\x01" * 100_000
    stages = [{"command": "echo", "args": [large]}, {"command": "echo", "args": [large]}]
    error = gate.error("run_pipeline", stages=stages)
    assert "at most 128 KiB of arguments" in error["message"]
    assert gate.records()[-1]["event"] == "call.refused"
    fields = gate.structured("run_pipeline", stages=[stages[0], {"command": "wc", "args": ["-c"]}])
    assert fields["stdout"].strip() == "100001"


# --- pipelines


def stage(name: str, *args: str) -> Mapping[str, Any]:
    return {"command": name, "args": list(args)}


def test_pipeline_passes_output_on_and_shows_each_stage(gate: Commanded) -> None:
    fields = gate.structured(
        "run_pipeline", stages=[stage("cat"), stage("tr", "a-z", "A-Z"), stage("head", "-n", "1")], stdin="one\ntwo\n"
    )
    assert fields["stdout"] == "ONE\n"
    assert [(each["command"], each["exitCode"]) for each in fields["stages"]] == [("cat", 0), ("tr", 0), ("head", 0)]
    (intent, outcome) = gate.records()
    assert [each["command"] for each in intent["commands"]] == ["cat", "tr", "head"]
    assert len(outcome["stages"]) == 3


def test_stage_whose_reader_left_ends_by_sigpipe(gate: Commanded) -> None:
    began = time.monotonic()
    fields = gate.structured("run_pipeline", stages=[stage("yes"), stage("head", "-n", "1")])
    assert (fields["stdout"], fields["exitCode"], fields["endedBy"]) == ("y\n", 0, None)
    assert fields["stages"][0]["signal"] == "SIGPIPE"
    assert time.monotonic() - began < 5


def test_exit_code_is_the_last_ones_and_errors_are_all_theirs(gate: Commanded) -> None:
    fields = gate.structured("run_pipeline", stages=[stage("fail", "3"), stage("fail", "4")])
    assert fields["exitCode"] == 4
    assert fields["stderr"] == "wrong\nwrong\n"
    assert [each["exitCode"] for each in fields["stages"]] == [3, 4]


def test_stage_that_a_limit_ended_makes_the_pipeline_an_error(gate: Commanded) -> None:
    result = gate.call("run_pipeline", stages=[stage("sleep", "60"), stage("cat")])
    assert result.is_error
    assert result.structured is not None
    assert result.structured["endedBy"] == "time"
    assert result.structured["stages"][0]["endedBy"] == "time"


def test_pipelines_time_is_that_of_its_strictest_stage(gate: Commanded) -> None:
    error = gate.error("run_pipeline", stages=[stage("cat"), stage("sleep", "0")], timeout=2)
    assert error["allowedInstead"] == "timeout up to 1"


def test_one_refused_stage_starts_none(gate: Commanded) -> None:
    error = gate.error("run_pipeline", stages=[stage("echo", "x"), stage("cat", ".env")])
    assert error["code"] == "denied.protected"
    assert not gate.runner.requests
    assert gate.error("run_pipeline", stages=[])["code"] == "request.arguments"
    assert gate.error("run_pipeline", stages=[stage("true")] * 17)["code"] == "request.arguments"


def test_pipelines_result_fits_too(gate: Commanded) -> None:
    stages = [stage("both", "10", "100000"), *[stage("both", "100000", "100000")] * 5]
    result = gate.call("run_pipeline", stages=stages)
    assert result.structured is not None
    assert len(json.dumps(result.structured)) + sum(map(len, texts(result))) <= 64 * 1024
    assert result.structured["stderrCut"] > 500_000


# --- what is offered


def test_tools_are_offered_only_where_commands_can_be_run(tmp_path: Path, work: Path) -> None:
    names = {"run_command", "run_pipeline", "start_process", "read_process", "describe_policy"}

    def offered(gate: Commanded) -> set[str]:
        return names & {tool.name for tool in gate.gate.tools(gate.session)}

    with commanded(tmp_path, COMMANDS, roots(work)) as gate:
        assert offered(gate) == names
        gate.runner.unavailable = "the kernel has no user namespaces"
        assert offered(gate) == {"describe_policy"}
        error = gate.error("run_command", command="true")
        assert error["code"] == "denied.tool"
        assert "the kernel has no user namespaces" in error["message"]
    with commanded(tmp_path, [], roots(work)) as gate:
        assert offered(gate) == {"describe_policy"}
        assert "the policy grants no command" in gate.error("run_command", command="true")["message"]
    with commanded(tmp_path, [command("true", background=False)], roots(work)) as gate:
        assert offered(gate) == {"run_command", "run_pipeline", "describe_policy"}
        assert "background: true" in gate.error("start_process", command="true")["message"]


def test_policy_can_name_every_tool_that_there_is(gate: Commanded) -> None:
    assert set(every_tool(gate.host).names()) == set(TOOL_NAMES)
