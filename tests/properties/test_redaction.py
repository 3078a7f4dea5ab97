"""Wherever a secret is in a record, it is not in the log; and whatever is hidden, a record stays one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fsserver.audit.chain import START, unseal
from fsserver.audit.entry import Entry
from fsserver.audit.record import canonical, parse
from fsserver.audit.redaction import Redactor
from tests.audit_logs import seal
from tests.secret_rows import SECRETS, Row

ROWS = st.sampled_from(list(SECRETS.values()))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(), max_size=20)
PIECES = st.sampled_from(["token=", "--password", "ghp_", "://a:b@", "eyJ", "[redacted:x]", "start", "sha256", "hash"])
TEXTS = st.lists(PIECES | st.text(st.characters(), max_size=5), max_size=6).map("".join)


def plain(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
    )


@given(value=plain(SCALARS | TEXTS), arguments=st.dictionaries(TEXTS, plain(SCALARS | TEXTS), max_size=4))
def test_record_stays_a_record(value: Any, arguments: dict[str, Any]) -> None:
    record = {"event": "call.outcome", "seq": 1, "prev": START.head, "x": value, "arguments": arguments}
    shown = Redactor(["a.?", "[0-9]"]).record(record)
    assert parse(canonical(shown)) == shown
    assert {key: unseal(seal(shown)[0])[key] for key in shown} == shown
    assert shown.keys() == record.keys()
    assert (shown["event"], shown["seq"], shown["prev"]) == (record["event"], record["seq"], record["prev"])
    assert len(shown["arguments"]) == len(arguments)


@given(row=ROWS, before=st.text(" \n\t.;", max_size=5), around=plain(SCALARS), depth=st.integers(0, 3))
def test_secret_is_nowhere_in_the_record(row: Row, before: str, around: Any, depth: int) -> None:
    value: Any = before + row.text
    for _ in range(depth):
        value = [around, {"k": value}]
    for key in ("arguments", "reason"):
        fields = {key: {"path": value} if key == "arguments" else value}
        redactor = Redactor()
        assert redactor.suspects(Entry("call.outcome", fields).searched)
        shown = canonical(redactor.record({**fields, "event": "call.outcome"}))
        assert canonical({"s": row.secret})[6:-2] not in shown


@given(text=TEXTS | st.text(st.characters(), max_size=200))
def test_what_is_hidden_once_is_hidden_for_good(text: str) -> None:
    for eager in (False, True):
        shown, places = Redactor().text(text, eager=eager)
        assert (places == 0) == (shown == text)
        assert shown.count("[redacted:") - text.count("[redacted:") <= places


@given(text=TEXTS | st.text(st.characters(), max_size=200))
def test_prefilter_passes_no_text_by_that_a_form_matches(text: str) -> None:
    record = {"event": "call.outcome", "x": text}
    if not Redactor().suspects(Entry("call.outcome", {"x": text}).searched):
        assert Redactor().record(record) is record
