"""Whether this server should be sent calls: named checks, each looked at beside the event loop for a bounded time.

A check may hang, for example on a network mount that is dead. It then counts as failed, and is not begun again before
it is through.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fsserver.transport.ops.aside import Aside

_LOG = logging.getLogger(__name__)

WAIT_S: Final = 1.0
"""How long one look may take."""

FRESH_S: Final = 1.0
"""How long its answer is given to others who ask."""

MAX_DETAIL: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be well or not.

    Attributes:
        name: a word.
        required: while it is not well this server wants no calls; otherwise that is only said.
        look: whether it is well, and a few words for the operator, which hold no secret and no path. May block.
    """

    name: str
    required: bool
    look: Callable[[], tuple[bool, str]]


class Finding(NamedTuple):
    """What came of a look."""

    name: str
    required: bool
    well: bool
    detail: str


class Readiness:
    """Looks at most once in `FRESH_S`, however many ask. Belongs to one event loop, but for `last`."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._looks = [_Look(check) for check in checks]
        self._looking: asyncio.Task[list[Finding]] | None = None
        self._found: list[Finding] = []
        self._fresh_until = float("-inf")

    async def findings(self) -> list[Finding]:
        """One for each check, in order."""
        if time.monotonic() < self._fresh_until:
            return self._found
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._looking)  # who leaves does not end it for the others

    async def _look(self) -> list[Finding]:
        try:
            self._found = list(await asyncio.gather(*(look.answer() for look in self._looks)))
            self._fresh_until = time.monotonic() + FRESH_S
            return self._found
        finally:
            self._looking = None

    def last(self) -> Mapping[str, bool]:
        """Which checks were well when somebody looked last; empty before. From any thread."""
        return {finding.name: finding.well for finding in self._found}


class _Look:
    """One check, and its thread."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._aside = Aside(f"check {check.name}")

    async def answer(self) -> Finding:
        try:
            async with asyncio.timeout(WAIT_S):
                well, detail = await self._aside.ask(self._check.look)
        except TimeoutError:
            well, detail = False, f"no answer within {WAIT_S:g} s"
        except Exception:  # noqa: BLE001 - whatever a check raises, it is not well
            _LOG.exception("the check %s failed", self._check.name)
            well, detail = False, "the check itself failed; the server's log says why"
        return Finding(self._check.name, self._check.required, well, detail[:MAX_DETAIL])
