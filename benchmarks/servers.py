"""How both servers are started, and what they hold in memory."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from tests.compat.install import REFERENCE, installed
from tests.compat.run import ENTRY, REPOSITORY
from tests.compat.wire import Connection


@dataclass(frozen=True, slots=True)
class Command:
    """A server that can be started any number of times on the same root."""

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str

    def start(self) -> Connection:
        return Connection(self.argv, env=dict(self.env), cwd=self.cwd, timeout_s=180.0)


def reference(root: str) -> Command:
    """The reference server on node, from where npm installed it.

    Raises:
        tests.compat.install.MissingError: no node, or npm cannot install the package.
    """
    entry = os.path.join(installed(REFERENCE), ENTRY)
    return Command("reference", ("node", entry, root), _environment(root), os.path.dirname(root))


def fsserver(root: str, limits: str = "{result: 64MiB, time: 10m}") -> Command:
    """This package on a root, its policy and log beside it. One result may hold everything that the reference sends."""
    base = os.path.dirname(root)
    policy = os.path.join(base, "bench.yaml")
    with open(policy, "w", encoding="utf-8") as file:
        file.write(
            "version: 1\n"
            f"roots:\n  bench: {{path: {root}, mode: rw}}\n"
            "extends: [preset:secrets]\n"
            f"limits: {limits}\n"
            f"audit: {{sinks: [{{dir: {base}/audit}}]}}\n"
        )
    os.chmod(policy, 0o600)
    argv = (sys.executable, "-m", "fsserver", "serve", "--policy", policy)
    return Command("fsserver", argv, _environment(root), REPOSITORY)


def _environment(root: str) -> tuple[tuple[str, str], ...]:
    home = os.path.join(os.path.dirname(root), "home")
    os.makedirs(home, mode=0o700, exist_ok=True)
    return (("PATH", os.environ.get("PATH", os.defpath)), ("HOME", home), ("LANG", "C.UTF-8"))
