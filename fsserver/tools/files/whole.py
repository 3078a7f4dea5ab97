"""Reading a file whole, with the proof that it is still the version that a client or a plan was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from pydantic import Field

from fsserver.errors import StaleWrite
from fsserver.paths.names import display
from fsserver.paths.reading import Identity, read_all
from fsserver.paths.target import Target
from fsserver.tools.call import Call

MAX_WHOLE_BYTES: Final = 256 * 1024**2  # held to compare or to append, where the root's max_file is not less

# One edit of 29 MiB with a character beyond the Basic Multilingual Plane takes 300 MiB, to append to 256 MiB takes half
# a gigabyte or more, and 16 calls may run at once.
LARGE_BYTES: Final = 4 * 1024**2
TURN_LOOK_S: Final = 0.05  # how often one that waits for its turn looks whether it was cancelled

Sha256 = Annotated[
    str, Field(pattern="^[0-9a-fA-F]{64}$", description="Refuse unless the file still has this SHA-256.")
]


def read_version(
    target: Target, expected_sha256: str | None, max_bytes: int = MAX_WHOLE_BYTES
) -> tuple[bytes, Identity]:
    """The contents and the identity of what was read, to hand to `write_file`.

    Raises:
        StaleWrite: the contents are not those of ``expected_sha256``.
        FileTooLarge and whatever `read_all` raises.
    """
    data, status = read_all(target, max_bytes)
    if expected_sha256 is not None:
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected_sha256.lower():
            raise StaleWrite(
                f"The file was changed since it was read; nothing was written: {display(target.shown)}\n"
                f"sha256: {actual}",
                allowed_instead="read it again and repeat the change",
            )
    return data, Identity.of(status)


@contextmanager
def large_turn(size: float, call: Call[Any]) -> Iterator[None]:
    """Work on so many bytes, if they are many, waits here until few such are under way. Raises what
    `Control.checkpoint` raises.
    """
    if size <= LARGE_BYTES:
        yield
        return
    while not call.large_turns.acquire(timeout=TURN_LOOK_S):
        call.control.checkpoint()
    try:
        yield
    finally:
        call.large_turns.release()


def require_existing(target: Target, expected_sha256: str | None) -> None:
    """Raises `StaleWrite` if a version is expected where there is no file."""
    if expected_sha256 is not None and not target.exists:
        raise StaleWrite(
            f"There is no file any more: {display(target.shown)}", allowed_instead="leave expectedSha256 out"
        )
