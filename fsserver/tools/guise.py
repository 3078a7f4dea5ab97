"""Requests that are no tool calls and reach files all the same: each becomes a call of a tool.

So there is one way to a file. What a policy grants, records, bounds and hides is that of the tool, which the record
names, and beside it the method that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import Limits
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.registry import Tool
from fsserver.tools.result import ToolResult

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Form(Generic[A]):
    """Other words before and after a tool. All that the tool needs, opens and checks stays the registry's.

    Attributes:
        tool: its name.
        arguments: the model that takes the place of the tool's, with the same path parameters.
        body: answers in the form that the method has.
    """

    tool: str
    arguments: type[A]
    body: Callable[[Call[A]], ToolResult]

    def of(self, tool: Tool[Any]) -> Tool[A]:
        """The tool of that name, called in this form."""
        return replace(tool, arguments=self.arguments, body=self.body)


Choose: TypeAlias = Callable[
    [Workspace, Limits, frozenset[str], Mapping[str, Any]], tuple[Form[Any], Mapping[str, Any]]
]
"""From the session's workspace, the policy's limits, the names of the tools that are granted, and the request's
parameters to the call: what is called, and with which arguments. Raises `BadPath`. It may look at what is there in
order to choose, and tells nobody of it: what it chose is decided and done as any other call, and refused if the choice
does not fit.
"""


@dataclass(frozen=True, slots=True)
class Guise:
    """One kind of request.

    Attributes:
        method: the protocol's name for it.
        usual: the tool that a record names where the request is refused before one was chosen.
    """

    method: str
    usual: str
    choose: Choose
