"""What the matcher takes is what a program that parses as getopt(3) finds, and nothing that is not listed."""

from __future__ import annotations

import getopt
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.policy.compiled import Command, Effect
from tests.command_rules import command_of, judged

RULES = (
    "args: {flags: {-a: flag, -b: flag, -n: {int: {}}, -m: text, --all: flag, --msg: text, --num: {int: {}}}, "
    "positionals: [{value: {path: {}}, repeat: 0..50}]}"
)
SHORT, LONG = "abn:m:", ["all", "msg=", "num="]

TOKENS = st.one_of(
    st.sampled_from(
        ["-a", "-b", "-ab", "-n", "-m", "--all", "--msg", "--num", "--", "-", "7", "-7", "x", "a/b", "", "-x", "--al"]
    ),
    st.sampled_from(
        ["-n7", "-mx", "-m-x", "-n=7", "-abn7", "-abm", "--msg=x", "--msg=", "--msg=-x", "--all=x", "--n=7"]
    ),
    st.text("-=abnmx/. 7\n\0\u00e9\udcff", max_size=6),
    st.text(max_size=4),
)


@pytest.fixture(scope="module")
def tool() -> Command:
    with tempfile.TemporaryDirectory() as directory:
        return command_of(Path(directory), RULES)


@given(st.lists(TOKENS, max_size=8))
def test_getopt_finds_the_same_in_what_is_allowed(tool: Command, arguments: list[str]) -> None:
    judgement = judged(tool, arguments)
    if judgement.effect is Effect.DENY:
        assert judgement.reason
        assert not judgement.paths
        return
    flags, operands = getopt.gnu_getopt(arguments, SHORT, LONG)
    assert all(not value.startswith("-") or name in ("-n", "--num") for name, value in flags)
    assert [arguments[path.index] for path in judgement.paths] == operands


@given(st.lists(TOKENS, max_size=8), st.sampled_from(["-x", "-ax", "--evil", "--al", "--ms=1", "-C/", "--msgs=x"]))
def test_an_unlisted_flag_is_taken_in_no_company(tool: Command, arguments: list[str], flag: str) -> None:
    for at in range(len(arguments) + 1):
        assert judged(tool, [*arguments[:at], flag, *arguments[at:]]).effect is Effect.DENY


@given(st.lists(TOKENS, max_size=8))
def test_operands_stay_the_same_after_two_dashes(tool: Command, arguments: list[str]) -> None:
    judgement = judged(tool, arguments)
    if judgement.effect is Effect.DENY or "--" in arguments:
        return
    operands = {path.index for path in judgement.paths}
    flags = [argument for index, argument in enumerate(arguments) if index not in operands]
    moved = judged(tool, [*flags, "--", *(arguments[index] for index in sorted(operands))])
    assert moved.effect is Effect.ALLOW
    assert [path.name for path in moved.paths] == [path.name for path in judgement.paths]


@given(st.text("./ab", max_size=12))
def test_a_path_that_is_allowed_never_climbs_above_its_root(tool: Command, text: str) -> None:
    for path in judged(tool, [text], "a/b").paths:
        depth = 0
        for part in path.name.split("/"):
            depth += -1 if part == ".." else 1
            assert depth >= 0
