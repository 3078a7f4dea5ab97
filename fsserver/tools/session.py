"""Who calls, and what that principal may reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import Action
from fsserver.policy.decision import granted_actions


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
    _known: tuple[Workspace, frozenset[Action]] | None = field(default=None, init=False, repr=False, compare=False)

    def granted(self) -> frozenset[Action]:
        """What some root of the workspace grants. Worked out once for each workspace."""
        known = self._known
        workspace = self.workspace
        if known is None or known[0] is not workspace:
            actions: frozenset[Action] = frozenset()
            for root in workspace.roots:
                actions |= granted_actions(root.rules)
            known = (workspace, actions)
            self._known = known
        return known[1]
