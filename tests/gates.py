"""A gate over a real directory for tests: real roots, real policy rules, a real audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fsserver.audit.log import AuditLog
from fsserver.paths.root import Root
from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import AuditRules, Limits, Policy, RootRules
from fsserver.state.shared import SharedState
from fsserver.tools.approval import Consent, ConsentNeeded
from fsserver.tools.budgets import Budgets
from fsserver.tools.catalog import file_tools
from fsserver.tools.control import Control
from fsserver.tools.files.completion import COMPLETION
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.files.resource import RESOURCE
from fsserver.tools.gate import Gate
from fsserver.tools.guise import Guise
from fsserver.tools.observing import Observer
from fsserver.tools.result import Text, ToolResult
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.session import Session
from tests.audit_schema import require_fit


@dataclass
class Served:
    """A gate, the session that calls it, and its log.

    Attributes:
        control: the strings attached to a call that brings none.
    """

    gate: Gate
    session: Session
    log: AuditLog
    top: Path
    control: Callable[[], Control] = field(default=Control, kw_only=True)

    def call(self, name: str, control: Control | None = None, /, **arguments: Any) -> ToolResult:
        result = self.gate.call(self.session, name, arguments, control or self.control())
        assert isinstance(result, ToolResult), result
        return result

    def read(self, uri: str) -> ToolResult:
        """What ``resources/read`` comes to."""
        return self._as(RESOURCE, {"uri": uri})

    def complete(self, typed: str) -> Mapping[str, Any] | None:
        """The completion of a path; None where it is refused or fails."""
        result = self._as(COMPLETION, {"path": typed})
        return None if result.is_error else result.structured

    def _as(self, guise: Guise, parameters: Mapping[str, Any]) -> ToolResult:
        result = self.gate.call(self.session, guise.usual, parameters, self.control(), guise=guise)
        assert isinstance(result, ToolResult), result
        return result

    def needed(self, name: str, /, **arguments: Any) -> ConsentNeeded:
        """What a call needs that a person has to be asked about."""
        needed = self.gate.call(self.session, name, arguments, self.control())
        assert isinstance(needed, ConsentNeeded), needed
        return needed

    def answered(self, consent: Consent, name: str, /, **arguments: Any) -> ToolResult:
        """The same call with what came of asking."""
        result = self.gate.call(self.session, name, arguments, self.control(), consent=consent)
        assert isinstance(result, ToolResult), result
        return result

    def text(self, name: str, /, **arguments: Any) -> str:
        """The first block of a success."""
        result = self.call(name, **arguments)
        assert not result.is_error, texts(result)
        return texts(result)[0]

    def error(self, name: str, /, **arguments: Any) -> Mapping[str, Any]:
        """What a failure says to programs."""
        result = self.call(name, **arguments)
        assert result.is_error, texts(result)
        assert result.structured is not None
        error: Mapping[str, Any] = result.structured["error"]
        assert texts(result)[0].startswith(error["message"])
        return error

    def records(self) -> list[dict[str, Any]]:
        """The log so far, without its beginning."""
        lines = Path(self.log.path).read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["event"].startswith("call.")]


def texts(result: ToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, Text)]


@contextmanager
def served(
    base: Path,
    rules: Sequence[RootRules],
    *,
    limits: Limits | None = None,
    tools: frozenset[str] | None = None,
    can_ask: bool = False,
    audit: AuditRules | None = None,
    engine: SearchEngine | None = None,
    index: LineIndex | None = None,
    observer: Observer | None = None,
    counts: SharedState | None = None,
) -> Iterator[Served]:
    """A gate over the roots; its audit log is in ``base / "state"``.

    Args:
        audit: how calls are recorded instead, and where.
        engine: runs searches; None leaves what a walk in this process can do.
        can_ask: a person can be asked through the client.
        index: of the lines of large files.
        observer: watches the calls.
        counts: where what principals use is counted; None counts nothing.
    """
    state = base / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    audit = audit or AuditRules(directory=str(state))
    policy = Policy("test", None, "0" * 64, tuple(rules), audit, limits=limits or Limits(), tools=tools)
    roots = [Root.open(each) for each in rules]
    try:
        with closing(AuditLog.open(audit, run_id="test", header={})) as log:
            session = Session("s1", "tester", None, None, Workspace(roots), can_ask)
            registry = file_tools(index=index) if engine is None else file_tools(engine, index)
            budgets = None if counts is None else Budgets.of(policy.limits, counts)
            gate = Gate(registry=registry, policy=policy, audit=log, budgets=budgets, observer=observer)
            yield Served(gate, session, log, Path(rules[0].path))
        require_fit(Path(log.path), beginning="call.")
    finally:
        for root in roots:
            root.close()


def with_rule(rules: RootRules, **changes: Any) -> RootRules:
    return replace(rules, **changes)
