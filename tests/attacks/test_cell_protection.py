"""Protected names that come, go and are replaced around a command; links and programs that are not what they were."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fsserver.errors import CommandUnconfined, FsserverError, NotFound, ProgramNotFound
from fsserver.policy.compiled import AnyArguments, Command, Layer, Mode, PinnedProgram, SoughtProgram
from fsserver.sandbox import launching
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.listing import RACY_NS
from fsserver.sandbox.runner import Request
from tests.attacks.surroundings import open_directory
from tests.cells import (
    RULE,
    Launched,
    Setting,
    alive,
    bootstrap,
    every_setting,
    give,
    launched,
    program,
    python,
    started,
    starting_as,
)
from tests.support import wait_until
from tests.trees import build, needs_root, rules

SHELL = "/bin/sh"
CAT = shutil.which("cat", path="/usr/bin:/bin") or "/usr/bin/cat"
READS = """
import sys
try:
    print(open(sys.argv[1]).read(), end='')
except OSError as error:
    print(type(error).__name__, end='')
"""


def commands() -> list[Command]:
    return [python("read", READS), program("sh", SHELL, "-c")]


@pytest.fixture(scope="module", params=every_setting())
def cells(request: pytest.FixtureRequest) -> Iterator[Launched]:
    with open_directory() as base:
        build(base, ["file work/a.txt harmless", "dir work/d", "file outside/secret outside", "file work/vault/key v"])
        build(base, [f"link work/out -> {base}/outside", "link work/up -> ..", "link work/in -> d"])
        denied = rules(base / "work", deny=["**/.env", "vault"], read_only=["**/.git/hooks", "**/*.lock"])
        with launched(base, request.param, commands(), [denied]) as running:
            yield running


def work(cells: Launched) -> Path:
    return cells.base / "work"


def ours(cells: Launched, *lines: str) -> None:
    """What appears in the root from outside, as its owner makes it."""
    build(work(cells), lines)
    if os.geteuid() == 0:
        give(work(cells), cells.setting.owner)


def read(cells: Launched, name: str) -> str:
    run = cells.run("read", name)
    assert run.ending.exit_code == 0, run
    return run.stdout.decode()


def hidden(cells: Launched, text: str) -> str:
    """What a command gets of a denied file; `landlock` cannot deny in a root, which the policy accepted."""
    return "PermissionError" if cells.setting.layer is Layer.FULL else text


@pytest.mark.claim("C2")
def test_denied_file_that_came_after_the_cell_was_built_is_hidden(cells: Launched) -> None:
    assert read(cells, "a.txt") == "harmless"
    ours(cells, "file late/.env late")
    assert read(cells, "late/.env") == hidden(cells, "late")


@pytest.mark.claim("C2")
def test_cells_from_before_a_name_was_protected_end(cells: Launched) -> None:
    assert read(cells, "a.txt") == "harmless"
    wait_until(lambda: psutil.Process(cells.pid).children() != [], "there is a cell")
    before = psutil.Process(cells.pid).children()
    ours(cells, "file later/.env later")
    assert read(cells, "later/.env") == hidden(cells, "later")
    wait_until(lambda: not any(cell.is_running() for cell in before), "they have ended")


@pytest.mark.claim("C2")
def test_denied_file_that_was_replaced_after_the_cell_was_built_is_hidden(cells: Launched) -> None:
    """An editor saves by renaming: the mask that lay over the old file is gone with it."""
    ours(cells, "file replaced/.env one")
    assert read(cells, "replaced/.env") == hidden(cells, "one")
    ours(cells, "file replaced/new two")
    os.rename(work(cells) / "replaced/new", work(cells) / "replaced/.env")
    assert read(cells, "replaced/.env") == hidden(cells, "two")


@needs_root
def test_command_runs_after_a_directory_of_another_user_was_closed_around_a_denied_file(base: Path) -> None:
    build(base, ["file work/theirs/.env denied", "file work/theirs/b free"])
    setting = Setting(Layer.FULL, root=False)
    start = bootstrap(base, commands(), [rules(base / "work", deny=["**/.env"])], setting)
    give(base / "work/theirs", os.geteuid())
    with started(start, setting, base) as cells:
        assert (read(cells, "theirs/.env"), read(cells, "theirs/b")) == ("PermissionError", "free")
        (base / "work/theirs").chmod(0o700)
        for _ in range(3):
            assert read(cells, "theirs/.env") == "PermissionError"
        (base / "work/theirs").chmod(0o755)
        assert (read(cells, "theirs/.env"), read(cells, "theirs/b")) == ("PermissionError", "free")


@pytest.mark.claim("C2")
def test_new_hard_link_of_a_denied_file_is_hidden(cells: Launched) -> None:
    ours(cells, "file linked/.env linked", "hard linked/other = linked/.env")
    assert read(cells, "linked/other") == hidden(cells, "linked")


@pytest.mark.claim("C2")
def test_directory_renamed_around_a_denied_file_does_not_uncover_it(cells: Launched) -> None:
    ours(cells, "file before/x/.env moved")
    assert read(cells, "before/x/.env") == hidden(cells, "moved")
    os.rename(work(cells) / "before", work(cells) / "after")
    assert read(cells, "after/x/.env") == hidden(cells, "moved")


@pytest.mark.claim("C2")
@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("mkdir -p n1; echo x > n1/.env", ["n1/.env"]),
        ("mkdir -p n2; echo x > n2/plain; mv n2/plain n2/.env", ["n2/.env"]),
        ("mkdir -p n3; ln -s ../a.txt n3/.env", ["n3/.env"]),
        ("mkdir -p n4; echo x > n4/f; ln n4/f n4/.env", ["n4/.env"]),
        ("mkdir -p n5/.env; echo x > n5/.env/inner", ["n5/.env"]),
        ("mkdir -p n6; mkfifo n6/.env", ["n6/.env"]),
        ("mkdir -p n7/.git/hooks; echo x > n7/.git/hooks/pre-commit", ["n7/.git/hooks"]),
        ("mkdir -p n8; echo x > n8/a.lock; echo x > n8/.env", ["n8/.env", "n8/a.lock"]),
        ("mkdir -p n9/a; echo x > n9/a/.env; mv n9 n9-moved", ["n9-moved/a/.env"]),
        ("mkdir -p n10; echo x > n10/.env; chmod 0 n10/.env", ["n10/.env"]),
    ],
    ids=["file", "renamed", "link", "hard link", "directory", "fifo", "hooks", "two", "in a moved directory", "closed"],
)
def test_protected_name_that_a_command_made_is_in_quarantine(cells: Launched, script: str, names: list[str]) -> None:
    run = cells.run("sh", script)
    assert run.ending.exit_code == 0, run
    assert sorted(run.ending.quarantined) == [f"work/{name}" for name in names]
    assert run.ending.not_moved == ()
    for name in names:
        assert not os.path.lexists(work(cells) / name)
    notes = [json.loads(note.read_text()) for note in (cells.base / "state/quarantine").glob("*/*.json")]
    assert set(names) <= {note["name"] for note in notes}
    assert cells.run("sh", "true").ending.quarantined == ()


@pytest.mark.claim("C2")
def test_end_is_told_with_fewer_names_where_a_pipe_holds_less(cells: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does of a user who has many of them, pipe(7)."""

    def pipe(flags: int, pipe2: Callable[[int], tuple[int, int]] = os.pipe2) -> tuple[int, int]:
        ends = pipe2(flags)
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, 4096)
        return ends

    monkeypatch.setattr(os, "pipe2", pipe)
    name = "many/$i-" + "x" * 60
    script = f"i=0; while [ $i -lt 100 ]; do mkdir -p {name}; echo > {name}/.env; i=$((i+1)); done"
    ending = cells.run("sh", script).ending
    assert ending.exit_code == 0
    assert 10 <= len(ending.quarantined) < 100
    assert list(work(cells).glob("many/*/.env")) == []


