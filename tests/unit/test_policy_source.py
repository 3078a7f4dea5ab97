"""The composer: which YAML is taken, which is refused, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fsserver.policy.problems import Code
from fsserver.policy.source import MAX_DEPTH, MAX_NODES, parse
from fsserver.policy.text import MAX_BYTES


def found(text: str | bytes) -> list[tuple[str, int, int, int]]:
    data = text.encode() if isinstance(text, str) else text
    return [(p.code.value, p.line, p.column, p.length) for p in parse(data, "t.yaml", "t.yaml").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a: 1\nb: [x, 'y', \"z\"]\n", {"a": 1, "b": ["x", "y", "z"]}, id="block and flow"),
        pytest.param("a: true\nb: false\n", {"a": True, "b": False}, id="booleans"),
        pytest.param("a:\nb: ~\nc: null\n", {"a": None, "b": None, "c": None}, id="nothing"),
        pytest.param("a: 'yes'\nb: \"010\"\nc: '1:30'\n", {"a": "yes", "b": "010", "c": "1:30"}, id="quotes make text"),
        pytest.param("a: 2024-01-01\n", {"a": "2024-01-01"}, id="a date is text"),
        pytest.param("a: 1.2.3\nb: 1h\nc: -5\nd: 2.5\n", {"a": "1.2.3", "b": "1h", "c": -5, "d": 2.5}, id="numbers"),
        pytest.param("a: |\n  x\n  y\n", {"a": "x\ny\n"}, id="block text"),
        pytest.param("a: 'x\n  y'\nb: [\n  x,\n  y\n]\n", {"a": "x y", "b": ["x", "y"]}, id="several lines"),
        pytest.param("---\na: 1\n...\n", {"a": 1}, id="document markers"),
        pytest.param("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}, id="CRLF"),
        pytest.param("é: 日本\n", {"é": "日本"}, id="not ASCII"),
        pytest.param('"on": 1\n', {"on": 1}, id="quoted key"),
        pytest.param("a: [y, n, Y]\n", {"a": ["y", "n", "Y"]}, id="letters are text"),
    ],
)
def test_plain_yaml_has_its_plain_meaning(text: str, value: Any) -> None:
    parsed = parse(text.encode(), "t.yaml", "t.yaml")
    assert parsed.problems == []
    assert parsed.root is not None
    assert parsed.root.plain() == value


def test_json_works() -> None:
    value = {"version": 1, "roots": {"a": {"path": "/x", "deny": ["**/.env", {"glob": "*.pem"}]}}, "t": [True, 1.5]}
    for indent in (None, 2):
        parsed = parse(json.dumps(value, indent=indent).encode(), "t.json", "t.json")
        assert parsed.root is not None
        assert (parsed.root.plain(), parsed.problems) == (value, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: 1\na: 2\n", [("E005", 2, 1, 1)], id="duplicate key"),
        pytest.param("a: {b: 1, b: 2}\n", [("E005", 1, 11, 1)], id="duplicate key in flow"),
        pytest.param("a: 1\n'a': 2\n", [("E005", 2, 1, 3)], id="duplicate key in quotes"),
        pytest.param("a:\n  - b\n    - c\n", [("E004", 2, 5, 1)], id="an item that continues the one before"),
        pytest.param("a: b\n  c\n", [("E004", 1, 4, 1)], id="text without quotes in two lines"),
        pytest.param("a: [b\n  c]\n", [("E004", 1, 5, 1)], id="text without quotes in two lines, in flow"),
        pytest.param("a: !!str 1\n", [("E004", 1, 4, 7)], id="standard tag"),
        pytest.param("a: !!python/object:os.system x\n", [("E004", 1, 4, 27)], id="Python tag"),
        pytest.param("a: !x {b: 1}\n", [("E004", 1, 4, 4)], id="tag on a map"),
        pytest.param("a: &x 1\nb: *x\n", [("E004", 1, 4, 4), ("E004", 2, 4, 2)], id="anchor and alias"),
        pytest.param("a: &x {}\nb: {<<: *x}\n", [("E004", 1, 4, 4), ("E004", 2, 5, 2), ("E004", 2, 9, 2)], id="merge"),
        pytest.param("*a : 1\n", [("E004", 1, 1, 2)], id="alias as a key"),
        pytest.param("%YAML 1.1\n---\na: 1\n", [("E004", 1, 1, 9)], id="directive"),
        pytest.param("a: 1\n---\nb: 1\n", [("E004", 2, 1, 3)], id="two documents"),
        pytest.param("? [a]\n: 1\n", [("E004", 1, 3, 1)], id="list as a key"),
        pytest.param("1: a\n", [("E004", 1, 1, 1)], id="number as a key"),
        pytest.param("true: a\n", [("E004", 1, 1, 4)], id="boolean as a key"),
        pytest.param("a:\n\tb: 1\n", [("E002", 2, 1, 1)], id="tab"),
        pytest.param("a: 1\t# x\n", [("E002", 1, 5, 1)], id="tab before a comment"),
        pytest.param("a: yes\n", [("E006", 1, 4, 3)], id="yes"),
        pytest.param("a: [Off, NO, On]\n", [("E006", 1, 5, 3), ("E006", 1, 10, 2), ("E006", 1, 14, 2)], id="no on off"),
        pytest.param("no: 1\n", [("E006", 1, 1, 2)], id="no as a key"),
        pytest.param("a: True\n", [("E006", 1, 4, 4)], id="capital True"),
        pytest.param("a: NULL\n", [("E006", 1, 4, 4)], id="capital NULL"),
        pytest.param("a: 0644\n", [("E006", 1, 4, 4)], id="octal of YAML 1.1"),
        pytest.param("a: 0o644\n", [("E006", 1, 4, 5)], id="octal of YAML 1.2"),
        pytest.param("a: 0x1F\n", [("E006", 1, 4, 4)], id="hexadecimal"),
        pytest.param("a: 1:30\n", [("E006", 1, 4, 4)], id="base 60"),
        pytest.param("a: 1_000\n", [("E006", 1, 4, 5)], id="underscore"),
        pytest.param("a: 1e3\n", [("E006", 1, 4, 3)], id="exponent"),
        pytest.param("a: .inf\n", [("E006", 1, 4, 4)], id="infinity"),
        pytest.param("a: +1\n", [("E006", 1, 4, 2)], id="plus sign"),
        pytest.param(f"a: {'9' * 5000}\n", [("E007", 1, 4, 5000)], id="5000 digits"),
        pytest.param("[" * 100, [("E007", 1, MAX_DEPTH + 1, 1)], id="deep in flow"),
        pytest.param("a: [\n", [("E003", 2, 1, 1)], id="not closed"),
        pytest.param("a: 'x\n", [("E003", 2, 1, 1)], id="quote not closed"),
        pytest.param("a: b: c\n", [("E003", 1, 5, 1)], id="two colons"),
        pytest.param("- **/.env\n", [("E003", 1, 4, 1)], id="glob without quotes"),
        pytest.param('a: "\\0"\n', [("E002", 1, 4, 4)], id="NUL by escape"),
        pytest.param('"a\\0": 1\n', [("E002", 1, 1, 5)], id="NUL by escape in a key"),
        pytest.param("a: x\0y\n", [("E002", 1, 5, 1)], id="NUL"),
        pytest.param("a: \x1b[2J\n", [("E002", 1, 4, 1)], id="escape sequence"),
        pytest.param("a: x\u202ey\n", [("E002", 1, 5, 1)], id="direction override"),
        pytest.param("a: .e\u200bnv\n", [("E002", 1, 6, 1)], id="zero-width space"),
        pytest.param("a:\u00a0b\n", [("E002", 1, 3, 1)], id="no-break space"),
        pytest.param("a: x\u2028b: y\n", [("E002", 1, 5, 1)], id="another line end"),
        pytest.param("a: x\rb: y\n", [("E002", 1, 5, 1)], id="lone carriage return"),
        pytest.param("\ufeffa: 1\n", [("E002", 1, 1, 1)], id="byte order mark"),
        pytest.param("a: \uffff\n", [("E002", 1, 4, 1)], id="no character"),
        pytest.param(b"a: 1\nb: \xff\xfe\n", [("E002", 2, 4, 1)], id="not UTF-8"),
        pytest.param(b"a: \xed\xa0\x80\n", [("E002", 1, 4, 1)], id="surrogate in UTF-8"),
        pytest.param("a: 1".encode("utf-16"), [("E002", 1, 1, 1)], id="UTF-16"),
        pytest.param(b"#" * (MAX_BYTES + 1), [("E007", 1, 1, 1)], id="too large"),
    ],
)
def test_a_surprise_is_refused_at_its_place(text: str | bytes, expected: list[tuple[str, int, int, int]]) -> None:
    assert found(text) == expected


def test_deep_block_nesting_is_refused() -> None:
    text = "".join(f"{' ' * depth}a:\n" for depth in range(MAX_DEPTH + 10))
    assert [code for code, *_ in found(text)] == ["E007"]


def test_an_alias_bomb_is_refused_without_growing() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    parsed = parse("\n".join(lines).encode(), "t.yaml", "t.yaml")
    assert {problem.code for problem in parsed.problems} == {Code.FEATURE}
    assert parsed.root is not None
    assert len(str(parsed.root.plain())) < 2000


def test_more_values_than_a_policy_needs_are_refused() -> None:
    assert [code for code, *_ in found("[" + "x," * (MAX_NODES + 1) + "]")] == ["E007"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n", "---\n...\n"])
def test_a_text_without_a_value_is_no_error_here(text: str) -> None:
    parsed = parse(text.encode(), "t.yaml", "t.yaml")
    assert parsed.problems == []
    assert parsed.root is None or parsed.root.value is None


def test_every_problem_is_found_at_once() -> None:
    text = "a: yes\nb: 1\nb: 2\nc: &x 010\nd: !t z\n"
    assert [code for code, *_ in found(text)] == ["E006", "E005", "E004", "E006", "E004"]
