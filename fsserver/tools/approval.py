"""What a person is asked before a call goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that needs consent.

    Attributes:
        what: the exact effect in one or more lines: the argument vector and its directory, or the path and what
            happens to it. Printable; control and bidirectional characters are escaped by whoever makes it.
        rule: where the rule that asks is written, ``policy-basename:line``.
        reason: why the policy asks, in the policy's own words, if it has any.
    """

    what: str
    rule: str | None
    reason: str | None
