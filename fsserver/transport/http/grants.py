"""What each principal gets: one profile of the policy, or a refusal.

*Trust.* The identity is proven; its subject and claims may be texts that somebody chose for himself.

*Invariant.* A principal is served under the one profile whose rule is for it, and reaches of a root with a directory
for each principal only its own, as it is on disk now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from fsserver.errors import FsserverError, InputOutputError
from fsserver.paths.root import Root
from fsserver.paths.workspace import Workspace
from fsserver.policy.principals import Identity, choose, fill
from fsserver.policy.service import PrincipalRule
from fsserver.server.exchanges import Exchanges
from fsserver.server.handshakes import Hello
from fsserver.tools.session import Session
from fsserver.transport.http.refusal import Refusal, busy

MAX_OPENED: Final = 4096
"""Directories of principals that are opened in one run."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One profile as it is served.

    Attributes:
        roots: the profile's; of one with a directory for each principal, what holds those.
    """

    exchanges: Exchanges
    roots: tuple[Root, ...]


class Grants:
    """Who gets what, with the directories that were opened for them.

    Args:
        rules: whom each profile is for.
        grants: by profile; None is the policy as it is.

    Attributes:
        looks: whether `of` looks at the disk.
    """

    def __init__(self, rules: Sequence[PrincipalRule], grants: Mapping[str | None, Grant]) -> None:
        self._rules = rules
        self._grants = grants
        self.looks: Final = any(root.rules.each is not None for grant in grants.values() for root in grant.roots)
        self._opened: dict[tuple[int, str], Root] = {}
        self._views: dict[tuple[str | None, int], Root] = {}
        self._kept: list[Root] = []  # what was opened stays open to the end of the process: it may be in use
        self._workspaces: dict[tuple[str | None, tuple[int, ...]], Workspace] = {}
        self._mutex = threading.Lock()  # over the four above

    def of(self, identity: Identity) -> tuple[Grant, Workspace]:
        """The profile that is served to ``identity``, and its roots. May be called from any thread.

        Raises:
            Refusal: no profile, or more than one; or it has no directory, or none that can be opened now.
        """
        try:
            profile = choose(self._rules, identity).profile
            grant = self._grants[profile]
            with self._mutex:
                roots = [self._root(root, profile, identity) for root in grant.roots]
                return grant, self._workspace(profile, roots)
        except InputOutputError as trouble:
            raise busy(trouble.message) from None
        except FsserverError as refused:
            raise Refusal(403, "principal", refused.message) from None

    def _root(self, root: Root, profile: str | None, identity: Identity) -> Root:
        """The root, or the principal's directory in it as this profile has it."""
        if root.rules.each is None:
            return root
        opened = self._directory(root, fill(root.rules.each, identity))
        key = (profile, id(opened))
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = opened.with_rules(replace(root.rules, path=opened.rules.path, each=None))
        return view

    def _directory(self, root: Root, name: str) -> Root:
        """One for all profiles: who changes a file there waits for whoever is changing it."""
        key = (root.fd, name)
        known = self._opened.get(key)
        if known is not None and known.is_still(name, root):
            return known
        if len(self._kept) >= MAX_OPENED:
            raise busy("Too many directories of principals are open; the operator has to restart the server")
        opened = self._opened[key] = root.one(name)
        self._kept.append(opened)
        return opened

    def _workspace(self, profile: str | None, roots: Sequence[Root]) -> Workspace:
        """One for the same roots, as long as they are the same: sessions are told apart by it."""
        key = (profile, tuple(map(id, roots)))
        workspace = self._workspaces.get(key)
        if workspace is None:
            workspace = self._workspaces[key] = Workspace(roots)
        return workspace


class Sessions:
    """The session of each principal and handshake, as the tools see it; remembered, since it is worked out from the
    roots what it grants.
    """

    MOST: Final = 4096
    RECENT_S: Final = 900.0

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Session] = {}
        self._used: dict[tuple[str, str], float] = {}

    def of(self, identity: Identity, workspace: Workspace, hello: Hello | None) -> Session:
        """Args:
        hello: None for a modern client, whose requests have no session: what it starts belongs to the principal.
        """
        named = sha256(identity.name.encode("utf-8", "surrogatepass")).hexdigest()[:16] if hello is None else hello.id
        key = (identity.name, named)
        if key not in self._known and len(self._known) >= self.MOST:
            self._known.clear()
            self._used.clear()
        self._used[key] = time.monotonic()
        known = self._known.get(key)
        if known is not None and known.workspace is workspace:
            return known
        made: dict[str, Any] = {"transport": "http", "scope": identity.name}
        session = self._known[key] = Session(named, identity.name, None, None, workspace, **made)
        return session

    def recent(self) -> int:
        """How many were used in the last `RECENT_S`. From any thread."""
        since = time.monotonic() - self.RECENT_S
        return sum(used >= since for used in list(self._used.values()))
