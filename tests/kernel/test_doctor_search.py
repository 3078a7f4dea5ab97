"""What doctor says of searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
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


@pytest.mark.parametrize(
    ("shared", "verdict", "said"),
    [
        (True, "ok", "run in cells of layer ful"),
        (False, "note", "each root has a directory for each principal: the server walks them"),
    ],
    ids=["and one for all", "alone"],
)
def test_roots_with_a_directory_for_each_principal_are_not_tried(
    tmp_path: Path, shared: bool, verdict: str, said: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "all").mkdir()
    roots = f'own: {{path: "{tmp_path}/own/${{principal.name}}"}}' + (
        f", all: {{path: {tmp_path}/all}}" if shared else ""
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\nroots: {{{roots}}}\nserver: {{transport: http, auth: {{tokens: {tmp_path}/tokens/tokens}}}}\n"
        "principals: [{when: {token: ci}}]\n"
    )
    policy.chmod(0o600)
    _, tried = checks("--policy", str(policy))
    assert (tried["verdict"], tried["text"][: len(said)]) == (verdict, said)
