"""One call as the gate hands it to a tool's body: arguments that are valid, paths that are decided."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from fsserver.paths.changes import Changes
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Limits
from fsserver.tools.approval import Question
from fsserver.tools.control import Control

A = TypeVar("A")
T = TypeVar("T")


class Each(Protocol):
    """See `Call.each`."""

    def __call__(self, path: ClientPath, access: Access, use: Callable[[Target], T], /) -> T: ...


class Decide(Protocol):
    """See `Call.decide`."""

    def __call__(self, parameter: str, path: ClientPath, access: Access, /) -> Target: ...


@dataclass(slots=True)
class Call(Generic[A]):
    """What a body may use. Nothing else reaches a file.

    Attributes:
        arguments: the validated model of the tool.
        targets: the opened and decided target of every path parameter, by wire name; closed by the gate.
        each: decides one more path, for tools that take a list of them, and hands its target to a function. A failure
            is audited before it is raised, and the call goes on.
        decide: opens and decides one more path, for a check that has to work out which; the gate closes its target. A
            failure ends the call, unless the check catches it.
        owner: whom what outlives the call belongs to: the principal and the session.
        large_turns: taken by work whose memory is large beside what a call usually needs; few have one at once.
        hold: enters a context that lasts until the call has ended, whatever becomes of it.
        commands: what is going to be run, for the intent record: each command's name, whole argument vector and
            directory. The check adds to them.
        can_ask: a person can be asked through this client; for what tools tell.
        redacts: secrets are hidden in what the client reads, so what it writes must not hold what stands for them.
        plan: what the pre-intent step worked out for the body.
        questions: what the pre-intent step wants a person to consent to before the body runs. The gate asks, and adds
            a question for each target whose rule asks.
        effects: what happens to a target, by wire name, for the question about it, where its action does not say it
            all; a verb with what follows the path left out, such as "move to /b:".
        new_size: the target that the effect writes and how many bytes it will have then, for the root's quota.
        facts: what the outcome record says besides success: bytes, sha256, counts.
        changes: takes note of what the body changes on disk, for the outcome record, also where the body fails.
    """

    arguments: A
    targets: dict[str, Target]
    workspace: Workspace
    limits: Limits
    control: Control
    each: Each
    decide: Decide
    owner: tuple[str, str]
    large_turns: threading.BoundedSemaphore
    hold: Callable[[AbstractContextManager[object]], object]
    commands: list[dict[str, Any]] = field(default_factory=list)
    can_ask: bool = False
    redacts: bool = False
    plan: Any = None
    questions: list[Question] = field(default_factory=list)
    effects: dict[str, str] = field(default_factory=dict)
    new_size: tuple[Target, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
