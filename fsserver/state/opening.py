"""Which kind of state a policy wants."""

from __future__ import annotations

from fsserver.policy.service import SharedRules
from fsserver.state.local import LocalState
from fsserver.state.shared import SharedState


def open_state(rules: SharedRules, replica: str) -> SharedState:
    """What replicas share, or what this process keeps alone if the policy names no Redis. To be called before the
    server confines itself: it reads the password and certificates. It does not connect.

    Args:
        replica: the name of this process among those that share, such as ``host:run``.

    Raises:
        ConfigError: a package or a file that is needed is missing, or others can read it.
    """
    if rules.redis is None:
        return LocalState(replica)
    from fsserver.state.redis import RedisState  # noqa: PLC0415 - an extra

    return RedisState(rules, replica)
