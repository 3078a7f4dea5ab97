"""The policy as the rest of fsserver uses it: frozen, complete, checked. Standard library only.

`policy.compile` builds these from the YAML; nothing else does outside tests. Every optional key has its default
filled in here, so no reader of these classes needs to know the policy language.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from fsserver.policy.rules import Matcher, Origin, PathRule
from fsserver.policy.service import (
    Budget,
    CallClass,
    NetworkSink,
    PrincipalRule,
    ServerRules,
    SharedRules,
    TelemetryRules,
)

__all__ = [
    "Action",
    "AnyArguments",
    "ApprovalRules",
    "ArgumentForm",
    "ArgumentRules",
    "AuditRules",
    "ClientRoots",
    "Command",
    "CommandLimits",
    "Effect",
    "Flag",
    "Home",
    "IntegerValue",
    "Layer",
    "Limits",
    "MatchValue",
    "Mode",
    "Network",
    "Origin",
    "PathAccess",
    "PathRule",
    "PathValue",
    "PinnedProgram",
    "Policy",
    "Positional",
    "Profile",
    "Program",
    "RootRules",
    "SandboxRules",
    "SoughtProgram",
    "Subcommand",
    "Subcommands",
    "TextValue",
    "UrlValue",
    "Value",
    "WordValue",
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
        each: the name of one directory in ``path`` that is the root of one principal, with variables such as
            ``${principal.name}`` in it; None: ``path`` itself is the root.
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
    each: str | None = None
    denied: Matcher = field(init=False, repr=False, compare=False)
    frozen: Matcher = field(init=False, repr=False, compare=False)

    @property
    def written(self) -> str:
        """The directory of the root as the policy names it, with variables."""
        return self.path if self.each is None else f"{self.path}/{self.each}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "denied", Matcher(self.deny))
        object.__setattr__(self, "frozen", Matcher(self.read_only))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of every call. Times in seconds, sizes in bytes.

    Attributes:
        budget: what one principal may use, of all calls together.
        budgets: the same of one class of calls.
    """

    time_s: float = 120.0
    memory_bytes: int = 2 * 1024**3
    output_bytes: int = 4 * 1024**2
    result_bytes: int = 64 * 1024
    concurrency: int = 16
    background: int = 8
    budget: Budget = field(default_factory=Budget)
    budgets: Mapping[CallClass, Budget] = field(default_factory=lambda: MappingProxyType({}))


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
    """How strongly processes must be confined."""

    require: Layer = Layer.NONE
    accept_unprotected: bool = False
    accept_uid0: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """How a person is asked, and for how long."""

    via: tuple[str, ...] = ("elicitation",)
    timeout_s: float = 120.0
    on_unavailable: Effect = Effect.DENY


@dataclass(frozen=True, slots=True)
class AuditSink:
    """One place for records. Exactly one of ``directory`` (one file a run) and ``file`` is set, absolute.

    Attributes:
        required: a record that it does not take refuses the call; else what it missed is counted.
    """

    directory: str | None
    file: str | None = None
    required: bool = True

    @property
    def place(self) -> str:
        """The directory that it writes to."""
        return self.directory or os.path.dirname(str(self.file))


class Durability(StrEnum):
    """What the record of an intent waits for before its effect. KERNEL: it outlives the server. EFFECT: it outlives a
    power failure (fdatasync(2)).
    """

    KERNEL = "kernel"
    EFFECT = "effect"


