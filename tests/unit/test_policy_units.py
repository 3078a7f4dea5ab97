"""Sizes, durations, rates and percentages."""

from __future__ import annotations

import pytest

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.service import Rate
from fsserver.policy.units import byte_rate, call_rate, duration_s, fraction, size_bytes


@pytest.mark.parametrize(
    ("text", "value"),
    [("1B", 1), ("64KiB", 65536), ("20MiB", 20971520), ("2GiB", 2147483648), ("1TiB", 1099511627776)],
)
def test_a_size_is_in_bytes(text: str, value: int) -> None:
    assert size_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1h", 3600.0)])
def test_a_duration_is_in_seconds(text: str, value: float) -> None:
    assert duration_s(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("20MB", '"20MiB"', id="decimal unit"),
        pytest.param("20mb", '"20MiB"', id="lower case"),
        pytest.param("20 MiB", '"20MiB"', id="space"),
        pytest.param("20M", '"20MiB"', id="one letter"),
        pytest.param("020MiB", '"20MiB"', id="leading zero"),
        pytest.param("20", "one of B, KiB, MiB", id="no unit"),
        pytest.param("0MiB", "leave the key out", id="zero"),
        pytest.param("-1MiB", "whole number", id="negative"),
        pytest.param("1.5GiB", "whole number", id="fraction"),
        pytest.param("20PiB", "whole number", id="unknown unit"),
        pytest.param("9" * 13 + "B", "whole number", id="too many digits"),
        pytest.param("", "whole number", id="empty"),
        pytest.param("\uff12MiB", "whole number", id="another script's digit"),
        pytest.param("1MiB\n", "whole number", id="newline"),
    ],
)
def test_what_is_not_written_as_a_size_is_refused_with_help(text: str, hint: str) -> None:
    with pytest.raises(LanguageError) as caught:
        size_bytes(text)
    assert caught.value.code is Code.NUMBER
    assert hint in (caught.value.help or "")


@pytest.mark.parametrize(
    ("text", "hint"), [("30", '"30s"'), ("5min", '"5m"'), ("2M", '"2m"'), ("1w", "ms, s, m, h"), ("0s", "leave")]
)
def test_what_is_not_written_as_a_duration_is_refused_with_help(text: str, hint: str) -> None:
    with pytest.raises(LanguageError) as caught:
        duration_s(text)
    assert hint in (caught.value.help or "")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/s", Rate(5, 1)),
        ("120/m", Rate(120, 60)),
        ("600/h", Rate(600, 3600)),
        ("10000/d", Rate(10000, 86400)),
        ("10/30s", Rate(10, 30)),
        ("1/15m", Rate(1, 900)),
    ],
)
def test_a_rate_is_how_many_in_how_many_seconds(text: str, rate: Rate) -> None:
    assert call_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("64MiB/h", Rate(64 * 1024**2, 3600)), ("1B/s", Rate(1, 1)), ("2GiB/10m", Rate(2 * 1024**3, 600))],
)
def test_a_rate_of_bytes_has_two_units(text: str, rate: Rate) -> None:
    assert byte_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("120/min", 'did you mean "120/m"?', id="minutes"),
        pytest.param("10/30sec", 'did you mean "10/30s"?', id="seconds"),
        pytest.param("10/H", 'did you mean "10/h"?', id="upper case"),
        pytest.param("120", "120/m or 10/30s", id="no period"),
        pytest.param("120/", "120/m or 10/30s", id="empty period"),
        pytest.param("120/60", "120/m or 10/30s", id="no unit"),
        pytest.param("120/ms", "120/m or 10/30s", id="too short"),
        pytest.param("120/500ms", "120/m or 10/30s", id="a part of a second"),
        pytest.param("0/m", "120/m or 10/30s", id="none"),
        pytest.param("1.5/s", "120/m or 10/30s", id="fraction"),
        pytest.param("1KiB/s", "120/m or 10/30s", id="bytes"),
        pytest.param("120/0s", "120/m or 10/30s", id="no time"),
        pytest.param("120/m/s", "120/m or 10/30s", id="two periods"),
        pytest.param("120 / m", "120/m or 10/30s", id="spaces"),
        pytest.param("120/m\n", "120/m or 10/30s", id="newline"),
        pytest.param("", "120/m or 10/30s", id="empty"),
    ],
)
def test_what_is_not_written_as_a_rate_is_refused_with_help(text: str, hint: str) -> None:
    with pytest.raises(LanguageError) as caught:
        call_rate(text)
    assert caught.value.code is Code.NUMBER
    assert hint in (caught.value.help or "")


@pytest.mark.parametrize("text", ["64/h", "64MB/h", "64MiB", "0MiB/h", "64MiB/"])
def test_a_rate_of_bytes_needs_both_units(text: str) -> None:
    with pytest.raises(LanguageError) as caught:
        byte_rate(text)
    assert "64MiB/h or 10MiB/30s" in (caught.value.help or "")


@pytest.mark.parametrize(
    ("text", "value"), [("10%", 0.1), ("100%", 1.0), ("0%", 0.0), ("0.1%", 0.001), ("33.5%", 0.335)]
)
def test_a_percentage_is_a_part_of_one(text: str, value: float) -> None:
    assert fraction(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10", '"10%"'),
        ("0.1", '"0.1%"'),
        ("101%", "such as"),
        ("100.5%", "such as"),
        ("-1%", "such as"),
        ("010%", "such as"),
    ],
)
def test_what_is_no_percentage_is_refused_with_help(text: str, hint: str) -> None:
    with pytest.raises(LanguageError) as caught:
        fraction(text)
    assert hint in (caught.value.help or "")
