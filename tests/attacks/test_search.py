"""Searches must tell no more than reading does: in every layer, as root and not, whatever the pattern or the tree.

Claims: C1, C2, C3.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import Effect, Layer, Mode, Own
from fsserver.sandbox.protected import MAX_NAMES
from fsserver.sandbox.runner import Request, Runner
from tests.cells import Setting, every_setting, python
from tests.gates import Served, texts
from tests.searching import searched
from tests.trees import build, rules

DENY = ["**/.env", "**/.env.*", "secret"]

TREE = [
    "file plain CANARY open",
    "file .env CANARY denied",
    "file deep/.env CANARY denied",
    "file deep/.env.local CANARY denied",
    "file secret/inner/key CANARY denied",
    "file secret/.gitignore CANARY denied",
    "hard innocent = .env",
    "link out -> {base}/../outside",
    "link file_out -> {base}/../outside/file",
    "link env -> .env",
    "file .gitignore plain2",
    "file .rgignore CANARY",
    "file .ripgreprc --pre=/bin/cat",
    "fifo pipe",
]


@contextmanager
def reachable() -> Iterator[Path]:
    """A directory that every user can reach."""
    made = Path(tempfile.mkdtemp(prefix="fsserver-search-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def base() -> Iterator[Path]:
    with reachable() as made:
        yield made


@contextmanager
def serving(base: Path, setting: Setting) -> Iterator[Served]:
    build(base, ["dir work", "dir other", "file outside/file CANARY outside"])
    build(base / "work", TREE)
    build(base / "other", ["file plain CANARY other"])
    roots = [rules(base / "work", deny=DENY), rules(base / "other", name="other", hardlinks=Effect.DENY)]
    with searched(base, roots, setting) as running:
        yield running


@pytest.fixture(params=every_setting(Layer.FULL, Layer.LANDLOCK))
def gate(request: pytest.FixtureRequest, base: Path) -> Iterator[Served]:
    with serving(base, request.param) as running:
        yield running


@pytest.fixture(scope="module", params=every_setting(Layer.FULL, Layer.LANDLOCK))
def shared(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The same, one for all tests that leave the tree as it is."""
    with reachable() as base, serving(base, request.param) as running:
        yield running


SEARCHES: list[dict[str, Any]] = [
    {"pattern": "CANARY"},
    {"pattern": "CANARY", "includeHidden": True},
    {"pattern": "CANARY", "includeHidden": True, "respectGitignore": False},
    {"pattern": "CANARY", "glob": [".env", ".env.*", "key", "**/*"], "includeHidden": True},
    {"pattern": "CANARY", "glob": ["secret/**"]},
    {"pattern": "canary", "ignoreCase": True, "respectGitignore": False, "includeHidden": True},
    {"pattern": "(?s)CANARY.*", "multiline": True, "includeHidden": True, "contextLines": 50},
    {"pattern": "", "glob": [".env"], "includeHidden": True},
]


def test_no_search_shows_a_line_of_what_may_not_be_read(shared: Served) -> None:
    for arguments in SEARCHES:
        result = shared.call("search_content", path=str(shared.top), **arguments)
        shown = "\n".join(texts(result))
        assert "denied" not in shown, arguments
        assert "outside" not in shown, arguments
    (line,) = shared.text("search_content", path=str(shared.top), pattern="CANARY open").split("\n")
    assert line == f"{shared.top}/plain:1:1:CANARY open"


@pytest.mark.parametrize("name", [".env", "deep/.env", "secret", "secret/inner", "secret/inner/key", "env", "innocent"])
def test_denied_name_cannot_be_searched_in(shared: Served, name: str) -> None:
    result = shared.call("search_content", path=f"{shared.top}/{name}", pattern="CANARY", includeHidden=True)
    assert "denied\n" not in "\n".join(texts(result)) + "\n"
    if not result.is_error:
        assert texts(result)[0] == "No matches found"


