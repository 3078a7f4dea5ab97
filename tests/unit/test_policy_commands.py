"""``commands`` of a policy file: what arrives, what is wrong, and how files narrow each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.advice import may_never_end, warnings
from fsserver.policy.arguments import judge
from fsserver.policy.compiled import (
    AnyArguments,
    ArgumentForm,
    Command,
    CommandLimits,
    Effect,
    Home,
    IntegerValue,
    Layer,
    MatchValue,
    Mode,
    Network,
    PathAccess,
    PathValue,
    PinnedProgram,
    SoughtProgram,
    Subcommands,
    TextValue,
    UrlValue,
    WordValue,
)
from fsserver.policy.decision import narrow
from fsserver.policy.environment import check_passed, check_set
from fsserver.policy.problems import LanguageError
from tests.policy_files import Desk, desk_in

ROOTS = "version: 1\nroots: {app: {path: ~/app, mode: rw}, notes: {path: ~/notes}}\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def program(desk: Desk, name: str = "tools/x/bin/tool") -> Path:
    """An executable file beneath home, in no root."""
    path = desk.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def of(desk: Desk, rules: str, rest: str = "") -> Command:
    return desk.load(f"{ROOTS}commands: {{tool: {{{rules}}}}}\n{rest}").commands["tool"]


def wrong(desk: Desk, rules: str, rest: str = "") -> str:
    (found,) = desk.problems(f"{ROOTS}commands: {{tool: {{{rules}}}}}\n{rest}")
    code, _, message = found.split(" ", 2)
    return f"{code} {message}"


SOUGHT = "exec: {in: app, find: bin/tool}"


def test_a_program_is_a_whole_command(desk: Desk) -> None:
    path = program(desk)
    found = path.stat()
    policy = desk.load(f"{ROOTS}commands:\n  tool: {{exec: ~/tools/x/bin/tool}}\n")
    command = policy.commands["tool"]
    prefix = str(desk.home / "tools/x")
    pinned = PinnedProgram(str(path), found.st_dev, found.st_ino, None, found.st_ctime_ns, prefix)
    assert (command.program, command.prepend, str(command.origin)) == (pinned, (), "policy.yaml:4")
    assert dict(command.roots) == {"app": Mode.RW, "notes": Mode.RO}
    assert command.arguments == ArgumentForm({}, ())
    assert (command.effect, command.reason, command.passed, dict(command.environment)) == (Effect.ALLOW, None, (), {})
    assert (command.network, command.unix_sockets, command.background) == (Network.NONE, False, False)
    assert (command.home, command.runtime, command.limits) == (Home.PRIVATE, (), CommandLimits())
    assert (policy.sandbox.require, policy.state) == (Layer.FULL, str(desk.home / ".local/state/fsserver"))


def test_every_key_arrives(desk: Desk) -> None:
    desk.directory("lib")
    command = of(
        desk,
        """\
  exec: {in: app, find: .venv/bin/tool}, prepend: [--quiet, -c, a=b], roots: {app: ro},
  env: {pass: [TZ, COLUMNS], set: {GIT_AUTHOR_NAME: Ada, EMPTY: ""}}, network: full, unix_sockets: true,
  background: true, home: kept, runtime: [~/lib], decision: ask, reason: it costs money,
  limits: {time: 30s, memory: 1GiB, processes: 64, output: 1MiB, file_size: 256MiB, open_files: 256, cpu: 20s},
  subcommands: {
    log: {flags: {-n: {int: {min: 1, max: 200}}, --oneline: flag, --since: {match: "[0-9-]+"}}, decision: allow,
          positionals: [{value: {path: {root: app, must_exist: true}}, repeat: 0..10}]},
    push: {decision: deny, reason: "no", positionals: [{value: {enum: [origin]}}, {value: text, repeat: 2}]},
    get: {positionals: [{value: {url: {schemes: [https], hosts: [a.example]}}}], flags: {-o: {path: {}}}}
  }
