"""Several files: maps merge by name, rules grow, whoever extends narrows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.compiled import Action, Effect, Mode
from fsserver.policy.service import Rate
from tests.policy_files import Desk, desk_in

BASE = """\
version: 1
roots:
  app:
    path: ~/app
    mode: rw
    deny: [base]
    operations: {delete: ask}
    max_file: 1MiB
limits: {time: 1m, calls: {concurrency: 4}}
sandbox: {require: landlock}
client_roots: narrow
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = desk_in(tmp_path)
    desk.write(BASE, "base.yaml")
    return desk


def extending(rest: str) -> str:
    return f"version: 1\nextends: [base.yaml]\n{rest}"


def test_what_is_not_written_comes_from_the_base(desk: Desk) -> None:
    policy = desk.load(extending("name: mine\n"))
    assert policy.name == "mine"
    (root,) = policy.roots
    assert (root.name, root.path, root.mode, root.max_file) == ("app", str(desk.home / "app"), Mode.RW, 1024**2)
    assert (policy.limits.time_s, policy.limits.concurrency) == (60.0, 4)
    assert str(root.origin) == "base.yaml:3"


def test_rules_of_both_files_hold_and_keep_their_origins(desk: Desk) -> None:
    (root,) = desk.load(extending("roots:\n  app:\n    deny: [mine]\n    operations: {move: deny}\n")).roots
    assert [(rule.glob, str(rule.origin)) for rule in root.deny] == [("base", "base.yaml:6"), ("mine", "policy.yaml:5")]
    assert {action.value: str(effect) for action, (effect, _) in root.operations.items()} == {
        "delete": "ask",
        "move": "deny",
    }
    assert str(root.operations[Action.MOVE][1]) == "policy.yaml:6"


def test_a_further_root_is_added(desk: Desk) -> None:
    assert [root.name for root in desk.load(extending("roots: {notes: {path: ~/notes}}\n")).roots] == ["app", "notes"]


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param("roots: {app: {mode: ro}}", id="mode"),
        pytest.param("roots: {app: {operations: {delete: deny}}}", id="operation"),
        pytest.param("roots: {app: {max_file: 1KiB}}", id="size"),
        pytest.param("roots: {app: {path: ~/app}}", id="the same path again"),
        pytest.param("limits: {time: 30s, calls: {concurrency: 1}}", id="limits"),
        pytest.param("sandbox: {require: full, accept_uid0: false}", id="sandbox"),
        pytest.param("limits: {result: 1MiB}", id="what the base does not say"),
    ],
)
def test_asking_for_less_is_fine(desk: Desk, rest: str) -> None:
    desk.load(extending(rest + "\n"))


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        pytest.param(
            "roots: {app: {operations: {delete: allow}}}",
            "E021 3:36 this asks for more than base.yaml:7 grants",
            id="operation",
        ),
        pytest.param(
            "roots: {app: {max_file: 2MiB}}", "E021 3:25 this asks for more than base.yaml:8 grants", id="size"
        ),
        pytest.param("limits: {time: 2m}", "E021 3:16 this asks for more than base.yaml:9 grants", id="limit"),
        pytest.param("sandbox: {require: none}", "E021 3:20 this asks for more than base.yaml:10 grants", id="layer"),
        pytest.param(
            "client_roots: ignore", "E021 3:15 this asks for more than base.yaml:11 grants", id="client roots"
        ),
        pytest.param("roots: {app: {path: ~/notes}}", "E022 3:21 base.yaml:4 says something else", id="another path"),
    ],
)
def test_asking_for_more_is_an_error(desk: Desk, rest: str, problem: str) -> None:
    assert desk.problems(extending(rest + "\n")) == [problem]


def test_a_root_without_a_mode_is_read_only_for_extending_files_too(desk: Desk) -> None:
    desk.write("version: 1\nroots:\n  notes: {path: ~/notes}\n", "base.yaml")
    problems = desk.problems(extending("roots: {notes: {mode: rw}}\n"))
    assert problems == ["E021 3:23 this asks for more than base.yaml:3 grants"]


def test_a_base_may_leave_the_path_to_the_extending_file(desk: Desk) -> None:
    desk.write("version: 1\nroots: {notes: {deny: [x]}}\n", "base.yaml")
    (root,) = desk.load(extending("roots: {notes: {path: ~/notes, mode: rw}}\n")).roots
    assert (root.mode, [rule.glob for rule in root.deny]) == (Mode.RW, ["x"])


