"""read_multiple_files: several texts in one result, in the order asked for, sharing its budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pydantic import Field

from fsserver.errors import AuditError, Cancelled, FileTooLarge, FsserverError, TimeLimit
from fsserver.paths.names import display
from fsserver.paths.reading import open_file
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.files.read import A_PART, require_readable_whole, text_budget
from fsserver.tools.files.source import Source
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.cutting import cut, cut_lines, utf8_length

MAX_PATHS: Final = 256  # each of them is in the audit record
SEPARATOR: Final = "\n---\n"
AROUND_BYTES: Final = len(SEPARATOR) + len(": Error - ")  # what a file takes besides its path and its text, at most
LEAST_BYTES: Final = 512  # a file that is read at all may take at least this much, with a note about it
ABOUT_BYTES: Final = 128  # what a note takes besides a path, at most
REST_BYTES: Final = 192  # what the note about paths that were not read may take, at least
NAMED: Final = 200  # characters of a path in a note; a longer one is told by its number


class ReadMultipleFiles(Arguments):
    paths: list[str] = Field(min_length=1, max_length=MAX_PATHS, description="The files.")


@dataclass(slots=True)
class _Room:
    """What is left of the result, in bytes of UTF-8. Notes take their part of it, so that none is ever cut.

    Attributes:
        left: what is left, for all that follows.
        files: how many files are still to be shown, this one included.
        around: what the paths of these files take, and what stands around them; not this one's.
    """

    left: int
    files: int
    around: int
    notes: list[str] = field(default_factory=list)

    def share(self) -> int:
        """What one file may take if all that follow are long."""
        return max((self.left - self.around) // self.files, min(self.left, LEAST_BYTES), 0)

    def most(self) -> int:
        """What one file may take if all that follow are short."""
        return max(self.left - self.around - LEAST_BYTES * (self.files - 1), self.share())

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.left -= utf8_length(text) + 1


def read_multiple_files(call: Call[ReadMultipleFiles]) -> ToolResult:
    paths = call.arguments.paths
    whole = text_budget(call.limits.result_bytes)
    for_rest = max(whole // 8, REST_BYTES)
    frames = [utf8_length(path) + AROUND_BYTES for path in paths]
    room = _Room(whole - for_rest, len(paths), sum(frames))
    pieces: list[str] = []
    for number, around in enumerate(frames):
        call.control.report(number, len(paths))
        if pieces and room.left < around + LEAST_BYTES:
            break
        room.left -= around
        room.around -= around
        pieces.append(_piece(call, number, room))
        room.files -= 1
    text = SEPARATOR.join(pieces)
    call.facts["bytes"] = utf8_length(text)
    notes = room.notes
    if room.files:
        notes = [_rest(paths, room.files, for_rest), *notes]
    return text_result(text, "\n".join(notes)) if notes else text_result(text)


def _piece(call: Call[ReadMultipleFiles], number: int, room: _Room) -> str:
    """One file as the reference server shows it, or why not."""
    path = call.arguments.paths[number]
    most = room.most()

    def read(target: Target) -> str:
        with open_file(target) as file:
            source = Source(file, None, most if file.size <= most else room.share(), call.control)
            require_readable_whole(target, source, f"read_text_file reads {A_PART}")
            text = source.small_text()
            if text is not None:
                return text
            selection = source.everything()
        if not selection.more:
            return selection.text
        named = _named(call.arguments.paths, number)
        text, lines, inside = cut_lines(selection.text, max(room.share() - utf8_length(named) - ABOUT_BYTES, 0))
        if inside:
            room.note(f"Cut inside line {lines}: {named} (read_text_file with offset: {lines} shows more of it)")
        else:
            room.note(f"Cut after line {lines}: {named} (read_text_file with offset; nextOffset: {lines + 1})")
        return text

    try:
        shown = call.each(ClientPath(path), Access.READ, read)
    except (AuditError, Cancelled, TimeLimit):
        raise  # these are about the call and not about this file
    except FsserverError as error:
        rule = "" if error.rule is None else f" (rule: {error.rule})"
        why = cut(f"{error.message}{rule}", most // 2, "…")
        room.left -= utf8_length(why)
        if isinstance(error, FileTooLarge):
            room.note(f"Not read: {_named(call.arguments.paths, number)} ({error.allowed_instead})")
        return f"{path}: Error - {why}"
    room.left -= utf8_length(shown)
    return f"{path}:\n{shown}\n"


def _named(paths: list[str], number: int) -> str:
    """One of the paths for a note about it, on one line."""
    path = paths[number]
    return display(path) if len(path) <= NAMED else f"{display(path[:NAMED])}… (path {number + 1} of {len(paths)})"


def _rest(paths: list[str], files: int, limit_bytes: int) -> str:
    """The note that the last ``files`` were not read: which they are, as far as that fits, and how to go on."""
    note = f"Not read, since the result is full: the last {files} of the {len(paths)} paths."
    rest = [display(path) for path in paths[-files:]]
    whole = "\n".join([f"{note} Call again with these:", *rest])
    if utf8_length(whole) <= limit_bytes:
        return whole
    note += f" Call again with all from number {len(paths) - files + 1} on; they begin with"
    return cut("\n".join([f"{note}:", *rest]), limit_bytes, "…")


READ_MULTIPLE_FILES: Final = Tool(
    name="read_multiple_files",
    title="Read Multiple Files",
    description="Reads several text files at once. One that cannot be read shows why.",
    arguments=ReadMultipleFiles,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.READ}),
    path_lists={"paths": Access.READ},
    body=read_multiple_files,
)
