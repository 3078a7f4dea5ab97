"""Attacks on the command tools' own parameters: where a command runs, what it is told, and what JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fsserver.server import wire
from fsserver.tools.catalog import every_tool, file_tools
from fsserver.tools.registry import Annotations
from fsserver.transport import jsonrpc
from tests.attacks.test_every_tool_refuses_outside import HOSTILE, OUTSIDE, PROTECTED, REFUSED, build_hostile
from tests.commands import Commanded, command, commanded
from tests.gates import texts
from tests.trees import build, rules, snapshot

COMMANDS = (command("cat"), command("pwd"), command("printf"), command("touch"))

RUNS: dict[str, dict[str, Any]] = {
    "run_command": {"command": "touch", "args": ["attacked"]},
    "run_pipeline": {"stages": [{"command": "touch", "args": ["attacked"]}, {"command": "pwd"}]},
    "start_process": {"command": "touch", "args": ["attacked"]},
}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Commanded]:
    build_hostile(tmp_path, "harmless")
    with commanded(tmp_path, COMMANDS, [rules(tmp_path / "work", deny=["**/.env", "vault"])]) as running:
        yield running


def command_tools(gate: Commanded) -> list[Any]:
    files = set(file_tools().names())
    return [tool for tool in every_tool(gate.host).tools if tool.name not in files]


@pytest.mark.claim("C1")
@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", OUTSIDE | PROTECTED)
@pytest.mark.parametrize("tool", RUNS)
def test_directory_outside_or_protected_is_refused_and_recorded(
    gate: Commanded, tool: str, name: str, tmp_path: Path
) -> None:
    cwd = (OUTSIDE | PROTECTED)[name].format(out=tmp_path / "outside", top=gate.top)
    before = snapshot(tmp_path)
    error = gate.error(tool, cwd=cwd, **RUNS[tool])
    assert error["code"] in REFUSED, error
    assert not gate.runner.requests
    (record,) = gate.records()
    assert record["event"] == "call.refused"
    log = "state/" + Path(gate.log.path).name
    assert {**before, log: None} == {**snapshot(tmp_path), log: None}


def test_every_directory_parameter_is_declared_as_a_path(gate: Commanded) -> None:
    declared = {tool.name for tool in command_tools(gate) if tool.own_paths}
    assert declared == {tool.name for tool in command_tools(gate) if "cwd" in tool.input_schema["properties"]}
    assert declared == RUNS.keys()


METACHARACTERS = [
    "; id",
    "| id",
    "$(id)",
    "`id`",
    "&& id",
    "> /tmp/x",
    "*",
    "~",
    "$HOME",
    "\n",
    "'\"\\",
    "-",
    "--",
    "%n",
]


@pytest.mark.claim("C3")
@pytest.mark.parametrize("argument", METACHARACTERS)
def test_metacharacter_arrives_literally(gate: Commanded, argument: str) -> None:
    assert gate.run("printf", "%s", argument)["stdout"] == argument


@pytest.mark.claim("C3")
@pytest.mark.parametrize(
    "name", ["/bin/touch", "./touch", "../touch", "d/touch", "touch ", "touch\0", "TOUCH", "sh -c touch"]
)
def test_program_by_path_or_another_name_is_refused(gate: Commanded, name: str) -> None:
    build(gate.top, ["file touch planted"])
    assert gate.error("run_command", command=name)["code"] == "denied.command"
    assert not gate.runner.requests


@pytest.mark.parametrize("count", [4097, 20_000])
def test_too_many_arguments_are_refused(gate: Commanded, count: int) -> None:
    error = gate.error("run_command", command="touch", args=["x"] * count)
    assert error["code"] == "denied.command"
    assert not gate.runner.requests


def test_hostile_argument_never_breaks_a_command_tool(gate: Commanded, tmp_path: Path) -> None:
    outside = snapshot(tmp_path / "outside")
    handle = gate.structured("start_process", command="cat")["handle"]
    valid: dict[str, Any] = {"command": "pwd", "stages": [{"command": "pwd"}], "handle": handle, "input": "x"}
    for tool in command_tools(gate):
        required = tool.input_schema.get("required", [])
        for parameter in (*tool.input_schema["properties"], "no such parameter"):
            for name, value in HOSTILE.items():
                result = gate.call(tool.name, **{**{each: valid[each] for each in required}, parameter: value})
                for text in texts(result):
                    assert len(text.encode()) <= 65536, (tool.name, parameter, name)
                if result.is_error:
                    assert result.structured is not None
                    code = result.structured.get("error", {}).get("code")
                    assert code != "internal", (tool.name, parameter, name)
                jsonrpc.result(1, wire.call_result(result, None))
    assert snapshot(tmp_path / "outside") == outside


def test_schemas_are_small_closed_and_say_something_of_every_parameter(gate: Commanded) -> None:
    tools = command_tools(gate)
    for tool in tools:
        schema = tool.input_schema
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
        for name, parameter in schema["properties"].items():
            assert parameter["description"], f"{tool.name}.{name}"
            assert "$ref" not in json.dumps(parameter)
            assert "anyOf" not in parameter
        assert (tool.effect is None) == tool.annotations.read_only, tool.name
        assert isinstance(tool.annotations, Annotations)
    assert len(json.dumps([wire.tool(tool) for tool in tools], separators=(",", ":"))) < 6_000
