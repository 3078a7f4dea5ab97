"""Who a command is on the host. Never its user 0, unless the policy says so in words."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from fsserver.errors import SandboxSetupError
from fsserver.kernel import mounts, namespaces
from fsserver.kernel.mounts import Attribute
from fsserver.kernel.namespaces import Namespace
from fsserver.sandbox.cell_profile import Ids, User

NOBODY_ELSE: Final = 1_879_000_000
"""A user and group id of the host that nobody has: above all ranges that distributions and containers hand out."""

INSIDE: Final = (1000, 1000)


def choose(launcher: Ids, owners: Collection[Ids], *, mapped: bool, accept_uid0: bool) -> User | None:
    """The user of a command. None: the launcher's own, which is not root.

    Args:
        owners: of the roots that the command sees.
        mapped: these roots can be shown as belonging to another user.

    Raises:
        SandboxSetupError: only user 0 could work in these roots.
    """
    if launcher[0] != 0:
        return None
    if mapped:
        return User(INSIDE, (NOBODY_ELSE, NOBODY_ELSE))
    if len(set(owners)) == 1:
        owner = next(iter(owners))
        if owner[0] != 0:
            return User(owner, owner)
    if accept_uid0:
        return User(INSIDE, (0, 0))
    raise SandboxSetupError(
        "Commands do not run as root here: the roots' file system cannot show them as another user's.",
        allowed_instead="a server that is started by the roots' owner, or `sandbox: {accept_uid0: true}`",
    )


class Maps:
    """User namespaces whose maps show one owner's files as another user's. Root only."""

    def __init__(self, shown_as: Ids) -> None:
        self._shown_as = shown_as
        self._namespaces: dict[Ids, int] = {}

    def namespace_for(self, owner: Ids) -> int:
        """A descriptor that stays open as long as this does. Raises ``OSError``."""
        if owner not in self._namespaces:
            self._namespaces[owner] = _mapping_namespace(owner, self._shown_as)
        return self._namespaces[owner]

    def can_map(self, path: str, owner: Ids) -> bool:
        """Whether the kernel and the file system of ``path`` can do it."""
        with suppress(OSError):
            tree = mounts.clone_tree(-1, os.fsencode(path))
            try:
                mounts.set_attributes(tree, Attribute.IDMAP, user_namespace=self.namespace_for(owner))
            finally:
                os.close(tree)
            return True
        return False


def _mapping_namespace(owner: Ids, shown_as: Ids) -> int:
    """Made by a child that only waits: a namespace is made with a process, and outlives it by its descriptor."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = namespaces.fork_into(Namespace.USER)
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        namespaces.map_user(str(pid), owner, shown_as, keep_groups=True)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)
