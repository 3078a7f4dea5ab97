"""Who a caller is, as proven, and which profile of the policy that principal gets. Pure. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """What authentication found out.

    Attributes:
        name: the principal, as audit records, limits and sessions know it. Two callers have the same only if they are
            the same.
        issuer, subject, client: ``iss``, ``sub`` and ``client_id`` of an access token.
        token: the name of a static token.
        claims: of an access token, whole.
        expires: when it stops being valid, seconds since the epoch; None is never.
    """

    name: str
    issuer: str | None = None
    subject: str | None = None
    client: str | None = None
    token: str | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    expires: float | None = None


ANONYMOUS = Identity("anonymous")
"""Everybody, where the policy says ``auth: none``."""
