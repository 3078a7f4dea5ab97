"""What the launcher is told when it starts, in sealed memory: nobody can change it afterwards, the server neither.

*Trust.* The server's process writes it before it has read a byte of any client.

*Invariant.* `read` returns only what was sealed: a memory file that can neither grow, shrink nor be written to.
"""

from __future__ import annotations

import copyreg
import fcntl
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import Command, Policy

SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class OpenedRoot:
    """A root as the server opened it: its name, its path without links, its device and inode, how names compare."""

    name: str
    path: str
    spellings: tuple[str, ...]
    identity: tuple[int, int]
    folds: bool


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Everything that a launcher needs.

    Attributes:
        own: the commands that fsserver runs for its own tools; see `fsserver.policy.searching`.
        environment: of the variables that commands may be passed, those that the server has.
        home: the user's, absolute.
        run_id: names this run's directories and groups.
    """

    policy: Policy
    roots: tuple[OpenedRoot, ...]
    environment: Mapping[str, str]
    home: str
    run_id: str
    own: Mapping[str, Command] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def commands(self) -> dict[str, Command]:
        """All that can be run, by name."""
        return {**self.policy.commands, **self.own}


def _frozen(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(items)


def _take_apart(mapping: MappingProxyType[Any, Any]) -> tuple[Any, tuple[dict[Any, Any]]]:
    return _frozen, (dict(mapping),)


def write(bootstrap: Bootstrap) -> int:
    """A descriptor of sealed memory. Raises ``OSError``."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {**copyreg.dispatch_table, MappingProxyType: _take_apart}
    pickler.dump(bootstrap)
    descriptor = os.memfd_create("fsserver-policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, buffer.getbuffer())
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(descriptor: int) -> Bootstrap:
    """What was written.

    Raises:
        SandboxSetupError: the memory is not sealed.
    """
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise SandboxSetupError("The launcher was given a policy that could still be changed.")
    os.lseek(descriptor, 0, os.SEEK_SET)
    # Unpickling runs what was pickled; this was, by the server's own process, before it listened to anybody.
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        bootstrap = pickle.load(stream)  # noqa: S301
    if not isinstance(bootstrap, Bootstrap):
        raise SandboxSetupError("The launcher was given something else than a policy.")
    return bootstrap
