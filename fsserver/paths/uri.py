"""Files as ``file://`` URIs (RFC 8089) and back. Pure.

Everything in a URI is hostile. What its escapes spell is a name of bytes, so names that are not UTF-8 have URIs too.
What a URI may spell and a name cannot hold, or what another reader of URIs would resolve first, is refused here, so
that a path means the same to whoever reads it.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from fsserver.errors import BadPath
from fsserver.kernel.constants import PATH_MAX

MAX_CHARACTERS: Final = 4 * PATH_MAX
"""Of a URI, and of a path with escapes. Taking escapes apart costs up to 180 bytes and half a microsecond for each."""

# What node's pathToFileURL leaves as it is, besides letters and digits.
_PLAIN: Final = "!$&'()*+,-./:;=@_"

# A path that begins with two slashes is none where no authority comes before it: the second begins one.
_LOCAL: Final = re.compile(r"file:(?://(?:localhost)?(?=/)|(?!//))(/[^?#]*)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

# What has to be escaped where a client puts text into ``{+path}`` (RFC 6570, section 3.2.3), which escapes the rest.
_TEMPLATE_ESCAPED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f%?#\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]"
)

_INSTEAD: Final = "file:/// and an absolute path, with %XX for what a URI cannot hold"


def file_uri(path: str) -> str:
    """The URI of an absolute path, as node's ``pathToFileURL`` writes it."""
    return "file://" + quote(os.fsencode(path), safe=_PLAIN)


def path_of(uri: str) -> str:
    """The absolute path that a URI of this machine's files names; may hold surrogates.

    Raises:
        BadPath: any other URI, and one with a query, a fragment, or what `unescaped` refuses.
    """
    _require_length(uri)
    found = _LOCAL.fullmatch(uri)
    if found is None:
        raise BadPath("Not the URI of a file on this machine.", allowed_instead=_INSTEAD)
    return unescaped(found[1])


def unescaped(text: str) -> str:
    """The path that ``text`` spells with escapes; may hold surrogates. A ``%`` that begins none stands for itself.

    Raises:
        BadPath: more than `MAX_CHARACTERS`, a control character as it is, half of a surrogate pair, a NUL, a slash
            that is escaped, or a component ``..``, which readers of URIs take out before anybody can see where it
            leads.
    """
    _require_length(text)
    if _CONTROL.search(text) or "%2f" in text.lower():
        raise BadPath("The path holds a control character or an escaped slash.", allowed_instead=_INSTEAD)
    try:
        path = os.fsdecode(unquote_to_bytes(text))
    except UnicodeEncodeError:
        raise BadPath("The path is not valid Unicode: it holds half of a surrogate pair.") from None
    if "\0" in path:
        raise BadPath("The path holds a NUL character.")
    if ".." in path.split("/"):
        raise BadPath("The path holds a component `..`.", allowed_instead="the path without it")
    return path


def _require_length(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise BadPath(f"The URI or path has {len(text)} characters, {MAX_CHARACTERS} are possible.")


def template_value(name: str) -> str:
    """A name as the value of ``{+path}`` in a template: readable, and escaped where the expansion would not do it."""
    return _TEMPLATE_ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), name)