@dataclass(frozen=True, slots=True)
class AuditRules:
    """How calls are recorded. The first place is ``directory`` or ``file`` and always required.

    Attributes:
        max_size: bytes of a file after which the chain goes on in a new one.
        others: further places, each with a chain of its own.
        network: further places over the network.
        stderr: whether each record is written to standard error too.
        key: absolute path of the private key that signs checkpoints; None for none.
        checkpoint_records, checkpoint_s: how often the head is signed, whichever comes first.
        keep_s, keep_bytes: what is kept of ended runs in a directory; None for everything.
        changes: whether the files are recorded that commands change.
        redact: regular expressions of what no record shows, besides known forms of secrets.
    """

    directory: str | None
    file: str | None = None
    max_size: int = 1024**3
    others: tuple[AuditSink, ...] = ()
    network: tuple[NetworkSink, ...] = ()
    stderr: bool = False
    durability: Durability = Durability.KERNEL
    key: str | None = None
    checkpoint_records: int = 1000
    checkpoint_s: float = 60.0
    keep_s: float | None = None
    keep_bytes: int | None = None
    changes: bool = False
    redact: tuple[str, ...] = ()

    @property
    def sinks(self) -> tuple[AuditSink, ...]:
        return (AuditSink(self.directory, self.file), *self.others)


