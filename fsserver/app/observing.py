"""What an operator can see of a server: who watches its calls, and what is asked for its health."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsserver import __version__
from fsserver.audit.log import AuditLog
from fsserver.errors import FsserverError
from fsserver.paths.root import Root
from fsserver.policy.compiled import Policy
from fsserver.policy.service import WithoutState
from fsserver.policy.toolnames import TOOL_NAMES
from fsserver.state.shared import SharedState

if TYPE_CHECKING:
    from fsserver.sandbox.launching import LauncherRunner
    from fsserver.telemetry.metrics import Metrics
    from fsserver.telemetry.sources import AuditPlace
    from fsserver.telemetry.tracing import Traces
    from fsserver.tools.observing import Observer
    from fsserver.transport.ops.readiness import Check


def make_traces(policy: Policy) -> Traces | None:
    """To be made before the process is confined, and started afterwards.

    Raises:
        ConfigError: the packages for it are not installed.
    """
    if policy.telemetry.traces is None:
        return None
    from fsserver.telemetry.tracing import Traces  # noqa: PLC0415 - an extra

    return Traces(policy.telemetry.traces, policy.telemetry.sample, version=__version__, tools=TOOL_NAMES)


def make_observer(policy: Policy, traces: Traces | None, metrics: Metrics | None, held: ExitStack) -> Observer | None:
    """Everybody who watches calls; None if nobody does. Starts what needs a thread."""
    from fsserver.tools.observing import Observers  # noqa: PLC0415 - nothing of the tools is loaded before it is confined

    watching: list[Observer] = [] if metrics is None else [metrics]
    if traces is not None:
        traces.start()
        held.callback(traces.close)
        watching.append(traces)
    if policy.telemetry.calls:
        from fsserver.telemetry.calls import CallLines  # noqa: PLC0415

        watching.append(CallLines())
    if len(watching) > 1:
        return Observers(watching)
    return watching[0] if watching else None


def audit_places(audit: AuditLog) -> Sequence[AuditPlace]:
    """The places of the log, as metrics have them: numbered, since their names may tell where."""
    from fsserver.telemetry.sources import AuditPlace  # noqa: PLC0415 - with Prometheus' library, which HTTP alone needs

    return [
        AuditPlace(f"{number}", status.ok, lag.oldest_s, lag.queued, lag.missed)
        for number, (status, lag) in enumerate(zip(audit.status(), audit.lags(), strict=True))
    ]


@dataclass(frozen=True)
class Parts:
    """What has to be well for a server to be ready.

    Attributes:
        runners: of commands, by profile.
        issuers: of access tokens, each with whether its keys are there.
        notices: what changed on disk since the start.
    """

    policy: Policy
    roots: Sequence[Root]
    runners: Mapping[str, LauncherRunner]
    audit: AuditLog
    state: SharedState
    issuers: Callable[[], Mapping[str, tuple[bool, str]]]
    notices: Callable[[], Sequence[str]]
    draining: Callable[[], bool]

    def checks(self) -> list[Check]:
        """In the order in which an operator would look."""
        from fsserver.transport.ops.readiness import Check  # noqa: PLC0415

        checks = [
            Check("draining", True, self._look_at_draining),
            Check("policy", False, self._look_at_policy),
            Check("roots", True, self._look_at_roots),
            Check("audit", True, self._look_at_audit),
        ]
        if self.runners:
            checks.append(Check("commands", True, self._look_at_commands))
        if self.state.shared:
            refuses = self.policy.shared.on_failure is WithoutState.REFUSE
            checks.append(Check("redis", refuses, self._look_at_state))
        if self.policy.server.auth.oauth:
            # Where there are other tokens, those who have one can still be served.
            checks.append(Check("issuers", self.policy.server.auth.tokens is None, self._look_at_issuers))
        return checks

    def _look_at_draining(self) -> tuple[bool, str]:
        return (False, "about to end") if self.draining() else (True, "serving")

    def _look_at_policy(self) -> tuple[bool, str]:
        changed = [notice for notice in self.notices() if notice.startswith("The policy")]
        return not changed, changed[0] if changed else f"{self.policy.name}, digest {self.policy.digest[:12]}"

    def _look_at_roots(self) -> tuple[bool, str]:
        gone = [root.rules.name for root in self.roots if _gone(root)]
        return not gone, f"not there any more: {', '.join(gone)}" if gone else f"{len(self.roots)} open"

    def _look_at_audit(self) -> tuple[bool, str]:
        failing = [f"sink {number}: {each.text}" for number, each in enumerate(self.audit.status()) if not each.ok]
        return self.audit.ready, "; ".join(failing) or "written"

    def _look_at_commands(self) -> tuple[bool, str]:
        why = [runner.unavailable for runner in self.runners.values() if runner.unavailable is not None]
        return not why, why[0] if why else f"{len(self.runners)} launchers"

    def _look_at_state(self) -> tuple[bool, str]:
        health = self.state.status()
        return health.ok, health.text

    def _look_at_issuers(self) -> tuple[bool, str]:
        issuers = self.issuers()
        without = [text for well, text in issuers.values() if not well]
        return not without, "; ".join(without) or f"{len(issuers)} with keys"


def _gone(root: Root) -> bool:
    try:
        root.path()
    except FsserverError:
        return True
    return root.replaced()
