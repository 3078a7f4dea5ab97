"""Numbers of the language: each with its unit, so that none can be misread."""

from __future__ import annotations

import re
from collections.abc import Callable

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.service import Rate
from fsserver.policy.text import shortened

SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_PATTERN = "^[1-9][0-9]{0,11}(B|KiB|MiB|GiB|TiB)$"
DURATION_PATTERN = "^[1-9][0-9]{0,11}(ms|s|m|h|d)$"
CALL_RATE_PATTERN = "^[1-9][0-9]{0,11}/([1-9][0-9]{0,3})?(s|m|h|d)$"
BYTE_RATE_PATTERN = "^[1-9][0-9]{0,11}(B|KiB|MiB|GiB|TiB)/([1-9][0-9]{0,3})?(s|m|h|d)$"
PERCENTAGE_PATTERN = r"^(100|[1-9]?[0-9](\.[0-9]{1,3})?)%$"

_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
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


def call_rate(text: str) -> Rate:
    """``"120/m"``, or ``"10/30s"`` for 10 in any 30 seconds. Raises `LanguageError`."""
    return _rate(text, _count, "calls", "120/m or 10/30s")


def byte_rate(text: str) -> Rate:
    """``"64MiB/h"``. Raises `LanguageError`."""
    return _rate(text, size_bytes, "bytes", "64MiB/h or 10MiB/30s")


def fraction(text: str) -> float:
    """``"10%"`` as 0.1. Raises `LanguageError`."""
    if not re.fullmatch(PERCENTAGE_PATTERN[1:-1], text):
        help_text = f'did you mean "{text}%"?' if re.fullmatch(PERCENTAGE_PATTERN[1:-2], text) else "such as 10%"
        raise LanguageError(Code.NUMBER, f'"{shortened(text)}" is not a percentage from 0% to 100%', help_text)
    return float(text[:-1]) / 100


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,11}", text):
        raise LanguageError(Code.NUMBER, f'"{shortened(text)}" is not a count')
    return int(text)


def _rate(text: str, amount_of: Callable[[str], int], things: str, example: str) -> Rate:
    amount, _, period = text.partition("/")
    found = re.fullmatch("([1-9][0-9]{0,3})?([A-Za-z]+)", period)
    try:
        number = amount_of(amount)
    except LanguageError:
        found = None
    if found is None or found[2] not in _PERIODS:
        meant = _DURATION_SPELLINGS.get(found[2].lower()) if found else None
        help_text = f"a number of {things}, a slash and a period of s, m, h or d: {example}"
        if found is not None and meant in _PERIODS:
            help_text = f'did you mean "{amount}/{found[1] or ""}{meant}"?'
        raise LanguageError(Code.NUMBER, f'"{shortened(text)}" is not how many {things} in how long', help_text)
    return Rate(number, int(found[1] or 1) * _PERIODS[found[2]])


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
