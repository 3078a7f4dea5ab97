"""What a tool call returns, before it is turned into protocol objects. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A text block. May hold lone surrogates only if a tool forgot `paths.display`; the server refuses those."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture. ``data`` is standard base64."""

    data: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound. ``data`` is standard base64."""

    data: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class Blob:
    """An embedded resource of any other kind. ``data`` is standard base64, ``uri`` a ``file://`` URI."""

    uri: str
    mime_type: str
    data: str


Content: TypeAlias = Text | Image | Audio | Blob


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One finished call.

    Attributes:
        content: the blocks, in order.
        is_error: the call failed; the text says why, and ``structured["error"]`` says it for programs.
        structured: ``structuredContent`` of the protocol, None for most results: text is not sent twice.
        meta: ``_meta`` of the protocol; keys are prefixed ``fsserver/``.
    """

    content: tuple[Content, ...]
    is_error: bool = False
    structured: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None


def text_result(*blocks: str, meta: Mapping[str, Any] | None = None) -> ToolResult:
    """A successful result of text blocks."""
    return ToolResult(tuple(Text(block) for block in blocks), meta=meta)
