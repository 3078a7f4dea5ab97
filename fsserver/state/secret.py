"""Files that hold one secret, read once, before the server confines itself."""

from __future__ import annotations

import hmac
import os
import re
import stat
from typing import Final

from fsserver.errors import ConfigError

MAX_FILE: Final = 64 * 1024
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def read_key(path: str) -> bytes:
    """The 32 bytes that a file holds as 64 hex digits.

    Raises ConfigError: it holds something else; or as `read_secret`.
    """
    text = read_secret(path)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ConfigError(f"{path} must hold a key as 64 hex digits, such as `openssl rand -hex 32` prints.")
    return bytes.fromhex(text)


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose: what was made for one is of no use for another. HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(key, f"fsserver {purpose} v1".encode("ascii"), "sha256")


def read_secret(path: str) -> str:
    """The text of a file, without white space around it.

    Raises ConfigError: no such file, it is empty or no text, or others than this user and root have a right to it. A
    group may read what belongs to root, since mounted secrets come so.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _require_private(path, os.fstat(descriptor))
            content = os.read(descriptor, MAX_FILE)
        finally:
            os.close(descriptor)
        text = content.decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text.") from error
    if not text:
        raise ConfigError(f"{path} is empty.")
    return text


def _require_private(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a regular file.")
    others = _OTHERS if found.st_uid == 0 else _OTHERS | stat.S_IRGRP
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & others:
        raise ConfigError(
            f"{path} must belong to this user, and nobody else may have any right to it: chmod 600. "
            "A group may read it where it belongs to root."
        )
