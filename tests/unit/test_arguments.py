"""Arguments: what fits, what does not, and in which words that is said."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from fsserver.errors import BadArguments
from fsserver.tools.arguments import parse
from fsserver.tools.catalog import file_tools

PREFIX = "MCP error -32602: Input validation error: Invalid arguments for tool {}: "
SHA = "0" * 64


def refusal(tool: str, arguments: dict[str, Any]) -> str:
    described = file_tools().get(tool)
    assert described is not None
    with pytest.raises(BadArguments) as caught:
        parse(tool, described.arguments, arguments)
    assert caught.value.message.startswith(PREFIX.format(tool))
    return caught.value.message.removeprefix(PREFIX.format(tool))


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("read_text_file", {}, "Invalid input: expected string, received undefined at path"),
        ("read_text_file", {"path": 5}, "Invalid input: expected string, received number at path"),
        ("read_text_file", {"path": None}, "Invalid input: expected string, received null at path"),
        ("read_text_file", {"path": "x", "head": "3"}, "Invalid input: expected number, received string at head"),
        ("read_text_file", {"path": "x", "head": True}, "Invalid input: expected number, received boolean at head"),
        ("read_text_file", {"path": "x", "head": 2.5}, "Invalid input: expected whole number, received 2.5 at head"),
        ("read_text_file", {"path": "x", "head": 0}, "Too small: expected number to be >=1 at head"),
        ("read_text_file", {"path": "x", "head": 1e300}, f"Too big: expected number to be <={2**53 - 1} at head"),
        ("read_text_file", {"path": "x", "haed": 1}, "Unknown argument haed (did you mean head?)"),
        ("read_text_file", {"path": "x", "zzz": 1}, "Unknown argument zzz"),
        ("read_text_file", {"path": "\ud800"}, "half of a surrogate pair at path"),
        ("read_text_file", {"path": "x", "\ud800": 1}, "half of a surrogate pair"),
        ("read_multiple_files", {"paths": []}, "Too small: expected array to have >=1 items at paths"),
        ("read_multiple_files", {}, "Invalid input: expected array, received undefined at paths"),
        ("read_multiple_files", {"paths": ["a", 1]}, "expected string, received number at paths[1]"),
        ("read_multiple_files", {"paths": ["a", "\udfff"]}, "half of a surrogate pair at paths[1]"),
        ("write_file", {"path": "x", "content": "\ud83d"}, "half of a surrogate pair at content"),
        (
            "write_file",
            {"path": "x", "content": "", "mode": "x"},
            'expected one of "overwrite"|"create"|"append" at mode',
        ),
        ("write_file", {"path": "x", "content": "", "expectedSha256": "00"}, "64 hexadecimal digits at expectedSha256"),
        ("edit_file", {"path": "x", "edits": [{"oldText": "a"}]}, "received undefined at edits[0].newText"),
        ("edit_file", {"path": "x", "edits": ["a"]}, "expected object, received string at edits[0]"),
        ("edit_file", {"path": "x", "edits": [{"oldText": "a", "newText": "\ud800"}]}, "at edits[0].newText"),
        ("list_allowed_directories", {"path": "x"}, "Unknown argument path"),
    ],
)
def test_bad_argument_is_named_with_what_was_expected(tool: str, arguments: dict[str, Any], says: str) -> None:
    assert says in refusal(tool, arguments)


def test_every_problem_is_told_up_to_a_few() -> None:
    said = refusal("write_file", {f"x{number}": 0 for number in range(30)})
    assert said.count("\n") == 8
    assert said.endswith("and 24 more")


CROWD = dict.fromkeys(map(str, range(65)), 1)


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        pytest.param("read_text_file", {"path": "x", **CROWD}, "", id="arguments"),
        pytest.param("edit_file", {"path": "x", "edits": [{}, CROWD]}, " at edits[1]", id="an_edit"),
        pytest.param("edit_file", {"path": "x", "edits": [{"oldText": CROWD}]}, " at edits[0].oldText", id="a_text"),
        pytest.param("read_text_file", {"path": "x", "y": [[{"z": CROWD}]]}, " at y[0][0].z", id="an_unknown_argument"),
    ],
)
def test_object_of_more_members_than_any_has_is_refused_as_a_whole(
    tool: str, arguments: dict[str, Any], says: str
) -> None:
    assert refusal(tool, arguments) == f"Too big: expected object to have <=64 members{says}"


def test_more_problems_than_an_honest_mistake_makes_are_counted() -> None:
    edit = {"oldText": "a", "newText": "b"}
    some = refusal("edit_file", {"path": "x", "edits": [{**edit, "old": 1}] * 999})
    assert some.endswith("and 991 more")
    many = refusal("edit_file", {"path": "x", "edits": [{**edit, "old": 1, "new": 2}] * 999})
    assert many == "1998 of them are wrong or unknown"


def test_a_million_unknown_arguments_are_refused_in_little_memory() -> None:
    arguments = dict.fromkeys(map(str, range(1_000_000)), 1)
    tracemalloc.start()
    try:
        refusal("read_text_file", arguments)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_as_many_edits_as_there_may_be_fit() -> None:
    tool = file_tools().get("edit_file")
    assert tool is not None
    parsed = parse("edit_file", tool.arguments, {"path": "x", "edits": [{"oldText": "a", "newText": "b"}] * 1000})
    assert len(parsed.model_dump()["edits"]) == 1000


@pytest.mark.parametrize("value", [5, 5.0])
def test_whole_numbers_may_have_a_point(value: float) -> None:
    tool = file_tools().get("read_text_file")
    assert tool is not None
    assert parse("t", tool.arguments, {"path": "x", "head": value}).model_dump()["head"] == 5


def test_null_is_missing_where_an_argument_is_optional() -> None:
    tool = file_tools().get("write_file")
    assert tool is not None
    parsed = parse("t", tool.arguments, {"path": "x", "content": "", "mode": None, "expectedSha256": None})
    assert parsed.model_dump()["mode"] == "overwrite"


def test_schemas_are_small_closed_and_say_something_of_every_parameter() -> None:
    for tool in file_tools().tools:
        schema = tool.input_schema
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(tool.paths) <= schema["properties"].keys()
        for name, parameter in schema["properties"].items():
            assert parameter["description"], f"{tool.name}.{name}"
            assert "$ref" not in json.dumps(parameter)
            assert "anyOf" not in parameter
    listed = [
        {"name": tool.name, "title": tool.title, "description": tool.description, "inputSchema": tool.input_schema}
        for tool in file_tools().tools
        if tool.listed
    ]
    assert len(json.dumps(listed, separators=(",", ":"))) < 9_500
