"""A gate whose searches run in real cells."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import AuditRules, Command, Layer, Limits, Policy, RootRules
from fsserver.policy.searching import find_ripgrep, search_commands
from fsserver.tools.search.engine import Search, SearchEngine
from tests.cells import Setting, bootstrap, started
from tests.gates import Served, served
from tests.unconfined import UnconfinedRunner


class CellsOnly(SearchEngine):
    """A search that no cell can make fails here; search_files would walk in its place."""

    @contextmanager
    def search(self, *arguments: Any, **more: Any) -> Iterator[Search]:
        try:
            with super().search(*arguments, **more) as search:
                yield search
        except SandboxSetupError as error:
            raise AssertionError("no cell") from error


FULL = Setting(Layer.FULL, root=os.geteuid() == 0)


def unconfined(rules: Sequence[RootRules]) -> SearchEngine:
    """An engine whose searches run as what they are, confined by nothing: for tests of what is above the sandbox."""
    ripgrep = find_ripgrep(rules)
    own = search_commands(Policy("test", None, "0" * 64, tuple(rules), AuditRules(None)), ripgrep)
    runner = UnconfinedRunner(own, {each.name: each.path for each in rules})
    return SearchEngine(runner, ripgrep.why_not, Limits().time_s)


@contextmanager
def searched(
    base: Path,
    rules: Sequence[RootRules],
    setting: Setting = FULL,
    *,
    limits: Limits | None = None,
    commands: Sequence[Command] = (),
    **more: Any,
) -> Iterator[Served]:
    """A gate over the roots; what it searches, it searches in cells of the setting. ``base`` can be reached by every
    user; the state is in it. The launcher has the commands too.
    """
    limits = limits or Limits()
    scripts = base / "scripts"
    scripts.mkdir()
    shutil.copy(Path(sysconfig.get_path("scripts")) / "rg", scripts)  # where every user may execute it
    start = bootstrap(base, commands, rules, setting)
    policy = replace(start.policy, limits=limits)
    ripgrep = find_ripgrep(rules, scripts=str(scripts))
    assert ripgrep.program is not None, ripgrep.why_not
    start = replace(start, policy=policy, own=search_commands(policy, ripgrep))
    with started(start, setting, base) as launched:
        engine = CellsOnly(launched.runner, ripgrep.why_not, limits.time_s)
        (base / "log").mkdir()  # the other state is the setting's user's
        with served(base / "log", rules, limits=limits, engine=engine, **more) as gate:
            yield gate
