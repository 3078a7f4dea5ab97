"""What one audit record is: its one form as bytes, and what of a call goes into it.

A record is one JSON object in *canonical form* (RFC 8259, made unique): keys sorted by code point, no spaces, every
character outside ASCII written as ``\\uXXXX``. ASCII only is chosen on purpose: a file name that is not UTF-8 (a lone
surrogate in memory), U+2028, a bidi override or an escape sequence is then plain text in the file, survives every
tool that cuts at lines, and cannot act on the terminal that shows the log. Numbers are integers of at most 64 bits;
times and sizes are integers in the unit that the key's name ends in (``_us``, ``_bytes``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeAlias

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
Record: TypeAlias = dict[str, Any]

VERSION = 1
MAX_RECORD_BYTES = 4 * 1024**2  # a whole argv fits: Linux bounds it to 2 MiB and an escape doubles common text at most
MAX_DEPTH = 16

RUN_START = "run.start"
RUN_END = "run.end"
LOG_HEALED = "log.healed"
LOG_ROTATED = "log.rotated"
LOG_CONTINUED = "log.continued"
CALL_INTENT = "call.intent"
CALL_OUTCOME = "call.outcome"
CALL_REFUSED = "call.refused"
LOG_CHECKPOINT = "log.checkpoint"
LOG_REMOVED = "log.removed"

# How the first record of a file begins in canonical form: no key comes before ``event`` there.
_BEGINNINGS = tuple(f'{{"event":"{event}",'.encode("ascii") for event in (RUN_START, LOG_CONTINUED))

# The escapes of canonical form: the short ones, and the others for what is not printable ASCII and has no short one.
_ESCAPES = re.compile(rb'\\(?:["\\bfnrt]|u(?!00(?:0[89acd]|[2-6].|7[0-9a-e]))[0-9a-f]{4})')

# For `parse_at_sight`: all that stands between values becomes a colon, and all that has another spelling a backslash.
_SHAPES = bytes(
    ord(":") if chr(byte) in "{}[],:" else byte if 0x20 <= byte < 0x7F else ord("\\") for byte in range(256)
)

RESERVED = frozenset({"v", "seq", "time", "up_us", "event", "prev", "hash"})

# Members of a record that this program makes and that others rest on. In a call's arguments nothing is ours.
OURS = frozenset(
    {"v", "seq", "time", "up_us", "event", "prev", "hash", "run", "session", "rule", "file", "head", "digest", "sha256"}
    | {"cut_sha256", "policy_digest", "key", "public_key", "signature", "signed_head"}
    # Who called, in the operator's or the issuer's words, and which request it was: without, nothing is accounted for.
    | {"principal", "profile", "request", "trace"}
    # One of a few words of ours: a pattern of the policy's that fits one would make a record without a meaning.
    | {"action", "answer", "change", "durability", "ended_by", "error", "kind", "layer", "signal", "transport"}
)


class Shown:
    """A field's value in canonical form: whoever makes one has written no other.

    Attributes:
        searched: what may hold a secret of it, as it is written.
    """

    __slots__ = ("searched", "text")

    def __init__(self, text: str, searched: str) -> None:
        self.text = text
        self.searched = searched


def _no_json(value: object) -> NoReturn:
    raise TypeError(f"a record holds no {type(value).__name__}")


def _encoder() -> Callable[[Record], str]:
    """What `json.JSONEncoder.encode` does, which makes the encoder in C anew for each record; here that is made once.

    Where this Python has no such encoder, or another, it is that method itself.
    """
    plain: Callable[[Record], str] = json.JSONEncoder(
        ensure_ascii=True, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode
    try:
        in_c = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, _no_json, json.encoder.encode_basestring_ascii, None, ":", ",", True, False, False
        )
    except (AttributeError, TypeError):
        return plain
    join = "".join
    return lambda record: join(in_c(record, 0))


# The canonical form of a string, also of a StrEnum, as its text.
quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii

# The one form of a record: ASCII text without a newline, so characters are bytes.
canonical: Callable[[Record], str] = _encoder()


def may_begin_a_log(data: bytes) -> bool:
    """Whether a file that begins with ``data``, which can be all of it, may be a log; it can be torn in there."""
    return any(data.startswith(beginning) or beginning.startswith(data) for beginning in _BEGINNINGS)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"a record holds no such number: {text[:40]}")


_decode = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number).raw_decode


def parse(text: str) -> Record:
    """The JSON object at the beginning of `text`; what follows it is not looked at.

    Raises ValueError for anything else, also for floats, numbers of thousands of digits and bottomless nesting.
    """
    try:
        value, _ = _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(value) is not dict:
        raise ValueError("not an object")
    return value


def _in_order(pairs: list[tuple[str, Any]]) -> Record:
    """One object. Raises ValueError if a key is not after the one before it, so also if it is there twice."""
    last = ""
    for key, _ in pairs:
        if key <= last:
            raise ValueError("keys out of order")
        last = key
    return dict(pairs)


_decode_in_order = json.JSONDecoder(
    object_pairs_hook=_in_order, parse_float=_refuse_number, parse_constant=_refuse_number
).raw_decode


def parse_at_sight(line: bytes) -> Record | None:
    """The record whose canonical form is `line` without its newline. None: only `parse` and `canonical` can tell.

    Writing a record anew takes longer than all else that is done to verify it, and nearly every line shows without it
    that it is canonical. What two texts of one record can differ in is: space outside strings, the spelling of
    characters in strings, the order and number of keys, and ``-0`` for ``0``. So a line is only taken here if it is
    printable ASCII without other escapes than canonical ones, no space is beside a bracket, comma or colon (one outside
    strings always is), ``-0`` is nowhere that a number could begin, and each key is after the one before it.
    """
    shapes = (_ESCAPES.sub(b"", line[:-1]) if b"\\" in line else line[:-1]).translate(_SHAPES)
    if line[-1:] != b"\n" or b"\\" in shapes or b":-0" in shapes:
        return None
    if b" " in shapes and (b": " in shapes or b" :" in shapes):
        return None
    try:
        value, end = _decode_in_order(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return value if end == len(line) - 1 and type(value) is dict else None


def content(value: str | bytes) -> dict[str, Json]:
    """What a record says of contents: not the contents, but enough to recognise them. ``bytes`` counts UTF-8."""
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def summarise(arguments: Mapping[str, object], content_parameters: Collection[str]) -> Shown:
    """The arguments of a call as a record shows them, however large or odd they are: at most about 64 Ki characters.

    A string under a key of `content_parameters`, at any depth, becomes ``{"bytes": n, "sha256": hex}``. A string of
    more than 4,096 characters, or more than are left of the 64 Ki, becomes the same with ``start``, its first
    characters. A list shows its first 64 items and then ``{"cut": n}``; an object its first 64 keys and ``"cut": n``;
    both stop earlier when nothing is left. Five levels down, only the kind of what was there is shown. A number
    that is not an integer of 64 bits becomes ``{"number": text}``.
    """
    text = _Summary(frozenset(content_parameters)).members(arguments, depth=5)
    return Shown(text, text)


class _Summary:
    """One walk over the arguments, with the number of characters that may still be shown. It writes canonical form."""

    MAX_STRING = 4096
    MAX_ITEMS = 64
    OVERHEAD = 16  # what any value costs, so that a million empty ones end too

    def __init__(self, content_parameters: frozenset[str]) -> None:
        self._content = content_parameters
        self._left = 64 * 1024

    def members(self, value: Mapping[Any, object], depth: int) -> str:
        shown: dict[str, str] = {}
        for key, item in islice(value.items(), self.MAX_ITEMS):
            if self._left <= 0:
                break
            name = str(key)
            if len(name) > 128:
                name = f"{name[:128]}#{content(name)['sha256']}"
            self._left -= len(name) + self.OVERHEAD
            if isinstance(item, str):
                shown[name] = canonical(content(item)) if name in self._content else self._text(item)
            else:
                shown[name] = self._show(item, depth - 1)
        if len(value) > len(shown):
            shown["cut"] = str(len(value) - len(shown))
        return f"{{{','.join([f'{quoted(name)}:{shown[name]}' for name in sorted(shown)])}}}"

    def _list(self, value: Sequence[object], depth: int) -> str:
        shown: list[str] = []
        for item in islice(value, self.MAX_ITEMS):
            if self._left <= 0:
                break
            self._left -= self.OVERHEAD
            shown.append(self._show(item, depth - 1))
        if len(value) > len(shown):
            shown.append(canonical({"cut": len(value) - len(shown)}))
        return f"[{','.join(shown)}]"

    def _show(self, value: object, depth: int) -> str:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, (int, float)):
            return _number(value)
        if depth > 0 and isinstance(value, Mapping):
            return self.members(value, depth)
        if depth > 0 and isinstance(value, (list, tuple)):
            return self._list(value, depth)
        return canonical({"cut": type(value).__name__})

    def _text(self, value: str) -> str:
        if len(value) <= min(self.MAX_STRING, self._left):
            self._left -= len(value)
            return quoted(value)
        start = value[: max(0, min(256, self._left))]
        self._left -= len(start) + 100
        return canonical({**content(value), "start": start})


def _number(value: float) -> str:
    if isinstance(value, float):
        return canonical({"number": repr(value)})
    return str(value) if -(2**63) <= value < 2**64 else canonical({"number": hex(value)[:80]})
