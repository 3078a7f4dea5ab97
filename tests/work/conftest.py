"""A desk for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.work.desk import Desk, desk_in


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)