""",
    )
    assert command.program == SoughtProgram("app", ".venv/bin/tool")
    assert (command.prepend, dict(command.roots)) == (("--quiet", "-c", "a=b"), {"app": Mode.RO})
    assert (command.passed, dict(command.environment)) == (
        ("TZ", "COLUMNS"),
        {"GIT_AUTHOR_NAME": "Ada", "EMPTY": ""},
    )
    assert (command.network, command.unix_sockets, command.background) == (Network.FULL, True, True)
    assert (command.home, command.runtime) == (Home.KEPT, (str(desk.home / "lib"),))
    assert (command.effect, command.reason) == (Effect.ASK, "it costs money")
    assert command.limits == CommandLimits(30.0, 20.0, 1024**3, 64, 1024**2, 256 * 1024**2, 256)
    assert isinstance(command.arguments, Subcommands)
    log, push, get = command.arguments.by_name.values()
    assert {name: flag.value for name, flag in log.form.flags.items()} == {
        "-n": IntegerValue(1, 200),
        "--oneline": None,
        "--since": MatchValue("[0-9-]+"),
    }
    assert [(each.value, each.least, each.most) for each in log.form.positionals] == [
        (PathValue("app", PathAccess.READ, must_exist=True), 0, 10)
    ]
    assert [(each.value, each.least, each.most) for each in push.form.positionals] == [
        (WordValue(("origin",)), 1, 1),
        (TextValue(), 2, 2),
    ]
    assert (push.effect, push.reason, str(push.origin)) == (Effect.DENY, "no", "policy.yaml:10")
    assert get.form.positionals[0].value == UrlValue(("https",), ("a.example",))
    assert get.form.flags["-o"].value == PathValue(None, PathAccess.READ, must_exist=False)


def test_limits_come_from_the_policy_unless_written(desk: Desk) -> None:
    command = of(desk, f"{SOUGHT}, limits: {{time: 10s}}", "limits: {time: 1m, memory: 1GiB, output: 1MiB}\n")
    assert command.limits == CommandLimits(time_s=10.0, memory_bytes=1024**3, output_bytes=1024**2)
    assert of(desk, f"{SOUGHT}, limits: {{time: 1h}}").limits.time_s == 3600.0


def test_a_written_layer_stays(desk: Desk) -> None:
    text = f"{ROOTS}commands: {{tool: {{{SOUGHT}}}}}\nsandbox: {{require: landlock}}\n"
    assert desk.load(text).sandbox.require is Layer.LANDLOCK


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        pytest.param("args: any", 'E011 the command "tool" has no exec', id="no program"),
        pytest.param("exec: tool", 'E030 "tool" is not an absolute path', id="program by name"),
        pytest.param("exec: ./tool", 'E030 "./tool" is not an absolute path', id="relative program"),
        pytest.param("exec: /usr/bin/../bin/env", 'E030 a path in a policy holds no ".."', id="dots"),
        pytest.param("exec: /nowhere/tool", "E050 /nowhere/tool: no such file or directory", id="missing"),
        pytest.param("exec: /usr/bin", "E050 /usr/bin is not a regular file", id="directory"),
        pytest.param("exec: /dev/null", "E050 /dev/null is not a regular file", id="device"),
        pytest.param("exec: /etc/passwd", "E050 /etc/passwd cannot be executed", id="not executable"),
        pytest.param("exec: {in: app}", 'E011 "exec" needs the key find', id="no name to find"),
        pytest.param("exec: {in: gone, find: x}", 'E040 the command has no root "gone"', id="unknown root"),
        pytest.param(
            "exec: {in: notes, find: x}, roots: {app: rw}", "E040 the command has no root", id="root not seen"
        ),
        pytest.param("exec: {in: app, find: /bin/x}", 'E050 "/bin/x" is not a path beneath a root', id="absolute find"),
        pytest.param("exec: {in: app, find: a/../x}", 'E050 "a/../x" is not a path beneath a root', id="dots in find"),
        pytest.param(f"{SOUGHT}, sha256: {'a' * 64}", "E022 what a root holds may change", id="sum of content"),
        pytest.param(f"{SOUGHT}, sha256: abc", 'E015 "abc" is not a SHA-256', id="no sum"),
        pytest.param(f"{SOUGHT}, roots: {{}}", "E011 a command that sees no root", id="no roots"),
        pytest.param(f"{SOUGHT}, roots: {{app: rw, nots: ro}}", 'E040 there is no root "nots"', id="no such root"),
        pytest.param(f"{SOUGHT}, roots: {{app: rw, notes: rw}}", 'E021 the root "notes" is read-only', id="wider root"),
        pytest.param(f"{SOUGHT}, args: all", 'E012 "all" is not a valid form of arguments', id="args"),
        pytest.param(f"{SOUGHT}, args: any, subcommands: {{}}", "E022 a command has args or subcommands", id="both"),
        pytest.param(f"{SOUGHT}, args: {{flags: {{n: text}}}}", 'E015 "n" is not a flag', id="flag without a dash"),
        pytest.param(f"{SOUGHT}, args: {{flags: {{--: text}}}}", 'E015 "--" is not a flag', id="two dashes"),
        pytest.param(f"{SOUGHT}, args: {{flags: {{'-': text}}}}", 'E015 "-" is not a flag', id="one dash"),
        pytest.param(f"{SOUGHT}, args: {{flags: {{--a=b: text}}}}", 'E015 "--a=b" is not a flag', id="sign in a flag"),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: flag, -b: flag, -ab: text}}}}",
            "E051 -ab can be read as -a -b",
            id="cluster",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-n: text, -name: text}}}}",
            "E051 -name can be read as -n with the value ame",
            id="glued value",
        ),
        pytest.param(f"{SOUGHT}, args: {{flags: {{-a: string}}}}", 'E012 "string" is not a valid value', id="no kind"),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{}}}}}}", 'E011 "-a" has 0 keys; expected one', id="no kind at all"
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{int: {{}}, match: x}}}}}}",
            'E022 "-a" has 2 keys; expected one',
            id="two",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{positionals: [{{value: flag}}]}}", 'E012 "flag" is not a valid value', id="bare"
        ),
        pytest.param(f"{SOUGHT}, args: {{positionals: [text]}}", 'E013 an item of "positionals" must be', id="no map"),
        pytest.param(f"{SOUGHT}, args: {{positionals: [{{repeat: 2}}]}}", "E011 an item of", id="no value"),
        pytest.param(
            f"{SOUGHT}, args: {{positionals: [{{value: text, repeat: 3..1}}]}}",
            'E014 "3..1" is not how often',
            id="range",
        ),
        pytest.param(f"{SOUGHT}, args: {{positionals: [{{value: text, repeat: 0}}]}}", 'E014 "0" is not', id="never"),
        pytest.param(f"{SOUGHT}, args: {{positionals: [{{value: text, repeat: '*'}}]}}", 'E014 "*" is not', id="star"),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{match: '('}}}}}}", 'E051 "(" is not a regular expression', id="regex"
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{match: ''}}}}}}", "E051 a regular expression has 1", id="empty"
        ),
        pytest.param(f"{SOUGHT}, args: {{flags: {{-a: {{enum: []}}}}}}", 'E011 "enum" needs at least 1', id="no word"),
        pytest.param(f"{SOUGHT}, args: {{flags: {{-a: {{enum: ['']}}}}}}", "E051 a word is empty", id="empty word"),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{int: {{min: 2, max: 1}}}}}}}}",
            "E014 from 2 to 1 there is",
            id="no number",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{path: {{root: gone}}}}}}}}",
            'E040 the command has no root "gone"',
            id="path",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{path: {{root: notes, access: write}}}}}}}}",
            'E021 the root "notes" is read-only for this command',
            id="path to write",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{url: {{schemes: [HTTPS], hosts: [a.example]}}}}}}}}",
            'E051 "HTTPS" is none of schemes',
            id="scheme",
        ),
        pytest.param(
            f"{SOUGHT}, args: {{flags: {{-a: {{url: {{schemes: [https], hosts: ['*']}}}}}}}}",
            'E051 "*" is none of hosts',
            id="host",
        ),
        pytest.param(f"{SOUGHT}, env: {{pass: [LD_PRELOAD]}}", "E052 LD_PRELOAD makes the dynamic loader", id="loader"),
        pytest.param(f"{SOUGHT}, env: {{pass: [GIT_DIR]}}", "E052 GIT_DIR can make a program load", id="hook"),
        pytest.param(f"{SOUGHT}, env: {{set: {{LD_LIBRARY_PATH: /x}}}}", "E052 LD_LIBRARY_PATH makes", id="set loader"),
        pytest.param(f"{SOUGHT}, env: {{set: {{PATH: /x}}}}", "E052 PATH is the sandbox's own", id="set PATH"),
        pytest.param(f"{SOUGHT}, env: {{pass: [HOME]}}", "E052 HOME is the sandbox's own", id="pass HOME"),
        pytest.param(f"{SOUGHT}, env: {{pass: [A-B]}}", 'E015 "A-B" is not a name of an environment', id="variable"),
        pytest.param(f"{SOUGHT}, env: {{set: {{'A=B': x}}}}", 'E015 "A=B" is not a name of an', id="variable to set"),
        pytest.param(
            f"{SOUGHT}, env: {{set: {{A: 1}}}}", 'E013 "A" must be text, not a number', id="number for a text"
        ),
        pytest.param(f"{SOUGHT}, env: {{pass: [A], set: {{A: b}}}}", "E022 A is set and passed", id="set and passed"),
        pytest.param(f"{SOUGHT}, network: lan", 'E012 "lan" is not a valid network', id="network"),
        pytest.param(f"{SOUGHT}, network: {{}}", 'E013 "network" must be none or full, not a map', id="empty network"),
        pytest.param(f"{SOUGHT}, network: {{deny: [x]}}", 'E010 unknown key "deny" in "network"', id="network map"),
        pytest.param(f"{SOUGHT}, home: shared", 'E012 "shared" is not a valid home', id="home"),
        pytest.param(f"{SOUGHT}, background: 1", 'E013 "background" must be true or false', id="background"),
        pytest.param(f"{SOUGHT}, limits: {{processes: 0}}", 'E014 "processes" is 0', id="processes"),
        pytest.param(f"{SOUGHT}, limits: {{time: 5}}", 'E014 "5" has no unit', id="no unit"),
        pytest.param(f"{SOUGHT}, limits: {{nice: 5}}", 'E010 unknown key "nice" in "limits"', id="limit"),
        pytest.param(f"{SOUGHT}, decision: maybe", 'E012 "maybe" is not a valid effect', id="decision"),
        pytest.param(f"{SOUGHT}, shell: true", 'E010 unknown key "shell" in "tool"', id="shell"),
        pytest.param(
            f"{SOUGHT}, runtime: [/nowhere]", "E030 /nowhere: no such file or directory", id="runtime missing"
        ),
        pytest.param(f"{SOUGHT}, runtime: [/etc/passwd]", "E030 /etc/passwd is not a directory", id="runtime a file"),
        pytest.param(f"{SOUGHT}, runtime: [lib]", 'E030 "lib" is not an absolute path', id="runtime relative"),
        pytest.param(
            f"{SOUGHT}, tests: {{accept: [x]}}", 'E041 "tool x" is to be accepted, and is rejected', id="test"
        ),
        pytest.param(f"{SOUGHT}, tests: {{reject: [[]]}}", 'E041 "tool" is to be rejected, and the rules', id="reject"),
        pytest.param(f'{SOUGHT}, tests: {{reject: ["\'"]}}', 'E013 "\'" cannot be split into arguments', id="quote"),
    ],
)
def test_a_command_that_is_not_right(desk: Desk, rules: str, problem: str) -> None:
    assert wrong(desk, rules).startswith(problem)


@pytest.mark.parametrize("key", ["time: 2m", "memory: 3GiB", "output: 5MiB"])
def test_a_command_asks_for_no_more_than_the_policy_writes(desk: Desk, key: str) -> None:
    name = key.split(":", maxsplit=1)[0]
    written = {"time": "1m", "memory": "1GiB", "output": "1MiB"}[name]
    problem = wrong(desk, f"{SOUGHT}, limits: {{{key}}}", f"limits: {{{name}: {written}}}\n")
    assert problem == f"E021 this is more than limits.{name} (policy.yaml:4); a command can only have less"


def test_a_mistake_in_a_root_does_not_make_its_commands_wrong(desk: Desk) -> None:
    text = (
        f"version: 1\nroots: {{app: {{path: ~/app, mode: x}}}}\ncommands: {{tool: {{{SOUGHT}, roots: {{app: ro}}}}}}\n"
    )
    (problem,) = desk.problems(text)
    assert problem.startswith("E012")


@pytest.mark.parametrize(
    ("name", "launcher"),
    [
        *((name, True) for name in ("sh", "bash", "env", "xargs", "sudo", "ssh", "python", "python3", "python3.12")),
        *((name, True) for name in ("node", "perl5.36.0", "ruby3.1", "busybox", "lua5.4", "pypy3.10", "php8.2", "git")),
        *(
            (name, False)
            for name in ("pytest", "make", "ruff", "cargo", "pythonic", "shellcheck", "envsubst", "sha256sum")
        ),
    ],
)
def test_any_arguments_are_not_for_launchers(desk: Desk, name: str, launcher: bool) -> None:
    path = program(desk, f"tools/{name}/bin/{name}")
    link = desk.home / "tools/innocent"
    link.symlink_to(path)
    for spelling in (f"exec: {path}", f"exec: {link}", f"exec: {{in: app, find: bin/{name}}}"):
        if launcher:
            problem = wrong(desk, f"{spelling}, args: any")
            assert problem.startswith(f"E051 {name} runs whatever its arguments say")
        else:
            assert isinstance(of(desk, f"{spelling}, args: any").arguments, AnyArguments)
        assert of(desk, f"{spelling}, args: any, decision: ask").effect is Effect.ASK
        of(desk, f"{spelling}, args: {{flags: {{-V: flag}}}}")


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES", "GIT_SSH_COMMAND", "GIT_DIR", "BASH_ENV", "ENV", "PYTHONPATH"),
        *("PYTHONSTARTUP", "NODE_OPTIONS", "PERL5LIB", "PERL5OPT", "RUBYOPT", "HTTP_PROXY", "https_proxy", "ALL_PROXY"),
        *("RIPGREP_CONFIG_PATH", "JAVA_TOOL_OPTIONS", "MAKEFLAGS", "PAGER", "EDITOR", "SSH_AUTH_SOCK", "SSH_ASKPASS"),
        *("TAR_OPTIONS", "npm_config_script_shell", "PS4", "SHELLOPTS", "LESSOPEN", "DBUS_SESSION_BUS_ADDRESS"),
        *("XDG_CONFIG_HOME", "CARGO_HOME", "RUSTC_WRAPPER", "GOFLAGS", "CFLAGS", "HOME", "PATH", "TMPDIR"),
    ],
)
def test_a_variable_that_is_not_passed(name: str) -> None:
    with pytest.raises(LanguageError):
        check_passed(name)


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "TZ", "TERM", "COLUMNS", "CI", "USER", "ENVIRONMENT", "MY_TOKEN"])
def test_a_variable_that_may_be_passed(name: str) -> None:
    check_passed(name)


def test_all_but_the_loaders_and_the_sandboxes_variables_may_be_set() -> None:
    for name in ("GIT_AUTHOR_NAME", "PYTHONDONTWRITEBYTECODE", "NODE_OPTIONS", "HTTPS_PROXY"):
        check_set(name)


BASE = f"""{ROOTS}
commands:
  tool:
    {SOUGHT}
    subcommands: {{log: {{flags: {{-n: text}}}}, push: {{decision: ask}}}}
    limits: {{time: 30s}}
    background: true
    tests: {{accept: [push], reject: [pull]}}
