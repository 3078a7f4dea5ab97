"""Requests that are no tool calls and reach files all the same: each becomes a call of a tool.

So there is one way to a file. What a policy grants, records, bounds and hides is that of the tool, which the record
names, and beside it the method that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import Limits
from fsserver.tools.registry import Tool


class Chosen(NamedTuple):
    """What a request becomes.

    Attributes:
        tool: bears the name of a tool in the registry, needs and opens what that one does, and answers in the form
            that the method has.
        arguments: what it is called with.
    """

    tool: Tool[Any]
    arguments: Mapping[str, Any]


Choose: TypeAlias = Callable[[Workspace, Limits, frozenset[str], Mapping[str, Any]], Chosen]
"""From the session's workspace, the policy's limits, the names of the tools that are granted, and the request's
parameters to the call. Raises `BadPath`. It may look at what is there in order to choose, and tells nobody of it: what
it chose is decided and done as any other call, and refused if the choice does not fit.
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
