"""Every error that fsserver raises on purpose, in one tree.

The branches say whose fault it is and so what to do next. Each class has a stable dotted ``code``: clients, tests
and audit records rely on it, the wording may change. A message is written for the client that made the call: it
never holds a host path outside the roots, the operating system's error text, or a link's target.
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar


class FsserverError(Exception):
    """Base of the tree.

    Attributes:
        code: stable dotted identifier.
        transient: whether the same call can succeed later without anybody changing anything.
        message: one sentence or more for the client.
        rule: where the deciding rule is written, as ``policy-basename:line``, if a rule decided.
        allowed_instead: what the client may do instead, if there is such a thing.
    """

    code: ClassVar[str] = "internal"
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, rule: str | None = None, allowed_instead: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.rule = rule
        self.allowed_instead = allowed_instead


# --- The operator's side: what was configured cannot be served. The process ends with exit code 2 or 3 (kernel).


class ConfigError(FsserverError):
    """The policy or the command line is wrong. ``message`` may span lines and show the place with a caret."""

    code = "config.invalid"


class KernelUnsupported(FsserverError):
    """The kernel lacks a layer that the policy requires."""

    code = "kernel.unsupported"


class SandboxSetupError(FsserverError):
    """A confinement step that the kernel supports failed all the same; nothing runs half confined."""

    code = "sandbox.setup"


# --- Refusals: the policy or a safety rule says no. Always audited.


class Denied(FsserverError):
    """A rule refuses the call."""

    code = "denied.rule"


class OutsideRoots(Denied):
    """The path does not begin in a root, or leads out of it through ``..``."""

    code = "denied.outside_roots"


class LinkEscape(Denied):
    """A symbolic link on the way leads out of the root."""

    code = "denied.link_escape"


class ProtectedName(Denied):
    """The name, or the object behind it, matches a ``deny`` rule."""

    code = "denied.protected"


class ReadOnlyName(Denied):
    """The name matches ``read_only``, or its root has ``mode: ro``."""

    code = "denied.read_only"


class OperationDenied(Denied):
    """The root's ``operations`` do not allow this kind of change."""

    code = "denied.operation"


class HardLinkDenied(Denied):
    """The file has more than one name and its root says ``hardlinks: deny``."""

    code = "denied.hardlink"


class SpecialFile(Denied):
    """Not a regular file or directory: a FIFO, socket or device is never opened."""

    code = "denied.special_file"


class UnstablePath(Denied):
    """The path kept changing while it was resolved; looks like a race, so it is refused."""

    code = "denied.unstable"
    transient = True


class CommandDenied(Denied):
    """No such command in the policy, or its argument rules do not allow this call of it."""

    code = "denied.command"


class ConsentDenied(Denied):
    """A rule says ``ask``, and the person said no, did not answer, or cannot be asked."""

    code = "denied.consent"


class CommandUnconfined(Denied):
    """This machine cannot confine the command as strongly as the policy requires."""

    code = "denied.unconfined"


class ToolDenied(Denied):
    """The tool exists, but the policy does not grant it to this principal."""

    code = "denied.tool"


class PrincipalDenied(Denied):
    """The caller has proven who it is, and the policy's ``principals`` have no profile or no directory for it."""

    code = "denied.principal"


class RedactedContent(Denied):
    """What is to be written holds a marker of redacted text, and would take the place of the secret."""

    code = "denied.redacted"


# --- Limits: allowed in kind, too much in amount.


class LimitExceeded(FsserverError):
    """A size, count or quota of the policy is reached."""

    code = "limit.exceeded"


class FileTooLarge(LimitExceeded):
    code = "limit.file_size"


class QuotaExceeded(LimitExceeded):
    code = "limit.quota"


class TimeLimit(LimitExceeded):
    code = "limit.time"


class RateLimited(LimitExceeded):
    """The principal has used what the policy gives it for some time. ``retry_after_s``: when there is more."""

    code = "limit.rate"
    transient = True

    def __init__(self, message: str, *, retry_after_s: float, rule: str | None = None) -> None:
        super().__init__(message, rule=rule, allowed_instead=f"the same call in {max(1, ceil(retry_after_s))} s")
        self.retry_after_s = retry_after_s


class TooManyCalls(LimitExceeded):
    """As many calls of this principal are at work as the policy allows. ``retry_after_s``: when to try again."""

    code = "limit.concurrency"
    transient = True
    retry_after_s: ClassVar[float] = 1.0


# --- What replicas share.


class SharedStateError(FsserverError):
    """What replicas share cannot be reached, and the policy says to refuse what needs it."""

    code = "state.unavailable"
    transient = True


# --- The client's mistakes.


class RequestError(FsserverError):
    """The call is malformed or does not fit what is there."""

    code = "request.invalid"


class BadArguments(RequestError):
    code = "request.arguments"


class UnknownTool(RequestError):
    code = "request.unknown_tool"


class BadPath(RequestError):
    """Not a usable path: empty, NUL, lone surrogate, too long, or a Windows path."""

    code = "request.path"


class StaleWrite(RequestError):
    """The file is not the one whose ``expectedSha256`` the client gave."""

    code = "request.stale"


class NoMatch(RequestError):
    """An edit's ``oldText`` is not in the file."""

    code = "request.no_match"


class AmbiguousMatch(RequestError):
    """An edit's ``oldText`` is in the file more often than the edit says."""

    code = "request.ambiguous"


class BadEncoding(RequestError):
    """The file's bytes are not text in the encoding asked for."""

    code = "request.encoding"


class UnknownProcess(RequestError):
    """No background process of this session has the handle, or it was forgotten some time after it ended."""

    code = "request.process"


class Cancelled(RequestError):
    """The client cancelled the call, or the session ended."""

    code = "request.cancelled"


# --- Honest outcomes of the operating system.


class ResourceError(FsserverError):
    code = "resource.failed"


class NotFound(ResourceError):
    code = "resource.not_found"


class AlreadyExists(ResourceError):
    code = "resource.exists"


class NotADirectory(ResourceError):
    code = "resource.not_a_directory"


class IsADirectory(ResourceError):
    code = "resource.is_a_directory"


class LinkLoop(ResourceError):
    """Links that lead to each other, or more of them than are followed."""

    code = "resource.link_loop"


class DirectoryNotEmpty(ResourceError):
    code = "resource.not_empty"


class PermissionDenied(ResourceError):
    """The operating system refuses this user."""

    code = "resource.permission"


class NoSpace(ResourceError):
    code = "resource.no_space"
    transient = True


class ProgramNotFound(ResourceError):
    """The command's program is not there, cannot be executed, or is not the file that was pinned."""

    code = "resource.program"


class CrossDevice(ResourceError):
    """A rename across file systems or roots that cannot be done in one step."""

    code = "resource.cross_device"


class InputOutputError(ResourceError):
    code = "resource.io"
    transient = True


# --- The audit log.


class AuditError(FsserverError):
    """A record could not be written: the call is refused before its effect."""

    code = "audit.append"
    transient = True


class AuditLocked(AuditError):
    """Another server writes this log file."""

    code = "audit.locked"
    transient = False


class AuditBroken(AuditError):
    """The log file does not verify, or something else changed it while it was open: it is not continued."""

    code = "audit.broken"
    transient = False


# --- Our own fault.


class InternalError(FsserverError):
    """A bug. The client gets ``correlation_id``, the trace goes to the log."""

    code = "internal"

    def __init__(self, correlation_id: str) -> None:
        super().__init__(f"Internal error; the server's log has the details under {correlation_id}.")
        self.correlation_id = correlation_id
