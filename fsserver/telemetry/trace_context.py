"""The ``traceparent`` of W3C Trace Context, https://www.w3.org/TR/trace-context/. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_LONGEST: Final = 256  # characters; version 00 has 55, and later ones may only add to them


def traceparent(params: Mapping[str, Any] | None) -> str | None:
    """The one in a request's ``_meta``, cut to the fields of version 00; None where there is none that is valid."""
    meta = None if params is None else params.get("_meta")
    value = meta.get("traceparent") if isinstance(meta, Mapping) else None
    return valid(value) if isinstance(value, str) and len(value) <= _LONGEST else None


def valid(text: str) -> str | None:
    """The text with its first four fields, if it has the standard's form: a version, a trace, a span, flags."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace, span, more = found.groups()
    if version == "ff" or trace.strip("0") == "" or span.strip("0") == "" or (version == "00" and more is not None):
        return None
    return text[:55]


def trace_id(parent: str) -> str:
    """The trace of a valid ``traceparent``: 32 hexadecimal digits."""
    return parent[3:35]