def test_of_two_bases_the_strictest_wins_in_either_order(desk: Desk) -> None:
    desk.write(
        "version: 1\nroots: {app: {mode: ro, hardlinks: deny}}\nlimits: {time: 10s, result: 1KiB}\n", "other.yaml"
    )
    for order in ("base.yaml, other.yaml", "other.yaml, base.yaml"):
        policy = desk.load(f"version: 1\nextends: [{order}]\nroots: {{app: {{operations: {{delete: deny}}}}}}\n")
        (root,) = policy.roots
        assert (root.mode, root.hardlinks, policy.limits.time_s) == (Mode.RO, Effect.DENY, 10.0)


def test_two_bases_that_cannot_both_be_followed_are_an_error(desk: Desk) -> None:
    desk.write("version: 1\nroots: {app: {path: ~/notes}}\naudit: {max_size: 1MiB}\n", "other.yaml")
    assert desk.problems("version: 1\nextends: [base.yaml, other.yaml]\n") == [
        "E022 2:21 base.yaml:4 says something else"
    ]


def test_the_extending_file_replaces_where_nothing_is_stricter(desk: Desk) -> None:
    desk.write(BASE + "audit: {max_size: 1MiB}\napprovals: {timeout: 1m}\n", "base.yaml")
    policy = desk.load(extending("audit: {max_size: 1GiB}\n"))
    assert (policy.audit.max_size, policy.approvals.timeout_s) == (1024**3, 60.0)


def test_a_profile_is_written_in_one_file(desk: Desk) -> None:
    desk.write(BASE + "profiles: {reader: {roots: {app: ro}}}\n", "base.yaml")
    assert set(desk.load(extending("profiles: {nobody: {roots: {}}}\n")).profiles) == {"reader", "nobody"}
    assert desk.problems(extending("profiles: {reader: {}}\n")) == ["E022 3:20 base.yaml:12 says something else"]


def test_a_file_that_is_reached_twice_counts_once(desk: Desk) -> None:
    for name in ("left.yaml", "right.yaml"):
        desk.write(extending(""), name)
    (root,) = desk.load("version: 1\nextends: [left.yaml, right.yaml, base.yaml]\n").roots
    assert [rule.glob for rule in root.deny] == ["base"]


def test_protect_holds_for_the_roots_of_every_file(desk: Desk) -> None:
    desk.write(BASE + "protect: {deny: [theirs]}\n", "base.yaml")
    policy = desk.load(extending("roots: {notes: {path: ~/notes}}\nprotect: {deny: [ours], read_only: [frozen]}\n"))
    globs = {root.name: [rule.glob for rule in root.deny] for root in policy.roots}
    assert globs == {"app": ["base", "theirs", "ours"], "notes": ["theirs", "ours"]}
    assert all([rule.glob for rule in root.read_only] == ["frozen"] for root in policy.roots)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param({}, "E020 2:11 policy.yaml extends itself", id="itself"),
        pytest.param({"base.yaml": "[policy.yaml]"}, "E020 2:11 policy.yaml extends itself", id="through another"),
        pytest.param({"base.yaml": "[./base.yaml]"}, "E020 2:11 base.yaml extends itself", id="the base does"),
    ],
)
def test_a_cycle_is_an_error(desk: Desk, files: dict[str, str], problem: str) -> None:
    for name, extends in files.items():
        desk.write(f"version: 1\nextends: {extends}\n", name)
    first = "base.yaml" if files else "policy.yaml"
    assert desk.problems(f"version: 1\nextends: [{first}]\nroots: {{a: {{path: ~/app}}}}\n") == [problem]


def test_a_chain_has_an_end(desk: Desk) -> None:
    for number in range(30):
        desk.write(f"version: 1\nextends: [f{number + 1}.yaml]\nroots: {{a: {{path: ~/app}}}}\n", f"f{number}.yaml")
    assert desk.problems("version: 1\nextends: [f0.yaml]\n") == ["E020 2:11 more than 16 files in a chain"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("gone.yaml", "E001 2:11 {base}/gone.yaml: no such file or directory", id="missing"),
        pytest.param("/etc/passwd", "E020 2:11 a policy is extended by a path relative to the file", id="absolute"),
        pytest.param("~/base.yaml", "E020 2:11 a policy is extended by a path relative to the file", id="home"),
        pytest.param("preset:secret", 'E020 2:11 there is no preset "secret"', id="no such preset"),
        pytest.param("preset:../secrets", 'E020 2:11 there is no preset "../secrets"', id="a path for a preset"),
        pytest.param(".", "E001 2:11 {base}/. is not a regular file", id="directory"),
        pytest.param("3", 'E013 2:11 an item of "extends" must be text', id="no text"),
    ],
)
def test_what_cannot_be_extended(desk: Desk, name: str, problem: str) -> None:
    (found,) = desk.problems(f"version: 1\nextends: [{name}]\nroots: {{a: {{path: ~/app}}}}\n")
    assert found.startswith(problem.format(base=desk.base / "policies"))


