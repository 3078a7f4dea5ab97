"""What the log writes of any fields is byte for byte what `json` writes of the same record."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from fsserver.audit.chain import START, Position
from fsserver.audit.entry import Entry, UnfitRecordError
from fsserver.audit.record import MAX_DEPTH, RESERVED, parse, summarise
from fsserver.audit.redaction import Redactor
from fsserver.audit.retention import Keep
from fsserver.audit.stamp import Stamp
from fsserver.audit.writer import Settings
from fsserver.paths.target import Target
from fsserver.policy.compiled import Action
from fsserver.tools.trail import Trail
from tests.audit_logs import seal
from tests.properties.test_chain import ANYTHING, PLAIN
from tests.secret_rows import SECRETS

SETTINGS = Settings("run", Stamp(time.time_ns), 1024**3, on_disk=False, keep=Keep(None, None), signer=None)
KEYS = st.sampled_from(["hash ", "hasg", "%s", "%", "call", "zz", "\x00", "é", "\ud800"]) | st.text(max_size=5)
PLACES = st.builds(Position, st.integers(0, 2**60), st.sampled_from(["0" * 64, "9f" * 32]))
ODD = st.sampled_from([1.5, 2**64, -(2**63) - 1, b"x", {1: 2}, {True: 1}, {"a": {None: 1}}, [set()], object()])


def named(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(KEYS.filter(lambda key: key not in RESERVED), values, max_size=6)


def written(entry: Entry, after: Position) -> dict[str, Any]:
    """The record as the log writes it, if that is the line which `json` makes of it, and has this place."""
    line, position = SETTINGS.line(entry, after)
    record: dict[str, Any] = json.loads(line)
    assert record.pop("hash") == position.head
    assert (line, position) == seal(record)
    assert (record["v"], record["seq"], record["prev"]) == (1, after.seq + 1, after.head)
    return record


@given(event=st.text(max_size=8), fields=named(PLAIN), after=PLACES)
def test_any_fields_are_written_as_json_writes_them(event: str, fields: dict[str, Any], after: Position) -> None:
    record = written(Entry(event, fields), after)
    assert {key: record[key] for key in record if key not in RESERVED} == fields
    assert record["event"] == event
    assert record.keys() - fields.keys() == RESERVED - {"hash"}


@given(second=st.integers(-(10**9), 10**10), rest=st.integers(0, 10**9 - 1))
def test_any_time_is_written_in_microseconds(second: int, rest: int) -> None:
    text, us, _ = Stamp(lambda: second * 10**9 + rest).now()
    assert (len(text), us) == (19, rest // 1000)


@given(fields=named(PLAIN), key=KEYS, depth=st.integers(0, 3), odd=ODD)
def test_fields_with_anything_else_in_them_are_refused(fields: dict[str, Any], key: str, depth: int, odd: Any) -> None:
    for _ in range(depth):
        odd = [odd] if depth % 2 else {"k": odd}
    refused(fields | {key: odd})


@given(fields=named(PLAIN), own=st.sampled_from(sorted(RESERVED)))
def test_fields_with_a_name_of_the_records_own_are_refused(fields: dict[str, Any], own: str) -> None:
    refused(fields | {own: 1})


def test_nesting_is_bounded() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert written(Entry("x", {"a": value}), START)["a"] == value
    refused({"a": [value]})


@given(arguments=st.dictionaries(st.text(), ANYTHING, max_size=4), fields=named(PLAIN))
def test_arguments_are_written_as_they_are_shown(arguments: dict[str, Any], fields: dict[str, Any]) -> None:
    shown = summarise(arguments, {"content"})
    entry = Entry("x", {**fields, "arguments": shown})
    assert written(entry, START)["arguments"] == parse(shown.text)
    assert entry.fields() == {**fields, "arguments": parse(shown.text)}


@given(
    names=st.lists(st.text(max_size=8), max_size=3),
    parameter=st.none() | st.text(max_size=4),
    root=st.text(max_size=4),
    rule=st.none() | st.text(max_size=8),
    file=st.none() | st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)),
)
def test_paths_are_written_as_json_writes_them(
    names: list[str], parameter: str | None, root: str, rule: str | None, file: tuple[int, int] | None
) -> None:
    trail = Trail(1, "read_text_file", "s", "p")
    status = None if file is None else SimpleNamespace(st_dev=file[0], st_ino=file[1])
    opened = {"decision": SimpleNamespace(rule=rule), "stat": status, "action": Action.READ}
    for name in names:
        target = SimpleNamespace(name=name, root=SimpleNamespace(rules=SimpleNamespace(name=root)), **opened)
        trail.add(parameter, cast("Target", target))
    paths = [
        {
            "parameter": parameter,
            "root": root,
            "name": name,
            "action": "read",
            "file": None if file is None else f"{file[0]}:{file[1]}",
            "rule": rule,
        }
        for name in names
    ]
    assert written(Entry("call.intent", trail.intent()), START)["paths"] == paths
    assert trail.paths == paths


@given(
    row=st.sampled_from(list(SECRETS.values())),
    key=st.sampled_from(["path", "session", "arguments"]),
    around=st.lists(PLAIN, max_size=2),
    before=st.text(" \n\té\x07", max_size=3),
)
def test_what_is_written_with_a_secret_is_what_the_redactor_makes_of_it(
    row: Any, key: str, around: list[Any], before: str
) -> None:
    text = before + row.text
    fields = {key: [{"k": text}, *around] if key == "arguments" else text, "call": 1}
    entry = Entry("call.outcome", fields)
    redactor = Redactor()
    shown = redactor.fields("call.outcome", fields)
    assert bool(redactor.suspects(entry.searched)) >= (shown != fields)
    assert written(entry.hidden(redactor), START).items() >= shown.items()


def refused(fields: dict[str, Any]) -> None:
    for _ in range(2):  # also when such a record was seen before
        try:
            Entry("x", fields)
        except UnfitRecordError:
            continue
        raise AssertionError(f"{fields!r} is no record")
