"""The policy as the rest of fsserver uses it: frozen, complete, checked. Standard library only.

`policy.compile` builds these from the YAML; nothing else does outside tests. Every optional key has its default
filled in here, so no reader of these classes needs to know the policy language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from fsserver.policy.rules import Matcher, Origin, PathRule

__all__ = [
    "Action",
    "ApprovalRules",
    "AuditRules",
    "ClientRoots",
    "Effect",
    "Layer",
    "Limits",
    "Mode",
    "Origin",
    "PathRule",
    "Policy",
    "Profile",
    "RootRules",
    "SandboxRules",
]


class Mode(StrEnum):
    RO = "ro"
    RW = "rw"


class Effect(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Action(StrEnum):
    """What a call wants to do to one name. READ covers contents and metadata; the rest are changes."""

    READ = "read"
    LIST = "list"
    CREATE = "create"
    EDIT = "edit"
    OVERWRITE = "overwrite"
    MOVE = "move"
    DELETE = "delete"

    @property
    def changes(self) -> bool:
        return self not in (Action.READ, Action.LIST)


@dataclass(frozen=True, slots=True)
class RootRules:
    """One root: a directory and what may be done beneath it.

    Attributes:
        path: absolute, ``~`` expanded, links not followed: as the operator thinks of it.
        max_file: the largest file, in bytes, that a tool reads whole or writes; None is no limit.
        quota: the most bytes that the root may hold after a write; None is no limit.
        operations: the effect for each changing `Action` and where it is written; one that is not in here follows
            ``mode``.
        denied, frozen: matchers of ``deny`` and ``read_only``, made from them.
    """

    name: str
    path: str
    mode: Mode
    origin: Origin
    deny: tuple[PathRule, ...] = ()
    read_only: tuple[PathRule, ...] = ()
    operations: Mapping[Action, tuple[Effect, Origin]] = field(default_factory=lambda: MappingProxyType({}))
    hardlinks: Effect = Effect.ALLOW
    max_file: int | None = None
    quota: int | None = None
    denied: Matcher = field(init=False, repr=False, compare=False)
    frozen: Matcher = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "denied", Matcher(self.deny))
        object.__setattr__(self, "frozen", Matcher(self.read_only))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of every call. Times in seconds, sizes in bytes."""

    time_s: float = 120.0
    memory_bytes: int = 2 * 1024**3
    output_bytes: int = 4 * 1024**2
    result_bytes: int = 64 * 1024
    concurrency: int = 16
    background: int = 8


class Layer(StrEnum):
    """How strongly processes are confined, strongest first."""

    FULL = "full"
    LANDLOCK = "landlock"
    NONE = "none"


class ClientRoots(StrEnum):
    IGNORE = "ignore"
    NARROW = "narrow"


@dataclass(frozen=True, slots=True)
class SandboxRules:
    require: Layer = Layer.NONE
    accept_unprotected: bool = False
    accept_uid0: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    via: tuple[str, ...] = ("elicitation",)
    timeout_s: float = 120.0
    on_unavailable: Effect = Effect.DENY


@dataclass(frozen=True, slots=True)
class AuditRules:
    """Where records go. Exactly one of ``directory`` (one file a run) and ``file`` is set, absolute."""

    directory: str | None
    file: str | None = None
    max_size: int = 1024**3


@dataclass(frozen=True, slots=True)
class Profile:
    """A narrowing of the policy. None means: as the policy has it."""

    name: str
    roots: Mapping[str, Mode] | None
    tools: frozenset[str] | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a client may do.

    Attributes:
        source: absolute path of the YAML file, None for a policy from the command line.
        digest: SHA-256, hex, of the resolved policy; the audit header carries it.
        tools: the names that may be called; None is every tool that the roots' rules allow.
    """

    name: str
    source: str | None
    digest: str
    roots: tuple[RootRules, ...]
    audit: AuditRules
    limits: Limits = field(default_factory=Limits)
    client_roots: ClientRoots = ClientRoots.IGNORE
    sandbox: SandboxRules = field(default_factory=SandboxRules)
    approvals: ApprovalRules = field(default_factory=ApprovalRules)
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    tools: frozenset[str] | None = None
