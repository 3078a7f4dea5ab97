"""The schema of audit records, for tests: what a log holds has to fit it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.support import REPOSITORY

SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "docs/audit.schema.json").read_text())
EVENTS = tuple(each["$ref"].removeprefix("#/$defs/") for each in SCHEMA["oneOf"])

MOST = 200  # records of one log that `require_fit` looks at: enough for all but a few tests, and fast


@cache
def _validator(event: str) -> Draft202012Validator:
    return Draft202012Validator(_inlined(SCHEMA["$defs"][event]))


def _inlined(schema: Any) -> Any:
    """Without references, which cost more to follow than everything else."""
    if isinstance(schema, list):
        return [_inlined(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: _inlined(value) for key, value in schema.items() if key != "$ref"}
    name = schema.get("$ref")
    return rest if name is None else {**_inlined(SCHEMA["$defs"][name.removeprefix("#/$defs/")]), **rest}


def misfits(record: Mapping[str, Any]) -> Sequence[str]:
    """Why a record does not fit; empty if it does."""
    if record["event"] not in EVENTS:
        return [f"there is no event {record['event']}"]
    return [f"{error.json_path}: {error.message}" for error in _validator(record["event"]).iter_errors(record)]


def require_fit(log: Path, *, beginning: str = "") -> None:
    """The first records of a log fit; ``beginning`` is of their events."""
    with open(log, "rb") as lines:
        for line in islice(lines, MOST):
            record = json.loads(line)
            if record["event"].startswith(beginning):
                assert not misfits(record), record
