"""The chain's rules, each broken alone."""

from __future__ import annotations

import hashlib
import json

import pytest

from fsserver.audit.chain import (
    GENESIS,
    START,
    ChainError,
    Position,
    UnknownVersionError,
    before,
    enter,
    follow,
    unseal,
)
from fsserver.audit.record import parse_at_sight
from tests.audit_logs import seal

RECORD = {
    "v": 1,
    "seq": 1,
    "event": "run.start",
    "time": "2026-01-01T00:00:00.000000Z",
    "prev": GENESIS,
    "a": {"hash": 1},
}
LINE, HEAD = seal(RECORD)


def test_hash_is_sha256_of_the_canonical_record_without_hash() -> None:
    body = json.dumps(RECORD, sort_keys=True, separators=(",", ":")).encode()
    assert Position(1, hashlib.sha256(body).hexdigest()) == HEAD
    assert json.loads(LINE) == {**RECORD, "hash": HEAD.head}
    assert json.dumps(json.loads(LINE), sort_keys=True, separators=(",", ":")).encode() + b"\n" == LINE


def test_sealed_record_is_unsealed_as_itself_and_follows() -> None:
    record = unseal(LINE)
    assert record == {**RECORD, "hash": HEAD.head}
    assert follow(record, START) == enter(record, START, None) == HEAD
    assert before(record) == START


HASH = f',"hash":"{HEAD.head}"'.encode()
BODY = LINE.replace(HASH, b"")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(LINE[:-1], id="no newline"),
        pytest.param(LINE[:-1] + b" \n", id="space at the end"),
        pytest.param(LINE[:-1] + b"\r\n", id="carriage return"),
        pytest.param(LINE + b"\n", id="empty line after it"),
        pytest.param(b" " + LINE, id="space before it"),
        pytest.param(b"\xef\xbb\xbf" + LINE, id="byte order mark"),
        pytest.param(LINE.replace(b":", b": ", 1), id="space inside"),
        pytest.param(LINE.replace(b"run.start", b"run\\u002estart"), id="needless escape"),
        pytest.param(LINE.replace(b"run.start", "rün.start".encode()), id="not ASCII"),
        pytest.param(LINE.replace(b'"v":1', b'"v":1.0'), id="float"),
        pytest.param(LINE.replace(b'"v":1', b'"v":01'), id="leading zero"),
        pytest.param(LINE.replace(b'"v":1', b'"v":1,"v":1'), id="repeated key"),
        pytest.param(LINE.replace(b'"v":1', b'"v":2'), id="changed value"),
        pytest.param(LINE.upper(), id="upper case"),
        pytest.param(BODY, id="hash removed"),
        pytest.param(b"{" + HASH[1:] + b"," + BODY[1:], id="hash moved to the front"),
        pytest.param(BODY[:-2] + HASH + b"}\n", id="hash moved to the end"),
        pytest.param(BODY.replace(b'"hash":1', b'"hash":1' + HASH), id="hash moved inside"),
        pytest.param(LINE.replace(HASH, HASH * 2), id="hash twice"),
        pytest.param(LINE.replace(HEAD.head.encode(), HEAD.head.upper().encode()), id="hash in upper case"),
        pytest.param(LINE.replace(HEAD.head.encode(), b"0" * 64), id="another hash"),
        pytest.param(LINE.replace(b'"' + HEAD.head.encode() + b'"', b"null"), id="no hash"),
        pytest.param(b"[" + LINE[:-1] + b"]\n", id="in a list"),
        pytest.param(LINE[:-1] * 2 + b"\n", id="twice on one line"),
        pytest.param(b"\n", id="empty"),
        pytest.param(b"null\n", id="null"),
        pytest.param(b"\0" * 100 + b"\n", id="NUL bytes"),
        pytest.param(b'{"a":' * 100_000 + b"\n", id="bottomless"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}\n", id="endless number"),
        pytest.param(b"\xff\xfe" + LINE.decode().encode("utf-16-le"), id="UTF-16"),
    ],
)
def test_line_that_is_not_its_own_record_is_refused(line: bytes) -> None:
    with pytest.raises(ChainError):
        unseal(line)


def sealed_as_is(body: bytes) -> bytes:
    """A line with the hash of its own bytes, in its place, whatever they are: by somebody who writes a log anew."""
    before, after = body[:-1].split(b',"prev"', 1)
    return before + b',"hash":"%s","prev"' % hashlib.sha256(body[:-1]).hexdigest().encode() + after + b"\n"


