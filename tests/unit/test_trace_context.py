"""Which ``traceparent`` of a request counts. The rows are of the recommendation's own text and test suite."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.telemetry.trace_context import trace_id, traceparent, valid

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"

TAKEN = {
    "sampled": GOOD,
    "not sampled": f"00-{TRACE}-{SPAN}-00",
    "flags of another level": f"00-{TRACE}-{SPAN}-ff",
    "a later version": f"01-{TRACE}-{SPAN}-01",
    "a later version that says more": f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
}
REFUSED: dict[str, object] = {
    "empty": "",
    "no text": 7,
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version 00 that says more": f"{GOOD}-more",
    "a later version with glued more": f"01-{TRACE}-{SPAN}-01.what",
    "no trace": f"00-{'0' * 32}-{SPAN}-01",
    "no span": f"00-{TRACE}-{'0' * 16}-01",
    "capitals": GOOD.upper(),
    "short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "long span": f"00-{TRACE}-{SPAN}0-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "a line feed after it": GOOD + "\n",
    "a line feed before it": "\n" + GOOD,
    "digits of another script": GOOD.replace("4bf9", "\u0664bf9"),
    "a letter that is no digit": GOOD.replace("4bf9", "gbf9"),
    "too long": f"cc-{TRACE}-{SPAN}-01-{'x' * 300}",
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
def test_valid_one_is_taken_with_its_first_four_fields(text: str) -> None:
    taken = traceparent({"_meta": {"traceparent": text}})
    assert taken == text[:55]
    assert trace_id(taken) == TRACE


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_invalid_one_is_as_none(text: object) -> None:
    assert traceparent({"_meta": {"traceparent": text}}) is None


@pytest.mark.parametrize("params", [None, {}, {"_meta": None}, {"_meta": []}, {"_meta": {}}, {"traceparent": GOOD}])
def test_request_without_one_has_none(params: dict[str, Any] | None) -> None:
    assert traceparent(params) is None


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    taken = valid(text)
    assert taken is None or (len(taken) == 55 and taken == text[:55] and taken.isascii())


@given(st.from_regex(r"\A00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"))
def test_what_has_the_form_and_is_not_all_zeros_is_taken(text: str) -> None:
    _, trace, span, _ = text.split("-")
    assert (valid(text) is not None) is (int(trace, 16) != 0 and int(span, 16) != 0)
