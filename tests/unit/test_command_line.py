"""What the command line says to a word that it does not know, and what its lists of verbs show."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsserver.cli.main import main
from fsserver.cli.selection import Selection
from tests.support import in_child

ONE_WAY = "--policy and --root exclude each other: a policy file names its own roots."


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fsserver")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["serv"], "No such command 'serv'. Did you mean 'serve'?", id="verb"),
        pytest.param(
            ["/docs"], "No such command '/docs'. Did you mean 'serve --root /docs'?", id="as the reference server"
        ),
        pytest.param(["Doctor"], "No such command 'Doctor'. Did you mean 'doctor'?", id="capital"),
        pytest.param(["check", "p.yaml"], "No such command 'check'. Did you mean 'policy check'?", id="of a group"),
        pytest.param(
            ["explain"],
            "No such command 'explain'. Did you mean 'policy explain' or 'audit explain'?",
            id="of two groups",
        ),
        pytest.param(["xyzzy"], "No such command 'xyzzy'.", id="like no verb"),
        pytest.param(["serve"], "Say what to serve: --policy FILE, or --root DIR (repeatable).", id="nothing"),
        pytest.param(["serve", "--policy", "p.yaml", "--root", "."], ONE_WAY, id="both"),
        pytest.param(["doctor", "--policy", "p.yaml", "--root", "."], ONE_WAY, id="both, doctor"),
        pytest.param(["serve", "docs"], "Got an unexpected argument: docs. Did you mean --root docs?", id="directory"),
        pytest.param(
            ["serve", "--write", "--root", "a", "b"],
            "Got an unexpected argument: b. Did you mean --root b?",
            id="second directory",
        ),
        pytest.param(
            ["serve", "my.yaml"], "Got an unexpected argument: my.yaml. Did you mean --policy my.yaml?", id="file"
        ),
        pytest.param(
            ["doctor", "my.yml"], "Got an unexpected argument: my.yml. Did you mean --policy my.yml?", id="doctor"
        ),
        pytest.param(
            ["serve", "--root", ".", "--profile", "x"],
            "--profile needs --policy: profiles are written in a policy file.",
            id="profile of directories",
        ),
        pytest.param(
            ["doctor", "--write"],
            "--write goes with --root; in a policy file, write `mode: rw` at the root.",
            id="write without directories",
        ),
    ],
)
def test_a_wrong_command_line_exits_2_with_what_was_meant(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"Error: {said}"


@pytest.mark.parametrize("group", [[], ["policy"], ["audit"]], ids=["fsserver", "policy", "audit"])
def test_a_list_of_verbs_shows_whole_sentences(group: list[str]) -> None:
    listed = CliRunner().invoke(main, [*group, "--help"], terminal_width=80)
    verbs = listed.stdout.split("Commands:\n")[1].splitlines()
    assert verbs
    assert all(line.endswith(".") and not line.endswith("...") for line in verbs), listed.stdout


def test_help_says_what_a_missing_layer_means_for_commands() -> None:
    serve, doctor = (" ".join(run(verb, "--help").stdout.split()) for verb in ("serve", "doctor"))
    assert "of the server or of its commands. Otherwise file tools are served without it, and no commands." in serve
    assert "The sandbox layer `full` concerns commands; the server itself needs `landlock`." in doctor


def test_a_policy_below_home_is_found_where_no_shell_reads_the_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notes").mkdir()
    (tmp_path / "p.yaml").write_text("version: 1\nroots: {notes: {path: ~/notes}}\n")
    (tmp_path / "p.yaml").chmod(0o600)
    assert Selection(Path("~/p.yaml"), (), write=False, profile=None).load().source == f"{tmp_path}/p.yaml"


def typed(*arguments: str, encoding: str = "utf-8", stdout: str = os.devnull) -> subprocess.CompletedProcess[bytes]:
    """As a person types it, on a terminal of that encoding; with ``stdout`` into that file."""
    with open(stdout, "wb") as stream:
        return subprocess.run(
            [sys.executable, "-m", "fsserver", *arguments],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            stdout=subprocess.PIPE if stdout == os.devnull else stream,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )


def test_output_without_room_is_told_and_is_no_answer() -> None:
    full = typed("policy", "preset", "git", stdout="/dev/full")
    assert full.returncode == 2
    assert full.stderr == b"Error: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "keygen", "--out", "key"),
        ("token", "list", "--file", "tokens"),
        ("audit", "report", ".", "-o", "r.md"),
    ],
    ids=["key", "tokens", "report"],
)
def test_without_a_current_directory_an_absolute_path_is_asked_for(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    def act() -> tuple[int, str]:
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        result = run(*arguments)
        return result.exit_code, result.stderr.splitlines()[-1]

    said = "Error: The current directory was removed; give an absolute path, or go to another."
    assert in_child(act) == (2, said)


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [("utf-8:strict", b"\xff", b"\\udcff"), ("latin-1:strict", "\u2192".encode(), b"\\u2192")],
    ids=["a name that is no text", "a character that the terminal does not have"],
)
def test_what_the_output_cannot_spell_is_escaped(tmp_path: Path, encoding: str, name: bytes, shown: bytes) -> None:
    file = tmp_path / f"p{os.fsdecode(name)}.yaml"
    file.write_text(f"version: 1\nroots: {{docs: {{path: {tmp_path}/docs}}}}\n")
    file.chmod(0o600)
    (tmp_path / "docs").mkdir()
    checked = typed("policy", "check", str(file), encoding=encoding)
    assert checked.returncode == 0, checked.stderr
    assert b"/p%b.yaml: ok" % shown in checked.stdout


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)], ids=["no word of it", "NO_COLOR"])
def test_a_terminal_is_shown_colours_unless_it_wants_none(tmp_path: Path, no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "fsserver", "doctor", "--policy", str(tmp_path / "none")]
        subprocess.run(command, stdout=theirs, env={**os.environ, "NO_COLOR": no_color}, timeout=30, check=False)
        os.close(theirs)
        assert (b"\x1b[" in screen.read(65536)) is coloured
