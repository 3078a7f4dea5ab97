"""The operating system's outcomes as errors for clients. The only place where an `OSError` becomes a message.

The texts are node's, as the reference server sends them: ``CODE: description, call 'path'``. They are built from this
table; the text inside an `OSError` may hold names that a client must not see and is never used.
"""

from __future__ import annotations

import errno

from fsserver.errors import (
    AlreadyExists,
    BadPath,
    CrossDevice,
    DirectoryNotEmpty,
    FsserverError,
    InputOutputError,
    IsADirectory,
    LinkLoop,
    NoSpace,
    NotADirectory,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
)
from fsserver.paths.names import display

_TABLE: dict[int, tuple[type[FsserverError], str, str]] = {
    errno.ENOENT: (NotFound, "ENOENT", "no such file or directory"),
    errno.ENOTDIR: (NotADirectory, "ENOTDIR", "not a directory"),
    errno.EISDIR: (IsADirectory, "EISDIR", "illegal operation on a directory"),
    errno.EACCES: (PermissionDenied, "EACCES", "permission denied"),
    errno.EPERM: (PermissionDenied, "EPERM", "operation not permitted"),
    errno.EROFS: (PermissionDenied, "EROFS", "read-only file system"),
    errno.ETXTBSY: (PermissionDenied, "ETXTBSY", "text file is busy"),
    errno.EEXIST: (AlreadyExists, "EEXIST", "file already exists"),
    errno.ENOTEMPTY: (DirectoryNotEmpty, "ENOTEMPTY", "directory not empty"),
    errno.ELOOP: (LinkLoop, "ELOOP", "too many symbolic links encountered"),
    errno.ENAMETOOLONG: (BadPath, "ENAMETOOLONG", "name too long"),
    errno.EINVAL: (BadPath, "EINVAL", "invalid argument"),
    errno.EILSEQ: (BadPath, "EILSEQ", "illegal byte sequence"),
    errno.ENOSPC: (NoSpace, "ENOSPC", "no space left on device"),
    errno.EDQUOT: (QuotaExceeded, "EDQUOT", "disk quota exceeded"),
    errno.EFBIG: (NoSpace, "EFBIG", "file too large"),
    errno.EXDEV: (CrossDevice, "EXDEV", "cross-device link not permitted"),
    errno.EMFILE: (InputOutputError, "EMFILE", "too many open files"),
    errno.ENFILE: (InputOutputError, "ENFILE", "file table overflow"),
    errno.ENOMEM: (InputOutputError, "ENOMEM", "not enough memory"),
    errno.EBUSY: (InputOutputError, "EBUSY", "resource busy or locked"),
    errno.EAGAIN: (InputOutputError, "EAGAIN", "resource temporarily unavailable"),
    errno.ESTALE: (InputOutputError, "ESTALE", "stale file handle"),
}
_OTHERWISE = (InputOutputError, "EIO", "i/o error")


def outcome(error: OSError, call: str, shown: str, second: str | None = None) -> FsserverError:
    """The error to raise for ``error``.

    Args:
        call: what node would have called: open, scandir, mkdir, rename …
        shown: the path that the client meant, inside a root.
        second: a rename's destination.
    """
    kind, code, description = _TABLE.get(error.errno or 0, _OTHERWISE)
    text = f"{code}: {description}, {call} '{display(shown)}'"
    if second is not None:
        text += f" -> '{display(second)}'"
    return kind(text)


def is_a_directory() -> IsADirectory:
    """What reading a directory gives; node names no path there."""
    return IsADirectory(
        "EISDIR: illegal operation on a directory, read", allowed_instead="list_directory says what is in it"
    )
