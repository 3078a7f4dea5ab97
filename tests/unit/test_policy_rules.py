"""Several rules together: exceptions, which rule is named, names below."""

from __future__ import annotations

import pytest

from fsserver.policy.rules import Matcher, Origin, PathRule

VENDORED = ("**/site-packages/**", "**/node_modules/**")


def rule(glob: str, line: int, *exceptions: str) -> PathRule:
    return PathRule(glob, Origin("test.yaml", line), exceptions)


MATCHER = Matcher([rule("*.pem", 1, *VENDORED), rule(".ssh", 2), rule("/data/private", 3), rule("*.key", 4, *VENDORED)])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param("server.pem", 1, id="rule with exceptions"),
        pytest.param("a/site-packages/certifi/cacert.pem", None, id="excepted"),
        pytest.param("site-packages.pem", 1, id="the exception's name is not enough"),
        pytest.param("node_modules/x/.ssh/y.pem", 2, id="an exception holds for its own rule only"),
        pytest.param("data/private", 3, id="anchored"),
        pytest.param("data/private/a/b", 3, id="below"),
        pytest.param("x/data/private", None, id="anchored elsewhere"),
        pytest.param("a.key/b", 4, id="below a name that a star matches"),
        pytest.param("", None, id="the root"),
        pytest.param("src/main.py", None, id="nothing"),
    ],
)
def test_the_covering_rule_is_found(name: str, line: int | None) -> None:
    found = MATCHER.find(name)
    assert (found.origin.line if found else None) == line


def test_without_rules_nothing_is_covered() -> None:
    assert Matcher([]).find("a") is None


def test_an_exception_inside_a_covered_directory_frees_what_it_names() -> None:
    matcher = Matcher([rule(".ssh", 1, "**/.ssh/known_hosts")])
    assert matcher.find(".ssh/known_hosts") is None
    assert matcher.find(".ssh") is not None
    assert matcher.find(".ssh/id") is not None


def test_an_origin_reads_as_file_and_line() -> None:
    assert str(Origin("preset:secrets", 12)) == "preset:secrets:12"
    assert str(Origin("command line", 0)) == "command line"
