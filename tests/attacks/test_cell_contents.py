"""What a command is and has when it begins: nothing of the server's, of the launcher's, or of their user's."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fsserver.policy.compiled import Layer
from fsserver.sandbox.cell_profile import OWN
from tests.attacks.surroundings import PROBE, host_uid, open_directory
from tests.cells import Launched, alive, every_setting, launched, python
from tests.support import wait_until
from tests.trees import rules

FIFO = 1  # S_IFIFO >> 12
SLEEP = "import sys, time; open('made', 'w').close(); print('up', flush=True); time.sleep(60)"
ENVIRONMENT = {"PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG", "SET", "PASSED"}


class World(NamedTuple):
    cells: Launched
    told: dict[str, Any]
    root: Path


@pytest.fixture(scope="module", params=every_setting())
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with open_directory() as base:
        (base / "work").mkdir()
        commands = [
            python("probe", PROBE, environment={"SET": "x"}, passed=("PASSED",)),
            python("sleep", SLEEP),
            python("mounts", "print(open('/proc/self/mountinfo').read()); open('/dev/null', 'w').write('x')"),
        ]
        os.environ["FSSERVER_ATTACK"] = "of the server"
        inherited = os.open("/", os.O_RDONLY)
        os.set_inheritable(inherited, True)  # a careless library's
        try:
            with launched(base, request.param, commands, [rules(base / "work")]) as cells:
                yield World(cells, cells.run("probe", "{}", "report").json(), base / "work")
        finally:
            os.close(inherited)
            del os.environ["FSSERVER_ATTACK"]


@pytest.mark.claim("C4")
def test_command_has_three_pipes_and_no_other_descriptor(world: World) -> None:
    assert world.told["descriptors"] == [[0, FIFO], [1, FIFO], [2, FIFO]]


@pytest.mark.claim("C4")
def test_environment_is_exactly_what_is_promised(world: World) -> None:
    environment = world.told["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own doing
    full = world.cells.setting.layer is Layer.FULL
    assert set(environment) == (ENVIRONMENT if full else ENVIRONMENT | {"GIT_CONFIG_NOSYSTEM"})
    state = str(world.cells.base / "state/cells") if not world.cells.setting.root else "/tmp/fsserver-"
    assert environment["HOME"].startswith("/run/home" if full else state)
    assert environment["TMPDIR"].startswith("/tmp" if full else state)
    assert environment["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert (environment["USER"], environment["LOGNAME"], environment["LANG"]) == ("user", "user", "C.UTF-8")
    assert (environment["SET"], environment["PASSED"]) == ("x", "passed PASSED")


@pytest.mark.claim("C4")
@pytest.mark.parametrize("kind", ["CapInh", "CapPrm", "CapEff", "CapAmb"])
def test_command_has_no_capability(world: World, kind: str) -> None:
    assert int(world.told["status"][kind], 16) == 0


@pytest.mark.claim("C4")
def test_no_capability_can_come_back(world: World) -> None:
    """Where the bounding set was not this user's to empty, no_new_privs is what leaves it without effect."""
    if world.cells.setting.layer is Layer.FULL:
        assert int(world.told["status"]["CapBnd"], 16) == 0
    assert world.told["status"]["NoNewPrivs"] == "1"


@pytest.mark.claim("C4")
def test_seccomp_filter_is_in_force(world: World) -> None:
    assert world.told["status"]["Seccomp"] == "2"


@pytest.mark.claim("C4")
def test_command_leads_a_session_without_a_terminal(world: World) -> None:
    assert world.told["session"] == world.told["pid"]
    assert world.told["terminal"] == 0


@pytest.mark.claim("C4")
def test_command_sees_no_process_but_its_own(world: World) -> None:
    if world.cells.setting.layer is not Layer.FULL:
        assert str(os.getpid()) in world.told["processes"], "the gap is there, as the layer says"
        return
    assert sorted(map(int, world.told["processes"])) == [1, world.told["pid"]]


@pytest.mark.claim("C1")
def test_only_the_root_of_a_command_is_mounted_so_that_files_of_the_host_can_be_changed(world: World) -> None:
    """A device's node too: where the policy accepts user 0, its mode could be changed for everybody."""
    if world.cells.setting.layer is not Layer.FULL:
        return
    mounts = [line.split() for line in world.cells.run("mounts").stdout.decode().splitlines() if line]
    assert {line[4] for line in mounts if "rw" in line[5].split(",")} - set(OWN) == {str(world.root)}


@pytest.mark.claim("C4")
def test_command_is_in_no_group(world: World) -> None:
    inside = 1000 if world.cells.setting.root and world.cells.setting.layer is Layer.FULL else None
    if inside is not None:
        assert world.told["uid"] == [inside, inside]
        assert world.told["gid"] == [inside, inside]
    assert 0 not in (*world.told["uid"], *world.told["gid"], *world.told["groups"])


@pytest.mark.claim("C4")
def test_no_signal_is_blocked_or_left_ignored(world: World) -> None:
    assert int(world.told["status"]["SigBlk"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's.
    ignored = int(world.told["status"]["SigIgn"], 16)
    assert ignored & 0x7FFFFFFF == 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1


@pytest.mark.claim("C4")
def test_command_is_never_root_on_the_host_and_its_files_are_the_root_owners(world: World) -> None:
    marker = secrets.token_hex(8)
    with world.cells.running("sleep", marker) as running:
        assert running.stdout is not None
        assert os.read(running.stdout, 3) == b"up\n"
        (pid,) = alive(marker)
        ids = re.findall(r"^[UG]id:\t(.+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert [set(each.split()) for each in ids] == [{str(host_uid(world.cells.setting))}] * 2
        assert "0" not in ids[0].split()
        made = os.stat(world.root / "made")
        assert (made.st_uid, made.st_gid) == (os.stat(world.root).st_uid, os.stat(world.root).st_gid)
    wait_until(lambda: not alive(marker), "the command is gone")
