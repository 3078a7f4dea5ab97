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
        can_ask: a person can be asked through the client: it offers elicitation in form mode.
    """

    id: str
    principal: str
    client: str | None
    protocol: str | None
    workspace: Workspace
    can_ask: bool = False
    _known: tuple[Workspace, frozenset[Action]] | None = field(default=None, init=False, repr=False, compare=False)

    def granted(self) -> frozenset[Action]:
        """What some root of the workspace grants, by itself or with consent that can be asked for. Worked out once for
        each workspace.
        """
        known = self._known
        workspace = self.workspace
        if known is None or known[0] is not workspace:
            actions: frozenset[Action] = frozenset()
            for root in workspace.roots:
                actions |= granted_actions(root.rules, with_consent=self.can_ask)
            known = (workspace, actions)
            self._known = known
        return known[1]
