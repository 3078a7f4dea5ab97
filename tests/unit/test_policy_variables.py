"""Roots of principals: variables in the last component of a path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsserver.cli.policy import policy_group
from fsserver.policy.advice import warnings
from fsserver.policy.compiled import Mode
from fsserver.policy.decision import narrow
from fsserver.policy.loader import policy_from_roots
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.searching import Ripgrep, search_commands
from tests.policy_files import Desk, desk_in

HTTP = "server: {transport: http, auth: none}\n"
OWN = '{path: "~/app/${principal.name}", mode: rw}'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def policy(roots: str, rest: str = HTTP) -> str:
    return f"version: 1\nroots: {roots}\n{rest}"


@pytest.mark.parametrize(
    ("written", "each"),
    [
        ("~/app/${principal.name}", "${principal.name}"),
        ("~/app/${principal.name}/", "${principal.name}"),
        ("~/app/team-${principal.claim.team}.d", "team-${principal.claim.team}.d"),
        ("~/app/${principal.client}.${principal.subject}", "${principal.client}.${principal.subject}"),
    ],
)
def test_the_directory_above_is_the_path_and_the_last_component_is_of_each(desk: Desk, written: str, each: str) -> None:
    (root,) = desk.load(policy(f'{{work: {{path: "{written}", mode: rw}}}}')).roots
    assert (root.path, root.each, root.mode) == (str(desk.home / "app"), each, Mode.RW)
    assert root.written == f"{desk.home}/app/{each}"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("~/${principal.name}/a", "only the last component of a path holds variables", id="not the last"),
        pytest.param("~/${principal.name}", "the home directory itself cannot be served", id="above is home"),
        pytest.param("/${principal.name}", "the root directory / of the machine cannot be served", id="above is /"),
        pytest.param("${principal.name}", '"${principal.name}" is not an absolute path', id="relative"),
        pytest.param("~/gone/${principal.name}", "{home}/gone: no such file or directory", id="above is not there"),
        pytest.param("~/app/${HOME}", '"${HOME}" is not a variable of a path', id="environment"),
        pytest.param("~/app/${principal.issuer}", '"${principal.issuer}" is not a variable', id="another property"),
        pytest.param("~/app/${principal.claim.}", '"${principal.claim.}" is not a variable', id="claim without a name"),
        pytest.param("~/app/${principal.name", '"${principal.name" is not a variable', id="not closed"),
        pytest.param("~/app/${principal.claim.a/b}", '"${principal.claim.a/b}" is not a variable', id="slash"),
        pytest.param(
            "~/app/${principal.name}-${principal.client}",
            "two variables with nothing between them that is in no value",
            id="two principals could have one directory",
        ),
        pytest.param("~/../${principal.name}", 'a path in a policy holds no ".."', id="dot dot"),
    ],
)
def test_a_path_that_cannot_be_of_each_principal(desk: Desk, path: str, problem: str) -> None:
    (found,) = desk.problems(policy(f'{{work: {{path: "{path}"}}}}'))
    code, place, message = found.split(" ", 2)
    assert (code, place) == ("E030", "2:22")
    assert message.startswith(problem.replace("{home}", str(desk.home)))


def test_variables_are_for_http(desk: Desk) -> None:
    (problem,) = desk.problems(policy(f"{{work: {OWN}}}", ""))
    assert problem.startswith("E022 2:22 variables in a path need principals: this is for HTTP")
    with pytest.raises(PolicyErrors, match="variables in a path need principals"):
        policy_from_roots([str(desk.home / "app/${principal.name}")], write=True, here=desk.here)


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        pytest.param("{path: ~/app/src}", True, id="a read-only root in it"),
        pytest.param("{path: ~/app, mode: ro}", True, id="the directory above"),
        pytest.param('{path: "~/app/x-${principal.name}"}', True, id="another of each principal beside it"),
        pytest.param('{path: "~/app/src/${principal.name}"}', True, id="another of each principal in it"),
        pytest.param("{path: ~/notes, mode: rw}", False, id="apart"),
        pytest.param('{path: "~/notes/${principal.name}"}', False, id="another of each principal, apart"),
    ],
)
def test_a_root_of_each_principal_shares_its_directory_with_no_other(desk: Desk, other: str, overlaps: bool) -> None:
    for roots in (f"{{a: {OWN}, b: {other}}}", f"{{b: {other}, a: {OWN}}}"):
        if not overlaps:
            assert len(desk.load(policy(roots)).roots) == 2
            continue
        (problem,) = desk.problems(policy(roots))
        assert problem.startswith("E031 ")
        assert "share a directory, and one has variables in its path" in problem


def test_what_must_stay_outside_stays_outside_the_directory_above(desk: Desk) -> None:
    (problem,) = desk.problems(
        policy(f"{{work: {OWN}}}", "server: {transport: http, auth: none}\nstate: {key: ~/app/ada/key}\n")
    )
    assert problem == f"E032 2:22 the key that seals sessions is in this root: {desk.home}/app/ada/key"


COMMAND = "commands: {cat: {exec: /bin/cat, args: any}}\n"


def test_a_command_has_every_other_root(desk: Desk) -> None:
    loaded = desk.load(policy(f"{{work: {OWN}, notes: {{path: ~/notes}}}}", HTTP + COMMAND))
    assert dict(loaded.commands["cat"].roots) == {"notes": Mode.RO}
    assert {name for each in search_commands(loaded, Ripgrep(None, "")).values() for name in each.roots} == {"notes"}


def test_where_each_root_is_of_each_principal_no_command_runs(desk: Desk) -> None:
    text = policy(f"{{work: {OWN}}}", HTTP)
    (problem,) = desk.problems(text + COMMAND)
    assert problem.startswith("E022 4:17 each root here is another directory for each principal")
    assert not search_commands(desk.load(text), Ripgrep(None, ""))


@pytest.mark.parametrize(
    "rest",
    [
        "commands: {cat: {exec: /bin/cat, args: any, roots: {work: rw, notes: ro}}}\n",
        "commands: {cat: {args: any, roots: {notes: ro, work: ro}, exec: /bin/cat}}\n",
    ],
)
def test_a_command_that_names_a_root_of_each_principal_is_refused(desk: Desk, rest: str) -> None:
    (problem,) = desk.problems(policy(f"{{work: {OWN}, notes: {{path: ~/notes}}}}", HTTP + rest))
    assert problem.startswith("E022 4:")
    assert 'the root "work" is another directory for each principal; no command can run there' in problem


def test_a_profile_keeps_what_is_of_each(desk: Desk) -> None:
    loaded = desk.load(policy(f"{{work: {OWN}}}", HTTP + "profiles: {reader: {roots: {work: ro}}}\n"))
    (root,) = narrow(loaded, "reader").roots
    assert (root.mode, root.each) == (Mode.RO, "${principal.name}")


def test_a_subject_of_several_issuers_is_no_name(desk: Desk) -> None:
    issuers = ", ".join(f'{{issuer: "https://{name}.example.org", audience: x}}' for name in "ab")
    rest = f"server: {{transport: http, auth: {{oauth: [{issuers}]}}}}\n"
    rest += 'principals: [{when: {issuer: "https://a.example.org"}}]\n'
    for variable, warned in (("subject", True), ("name", False), ("claim.team", False)):
        loaded = desk.load(policy(f'{{work: {{path: "~/app/${{principal.{variable}}}"}}}}', rest))
        assert any("two issuers may give the same subject" in each for each in warnings(loaded)) is warned


def test_check_and_explain_speak_of_the_directory_as_it_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk.home))
    path = str(desk.write(policy(f"{{work: {OWN}}}")))
    written = f"{desk.home}/app/${{principal.name}}"
    checked = CliRunner().invoke(policy_group, ["check", path])
    assert checked.stdout.splitlines()[1:] == [
        f"  rw  work  {written}  (0 deny, 0 read_only)",
        "  http  127.0.0.1:8080  (auth: none; 0 principals)",
    ]
    facts = json.loads(CliRunner().invoke(policy_group, ["check", "--json", path]).stdout)
    assert facts["roots"] == [{"name": "work", "path": written, "mode": "rw"}]
    assert facts["server"]["auth"] == ["none"]
    for name in ("src/a.txt", f"{written}/src/a.txt"):
        told = CliRunner().invoke(policy_group, ["explain", path, "--json", "--tool", "read_text_file", f"path={name}"])
        (decided,) = json.loads(told.stdout)["paths"]
        assert (decided["root"], decided["name"], decided["decision"]) == ("work", "src/a.txt", "allow")
