"""Typical mistakes, and what `policy check` prints about them.

To write the expected texts anew after a change of wording: ``FSSERVER_WRITE_GOLDEN=1 pytest`` this file, then read
the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsserver.policy.loader import load_policy
from fsserver.policy.problems import PolicyErrors
from tests.policy_files import desk_in
from tests.support import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "policy"
MISTAKES = sorted(GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda path: path.stem)
def test_a_typical_mistake_is_explained(mistake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_in(tmp_path)
    monkeypatch.chdir(desk.write(mistake.read_bytes(), mistake.name).parent)
    with pytest.raises(PolicyErrors) as caught:
        load_policy(Path(mistake.name), desk.here)
    printed = caught.value.message.replace(str(desk.home), "/home/ada") + "\n"
    expected = mistake.with_suffix(".txt")
    if os.environ.get("FSSERVER_WRITE_GOLDEN") == "1":
        expected.write_text(printed)
    assert printed == expected.read_text()


def test_every_expected_text_has_its_policy() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {path.stem for path in MISTAKES}
    assert len(MISTAKES) >= 11
