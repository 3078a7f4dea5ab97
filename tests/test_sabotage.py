"""The tests of the trusted core must notice when a guard is gone.

Each patch under ``tests/sabotage/`` removes one guard. Its heading names, in a ``Found by:`` line, the test that has
to fail then. Here each patch is applied to a copy of the tree, and that test is run against the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent
PATCHES = sorted((TREE / "tests" / "sabotage").glob("*.patch"))
TRUSTED_CORE = ("policy/decision.py", "paths/resolver.py", "sandbox/cell.py", "tools/gate.py", "audit/chain.py")
RUN_LIMIT_S = 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree for all patches, with its bytecode: a file that a patch changed is compiled anew.

    Without the files that bytecode is in while somebody writes it: they may be gone when their turn comes.
    """
    destination = tmp_path_factory.mktemp("sabotage") / "tree"
    for part in ("fsserver", "tests", "policies", "docs"):
        shutil.copytree(TREE / part, destination / part, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in ("pyproject.toml", "README.md", "SECURITY.md"):
        shutil.copy(TREE / name, destination / name)
    return destination


@contextmanager
def _applied(patch: Path, tree: Path) -> Iterator[None]:
    apply = ["git", "apply", str(patch)]
    subprocess.run(apply, cwd=tree, check=True, timeout=RUN_LIMIT_S)
    try:
        yield
    finally:
        subprocess.run([*apply, "--reverse"], cwd=tree, check=True, timeout=RUN_LIMIT_S)


def _run(tree: Path, test: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    options = ["-x", "-rf", "-p", "no:cacheprovider", "-p", "pytest_timeout", f"--basetemp={temporary}"]
    command = [sys.executable, "-m", "pytest", *options, test]
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a quarter of the time of such a run
    }
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_removed_guard_is_noticed_by_its_named_test(patch: Path, tree: Path, tmp_path: Path) -> None:
    found_by = re.search(r"^Found by: (.+)$", patch.read_text(), re.MULTILINE)
    assert found_by, f"{patch.name} names no test"
    with _applied(patch, tree):
        outcome = _run(tree, found_by[1], tmp_path / "tmp")
        if outcome.returncode == 0:  # on a busy machine what is raced for may not have come about
            outcome = _run(tree, found_by[1], tmp_path / "again")
    assert outcome.returncode == 1, f"the suite did not notice {patch.name}:\n{outcome.stdout}{outcome.stderr}"
    assert "FAILED" in outcome.stdout


def test_every_file_of_the_trusted_core_has_a_sabotage_patch() -> None:
    patched = {
        match for patch in PATCHES for match in re.findall(r"^\+\+\+ b/fsserver/(\S+)", patch.read_text(), re.MULTILINE)
    }
    assert set(TRUSTED_CORE) <= patched