"""


def extending(desk: Desk, rules: str) -> str:
    desk.write(BASE, "base.yaml")
    return f"version: 1\nextends: [base.yaml]\ncommands: {{tool: {{{rules}}}}}\n"


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param("limits: {time: 10s, memory: 1GiB}", id="limits"),
        pytest.param("background: false", id="background"),
        pytest.param("decision: ask", id="decision"),
        pytest.param("subcommands: {push: {decision: deny}}", id="subcommand denied"),
        pytest.param("subcommands: {show: {}}", id="a further subcommand"),
        pytest.param("subcommands: {log: {flags: {--all: flag}}}", id="a further flag"),
        pytest.param("roots: {app: ro}", id="roots"),
        pytest.param("exec: {in: app, find: other}", id="another program"),
        pytest.param("tests: {accept: [log -n 5], reject: [log -x]}", id="tests"),
    ],
)
def test_an_extending_file_narrows_a_command(desk: Desk, rules: str) -> None:
    desk.load(extending(desk, rules))


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        pytest.param("limits: {time: 1m}", "E021 3:34 this asks for more than base.yaml:8 grants", id="limits"),
        pytest.param(
            "network: full", "E021 3:28 this asks for more than base.yaml:5 grants", id="network, not written"
        ),
        pytest.param("unix_sockets: true", "E021 3:33 this asks for more than base.yaml:5 grants", id="unix sockets"),
        pytest.param("home: kept", "E021 3:25 this asks for more than base.yaml:5 grants", id="home"),
        pytest.param(
            "subcommands: {push: {decision: allow}}",
            "E021 3:50 this asks for more than base.yaml:7 grants",
            id="decision",
        ),
        pytest.param(
            "subcommands: {log: {flags: {-n: flag}}}", "E022 3:51 base.yaml:7 says something else", id="flag's value"
        ),
        pytest.param(
            "subcommands: {push: {positionals: [{value: text}]}}",
            "E022 3:53 base.yaml:7 says something else",
            id="positionals, not written",
        ),
        pytest.param("args: any", "E022 3:25 a command has args or subcommands, not both", id="args"),
        pytest.param(
            "tests: {accept: [pull]}",
            'E041 3:36 "tool pull" is to be accepted, and is rejected: pull is a subcommand that is not listed '
            "(policy.yaml:3)",
            id="test of its own",
        ),
    ],
)
def test_an_extending_file_asks_for_no_more(desk: Desk, rules: str, problem: str) -> None:
    assert desk.problems(extending(desk, rules)) == [problem]


def test_no_arguments_of_a_base_stay_none(desk: Desk) -> None:
    desk.write(f"{ROOTS}commands: {{tool: {{{SOUGHT}}}}}\n", "base.yaml")
    (problem,) = desk.problems("version: 1\nextends: [base.yaml]\ncommands: {tool: {args: any}}\n")
    assert problem.startswith("E022")


def test_what_a_base_accepts_may_be_refused_below_and_what_it_rejects_may_not_be_accepted(desk: Desk) -> None:
    desk.load(extending(desk, "subcommands: {push: {decision: deny}}"))
    (problem,) = desk.problems(extending(desk, "subcommands: {pull: {}}"))
    assert problem == 'E041 10:38 "tool pull" is to be rejected, and the rules accept it'


def test_a_profile_names_its_commands(desk: Desk) -> None:
    text = f"{ROOTS}commands: {{a: {{{SOUGHT}}}, b: {{{SOUGHT}}}, c: {{{SOUGHT}, roots: {{app: rw}}}}}}\n"
    profiles = """\