class PathAccess(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class IntegerValue:
    """A whole number, written in decimal digits with at most a minus before them."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class WordValue:
    """One of a few words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MatchValue:
    """A text that a regular expression matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class PathValue:
    """A path in ``root``, or in any root of the command if that is None; relative to where the command runs, or
    absolute. Its name is decided by the root's rules.
    """

    root: str | None
    access: PathAccess
    must_exist: bool


@dataclass(frozen=True, slots=True)
class UrlValue:
    """An address with one of these schemes and one of these hosts."""

    schemes: tuple[str, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextValue:
    """Anything that does not look like a flag. May hold newlines."""


Value: TypeAlias = IntegerValue | WordValue | MatchValue | PathValue | UrlValue | TextValue


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. ``value`` is None for a flag that stands alone."""

    value: Value | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Positional:
    """``least`` to ``most`` arguments that are no flags."""

    value: Value
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class ArgumentForm:
    """Flags in any order, positionals in this one. What is not listed is refused."""

    flags: Mapping[str, Flag]
    positionals: tuple[Positional, ...]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One word that the arguments may begin with, and what may follow it."""

    form: ArgumentForm
    effect: Effect
    reason: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Subcommands:
    """The arguments begin with one of these words; nothing stands before it."""

    by_name: Mapping[str, Subcommand]


@dataclass(frozen=True, slots=True)
class AnyArguments:
    """Any arguments: the sandbox alone bounds what the program does."""


ArgumentRules: TypeAlias = ArgumentForm | Subcommands | AnyArguments


@dataclass(frozen=True, slots=True)
class PinnedProgram:
    """A program outside every writable root, known by its file and not by its name.

    Attributes:
        path: absolute, as the policy has it. It is what the command finds as its own name.
        device, inode: of the file at the end of all links, when the policy was loaded.
        sha256: of its contents, hex, if the policy names one; checked when the policy is loaded.
        changed_ns: the file's change time then (st_ctime_ns), so that a checked sum stays true.
        prefix: the installation that belongs to the program, absolute and without links, or None for system
            directories and for programs of which only the file itself is granted.
    """

    path: str
    device: int
    inode: int
    sha256: str | None
    changed_ns: int
    prefix: str | None


@dataclass(frozen=True, slots=True)
class SoughtProgram:
    """A program that is content of a root: ``name``, a relative path, is looked for from the directory in which the
    command runs up to the root. Nothing pins it, so it runs in a sandbox only.
    """

    root: str
    name: str


@dataclass(frozen=True, slots=True)
class BuiltinProgram:
    """A part of fsserver that runs in a cell without another program; only fsserver's own commands have one.

    Attributes:
        beside: the program of other commands that are to run in the same cells.
    """

    name: str
    beside: PinnedProgram | None


Program: TypeAlias = PinnedProgram | SoughtProgram | BuiltinProgram


class Network(StrEnum):
    NONE = "none"
    FULL = "full"


class Home(StrEnum):
    """PRIVATE is empty each time, KEPT is a directory of the command's own in the state directory."""

    PRIVATE = "private"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """Bounds of one run of one command. Times in seconds, sizes in bytes.

    Attributes:
        time_s: of the clock on the wall. A background process has none.
        cpu_s: of all its processes together; None is no limit of its own.
        memory_bytes: of all its processes together.
        processes: processes and threads at the same time.
        output_bytes: what is kept of standard output and of standard error, each.
        file_bytes: the largest file that it may write; None is no limit.
        open_files: of each process.
    """

    time_s: float = 120.0
    cpu_s: float | None = None
    memory_bytes: int = 2 * 1024**3
    processes: int = 256
    output_bytes: int = 4 * 1024**2
    file_bytes: int | None = None
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of ``commands``, or one of fsserver's own; see `fsserver.policy.searching`.

    Attributes:
        prepend: arguments that stand before the client's and are not judged.
        roots: the roots that the command sees, in the policy's order, each at a mode no wider than the root's own.
        arguments: what the client may pass.
        effect, reason: ALLOW, or ASK with what the person is told; a subcommand may be stricter.
        passed: names of environment variables taken over from the server's environment.
        environment: variables that are set.
        unix_sockets: whether it may make sockets of the family AF_UNIX.
        background: whether `start_process` takes it.
        runtime: further directories that it may read and execute in, absolute and without links.
        own: one of fsserver's own, which tools run. No client names it, and what it says is judged name by name.
    """

    name: str
    origin: Origin
    program: Program
    prepend: tuple[str, ...]
    roots: Mapping[str, Mode]
    arguments: ArgumentRules
    effect: Effect = Effect.ALLOW
    reason: str | None = None
    passed: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    network: Network = Network.NONE
    unix_sockets: bool = False
    background: bool = True
    home: Home = Home.PRIVATE
    runtime: tuple[str, ...] = ()
    limits: CommandLimits = field(default_factory=CommandLimits)
    own: bool = False


class Own(StrEnum):
    """fsserver's own commands. No policy can call one so: there a name begins with a letter or a digit."""

    CONTENT = ":content"
    FILES = ":files"
    NAMES = ":names"


WALK: Final = "walk"
"""The `BuiltinProgram` of `Own.NAMES`."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A narrowing of the policy. None means: as the policy has it."""

    name: str
    roots: Mapping[str, Mode] | None
    tools: frozenset[str] | None
    origin: Origin
    commands: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a client may do.

    Attributes:
        source: absolute path of the YAML file, None for a policy from the command line.
        files: absolute paths of that file and of all that it extends.
        digest: SHA-256, hex, of the resolved policy; the audit header carries it.
        profile: the name of that which narrowed it, if one did.
        mark: stands for ``source`` in names of files; letters and digits.
        commands: what may be run, by the name that clients use.
        state: fsserver's directory for what it keeps between runs, absolute.
        redact_output: whether secrets are hidden in results, as they are in records.
        tools: the names that may be called; None is every tool that the roots' rules allow.
        principals: who gets which profile, over HTTP.
        shared: what replicas share.
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
    commands: Mapping[str, Command] = field(default_factory=lambda: MappingProxyType({}))
    state: str = ""
    redact_output: bool = False
    server: ServerRules = field(default_factory=ServerRules)
    principals: tuple[PrincipalRule, ...] = ()
    shared: SharedRules = field(default_factory=SharedRules)
    telemetry: TelemetryRules = field(default_factory=TelemetryRules)
    files: tuple[str, ...] = ()
    profile: str | None = None
    mark: str = ""

    def kept_home(self, command: str) -> str:
        """The directory of a command with ``home: kept``, absolute. What one run leaves there the next one obeys, so
        each profile has one of its own, and so has each policy file: many have the same name.
        """
        owner = command if self.profile is None else f"{command}@{self.profile}"  # no name has an "@"
        return f"{self.state}/homes/{self.name}@{self.mark}/{owner}"
