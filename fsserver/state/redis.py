"""What replicas share, in Redis or Valkey.

While it cannot be reached, a call that needs it is refused, or counts in this process alone: as the policy says. Which
answers were used is not known then, so none is taken, whatever the policy says.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from fsserver.errors import ConfigError, SharedStateError
from fsserver.policy.service import Rate, SharedRules, WithoutState
from fsserver.state.local import LocalState
from fsserver.state.secret import read_secret
from fsserver.state.shared import Health, Held, digest
from fsserver.trust import client_context

if TYPE_CHECKING:
    import redis

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX: Final = "fsserver"
TIMEOUT_S: Final = 0.5  # of a connection, and of an answer
PAUSE_S: Final = 1.0
"""After a failure nobody tries for so long, and then one call does."""

MAX_CONNECTIONS: Final = 288
"""More than there can be who ask at once: ``limits.calls.concurrency`` is 256 at most, and a readiness check and what
announces processes ask besides. One that the pool refuses would pass for a server that is gone.
"""
_ANY_AMOUNT: Final = 2**53
"""What was used is counted, however much it is: the script counts nothing beyond the amount that it is given. Lua's
numbers are exact up to here."""

MISSING: Final = "state.redis needs the package redis, which is not installed: install fsserver[redis]."


class RedisState:
    """A `fsserver.state.shared.SharedState` in one database of one server. Reads files when it is made, and none later;
    connects when it is first asked.

    Args:
        rules: ``redis`` is not None.

    Raises:
        ConfigError: the package is missing, the URL is none, or a file cannot be read.
    """

    shared: Final = True

    def __init__(self, rules: SharedRules, replica: str) -> None:
        try:
            import redis  # noqa: PLC0415 - an extra
            from limits.storage import RedisStorage  # noqa: PLC0415 - takes a tenth of a second
        except ImportError as missing:
            raise ConfigError(MISSING) from missing
        self.replica: Final = replica
        self._refuses = rules.on_failure is WithoutState.REFUSE
        self._failures = (redis.RedisError, OSError)
        pool = redis.ConnectionPool(**_connection(rules))
        self._redis: redis.Redis = redis.Redis(connection_pool=pool)
        self._storage = RedisStorage("redis://", connection_pool=pool, key_prefix=f"{PREFIX}:rate")
        self._alone = LocalState(replica)
        self._mutex = threading.Lock()  # over the next two
        self._down: str | None = None  # why it cannot be reached
        self._next_try = 0.0  # the second of `time.monotonic`

    def spend(self, key: str, ttl_s: float) -> bool:
        name = f"{PREFIX}:spent:{digest(key)}"
        return bool(self._ask(lambda: self._redis.set(name, b"", nx=True, px=max(1, round(ttl_s * 1000)))))

    def take(self, key: str, rate: Rate) -> float:
        name = f"{key}:{rate.per_s}"

        def take() -> float:
            if self._storage.acquire_entry(name, rate.amount, rate.per_s):
                return 0.0
            oldest, _ = self._storage.get_moving_window(name, rate.amount, rate.per_s)
            return max(0.001, oldest + rate.per_s - time.time())

        return self._counted(take, lambda: self._alone.take(key, rate))

    def used_up(self, key: str, rate: Rate) -> float:
        def used_up() -> float:
            return _until_some(rate, *self._storage.get_sliding_window(f"{key}:{rate.per_s}", rate.per_s))

        return self._counted(used_up, lambda: self._alone.used_up(key, rate))

    def use(self, key: str, rate: Rate, amount: int) -> None:
        def use() -> None:
            if amount:
                self._storage.acquire_sliding_window_entry(f"{key}:{rate.per_s}", _ANY_AMOUNT, rate.per_s, amount)

        self._counted(use, lambda: self._alone.use(key, rate, amount))

    def announce(self, processes: Iterable[Held], ttl_s: float) -> None:
        def announce() -> None:
            with self._redis.pipeline(transaction=False) as many:
                for process in processes:
                    many.set(_place(process), self.replica, px=round(ttl_s * 1000))
                many.execute()

        self._counted(announce, lambda: None)

    def find(self, process: Held) -> str | None:
        def find() -> str | None:
            found = self._redis.get(_place(process))
            return found.decode("utf-8", "replace") if isinstance(found, bytes) else None

        return self._counted(find, lambda: None)

    def forget(self, processes: Iterable[Held]) -> None:
        names = [_place(process) for process in processes]
        if names:
            self._counted(lambda: self._redis.delete(*names), lambda: None)

    def status(self) -> Health:
        """Writes, as a call does: one that is read-only or full answers a ping."""
        try:
            self._ask(lambda: self._redis.set(f"{PREFIX}:check", b"", px=1000))
        except SharedStateError:
            with self._mutex:
                why = self._down
            then = "calls that need it are refused" if self._refuses else "this process counts alone"
            return Health(ok=not self._refuses, text=f"Redis cannot be reached ({why}); {then}")
        return Health(ok=True, text="limits are counted in Redis")

    def close(self) -> None:
        self._redis.connection_pool.disconnect()

    def _counted(self, ask: Callable[[], T], alone: Callable[[], T]) -> T:
        """What Redis says, or this process alone while it cannot be reached and the policy allows that."""
        try:
            return self._ask(ask)
        except SharedStateError:
            if self._refuses:
                raise
            return alone()

    def _ask(self, ask: Callable[[], T]) -> T:
        with self._mutex:
            if self._down is not None:
                now = time.monotonic()
                if now < self._next_try:
                    raise _unreachable()
                self._next_try = now + PAUSE_S  # this call tries, and the others do not wait for it
        try:
            answer = ask()
        except self._failures as error:
            # After a failover they may lead to the server that was, which goes on answering that it takes nothing.
            self._redis.connection_pool.disconnect(inuse_connections=False)
            self._failed(error)
            raise _unreachable() from None
        if self._down is not None:
            self._back()
        return answer

    def _failed(self, error: Exception) -> None:
        with self._mutex:
            told, self._down = self._down is not None, type(error).__name__
            self._next_try = time.monotonic() + PAUSE_S
        if not told:
            then = "calls that need it are refused" if self._refuses else "limits are counted in this process alone"
            _LOG.error("Redis cannot be reached: %s", error)
            _LOG.error("Until it is back %s, and answers of persons are not taken.", then)

    def _back(self) -> None:
        with self._mutex:
            told, self._down = self._down is not None, None
        if told:
            _LOG.warning("Redis is back, and used again.")


def _connection(rules: SharedRules) -> dict[str, Any]:
    """How to connect. Of the URL nothing is taken but what is named here: no option in it weakens another.

    Raises ConfigError.
    """
    from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    from redis.connection import Connection  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    try:
        url = urlsplit(str(rules.redis))
        port, database = url.port or 6379, int(url.path.strip("/") or 0)
    except ValueError as error:
        raise ConfigError(f"state.redis: {rules.redis} is no URL such as redis://10.0.0.7:6379/0.") from error
    if url.scheme not in ("redis", "rediss") or not url.hostname or url.password is not None:
        raise ConfigError("state.redis must be a redis:// or rediss:// URL with a host and without a password.")
    return {
        "connection_class": _tls_class(_trusting(rules.ca)) if url.scheme == "rediss" else Connection,
        "max_connections": MAX_CONNECTIONS,
        "host": url.hostname,
        "port": port,
        "db": database,
        "username": unquote(url.username) if url.username else None,
        "password": None if rules.password is None else read_secret(rules.password),
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),  # what timed out may have been counted
        "protocol": 2,
    }


def _tls_class(context: ssl.SSLContext) -> type[redis.Connection]:
    """Connections with this context. The package's own makes one for each connection, from files that a confined server
    cannot read, and trusts the system's certificates besides those it is given.
    """
    from redis.connection import SSLConnection  # noqa: PLC0415 - an extra

    class TlsConnection(SSLConnection):
        def _wrap_socket_with_ssl(self, sock: Any) -> ssl.SSLSocket:
            return context.wrap_socket(sock, server_hostname=self.host)

    return TlsConnection


def _trusting(ca: str | None) -> ssl.SSLContext:
    """Trusts who signed in that file, or the system's; both are read now.

    Raises ConfigError: the file cannot be read, or holds no certificate.
    """
    try:
        return client_context(ca)
    except (OSError, ValueError) as error:
        shown = "the certificates of this machine" if ca is None else f"state.ca: {ca}"
        raise ConfigError(f"{shown} cannot be read as certificates in PEM.") from error


def _place(process: Held) -> str:
    return f"{PREFIX}:process:{digest(process.handle, *process.owner)}"


def _until_some(rate: Rate, before: int, before_s: float, now: int, now_s: float) -> float:
    """Seconds until less than the rate's amount counts of two windows in a row, the earlier in the part that is left.

    Args:
        before, now: what was used in each.
        before_s: for how long the earlier one still counts.
        now_s: for how long the present one does, so a window longer than it lasts.
    """
    if before * before_s / rate.per_s + now < rate.amount:
        return 0.0
    if now < rate.amount:  # the earlier one becomes less
        return max(0.001, before_s - (rate.amount - now) * rate.per_s / before)
    return max(0.001, now_s - rate.per_s * rate.amount / now)


def _unreachable() -> SharedStateError:
    return SharedStateError(
        "What the replicas of this server share cannot be reached, and the policy says to refuse what needs it.",
        allowed_instead="the same call in a few seconds",
    )
