"""Errors as results, and the last bound on a result's text."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from fsserver.errors import FsserverError, RateLimited, TooManyCalls
from fsserver.tools.result import Content, Text, ToolResult
from fsserver.tools.text.cutting import cut

CUT_NOTE: Final = "\n[cut here: the policy's limits.result is reached]"


def error_result(error: FsserverError, limit_bytes: int) -> ToolResult:
    """The error as a client sees it: a text for the model, and the same for programs under ``error``.

    ``retryAfter`` is in seconds, whole ones, as in HTTP.
    """
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "transient": error.transient}
    lines = [error.message]
    if error.rule is not None:
        fields["rule"] = error.rule
        lines.append(f"rule: {error.rule}")
    if error.allowed_instead is not None:
        fields["allowedInstead"] = error.allowed_instead
        lines.append(f"allowed instead: {error.allowed_instead}")
    if isinstance(error, RateLimited | TooManyCalls):
        fields["retryAfter"] = max(1, ceil(error.retry_after_s))
    text = cut("\n".join(lines), limit_bytes, CUT_NOTE)
    fields["message"] = cut(error.message, limit_bytes, CUT_NOTE)
    return ToolResult((Text(text),), is_error=True, structured={"error": fields})


def bounded(result: ToolResult, limit_bytes: int) -> ToolResult:
    """The result with at most ``limit_bytes`` of text (UTF-8).

    Tools stay below it and say how to go on; this holds also for one that forgot.
    """
    size = sum(len(block.text) for block in result.content if isinstance(block, Text))
    if size * 4 <= limit_bytes:
        return result
    left = limit_bytes
    content: list[Content] = []
    for block in result.content:
        if isinstance(block, Text):
            text = cut(block.text, left, CUT_NOTE)
            left = max(0, left - len(text.encode("utf-8", "surrogatepass")))
            content.append(block if text is block.text else Text(text))
        else:
            content.append(block)
    return ToolResult(tuple(content), result.is_error, result.structured, result.meta)


def size_of(result: ToolResult) -> int:
    """Bytes of all blocks: text in UTF-8, all else in base64 as it is sent."""
    return sum(
        len(block.text.encode("utf-8", "surrogatepass")) if isinstance(block, Text) else len(block.data)
        for block in result.content
    )
