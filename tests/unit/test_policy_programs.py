"""Which programs a policy may name, what belongs to them, and which directories they may read besides."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.policy.compiled import Command, PinnedProgram
from fsserver.policy.problems import LanguageError
from fsserver.policy.programs import Grounds, pin
from tests.policy_files import Desk, desk_in

ROOTS = "version: 1\nroots: {app: {path: ~/app, mode: rw}, notes: {path: ~/notes}}\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def of(desk: Desk, path: Path | str, rest: str = "") -> Command:
    return desk.load(f"{ROOTS}commands:\n  tool: {{exec: '{path}'{rest}}}\n").commands["tool"]


def prefix_of(desk: Desk, path: Path) -> str | None:
    found = of(desk, path).program
    assert isinstance(found, PinnedProgram)
    return found.prefix


def in_writable_root(desk: Desk) -> Path:
    return program(desk.home / "app/bin/tool")


def through_a_link_in_a_writable_root(desk: Desk) -> Path:
    program(desk.home / "tools/x/bin/tool")
    (desk.home / "app/link").symlink_to(desk.home / "tools/x/bin")
    return desk.home / "app/link/tool"


def a_link_to_a_writable_root(desk: Desk) -> Path:
    link = desk.home / "tools/tool"
    link.parent.mkdir()
    link.symlink_to(program(desk.home / "app/bin/tool"))
    return link


def a_link_that_leads_through_a_writable_root(desk: Desk) -> Path:
    through_a_link_in_a_writable_root(desk)
    link = desk.home / "tools/tool"
    link.symlink_to(desk.home / "app/link/tool")
    return link


@pytest.mark.parametrize(
    "make",
    [
        in_writable_root,
        through_a_link_in_a_writable_root,
        a_link_to_a_writable_root,
        a_link_that_leads_through_a_writable_root,
    ],
)
def test_a_program_that_a_client_can_choose_is_refused(desk: Desk, make: Callable[[Desk], Path]) -> None:
    (problem,) = desk.problems(f"{ROOTS}commands: {{tool: {{exec: {make(desk)}}}}}\n")
    assert 'is content of the writable root "app", or is reached through it' in problem


def test_a_program_in_a_read_only_root_is_pinned_alone(desk: Desk) -> None:
    assert prefix_of(desk, program(desk.home / "notes/tools/bin/tool")) is None


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_program_that_runs_as_somebody_else_is_refused(desk: Desk, mode: int) -> None:
    path = program(desk.home / "tools/tool")
    path.chmod(mode)
    (problem,) = desk.problems(f"{ROOTS}commands: {{tool: {{exec: {path}}}}}\n")
    assert "is set-user-ID or set-group-ID" in problem


def test_a_broken_link_is_a_missing_program(desk: Desk) -> None:
    (desk.home / "tool").symlink_to(desk.home / "gone")
    (problem,) = desk.problems(f"{ROOTS}commands: {{tool: {{exec: ~/tool}}}}\n")
    assert problem.startswith("E050 3:25")
    assert "no such file or directory" in problem


def test_the_name_stays_and_the_file_is_that_at_the_end_of_all_links(desk: Desk) -> None:
    real = program(desk.home / "tools/x/bin/tool-3.1")
    (real.parent / "tool-3").symlink_to("tool-3.1")
    (desk.home / "tool").symlink_to(real.parent / "tool-3")
    found = of(desk, "~/tool").program
    assert isinstance(found, PinnedProgram)
    status = real.stat()
    assert (found.path, found.device, found.inode) == (str(desk.home / "tool"), status.st_dev, status.st_ino)
    assert (found.changed_ns, found.prefix) == (status.st_ctime_ns, str(desk.home / "tools/x"))


def test_a_sum_is_checked(desk: Desk) -> None:
    path = program(desk.home / "tools/tool")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    found = of(desk, path, f", sha256: '{right}'").program
    assert isinstance(found, PinnedProgram)
    assert found.sha256 == right
    path.write_text("#!/bin/sh\nid\n")
    (problem,) = desk.problems(f"{ROOTS}commands: {{tool: {{exec: {path}, sha256: '{right}'}}}}\n")
    assert "is another file: its SHA-256 is" in problem


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        pytest.param("tools/x/bin/tool", "tools/x", id="installation"),
        pytest.param("tools/x/sbin/tool", "tools/x", id="sbin"),
        pytest.param(".nvm/versions/node/v20/bin/node", ".nvm/versions/node/v20", id="a version manager's"),
        pytest.param("tools/x/libexec/tool", None, id="not in bin"),
        pytest.param("tools/tool", None, id="a file alone"),
        pytest.param(".local/bin/tool", None, id="directly in the home directory"),
        pytest.param(".cargo/bin/tool", None, id="cargo"),
        pytest.param("bin/tool", None, id="the home directory"),
        pytest.param("../bin/tool", None, id="above the home directory"),
        pytest.param(".local/state/fsserver/x/bin/tool", None, id="in the state directory"),
        pytest.param(".local/state/bin/tool", None, id="around the state directory"),
        pytest.param("../policies/bin/tool", None, id="around the policy"),
        pytest.param("../code/bin/tool", None, id="fsserver's own code"),
    ],
)
def test_what_belongs_to_a_program(desk: Desk, path: str, prefix: str | None) -> None:
    real = Path(os.path.normpath(desk.home / path))
    found = prefix_of(desk, program(real))
    assert found == (None if prefix is None else str(desk.home / prefix))


def test_an_installation_around_a_root_is_not_granted(desk: Desk) -> None:
    text = "version: 1\nroots: {work: {path: ~/tools/x/work}}\ncommands: {tool: {exec: ~/tools/x/bin/tool}}\n"
    desk.directory("tools/x/work")
    program(desk.home / "tools/x/bin/tool")
    found = desk.load(text).commands["tool"].program
    assert isinstance(found, PinnedProgram)
    assert found.prefix is None


def test_a_system_program_has_no_installation_of_its_own(desk: Desk) -> None:
    found = of(desk, "/usr/bin/env").program
    assert isinstance(found, PinnedProgram)
    assert (found.path, found.prefix) == ("/usr/bin/env", None)


def test_a_virtual_environment_belongs_to_its_scripts_also_directly_in_the_home_directory(desk: Desk) -> None:
    path = program(desk.home / ".venv/bin/tool")
    assert prefix_of(desk, path) is None
    (desk.home / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    assert prefix_of(desk, path) == str(desk.home / ".venv")


def test_a_link_in_one_installation_to_another_grants_both(desk: Desk) -> None:
    real = program(desk.home / "pythons/3.11/bin/python3.11")
    link = desk.home / ".venv/bin/python"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    (desk.home / ".venv/pyvenv.cfg").write_text("home = x\n")
    command = of(desk, link)
    assert isinstance(command.program, PinnedProgram)
    assert command.program.prefix == str(desk.home / "pythons/3.11")
    assert command.runtime == (str(desk.home / ".venv"),)


@pytest.mark.parametrize(
    ("directory", "problem"),
    [
        pytest.param("lib/x", None, id="a directory"),
        pytest.param(".cargo", None, id="directly in the home directory, in words"),
        pytest.param("link", None, id="a link to one"),
        pytest.param("", "is the home directory or holds it", id="the home directory"),
        pytest.param("..", "is the home directory or holds it", id="above the home directory"),
        pytest.param("/", "is the home directory or holds it", id="/"),
        pytest.param("app/src", 'lies in the root "app"', id="in a writable root"),
        pytest.param("notes", 'lies around the root "notes"', id="a root"),
        pytest.param("link-to-app", 'lies around the root "app"', id="a link to a root"),
        pytest.param("work", 'lies around the root "inner"', id="around a root"),
        pytest.param(".local/state", "lies around the audit log", id="around the state directory"),
        pytest.param(".local/state/fsserver/x", "lies in fsserver's state directory", id="in the state directory"),
        pytest.param("../policies", "lies around the policy file", id="around the policy"),
        pytest.param("../code/x", "lies in fsserver's own code", id="in fsserver's code"),
        pytest.param("../imports", None, id="Python's libraries are no secret"),
    ],
)
def test_runtime_directories(desk: Desk, directory: str, problem: str | None) -> None:
    for name in ("lib/x", ".cargo", "work/inner", ".local/state/fsserver/x", "../code/x"):
        desk.directory(name)
    (desk.home / "link").symlink_to(desk.home / "lib/x")
    (desk.home / "link-to-app").symlink_to(desk.home / "app")
    path = os.path.normpath(desk.home / directory)
    text = ROOTS.replace("}}\n", "}, inner: {path: ~/work/inner}}\n")
    text += f"commands: {{tool: {{exec: {{in: app, find: x}}, runtime: [{path}]}}}}\n"
    if problem is None:
        assert desk.load(text).commands["tool"].runtime == (os.path.realpath(path),)
    else:
        (found,) = desk.problems(text)
        assert problem in found


def test_the_whole_home_is_seen_through_another_name(desk: Desk) -> None:
    (desk.base / "other").symlink_to(desk.home)
    text = f"{ROOTS}commands: {{tool: {{exec: {{in: app, find: x}}, runtime: [{desk.base}/other]}}}}\n"
    (found,) = desk.problems(text)
    assert "is the home directory or holds it" in found


def test_a_program_that_may_not_be_looked_at_is_told_without_a_trace(desk: Desk) -> None:
    with pytest.raises(LanguageError, match="not a directory"):
        pin(
            "/dev/null/tool",
            None,
            Grounds(desk.here, {}, (), (str(desk.base),)),
        )
