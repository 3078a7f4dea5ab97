"""What the command tools share: the commands of the policy, who runs them, and what runs in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsserver.policy.compiled import Network, Policy
from fsserver.sandbox.runner import Runner
from fsserver.state.shared import SharedState
from fsserver.tools.commands.processes import Processes


class CommandHost:
    """One for each server. Thread-safe.

    Attributes:
        policy: as the principal has it, so a profile's if one is served.
        notices: what changed on disk since the policy was loaded, each a sentence.
    """

    def __init__(
        self,
        policy: Policy,
        runner: Runner | None,
        notices: Callable[[], Sequence[str]] = tuple,
        state: SharedState | None = None,
    ) -> None:
        """Args:
        runner: None if this server was started without one.
        state: what replicas share, if there are any.
        """
        self.policy = policy
        self.commands = policy.commands
        self.background = tuple(command for command in policy.commands.values() if command.background)
        self.networked = any(command.network is Network.FULL for command in policy.commands.values())
        self.notices = notices
        self.processes = Processes(policy.limits.background, state)
        self._runner = runner

    @property
    def runner(self) -> Runner:
        """Only for tools that are available."""
        assert self._runner is not None
        return self._runner

    def layer(self) -> tuple[str, Sequence[str]] | None:
        """How commands are confined, and what that does not stop; None if they cannot be run."""
        return None if self.no_commands() is not None else (self.runner.layer, self.runner.gaps)

    def no_commands(self) -> str | None:
        """Why no command can be run; None if they can."""
        if not self.commands:
            return "the policy grants no command"
        if self._runner is None:
            return "this server was started without what runs commands"
        return self._runner.unavailable

    def no_background(self) -> str | None:
        """Why nothing can be started in the background; None if it can."""
        if self.commands and not self.background:
            return "no command of the policy has background: true"
        return self.no_commands()

    def close(self) -> None:
        """End everything that runs in the background, and start nothing there any more."""
        self.processes.close()
