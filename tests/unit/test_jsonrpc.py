"""What a line is; nothing in it makes the parser raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.transport import jsonrpc
from fsserver.transport.jsonrpc import Malformed, Message, Notification, Request, Response, parse

ROWS: tuple[tuple[bytes, Message | None], ...] = (
    (b'{"jsonrpc":"2.0","id":1,"method":"m"}', Request(1, "m", None, 37)),
    (b'{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1}}', Request("a", "m", {"x": 1}, 56)),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}', Request(1, "m", None, 51)),
    (b'{"jsonrpc":"2.0","method":"m"}', Notification("m", None)),
    (b'{"jsonrpc":"2.0","id":1,"result":{}}', Response(1, {}, None)),
    (b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}', Response(1, None, {"code": 1})),
    (
        b'{"jsonrpc":"2.0","id":1,"result":5}',
        Malformed(1, -32600, "A message is a request, a notification or a response"),
    ),
    (b" \r", None),
)


@pytest.mark.parametrize(("line", "message"), ROWS)
def test_a_line_is_read_as(line: bytes, message: Message | None) -> None:
    assert parse(line) == message


@given(st.binary())
def test_no_bytes_make_the_parser_raise(line: bytes) -> None:
    parse(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": JSON,
        "method": JSON,
        "params": JSON,
        "result": JSON,
        "error": JSON,
    },
)


@given(MESSAGES)
def test_any_object_is_classified_and_its_id_can_be_sent_back(message: object) -> None:
    match parse(json.dumps(message).encode("utf-8", "surrogatepass")):
        case Request(id=identifier) | Malformed(id=identifier):
            assert json.loads(jsonrpc.error(identifier, 1, "m"))["id"] == identifier


ANSWERS = (
    (jsonrpc.result(1, {"a": "ü"}), {"id": 1, "result": {"a": "ü"}}),
    (jsonrpc.error(None, -1, "m"), {"id": None, "error": {"code": -1, "message": "m"}}),
    (jsonrpc.error("x", -1, "m", [1]), {"id": "x", "error": {"code": -1, "message": "m", "data": [1]}}),
    (jsonrpc.call("m", None), {"method": "m"}),
    (jsonrpc.call("m", {"a": 1}, "x"), {"id": "x", "method": "m", "params": {"a": 1}}),
)


@pytest.mark.parametrize(("line", "message"), ANSWERS)
def test_what_is_sent_has_the_form_of_json_rpc(line: bytes, message: dict[str, object]) -> None:
    assert json.loads(line) == {"jsonrpc": "2.0", **message}


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", "\0"])
def test_an_answer_is_one_line_whatever_is_in_it(text: str) -> None:
    line = jsonrpc.result(1, {"text": text})
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["result"]["text"] == text


@pytest.mark.parametrize("value", [{"a": "\ud800"}, {"a": object()}])
def test_what_is_no_json_is_not_sent(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"serializ|surrogates"):
        jsonrpc.result(1, value)
