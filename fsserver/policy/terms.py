"""Texts and numbers that several sections of the language hold."""

from __future__ import annotations

from typing import Final

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.schema import Text, Word
from fsserver.policy.text import shortened
from fsserver.policy.units import (
    BYTE_RATE_PATTERN,
    CALL_RATE_PATTERN,
    DURATION_PATTERN,
    PERCENTAGE_PATTERN,
    SIZE_PATTERN,
    byte_rate,
    call_rate,
    duration_s,
    fraction,
    size_bytes,
)


def line(text: str) -> str:
    """A text of one line. Raises `LanguageError`."""
    if not text or len(text) > 4096 or not text.isprintable():
        raise LanguageError(Code.TYPE, f'"{shortened(text)}" is empty, too long, or not one line that can be printed')
    return text


def _call_rate(text: str) -> str:
    call_rate(text)
    return text


def _byte_rate(text: str) -> str:
    byte_rate(text)
    return text


LINE: Final = Text(line)
SIZE: Final = Text(size_bytes, "a size such as 20MiB", SIZE_PATTERN)
DURATION: Final = Text(duration_s, "a duration such as 30s", DURATION_PATTERN)
CALL_RATE: Final = Text(_call_rate, "a rate such as 120/m", CALL_RATE_PATTERN)
BYTE_RATE: Final = Text(_byte_rate, "a rate such as 64MiB/h", BYTE_RATE_PATTERN)
PERCENTAGE: Final = Text(fraction, "a percentage such as 10%", PERCENTAGE_PATTERN)
EFFECT: Final = Word("effect", ("allow", "ask", "deny"))
