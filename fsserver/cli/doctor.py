"""``fsserver doctor``: would serving work on this machine, and how strongly would it be confined?"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from fsserver import __version__
from fsserver.cli.checks import EXIT_CONFIG, EXIT_KERNEL, Check, Verdict
from fsserver.cli.doctor_audit import log_checks
from fsserver.cli.doctor_service import service_checks
from fsserver.cli.selection import Selection, refuse_what_is_no_option
from fsserver.errors import ConfigError, FsserverError, KernelUnsupported, SandboxSetupError
from fsserver.kernel import features as kernel
from fsserver.kernel.features import Features
from fsserver.policy.compiled import Layer, Policy, RootRules
from fsserver.sandbox.downgrade import downgrade
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.runtime import find_runtime
from fsserver.sandbox.selftest import run_selftest

NOT_CHECKED = "Policy, roots and audit log were not checked: give --policy FILE or --root DIR."
PACKAGES = ("mcp", "pydantic", "PyYAML", "click")

MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("-", "cyan"),
    "warning": ("!", "yellow"),
    "error": ("FAIL", "red"),
}


@click.command(short_help="Tell whether serving would work here.", context_settings={"allow_extra_args": True})
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Check this policy and its directories.")
@click.option("--root", "roots", multiple=True, metavar="DIR", help="Check this directory as a root. Repeatable.")
@click.option("--write", is_flag=True, help="With --root: the directories are to be written to.")
@click.option("--profile", metavar="NAME", help="With --policy: check one profile of it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(
    context: click.Context,
    /,
    *,
    policy_file: Path | None,
    roots: tuple[str, ...],
    write: bool,
    profile: str | None,
    as_json: bool,
) -> None:
    """Report what this machine offers and whether serving would work: exit 0, or 2 (configuration), 3 (kernel).

    --policy, --root, --write and --profile are as for `serve`. The sandbox layer `full` concerns commands; the server
    itself needs `landlock`. Commands are tried in a temporary directory, and those of the policy as `serve` would start
    them.
    """
    refuse_what_is_no_option(context.args)
    selection = Selection(policy_file, roots, write, profile)
    selection.check(needed=False)
    checks = list(_checks(selection))
    status = max((check.exit_code for check in checks), default=0)
    if as_json:
        lines = [{key: value for key, value in asdict(check).items() if key != "exit_code"} for check in checks]
        click.echo(json.dumps({"version": __version__, "ok": status == 0, "checks": lines}, indent=2))
    else:
        _print_table(checks, status, whole=selection.given)
    sys.exit(status)


def _checks(selection: Selection) -> Iterator[Check]:
    features = kernel.probe()
    yield from _python_checks()
    yield from _kernel_checks(features)
    policy: Policy | None = None
    try:
        policy = selection.load() if selection.given else None
    except ConfigError as error:
        yield Check("policy", "policy", "error", error.message, EXIT_CONFIG)
    if not selection.given:
        yield Check("policy", "policy", "note", NOT_CHECKED)
    if policy is not None:
        yield Check("policy", "policy", "ok", f"{policy.name}, sandbox layer required: {policy.sandbox.require}")
        for rules in policy.roots:
            yield _root_check(rules)
        yield from log_checks(policy.audit)
        yield from service_checks(policy)
    yield from _confinement_checks(features, policy)
    if policy is not None or not selection.given:
        from fsserver.cli.doctor_commands import command_checks  # noqa: PLC0415 - it starts threads: after the forks

        yield from command_checks(policy)
        from fsserver.cli.doctor_search import search_checks  # noqa: PLC0415 - it starts threads too

        yield from search_checks(policy)


def _python_checks() -> Iterator[Check]:
    yield Check("python", "python", "ok", f"{platform.python_version()} in {sys.prefix}")
    for name in PACKAGES:
        try:
            yield Check("python", name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check("python", name, "error", "not installed", EXIT_CONFIG)


def _kernel_checks(features: Features) -> Iterator[Check]:
    def offered(name: str, there: bool, otherwise: str) -> Check:
        return Check("kernel", name, "ok" if there else "warning", "yes" if there else f"no: {otherwise}")

    yield Check("kernel", "system", "note", f"{features.system} {features.release} {features.machine}")
    yield offered("openat2", features.openat2, "paths are walked component by component")
    yield offered("/proc", features.proc, "files cannot be opened through their descriptors")
    gaps = "; ".join(gap.text for gap in downgrade(features.landlock_abi, seccomp=features.seccomp).gaps)
    yield Check(
        "kernel",
        "Landlock",
        "ok" if features.landlock_abi else "warning",
        (f"ABI {features.landlock_abi}" if features.landlock_abi else "none") + f"; not enforced: {gaps}",
    )
    yield offered("seccomp", features.seccomp, "no filter on system calls")
    namespaces = kernel.user_namespaces()
    yield Check("kernel", "user namespaces", "note", "yes" if namespaces else "no, or not for this user")
    yield Check("kernel", "control groups", "note", kernel.cgroup())


def _root_check(rules: RootRules) -> Check:
    from fsserver.paths.root import Root  # noqa: PLC0415

    name = f"root {rules.name}"
    try:
        root = Root.open(rules)
    except FsserverError as error:
        code = EXIT_KERNEL if isinstance(error, KernelUnsupported) else EXIT_CONFIG
        return Check("policy", name, "error", error.message, code)
    try:
        path = root.spellings[0]
        cases = ", upper and lower case are the same" if root.folds else ""
        return Check("policy", name, "ok", f"{path} ({rules.mode}, {_file_system(path)}{cases})")
    finally:
        root.close()


def _file_system(path: str) -> str:
    """The type of the file system that ``path`` is on, as proc_pid_mountinfo(5) lists it."""
    best, kind = "", "unknown file system"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                before, _, after = line.partition(" - ")
                mount_point = before.split()[4].replace("\\040", " ")
                within = path == mount_point or path.startswith(mount_point.rstrip("/") + "/")
                if within and len(mount_point) >= len(best):
                    best, kind = mount_point, after.split()[0]
    except OSError:
        return kind
    return kind


def _confinement_checks(features: Features, policy: Policy | None) -> Iterator[Check]:
    """What a confined child could do. What goes through is an error only where the layer promises to stop it."""
    require = policy.sandbox.require if policy is not None else Layer.NONE
    layer = available_layer(features.landlock_abi, seccomp=features.seccomp)
    if layer is Layer.NONE and require is not Layer.NONE:
        text = f"the policy requires layer {require}; file tools are served without it, and not with --strict"
        yield Check("confinement", "layer", "error", text, EXIT_KERNEL)
    else:
        yield Check("confinement", "layer", "ok" if layer is Layer.LANDLOCK else "warning", f"{layer} (of the server)")
    try:
        findings = run_selftest(features, find_runtime())
    except (SandboxSetupError, KernelUnsupported) as error:
        yield Check("confinement", "self-test", "error", error.message, EXIT_KERNEL)
        return
    except OSError as error:  # no room for what it tries itself on
        yield Check("confinement", "self-test", "error", f"it cannot be made: {error.strerror}", EXIT_CONFIG)
        return
    for finding in findings:
        outcome = ("stopped" if finding.stopped else "open") if finding.stopped_wanted else "works"
        if not finding.stopped_wanted and not finding.as_wanted:
            outcome = "fails"
        promised = layer is Layer.LANDLOCK or not finding.stopped_wanted
        verdict: Verdict = "ok" if finding.as_wanted else "error" if promised else "warning"
        detail = f" ({finding.error})" if finding.error else ""
        code = EXIT_KERNEL if verdict == "error" else 0
        yield Check("confinement", finding.attempt, verdict, outcome + detail, code)


def _print_table(checks: list[Check], status: int, *, whole: bool) -> None:
    """``whole``: something to serve was checked too."""
    width = max(len(check.name) for check in checks)
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            click.secho(("" if check is checks[0] else "\n") + group, bold=True)
        mark, colour = MARKS[check.verdict]
        first, *more = check.text.splitlines() or [""]
        click.echo(f"  {click.style(f'{mark:<4}', fg=colour)}  {check.name:<{width}}  {first}")
        for line in more:
            click.echo(f"  {'':<4}  {'':<{width}}  {line}")
    works = "Serving would work." if whole else f"This machine can serve. {NOT_CHECKED}"
    verdict = {0: works, EXIT_CONFIG: "The configuration stops serving."}
    click.echo("\n" + verdict.get(status, "The kernel does not confine the server as it should."))
