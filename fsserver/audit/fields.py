"""Fields of records that may hold anything, and text of theirs made safe to show. Pure.

*Trust.* A record that parses is still hostile: any field can have any type, any length and any character, since
clients choose paths and arguments, commands choose names, and a log can be written by hand.

*Invariant.* The accessors return the type they name or None. What `shown` returns is printable, on one line, bounded,
and valid Unicode: nothing in it acts on a terminal or turns the direction of writing. It is not escaped for any markup.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from fsserver.audit.record import Record

MOST: Final = 300  # characters of one text in a report or a table
LONGEST_NUMBER: Final = 2**64  # exclusive; what the writer bounds integers to


def text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    return value if type(value) is str else None


def number(record: Mapping[str, Any], key: str) -> int | None:
    """A count, a size or a duration: never negative."""
    value = record.get(key)
    return value if type(value) is int and 0 <= value < LONGEST_NUMBER else None


def members(record: Mapping[str, Any], key: str) -> Record:
    """The object under ``key``; empty if there is none."""
    value = record.get(key)
    return value if type(value) is dict else {}


def objects(record: Mapping[str, Any], key: str) -> list[Record]:
    """The objects of the list under ``key``; what else is in it is left out."""
    value = record.get(key)
    return [item for item in value if type(item) is dict] if type(value) is list else []


def words(record: Mapping[str, Any], key: str) -> list[str]:
    """The strings of the list under ``key``."""
    value = record.get(key)
    return [item for item in value if type(item) is str] if type(value) is list else []


def shown(value: object, most: int = MOST) -> str:
    """Any value as text of at most ``most`` characters that does nothing but be read.

    Of a longer text the beginning and the end stay. What is not printable (`str.isprintable`: control characters,
    those that turn the direction of writing, those without width, lone surrogates) becomes an escape as Python has it.
    """
    whole = value if type(value) is str else _plain(value)
    if len(whole) > most:
        kept = whole[: most // 2], whole[len(whole) - most // 3 :]
        whole = " … ".join(kept)  # before escaping: the work is bounded too
    if not whole.isprintable():
        whole = "".join(each if each.isprintable() else _escaped(each) for each in whole)
    if len(whole) > most:
        whole = whole[: most - 1] + "…"
    return whole


def quoted(value: str) -> str:
    """A text in the middle of a sentence, where an empty one or one with spaces would not be seen as one."""
    return shown(value) if value and " " not in value else f'"{shown(value)}"'


def _plain(value: object) -> str:
    """As JSON would have it, for what is no string: contents by size and hash, objects by their first members."""
    if value is None or type(value) is bool:
        return {None: "none", True: "yes", False: "no"}[value]
    if type(value) is dict:
        if "sha256" in value and "bytes" in value:
            start = f"{shown(value['start'], 80)}… " if "start" in value else ""
            return f"{start}[{_plain(value['bytes'])} bytes, sha256 {shown(value['sha256'], 64)}]"
        inner = ", ".join(f"{shown(key, 40)}: {shown(value[key], 80)}" for key in list(value)[:8])
        return "{" + inner + (", …}" if len(value) > 8 else "}")
    if type(value) is list:
        return "[" + ", ".join(shown(item, 80) for item in value[:8]) + (", …]" if len(value) > 8 else "]")
    if type(value) is int and abs(value) < LONGEST_NUMBER:
        return str(value)
    return f"({type(value).__name__})"


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def width(value: str) -> int:
    """How many columns a terminal gives to a shown text."""
    if value.isascii():
        return len(value)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in value
    )


def fitted(value: str, columns: int) -> str:
    """As much of a shown text as fits; an ellipsis says that something is missing."""
    if width(value) <= columns:
        return value
    kept, left = [], columns - 1
    for each in value:
        left -= width(each)
        if left < 0:
            break
        kept.append(each)
    return "".join(kept) + "…"
