"""The places of one log while it runs: what each is called, its chain, and what it lacks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fsserver.audit.record import Json
from fsserver.audit.writer import ChainLog, Settings
from fsserver.errors import AuditError, ConfigError, FsserverError
from fsserver.policy.compiled import AuditSink
from fsserver.policy.service import NetworkSink

if TYPE_CHECKING:
    from fsserver.audit.remote import RemoteChain

_LOG = logging.getLogger(__name__)


class SinkStatus(NamedTuple):
    """Of one place: whether it takes records now, as far as is known, and in ``text`` why not."""

    name: str
    required: bool
    ok: bool
    text: str


class SinkLag(NamedTuple):
    """How far one place is behind.

    Attributes:
        queued: records that are not handed over; oldest_s: for how long the first of them is not, 0.0 without any. What
            goes into a file is never queued.
        missed: records that are not in it and will never be.
    """

    name: str
    queued: int
    oldest_s: float
    missed: int


@dataclass(slots=True)
class Sink:
    """One place and its chain, which is None where an optional sink could not be opened.

    Attributes:
        missed: how many records it did not take when they were written; fails: the last one is not.
        signed_s: when its head was signed last, by the monotonic clock.
    """

    place: str
    required: bool
    chain: ChainLog | RemoteChain | None
    missed: int = 0
    signed_s: float = field(default_factory=time.monotonic)
    fails: bool = False

    @classmethod
    def open(cls, sink: AuditSink, settings: Settings, header: Mapping[str, Json]) -> Sink:
        """Raises what `ChainLog.open` does, for a required sink."""
        place = sink.file or str(sink.directory)
        try:
            return cls(place, sink.required, ChainLog.open(sink, settings, header))
        except FsserverError as error:
            if sink.required:
                raise
            _LOG.warning("This run has no audit records in %s: %s", place, error.message)
            return cls(place, required=False, chain=None)

    @classmethod
    def connect(cls, sink: NetworkSink, settings: Settings, header: Mapping[str, Json]) -> Sink:
        """Raises ConfigError, for a required sink."""
        from fsserver.audit.network import open_network, place  # noqa: PLC0415 - TLS, only where it is needed

        try:
            return cls(place(sink), sink.required, open_network(sink, settings, header))
        except ConfigError as error:
            if sink.required:
                raise
            _LOG.warning("This run has no audit records in %s: %s", place(sink), error.message)
            return cls(place(sink), required=False, chain=None)

    @classmethod
    def stderr(cls, settings: Settings, header: Mapping[str, Json]) -> Sink:
        from fsserver.audit.network import open_stderr  # noqa: PLC0415 - as above

        chain = open_stderr(settings, header)
        return cls(chain.place, required=False, chain=chain)

    def miss(self, error: AuditError) -> None:
        """A record was not taken. It is said once, until one is taken again."""
        self.missed += 1
        if not self.fails and self._speaks:
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) else error.message  # clients hear only that it failed
            _LOG.warning("The audit log %s takes no records: %s", self.place, why)
        self.fails = True

    def take(self) -> None:
        """A record was taken after others were not."""
        if self._speaks:
            _LOG.warning("The audit log %s takes records again; it missed %d.", self.place, self.missed)
        self.fails = False

    @property
    def lag(self) -> SinkLag:
        if isinstance(self.chain, ChainLog | None):
            return SinkLag(self.place, 0, 0.0, self.missed)
        return SinkLag(self.place, self.chain.queued, self.chain.lag_s, self.lacks)

    @property
    def lacks(self) -> int:
        """How many records are not in it and will never be."""
        return self.missed + (0 if isinstance(self.chain, ChainLog | None) else self.chain.lost)

    @property
    def _speaks(self) -> bool:
        """Whether there is something to say here: a required place over the network says why itself."""
        return not self.required or isinstance(self.chain, ChainLog)

    @property
    def status(self) -> SinkStatus:
        if self.chain is None:
            return SinkStatus(
                self.place, self.required, ok=False, text="it could not be opened when the server started"
            )
        trouble = self.chain.trouble
        return SinkStatus(self.place, self.required, not trouble, trouble or "it takes records")

    def sign(self, chain: ChainLog | RemoteChain) -> None:
        """A checkpoint. What fails is noted and told by the next record; those before are in the log all the same."""
        with suppress(AuditError):
            chain.checkpoint()
            self.signed_s = time.monotonic()


def require_distinct(sinks: Sequence[NetworkSink]) -> None:
    """Two chains of one run in one place could not be told apart there. Raises ConfigError."""
    places = [(sink.protocol, sink.host, sink.port if sink.host else 0, sink.url) for sink in sinks]
    if len(set(places)) < len(places):
        raise ConfigError("The policy's `audit: {sinks: …}` names the same place on the network twice.")