@pytest.mark.claim("C2")
def test_protected_name_stays_and_is_told_whatever_is_built_beside_the_command(cells: Launched) -> None:
    """A cell is built for the next command while this one runs."""
    run = cells.run("sh", "mkdir -p beside; echo x > beside/.env; sleep 0.6; test -e beside/.env")
    assert (run.ending.exit_code, run.ending.quarantined) == (0, ("work/beside/.env",))


@pytest.mark.claim("C2")
def test_protected_name_that_appears_between_commands_stays(cells: Launched) -> None:
    for number in range(10):
        assert cells.run("sh", "true").ending.exit_code == 0
        ours(cells, f"file between/{number}/.env ours")
        time.sleep(0.02)  # a cell is built for the next command
        assert (work(cells) / f"between/{number}/.env").read_text() == "ours"


@pytest.mark.claim("C2")
def test_protected_name_that_is_gone_when_the_command_ends_is_nothing_to_tell(cells: Launched) -> None:
    run = cells.run("sh", "mkdir -p g; echo x > g/.env; rm g/.env")
    assert (run.ending.exit_code, run.ending.quarantined) == (0, ())


@pytest.mark.claim("C2")
def test_protected_name_that_a_killed_command_made_is_in_quarantine(cells: Launched) -> None:
    with cells.running("sh", "mkdir -p k; echo x > k/.env; echo up; sleep 60") as running:
        assert running.stdout is not None
        assert os.read(running.stdout, 3) == b"up\n"
        assert cells.stopped(running).ending.quarantined == ("work/k/.env",)
    assert not (work(cells) / "k/.env").exists()


