"""What a line is; nothing in it makes the parser raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.transport import jsonrpc
from fsserver.transport.jsonrpc import MAX_VALUES, Malformed, Message, Notification, Request, Response, parse

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


def call(**arguments: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": arguments}}).encode()


FRAME = 6  # values of a call around the argument x: jsonrpc, id, method, params, arguments, x
LONG = 100_000


@pytest.mark.parametrize(
    ("argument", "fits"),
    [
        pytest.param(list(range(MAX_VALUES - FRAME - 2)), True, id="as many items as there may be"),
        pytest.param(list(range(MAX_VALUES)), False, id="one item too many"),
        pytest.param({str(each): 1 for each in range(MAX_VALUES)}, False, id="members"),
        pytest.param([[]] * MAX_VALUES, False, id="empty arrays"),
        pytest.param([{}] * MAX_VALUES, False, id="empty objects"),
        pytest.param([[[[{"a": [1]}]]]] * (MAX_VALUES // 5), False, id="few commas and many levels"),
        pytest.param([""] * 10 * MAX_VALUES, False, id="many strings"),
        pytest.param(["\\"] * MAX_VALUES, False, id="strings that end in a backslash"),
        pytest.param(['\\"'] * MAX_VALUES, False, id="strings that end in a quote"),
        pytest.param("," * LONG, True, id="a text of commas"),
        pytest.param('{"a": [1, 2], "b": {}},\n' * LONG, True, id="a text of JSON"),
        pytest.param("\\" * LONG + "," * LONG, True, id="a text of backslashes"),
        pytest.param('\\",' * LONG, True, id="a text of backslashes and quotes"),
        pytest.param('"\\,' * LONG, True, id="a text of quotes and backslashes"),
        pytest.param({",[{" * LONG: 1}, True, id="a long name"),
        pytest.param([{"oldText": "{,}" * 99, "newText": "[,]", "replaceAll": True}] * 999, True, id="999 edits"),
        pytest.param([f"src/[{each}],{{}}.txt" for each in range(9_000)], True, id="9,000 paths"),
    ],
)
def test_message_of_more_values_than_any_tool_takes_is_refused(argument: object, fits: bool) -> None:
    read = parse(call(x=argument))
    if fits:
        assert isinstance(read, Request)
        assert read.params == {"arguments": {"x": argument}}
    else:
        assert read == Malformed(None, -32600, "A message has at most 20000 members and items in all")


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
