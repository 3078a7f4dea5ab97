"""``fsserver doctor`` as a user runs it, and its self-test, which must see a hole where there is one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsserver.cli.doctor import doctor as doctor_command
from fsserver.cli.doctor_audit import log_checks
from fsserver.kernel.features import probe, user_namespaces
from fsserver.policy.compiled import AuditRules, Layer
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.runtime import find_runtime
from fsserver.sandbox.selftest import run_selftest
from tests.audit_logs import open_file, private
from tests.mounts import mount_small_tmpfs
from tests.support import in_child, require_kernel

FEATURES = probe()
RUNTIME = find_runtime()


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fsserver", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def needs_layer() -> None:
    if available_layer(FEATURES.landlock_abi, seccomp=FEATURES.seccomp) is Layer.NONE:
        require_kernel("Landlock ABI 3 and seccomp")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_machine_that_can_serve_exits_0_and_shows_every_attempt_as_wanted(tmp_path: Path) -> None:
    needs_layer()
    (tmp_path / "root").mkdir()
    found = doctor("--root", str(tmp_path / "root"), "--json")
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads(found.stdout)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert report["ok"] is True
    assert verdicts["read a file outside"] == "ok"
    assert verdicts["write a file in a root"] == "ok"
    assert "error" not in verdicts.values()


def test_a_root_that_is_missing_exits_2_and_the_rest_is_reported_all_the_same(tmp_path: Path) -> None:
    found = doctor("--root", str(tmp_path / "missing"))
    assert found.returncode == 2
    assert "FAIL" in found.stdout
    assert "Landlock" in found.stdout
    assert "\x1b" not in found.stdout, "colour is for terminals"


def test_a_machine_without_room_for_a_temporary_directory_is_told_so() -> None:
    found = subprocess.run(
        ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", sys.executable, "-m", "fsserver", "doctor"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert found.returncode == 2, found.stderr
    assert "it cannot be made: No usable temporary directory found" in found.stdout


def test_a_policy_that_does_not_load_exits_2(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nroots: {}\nunknown: 1\n")
    found = doctor("--policy", str(policy), "--json")
    assert found.returncode == 2
    assert json.loads(found.stdout)["ok"] is False


def test_a_state_directory_that_others_may_write_to_exits_2(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    audit = tmp_path / "audit"
    audit.mkdir()
    audit.chmod(0o777)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\nroots: {{work: {{path: {tmp_path}/root, mode: ro}}}}\naudit: {{sinks: [{{dir: {audit}}}]}}\n"
    )
    policy.chmod(0o600)
    found = doctor("--policy", str(policy))
    assert found.returncode == 2, found.stdout
    assert "writable by others" in found.stdout


def test_a_state_directory_that_is_a_link_exits_2_as_serving_would(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state/fsserver").mkdir(parents=True)
    (tmp_path / "state/fsserver/audit").symlink_to(tmp_path / "real")
    found = doctor("--root", str(tmp_path / "root"))
    assert (found.returncode, "fsserver/audit is a link" in found.stdout) == (2, True), found.stdout


@pytest.mark.parametrize("there", ["", "fsserver/audit"], ids=["to be made", "there"])
def test_a_full_disk_for_the_log_is_an_error_as_serving_would_fail(tmp_path: Path, there: str) -> None:
    place = private(tmp_path / "full")

    def checked() -> list[tuple[str, bool]]:
        mount_small_tmpfs(place)
        audit = place / "fsserver/audit"
        (place / there).mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / "ballast").write_bytes(b"\0" * 128 * 1024)
        checks = log_checks(AuditRules(directory=str(audit)))
        return [(check.verdict, "full" in check.text) for check in checks]

    assert in_child(checked) == [("error", True)]


def policy_file(directory: Path, more: str = "") -> str:
    (directory / "root").mkdir()
    path = directory / "policy.yaml"
    path.write_text(f"version: 1\nroots: {{work: {{path: {directory}/root, mode: ro}}}}\n{more}")
    path.chmod(0o600)
    return str(path)


def line_of(found: subprocess.CompletedProcess[str], name: str) -> str:
    """The line about ``name``, with those that belong to it; one space between words."""
    lines = found.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if f"  {name}  " in line)
    more = [line for line in lines[start + 1 : start + 3] if line.startswith(" " * 10)]
    return " ".join(" ".join([lines[start], *more]).split())


def test_a_log_that_another_server_writes_exits_2_as_serving_would(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log.jsonl"
    policy = policy_file(tmp_path, f"audit: {{sinks: [{{file: {log}}}]}}\n")
    log.parent.mkdir(mode=0o700)
    held = open_file(log)
    found = doctor("--policy", policy)
    assert found.returncode == 2, found.stdout
    assert "Another server is writing the audit log log.jsonl." in line_of(found, "audit log")
    held.append("run.confined", {})  # the lock is still its own
    held.close()
    assert doctor("--policy", policy).returncode == 0


def test_a_log_that_has_a_second_name_exits_2_as_serving_would(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log.jsonl"
    policy = policy_file(tmp_path, f"audit: {{sinks: [{{file: {log}}}]}}\n")
    log.parent.mkdir(mode=0o700)
    assert doctor("--policy", policy).returncode == 0
    assert not log.exists(), "looking makes nothing"
    open_file(log).close()
    (tmp_path / "second").hardlink_to(log)
    found = doctor("--policy", policy)
    assert (found.returncode, "has a second name" in line_of(found, "audit log")) == (2, True), found.stdout


@pytest.mark.parametrize("mode", [0o777, None], ids=["writable by others", "no directory"])
def test_a_state_directory_that_will_not_do_comes_with_another_place(tmp_path: Path, mode: int | None) -> None:
    (tmp_path / "state/fsserver").mkdir(parents=True)
    audit = tmp_path / "state/fsserver/audit"
    if mode is None:
        audit.touch()
    else:
        audit.mkdir()
        audit.chmod(mode)
    found = doctor("--policy", policy_file(tmp_path))
    assert found.returncode == 2, found.stdout
    assert line_of(found, "audit log").endswith(
        "XDG_STATE_HOME, or `audit: {sinks: [{dir: …}]}` in the policy, names another."
    )


def test_without_anything_to_serve_it_says_what_was_not_checked() -> None:
    not_checked = "Policy, roots and audit log were not checked: give --policy FILE or --root DIR."
    found = doctor()
    assert not_checked in line_of(found, "policy")
    assert "Serving would work" not in found.stdout
    if found.returncode == 0:
        assert found.stdout.endswith(f"This machine can serve. {not_checked}\n")


@pytest.mark.parametrize("require", ["full", "landlock", "none"])
def test_the_required_layer_is_told(tmp_path: Path, require: str) -> None:
    found = doctor("--policy", policy_file(tmp_path, f"sandbox: {{require: {require}}}\n"))
    assert line_of(found, "policy").endswith(f"sandbox layer required: {require}")
    assert line_of(found, "commands").endswith("the policy has none")


def needs_full() -> None:
    needs_layer()
    if not user_namespaces():
        require_kernel("user namespaces")


def test_commands_are_tried_without_a_policy_and_nothing_of_the_trial_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_full()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = doctor("--json")
    checks = {each["name"]: each for each in json.loads(found.stdout)["checks"] if each["group"] == "commands"}
    assert (checks["layer here"]["verdict"], checks["layer here"]["text"]) == ("ok", "full")
    for attempt in ("read a file outside its roots", "read a protected name", "connect to a server of the host"):
        assert checks[attempt]["text"].startswith("stopped (")
    assert checks["start a process"]["text"] == "works"
    assert not list(tmp_path.rglob("*"))


def test_commands_of_a_policy_are_told_with_what_they_are_and_leave(tmp_path: Path) -> None:
    needs_full()
    sought = {name: f"{{exec: {{in: work, find: {name}}}, args: any}}" for name in ("shown", "blind", "apart", "gone")}
    commands = "".join(f"  {name}: {rules}\n" for name, rules in sought.items())
    commands += "  cached: {exec: /usr/bin/head, args: {flags: {-n: {int: {}}}}, home: kept}\n"
    policy = policy_file(tmp_path, f"name: shop\ncommands:\n{commands}")
    python = tmp_path / "venv/bin/python"  # of a virtual environment outside, made by a Python outside
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "made/bin/python3")
    for name, interpreter in (("shown", "/bin/sh"), ("blind", f"{tmp_path}/else/bin/python"), ("apart", str(python))):
        (tmp_path / "root" / name).write_text(f"#!{interpreter}\n")
        (tmp_path / "root" / name).chmod(0o755)
    mark = hashlib.sha256(os.fsencode(policy)).hexdigest()[:12]
    kept = tmp_path / f"state/fsserver/homes/shop@{mark}/cached"
    kept.mkdir(parents=True)
    (kept / "cache").write_bytes(bytes(1000))
    found = doctor("--policy", policy)
    assert found.returncode == 0, found.stdout
    assert line_of(found, "layer of the policy") == "ok layer of the policy full"
    assert line_of(found, "command shown").endswith(f"{tmp_path}/root/shown")
    blind = line_of(found, "command blind")
    assert (blind[0], f"does not see {tmp_path}/else/bin/python" in blind) == ("!", True)
    assert f"give the command runtime: [{tmp_path}/else]" in blind
    assert line_of(found, "command apart").endswith(f"give the command runtime: [{tmp_path}/venv, {tmp_path}/made]")
    assert "gone is not in work now" in line_of(found, "command gone")
    assert line_of(found, "home of cached").endswith(f"{kept}: 1 file, 1000 B")
    assert line_of(found, "quarantine").endswith("quarantine: nothing")
    who = line_of(found, "run as")
    assert ("that nobody has" in who) if os.geteuid() == 0 else f"user {os.geteuid()}, as the server" in who


def test_a_layer_that_this_machine_does_not_give_exits_3(tmp_path: Path) -> None:
    needs_layer()
    command = "commands: {head: {exec: /usr/bin/head, args: {flags: {-n: {int: {}}}}}}\n"
    policy = policy_file(tmp_path, command)
    found = without_user_namespaces("--policy", policy)
    assert found.returncode == 3, found.stdout
    assert line_of(found, "layer of the policy").startswith("FAIL layer of the policy The policy requires")
    assert "The launcher of commands says: No cell of layer full: " in found.stdout
    assert "not with --strict" in found.stdout
    assert found.stderr == ""


def without_user_namespaces(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As on a machine that has none: in a namespace that allows no further ones."""
    needs_full()
    enter = ("unshare", "--user", "--map-current-user", "--keep-caps")
    inner = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    return subprocess.run(
        [*enter, "sh", "-c", inner, "sh", sys.executable, "-m", "fsserver", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_profile_and_write_mean_what_they_mean_to_serve(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "profiles: {reader: {roots: {}}}\n")
    assert "root work" in doctor("--policy", policy).stdout
    narrowed = doctor("--policy", policy, "--profile", "reader")
    assert (narrowed.returncode, "root work" in narrowed.stdout) == (0, False)
    missing = doctor("--policy", policy, "--profile", "writer")
    assert missing.returncode == 2
    assert 'the policy has no profile "writer"; it has: reader' in missing.stdout
    root = str(tmp_path / "root")
    assert "(ro," in line_of(doctor("--root", root), "root root")
    assert "(rw," in line_of(doctor("--root", root, "--write"), "root root")


@pytest.mark.parametrize(
    ("bits", "refused"), [pytest.param(0o000, True, id="closed"), pytest.param(0o555, False, id="not written to")]
)
@pytest.mark.parametrize("write", [[], ["--write"]], ids=["ro", "rw"])
def test_a_root_that_this_user_may_not_enter_exits_2_as_serving_would(
    open_tmp_path: Path, bits: int, refused: bool, write: list[str]
) -> None:
    root = open_tmp_path / "root"
    root.mkdir()
    root.chmod(bits)

    def check() -> tuple[int, str]:
        os.environ["XDG_STATE_HOME"] = str(open_tmp_path / "state")
        answer = CliRunner().invoke(doctor_command, ["--root", str(root), *write])
        return answer.exit_code, answer.output

    status, output = in_child(check, unprivileged=True)
    root.chmod(0o755)
    assert ("cannot be listed and entered" in output) == refused, output
    assert ("FAIL  policy  " in output) == refused
    assert status == 2 or not refused


def test_it_never_loads_the_protocols_libraries() -> None:
    script = "import sys; from fsserver.cli.doctor import doctor; doctor(['--json'], standalone_mode=False)"
    checked = f"import atexit, sys; atexit.register(lambda: sys.stderr.write(','.join(sys.modules))); {script}"
    found = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True, timeout=30, check=False)
    loaded = set(found.stderr.split(","))
    assert "fsserver.sandbox.selftest" in loaded
    assert not loaded & {"mcp", "pydantic", "yaml", "anyio"}


def test_the_self_test_holds_on_this_machine() -> None:
    needs_layer()
    findings = in_child(lambda: run_selftest(FEATURES, RUNTIME))
    assert [finding for finding in findings if not finding.as_wanted] == []


def test_the_self_test_sees_what_is_open_without_any_layer() -> None:
    bare = dataclasses.replace(FEATURES, landlock_abi=0, seccomp=False)
    findings = {finding.attempt: finding for finding in in_child(lambda: run_selftest(bare, RUNTIME))}
    for attempt in (
        "read a file outside",
        "write a file outside",
        "start a process",
        "run a program",
        "connect over TCP",
    ):
        assert not findings[attempt].stopped, attempt
    assert findings["read a file in a root"].as_wanted
