"""read_media_file: raw bytes as an image, a sound or an embedded resource."""

from __future__ import annotations

import binascii
import hashlib
import posixpath
from typing import Final

from pydantic import Field

from fsserver.paths.reading import read_all
from fsserver.paths.uri import file_uri
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import Audio, Blob, Content, Image, ToolResult

MAX_MEDIA_BYTES: Final = 16 * 1024**2  # of the file; a third more as base64

_INSTEAD: Final = "a smaller copy of it; if it is text, read_text_file with head, tail, or offset and limit"

_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
}


class ReadMediaFile(Arguments):
    path: str = Field(description="The file.")


def read_media_file(call: Call[ReadMediaFile]) -> ToolResult:
    target = call.targets["path"]
    data, _ = read_all(target, MAX_MEDIA_BYTES, allowed_instead=_INSTEAD)
    call.facts["bytes"] = len(data)
    call.facts["sha256"] = hashlib.sha256(data).hexdigest()
    encoded = binascii.b2a_base64(data, newline=False).decode("ascii")
    kind = _TYPES.get(posixpath.splitext(target.name)[1].lower(), "application/octet-stream")
    block: Content
    if kind.startswith("image/"):
        block = Image(encoded, kind)
    elif kind.startswith("audio/"):
        block = Audio(encoded, kind)
    else:
        block = Blob(file_uri(target.resolved), kind, encoded)
    return ToolResult((block,))


READ_MEDIA_FILE: Final = Tool(
    name="read_media_file",
    title="Read Media File",
    description="Reads an image, a sound or any other file as base64 with its MIME type.",
    arguments=ReadMediaFile,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.READ}),
    paths={"path": Access.READ},
    body=read_media_file,
)
