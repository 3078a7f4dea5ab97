"""read_multiple_files: several texts in one result, in the order asked for, sharing its budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pydantic import Field

from fsserver.errors import FileTooLarge, FsserverError
from fsserver.paths.reading import open_file
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Action
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.files.read import A_PART, Source, require_readable_whole, text_budget
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.cutting import cut, cut_lines

MAX_PATHS: Final = 256  # each of them is in the audit record
SEPARATOR: Final = "\n---\n"
LEAST_BYTES: Final = 512  # a file that is read at all shows at least this much


class ReadMultipleFiles(Arguments):
    paths: list[str] = Field(min_length=1, max_length=MAX_PATHS, description="The files.")


@dataclass(slots=True)
class _Budget:
    """What is left of the result's bytes, and what had to be left out."""

    left: int
    files: int
    notes: list[str] = field(default_factory=list)

    def share(self) -> int:
        """What one of the files that are left may take if all of them are long."""
        return max(self.left // max(self.files, 1), min(self.left, LEAST_BYTES))


def read_multiple_files(call: Call[ReadMultipleFiles]) -> ToolResult:
    paths = call.arguments.paths
    whole = text_budget(call.limits.result_bytes)
    # Notes name files; an eighth of the budget is theirs.
    budget = _Budget(whole - whole // 8, len(paths))
    pieces: list[str] = []
    for number, path in enumerate(paths):
        call.control.report(number, len(paths))
        if budget.left < LEAST_BYTES:
            rest = len(paths) - number
            budget.notes.insert(
                0, f"Not read, since the result is full: the last {rest} of the paths, from {path:.200}"
            )
            break
        piece = _piece(call, path, budget)
        pieces.append(piece)
        budget.left -= len(piece.encode("utf-8")) + len(SEPARATOR)
        budget.files -= 1
    text = SEPARATOR.join(pieces)
    call.facts["bytes"] = len(text.encode("utf-8"))
    if not budget.notes:
        return text_result(text)
    return text_result(text, cut("\n".join(budget.notes), whole // 8, "\n…"))


def _piece(call: Call[ReadMultipleFiles], path: str, budget: _Budget) -> str:
    """One file as the reference server shows it, or why not."""

    def read(target: Target) -> str:
        room = max(budget.left - LEAST_BYTES * (budget.files - 1), budget.share())
        with open_file(target) as file:
            source = Source(file, None, room, call.control)
            require_readable_whole(target, source, f"read_text_file reads {A_PART}")
            selection = source.everything()
        if not selection.more:
            return selection.text
        text, lines, inside = cut_lines(selection.text, budget.share())
        place = f"inside line {lines}" if inside else f"after line {lines}"
        budget.notes.append(f"Cut {place}: {path:.200} (read_text_file with offset; nextOffset: {lines + 1})")
        return text

    try:
        return f"{path}:\n{call.each(ClientPath(path), Access.READ, read)}\n"
    except FsserverError as error:
        if isinstance(error, FileTooLarge):
            budget.notes.append(f"Not read: {path:.200} ({error.allowed_instead})")
        rule = "" if error.rule is None else f" (rule: {error.rule})"
        return f"{path}: Error - {error.message}{rule}"


READ_MULTIPLE_FILES: Final = Tool(
    name="read_multiple_files",
    title="Read Multiple Files",
    description="Reads several text files at once. One that cannot be read shows why.",
    arguments=ReadMultipleFiles,
    annotations=READS,
    needs=frozenset({Action.READ}),
    path_lists={"paths": Access.READ},
    body=read_multiple_files,
)
