"""The audit log of a running server: records go in at one end and never change.

One `AuditLog` writes each record to every sink of the policy, each of which has a chain of its own: a `ChainLog` in
files, a `RemoteChain` elsewhere. A record that a required sink does not take refuses the call; what an optional one
misses is counted and said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from os.path import dirname
from typing import TYPE_CHECKING, Final

from fsserver.audit.checkpoints import CheckpointTimer
from fsserver.audit.entry import Entry, UnfitRecordError
from fsserver.audit.record import RUN_START, Json, Shown
from fsserver.audit.redaction import Redactor
from fsserver.audit.retention import Keep
from fsserver.audit.sinks import Sink, SinkLag, SinkStatus, require_distinct
from fsserver.audit.stamp import Stamp
from fsserver.audit.writer import ChainLog, Settings, Written
from fsserver.errors import AuditError
from fsserver.policy.compiled import AuditRules, Durability

if TYPE_CHECKING:
    from fsserver.audit.carrier import Sent
    from fsserver.audit.signing import Signer

_LOG = logging.getLogger(__name__)


class AuditLog:
    """Appends records to every sink. Thread-safe.

    Attributes:
        path: the first file of the first sink's chain, absolute: what `verify` is given.
    """

    def __init__(self, sinks: Sequence[Sink], rules: AuditRules, signer: Signer | None, redactor: Redactor) -> None:
        """For `open` only."""
        first = sinks[0].chain
        assert isinstance(first, ChainLog)
        self.path: Final = first.path
        self._first = first
        self._sinks = sinks
        self._waits_for_others = not all(isinstance(sink.chain, ChainLog) for sink in sinks)
        self._redactor = redactor
        self._rules = rules
        self._waits = rules.durability is Durability.EFFECT
        self._mutex = threading.Lock()
        self._timer = None if signer is None else CheckpointTimer(self._sign_what_is_due, rules.checkpoint_s)
        self._closed = False

    @classmethod
    def open(
        cls,
        rules: AuditRules,
        *,
        run_id: str,
        header: Mapping[str, Json],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> AuditLog:
        """The log that `rules` describe, ready, with its ``run.start`` record written to every sink.

        The key and certificates are read now and never again, so that the server can then give up its right to. What
        is reached over the network is so from the first `append` on, which waits for the required ones: until then
        nothing is looked up, connected, or done by a thread.

        Raises:
            ConfigError: a place is unsuitable: not ours, writable by others, a link, not a regular file; or the key.
            AuditLocked: another server writes the file.
            AuditBroken: the file's last record does not verify, or a file that the log names is not there; the log is
                left as it is.
            AuditError: the system refuses to open or write it. An optional sink raises nothing: the run goes without.
        """
        signer = None
        start: dict[str, Json] = {**header, "durability": rules.durability.value}
        if rules.key is not None:
            from fsserver.audit.signing import Signer  # noqa: PLC0415 - a large library, only where a key is

            signer = Signer.load(rules.key)
            start |= {"key": signer.public.id, "public_key": signer.public.text}
        redactor = Redactor(rules.redact)
        start = redactor.fields(RUN_START, start)
        settings = Settings(
            run_id=run_id,
            stamp=Stamp(clock_ns),
            max_size=rules.max_size,
            on_disk=rules.durability is Durability.EFFECT,
            keep=Keep(rules.keep_s, rules.keep_bytes),
            signer=signer,
        )
        sinks: list[Sink] = []
        try:
            for sink in rules.sinks:
                sinks.append(Sink.open(sink, settings, start))  # noqa: PERF401 - those that are open have to be closed
            require_distinct(rules.network)
            for network in rules.network:
                sinks.append(Sink.connect(network, settings, start))  # noqa: PERF401 - as above
            if rules.stderr:
                sinks.append(Sink.stderr(settings, start))
        except BaseException:
            for opened in sinks:
                if opened.chain is not None:
                    with suppress(AuditError):
                        opened.chain.end({})
            raise
        return cls(sinks, rules, signer, redactor)

    @property
    def head(self) -> str:
        """The hash of the first sink's last record. Kept elsewhere, it proves later that nothing up to it was cut or
        rewritten.
        """
        return self._first.position.head

    @property
    def directories(self) -> tuple[str, ...]:
        """Where this run writes, absolute; they may be links or hold some."""
        chains = (sink.chain for sink in self._sinks if isinstance(sink.chain, ChainLog))
        return tuple(dict.fromkeys(dirname(chain.path) for chain in chains))

    @property
    def ready(self) -> bool:
        """Whether every required sink took the last record that it was given, and put it on the disk if it had to."""
        return not any(sink.required and sink.chain is not None and sink.chain.failed for sink in self._sinks)

    def status(self) -> list[SinkStatus]:
        """What every sink is up to, in the order of the policy."""
        return [sink.status for sink in self._sinks]

    def lags(self) -> list[SinkLag]:
        """How far every sink is behind, in the order of the policy."""
        return [sink.lag for sink in self._sinks]

    def append(self, event: str, fields: Mapping[str, Json | Shown], *, durable: bool = False) -> int:
        """Write one record; its number in the first sink. When it returns, the record is in every required sink, whole,
        and each that is reached over the network has taken it.

        Args:
            durable: where the policy says ``durability: effect``, return only when the record is on the disk there,
                and so every record before it. Many that wait share one call of the system.

        Raises:
            AuditError: not. Nothing of the record is in the sink that failed, or the rest is removed before the next
                record; or it is there, and may not be on the disk or not have been taken in time. Each `append` tries
                again, and a ``log.healed`` record tells that it had failed. Fields that cannot be a record (floats,
                more than 4 MiB) do no harm.
        """
        entry = Entry(event, fields)
        if self._redactor.suspects(entry.searched):
            entry = entry.hidden(self._redactor)
        with self._mutex:
            if self._closed:
                raise AuditError("The audit log is closed, so the call was refused.")
            written = self._write(entry)
            if self._timer is not None:
                self._timer.begin()
                self._sign_what_is_long()
        if durable and self._waits:
            self._put_on_disk(written)
        if self._waits_for_others:
            for _, place in written:
                if not isinstance(place, Written):
                    place.wait()
        return written[0][1].seq

    def close(self) -> None:
        """Write ``run.end``, put all on the disk, let go of the files. Raises AuditError if a required sink fails."""
        if self._timer is not None:
            self._timer.end()
        failure: AuditError | None = None
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            for sink in sorted(self._sinks, key=lambda sink: sink.required):  # what one misses is told by the others
                try:
                    self._end(sink)
                except AuditError as error:
                    failure = error if sink.required else failure
        if failure is not None:
            raise failure

    # --- Everything below is called with the mutex held, but `_put_on_disk` and `_sign_what_is_due`.

    def _write(self, entry: Entry) -> list[tuple[Sink, Written | Sent]]:
        """Write to every sink that takes it, the first one first: the more of them have a record, the better.

        Raises AuditError if a required one does not.
        """
        failure: AuditError | None = None
        written: list[tuple[Sink, Written | Sent]] = []
        for sink in self._sinks:
            if sink.chain is None:
                sink.missed += 1
                continue
            try:
                place = sink.chain.put(entry)
            except UnfitRecordError:
                raise  # the first sink refused it, and all others would
            except AuditError as error:
                sink.miss(error)
                failure = failure or (error if sink.required else None)
                continue
            if sink.fails:
                sink.take()
            if sink.required:
                written.append((sink, place))
        if failure is not None:
            raise failure
        return written

    def _put_on_disk(self, written: Sequence[tuple[Sink, Written | Sent]]) -> None:
        """Raises AuditError if one of the records may not outlive a power failure."""
        for sink, place in written:
            if not isinstance(place, Written):
                continue
            try:
                place.wait()
            except OSError as error:
                with self._mutex:
                    assert isinstance(sink.chain, ChainLog)
                    sink.chain.lost(error)
                raise AuditError(
                    "The audit log cannot be put on the disk, so the call was refused. It goes on in a new file."
                ) from error

    def _sign_what_is_long(self) -> None:
        for sink in self._sinks:
            if sink.chain is not None and sink.chain.unsigned >= self._rules.checkpoint_records:
                sink.sign(sink.chain)

    def _sign_what_is_due(self) -> float:
        """Called by the timer: the seconds until it is worth looking again."""
        waits = [self._rules.checkpoint_s]
        with self._mutex:
            for sink in () if self._closed else self._sinks:
                left_s = sink.signed_s + self._rules.checkpoint_s - time.monotonic()
                if left_s > 0:
                    waits.append(left_s)
                elif sink.chain is not None and sink.chain.unsigned:
                    sink.sign(sink.chain)
        return min(waits)

    def _end(self, sink: Sink) -> None:
        if sink.chain is None:
            return
        missed = {each.place: each.lacks for each in self._sinks if each.lacks and not each.required}
        try:
            sink.chain.end({"missed": missed} if missed else {})
        except AuditError as error:
            sink.missed += sink.chain.queued or 1
            _LOG.warning("The audit log %s has no end: %s", sink.place, error.message)
            raise