@pytest.mark.claim("C2")
def test_masked_names_are_told_when_a_command_failed(cells: Launched) -> None:
    run = cells.run("sh", "exit 3")
    assert run.ending.exit_code == 3
    assert ("work/vault" in run.ending.masked) is (cells.setting.layer is Layer.FULL)
    assert cells.run("sh", "true").ending.masked == ()


DIRECTORIES = {
    "link out of the root": ("out", NotFound),
    "link to the parent": ("up", NotFound),
    "dots": ("..", FsserverError),
    "dots inside": ("d/../..", FsserverError),
    "absolute": ("/", FsserverError),
    "missing": ("missing", NotFound),
    "file": ("a.txt", NotFound),
    "by link to outside": ("out/../outside", FsserverError),
}


@pytest.mark.claim("C1")
@pytest.mark.parametrize("name", DIRECTORIES)
def test_command_does_not_run_in_a_directory_outside(cells: Launched, name: str) -> None:
    directory, error = DIRECTORIES[name]
    with pytest.raises(error):
        cells.run("sh", "echo ran > ran", directory=directory)
    places = [cells.base, cells.base / "outside", work(cells), work(cells) / "d", Path("/")]
    assert not [place for place in places if (place / "ran").exists()]


def test_link_to_a_directory_is_not_followed_even_inside(cells: Launched) -> None:
    """The gate names the directory that the links lead to, so one that is there now was put there since."""
    with pytest.raises(NotFound):
        cells.run("sh", "pwd", directory="in")


def test_command_does_not_run_in_a_denied_directory(cells: Launched) -> None:
    """The gate refuses it before; behind the gate a mask has nothing in it and cannot be entered."""
    if cells.setting.layer is not Layer.FULL:
        assert cells.run("sh", "cat key", directory="vault").stdout == b"v"
        return
    with pytest.raises(FsserverError):
        cells.run("sh", "cat key", directory="vault")


# --- Programs and roots that are not what they were. Each has a launcher of its own, since it breaks it.

OWN = Setting(Layer.FULL, root=False)


def try_until_refused(cells: Launched, *argv: str) -> None:
    """A cell that is ready already has what was there when it was made. The next one finds what is there now."""
    for _ in range(3):
        try:
            run = cells.run(*argv)
        except FsserverError:
            return
        assert run.stdout == b"harmless"
    pytest.fail("a cell was made with what is there now")


@pytest.fixture
def base() -> Iterator[Path]:
    with open_directory() as directory:
        build(directory, ["file work/a.txt harmless", "dir programs"])
        shutil.copy(CAT, directory / "programs/tool")
        yield directory


