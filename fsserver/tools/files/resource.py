"""``resources/read``: a file or directory by its URI, as a call of the tool that reads such a thing.

A resource is whole or refused. A tool's result says in a second block that it is cut and where it goes on; a resource
has no such place, and whoever saves it or compares it would take a note of ours for the file's own text. A directory's
text is ours anyway, so that one may be cut, and says so.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fsserver.errors import BadEncoding, FileTooLarge, FsserverError
from fsserver.paths.names import display
from fsserver.paths.reading import open_file
from fsserver.paths.target import Target
from fsserver.paths.uri import path_of
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Limits
from fsserver.tools.call import Call
from fsserver.tools.control import Control
from fsserver.tools.files.listing import LIST_DIRECTORY, ListDirectory, list_directory
from fsserver.tools.files.media import READ_MEDIA_FILE, ReadMediaFile, read_media_file
from fsserver.tools.files.mime import DIRECTORY, binary_type, text_type
from fsserver.tools.files.read import READ_TEXT_FILE, ReadTextFile, read_text_file, text_budget
from fsserver.tools.files.source import Source
from fsserver.tools.guise import Form, Guise
from fsserver.tools.result import Text, ToolResult

MIME_TYPE: Final = "mimeType"
"""The member of a result's ``structured`` that says what its one block is."""


def whole_text(call: Call[ReadTextFile]) -> ToolResult:
    """Raises `FileTooLarge` where `read_text_file` would cut."""
    result = read_text_file(call)
    if len(result.content) > 1:  # of a file that is asked for whole it says only that it is cut
        most = text_budget(call.limits.result_bytes)
        raise FileTooLarge(
            f"The text is larger than the {most} bytes that a resource may have: {call.arguments.path}",
            allowed_instead="read_text_file with offset and limit, which reads it in parts",
        )
    return replace(result, structured={MIME_TYPE: text_type(call.arguments.path)})


def whole_bytes(call: Call[ReadMediaFile]) -> ToolResult:
    return replace(read_media_file(call), structured={MIME_TYPE: binary_type(call.arguments.path)})


def listing(call: Call[ListDirectory]) -> ToolResult:
    """One text, of which the last lines say that it is cut, if it is."""
    result = list_directory(call)
    text, *notes = (block.text for block in result.content if isinstance(block, Text))
    if result.meta is not None:
        notes.append("list_directory goes on with this cursor.")
    if notes:
        text = "\n".join((text, "", *notes))
    return replace(result, content=(Text(text),), structured={MIME_TYPE: DIRECTORY})


_TEXT: Final = Form(READ_TEXT_FILE.name, ReadTextFile, whole_text)
_BYTES: Final = Form(READ_MEDIA_FILE.name, ReadMediaFile, whole_bytes)
_LISTING: Final = Form(LIST_DIRECTORY.name, ListDirectory, listing)

READERS: Final = frozenset({_TEXT.tool, _BYTES.tool, _LISTING.tool})
"""Where none of these is granted there are no resources."""


def choose(
    workspace: Workspace, limits: Limits, granted: frozenset[str], parameters: Mapping[str, Any]
) -> tuple[Form[Any], Mapping[str, Any]]:
    """By what is there, among what is granted. Where nothing can be seen, the first of these, which says why."""
    path = ClientPath(display(path_of(parameters["uri"])))
    forms: list[Form[Any]] = [_TEXT, _BYTES, _LISTING]
    usable = [form for form in forms if form.tool in granted] or [_TEXT]
    return _fitting(workspace, limits, usable, path), {"path": path}


def _fitting(workspace: Workspace, limits: Limits, usable: list[Form[Any]], path: ClientPath) -> Form[Any]:
    try:
        with workspace.target(path, Access.LIST) as target:
            directory = target.stat is not None and stat.S_ISDIR(target.stat.st_mode)
        if directory:
            return _LISTING
        if _TEXT in usable and _BYTES in usable:
            with workspace.target(path, Access.READ) as target:
                return _TEXT if _reads_as_text(target, limits) else _BYTES
    except FsserverError:
        pass
    return usable[0]


def _reads_as_text(target: Target, limits: Limits) -> bool:
    """As far as a result holds it: what is larger is refused as the one or the other."""
    with open_file(target) as file:
        try:
            Source(file, None, text_budget(limits.result_bytes), Control()).everything()
        except BadEncoding:
            return False
    return True


RESOURCE: Final = Guise("resources/read", READ_TEXT_FILE.name, choose)
