"""What ``fsserver doctor`` says of searches: whether there is a ripgrep, and whether it runs in cells here."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from fsserver.app.parts import start_launcher
from fsserver.cli.checks import Check, launchers_words
from fsserver.errors import FsserverError
from fsserver.paths.root import Root
from fsserver.policy.compiled import Own, Policy
from fsserver.policy.searching import find_ripgrep, ripgrep_version, search_commands
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.runner import Request

GROUP: Final = "search"
TRIAL_S: Final = 5.0

# Each looks at next to nothing of a root, however large that is.
_TRIALS: Final = ((Own.NAMES, ("--match=(?!)", "--max-depth=1")), (Own.FILES, ("--glob=!*", "./")))


def search_checks(policy: Policy | None) -> Iterator[Check]:
    """What can be searched with here; with a policy, tried in the first root that cells see. Starts threads."""
    ripgrep = find_ripgrep(() if policy is None else policy.roots)
    if ripgrep.program is None:
        yield Check(GROUP, "ripgrep", "warning", f"search_content is not offered: {ripgrep.why_not}")
    else:
        version = ripgrep_version(ripgrep.program.path)
        said = "does not say its version" if version is None else ".".join(map(str, version))
        yield Check(GROUP, "ripgrep", "warning" if version is None else "ok", f"{said} ({ripgrep.program.path})")
    if policy is None or not policy.roots:
        return
    shared = tuple(rules for rules in policy.roots if rules.each is None)
    if not shared:
        yield Check(GROUP, "searches", "note", "each root has a directory for each principal: the server walks them")
        return
    with ExitStack() as held, launchers_words():
        try:
            roots = [held.enter_context(closing(Root.open(rules))) for rules in shared]
            alone = replace(policy, commands=MappingProxyType({}), roots=shared)
            own = search_commands(policy, ripgrep)
            runner = start_launcher(alone, roots, f"doctor-{secrets.token_hex(4)}", own)
            if runner is None:
                yield Check(GROUP, "searches", "warning", "cells need Linux: names are walked through by the server")
                return
            held.enter_context(closing(runner))
            runner.listen()
            for what, arguments in _TRIALS:
                if what in own:
                    _try(runner, Request(what, arguments, shared[0].name, "", TRIAL_S))
        except FsserverError as error:
            yield Check(GROUP, "searches", "warning", f"no search can be run in a cell: {error.message}")
            return
        yield Check(GROUP, "searches", "ok", f"run in cells of layer {runner.layer}")


def _try(runner: LauncherRunner, request: Request) -> None:
    """Raises `FsserverError`: it could not be run."""
    running = runner.start(request)
    try:
        running.close_stdin()
        running.wait(TRIAL_S)
    finally:
        running.close()
