"""edit_file: replaces stretches of a file and leaves every other byte of it alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from fsserver.errors import BadEncoding
from fsserver.paths.names import display
from fsserver.paths.reading import Identity
from fsserver.paths.workspace import Access
from fsserver.paths.writing import write_file
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments, WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.editing.diff import fenced, unified
from fsserver.tools.editing.edit import Edit, apply_edits
from fsserver.tools.editing.spans import shifted
from fsserver.tools.files.read import text_budget
from fsserver.tools.files.whole import Sha256, large_turn, read_version
from fsserver.tools.redacting import require_no_marker
from fsserver.tools.registry import Annotations, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.codec import HEAD_BYTES, Codec, codec_of
from fsserver.tools.text.cutting import count_lines, cut_lines

MARK: Final = "\ufeff"
MAX_EDITS: Final = 1_000
MAX_EDITED_BYTES: Final = 32 * 1024**2  # before and after; an edit holds a few copies of the text


class OneEdit(Arguments):
    old_text: str = Field(description="Text to replace; has to match once.")
    new_text: str = Field(description="Text to put there.")
    replace_all: bool = Field(False, description="Replace every match.")
    expected_replacements: WholeNumber | None = Field(None, description="Replace exactly so many matches.")


class EditFile(Arguments):
    path: str = Field(description="The file.")
    edits: list[OneEdit] = Field(max_length=MAX_EDITS, description="Applied one after the other; all or none.")
    dry_run: bool = Field(False, description="Only show the diff.")
    expected_sha256: Sha256 | None = None
    encoding: str | None = Field(None, description="As in read_text_file.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The new bytes, None if they are the old ones; the version that they were made from; and the diff."""

    data: bytes | None
    version: Identity
    diff: str
    sha256: str
    replacements: int


def check(call: Call[EditFile]) -> None:
    """Reads the file and works out the edits. Changes nothing."""
    wanted, target = call.arguments, call.targets["path"]
    for each in wanted.edits if call.redacts else ():
        require_no_marker(each.new_text, each.old_text)
    old, version = read_version(target, wanted.expected_sha256, MAX_EDITED_BYTES)
    with large_turn(_most(len(old), wanted.edits), call):
        call.plan = plan = _plan(call, old, version)
    if not wanted.dry_run:
        call.new_size = (target, len(old) if plan.data is None else len(plan.data))


def _plan(call: Call[EditFile], old: bytes, version: Identity) -> Plan:
    wanted, target = call.arguments, call.targets["path"]
    codec = codec_of(old[:HEAD_BYTES], wanted.encoding)
    mark, text = _decode(codec, old, target.shown)
    limit = min(target.root.rules.max_file or MAX_EDITED_BYTES, MAX_EDITED_BYTES)
    edited = apply_edits(
        text, [_edit(each, mark) for each in wanted.edits], max_characters=limit, checkpoint=call.control.checkpoint
    )
    new = codec.encode(mark + edited.text)
    diff = fenced(
        unified(display(target.resolved), mark + text, mark + edited.text, shifted(edited.regions, len(mark)))
    )
    return Plan(None if new == old else new, version, diff, hashlib.sha256(new).hexdigest(), edited.replacements)


def _most(size: float, edits: Sequence[OneEdit]) -> float:
    """About the most that the text can come to: each edit of many places stretches it, another adds its new text."""
    for each in edits:
        if each.replace_all or each.expected_replacements is not None:
            size *= max(1.0, len(each.new_text) / max(1, len(each.old_text)))
        else:
            size += len(each.new_text)
    return size


def _decode(codec: Codec, data: bytes, shown: str) -> tuple[str, str]:
    """The byte order mark and the text after it.

    Raises:
        BadEncoding: not text, or an encoding with several spellings of the same text, so that writing it back would
            change bytes that nobody edited.
    """
    text = codec.decode(data, shown)
    if codec.name != "utf-8" and codec.encode(text) != data:
        raise BadEncoding(
            f"{display(shown)} is not written the way {codec.name} writes it; an edit would change other bytes too."
        )
    return (MARK, text[1:]) if text.startswith(MARK) else ("", text)


def _edit(wanted: OneEdit, mark: str) -> Edit:
    """Who read the file with its mark may quote it; it stays where it is."""
    old, new = wanted.old_text, wanted.new_text
    if mark and old.startswith(MARK):
        old, new = old[1:], new.removeprefix(MARK)
    return Edit(old, new, wanted.replace_all, wanted.expected_replacements)


def body(call: Call[EditFile]) -> ToolResult:
    plan: Plan = call.plan
    diff = _bounded(plan.diff, text_budget(call.limits.result_bytes))
    if call.arguments.dry_run:
        return text_result(diff)
    if plan.data is not None:
        write_file(call.targets["path"], plan.data, expected=plan.version, sha256=plan.sha256, changes=call.changes)
        call.facts["bytes"] = len(plan.data)
    call.facts |= {"sha256": plan.sha256, "replacements": plan.replacements}
    return text_result(f"{diff}sha256: {plan.sha256}")


def _bounded(diff: str, budget: int) -> str:
    """The diff, or its beginning in a fence that still closes, and what is left out."""
    kept, lines, _ = cut_lines(diff, budget)
    if len(kept) == len(diff):
        return diff
    fence = diff[: diff.index("d")]  # the backticks before "diff"
    end = "" if kept.endswith("\n") else "\n"
    return f"{kept}{end}{fence}\n\nThe diff is cut: {lines} of {count_lines(diff)} lines are shown.\n"


def _changes(arguments: EditFile) -> bool:
    return not arguments.dry_run


_DESCRIPTION: Final = (
    "Replaces stretches of a text file and shows the diff. oldText is matched exactly, else by whole lines that differ "
    "only in indentation. Line endings and all other bytes stay as they are."
)

EDIT_FILE: Final = Tool(
    name="edit_file",
    title="Edit File",
    description=_DESCRIPTION,
    arguments=EditFile,
    annotations=Annotations(read_only=False, destructive=True),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.EDIT}),
    paths={"path": Access.EDIT},
    contents=frozenset({"oldText", "newText"}),
    effect=_changes,
    check=check,
    body=body,
)
