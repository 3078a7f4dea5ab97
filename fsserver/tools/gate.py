"""The choke point: every tool call goes through `Gate.call`, and no tool body is reached another way.

*Trust.* Hostile: the tool's name, every argument, the contents of every file and directory, and the moment at which
the client cancels. Ours: the registry, the policy, the workspace that the session was given, and the audit log.

*Invariant.* When a body runs, the policy grants its tool, its arguments fit its model, every path parameter is an
opened target that the policy allows for exactly what the tool does there, and, if it changes anything, the quota holds
it and an intent record is on disk. When a result is returned, its outcome record is on disk; if that failed, the
result is withheld. Every refusal has a record. No exception, and nothing of one that was not written for clients,
leaves here.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fsserver.audit.log import AuditLog
from fsserver.audit.record import summarise
from fsserver.errors import AuditError, Denied, FsserverError, InternalError, ResourceError, ToolDenied, UnknownTool
from fsserver.paths.operations import check_quota
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Action, Policy
from fsserver.policy.decision import granted_actions
from fsserver.tools.arguments import parse
from fsserver.tools.call import Call
from fsserver.tools.control import Control as Control
from fsserver.tools.registry import Registry, Tool
from fsserver.tools.render import bounded, error_result
from fsserver.tools.result import ToolResult

T = TypeVar("T")
MAX_NAME: Final = 100  # characters of a tool's name that are recorded and repeated


@dataclass(slots=True)
class Session:
    """One client's connection.

    Attributes:
        workspace: what this principal may reach; may be replaced by a narrower one between two calls.
    """

    id: str
    principal: str
    client: str | None
    protocol: str | None
    workspace: Workspace
    _known: tuple[Workspace, frozenset[Action]] | None = None

    def granted(self) -> frozenset[Action]:
        """What some root of the workspace grants. Worked out once for each workspace."""
        known = self._known
        if known is None or known[0] is not self.workspace:
            workspace = self.workspace
            known = (workspace, frozenset().union(*(granted_actions(root.rules) for root in workspace.roots)))
            self._known = known
        return known[1]


@dataclass(slots=True)
class _Record:
    """What the audit log says about one call, gathered while it runs."""

    call: int
    tool: str
    session: str
    principal: str
    started_ns: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    paths: list[dict[str, Any]] = field(default_factory=list)
    intended: bool = False

    def fields(self, **more: Any) -> dict[str, Any]:
        return {
            "call": self.call,
            "tool": self.tool,
            "session": self.session,
            "principal": self.principal,
            "arguments": self.arguments,
            "paths": self.paths,
            **more,
        }

    def outcome(self, **more: Any) -> dict[str, Any]:
        """After an intent only what is new; it is found by its call number."""
        more["duration_us"] = (time.perf_counter_ns() - self.started_ns) // 1000
        if self.intended:
            return {"call": self.call, "tool": self.tool, "session": self.session, **more}
        return self.fields(**more)


class Gate:
    """Decides, records and runs calls. Thread-safe: calls share nothing but the log, the quotas and a counter."""

    def __init__(
        self, *, registry: Registry, policy: Policy, audit: AuditLog, logger: logging.Logger | None = None
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._audit = audit
        self._logger = logger or logging.getLogger(__name__)
        self._numbers = itertools.count(1)

    def tools(self, session: Session) -> tuple[Tool[Any], ...]:
        """What this session may call and is told of, in the registry's order."""
        granted = session.granted()
        return tuple(tool for tool in self._registry.tools if tool.listed and self._grants(tool, granted))

    def call(self, session: Session, name: str, arguments: Mapping[str, Any] | None, control: Control) -> ToolResult:
        """Runs one call to its end. Every failure is a result with ``is_error``; nothing is raised."""
        record = _Record(next(self._numbers), name[:MAX_NAME], session.id, session.principal, time.perf_counter_ns())
        try:
            return self._run(session, name, arguments or {}, control, record)
        except FsserverError as error:
            return error_result(error, self._policy.limits.result_bytes)
        except Exception:
            # The bug is in the gate or in the log itself: nothing below this line may be told to the client.
            self._logger.exception("call %d of %s failed in the gate", record.call, record.tool)
            return error_result(InternalError(f"call {record.call}"), self._policy.limits.result_bytes)

    def _run(
        self, session: Session, name: str, arguments: Mapping[str, Any], control: Control, record: _Record
    ) -> ToolResult:
        with ExitStack() as opened:
            try:
                tool, call = self._decide(session, name, arguments, control, record, opened)
                if tool.effect is not None and tool.effect(call.arguments):
                    self._audit.append("call.intent", record.fields())
                    record.intended = True
                result = bounded(tool.body(call), self._policy.limits.result_bytes)
            except AuditError:
                raise  # there is no log to write this to
            except FsserverError as error:
                self._failed(record, error)
                raise
            except Exception as bug:
                self._logger.exception("call %d of %s failed", record.call, record.tool)
                internal = InternalError(f"call {record.call}")
                self._failed(record, internal)
                raise internal from bug
            self._finish(record, "call.outcome", {"ok": True, **call.facts})
            return result

    def _decide(
        self,
        session: Session,
        name: str,
        arguments: Mapping[str, Any],
        control: Control,
        record: _Record,
        opened: ExitStack,
    ) -> tuple[Tool[Any], Call[Any]]:
        """Everything that can say no. Changes nothing."""
        tool = self._registry.get(name)
        record.arguments = summarise(arguments, self._registry.contents)
        if tool is None:
            raise UnknownTool(f"MCP error -32602: Tool {name[:MAX_NAME]} not found")
        if not self._grants(tool, session.granted()):
            raise self._denied(tool, session)
        parsed = parse(tool.name, tool.arguments, arguments)
        workspace = session.workspace

        def each(path: ClientPath, access: Access, use: Callable[[Target], T]) -> T:
            try:
                with workspace.target(path, access) as target:
                    record.paths.append(_described(None, target))
                    return use(target)
            except FsserverError as error:
                # One path of many: the call goes on, so this has a record of its own.
                self._failed(record, error, path=path)
                raise

        call = Call(parsed, {}, workspace, self._policy.limits, control, each)
        for parameter, access in tool.paths.items():
            target = opened.enter_context(workspace.target(ClientPath(getattr(parsed, parameter)), access))
            call.targets[parameter] = target
            record.paths.append(_described(parameter, target))
        if tool.check is not None:
            tool.check(call)
        if call.new_size is not None:
            check_quota(*call.new_size)
        return tool, call

    def _grants(self, tool: Tool[Any], granted: frozenset[Action]) -> bool:
        if self._policy.tools is not None and tool.name not in self._policy.tools:
            return False
        return not tool.needs or not tool.needs.isdisjoint(granted)

    def _denied(self, tool: Tool[Any], session: Session) -> ToolDenied:
        offered = ", ".join(each.name for each in self.tools(session)) or "no tool"
        rules = [root.rules.origin for root in session.workspace.roots]
        listed = self._policy.tools is None or tool.name in self._policy.tools
        return ToolDenied(
            f"Access denied - the policy does not grant the tool {tool.name}",
            rule=str(rules[0]) if listed and rules else None,
            allowed_instead=offered,
        )

    def _failed(self, record: _Record, error: FsserverError, **more: Any) -> None:
        """Records a call that is not carried out, or that broke off after its intent."""
        refused = not record.intended and not isinstance(error, ResourceError | InternalError)
        fields = {"ok": False, "error": error.code, "rule": error.rule, **more}
        if isinstance(error, Denied):
            fields["reason"] = error.message  # the messages of other errors may quote contents
        self._finish(record, "call.refused" if refused else "call.outcome", fields)

    def _finish(self, record: _Record, event: str, fields: dict[str, Any]) -> None:
        try:
            self._audit.append(event, record.outcome(**fields))
        except AuditError as error:
            if not record.intended:
                raise
            raise AuditError(
                f"{error.message} The change was begun and may be in place; its result is withheld.",
                rule=error.rule,
                allowed_instead=error.allowed_instead,
            ) from error


def _described(parameter: str | None, target: Target) -> dict[str, Any]:
    """One path in a record: what was opened, not what was asked for; that is in the arguments."""
    rule = target.decision.rule
    described: dict[str, Any] = {
        "root": target.root.rules.name,
        "name": target.name,
        "action": target.action.value,
        "rule": None if rule is None else str(rule),
    }
    if parameter is not None:
        described["parameter"] = parameter
    if target.stat is not None:
        described["file"] = f"{target.stat.st_dev}:{target.stat.st_ino}"
    return described
