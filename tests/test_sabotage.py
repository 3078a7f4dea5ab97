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
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent
PATCHES = sorted((TREE / "tests" / "sabotage").glob("*.patch"))
TRUSTED_CORE = ("policy/decision.py", "paths/resolver.py", "sandbox/cell.py", "tools/gate.py", "audit/chain.py")
RUN_LIMIT_S = 120


def _copy(destination: Path) -> Path:
    """With its bytecode, which saves compiling it all; a patched file is younger than its own, so that is not used.

    Without the files that bytecode is in while somebody writes it: they may be gone when their turn comes.
    """
    for part in ("fsserver", "tests", "policies", "docs"):
        shutil.copytree(TREE / part, destination / part, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in ("pyproject.toml", "README.md", "SECURITY.md"):
        shutil.copy(TREE / name, destination / name)
    return destination


def _run(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    options = ["-x", "-rf", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tree.parent / 'tmp'}"]
    command = [sys.executable, "-m", "pytest", *options, test]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_removed_guard_is_noticed_by_its_named_test(patch: Path, tmp_path: Path) -> None:
    found_by = re.search(r"^Found by: (.+)$", patch.read_text(), re.MULTILINE)
    assert found_by, f"{patch.name} names no test"
    tree = _copy(tmp_path / "tree")
    subprocess.run(["git", "apply", str(patch)], cwd=tree, check=True, timeout=RUN_LIMIT_S)
    outcome = _run(tree, found_by[1])
    assert outcome.returncode == 1, f"the suite did not notice {patch.name}:\n{outcome.stdout}{outcome.stderr}"
    assert "FAILED" in outcome.stdout


def test_every_file_of_the_trusted_core_has_a_sabotage_patch() -> None:
    patched = {
        match for patch in PATCHES for match in re.findall(r"^\+\+\+ b/fsserver/(\S+)", patch.read_text(), re.MULTILINE)
    }
    assert set(TRUSTED_CORE) <= patched
