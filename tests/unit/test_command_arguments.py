"""What a command's rules take and refuse: flags, values, operands, subcommands, paths."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from fsserver.policy.arguments import MAX_ARGUMENTS, MAX_BYTES, MAX_USAGE, judge, judge_call, usage
from fsserver.policy.compiled import AnyArguments, Command, Effect, Mode, PathAccess, PinnedProgram
from tests.command_rules import SPELLINGS, command_of, judged

FORM = """
args: {
  flags: {
    -v: flag, -q: flag, -n: {int: {min: -5, max: 200}}, -m: text, --message: text, --all: flag,
    --level: {enum: [low, high, -x]}, --name: {match: "[a-z]+"}, -o: {path: {access: write}}, -count: {int: {min: 0}},
    --url: {url: {schemes: [https], hosts: [example.com, "example.com:8443"]}}
  },
  positionals: [{value: {path: {}}, repeat: 0..3}]
}
""".replace("\n", " ")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return command_of(tmp_path_factory.mktemp("form"), FORM)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param("-v", id="bare flag"),
        pytest.param("-v -v", id="bare flag twice"),
        pytest.param("-vq", id="cluster of bare flags"),
        pytest.param("-n 5", id="value in the next argument"),
        pytest.param("-n5", id="value glued"),
        pytest.param("-n -5", id="negative number"),
        pytest.param("-n-5", id="negative number glued"),
        pytest.param("--message=x", id="long with a sign"),
        pytest.param("--message x", id="long with the next argument"),
        pytest.param("--message=", id="empty text"),
        pytest.param("--message=a=b", id="a sign in the value"),
        pytest.param("-ma=b", id="a sign in a glued value"),
        pytest.param("-count=5", id="long flag with one dash, with a sign"),
        pytest.param("-count 5", id="long flag with one dash"),
        pytest.param("--level=-x", id="a word that looks like a flag, listed"),
        pytest.param("--level -x", id="a word that looks like a flag, in the next argument"),
        pytest.param("a b c", id="operands"),
        pytest.param("a -v b", id="flags between operands"),
        pytest.param("-- a", id="operands after --"),
        pytest.param("--", id="-- and nothing"),
        pytest.param("-- ./-v", id="a file that is called like a flag"),
        pytest.param("--url https://example.com/a?b=c#d", id="address"),
        pytest.param("--url=https://EXAMPLE.com:8443", id="address with a port"),
        pytest.param("-o out/x", id="path to write"),
        pytest.param("/srv/app/src/x", id="absolute path"),
        pytest.param("/data/app/x", id="absolute path by the other spelling"),
        pytest.param("/srv//app/./x", id="absolute path, odd slashes"),
        pytest.param("/srv/notes/x", id="absolute path in another root"),
        pytest.param("a/../b", id="dots inside"),
    ],
)
def test_listed_arguments_are_allowed(tool: Command, line: str) -> None:
    judgement = judged(tool, shlex.split(line))
    assert (judgement.effect, judgement.reason) == (Effect.ALLOW, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("-x", "the flag -x is not listed", id="unlisted flag"),
        pytest.param("--verbose", "the flag --verbose is not listed", id="unlisted long flag"),
        pytest.param("--mess=x", "the flag --mess is not listed", id="abbreviation"),
        pytest.param("--al", "the flag --al is not listed", id="abbreviation of a bare flag"),
        pytest.param("--ALL", "the flag --ALL is not listed", id="another case"),
        pytest.param("--all=x", "the flag --all takes no value", id="value of a bare flag"),
        pytest.param("--all=", "the flag --all takes no value", id="empty value of a bare flag"),
        pytest.param("-v=x", "the flag -= in -v=x is not listed", id="value of a short bare flag"),
        pytest.param("-vx", "the flag -x in -vx is not listed", id="unlisted letter in a cluster"),
        pytest.param(
            "-vn5",
            "the flag -n takes a value and stands alone: write it apart from -v",
            id="value at the end of a cluster",
        ),
        pytest.param("-n=5", "-n= is read in two ways; write -n and the value", id="short flag with a sign"),
        pytest.param("-n", "the flag -n needs a value", id="no value"),
        pytest.param("-n x", "the value of -n: x is not a whole number", id="no number"),
        pytest.param("-n 05", "the value of -n: 05 is not a whole number", id="leading zero"),
        pytest.param("-n +5", "the value of -n: +5 is not a whole number", id="plus"),
        pytest.param("-n 0x10", "the value of -n: 0x10 is not a whole number", id="hexadecimal"),
        pytest.param("-n \u0665", "the value of -n: \u0665 is not a whole number", id="a digit of another script"),
        pytest.param("-n 5000000000000000000", "the value of -n: 5000000000000000000 is not", id="too many digits"),
        pytest.param("-n 201", "the value of -n: 201 is more than 200", id="too large"),
        pytest.param("-n -6", "the value of -n: -6 is less than -5", id="too small"),
        pytest.param("-m -x", "the value of -m: -x looks like a flag", id="text that looks like a flag"),
        pytest.param("-m --", "the value of -m: -- looks like a flag", id="-- as a value"),
        pytest.param("--message=-x", "the value of --message: -x looks like a flag", id="the same glued"),
        pytest.param("--level none", "the value of --level: none is not one of low, high, -x", id="not a listed word"),
        pytest.param("--level lo", "the value of --level: lo is not one of", id="beginning of a word"),
        pytest.param("--name aB", "the value of --name: aB does not match [a-z]+", id="no match"),
        pytest.param("--name=", "the value of --name:  does not match", id="nothing to match"),
        pytest.param("--name 'a\nb'", "the value of --name: a\ufffdb holds a line break", id="line break"),
        pytest.param("-- --", "-- looks like a flag; write ./ before the name of a file", id="-- twice"),
        pytest.param("-- -v", "-v looks like a flag; write ./", id="a flag after --"),
        pytest.param("-", "the flag - is not listed", id="a dash"),
        pytest.param("a b c d", "d is one operand too many", id="operands too many"),
        pytest.param("''", "a path is empty", id="empty path"),
        pytest.param("..", '.. leads out of the root "app"', id="parent"),
        pytest.param("a/../../b", 'a/../../b leads out of the root "app"', id="parent inside"),
        pytest.param("/etc/passwd", "/etc/passwd is outside the roots of tool", id="absolute outside"),
        pytest.param("/srv/app-evil/x", "/srv/app-evil/x is outside the roots of tool", id="sibling"),
        pytest.param("/srv/app/../x", '/srv/app/../x leads out of the root "app"', id="parent of an absolute path"),
        pytest.param(
            "/srv/x/../app/y", "/srv/x/../app/y is outside the roots of tool", id="dots in the root's own path"
        ),
        pytest.param("'a\nb'", "a\ufffdb holds a line break", id="line break in a path"),
        pytest.param(
            "-o /srv/notes/x", 'the value of -o: /srv/notes/x would be written, and the root "notes" is', id="ro"
        ),
        pytest.param("-o /srv/app/deep/x", "the value of -o: /srv/app/deep/x would be written", id="ro root inside"),
        pytest.param("--url http://example.com/", "the value of --url: http://example.com/ is not", id="scheme"),
        pytest.param("--url https://example.com.evil/", "the value of --url: https://example.com.evil/", id="host"),
        pytest.param("--url https://a@example.com/", "the value of --url: https://a@example.com/", id="user"),
        pytest.param("--url https://evil\\@example.com/", "the value of --url: https://evil", id="backslash"),
        pytest.param("--url https://example.com:22/", "the value of --url: https://example.com:22/", id="port"),
        pytest.param("--url 'https://example.com/ x'", "the value of --url: https://example.com/ x", id="space"),
    ],
)
def test_what_is_not_listed_is_refused(tool: Command, line: str, reason: str) -> None:
    judgement = judged(tool, shlex.split(line))
    assert judgement.effect is Effect.DENY
    assert (judgement.reason or "").startswith(reason)
    assert judgement.rule is not None
    assert judgement.rule.file == "policy.yaml"
    assert (judgement.allowed_instead or "").startswith("tool [-v] [-q] [-n NUMBER]")
    assert judgement.paths == ()


def test_text_may_hold_line_breaks(tool: Command) -> None:
    assert judged(tool, ["-m", "a title\n\nand a text"]).effect is Effect.ALLOW


def test_paths_are_found_with_their_places(tool: Command) -> None:
    judgement = judged(tool, ["-o", "../out", "-v", "b/../c", "--", "/srv/app/deep/x", "/data/app"], "src")
    assert [(path.index, path.root, path.name, path.access) for path in judgement.paths] == [
        (1, "app", "src/../out", PathAccess.WRITE),
        (3, "app", "src/b/../c", PathAccess.READ),
        (5, "deep", "x", PathAccess.READ),
        (6, "app", "", PathAccess.READ),
    ]


def test_a_path_of_one_root_is_not_taken_in_another(tmp_path: Path) -> None:
    rules = "args: {positionals: [{value: {path: {root: notes, must_exist: true}}}]}"
    command = command_of(tmp_path, rules)
    assert 'begins in the root "app"' in str(judged(command, ["x"]).reason)
    assert judged(command, ["/srv/app/x"]).reason == '/srv/app/x is outside the root "notes"'
    (path,) = judged(command, ["/srv/notes/x"]).paths
    assert (path.root, path.name, path.must_exist) == ("notes", "x", True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["a\0b"], "an argument holds a NUL character", id="NUL"),
        pytest.param(["\ud800"], "an argument holds half of a surrogate pair", id="surrogate"),
        pytest.param(["x"] * (MAX_ARGUMENTS + 1), f"more than {MAX_ARGUMENTS} arguments", id="count"),
        pytest.param(["x" * MAX_BYTES], "the arguments are larger than 128 KiB together", id="one is too large"),
        pytest.param(
            ["\u20ac" * 100] * 1000, "the arguments are larger than 128 KiB together", id="bytes, not letters"
        ),
    ],
)
@pytest.mark.parametrize("rules", [FORM, "args: any", "subcommands: {x: {}}"], ids=["form", "any", "subcommands"])
def test_bounds_hold_for_every_kind_of_rules(tmp_path: Path, rules: str, arguments: list[str], reason: str) -> None:
    judgement = judged(command_of(tmp_path, rules), arguments)
    assert (judgement.effect, judgement.reason) == (Effect.DENY, reason)


def test_a_byte_that_is_no_utf8_may_stand_in_a_name(tool: Command) -> None:
    assert judged(tool, ["a\udcffb"]).effect is Effect.ALLOW


def test_any_arguments_are_any(tmp_path: Path) -> None:
    command = command_of(tmp_path, "args: any")
    assert judged(command, ["-x", "--", "-y", "../..", "a\nb", "$(id)"]).effect is Effect.ALLOW


def test_no_rules_are_no_arguments(tmp_path: Path) -> None:
    command = command_of(tmp_path, "background: true")
    assert judged(command, []).effect is Effect.ALLOW
    for arguments in (["x"], ["-x"], ["--"], [""]):
        assert judged(command, arguments).effect is Effect.DENY


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        pytest.param("low x y", True, id="each has its place"),
        pytest.param("low low x y", True, id="the first takes as many as fit"),
        pytest.param("low low", False, id="the last is missing"),
        pytest.param("x y", False, id="the first is missing"),
        pytest.param("low x", False, id="what later ones need is left to them"),
        pytest.param("low x y z", False, id="too many"),
        pytest.param("low low low x y", False, id="too many of the first"),
    ],
)
def test_positionals_are_taken_in_their_order(tmp_path: Path, line: str, allowed: bool) -> None:
    rules = "args: {positionals: [{value: {enum: [low]}, repeat: 1..2}, {value: text, repeat: 2}]}"
    judgement = judged(command_of(tmp_path, rules), line.split())
    assert (judgement.effect is Effect.ALLOW) is allowed


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("low x y z", "z is one operand too many", id="too many"),
        pytest.param("x y z", "x is not one of low", id="does not fit"),
        pytest.param("low x", "it needs at least 3 operands, and 2 are given", id="too few"),
    ],
)
def test_a_refused_operand_is_told_with_its_own_reason(tmp_path: Path, line: str, reason: str) -> None:
    rules = "args: {positionals: [{value: {enum: [low]}, repeat: 1..2}, {value: text, repeat: 2}]}"
    assert judged(command_of(tmp_path, rules), line.split()).reason == reason


SUBCOMMANDS = """
decision: allow, subcommands: {
  log: {flags: {-n: {int: {max: 9}}}},
  push: {decision: ask, reason: publishes code, positionals: [{value: {enum: [origin]}}]},
  wipe: {decision: deny, reason: never}, mute: {decision: deny}
}
""".replace("\n", " ")


@pytest.mark.parametrize(
    ("line", "effect", "reason"),
    [
        pytest.param("log -n5", Effect.ALLOW, None, id="allowed"),
        pytest.param("push origin", Effect.ASK, "publishes code", id="asks"),
        pytest.param("push evil", Effect.DENY, "evil is not one of origin", id="refused before anybody is asked"),
        pytest.param("wipe", Effect.DENY, "tool wipe is denied: never", id="denied"),
        pytest.param("mute", Effect.DENY, "tool mute is denied", id="denied without a reason"),
        pytest.param("lo", Effect.DENY, "lo is a subcommand that is not listed", id="abbreviation"),
        pytest.param("-n5 log", Effect.DENY, "-n5 is a flag before the subcommand", id="flag before"),
        pytest.param("-- log", Effect.DENY, "-- is a flag before the subcommand", id="-- before"),
        pytest.param("", Effect.DENY, "tool needs a subcommand first", id="nothing"),
        pytest.param("log log", Effect.DENY, "log is one operand too many", id="twice"),
        pytest.param("log --", Effect.DENY, "-- stands before operands, and it takes none", id="-- for nothing"),
    ],
)
def test_subcommands(tmp_path: Path, line: str, effect: Effect, reason: str | None) -> None:
    judgement = judged(command_of(tmp_path, SUBCOMMANDS), line.split())
    assert (judgement.effect, judgement.reason) == (effect, reason)


def test_a_refusal_says_what_is_possible_instead(tmp_path: Path) -> None:
    command = command_of(tmp_path, SUBCOMMANDS, name="git")
    assert judged(command, ["push", "--force", "origin"]).allowed_instead == "git push origin (asks a person first)"
    assert judged(command, ["pull"]).allowed_instead == "git log|push"
    assert judged(command, ["wipe"]).allowed_instead == "git log|push"


@pytest.mark.parametrize(
    ("command", "subcommand", "effect"),
    [
        ("allow", "allow", Effect.ALLOW),
        ("allow", "ask", Effect.ASK),
        ("ask", "allow", Effect.ASK),
        ("ask", "deny", Effect.DENY),
        ("deny", "allow", Effect.DENY),
        ("deny", "ask", Effect.DENY),
    ],
)
def test_the_stricter_decision_counts(tmp_path: Path, command: str, subcommand: str, effect: Effect) -> None:
    rules = f"decision: {command}, subcommands: {{x: {{decision: {subcommand}}}}}"
    assert judged(command_of(tmp_path, rules), ["x"]).effect is effect


@pytest.mark.parametrize("form", ["args: any", "args: {}"])
def test_a_command_that_is_denied_runs_with_no_arguments_at_all(tmp_path: Path, form: str) -> None:
    command = command_of(tmp_path, f"decision: deny, reason: broken, {form}")
    judgement = judged(command, [])
    assert (judgement.effect, judgement.reason) == (Effect.DENY, "broken")


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        (("notes", ""), 'the program of tool is in the root "app", so it runs there only'),
        (("gone", ""), 'tool does not run in the root "gone"'),
        (("app", "../notes"), "the directory to run in is not a path beneath its root"),
        (("app", "/etc"), "the directory to run in is not a path beneath its root"),
    ],
)
def test_a_directory_that_it_does_not_run_in_is_refused(tool: Command, directory: tuple[str, str], reason: str) -> None:
    judgement = judge(tool, [], directory=directory, spellings=SPELLINGS)
    assert (judgement.effect, judgement.reason) == (Effect.DENY, reason)
    pinned = replace(tool, program=PinnedProgram("/usr/bin/tool", 1, 1, None, 0, None))
    assert judge(pinned, [], directory=("notes", "a"), spellings=SPELLINGS).effect is Effect.ALLOW


def test_a_root_that_the_command_does_not_see_is_outside(tool: Command) -> None:
    narrowed = replace(tool, roots=MappingProxyType({"app": Mode.RO}))
    assert judged(narrowed, ["/srv/notes/x"]).reason == "/srv/notes/x is outside the roots of tool"
    assert "read-only" in str(judged(narrowed, ["-o", "x"]).reason)


def test_an_unknown_command_is_refused_with_those_there_are(tool: Command) -> None:
    for name in ("/usr/bin/tool", "./tool", "Tool", "tool ", ""):
        judgement = judge_call({"tool": tool}, name, [], directory=("app", ""), spellings=SPELLINGS)
        assert (judgement.effect, judgement.rule, judgement.allowed_instead) == (Effect.DENY, None, "tool")
    assert judge_call({"tool": tool}, "tool", [], directory=("app", ""), spellings=SPELLINGS).effect is Effect.ALLOW


def test_usage_is_one_line_and_not_long(tool: Command, tmp_path: Path) -> None:
    assert usage(replace(tool, arguments=AnyArguments(), effect=Effect.ASK)) == (
        "tool with any arguments (asks a person first)"
    )
    many = ", ".join(f"--a-very-long-flag-{number}: flag" for number in range(100))
    assert len(usage(command_of(tmp_path, f"args: {{flags: {{{many}}}}}"))) == MAX_USAGE
