"""What ``rg --json`` writes, in constant memory: messages of one line each, their long strings cut in the middle.

A line of a file may have a gigabyte, and a message holds it whole. What is kept of it is enough to say where the match
is. A cut message is JSON still.
"""

from __future__ import annotations

import re
from typing import Final

WHOLE_BYTES: Final = 256 * 1024
"""A message of no more is kept as it is."""

STRING_BYTES: Final = 8 * 1024
"""What is kept of each string of a longer message."""

MOST_BYTES: Final = 1024 * 1024
"""What is kept of a message; the rest is the matches that a line holds after the first thousands."""

_ENDS: Final = re.compile(rb'"|\\')


class JsonLines:
    """Takes bytes, gives back whole messages, each whole or cut so that it can be parsed. A sink of a `Pump`."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._long: _Shortened | None = None  # the message that has become long, instead of the bytes
        self._whole: list[bytes] = []

    def add(self, data: memoryview) -> None:
        *ended, begun = bytes(data).split(b"\n")
        for piece in ended:
            self._take(piece)
            self._end()
        if begun:
            self._take(begun)

    def taken(self) -> list[bytes]:
        """The whole messages since the last time."""
        whole, self._whole = self._whole, []
        return whole

    def _take(self, piece: bytes) -> None:
        if self._long is not None:
            self._long.add(piece)
        elif not self._begun and len(piece) <= WHOLE_BYTES:
            self._begun = bytearray(piece)
        else:
            self._begun += piece
            if len(self._begun) > WHOLE_BYTES:
                self._long = _Shortened()
                self._long.add(bytes(self._begun))
                self._begun.clear()

    def _end(self) -> None:
        if self._long is not None:
            self._whole.append(self._long.finish())
            self._long = None
        elif self._begun:
            self._whole.append(bytes(self._begun))
        self._begun = bytearray()


class _Shortened:
    """One message, as much of it as is kept.

    Where it is cut off for good it is completed: every array and object that is open then is closed.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._in_string = False
        self._escaped = False  # the next byte belongs to an escape that is left out
        self._room = 0  # of the string that is open
        self._closing: list[int] = []  # of the arrays and objects that are open
        self._full = False

    def add(self, piece: bytes) -> None:
        at = 0
        while at < len(piece) and not self._full:
            at = self._string(piece, at) if self._in_string else self._between(piece, at)

    def _between(self, piece: bytes, at: int) -> int:
        """Up to where the next string begins."""
        quote = piece.find(b'"', at)
        end = len(piece) if quote < 0 else quote + 1
        for number in range(at, end):
            byte = piece[number]
            if byte in b"{[":
                self._closing.append(b"}]"[byte == ord("[")])
            elif byte in b"}]":
                self._closing.pop()
                if len(self._kept) + number - at > MOST_BYTES:
                    self._kept += piece[at : number + 1]
                    self._full = True
                    return len(piece)
        self._kept += piece[at:end]
        if quote >= 0:
            self._in_string, self._room = True, STRING_BYTES
        return end

    def _string(self, piece: bytes, at: int) -> int:
        """Up to where the string ends. Escapes are kept whole or left out whole."""
        if not self._room:
            return self._skip(piece, at)
        found = _ENDS.search(piece, at)
        end = len(piece) if found is None else found.start()
        self._keep(piece[at:end])
        if end == len(piece) or not self._room:
            return end
        if piece[end] == ord("\\"):
            return self._escape(piece, end)
        self._close()
        return end + 1

    def _skip(self, piece: bytes, at: int) -> int:
        """What is not kept of a string, most of the message: whole escapes are put out of sight at once."""
        if self._escaped:
            self._escaped = False
            return at + 1
        rest = piece[at:].replace(rb"\\", b"__").replace(rb"\"", b"__")
        end = rest.find(b'"')
        if end < 0:
            self._escaped = rest.endswith(b"\\")
            return len(piece)
        self._close()
        return at + end + 1

    def _close(self) -> None:
        self._kept += b'"'
        self._in_string = False

    def _keep(self, text: bytes) -> None:
        kept = text[: self._room]
        self._kept += kept
        self._room -= len(kept)

    def _escape(self, piece: bytes, at: int) -> int:
        """A backslash and what it stands before; where this piece has it not whole, no more is kept of the string."""
        length = 6 if piece[at + 1 : at + 2] == b"u" else 2
        if at + length <= len(piece) and length <= self._room:
            self._keep(piece[at : at + length])
            return at + length
        self._room = 0
        return at

    def finish(self) -> bytes:
        """The message, as JSON."""
        if self._in_string:
            self._kept += b'"'
        return bytes(self._kept) + bytes(reversed(self._closing))
