"""write_file: create, overwrite or append, always by replacing the name at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from fsserver.errors import AlreadyExists
from fsserver.paths.names import display
from fsserver.paths.reading import Identity, too_large
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access
from fsserver.paths.writing import write_file
from fsserver.policy.compiled import Action
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.files.whole import MAX_WHOLE_BYTES, Sha256, read_version, require_existing
from fsserver.tools.registry import Annotations, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.codec import HEAD_BYTES, codec_of


class WriteFile(Arguments):
    path: str = Field(description="The file.")
    content: str = Field(description="Its whole text, or what to append.")
    mode: Literal["overwrite", "create", "append"] = Field(
        "overwrite", description="create refuses an existing file; append adds at its end."
    )
    expected_sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written, and to which version of the file; None is any."""

    data: bytes
    version: Identity | None


def check(call: Call[WriteFile]) -> None:
    """Works out the bytes and compares versions. Changes nothing."""
    wanted, target = call.arguments, call.targets["path"]
    if wanted.mode == "create" and target.exists:
        raise AlreadyExists(
            f"File already exists: {display(target.shown)}",
            allowed_instead="mode: overwrite or append, or another name",
        )
    require_existing(target, wanted.expected_sha256)
    data, version = wanted.content.encode("utf-8"), None
    if target.exists and (wanted.mode == "append" or wanted.expected_sha256 is not None):
        if wanted.mode == "append":
            _require_room(target)
        old, version = read_version(target, wanted.expected_sha256)
        if wanted.mode == "append":
            data = _appended(old, wanted.content, display(target.shown))
    call.plan = Plan(data, version)
    call.new_size = (target, len(data))


def _require_room(target: Target) -> None:
    """Raises `FileTooLarge` where nothing can be appended any more; said of the result and not of the old file."""
    assert target.stat is not None
    limit = min(target.root.rules.max_file or MAX_WHOLE_BYTES, MAX_WHOLE_BYTES)
    if target.stat.st_size > limit:
        raise too_large(target, limit, would_be=True)


def _appended(old: bytes, content: str, shown: str) -> bytes:
    """The old bytes and the new text in the file's own encoding; letters never mix two encodings."""
    codec = codec_of(old[:HEAD_BYTES], None)
    if not content.isascii() or codec.unit > 1:
        codec.decode(old, shown)
    return old + codec.encode(content)


def body(call: Call[WriteFile]) -> ToolResult:
    plan: Plan = call.plan
    write_file(call.targets["path"], plan.data, expected=plan.version)
    sha256 = hashlib.sha256(plan.data).hexdigest()
    call.facts |= {"bytes": len(plan.data), "sha256": sha256}
    return text_result(f"Successfully wrote to {call.arguments.path}\nsha256: {sha256}")


def _changes(arguments: WriteFile) -> bool:  # noqa: ARG001 - always
    return True


WRITE_FILE: Final = Tool(
    name="write_file",
    title="Write File",
    description="Creates a text file or replaces its contents, at once or not at all. Its directory has to exist.",
    arguments=WriteFile,
    annotations=Annotations(read_only=False, destructive=True, idempotent=True),
    needs=frozenset({Action.CREATE, Action.OVERWRITE}),
    paths={"path": Access.WRITE},
    contents=frozenset({"content"}),
    effect=_changes,
    check=check,
    body=body,
)
