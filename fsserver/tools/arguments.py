"""Arguments of a call: the base model, strict numbers, small schemas, and errors that say what to write instead.

The wording and the prefix are the reference server's (observed on the wire), so that clients which parse it go on
working; unknown arguments, which it ignores, are refused here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fsserver.errors import BadArguments

SHOWN_PROBLEMS: Final = 8
SHOWN_NAME: Final = 60
MAX_NUMBER: Final = 2**53 - 1  # the largest whole number that every JSON implementation keeps exact

A = TypeVar("A", bound="Arguments")


class Arguments(BaseModel):
    """Base of every tool's arguments: camelCase on the wire, nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, defer_build=True)


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is 5. Anything else is left for the strict check to refuse."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


WholeNumber = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_NUMBER)]


def parse(tool: str, model: type[A], arguments: Mapping[str, Any]) -> A:
    """The validated arguments. A null for an optional argument counts as missing.

    Raises:
        BadArguments: names every argument that is wrong, up to a few.
    """
    fields = model.model_fields
    if None in arguments.values():
        required = {field.alias or name for name, field in fields.items() if field.is_required()}
        arguments = {name: value for name, value in arguments.items() if value is not None or name in required}
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        known = [field.alias or name for name, field in fields.items()]
        lines = [_wording(problem, model, known) for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"and {len(problems) - SHOWN_PROBLEMS} more")
        message = f"Invalid arguments for tool {tool}: " + "; ".join(lines)
    raise BadArguments("MCP error -32602: Input validation error: " + message)


_EXPECTED: Final = {
    "string_type": "string",
    "int_type": "whole number",
    "bool_type": "boolean",
    "list_type": "array",
    "model_type": "object",
    "model_attributes_type": "object",
}


def _wording(problem: Mapping[str, Any], model: type[Arguments], known: Sequence[str]) -> str:  # noqa: PLR0911 - a table
    """One problem in the reference's words where it has any."""
    kind, place, given = problem["type"], _place(problem["loc"]), problem["input"]
    context = problem.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1])[:SHOWN_NAME], known, n=1)
        return f"Unknown argument {place}" + (f" (did you mean {near[0]}?)" if near else "")
    if kind == "missing":
        return f"Invalid input: expected {_missing(model, problem['loc'])}, received undefined at {place}"
    if kind in _EXPECTED:
        return f"Invalid input: expected {_EXPECTED[kind]}, received {_kind(given)} at {place}"
    if kind == "literal_error":
        options = str(context["expected"]).replace("'", '"').replace(" or ", "|").replace(", ", "|")
        return f"Invalid option: expected one of {options} at {place}"
    if kind == "too_short":
        return f"Too small: expected array to have >={context['min_length']} items at {place}"
    if kind == "too_long":
        return f"Too big: expected array to have <={context['max_length']} items at {place}"
    if kind == "greater_than_equal":
        return f"Too small: expected number to be >={context['ge']} at {place}"
    if kind == "less_than_equal":
        return f"Too big: expected number to be <={context['le']} at {place}"
    if kind == "string_unicode":
        return f"Invalid input: expected Unicode text, received a lone surrogate at {place}"
    return f"Invalid input at {place}"


def _missing(model: type[Arguments], location: Sequence[str | int]) -> str:
    """The type of an argument that is not there. Inside an argument only texts are required."""
    for name, field in model.model_fields.items():
        if len(location) == 1 and (field.alias or name) == location[0] and get_origin(field.annotation) is list:
            return "array"
    return "string"


def _place(location: Sequence[str | int]) -> str:
    return ".".join(str(part)[:SHOWN_NAME] for part in location).encode("utf-8", "backslashreplace").decode()


def _kind(value: object) -> str:  # noqa: PLR0911 - one line a JSON type
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return f"number {value}" if -MAX_NUMBER <= value <= MAX_NUMBER else "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    if isinstance(value, dict):
        return "object"
    return "something else"


def input_schema(model: type[Arguments]) -> dict[str, Any]:
    """The JSON Schema of a model, without titles, nulls and indirections: every byte costs each user tokens."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    small = _small(schema, definitions)
    assert isinstance(small, dict)
    small.setdefault("properties", {})
    return small


def _small(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_small(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _small(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option != {"type": "null"}]
        node = {**options[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    small: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            small[key] = {name: _small(schema, definitions) for name, schema in value.items()}
        elif key in ("title", "maximum") or (key == "default" and value in (None, [])):
            continue
        elif key == "description" and "properties" in node:
            continue  # a class's docstring, written for us
        else:
            small[key] = _small(value, definitions)
    return small
