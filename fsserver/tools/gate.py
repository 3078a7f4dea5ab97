"""The choke point: every tool call goes through `Gate.call`, and no tool body is reached another way. Requests of other
kinds that reach files go through it as calls too; see `fsserver.tools.guise`.

*Trust.* Hostile: the tool's name, every argument, the contents of every file and directory, and the moment at which
the client cancels. Ours: the registry, the policy, the workspace that the session was given, and the audit log.

*Invariant.* When a body runs, the principal's budget has room for it, the policy grants its tool, its arguments fit
its model, every path parameter is an opened target that the policy allows for exactly what the tool does there, and,
if it changes anything, the quota holds it and an intent record is in the log. Where a rule asks, a person accepted
exactly this call on exactly these objects, and the log has the answer. When a result is returned, its outcome record
is in the log; if that failed, the result is withheld. Every refusal has a record. Where the policy says
``redact_output``, every result passes the redactor. No exception, and nothing of one that was not written for clients,
leaves here.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, TypeVar

from fsserver.audit.log import AuditLog
from fsserver.audit.record import summarise
from fsserver.audit.redaction import Redactor
from fsserver.errors import AuditError, FsserverError, InternalError, ToolDenied, UnknownTool
from fsserver.paths.names import display
from fsserver.paths.quota import check_quota
from fsserver.paths.ruling import refusal
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath, Workspace, require_unmoved
from fsserver.policy.compiled import Action, Policy
from fsserver.policy.decision import why_not_granted
from fsserver.tools.approval import (
    ANSWERED,
    CANNOT_ASK,
    MAX_SHOWN,
    Answer,
    Consent,
    ConsentNeeded,
    Question,
    digest_of,
    refused,
)
from fsserver.tools.arguments import parse
from fsserver.tools.budgets import Budgets, Use
from fsserver.tools.call import Call, Decide, Each
from fsserver.tools.control import Control
from fsserver.tools.guise import Guise
from fsserver.tools.introductions import Introductions
from fsserver.tools.observing import Observer, Watched, trace_of
from fsserver.tools.redacting import Outputs
from fsserver.tools.registry import Registry, Tool
from fsserver.tools.render import bounded, error_result, size_of
from fsserver.tools.result import ToolResult
from fsserver.tools.session import Session
from fsserver.tools.trail import Trail, without_contents

T = TypeVar("T")

MAX_NAME: Final = 100  # characters of a tool's name that are recorded and repeated

LARGE_AT_ONCE: Final = 2  # holders of `Call.large_turns`


class _Wanted(NamedTuple):
    """One call as it came; see `Gate.call`."""

    name: str
    arguments: Mapping[str, Any]
    control: Control
    consent: Consent | None
    asks: bool
    counted: bool
    guise: Guise | None
    use: Use | None


class Gate:
    """Decides, records and runs calls. Thread-safe: calls share nothing but the log and a counter.

    Attributes:
        introduce: records who the client of a session says it is; each call does.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        policy: Policy,
        audit: AuditLog,
        budgets: Budgets | None = None,
        logger: logging.Logger | None = None,
        observer: Observer | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """Args:
        numbers: of calls, where gates share a log; None counts those of this gate from 1.
        budgets: what each principal may use; None bounds nobody.
        """
        self._registry = registry
        self._policy = policy
        self._audit = audit
        self._budgets = budgets
        self._logger = logger or logging.getLogger(__name__)
        self._observer = observer
        self._numbers = itertools.count(1) if numbers is None else numbers
        self.introduce: Final = Introductions(audit).introduce
        self._large_turns = threading.BoundedSemaphore(LARGE_AT_ONCE)
        redacts = policy.redact_output
        self._outputs = Outputs(Redactor(policy.audit.redact), policy.limits.result_bytes) if redacts else None

    def tools(self, session: Session) -> tuple[Tool[Any], ...]:
        """What this session may call and is told of, in the registry's order."""
        granted = session.granted()
        return tuple(tool for tool in self._registry.tools if tool.listed and self._offers(tool, granted))

    def knows(self, name: str) -> bool:
        """Whether there is such a tool, granted or not."""
        return self._registry.get(name) is not None

    def waits(self, name: str) -> bool:
        """Whether the tool, if it is one, waits for something else than files."""
        tool = self._registry.get(name)
        return tool is not None and tool.waits

    def call(
        self,
        session: Session,
        name: str,
        arguments: Mapping[str, Any] | None,
        control: Control,
        *,
        consent: Consent | None = None,
        asks: bool = True,
        counted: bool = False,
        guise: Guise | None = None,
    ) -> ToolResult | ConsentNeeded:
        """Runs one call to its end, or to where a person has to be asked. Every failure is a result with ``is_error``;
        nothing is raised.

        Args:
            consent: what came of asking about this call; with it the result is never `ConsentNeeded`.
            asks: False if the caller does not ask what is needed but makes the call again, where that can be done: the
                log says nothing of a question then.
            counted: the same request was let in before, and came to where a person has to be asked.
            guise: the request is no tool call, and ``arguments`` are its parameters. Which tool it is a call of is
                found out here; ``name`` is `Guise.usual`.
        """
        trail = Trail(next(self._numbers), name[:MAX_NAME], session.id, session.principal)
        trail.via = None if guise is None else guise.method
        trail.request, trail.trace = control.request_id, trace_of(control.trace)
        watched = None if self._observer is None else Watched(self._observer, trail, control.trace)
        if self._outputs is not None:
            control = self._outputs.control(control)
        use = None if self._budgets is None else self._use(self._budgets, session, name)
        outcome = self._ended(
            session, _Wanted(name, arguments or {}, control, consent, asks, counted, guise, use), trail
        )
        if watched is not None:
            watched.over(outcome, asks=asks)
        return outcome

    def _ended(self, session: Session, wanted: _Wanted, trail: Trail) -> ToolResult | ConsentNeeded:
        """What the client gets, whatever happens."""
        try:
            return self._counted(self._shown(self._answered(session, wanted, trail)), wanted.use)
        except Exception:
            # A bug in the gate or in the log itself, which has no record then. The client learns nothing of it.
            self._logger.exception("call %d of %s failed in the gate", trail.call, trail.tool)
            return error_result(InternalError(f"call {trail.call}"), self._policy.limits.result_bytes)

    def _counted(self, outcome: ToolResult | ConsentNeeded, use: Use | None) -> ToolResult | ConsentNeeded:
        """What a call that was let in gave out is counted, errors too."""
        if use is not None and use.begun and isinstance(outcome, ToolResult):
            use.count(size_of(outcome))
        return outcome

    def _shown(self, outcome: ToolResult | ConsentNeeded) -> ToolResult | ConsentNeeded:
        """What the client gets; a question is shown to a person whole."""
        if self._outputs is None or isinstance(outcome, ConsentNeeded):
            return outcome
        return self._outputs.result(outcome)

    def _answered(self, session: Session, wanted: _Wanted, trail: Trail) -> ToolResult | ConsentNeeded:
        try:
            return self._run(session, wanted, trail)
        except FsserverError as error:
            return error_result(error, self._policy.limits.result_bytes)

    def _run(self, session: Session, wanted: _Wanted, trail: Trail) -> ToolResult | ConsentNeeded:
        """The order is the point: budget, validate, decide, check, consent, quota, intent, act, outcome."""
        self.introduce(session)
        with ExitStack() as opened:
            try:
                if wanted.use is not None:
                    self._begin(wanted.use, wanted, trail, opened)
                tool, call = self._decided(session, wanted, trail, opened)
                needed = self._without_consent(session, tool, call, wanted, trail)
                if needed is not None:
                    return needed
                result = self._act(tool, call, trail)
                require_unmoved(trail.seen)
            except AuditError:
                raise  # there is no log to write this to
            except FsserverError as error:
                self._record(trail, *trail.failed(error))
                raise
            except Exception as bug:
                self._logger.exception("call %d of %s failed", trail.call, trail.tool)
                internal = InternalError(f"call {trail.call}")
                self._record(trail, *trail.failed(internal))
                raise internal from bug
            self._record(trail, *trail.done(call.facts))
            return result

    def _use(self, budgets: Budgets, session: Session, name: str) -> Use:
        """A request in another guise counts as the tool that usually serves it: nothing is opened to find out which."""
        tool = self._registry.get(name)
        return budgets.use(session.principal, None if tool is None else tool.call_class)

    def _begin(self, use: Use, wanted: _Wanted, trail: Trail, opened: ExitStack) -> None:
        """Let the call in for as long as it lasts. A request counts once, and none that brings what a person said."""
        answered = wanted.consent is not None and wanted.consent.answer in ANSWERED
        try:
            use.begin(counted=not wanted.counted and not answered)
        except FsserverError:
            trail.arguments = summarise(without_contents(wanted.arguments, self._registry.paths), ())
            raise
        opened.callback(use.end)

    def _decided(
        self, session: Session, wanted: _Wanted, trail: Trail, opened: ExitStack
    ) -> tuple[Tool[Any], Call[Any]]:
        """Validate, decide, check: the tool and a call whose targets ``opened`` closes. Nothing is changed."""
        workspace = session.workspace
        if wanted.guise is None:
            tool, parsed = self._understood(session, wanted.name, wanted.arguments, trail)
            trail.arguments = summarise(wanted.arguments, self._registry.contents)
        else:
            tool, parsed = self._disguised(session, wanted.guise, wanted.arguments, trail)
        if wanted.consent is not None:
            self._take_answer(wanted.consent, trail)
        each = self._each(workspace, trail)
        decide = self._decide(workspace, trail, opened)
        shared = session.owner, self._large_turns, opened.enter_context
        call = Call(parsed, {}, workspace, self._policy.limits, wanted.control, each, decide, *shared)
        call.commands = trail.commands
        call.can_ask = session.can_ask
        call.redacts = self._outputs is not None
        for parameter, access in tool.paths.items():
            call.targets[parameter] = decide(parameter, ClientPath(getattr(parsed, parameter)), access)
        call.changes = trail.changes
        call.changes.watched = tool.at_its_paths
        if tool.check is not None:
            tool.check(call)
        return tool, call

    def _act(self, tool: Tool[Any], call: Call[Any], trail: Trail) -> ToolResult:
        """Quota, intent, act."""
        if call.new_size is not None:
            check_quota(*call.new_size, checkpoint=call.control.checkpoint)
        if tool.changes(call.arguments):
            call.control.checkpoint()
            self._audit.append("call.intent", trail.intent(), durable=True)  # and with it the consent before
            trail.intended = True
        return bounded(tool.body(call), self._policy.limits.result_bytes)

    def _take_answer(self, consent: Consent, trail: Trail) -> None:
        """Raises `ConsentDenied` for every answer but one, when the log has it."""
        self._audit.append("call.consent", trail.consent(consent))
        if consent.answer is not Answer.ACCEPTED:
            raise refused(consent.answer, consent.rule)

    def _without_consent(
        self, session: Session, tool: Tool[Any], call: Call[Any], wanted: _Wanted, trail: Trail
    ) -> ConsentNeeded | None:
        """What a person has to be asked before this call goes on; None if it may go on.

        Raises:
            ConsentDenied: nobody can be asked, or not about all of it; or a person was asked about something else.
        """
        asking = _asking(tool, call)
        questions = (*(_about(call, parameter) for parameter in asking), *call.questions)
        needed = None
        if questions:
            digest = digest_of(trail.tool, wanted.arguments, trail.paths, questions)
            needed = ConsentNeeded(trail.call, trail.tool, questions, digest)
        if wanted.consent is not None:
            _require_same(wanted.consent, needed)
            for parameter in asking:
                call.targets[parameter].consented = True
            return None
        if needed is not None:
            self._require_askable(session, needed, trail)
            if wanted.asks:
                self._audit.append("call.asked", trail.asked(needed))
        return needed

    def _require_askable(self, session: Session, needed: ConsentNeeded, trail: Trail) -> None:
        if not session.can_ask:
            answer = Answer.UNAVAILABLE
        elif len(needed.message()) > MAX_SHOWN:
            answer = Answer.TOO_LONG
        else:
            return
        self._take_answer(Consent.to(needed, answer), trail)

    def _understood(
        self, session: Session, name: str, arguments: Mapping[str, Any], trail: Trail
    ) -> tuple[Tool[Any], Any]:
        """The tool and its arguments. Of arguments that fit no tool granted here the log shows no contents."""
        try:
            tool = self._tool(session, name)
            return tool, parse(tool.name, tool.arguments, arguments)
        except FsserverError:
            trail.arguments = summarise(without_contents(arguments, self._registry.paths), ())
            raise

    def _disguised(
        self, session: Session, guise: Guise, parameters: Mapping[str, Any], trail: Trail
    ) -> tuple[Tool[Any], Any]:
        """The tool that the request is a call of, and what it is called with. The record has what the client sent."""
        trail.arguments = summarise(parameters, ())
        granted = session.granted()
        names = frozenset(tool.name for tool in self._registry.tools if self._offers(tool, granted))
        form, arguments = guise.choose(session.workspace, self._policy.limits, names, parameters)
        trail.tool = form.tool
        tool = form.of(self._tool(session, form.tool))
        return tool, parse(tool.name, tool.arguments, arguments)

    def _tool(self, session: Session, name: str) -> Tool[Any]:
        """The tool, if there is one and the policy grants it."""
        tool = self._registry.get(name)
        if tool is None:
            raise UnknownTool(f"MCP error -32602: Tool {name[:MAX_NAME]} not found")
        if self._grants(tool, session.granted()):
            unavailable = tool.unavailable()
            if unavailable is None:
                return tool
            raise ToolDenied(
                f"Access denied - the tool {tool.name} cannot be used: {unavailable}",
                allowed_instead=", ".join(each.name for each in self.tools(session)) or "no tool",
            )
        # Where the roots grant too little, one of them says why; a list of tools has no line here.
        listed = self._policy.tools is None or tool.name in self._policy.tools
        why = why_not_granted((root.rules for root in session.workspace.roots), tool.needs) if listed else None
        because = f": {why.reason}" if why else ""
        if why is not None and why.asks:
            because += f", and {CANNOT_ASK}"
        raise ToolDenied(
            f"Access denied - the policy does not grant the tool {tool.name}{because}",
            rule=str(why.rule) if why else None,
            allowed_instead=", ".join(each.name for each in self.tools(session)) or "no tool",
        )

    def _grants(self, tool: Tool[Any], granted: frozenset[Action]) -> bool:
        if self._policy.tools is not None and tool.name not in self._policy.tools:
            return False
        return not tool.needs or not tool.needs.isdisjoint(granted)

    def _each(self, workspace: Workspace, trail: Trail) -> Each:
        """What decides one path of a list. Its failure has a record of its own, and the call goes on."""

        def each(path: ClientPath, access: Access, use: Callable[[Target], T]) -> T:
            try:
                with workspace.target(path, access, trail.seen) as target:
                    trail.add(None, target)
                    if target.asks:  # one name of many: nobody was shown it
                        raise refusal(target.decision, target.shown)
                    return use(target)
            except FsserverError as error:
                self._record(trail, *trail.failed(error, path))
                raise

        return each

    def _offers(self, tool: Tool[Any], granted: frozenset[Action]) -> bool:
        return self._grants(tool, granted) and tool.unavailable() is None

    def _decide(self, workspace: Workspace, trail: Trail, opened: ExitStack) -> Decide:
        """What opens and decides a path for as long as the call lasts."""

        def decide(parameter: str, path: ClientPath, access: Access) -> Target:
            target = opened.enter_context(workspace.target(path, access))
            trail.add(parameter, target)
            return target

        return decide

    def _record(self, trail: Trail, event: str, fields: dict[str, Any]) -> None:
        try:
            self._audit.append(event, fields)
        except AuditError as error:
            if not trail.intended:
                raise
            raise AuditError(
                f"{error.message} The change was begun and may be in place; its result is withheld.",
                rule=error.rule,
                allowed_instead=error.allowed_instead,
            ) from error


def _asking(tool: Tool[Any], call: Call[Any]) -> list[str]:
    """The parameters whose targets need consent, if anything is to happen there."""
    if not tool.changes(call.arguments):
        return []
    return [
        parameter
        for parameter, target in call.targets.items()
        if target.asks and not (target.access is Access.MAKE_DIRECTORY and target.exists)
    ]


def _about(call: Call[Any], parameter: str) -> Question:
    target = call.targets[parameter]
    what = call.effects.get(parameter, f"{target.action.value}:")
    rule = target.decision.rule
    return Question(f"{what}\n{display(target.resolved)}", None if rule is None else str(rule), target.decision.reason)


def _require_same(consent: Consent, needed: ConsentNeeded | None) -> None:
    """What a person accepted, and what this call would do now.

    Raises:
        ConsentDenied: they differ, or nothing has to be asked any more: that is another call than the one accepted.
    """
    if needed is None or not hmac.compare_digest(consent.digest, needed.digest):
        raise refused(Answer.CHANGED, consent.rule)
