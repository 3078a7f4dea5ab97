"""From bytes to lines: UTF-8 that a reviewer can see the whole of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from fsserver.policy.problems import Code, Place, Problem, Source

MAX_BYTES = 256 * 1024

_LINE_END = re.compile(r"\r\n|\n")
_SUSPECT = re.compile(r"[^\x20-\x7e]")

# Control, format (zero width, direction), surrogate, line and paragraph separator, spaces other than the plain one.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})


def decode(data: bytes, shown: str, label: str) -> tuple[Source, list[Problem]]:
    """The text's lines, and what is wrong with its characters."""
    if len(data) > MAX_BYTES:
        source = Source(shown, label, ("",))
        return source, [Problem(Code.TOO_BIG, Place(source, 1, 1, 1), f"more than {MAX_BYTES // 1024} KiB")]
    source = Source(shown, label, tuple(_LINE_END.split(data.decode(errors="replace"))))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = "a policy is UTF-8, and this is UTF-16"
        return source, [Problem(Code.NOT_TEXT, Place(source, 1, 1, 1), message, "save the file as UTF-8")]
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = _LINE_END.split(data[: error.start].decode())
        place = Place(source, len(before), len(before[-1]) + 1, 1)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        return source, [Problem(Code.NOT_TEXT, place, message, "save the file as UTF-8")]
    return source, list(_unseen(source))


def _unseen(source: Source) -> Iterator[Problem]:
    """One problem for each kind of character that cannot be seen, at its first place."""
    reported: set[str] = set()
    for number, line in enumerate(source.lines, start=1):
        if line.isascii() and line.isprintable():
            continue
        for found in _SUSPECT.finditer(line):
            character = found[0]
            if character not in reported and unicodedata.category(character) in _UNSEEN:
                reported.add(character)
                yield Problem(Code.NOT_TEXT, Place(source, number, found.start() + 1, 1), *_explain(character))


def _explain(character: str) -> tuple[str, str | None]:
    if character == "\t":
        return "a policy holds no tabs", r'indent with spaces; in double quotes write "\t"'
    if character == "\ufeff":
        return "a policy holds no byte order mark", "save the file as UTF-8 without a byte order mark"
    if character == "\0":
        return "a policy holds no NUL characters", None
    number = ord(character)
    escape = f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    name = unicodedata.name(character, "control character").lower()
    return (
        f"a character that cannot be seen: {name}, U+{number:04X}",
        f'in double quotes write "{escape}" if it is meant',
    )


def shortened(text: str) -> str:
    """A value for a message: one line, not long, nothing that moves the cursor."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(character if character.isprintable() else "\ufffd" for character in cut)