@pytest.mark.claim("C2")
@pytest.mark.parametrize("setting", every_setting())
def test_protected_name_that_a_command_made_is_in_quarantine_when_the_server_ended_first(
    base: Path, setting: Setting
) -> None:
    names = rules(base / "work", deny=["**/.env"], read_only=["**/.git/hooks"])
    with launched(base, setting, commands(), [names]) as cells:
        script = "trap '' TERM; mkdir -p .git/hooks; echo x > .git/hooks/pre-commit; echo x > .env; echo up; sleep 60"
        running = cells.runner.start(Request("sh", (script,), "work", "", 20.0))
        assert running.stdout is not None
        assert os.read(running.stdout, 3) == b"up\n"
        running.over()
    assert sorted(os.listdir(base / "work")) == [".git", "a.txt"]
    assert os.listdir(base / "work/.git") == []
    assert len([*(base / "state/quarantine").glob("*/*.json")]) == 2


@pytest.mark.claim("C3")
@pytest.mark.parametrize("setting", every_setting())
def test_program_that_was_replaced_is_not_run(base: Path, setting: Setting) -> None:
    tool = base / "programs/tool"
    with launched(base, setting, [program("tool", str(tool))], [rules(base / "work")]) as cells:
        assert cells.run("tool", "a.txt").stdout == b"harmless"
        shutil.copy(SHELL, base / "programs/new")
        os.rename(base / "programs/new", tool)
        try_until_refused(cells, "tool", "a.txt")


@pytest.mark.claim("C3")
@pytest.mark.parametrize("setting", every_setting())
def test_program_with_a_checked_sum_that_was_written_to_is_not_run(base: Path, setting: Setting) -> None:
    tool = base / "programs/tool"
    made = program("tool", str(tool))
    assert isinstance(made.program, PinnedProgram)
    pinned = PinnedProgram(
        made.program.path, made.program.device, made.program.inode, "0" * 64, made.program.changed_ns, None
    )
    checked = program("tool", str(tool), program=pinned)
    with launched(base, setting, [checked], [rules(base / "work")]) as cells:
        assert cells.run("tool", "a.txt").stdout == b"harmless"
        with open(tool, "ab") as stream:
            stream.write(b"\n")
        with pytest.raises(ProgramNotFound):
            cells.run("tool", "a.txt")


@pytest.mark.claim("C3")
@pytest.mark.parametrize("setting", every_setting())
def test_program_of_a_root_that_is_a_link_out_of_it_is_not_run(base: Path, setting: Setting) -> None:
    (base / "work/tool").symlink_to(base / "programs/tool")
    sought = program("tool", CAT, program=SoughtProgram("work", "tool"))
    with launched(base, setting, [sought], [rules(base / "work")]) as cells, pytest.raises(FsserverError):
        cells.run("tool", "a.txt")


def test_program_of_a_root_that_is_not_there_is_named(base: Path) -> None:
    sought = program("tool", CAT, program=SoughtProgram("work", "bin/tool"))
    with (
        launched(base, OWN, [sought], [rules(base / "work")]) as cells,
        pytest.raises(ProgramNotFound, match=r"^The program of tool, bin/tool in work, cannot be run: it is not there"),
    ):
        cells.run("tool", "a.txt")


@pytest.mark.claim("C2")
def test_directory_that_a_command_closed_around_a_denied_file_does_not_uncover_it(base: Path) -> None:
    build(base, ["file work/closed/in/.env denied"])
    with launched(base, OWN, commands(), [rules(base / "work", deny=["**/.env"])]) as cells:
        assert read(cells, "closed/in/.env") == "PermissionError"
        time.sleep(2 * RACY_NS / 1e9)  # from then on a directory is listed again only for a reason
        assert read(cells, "closed/in/.env") == "PermissionError"
        assert cells.run("sh", "touch closed/in/new; chmod 0 closed").ending.not_moved == ("work/closed",)
        assert cells.run("sh", "chmod 755 closed; cat closed/in/.env").stdout == b""
        (base / "work/closed").chmod(0o755)
        assert read(cells, "closed/in/.env") == "PermissionError"