@pytest.mark.parametrize(
    "path", ["/etc", "{top}/out", "{top}/file_out", "{top}/../outside", "{top}-evil", "/proc/self"]
)
@pytest.mark.parametrize("tool", ["search_content", "search_files"])
def test_search_outside_is_refused(shared: Served, path: str, tool: str) -> None:
    error = shared.error(tool, path=path.format(top=shared.top), pattern="root")
    assert error["code"].startswith(("denied.", "resource.")), error


def test_names_in_a_denied_directory_are_not_found(shared: Served) -> None:
    for arguments in ({}, {"respectGitignore": True}, {"sortBy": "modified"}):
        found = shared.text("search_files", path=str(shared.top), pattern="**", **arguments).split("\n")
        assert not [path for path in found if path.startswith(f"{shared.top}/secret/")], arguments
        assert f"{shared.top}/plain" in found
    found = shared.text("search_files", path=str(shared.top), pattern="**").split("\n")
    assert {os.path.relpath(path, shared.top) for path in found} >= {".env", "deep/.env", "secret", "pipe"}
    assert not {os.path.relpath(path, shared.top) for path in found} & {"out", "file_out", "env"}


def test_name_that_is_denied_after_the_cell_was_made_is_not_shown(gate: Served) -> None:
    gate.text("search_content", path=str(gate.top), pattern="CANARY open")  # and the next cell is made
    build(gate.top, ["file new/.env CANARY denied", "file new/plain CANARY open"])
    shown = gate.text("search_content", path=f"{gate.top}/new", pattern="CANARY", includeHidden=True)
    assert shown == f"{gate.top}/new/plain:1:1:CANARY open"


def test_file_of_several_names_is_not_shown_where_its_root_does_not_want_such_files(gate: Served, base: Path) -> None:
    os.link(base / "other/plain", base / "other/again")
    assert gate.text("search_content", path=str(base / "other"), pattern="CANARY") == "No matches found"


ODD: list[dict[str, Any]] = [
    {"pattern": "--pre=/bin/cat"},
    {"pattern": "-f/etc/passwd"},
    {"pattern": "-"},
    {"pattern": "--"},
    {"pattern": "CANARY", "glob": ["--pre=/bin/cat"]},
    {"pattern": "CANARY", "glob": ["-x", "--", "!--no-ignore"]},
    {"pattern": "$(touch planted)`touch planted`;touch planted"},
    {"pattern": "a\x00b"},
    {"pattern": "CANARY", "glob": ["a\x00b"]},
    {"pattern": "x" * 4096},
    {"pattern": "((((((((((" * 100},
    {"pattern": "[" * 4000},
    {"pattern": "(?:" * 900 + "x" + "){1,9}" * 900},
    {"pattern": "\\p{L}{1000}{1000}"},
]


def test_odd_arguments_stay_arguments(shared: Served) -> None:
    for arguments in ODD:
        result = shared.call("search_content", path=str(shared.top), **arguments)
        if result.is_error:
            assert result.structured is not None
            assert result.structured["error"]["code"] == "request.arguments", arguments
        shown = "\n".join(texts(result))
        assert "root:" not in shown, arguments
        assert "denied" not in shown.replace("denied.", ""), arguments
    assert not (shared.top / "planted").exists()


def runner_of(gate: Served) -> Runner:
    """What starts the gate's searches."""
    tool = gate.gate._registry.get("search_content")
    runner: Runner = tool.unavailable.__self__._runner  # type: ignore[union-attr]
    return runner


FORGED = [
    (Own.CONTENT, ("--pre=/bin/cat", "--regexp=x", "./")),
    (Own.CONTENT, ("--regexp=x", "--follow", "./")),
    (Own.CONTENT, ("--regexp=x", "--search-zip", "./")),
    (Own.CONTENT, ("--regexp=x", "/etc/passwd")),
    (Own.CONTENT, ("--regexp=x", "../../etc")),
    (Own.CONTENT, ("--regexp=x", "-f/etc/passwd", "./")),
    (Own.FILES, ("--follow", "./")),
    (Own.FILES, ("--ignore-file=/etc/passwd", "./")),
    (Own.NAMES, ("--match=x", "--top=/etc")),
    (Own.NAMES, ("--match=x", "/etc")),
    (":other", ()),
]


