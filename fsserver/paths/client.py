"""What a client sends as a path, taken apart before any system call. Pure but for the home directory it is given."""

from __future__ import annotations

import re
from typing import NamedTuple, NewType

from fsserver.errors import BadPath
from fsserver.kernel.constants import PATH_MAX
from fsserver.paths.names import components, undisplay, ways_up

# The untrusted name as a client wrote it.
ClientPath = NewType("ClientPath", str)

MOST_WAYS_UP = 16
"""How often a path may go up after it has gone down. Each such place is resolved and decided by itself."""

_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|$)")


class Request(NamedTuple):
    """A path that is well formed.

    Attributes:
        given: as the client wrote it, for messages.
        absolute: whether it begins at ``/`` (after ``~`` was expanded).
        expanded: whether ``~`` was expanded; messages then show ``given``, not the home directory.
        parts: its components, ``..`` included.
    """

    given: ClientPath
    absolute: bool
    expanded: bool
    parts: tuple[str, ...]


def parse(path: ClientPath, home: str) -> Request:
    """Check ``path`` and split it. Only a leading ``~`` or ``~/`` is special; ``~user``, ``$HOME``, ``%2e`` are names.
    An empty path is the first root, as ``.`` is.

    Raises:
        BadPath: NUL, lone surrogates, 4,096 bytes or more, a Windows path, or one that goes up and down too often.
    """
    if "\0" in path:
        raise BadPath("The path holds a NUL character.")
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise BadPath("The path is not valid Unicode: it holds half of a surrogate pair.") from None
    if length >= PATH_MAX:
        raise BadPath(f"ENAMETOOLONG: name too long: the path has {length} bytes, {PATH_MAX - 1} are possible.")
    if path[1:2] == ":" and _WINDOWS.match(path):
        raise BadPath(f"Access denied - Windows-style path received on a POSIX host: {path}")
    expanded = path == "~" or path.startswith("~/")
    text = home + path[1:] if expanded else path
    parts = components(undisplay(text))
    if ".." in parts and len(ways_up(parts)) > MOST_WAYS_UP:
        raise BadPath(
            f"The path goes up and down more than {MOST_WAYS_UP} times.", allowed_instead="the path without it"
        )
    return Request(given=path, absolute=text.startswith("/"), expanded=expanded, parts=parts)
