"""What went wrong in other ways of building a sandbox, and is not seen until somebody needs it or attacks it.

One test an outcome. Others of the kind are rows of `tests.attacks`: a protected name's parent that is renamed, a unix
socket in a root, a directory handed in as standard input; and of `tests.paths` and `tests.kernel.test_confinement`.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsserver.paths.resolver import MovedError, name_beneath
from fsserver.policy.compiled import Layer
from fsserver.sandbox import messages
from fsserver.sandbox.launching import LauncherRunner
from tests.attacks.surroundings import open_directory
from tests.cells import (
    SETTINGS,
    Launched,
    Setting,
    bootstrap,
    every_setting,
    give,
    launched,
    program,
    python,
    started,
    starting_as,
)
from tests.support import require_kernel
from tests.trees import build, needs_root, rules, workspace

MIB = 1024**2
FULL = Setting(Layer.FULL, root=False)

SHELL = "/bin/sh"
# Every way to the root's marker, by each mount point and each part of the root's own path below it.
WAYS = """
import json, os, sys
root = sys.argv[1]
with open("/proc/self/mountinfo") as stream:
    points = [line.split()[4] for line in stream]
parts = root.strip("/").split("/")
tails = ["/".join(parts[start:]) for start in range(len(parts) + 1)]
found = {"/" + f"{point}/{tail}".strip("/").replace("//", "/") for point in points for tail in tails
         if os.path.lexists(f"{point}/{tail}/marker")}
