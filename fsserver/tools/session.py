"""Who calls, and what that principal may reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fsserver.paths.workspace import Workspace
from fsserver.policy.compiled import Action
from fsserver.policy.decision import granted_actions
from fsserver.tools.text.hostile import neutralised

MAX_WORD: Final = 100  # characters of a client's name, and of its version


@dataclass(frozen=True, slots=True)
class Client:
    """What a client says it is. Nobody checks that."""

    name: str
    version: str

    @classmethod
    def saying(cls, name: str, version: str) -> Client:
        """Bounded, on one line, and with nothing that acts on a terminal."""
        return cls(_word(name), _word(version))


def _word(text: str) -> str:
    line = " ".join(text[:MAX_WORD].split())
    return neutralised(line.encode("utf-8", "replace"))[:MAX_WORD]


@dataclass(slots=True)
class Session:
    """One client's connection.

    Attributes:
        client: None until it says who it is.
        protocol: the revision that is spoken.
        transport: how the client reaches this server.
        scope: what outlives a call belongs to the principal's sessions of one scope; None is this session alone.
        workspace: what this principal may reach; may be replaced by a narrower one between two calls.
        can_ask: a person can be asked through the client: it offers elicitation in form mode.
        scope: what outlives a call belongs to, of the principal: by default the session alone.
    """

    id: str
    principal: str
    client: Client | None
    protocol: str | None
    workspace: Workspace
    can_ask: bool = False
    transport: str = "stdio"
    scope: str | None = None
    _known: tuple[Workspace, frozenset[Action]] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def owner(self) -> tuple[str, str]:
        """Whom what outlives a call belongs to, also across connections and replicas: the principal and the scope."""
        return self.principal, self.id if self.scope is None else self.scope

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