@pytest.mark.claim("C1")
def test_root_that_was_replaced_on_disk_is_not_shown(base: Path) -> None:
    build(base, ["file other/a.txt other"])
    with launched(base, OWN, commands(), [rules(base / "work", deny=["**/.env"])]) as cells:
        os.rename(base / "work", base / "was")
        os.rename(base / "other", base / "work")
        try_until_refused(cells, "read", "a.txt")


@pytest.mark.claim("C8")
def test_roots_with_protected_names_have_no_commands_where_nothing_can_hide_them(base: Path) -> None:
    setting = Setting(Layer.LANDLOCK, root=False)
    denied = rules(base / "work", deny=["**/.env"])
    with (
        launched(base, setting, commands(), [denied], accept_unprotected=False) as cells,
        pytest.raises(CommandUnconfined),
    ):
        cells.run("read", "a.txt")


@pytest.mark.claim("C8")
def test_required_layer_that_is_missing_means_no_commands(base: Path) -> None:
    setting = Setting(Layer.LANDLOCK, root=False)
    start = bootstrap(base, commands(), [rules(base / "work")], setting, require=Layer.FULL)
    with starting_as(setting):
        runner = LauncherRunner(start)
    try:
        runner.listen()
        assert runner.layer is Layer.NONE
        assert runner.unavailable == (
            "The policy requires sandbox layer full, which this machine does not give to commands."
        )
    finally:
        runner.close()


@pytest.mark.claim("C2")
def test_names_in_a_root_of_many_directories_are_hidden_before_and_after_it_changes(base: Path) -> None:
    """The kernel tells the launcher what changes in each of them."""
    for number in range(1100):
        (base / f"work/d{number}").mkdir(parents=True)
    (base / "work/d7/.env").write_text("secret")
    with launched(base, OWN, commands(), [rules(base / "work", deny=["**/.env"])]) as cells:
        for _ in range(5):  # by then it is told
            assert cells.run("sh", "cat d7/.env").ending.exit_code == 1
        (base / "work/d8/.env").write_text("another")
        assert cells.run("sh", "cat d8/.env").ending.exit_code == 1


@pytest.mark.claim("C2")
def test_root_that_is_not_granted_is_hidden_in_a_directory_that_is(base: Path) -> None:
    build(base, ["file shared/tool.txt a tool's", "file shared/other/a.txt another root's"])
    reads = program("reads", CAT, runtime=(str(base / "shared"),))
    other = replace(rules(base / "shared/other"), name="other")
    with launched(base, OWN, [reads], [rules(base / "work"), other]) as cells:
        assert cells.run("reads", str(base / "shared/tool.txt")).stdout == b"a tool's"
        run = cells.run("reads", str(base / "shared/other/a.txt"))
        assert (run.ending.exit_code, run.stdout) == (1, b"")


# A launcher that finds a kernel with neither Landlock nor seccomp.
BARE = """
import sys; sys.path.append(sys.argv[1])
from dataclasses import replace
from fsserver.sandbox import launcher
probe = launcher.probe
launcher.probe = lambda: replace(probe(), landlock_abi=0, seccomp=False)
launcher.main(3, 4)
"""


@pytest.mark.claim("C8")
def test_without_any_sandbox_only_a_pinned_program_runs_and_ends_whole(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_PROGRAM", BARE)
    shutil.copy(CAT, base / "work/tool")
    sought = Command("sought", RULE, SoughtProgram("work", "tool"), (), {"work": Mode.RW}, AnyArguments())
    marker = secrets.token_hex(8)
    with launched(base, Setting(Layer.NONE, root=False), [*commands(), sought], [rules(base / "work")]) as cells:
        run = cells.run("sh", f"setsid sh -c 'sleep 50; : {marker}' & cat a.txt")
        assert (run.ending.layer, run.stdout) == (Layer.NONE, b"harmless")
        assert alive(marker) == []
        with pytest.raises(CommandUnconfined):
            cells.run("sought", "a.txt")
