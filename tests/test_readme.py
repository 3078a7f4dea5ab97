"""What the documents tell a reader to type or to open exists, and the README begins with the two commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from fsserver.cli.main import main
from fsserver.policy.loader import load_policy
from fsserver.policy.service import Transport
from tests.support import REPOSITORY

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))

# Set-up puts the program there and nowhere else.
INSTALLED = ".venv/bin/fsserver"


class Block(NamedTuple):
    document: str
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(document.name, language, text) for language, text in found]


def all_blocks(language: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document) if block.language == language]


def typed_lines() -> list[str]:
    return sorted({line for block in all_blocks("sh") for line in block.text.splitlines() if line.strip()})


def server_entries(value: Any) -> list[list[str]]:
    """The command lines in a client's configuration, wherever they are nested."""
    if not isinstance(value, dict):
        return []
    if "command" in value:
        return [[value["command"], *value["args"]]]
    return [entry for inner in value.values() for entry in server_entries(inner)]


def expect_fsserver_accepts(arguments: list[str]) -> None:
    """Follow the verbs and parse the options, without running anything or looking at files."""
    command: click.Command = main
    while isinstance(command, click.Group):
        verb = arguments.pop(0)
        inner = command.get_command(click.Context(command), verb)
        assert inner is not None, f"{command.name} has no verb {verb!r}"
        command = inner
    command.make_parser(click.Context(command)).parse_args(arguments)


def test_the_readme_opens_with_the_two_commands() -> None:
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    assert lines[:6] == ["# fsserver", "", "```sh", "make demo", "make test", "```"]


@pytest.mark.parametrize("line", typed_lines())
def test_every_command_in_the_documents_exists(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    assert program != "fsserver", f"a shell finds it as {INSTALLED} only"
    if program == "make":
        assert {word for word in arguments if "=" not in word} <= MAKE_TARGETS
    elif program == "claude":
        assert arguments[:2] == ["mcp", "add"]
        served = arguments[arguments.index("--") + 1 :]
        assert Path(served[0]).name == "fsserver"
        expect_fsserver_accepts(served[1:])
    elif program == INSTALLED:
        expect_fsserver_accepts(arguments)
    elif "/" in program:
        assert (REPOSITORY / program).stat().st_mode & 0o111, f"{program} cannot be executed"
    else:
        assert shutil.which(program), f"{program} is no command of every system"


def test_set_up_makes_the_program_that_the_documents_type() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(INSTALLED).name in declared
    assert any(line.startswith(INSTALLED) for line in typed_lines())
    configured = {entry[0] for block in blocks_of_readme("json") for entry in server_entries(json.loads(block.text))}
    assert all(program.endswith("/" + INSTALLED) for program in configured)


def test_every_client_configuration_in_the_readme_starts_the_server() -> None:
    entries = [entry for block in blocks_of_readme("json") for entry in server_entries(json.loads(block.text))]
    assert entries
    for program, *arguments in entries:
        assert Path(program).name == "fsserver"
        expect_fsserver_accepts(arguments)


def test_the_example_of_style_is_what_the_code_has() -> None:
    (block,) = (block for block in blocks(REPOSITORY / "CONTRIBUTING.md") if block.language == "python")
    assert block.text in (REPOSITORY / "fsserver" / "paths" / "renaming.py").read_text()


def test_the_policy_in_the_readme_is_valid_alone_and_as_a_service(tmp_path: Path) -> None:
    """The second example says that it stands in a policy: in the first."""
    whole, served = (block.text for block in blocks_of_readme("yaml"))
    text = whole
    for name in ("project", "notes"):
        (tmp_path / name).mkdir()
        text = text.replace(f"/home/ada/{name}", str(tmp_path / name))
    policy_file = tmp_path / "policy.yaml"
    policy_file.write_text(text)
    policy_file.chmod(0o600)
    policy = load_policy(policy_file)
    assert {root.name for root in policy.roots} == {"project", "notes"}
    assert set(policy.commands) == {"pytest", "list", "publish"}
    policy_file.write_text(text + served)
    policy = load_policy(policy_file)
    assert policy.server.transport is Transport.HTTP
    assert [(rule.token, rule.profile) for rule in policy.principals] == [("ci", None), ("dashboard", "reviewer")]


def blocks_of_readme(language: str) -> list[Block]:
    return [block for block in blocks(REPOSITORY / "README.md") if block.language == language]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_exists(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    files = re.findall(r"`((?:fsserver|tests|docs|scripts|policies|deploy)/[\w./-]+)`", text)
    missing = [name for name in links if not (document.parent / name).exists()]
    missing += [name for name in files if not (REPOSITORY / name).exists()]
    assert not missing
