"""The chain: how one record holds fast all those before it. Pure: nothing here opens, reads or writes.

*Trust.* Every byte of a log file is hostile: lines may be changed, invented, moved, repeated, or taken from another
log. Ours are SHA-256 (FIPS 180-4) and, when there is one, a head that was kept where the log's writer cannot reach.

*Invariant.* If `unseal` returns, the line is the one canonical form of its record and gives the hash it carries. If
`follow` also returns, the record comes next after the given position: its number is one higher and it carries the
hash of the record before. So a head fixes every byte of every record up to it, and a changed, removed, added or
moved record is found at it or at the one after it. What no chain can see is a tail cut off at the end of a record,
or a whole log written anew: that takes a head kept elsewhere.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from fsserver.audit.record import LOG_CONTINUED, RUN_START, VERSION, Record, canonical, parse, parse_at_sight

GENESIS = "0" * 64


class ChainError(Exception):
    """A line is not what comes next. ``reason`` completes the sentence "this record ..." and shows nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownVersionError(ChainError):
    """The record is sound, but of a form that this program does not know."""


class Position(NamedTuple):
    """A place in a chain: the number and the hash of the last record so far."""

    seq: int
    head: str


START = Position(0, GENESIS)


def seal(record: str, seq: int) -> tuple[bytes, Position]:
    """The line of record number ``seq``, and the position after it.

    ``record`` is its canonical form, but for a newline where the sorted keys have the hash: SHA-256 over the rest.
    """
    start, _, end = record.partition("\n")
    head = sha256((start + end).encode("ascii")).hexdigest()
    return f'{start},"hash":"{head}"{end}\n'.encode("ascii"), Position(seq, head)


def unseal(line: bytes) -> Record:
    """The record, ``hash`` included, of one line with its newline. Raises ChainError if a byte of it is not its own."""
    record = parse_at_sight(line)
    if record is None:
        record = _parse(line)
    # In canonical text a quote inside a string is escaped, so this pattern is a member of an object and nothing else.
    # The record's own ``hash`` is one, unless it is missing or the first key. Should another member with the same value
    # come before it, then what is hashed below holds its own hash, which nobody can make come out.
    text = line.decode("ascii")
    head = record.get("hash")
    member = f',"hash":"{head}"'
    start = text.find(member)
    end = start + len(member)
    if start < 0:
        raise ChainError("has no hash of its own")
    if sha256(line[:start] + line[end:-1]).hexdigest() != head:
        raise ChainError("was changed: its bytes do not give the hash that it carries")
    return record


def _parse(line: bytes) -> Record:
    """The record of any line. Raises ChainError unless the line is its canonical form."""
    try:
        text = line.decode("ascii")
        record = parse(text)
        form = canonical(record)
    except (ValueError, RecursionError):
        raise ChainError("is not JSON, or none that a record could hold") from None
    if line[-1:] != b"\n" or form != text[:-1]:
        raise ChainError("is not in the form it was written in: white space, order of keys or an escape was changed")
    return record


def follow(record: Record, after: Position) -> Position:
    """The position after an unsealed `record` that comes next after `after`. Raises ChainError if it does not."""
    seq = record.get("seq")
    if seq != after.seq + 1 or type(seq) is not int:
        raise ChainError(f"does not have number {after.seq + 1}: a record was removed, added, repeated or moved")
    if record.get("prev") != after.head:
        raise ChainError("does not carry the hash of the record before it: one of the two is from elsewhere")
    if record.get("v") != VERSION or type(record["v"]) is not int:
        raise UnknownVersionError("has a version that this program does not know")
    return Position(seq, record["hash"])


def enter(record: Record, after: Position, previous: str | None) -> Position:
    """As `follow`, for the first record of a file: that of a run, or after a rotation one that names `previous`."""
    event = record.get("event")
    if event != RUN_START if previous is None else (event, record.get("previous")) != (LOG_CONTINUED, previous):
        raise ChainError("does not begin a file here: the records before it were removed, or the file was renamed")
    return follow(record, after)


def before(record: Record) -> Position:
    """The position that an unsealed `record` says it follows, unchecked. Raises ChainError if it says none."""
    seq, prev = record.get("seq"), record.get("prev")
    if type(seq) is not int or seq < 1 or type(prev) is not str or len(prev) != 64:
        raise ChainError("does not say which record it follows")
    return Position(seq - 1, prev)
