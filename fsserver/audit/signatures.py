"""What the records of a chain sign, checked: each signature is for the place before it, and by the right key.

*Trust.* Nothing in the log. Keys that the caller brings are right whatever the log says. Without them a run's own first
record names its key, and a signature that fits it proves no more than that one writer made both.

*Invariant.* If `Signatures.check` returns True, whoever had the private half of the key has signed that the record
before the given one has its number and its hash. As hashes hold the records together, that goes for all before it too;
but not for the signing record itself, nor for what comes after it, nor that anything does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fsserver.audit.chain import ChainError
from fsserver.audit.record import Record

if TYPE_CHECKING:
    from fsserver.audit.signing import PublicKey


class Signatures:
    """Checks the signatures of one chain, in its order. Loads cryptography only when there is one.

    Attributes:
        promised: id of the key that the present run's first record names; None if it names none or was not seen.
    """

    def __init__(self, trusted: Mapping[str, PublicKey]) -> None:
        """``trusted``: by id, the only keys that count; empty: each run's own."""
        self.promised: str | None = None
        self._trusted = trusted
        self._start: Record | None = None
        self._own: PublicKey | None = None

    def begin(self, start: Record) -> None:
        """A run begins with the record ``start``. Raises ChainError if it names a key, but not as one is named."""
        named = start.get("key")
        if named is not None and (type(named) is not str or type(start.get("public_key")) is not str):
            raise ChainError("names a key that is none")
        self._start, self._own, self.promised = start, None, named

    def check(self, record: Record) -> str | None:
        """The id of the key that signed, in an unsealed `record` in its place; None if there is no key to check with.

        That is so in the middle of a chain whose beginning, which names the key, was not looked at. Raises ChainError:
        the signature is missing, not for the place before the record, or not by the key that it must be by.
        """
        seq, signature = record.get("signed_seq"), record.get("signature")
        if type(signature) is not str:
            raise ChainError("is not signed, as its kind is in a run that has a key")
        if type(seq) is not int or (seq, record.get("signed_head")) != (record["seq"] - 1, record["prev"]):
            raise ChainError("carries a signature that is for another place than the record before it")
        key = self._key(record.get("key"))
        if key is None:
            return None
        if not key.signed(str(record["event"]), seq, record["prev"], signature):
            raise ChainError("carries a signature that its key did not make: whoever wrote it had no such key")
        return key.id

    def _key(self, named: object) -> PublicKey | None:
        """The key that a signature must be by. Raises ChainError if the signing record names another."""
        if self._trusted:
            if type(named) is not str or named not in self._trusted:
                raise ChainError("is signed by another key than the one expected")
            return self._trusted[named]
        if self._start is None:
            return None
        if named is None or named != self.promised:
            raise ChainError("is signed by a key that the first record of its run does not name")
        if self._own is None:
            from fsserver.audit.signing import PublicKey  # noqa: PLC0415 - few logs are signed, and it loads slowly

            try:
                self._own = PublicKey.from_text(self._start["public_key"])
            except ValueError:
                raise ChainError("is signed, but the first record of its run names a key that is none") from None
            if self._own.id != named:
                raise ChainError("is signed by a key that the first record of its run does not name")
        return self._own
