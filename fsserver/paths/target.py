"""A path that was resolved and decided: descriptors and names. Who has one never goes back to the client's string.

Where a rule asks for consent the target exists too, so that a person can be shown what is meant. `Target.verify`, which
goes before every effect, refuses it until the gate says that a person consented.
"""

from __future__ import annotations

import os
from enum import StrEnum
from types import TracebackType
from typing import Self

from fsserver.errors import UnstablePath
from fsserver.paths.client import ClientPath
from fsserver.paths.entry import Directory
from fsserver.paths.resolver import MovedError, Resolver, name_beneath, same_object
from fsserver.paths.root import Root
from fsserver.paths.ruling import Ruling, refusal, shown_path
from fsserver.policy.compiled import Action
from fsserver.policy.decision import Decision


class Access(StrEnum):
    """What a tool wants with a path. WRITE creates or overwrites, CREATE needs the name to be absent."""

    READ = "read"
    STAT = "stat"
    LIST = "list"
    WRITE = "write"
    CREATE = "create"
    EDIT = "edit"
    MAKE_DIRECTORY = "make_directory"
    MOVE_FROM = "move_from"
    MOVE_TO = "move_to"
    DELETE = "delete"


class Target:
    """One object, or one absent name, that the policy allows this access to, or asks about. A context manager: closing
    it is due.

    Attributes:
        ruling: the rules for its root, with those of overlapping roots.
        name: beneath the root, of the opened object. For an absent one: its real parent's name and the missing names.
        asked: the name beneath the root as the client asked for it, with links unresolved; for messages.
        requested: the client's own words.
        action: what was decided. WRITE became CREATE or OVERWRITE.
        decision: what allows it, or asks.
        consented: a person consented to what this call does here. Set by the gate, and by nothing else.
        stat: of the object; None where it is absent.
        handle: O_PATH descriptor of the object; -1 where it is absent.
        parent: O_PATH descriptor of the directory that holds, or will hold, ``leaf``; -1 for READ, STAT and LIST.
        parent_name: the parent's name beneath the root.
        leaf: the last name in ``parent``; the first missing one for MAKE_DIRECTORY.
        missing: the names that MAKE_DIRECTORY has to make below ``parent``.
    """

    __slots__ = (
        "_directory",
        "access",
        "action",
        "asked",
        "consented",
        "decision",
        "handle",
        "leaf",
        "missing",
        "name",
        "parent",
        "parent_name",
        "requested",
        "resolver",
        "ruling",
        "stat",
    )

    def __init__(
        self,
        ruling: Ruling,
        resolver: Resolver,
        *,
        requested: ClientPath,
        asked: str,
        access: Access,
        action: Action,
    ) -> None:
        self.ruling = ruling
        self.resolver = resolver
        self.requested = requested
        self.asked = asked
        self.access = access
        self.action = action
        self.name = ""
        self.handle = -1
        self.stat: os.stat_result | None = None
        self.parent = -1
        self.parent_name = ""
        self.leaf = ""
        self.missing: tuple[str, ...] = ()
        self.decision: Decision
        self.consented = False
        self._directory: Directory | None = None

    @property
    def root(self) -> Root:
        return self.ruling.root

    @property
    def exists(self) -> bool:
        return self.stat is not None

    @property
    def asks(self) -> bool:
        """Whether a person's consent is needed before anything is changed here, and is missing."""
        return self.decision.asks and not self.consented

    @property
    def shown(self) -> str:
        """The absolute path as it was asked for: messages never say where a link leads. May hold surrogates, so
        `display` it.
        """
        return shown_path(self.root, self.asked)

    @property
    def resolved(self) -> str:
        """The absolute path of the object itself, for what its results name; may hold surrogates."""
        return shown_path(self.root, self.name)

    def as_directory(self) -> Directory:
        """The object as a directory whose entries can be asked about; its descriptor ends with this target's."""
        if self._directory is None:
            self._directory = Directory(self.ruling, self.resolver, self.name, self.handle)
        return self._directory

    def holding(self, other: Target) -> Target:
        """This absent name with the object of ``other``, which was moved there. A target of its own; close it."""
        moved = Target(
            self.ruling,
            self.resolver,
            requested=self.requested,
            asked=self.asked,
            access=self.access,
            action=self.action,
        )
        moved.name, moved.stat, moved.handle = self.name, other.stat, os.dup(other.handle)
        return moved

    def require(self, action: Action) -> None:
        """Decide a further action that this call does to the same name; if that asks, the target asks from now on.

        Raises:
            Denied: a rule refuses it.
        """
        decision = self.ruling.decide((self.name,), action, self.shown)
        if not decision.allowed:
            self.decision = decision

    def verify(self) -> None:
        """Refuse if the parent directory is not where it was decided about. Call right before an effect.

        Raises:
            ConsentDenied: a rule asks, and nobody has consented.
            UnstablePath: it was moved or removed meanwhile.
        """
        assert self.parent >= 0, "a target of READ, STAT or LIST is not changed"
        if self.asks:
            raise refusal(self.decision, self.shown)
        try:
            stays = name_beneath(self.root, self.parent) == self.parent_name
        except (MovedError, OSError):
            stays = False
        if not stays:
            raise UnstablePath("Access denied - the directory was moved meanwhile; nothing was changed.")

    def unchanged(self) -> bool:
        """Whether ``leaf`` is still the object that was decided about."""
        assert self.stat is not None
        try:
            status = os.stat(self.leaf, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return same_object(status, self.stat)

    def close(self) -> None:
        """Give the descriptors back. Twice is harmless."""
        if self._directory is not None:
            self._directory.descriptor = -1  # the number may soon mean another file
        handle, self.handle = self.handle, -1
        parent, self.parent = self.parent, -1
        if handle >= 0:
            os.close(handle)
        if parent >= 0:
            os.close(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