print(json.dumps(sorted(found)))
"""
SCHEDULED = "import json, os; print(json.dumps([os.sched_getscheduler(0), os.nice(0)]))"
OPEN = """
import errno, json, os, sys
def outcome(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "opened"
print(json.dumps([os.getuid(), outcome("/etc/shadow", os.O_RDONLY),
                  outcome("/proc/sys/kernel/core_pattern", os.O_WRONLY)]))
"""


@pytest.fixture
def base() -> Iterator[Path]:
    with open_directory() as directory:
        build(directory, ["file work/marker here", "dir programs"])
        yield directory


@pytest.fixture(params=every_setting())
def cells(request: pytest.FixtureRequest, base: Path) -> Iterator[Launched]:
    script = base / "programs/script"
    script.write_text('#!/bin/sh\necho "$0" "$@"\n')
    script.chmod(0o755)
    commands = [
        program("sh", SHELL, "-c"),
        program("script", str(script)),
        program("true", "/usr/bin/true"),
        python("ways", WAYS),
        python("scheduled", SCHEDULED),
    ]
    work = rules(base / "work", deny=["absent/.env", "**/.env", "**/*.pem"], read_only=["**/.git/hooks"])
    with launched(base, request.param, commands, [work]) as running:
        yield running


def test_command_reads_proc_of_its_own(cells: Launched) -> None:
    """A new procfs is refused where none is visible; and a rule for /proc/self is one for whoever made it."""
    run = cells.run("sh", "read pid rest < /proc/self/stat; echo $$ $pid")
    mine, told = run.stdout.split()
    assert mine == told, run


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_root_below_a_private_directory_is_seen_and_its_neighbours_are_not(place: str) -> None:
    """What is mounted over /tmp for a command must not hide a root there, nor show what is beside it."""
    if not os.access(place, os.W_OK):
        require_kernel(f"a writable {place}")
    with tempfile.TemporaryDirectory(dir=place) as name:
        base = Path(name)
        base.chmod(0o755)
        build(base, ["file work/marker here", "file beside x"])
        with launched(base, FULL, [program("sh", SHELL, "-c")], [rules(base / "work")]) as cells:
            run = cells.run("sh", f"cat marker; ls {base}; ls {place}; echo made > made")
            assert run.stdout.decode() == f"herework\n{base.name}\n"
            assert (base / "work/made").read_text() == "made\n"


def test_root_is_reached_by_one_way_only(cells: Launched) -> None:
    """A mount that was only needed while the cell was made would be a way around what covers protected names."""
    if cells.setting.layer is not Layer.FULL:
        assert str(cells.base / "work") in cells.run("ways", str(cells.base / "work")).json()
        return
    assert cells.run("ways", str(cells.base / "work")).json() == [str(cells.base / "work")]


def test_cells_that_cannot_be_made_are_not_tried_without_a_pause(base: Path) -> None:
    start = bootstrap(base, [program("sh", SHELL, "-c")], [rules(base / "work")], FULL)
    with starting_as(FULL):
        runner = LauncherRunner(start)
    try:
        fields, _ = messages.receive(runner._socket)
        assert fields[:2] == ["hello", "full"]
        os.rename(base / "work", base / "was")
        pipes = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(4)]
        theirs = [pipes[0][0], *(writer for _, writer in pipes[1:])]
        # The cell that is ready is used up; from then on none can be made.
        messages.send(runner._socket, ["run", "1", "sh", "work", "", "5", "true"], theirs)
        messages.close([end for pipe in pipes for end in pipe])
        failures, deadline = 0, time.monotonic() + 1.5
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([runner._socket], [], [], left)
            if ready:
                fields, _ = messages.receive(runner._socket)
                failures += fields[0] == "log"
        assert 1 <= failures <= 6
    finally:
        runner.close()


def test_script_is_run_by_its_interpreter_under_its_own_path(cells: Launched) -> None:
    """Executed by a descriptor from outside it would be judged by another path, and find no script."""
    run = cells.run("script", "a b", "c")
    assert run.stdout.decode() == f"{cells.base}/programs/script a b c\n", run


@needs_root
@pytest.mark.parametrize("layer", [Layer.FULL, Layer.LANDLOCK])
def test_command_of_a_root_server_works_in_another_users_root_without_being_root(layer: Layer, base: Path) -> None:
    setting = Setting(layer, root=True)
    start = bootstrap(base, [program("sh", SHELL, "-c")], [rules(base / "work")], setting)
    give(base / "work", 4242)
    with started(start, setting, base) as cells:
        run = cells.run("sh", "echo changed > marker; echo new > new; id -u")
        assert run.ending.exit_code == 0, run
        assert run.stdout != b"0\n"
    for name in ("marker", "new"):
        status = os.stat(base / "work" / name)
        assert (status.st_uid, status.st_gid) == (4242, 4242)
    assert (base / "work/marker").read_text() == "changed\n"


@needs_root
def test_command_that_may_be_root_opens_neither_password_hashes_nor_the_hosts_settings(base: Path) -> None:
    setting = Setting(Layer.LANDLOCK, root=True)
    start = bootstrap(base, [python("open", OPEN)], [rules(base / "work")], setting, accept_uid0=True)
    give(base / "work", 0)
    with started(start, setting, base) as cells:
        assert cells.run("open").json() == [0, "EACCES", "EACCES"]


def test_memory_of_a_command_is_its_own_and_not_its_cells(cells: Launched) -> None:
    """What the kernel counts for a new process is never less than what its parent had."""
    peak = cells.run("true").ending.peak_memory_bytes
    assert peak is None or peak < 6 * MIB
    assert _resident(cells.pid) > 6 * MIB, "the cell is a copy of this"


def test_command_runs_at_the_priority_of_its_server(cells: Launched) -> None:
    """A cell that was built at idle priority could not leave it again."""
    assert cells.run("scheduled").json() == [os.sched_getscheduler(0), os.nice(0)]


def test_cells_leave_no_name_in_a_root(cells: Launched) -> None:
    """A name that is not there cannot be mounted over without being made, in the user's project."""
    assert cells.run("sh", "ls -a").stdout.split() == [b".", b"..", b"marker"]
    assert os.listdir(cells.base / "work") == ["marker"]


@pytest.mark.parametrize("setting", [each for each in SETTINGS if not each.root], ids=str)
def test_directory_around_a_protected_name_stays_though_work_inside_goes_on(setting: Setting, base: Path) -> None:
    build(base, ["file work/.git/hooks/pre-commit mine", "file work/.git/HEAD ref"])
    script = "mv .git g2 && mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit; echo x > .git/index"
    with launched(
        base, setting, [program("sh", SHELL, "-c")], [rules(base / "work", read_only=["**/.git/hooks"])]
    ) as cells:
        cells.run("sh", script)
    if setting.layer is Layer.FULL:
        assert (base / "work/.git/hooks/pre-commit").read_text() == "mine"
        assert (base / "work/.git/index").read_text() == "x\n"
        assert not (base / "work/g2").exists()
    else:
        assert (base / "work/.git/hooks/pre-commit").read_text() == "evil\n", "the gap is there, as the layer says"


def test_object_that_was_replaced_while_it_was_open_has_no_name_to_decide_by(tmp_path: Path) -> None:
    """The kernel calls it ".env (deleted)", which no rule names, while its contents can still be read."""
    build(tmp_path, ["file .env KEY", "file new x"])
    with workspace(rules(tmp_path, deny=["**/.env"])) as work:
        opened = os.open(tmp_path / ".env", os.O_RDONLY)
        try:
            assert name_beneath(work.roots[0], opened) == ".env"
            os.rename(tmp_path / "new", tmp_path / ".env")
            assert os.read(opened, 3) == b"KEY"
            with pytest.raises(MovedError):
                name_beneath(work.roots[0], opened)
        finally:
            os.close(opened)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
