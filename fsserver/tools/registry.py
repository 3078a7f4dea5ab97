"""What a tool is, and the fixed list of those there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments, input_schema
from fsserver.tools.call import Call
from fsserver.tools.result import ToolResult

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Annotations:
    """The protocol's hints. Only commands with network reach beyond the roots; else ``openWorldHint`` is false."""

    read_only: bool
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False


def always() -> None:
    """For a tool that nothing but the policy's roots can take away."""


READS = Annotations(read_only=True, idempotent=True)


@dataclass(frozen=True)
class Tool(Generic[A]):
    """One tool. Declares everything that the gate needs, so that a body cannot forget a step.

    Attributes:
        arguments: the model that the call's arguments must fit.
        paths: the parameters that hold one path each and what the tool does there; the gate decides them before the
            body runs. Each is a field of ``arguments``.
        path_lists: the parameters that hold many; the body has each decided through `Call.each`.
        own_paths: the parameters with a path that means something only together with others; the check has each decided
            through `Call.decide`.
        call_class: what a call takes of the server, for what a principal may use of it.
        needs: the tool is offered only if some root grants one of these.
        contents: parameters whose values the audit log holds as hash and size only.
        unavailable: why the tool cannot be used now, ending a sentence, or None; then it is not offered.
        listed: False for a deprecated alias, which is answered and not offered.
        effect: whether these arguments change anything; decides if an intent is recorded.
        check: runs before the intent and changes nothing: reads, compares, plans, and says what a person has to consent
            to (`Call.questions`). A call that a person is asked about is checked before and again after the answer.
        body: acts.
        waits: the body waits for more than files: how long it took says nothing of the processor's time.
    """

    name: str
    title: str
    description: str
    arguments: type[A]
    annotations: Annotations
    call_class: CallClass
    needs: frozenset[Action]
    body: Callable[[Call[A]], ToolResult]
    paths: Mapping[str, Access] = field(default_factory=lambda: MappingProxyType({}))
    path_lists: Mapping[str, Access] = field(default_factory=lambda: MappingProxyType({}))
    own_paths: Mapping[str, Access] = field(default_factory=lambda: MappingProxyType({}))
    contents: frozenset[str] = frozenset()
    unavailable: Callable[[], str | None] = always
    listed: bool = True
    effect: Callable[[A], bool] | None = None
    check: Callable[[Call[A]], None] | None = None
    waits: bool = False

    def changes(self, arguments: A) -> bool:
        """Whether these arguments change anything."""
        return self.effect is not None and self.effect(arguments)

    @property
    def at_its_paths(self) -> bool:
        """Whether all that it changes is at its path parameters, so that its verbs note every change."""
        return bool(self.paths)

    @cached_property
    def input_schema(self) -> Mapping[str, Any]:
        """The JSON Schema of the arguments, without what a client has no use for."""
        return input_schema(self.arguments)


class Registry:
    """The tools by name, in the order in which they are offered."""

    def __init__(self, tools: Sequence[Tool[Any]]) -> None:
        self.tools = tuple(tools)
        self._by_name = {tool.name: tool for tool in self.tools}
        self.contents = frozenset[str]().union(*(tool.contents for tool in self.tools))
        self.paths = frozenset[str]().union(*({*tool.paths, *tool.path_lists, *tool.own_paths} for tool in self.tools))
        if len(self._by_name) != len(self.tools):
            raise ValueError("two tools have one name")

    def get(self, name: str) -> Tool[Any] | None:
        return self._by_name.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)
