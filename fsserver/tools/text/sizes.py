"""Sizes and names as the reference server prints and sorts them. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


def format_size(size: int) -> str:
    """``9 B``, ``1.24 KB``: powers of 1024, two decimals, halves rounded up as JavaScript's toFixed does."""
    if size <= 0:
        return "0 B"
    exponent = min((size.bit_length() - 1) // 10, len(_UNITS) - 1)
    if exponent == 0:
        return f"{size} B"
    unit = 1024**exponent
    hundredths = (size * 200 + unit) // (2 * unit)
    return f"{hundredths // 100}.{hundredths % 100:02d} {_UNITS[exponent]}"


def pad_end(text: str, width: int) -> str:
    """Filled with spaces to ``width``, counted in UTF-16 code units as JavaScript counts."""
    wide = 0 if text.isascii() else sum(character > "\uffff" for character in text)
    return text.ljust(width - wide)


# The order of ASCII in the root collation (CLDR), which is what localeCompare uses where no locale is set.
_ORDER: Final = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_PRIMARY: Final = {ord(character): place for place, character in enumerate(_ORDER)}
_PRIMARY_MAP: Final = {code: chr(place + 1) for code, place in _PRIMARY.items()}


def collation_key(name: str) -> tuple[str, str, str]:
    """Sorts nearly as localeCompare: punctuation, digits, letters; accents and then case only break ties.

    Exact for ASCII. Letters outside of it sort by base letter, then code point; no language's own rules apply.
    """
    if name.isascii():
        return name.lower().translate(_PRIMARY_MAP), "", name.swapcase()
    decomposed = unicodedata.normalize("NFD", name)
    base = "".join(c for c in decomposed if not unicodedata.combining(c))
    accents = "".join(c for c in decomposed if unicodedata.combining(c))
    return base.lower().translate(_PRIMARY_MAP), accents, name.swapcase()
