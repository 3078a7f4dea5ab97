"""A gate with commands over a real directory, for tests: real programs, run without a sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsserver.audit.log import AuditLog
from fsserver.paths.root import Root
from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import (
    AnyArguments,
    AuditRules,
    Command,
    CommandLimits,
    Limits,
    Mode,
    Origin,
    PinnedProgram,
    Policy,
    RootRules,
)
from fsserver.policy.searching import find_ripgrep, search_commands
from fsserver.state.shared import SharedState
from fsserver.tools.catalog import every_tool
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.gate import Gate
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.session import Session
from tests.audit_schema import require_fit
from tests.gates import Served, texts
from tests.support import wait_until
from tests.unconfined import UnconfinedRunner

RULE = Origin("policy.yaml", 20)

SHELL = shutil.which("sh") or "/bin/sh"


def command(name: str, *, roots: Mapping[str, Mode] | None = None, **more: Any) -> Command:
    """The program of that name, any arguments, in the root "work", also in the background."""
    path = shutil.which(name)
    assert path is not None, f"this machine has no {name}"
    return _command(name, path, roots, more)


def script(name: str, text: str, *, roots: Mapping[str, Mode] | None = None, **more: Any) -> Command:
    """A command that runs a shell script; the client's arguments are its ``$1`` and so on."""
    return _command(name, SHELL, roots, {"prepend": ("-c", text, name), **more})


def _command(name: str, path: str, roots: Mapping[str, Mode] | None, more: Mapping[str, Any]) -> Command:
    status = os.stat(path)
    program = PinnedProgram(path, status.st_dev, status.st_ino, None, status.st_ctime_ns, None)
    return replace(
        Command(
            name,
            RULE,
            program,
            prepend=(),
            roots={"work": Mode.RW} if roots is None else roots,
            arguments=AnyArguments(),
            background=True,
            limits=CommandLimits(time_s=20.0),
        ),
        **more,
    )


@dataclass
class Commanded(Served):
    """A `Served` with commands."""

    runner: UnconfinedRunner
    host: CommandHost

    def run(self, name: str, *args: str, **more: Any) -> Mapping[str, Any]:
        """What run_command says to programs."""
        return self.structured("run_command", command=name, args=list(args), **more)

    def structured(self, tool: str, /, **arguments: Any) -> Mapping[str, Any]:
        result = self.call(tool, **arguments)
        assert result.structured is not None, texts(result)
        assert "error" not in result.structured, texts(result)
        return result.structured


@contextmanager
def commanded(
    base: Path,
    commands: Sequence[Command],
    rules: Sequence[RootRules],
    *,
    limits: Limits | None = None,
    notices: Callable[[], Sequence[str]] = tuple,
    can_ask: bool = False,
    changes: bool = False,
    workspace: Callable[[Workspace], Workspace] = lambda whole: whole,
    shares: SharedState | None = None,
) -> Iterator[Commanded]:
    """A gate over the roots and commands; its audit log is in ``base / "state"``. At its end no process is left.

    Args:
        changes: the log says what commands change.
        shares: what it shares with other replicas.
    """
    state = base / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    audit = AuditRules(directory=str(state), changes=changes)
    by_name = {each.name: each for each in commands}
    policy = Policy("test", None, "0" * 64, tuple(rules), audit, limits=limits or Limits(), commands=by_name)
    roots = [Root.open(each) for each in rules]
    ripgrep = find_ripgrep(rules)
    own = search_commands(policy, ripgrep)
    runner = UnconfinedRunner({**by_name, **own}, {each.name: each.path for each in rules})
    engine = SearchEngine(runner, ripgrep.why_not, policy.limits.time_s)
    host = CommandHost(policy, runner, notices, shares)
    try:
        with closing(AuditLog.open(audit, run_id="test", header={})) as log:
            session = Session("s1", "tester", None, None, workspace(Workspace(roots)), can_ask=can_ask)
            gate = Gate(registry=every_tool(host, engine), policy=policy, audit=log)
            yield Commanded(gate, session, log, Path(rules[0].path), runner, host)
        require_fit(Path(log.path), beginning="call.")
    finally:
        host.close()
        for root in roots:
            root.close()
    wait_until(lambda: all(each.closed for each in runner.started), "what was started was closed")
