"""What the replicas of a server have in common, and what a server without replicas keeps in its place.

*Trust.* Whoever can write to the shared place can undo limits and have an answer used twice; it cannot make an answer,
reach a file or run a command. Names of principals and handles of processes are in it as digests only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from fsserver.policy.service import Rate

DIGEST: Final = 32
"""Hex digits: 128 bits."""


class Held(NamedTuple):
    """A background process, by its handle and whose it is: the principal, and the scope of its sessions."""

    handle: str
    owner: tuple[str, str]


class Health(NamedTuple):
    """Whether calls can be served as the policy says, and how it is in words for an operator."""

    ok: bool
    text: str


class SharedState(Protocol):
    """Thread-safe. What cannot be reached is not waited for: one call finds out, and for a second the others are told.

    Every method that raises raises SharedStateError alone: the place cannot be reached, and the policy refuses then.

    Attributes:
        replica: the name of this process among those that share.
        shared: whether there may be others.
    """

    @property
    def replica(self) -> str: ...

    @property
    def shared(self) -> bool: ...

    def spend(self, key: str, ttl_s: float) -> bool:
        """Whether the key is used for the first time in ``ttl_s``, anywhere. Raises, whatever the policy says, where
        nobody knows.
        """
        ...

    def take(self, key: str, rate: Rate) -> float:
        """Take one of what the rate allows: 0 if there was one, else the seconds until there is."""
        ...

    def used_up(self, key: str, rate: Rate) -> float:
        """0 if something is left of the rate, else the seconds until something is."""
        ...

    def use(self, key: str, rate: Rate, amount: int) -> None:
        """Count what was used, also beyond the rate."""
        ...

    def announce(self, processes: Iterable[Held], ttl_s: float) -> None:
        """Tell the others that these processes run here, for ``ttl_s``."""
        ...

    def find(self, process: Held) -> str | None:
        """The replica that announced it; None if none did, or it is another owner's."""
        ...

    def forget(self, processes: Iterable[Held]) -> None: ...

    def status(self) -> Health: ...

    def close(self) -> None: ...


def digest(*parts: str) -> str:
    """What stands for several texts in a key: others have another, and nobody reads them there."""
    text = json.dumps(parts, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:DIGEST]
