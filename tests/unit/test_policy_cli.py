"""``fsserver policy``, as a process where start-up matters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from fsserver.cli.policy import policy_group
from tests.policy_files import Desk, desk_in
from tests.support import REPOSITORY, in_child

GOOD = "version: 1\nextends: [preset:secrets]\nroots: {app: {path: ~/app, mode: rw}}\nprofiles: {reader: {}}\n"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = desk_in(tmp_path)
    monkeypatch.setenv("HOME", str(desk.home))
    return desk


def run(*arguments: str) -> Result:
    return CliRunner().invoke(policy_group, arguments)


def test_check_of_a_good_policy_says_what_it_grants(desk: Desk) -> None:
    path = str(desk.write(GOOD))
    result = run("check", path)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f'{path}: ok, policy "policy"'
    assert second.startswith(f"  rw  app  {desk.home}/app  (")


def test_check_of_a_bad_policy_exits_2_with_every_problem(desk: Desk) -> None:
    result = run("check", str(desk.write("version: 1\nroots: {app: {path: ~/gone, mode: x}}\n")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("error[E0") == 2


def test_check_as_json(desk: Desk) -> None:
    good = run("check", "--json", str(desk.write(GOOD)))
    answer = json.loads(good.stdout)
    assert (good.exit_code, answer["ok"], answer["profiles"]) == (0, True, ["reader"])
    assert answer["roots"] == [{"name": "app", "path": str(desk.home / "app"), "mode": "rw"}]
    bad = run("check", "--json", str(desk.write("version: 1\nrots: {}\n")))
    answer = json.loads(bad.stdout)
    assert (bad.exit_code, answer["ok"]) == (2, False)
    assert answer["problems"][0]["help"] == 'did you mean "roots"?'


def test_check_of_a_missing_file_exits_2(desk: Desk) -> None:
    result = run("check", str(desk.base / "gone.yaml"))
    assert result.exit_code == 2
    assert "no such file" in result.stderr
    assert "= help" not in result.stderr


def test_check_of_a_missing_file_with_a_relative_path_says_where_that_begins() -> None:
    result = run("check", "gone.yaml")
    assert "= help: a path that is not absolute begins where fsserver was started" in result.stderr


def test_check_of_a_missing_file_that_is_extended_says_where_its_path_begins(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk.write("version: 1\nextends: [gone.yaml]\nroots: {}\n")
    monkeypatch.chdir(desk.base)
    result = run("check", str(file.relative_to(desk.base)))
    assert "= help: a policy is extended by a path relative to the file that extends it" in result.stderr
    assert "was started" not in result.stderr


def test_check_without_a_current_directory_exits_2_and_says_so(desk: Desk) -> None:
    def check() -> tuple[int, dict[str, object]]:
        gone = desk.directory("gone")
        os.chdir(gone)
        gone.rmdir()
        result = run("check", "--json", "policy.yaml")
        return result.exit_code, json.loads(result.stdout)

    message = "policy.yaml: the current directory was removed; give an absolute path"
    assert in_child(check) == (2, {"ok": False, "message": message, "problems": []})


APP = "{app: {path: ~/app}}"


@pytest.mark.parametrize(
    ("roots", "help_text"),
    [
        ("[{path: ~/app}]", "put a name of your choice before each, as in notes: {path: ~/notes}"),
        ("{app: ~/app}", "write {path: ~/app}"),
        ("{app: {path: ~/app}}\nsandbox: full", "write {require: full}"),
        (
            "{app: {path: ~/app, mode: rw, operations: {write: deny}}}",
            "write is create, edit and overwrite: write each of them",
        ),
        (
            '{app: {path: ~/app, tests: {accept: ["write a"]}}}',
            "write is create, edit and overwrite: write each of them",
        ),
        (f"{APP}\ncommands: {{t: {{exec: sh}}}}", f"this machine has {shutil.which('sh')}"),
        (
            f'{APP}\ncommands: {{t: {{exec: "/bin/sh -c x"}}}}',
            "exec: /bin/sh, and what stands before the client's arguments in prepend: [-c, x]",
        ),
        (f"{APP}\ncommands: {{t: {{exec: /bin/sh, args: [x]}}}}", "or write a map with flags or positionals"),
        (
            f"{APP}\ncommands: {{t: {{exec: /bin/sh, args: {{flags: {{-n: int}}}}}}}}",
            "or write a map with int, enum, match, path or url",
        ),
        (
            f"{APP}\ncommands: {{t: {{exec: /bin/sh, args: {{flags: [-v]}}}}}}",
            "write a map, as in {-v: flag, -n: {int: {min: 1}}}",
        ),
        (f"{APP}\ncommands: {{t: {{exec: /bin/sh, roots: [app]}}}}", "write a map, as in {app: rw}"),
    ],
)
def test_check_shows_how_it_is_written(desk: Desk, roots: str, help_text: str) -> None:
    result = run("check", str(desk.write(f"version: 1\nroots: {roots}\n")))
    assert result.stderr.endswith(f"= help: {help_text}\n")


def test_the_schema_accepts_what_the_loader_accepts() -> None:
    schema = json.loads(run("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in (REPOSITORY / "policies").glob("*.yaml"):
        validator.validate(yaml.safe_load(path.read_text()))
    for path in (REPOSITORY / "fsserver/policy/presets").glob("*.yaml"):
        validator.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", ["my policy", "", "-x", "a" * 65, "f\u00fcr"])
def test_the_schema_and_the_loader_refuse_the_same_names(desk: Desk, name: str) -> None:
    policy = {"version": 1, "name": name, "roots": {"app": {"path": "~/app"}}}
    validator = jsonschema.Draft202012Validator(json.loads(run("schema").stdout))
    assert not validator.is_valid(policy)
    assert "error[E015]" in run("check", str(desk.write(json.dumps(policy)))).stderr
    assert validator.is_valid(policy | {"name": "mine"})


@pytest.mark.parametrize("name", ["wrong_mode", "unknown_key", "wrong_unit", "not_available_yet"])
def test_the_schema_refuses_what_an_editor_can_see(name: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(run("schema").stdout))
    value = yaml.safe_load((REPOSITORY / f"tests/golden/policy/{name}.yaml").read_text())
    assert not validator.is_valid(value)


def test_check_loads_nothing_that_it_does_not_need(desk: Desk) -> None:
    """Start-up is dominated by imports: none of the server's."""
    program = (
        "import sys; from fsserver.cli.main import main\n"
        "try: main(['policy', 'check', sys.argv[1]])\n"
        "finally: print(sorted({'pydantic', 'mcp', 'anyio', 'difflib'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(desk.write(GOOD))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