def test_sealed_as_it_is_a_canonical_body_is_a_record() -> None:
    assert sealed_as_is(BODY) == LINE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY.replace(b'"v":', b'"v": '), id="space after a colon"),
        pytest.param(BODY.replace(b'"v":', b'"v" :'), id="space before a colon"),
        pytest.param(BODY.replace(b',"v"', b', "v"'), id="space after a comma"),
        pytest.param(BODY.replace(b',"v"', b' ,"v"'), id="space before a comma"),
        pytest.param(BODY.replace(b"{", b"{ ", 1), id="space after a bracket"),
        pytest.param(BODY.replace(b"}\n", b" }\n"), id="space before a bracket"),
        pytest.param(BODY.replace(b"}\n", b"} \n"), id="space at the end"),
        pytest.param(b" " + BODY, id="space before it"),
        pytest.param(BODY.replace(b'"v":', b'"v":\t'), id="tab"),
        pytest.param(BODY.replace(b'"v":', b'"v":\n'), id="line end"),
        pytest.param(BODY.replace(b"}\n", b"}\r\n"), id="carriage return"),
        pytest.param(BODY.replace(b"run.start", b"run\\u002estart"), id="needless escape"),
        pytest.param(BODY.replace(b"run.start", b"run\\/start"), id="escaped slash"),
        pytest.param(BODY.replace(b"run.start", b"\\u00FC"), id="escape in capitals"),
        *(
            pytest.param(BODY.replace(b"run.start", b"\\\\" + escape), id=f"long escape {escape.decode()}")
            for escape in (b"\\u0008", b"\\u0009", b"\\u000a", b"\\u000c", b"\\u000d", b"\\u0020", b"\\u0022")
        ),
        *(
            pytest.param(BODY.replace(b"run.start", escape), id=f"needless escape {escape.decode()}")
            for escape in (b"\\u005c", b"\\u007e", b"\\u0061", b"\\n\\u0041")
        ),
        pytest.param(BODY.replace(b"run.start", b"\x7f"), id="delete, not escaped"),
        pytest.param(BODY.replace(b"run.start", "\u00fc".encode()), id="not ASCII"),
        pytest.param(BODY.replace(b'"v":1', b'"v":1.0'), id="float"),
        pytest.param(BODY.replace(b'"v":1', b'"v":1e0'), id="exponent"),
        pytest.param(BODY.replace(b'"v":1', b'"v":NaN'), id="NaN"),
        pytest.param(BODY.replace(b'"v":1', b'"v":-0'), id="minus zero"),
        pytest.param(BODY.replace(b'{"hash":1}', b"[-0]"), id="minus zero in a list"),
        pytest.param(BODY.replace(b'{"hash":1}', b"[1,-0]"), id="minus zero later in a list"),
        pytest.param(BODY.replace(b'"v":1', b'"v":1,"v":1'), id="repeated key"),
        pytest.param(BODY.replace(b'"hash":1', b'"hash":1,"hash":1'), id="repeated key inside"),
        pytest.param(BODY.replace(b'"v":1', b'"v":1,"u":1'), id="order of keys"),
        pytest.param(BODY.replace(b'"hash":1', b'"hash":1,"a":1'), id="order of keys inside"),
        pytest.param(BODY.replace(b'{"hash":1}', b'[{"b":1,"a":1}]'), id="order of keys in a list"),
        pytest.param(BODY[:-1] + b"{}\n", id="something after it"),
        pytest.param(b"[" + BODY[:-1] + b"]\n", id="in a list"),
    ],
)
def test_line_in_another_form_is_refused_though_its_hash_is_right(body: bytes) -> None:
    with pytest.raises(ChainError, match=r"form|JSON"):
        unseal(sealed_as_is(body))


@pytest.mark.parametrize(
    "text",
    ["a b", "a, b: c", "a\u00e9", "\u2028\ud800", 'say "x"\n', "-0", ":-0", "\x7f\0", "{ }", "", "\\"],
    ids=ascii,
)
def test_line_with_any_text_in_it_is_unsealed(text: str) -> None:
    record = {**RECORD, "a": {text: [text, -1, -10, 0], f"{text}b": text}}
    line, position = seal(record)
    assert unseal(line) == {**record, "hash": position.head}


def test_a_plain_line_is_taken_at_sight() -> None:
    """Or verifying would be slow, and nobody would notice."""
    assert parse_at_sight(LINE) == unseal(LINE)
    for text in ("some words", "\u00dcbung", 'a\n"b" \\ \x00\x0b\x1f\x7f\x80\ud800', "\U0001f600"):
        line, position = seal({**RECORD, "text": text, text: -1})
        assert parse_at_sight(line) == {**RECORD, "text": text, text: -1, "hash": position.head}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"seq": 3}, id="number too high"),
        pytest.param({"seq": 1}, id="number repeated"),
        pytest.param({"seq": "2"}, id="number as text"),
        pytest.param({"prev": GENESIS}, id="follows the beginning"),
        pytest.param({"prev": HEAD.head.upper()}, id="head in upper case"),
        pytest.param({"prev": None}, id="follows nothing"),
        pytest.param({"v": True}, id="version that is only equal to 1"),
    ],
)
def test_record_that_does_not_come_next_is_refused(changes: dict[str, object]) -> None:
    record = {**unseal(LINE), "seq": 2, "prev": HEAD.head}
    assert follow(record, HEAD).seq == 2
    with pytest.raises(ChainError):
        follow({**record, **changes}, HEAD)


def test_number_true_is_not_number_one() -> None:
    with pytest.raises(ChainError):
        follow({**unseal(LINE), "seq": True}, START)


@pytest.mark.parametrize("version", [2, None, "1"])
def test_other_version_is_told_apart_from_tampering(version: object) -> None:
    with pytest.raises(UnknownVersionError):
        follow({**unseal(LINE), "v": version}, START)


@pytest.mark.parametrize(
    ("changes", "previous"),
    [
        pytest.param({"event": "call.outcome"}, None, id="chain without its beginning"),
        pytest.param({"event": "log.continued", "previous": "a"}, None, id="second file as the first"),
        pytest.param({}, "a", id="first file as the second"),
        pytest.param({"event": "log.continued", "previous": "b"}, "a", id="continues another file"),
        pytest.param({"event": "log.continued"}, "a", id="continues no file"),
        pytest.param({"prev": "1" * 64}, None, id="first record follows something"),
    ],
)
def test_file_that_does_not_begin_here_is_refused(changes: dict[str, object], previous: str | None) -> None:
    with pytest.raises(ChainError):
        enter({**unseal(LINE), **changes}, START, previous)


@pytest.mark.parametrize("changes", [{"seq": 0}, {"seq": True}, {"seq": "1"}, {"prev": "0"}, {"prev": None}])
def test_record_that_says_no_place_has_none(changes: dict[str, object]) -> None:
    with pytest.raises(ChainError):
        before({**unseal(LINE), **changes})
