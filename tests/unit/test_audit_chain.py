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
    seal,
    unseal,
)

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


def test_a_float_is_never_sealed() -> None:
    with pytest.raises(ValueError, match="float"):
        seal({**RECORD, "z": {"a": 1, "hash": 0.5}})


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
