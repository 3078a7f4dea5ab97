"""What doctor says of searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fsserver.cli import doctor_search
from fsserver.cli.doctor import doctor as doctor_command
from fsserver.policy.searching import Ripgrep
from tests.support import in_child


def checks(*arguments: str) -> list[dict[str, Any]]:
    def run() -> str:
        return CliRunner().invoke(doctor_command, [*arguments, "--json"]).output

    return [each for each in json.loads(in_child(run))["checks"] if each["group"] == "search"]


def test_ripgrep_is_named_and_searches_are_tried_in_the_first_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    found, tried = checks("--root", str(tmp_path / "root"))
    assert found["verdict"] == "ok"
    assert found["text"].startswith("15.")
    assert (tried["verdict"], tried["text"][:25]) == ("ok", "run in cells of layer ful")


def test_without_ripgrep_it_says_what_is_not_offered(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(doctor_search, "find_ripgrep", lambda roots: Ripgrep(None, "it is not installed"))
    found, tried = checks("--root", str(tmp_path / "root"))
    assert found["text"] == "search_content is not offered: it is not installed"
    assert tried["verdict"] == "ok"  # names are found by a walk
