"""The file of static tokens: one line each, ``NAME HASH [EXPIRES]``. Who has the file has no token.

A token is ``fss_`` and 256 random bits. Of it only SHA-256 is kept. A slow hash such as scrypt is for passwords, which
can be guessed; nobody guesses 256 random bits, and a hash that is computed for each request has to be fast.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fsserver.errors import ConfigError

PREFIX: Final = "fss_"
MAX_FILE: Final = 1024 * 1024
MODE: Final = 0o600

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_RESERVED: Final = "anonymous"
_TOO_OPEN: Final = stat.S_IWGRP | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One line.

    Attributes:
        digest: SHA-256 of the token's text, 64 hex digits.
        expires: seconds since the epoch; None: never.
    """

    name: str
    digest: str
    expires: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.digest}" + (f" {written_time(self.expires)}" if self.expires is not None else "")

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def written_time(seconds: float) -> str:
    """``2030-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def check_name(name: str) -> None:
    """Raises ConfigError. A name may become the name of a directory."""
    if not _NAME.fullmatch(name) or name == _RESERVED:
        raise ConfigError(
            f"{name!r} is no name for a token: it has 1 to 64 letters, digits, _ and -, and is not {_RESERVED}."
        )


def read_tokens(path: str, *, foreign: bool = False) -> list[StoredToken]:
    """All of them, in the file's order.

    A group may read it, as where Kubernetes mounts a secret: what is in it lets nobody in.

    Args:
        foreign: it may be another user's, as where root looks at what a server of another user reads.

    Raises:
        ConfigError: no such file, others may write or any user may read it, or it is not written as it should be.
    """
    return parse_tokens(_read(path, foreign=foreign), path)


def parse_tokens(text: str, path: str) -> list[StoredToken]:
    """Raises ConfigError with the line's number, never with its text."""
    found: list[StoredToken] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _is_token(line):
            try:
                found.append(_parse_line(line.split()))
            except ValueError:
                raise ConfigError(
                    f"{path}:{number}: expected NAME HASH [EXPIRES], as `fsserver token new` writes it."
                ) from None
            if len({token.name for token in found}) < len(found) or len({token.digest for token in found}) < len(found):
                raise ConfigError(f"{path}:{number}: the name, or the token, is in another line too.")
    return found


def _is_token(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parse_line(fields: list[str]) -> StoredToken:
    name, digest, *rest = fields
    if len(rest) > 1 or not _HASH.fullmatch(digest) or not _NAME.fullmatch(name) or name == _RESERVED:
        raise ValueError
    expires = datetime.strptime(rest[0], _TIME).replace(tzinfo=UTC).timestamp() if rest else None
    return StoredToken(name, digest, expires)


# --- Changes, by the command line.


def add_token(path: str, name: str, lifetime_s: float | None) -> tuple[str, StoredToken]:
    """Make a token, add its line, and return its text, which is nowhere else.

    Raises:
        ConfigError: the name is there already or no name, or the file cannot be read or written.
    """
    check_name(name)
    token = PREFIX + secrets.token_urlsafe(32)
    expires = None if lifetime_s is None else float(int(time.time() + lifetime_s))
    stored = StoredToken(name, digest_of(token), expires)

    def add(text: str) -> str:
        if any(known.name == name for known in parse_tokens(text, path)):
            raise ConfigError(f"{path} has a token {name} already; revoke it, or take another name.")
        return text + ("\n" if text and not text.endswith("\n") else "") + f"{stored}\n"

    _change(path, add, create=True)
    return token, stored


def remove_token(path: str, name: str) -> None:
    """Raises ConfigError: there is no such name, or the file cannot be read or written."""

    def remove(text: str) -> str:
        if all(known.name != name for known in parse_tokens(text, path)):
            raise ConfigError(f"{path} has no token {name}.")
        return "".join(
            line for line in text.splitlines(keepends=True) if not (_is_token(line) and line.split()[0] == name)
        )

    _change(path, remove, create=False)


def _change(path: str, change: Callable[[str], str], *, create: bool) -> None:
    """Replace the file by what ``change`` makes of it. Others who do so wait; who reads sees it before or after."""
    path = os.path.realpath(path)  # what is replaced is the file, not a link to it
    directory = os.path.dirname(path)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            new = create and not os.path.lexists(path)
            _replace(path, change("" if new else _read(path, foreign=True)), like=None if new else os.stat(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _replace(path: str, text: str, like: os.stat_result | None) -> None:
    """With the owner and the mode of what was there: the server may run as another user than who makes a token."""
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            if like is not None:
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _read(path: str, *, foreign: bool) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _check(path, os.fstat(descriptor), foreign=foreign)
            content = os.read(descriptor, MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_FILE or not content.isascii():
        raise ConfigError(f"{path} is no file of tokens.")
    return content.decode("ascii")


def _check(path: str, found: os.stat_result, *, foreign: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a regular file.")
    if not (foreign or found.st_uid in (os.geteuid(), 0)) or found.st_mode & _TOO_OPEN:
        raise ConfigError(
            f"{path} must belong to this user or to root, and nobody else may write to it, nor everybody read it: "
            "chmod 600."
        )