@pytest.mark.parametrize(("command", "arguments"), FORGED)
def test_launcher_runs_no_search_that_the_server_would_not_ask_for(
    base: Path, command: str, arguments: tuple[str, ...]
) -> None:
    build(base, ["dir work", "file work/x x"])
    with searched(base, [rules(base / "work")]) as gate:
        running = runner_of(gate).start(Request(command, arguments, "work", "", 5.0))
        try:
            with pytest.raises(SandboxSetupError, match="refuses what the gate allowed"):
                running.wait(10)
        finally:
            running.close()


@pytest.fixture
def crowded(base: Path) -> Iterator[Served]:
    """Two roots, of which one holds more protected names than a cell covers, and a command that has the other one."""
    build(base, ["file work/plain CANARY open", "file other/plain CANARY other", "file other/secret/key CANARY denied"])
    for number in range(MAX_NAMES // 2 + 1):
        directory = base / f"other/d{number}"
        directory.mkdir()
        (directory / ".env").write_text("CANARY denied")
    roots = [rules(base / "work", deny=DENY), rules(base / "other", name="other", deny=DENY)]
    say = python("say", "print('said')", roots={"work": Mode.RO})
    with searched(base, roots, commands=[say]) as running:
        yield running


def test_more_protected_names_than_can_be_covered_hinder_no_search_and_no_command(crowded: Served, base: Path) -> None:
    for root in ("work", "other"):
        shown = crowded.text("search_content", path=str(base / root), pattern="CANARY", includeHidden=True)
        assert shown.startswith(f"{base / root}/plain:1:1:CANARY")
        assert "denied" not in shown
    assert crowded.text("search_files", path=str(base / "other"), pattern="secret/**") == "No matches found"
    runner = runner_of(crowded)
    running = runner.start(Request("say", (), "work", "", 5.0))
    with closing(running):
        ending = running.wait(10)
        assert ending is not None
        assert ending.exit_code == 0


def test_root_that_went_hinders_no_search_in_another(gate: Served, base: Path) -> None:
    for _ in range(2):
        assert gate.text("search_content", path=str(base / "work/plain"), pattern="CANARY") != "No matches found"
        shutil.rmtree(base / "other", ignore_errors=True)
    assert f"{gate.top}/plain" in gate.text("search_files", path=str(gate.top), pattern="*").split("\n")
    assert gate.call("search_content", path=str(base / "other"), pattern="CANARY").is_error


@pytest.mark.parametrize("setting", every_setting(Layer.FULL, Layer.LANDLOCK))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_roots_in_a_root_are_searched_and_show_nothing_denied(
    base: Path, setting: Setting, order: tuple[int, ...]
) -> None:
    build(base, ["file work/plain CANARY open", "file work/inner/.env CANARY denied", "file work/inner/a CANARY open"])
    build(base, ["file work/secret/inner/key CANARY denied", "file work/inner/d/.env.local CANARY denied"])
    roots = [
        rules(base / "work", deny=DENY),
        rules(base / "work/inner", name="inner", mode=Mode.RO, deny=DENY),
        rules(base / "work/secret/inner", name="shut", mode=Mode.RO, deny=["**"]),
    ]
    with searched(base, [roots[each] for each in order], setting) as gate:
        for path in (base / "work", base / "work/inner"):
            shown = gate.text("search_content", path=str(path), pattern="CANARY", includeHidden=True).split("\n")
            assert f"{base}/work/inner/a:1:1:CANARY open" in shown
            assert not [line for line in shown if "denied" in line]
        names = gate.text("search_files", path=str(base / "work"), pattern="**").split("\n")
        assert f"{base}/work/inner/.env" in names
        assert not [name for name in names if name.startswith(f"{base}/work/secret/")]


def test_search_in_a_directory_that_goes_away_ends(gate: Served) -> None:
    for number in range(300):
        build(gate.top, [f"file going/d{number}/f x"])
    shutil.rmtree(gate.top / "going")
    for tool in ("search_content", "search_files"):
        error = gate.error(tool, path=f"{gate.top}/going", pattern="x")
        assert error["code"] == "resource.not_found"