def test_mistakes_in_a_base_are_shown_in_the_base(desk: Desk) -> None:
    desk.write("version: 1\nrots: {}\n", "base.yaml")
    assert desk.problems(extending("roots: {a: {path: ~/gone}}\n")) == [
        'E010 2:1 unknown key "rots"',
        f"E030 3:19 {desk.home}/gone: no such file or directory",
    ]


SERVICE = """\
version: 1
roots: {app: {path: ~/app}}
server: {transport: http, ops: "127.0.0.1:9090", auth: {tokens: /keys/t}, hosts: [a], limits: {body: 1MiB}}
principals: [{when: {token: ci}}]
limits: {calls: {rate: 60/m, output: 1MiB/m, each: 4, classes: {command: {rate: 10/30s}}}}
state: {redis: "redis://h", on_failure: refuse}
"""


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        pytest.param("limits: {calls: {rate: 10/10s}}", None, id="slower over any time"),
        pytest.param("limits: {calls: {rate: 1/s}}", None, id="the same, and never at once"),
        pytest.param("limits: {calls: {rate: 60/m}}", None, id="the same"),
        pytest.param("limits: {calls: {rate: 61/m}}", "E021 3:24", id="faster"),
        pytest.param("limits: {calls: {rate: 3600/h}}", "E021 3:24", id="as fast, and more at once"),
        pytest.param("limits: {calls: {rate: 50/40s}}", "E021 3:24", id="less at once, and faster"),
        pytest.param("limits: {calls: {output: 64KiB/s}}", "E021 3:26", id="more bytes"),
        pytest.param("limits: {calls: {output: 16KiB/s}}", None, id="fewer bytes"),
        pytest.param("limits: {calls: {each: 5}}", "E021 3:24", id="more at the same time"),
        pytest.param("limits: {calls: {classes: {command: {rate: 20/m}}}}", "E021 3:44", id="faster in a class"),
        pytest.param("limits: {calls: {classes: {read: {rate: 1/s}}}}", None, id="a class that the base leaves open"),
        pytest.param("server: {limits: {body: 2MiB}}", "E021 3:25", id="larger bodies"),
        pytest.param("server: {auth: none}", "E022 3:16", id="no authentication"),
        pytest.param("server: {auth: {tokens: /other}}", "E022 3:16", id="other tokens"),
        pytest.param("server: {hosts: [a, b]}", "E022 3:17", id="more hosts"),
        pytest.param("server: {ops: 127.0.0.1:1}", None, id="another address for operators"),
        pytest.param("principals: [{when: {token: mine}}]", "E022 3:13", id="other principals"),
        pytest.param("state: {on_failure: local}", "E021 3:21", id="serving without Redis"),
    ],
)
def test_whoever_extends_a_service_lets_in_nobody_else_and_grants_no_more(
    desk: Desk, rest: str, problem: str | None
) -> None:
    desk.write(SERVICE, "base.yaml")
    text = extending(rest + "\n")
    if problem is None:
        desk.load(text)
    else:
        assert desk.problems(text)[0].startswith(problem)


@pytest.mark.parametrize(
    ("one", "other", "rate"),
    [
        ("60/m", "1/s", Rate(1, 1)),
        ("1/s", "60/m", Rate(1, 1)),
        ("20/m", "10/30s", Rate(10, 30)),
        ("15/40s", "10/30s", None),
        ("10/30s", "15/40s", None),
    ],
)
def test_of_rates_side_by_side_the_one_that_keeps_both_holds(
    desk: Desk, one: str, other: str, rate: Rate | None
) -> None:
    for name, written in (("one.yaml", one), ("other.yaml", other)):
        desk.write(f"version: 1\nlimits: {{calls: {{rate: {written}}}}}\n", name)
    text = "version: 1\nextends: [one.yaml, other.yaml]\nroots: {a: {path: ~/app}}\n"
    if rate is not None:
        assert desk.load(text).limits.budget.rate == rate
    else:
        (problem,) = desk.problems(text)
        assert problem.startswith("E022 2:24 one.yaml:2 allows more in one length of time, and this in another")
