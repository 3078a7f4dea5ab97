"""Numbers of the language: each with its unit, so that none can be misread."""

from __future__ import annotations

import re

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.text import shortened

SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_PATTERN = "^[1-9][0-9]{0,11}(B|KiB|MiB|GiB|TiB)$"
DURATION_PATTERN = "^[1-9][0-9]{0,11}(ms|s|m|h|d)$"

_QUANTITY = re.compile(r"([0-9]{1,12}) ?([A-Za-z]*)")

# Other spellings, decimal units included: 1 MB is never taken for 1 MiB, but it is what people write first.
_SIZE_SPELLINGS = {"b": "B", "byte": "B", "bytes": "B"} | {
    spelling: unit
    for unit in ("KiB", "MiB", "GiB", "TiB")
    for spelling in (unit.lower(), unit[0].lower(), unit[0].lower() + "b")
}
_DURATION_SPELLINGS = {"": "s"} | {
    spelling: unit
    for unit, spellings in {
        "ms": ("ms", "msec", "millis", "milliseconds"),
        "s": ("s", "sec", "secs", "second", "seconds"),
        "m": ("m", "min", "mins", "minute", "minutes"),
        "h": ("h", "hr", "hour", "hours"),
        "d": ("d", "day", "days"),
    }.items()
    for spelling in spellings
}


def size_bytes(text: str) -> int:
    """``"20MiB"`` as bytes. Raises `LanguageError`."""
    number, unit = _quantity(text, "size", tuple(SIZE_UNITS), _SIZE_SPELLINGS)
    return number * SIZE_UNITS[unit]


def duration_s(text: str) -> float:
    """``"30s"`` as seconds. Raises `LanguageError`."""
    number, unit = _quantity(text, "duration", tuple(DURATION_UNITS), _DURATION_SPELLINGS)
    return number * DURATION_UNITS[unit]


def _quantity(text: str, kind: str, units: tuple[str, ...], spellings: dict[str, str]) -> tuple[int, str]:
    found = _QUANTITY.fullmatch(text)
    expected = f"a {kind} is a whole number and one of {', '.join(units)}"
    if not found:
        raise LanguageError(Code.NUMBER, f'"{shortened(text)}" is not a {kind}', expected)
    number, unit = int(found[1]), found[2]
    if number == 0:
        raise LanguageError(Code.NUMBER, f'"{text}": a {kind} is more than 0', "leave the key out for its default")
    if unit in units and text == f"{number}{unit}":
        return number, unit
    meant = spellings.get(unit.lower())
    message = f'"{text}" is not written as a {kind}' if unit else f'"{text}" has no unit'
    raise LanguageError(Code.NUMBER, message, f'did you mean "{number}{meant}"?' if meant else expected)
