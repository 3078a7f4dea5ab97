"""Sizes and durations."""

from __future__ import annotations

import pytest

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.units import duration_s, size_bytes


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
