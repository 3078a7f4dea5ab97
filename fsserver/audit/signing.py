"""Keys that sign the head of a chain: Ed25519 (RFC 8032), in files as PKCS #8 and SubjectPublicKeyInfo (PEM).

*Trust.* A private key file is its owner's alone. A public key is as trusted as the way it came: one that stands in the
log itself proves only that whoever wrote the log had its private half.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fsserver.errors import ConfigError

_MAX_FILE: Final = 16 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def message(event: str, seq: int, head: str) -> bytes:
    """What is signed: that record number ``seq`` of a chain has the hash ``head``, and an ``event`` comes next.

    So a checkpoint cannot be made the end of a run. Nothing else that is signed begins like it.
    """
    return f"fsserver audit {event} v1\n{seq}\n{head}\n".encode("ascii")


class PublicKey:
    """Checks signatures. ``text``: its 32 bytes in base64, as logs carry it; ``id``: 16 hex digits that name it."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        raw = key.public_bytes_raw()
        self.text: Final = base64.b64encode(raw).decode("ascii")
        self.id: Final = hashlib.sha256(raw).hexdigest()[:16]
        self._key = key

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises ``ValueError``: not 32 bytes in base64."""
        try:
            return cls(Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError) as error:
            raise ValueError("not a public key") from error

    @classmethod
    def load(cls, path: str) -> Self:
        """Raises ConfigError: no such file, or no Ed25519 public key in it."""
        try:
            key = serialization.load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"{path} holds no Ed25519 public key, as `fsserver audit keygen` makes it.")
        return cls(key)

    def signed(self, event: str, seq: int, head: str, signature: str) -> bool:
        """Whether the signature, in base64, is this key's for that event after that place in a chain."""
        try:
            self._key.verify(base64.b64decode(signature, validate=True), message(event, seq, head))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


class Signer:
    """Signs heads. ``public``: the half that checks them."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.public: Final = PublicKey(key.public_key())
        self._key = key

    @classmethod
    def load(cls, path: str) -> Self:
        """Raises ConfigError: no such file, it can be read by others, or no Ed25519 private key is in it."""
        try:
            key = serialization.load_pem_private_key(_read(path, private=True), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None  # TypeError: it needs a password, which nobody is there to give
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path} holds no Ed25519 private key, as `fsserver audit keygen` makes it.")
        return cls(key)

    def sign(self, event: str, seq: int, head: str) -> str:
        """In base64."""
        return base64.b64encode(self._key.sign(message(event, seq, head))).decode("ascii")


def generate(private: str, public: str) -> Signer:
    """Make a key and write both halves, the private one for this user alone. Neither file may be there already.

    Raises ConfigError: one is there, or cannot be written; nothing is left then.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(private, secret, 0o600)
    try:
        _write(public, shown, 0o644)
    except BaseException:
        os.unlink(private)
        raise
    return Signer(key)


def _write(path: str, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        except BaseException:
            os.unlink(path)
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _read(path: str, *, private: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path} is not a regular file.")
            # Mounted secrets belong to root, and to a group that has nobody but the service: its right is to read.
            others = _OTHERS & ~stat.S_IRGRP if found.st_uid == 0 else _OTHERS
            if private and (found.st_uid not in (os.geteuid(), 0) or found.st_mode & others):
                raise ConfigError(
                    f"{path} must belong to this user, and nobody else may have any right to it: chmod 600. "
                    "A group may read it where it belongs to root."
                )
            if private and found.st_nlink != 1:
                raise ConfigError(f"{path} has a second name (hard link) through which it can be read.")
            return os.read(descriptor, _MAX_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