profiles:
  some: {commands: [b]}
  none: {commands: []}
  reader: {roots: {app: ro, notes: ro}}
  notes: {roots: {notes: ro}}
"""
    policy = desk.load(text + profiles)
    assert set(narrow(policy, "some").commands) == {"b"}
    assert set(narrow(policy, "none").commands) == set()
    reader = narrow(policy, "reader").commands
    assert {name: dict(each.roots) for name, each in reader.items()} == {
        "a": {"app": Mode.RO, "notes": Mode.RO},
        "b": {"app": Mode.RO, "notes": Mode.RO},
        "c": {"app": Mode.RO},
    }
    assert set(narrow(policy, "notes").commands) == set(), "the root that holds the program is not there"
    assert set(policy.commands) == {"a", "b", "c"}
    (problem,) = desk.problems(f"{text}profiles: {{x: {{commands: [d]}}}}\n")
    assert problem.startswith('E042 4:27 there is no command "d"')


def test_the_digest_covers_commands(desk: Desk) -> None:
    program(desk)
    program(desk, "tools/y/bin/tool")
    texts = [f"exec: ~/tools/{name}/bin/tool, {rest}" for name in "xy" for rest in ("args: {}", "network: full")]
    digests = {desk.load(f"{ROOTS}commands: {{tool: {{{text}}}}}\n").digest for text in texts}
    assert len(digests) == 4
    (desk.home / "link").symlink_to(desk.home / "tools/x")
    linked = f"{ROOTS}commands: {{tool: {{exec: ~/link/bin/tool, args: {{}}}}}}\n"
    first = desk.load(linked).digest
    (desk.home / "link").unlink()
    (desk.home / "link").symlink_to(desk.home / "tools/y")
    assert desk.load(linked).digest != first, "the prefix is another one"


def test_examples_run_in_the_root_of_the_program(desk: Desk) -> None:
    rules = "exec: {in: notes, find: tool}, args: {positionals: [{value: {path: {root: notes}}}]}"
    command = of(desk, f"{rules}, tests: {{accept: [a/b], reject: [../x, {desk.home}/app/x]}}")
    assert judge(command, ["a"], directory=("notes", ""), spellings={}).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("([a-z]+ ?)+", True),
        (r"(\w+\s?)*", True),
        ("(a+)+", True),
        ("((a+))+", True),
        ("(.*,)+", True),
        ("([^x]*,)+", True),
        ("(?:x|a*)*", True),
        ("(?:(?:a{1,9})b?){2,}", True),
        ("[a-z]+(?:-[a-z]+)*", False),
        (r"(?:\w+\.)*\w+", False),
        ("(?:foo|bar)+", False),
        ("(a+){3}", False),
        ("[(+)+]+", False),
        (r"\(a+\)+", False),
        (r"(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9_@][\w.^~@{}/+-]{0,200}", False),
    ],
)
def test_regular_expression_that_may_never_end_is_warned_of(desk: Desk, pattern: str, found: bool) -> None:
    assert may_never_end(pattern) is found
    args = f"args: {{flags: {{-m: {{match: '{pattern}'}}}}}}"
    text = f"{ROOTS}commands: {{tool: {{{SOUGHT}, {args}}}}}\n"
    assert any("repetition in a repetition" in each for each in warnings(desk.load(text))) is found
    text = f"{ROOTS}audit: {{redact: ['{pattern}']}}\n"
    assert any("audit.redact has a repetition in a repetition" in each for each in warnings(desk.load(text))) is found
