"""Arguments of a call: the base model, strict numbers, small schemas, and errors that say what to write instead.

The wording and the prefix are the reference server's (observed on the wire), so that clients which parse it go on
working; unknown arguments, which it ignores, are refused here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fsserver.errors import BadArguments

SHOWN_PROBLEMS: Final = 8
SHOWN_NAME: Final = 60
MAX_MEMBERS: Final = 64
"""Of one object. No model has half as many, and for each member that a model does not know an error is made."""
MAX_PROBLEMS: Final = 1_000
"""Beyond these the problems are only counted. An honest mistake makes one for each of a thousand edits."""
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


WholeNumber = Annotated[int, Field(ge=1, le=MAX_NUMBER), BeforeValidator(_whole)]
Offset = Annotated[int, Field(ge=0, le=MAX_NUMBER), BeforeValidator(_whole)]


def parse(tool: str, model: type[A], arguments: Mapping[str, Any]) -> A:
    """The validated arguments. A null for an optional argument counts as missing.

    Raises:
        BadArguments: names every argument that is wrong, up to a few.
    """
    crowded = _crowded(arguments)
    if crowded is not None:
        raise _bad(tool, f"Too big: expected object to have <={MAX_MEMBERS} members" + (crowded and f" at {crowded}"))
    if None in arguments.values():
        required = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        arguments = {name: value for name, value in arguments.items() if value is not None or name in required}
    try:
        parsed = model.model_validate(arguments)
    except ValidationError as error:
        raise _bad(tool, "\n".join(_problems(error, model))) from None
    place = _not_unicode(parsed)
    if place is not None:
        raise _bad(tool, f"{HALF_PAIR} at {place.removeprefix('.')}")
    return parsed


def _bad(tool: str, problems: str) -> BadArguments:
    return BadArguments(f"MCP error -32602: Input validation error: Invalid arguments for tool {tool}: {problems}")


def _crowded(value: object, place: tuple[str | int, ...] = ()) -> str | None:
    """Where an object has more than `MAX_MEMBERS`; "" is the arguments themselves. The parser bounds the depth."""
    if isinstance(value, dict | Mapping):  # what is asked first is known without a call
        if len(value) > MAX_MEMBERS:
            return _place(place)
        items: Iterable[tuple[str | int, object]] = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return None
    for key, item in items:
        if isinstance(item, dict | list):
            found = _crowded(item, (*place, key))
            if found is not None:
                return found
    return None


def _problems(error: ValidationError, model: type[Arguments]) -> list[str]:
    """The first few in words, and how many there are."""
    count = error.error_count()
    if count > MAX_PROBLEMS:
        return [f"{count} of them are wrong or unknown"]
    known = [field.alias or name for name, field in model.model_fields.items()]
    problems = error.errors(include_url=False, include_context=True)
    lines = [_wording(problem, model, known) for problem in problems[:SHOWN_PROBLEMS]]
    if count > SHOWN_PROBLEMS:
        lines.append(f"and {count - SHOWN_PROBLEMS} more")
    return lines


def _not_unicode(value: object) -> str | None:
    """Where a string holds half of a surrogate pair, which JSON can spell and no file, name or result can hold."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return ""
    elif isinstance(value, list):
        for number, item in enumerate(value):
            place = _not_unicode(item)
            if place is not None:
                return f"[{number}]{place}"
    elif isinstance(value, Arguments):
        for name, item in value.__dict__.items():
            place = _not_unicode(item)
            if place is not None:
                return f".{to_camel(name)}{place}"
    return None


HALF_PAIR: Final = "Invalid input: expected Unicode text, received half of a surrogate pair"

# pydantic's kinds of errors, in the reference's words where it has any.
_WORDINGS: Final = {
    "string_type": "Invalid input: expected string, received {received}",
    "int_type": "Invalid input: expected number, received {received}",
    "float_type": "Invalid input: expected number, received {received}",
    "finite_number": "Invalid input: expected a finite number",
    "bool_type": "Invalid input: expected boolean, received {received}",
    "list_type": "Invalid input: expected array, received {received}",
    "model_type": "Invalid input: expected object, received {received}",
    "missing": "Invalid input: expected {missing}, received undefined",
    "literal_error": "Invalid option: expected one of {options}",
    "too_short": "Too small: expected array to have >={min_length} items",
    "too_long": "Too big: expected array to have <={max_length} items",
    "greater_than_equal": "Too small: expected number to be >={ge}",
    "greater_than": "Too small: expected number to be >{gt}",
    "less_than_equal": "Too big: expected number to be <={le}",
    "string_pattern_mismatch": "Invalid input: expected 64 hexadecimal digits",
    "string_unicode": HALF_PAIR,
}


def _wording(problem: Mapping[str, Any], model: type[Arguments], known: Sequence[str]) -> str:
    """One problem in words."""
    kind, place, given = problem["type"], _place(problem["loc"]), problem["input"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1])[:SHOWN_NAME], known, n=1)
        return f"Unknown argument {place}" + (f" (did you mean {near[0]}?)" if near else "")
    if kind == "int_type" and isinstance(given, float):
        return f"Invalid input: expected whole number, received {given!r} at {place}"
    context = problem.get("ctx", {})
    options = str(context.get("expected", "")).replace("'", '"').replace(" or ", "|").replace(", ", "|")
    missing = _missing(model, problem["loc"])
    wording = _WORDINGS.get(kind, "Invalid input")
    said = wording.format(received=_kind(given), missing=missing, options=options, **context)
    return f"{said} at {place}" if place else said


def _missing(model: type[Arguments], location: Sequence[str | int]) -> str:
    """The type of an argument that is not there. Inside an argument only texts are required."""
    for name, field in model.model_fields.items():
        if len(location) == 1 and (field.alias or name) == location[0] and get_origin(field.annotation) is list:
            return "array"
    return "string"


def _place(location: Sequence[str | int]) -> str:
    """``edits[0].newText``"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:SHOWN_NAME]}" for part in location)
    return "".join(parts).removeprefix(".").encode("utf-8", "backslashreplace").decode()


def _kind(value: object) -> str:  # noqa: PLR0911 - one line a JSON type
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
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
    properties = small.setdefault("properties", {})
    if "path" in properties:  # what matters most comes first
        small["properties"] = {"path": properties.pop("path"), **properties}
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
        elif key in ("title", "maximum", "maxItems", "pattern") or (key == "default" and not value):
            continue
        elif key == "description" and "properties" in node:
            continue  # a class's docstring, written for us
        else:
            small[key] = _small(value, definitions)
    return small
