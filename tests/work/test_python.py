"""pytest of a small package, in a virtual environment that belongs to the project and in one that does not."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.work.desk import PYTHON, Desk, Work

PACKAGES = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")

MODULE = "def add(a, b):\n    return a + b\n"
TESTS = """
from calc import add


def test_add():
    assert add(1, 2) == 3


def test_tmp_path(tmp_path):
    (tmp_path / "a").write_text("x")
    assert (tmp_path / "a").read_text() == "x"


def test_that_fails():
    assert add(1, 1) == 3
"""


def make_environment(directory: Path) -> None:
    """A virtual environment with pytest, copied from the one that this runs in: nothing is downloaded."""
    subprocess.run([PYTHON, "-I", "-m", "venv", "--without-pip", directory], check=True, timeout=60)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    theirs = directory / "lib" / version / "site-packages"
    ours = Path(sysconfig.get_path("purelib"))
    for package in PACKAGES:
        names = {file.parts[0] for file in importlib.metadata.files(package) or () if file.parts[0] != ".."}
        for name in names - {"__pycache__"}:
            if (ours / name).is_dir():
                shutil.copytree(ours / name, theirs / name)
            else:
                shutil.copy(ours / name, theirs / name)
    script = directory / "bin/pytest"
    script.write_text(
        f"#!{directory}/bin/python\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
    )
    script.chmod(0o755)


def runtime() -> str:
    """Where Python itself is, as far as it is no part of the system."""
    return "" if sys.base_prefix in ("/usr", "/usr/local") else f", runtime: [{sys.base_prefix}]"


@pytest.fixture
def package(desk: Desk) -> Desk:
    desk.write("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    desk.write("src/calc/__init__.py", MODULE)
    desk.write("tests/test_calc.py", TESTS)
    return desk


def run_the_tests(work: Work) -> None:
    ran = work.run("pytest", "-q")
    assert ran["exitCode"] == 1, ran
    assert "1 failed, 2 passed" in ran["stdout"]
    assert "assert 2 == 3" in ran["stdout"]
    assert ran["protected"] == []
    assert "1 passed" in work.works("pytest", "-q", "test_calc.py::test_add", cwd="workspace/tests")
    work.call("write_file", path="src/calc/__init__.py", content=MODULE.replace("a + b", "a + b + (a == b)"))
    assert "3 passed" in work.works("pytest", "-q", "-p", "no:cacheprovider")


def test_an_environment_in_the_root_is_found_from_below_and_works(package: Desk) -> None:
    make_environment(package.root / ".venv")
    with package.serve(f"extends: [preset:python]\ncommands: {{pytest: {{home: private{runtime()}}}}}\n") as work:
        run_the_tests(work)


def test_an_environment_outside_is_granted_with_its_program(package: Desk, tmp_path: Path) -> None:
    make_environment(tmp_path / "tools/venv")
    program = f"{tmp_path}/tools/venv/bin/pytest"
    with package.serve(f"commands: {{pytest: {{exec: {program}, args: any{runtime()}}}}}\n") as work:
        run_the_tests(work)
        package.write("tests/test_write.py", f"def test_write():\n    open({program!r}, 'a').close()\n")
        before = Path(program).read_bytes()
        assert "1 failed" in work.run("pytest", "-q", "tests/test_write.py")["stdout"]
        assert Path(program).read_bytes() == before


def test_an_environment_that_is_not_there_is_told_as_such(package: Desk) -> None:
    with package.serve("extends: [preset:python]\n") as work:
        missing = work.error("run_command", command="pytest")
        assert missing["code"] == "resource.program"
