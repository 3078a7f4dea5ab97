"""write_file: create, overwrite or append, always by replacing the name at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from pydantic import Field

from fsserver.errors import AlreadyExists, BadEncoding, StaleWrite, UnstablePath
from fsserver.paths.names import display
from fsserver.paths.reading import Identity, too_large
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath
from fsserver.paths.writing import write_file
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.files.whole import MAX_WHOLE_BYTES, Sha256, large_turn, read_version, require_existing
from fsserver.tools.redacting import require_no_marker
from fsserver.tools.registry import Annotations, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.codec import HEAD_BYTES, codec_of

ATTEMPTS: Final = 8  # more of them than other programs can spoil by chance
TURN_LOOK_S: Final = 0.05  # how often one that waits for its turn looks whether it was cancelled


class WriteFile(Arguments):
    path: str = Field(description="The file.")
    content: str = Field(description="Its whole text, or what to append.")
    mode: Literal["overwrite", "create", "append"] = Field(
        "overwrite", description="create refuses an existing file; append adds at its end."
    )
    expected_sha256: Sha256 | None = None


@dataclass(frozen=True)
class Plan:
    """What will be written, and to which version of the file; None is any."""

    data: bytes
    version: Identity | None

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def check(call: Call[WriteFile]) -> None:
    """Works out the bytes and compares versions. Changes nothing."""
    target = call.targets["path"]
    if call.redacts:
        require_no_marker(call.arguments.content)
    if target.stat is not None and _reads(call.arguments, target):
        call.hold(large_turn(target.stat.st_size, call))  # as long as what was read, or is to be written, is held
    call.plan = plan = _plan(call.arguments, target)
    call.new_size = (target, len(plan.data))


def _plan(wanted: WriteFile, target: Target) -> Plan:
    if wanted.mode == "create" and target.exists:
        raise AlreadyExists(
            f"File already exists: {display(target.shown)}",
            allowed_instead="mode: overwrite or append, or another name",
        )
    require_existing(target, wanted.expected_sha256)
    data, version = wanted.content.encode("utf-8"), None
    if _reads(wanted, target):
        if wanted.mode == "append":
            _require_room(target)
        old, version = read_version(target, wanted.expected_sha256)
        if wanted.mode == "append":
            data = _appended(old, wanted.content, target.shown)
    return Plan(data, version)


def _reads(wanted: WriteFile, target: Target) -> bool:
    """Whether all that is there is read first."""
    return target.exists and (wanted.mode == "append" or wanted.expected_sha256 is not None)


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
        try:
            codec.decode(old, shown)
        except BadEncoding as error:
            error.allowed_instead = "edit_file with the file's encoding" + (
                ", or ASCII text" if codec.unit == 1 else ""
            )
            raise
    return old + codec.encode(content)


def body(call: Call[WriteFile]) -> ToolResult:
    wanted = call.arguments
    if wanted.mode == "append" and wanted.expected_sha256 is None:
        plan = _append(call)
    else:
        plan = call.plan
        _write(call, call.targets["path"], plan)
    sha256 = plan.sha256
    call.facts |= {"bytes": len(plan.data), "sha256": sha256}
    return text_result(f"Successfully wrote to {call.arguments.path}\nsha256: {sha256}")


def _write(call: Call[WriteFile], target: Target, plan: Plan) -> None:
    write_file(target, plan.data, expected=plan.version, sha256=plan.sha256, changes=call.changes)


def _append(call: Call[WriteFile]) -> Plan:
    """Adds to what the file holds now, however often others change it in between. What they wrote is kept.

    The path is resolved and decided again for each version, so that a new attempt may do no more than a new call. Size
    and quota are asked for what that attempt writes.

    Returns:
        What was written.

    Raises:
        UnstablePath: others were faster each time, or the path leads elsewhere now; nothing was written.
    """
    first = call.targets["path"]
    plan: Plan = call.plan
    with _turn(first, call):
        try:
            _write(call, first, plan)
        except (StaleWrite, AlreadyExists):
            return _append_again(call)
    return plan


def _append_again(call: Call[WriteFile]) -> Plan:
    first = call.targets["path"]
    for _ in range(ATTEMPTS):
        call.control.checkpoint()
        with call.workspace.target(ClientPath(call.arguments.path), Access.WRITE) as target:
            if (target.root.identity, target.name) != (first.root.identity, first.name):
                break  # the intent names another file
            plan = _plan(call.arguments, target)
            try:
                _write(call, target, plan)
            except (StaleWrite, AlreadyExists):
                continue
            # The intent told of the version before: here is the one that was replaced.
            call.facts["action"] = target.action.value
            if target.stat is not None:
                call.facts["file"] = f"{target.stat.st_dev}:{target.stat.st_ino}"
            return plan
    raise UnstablePath(f"Others kept changing the file; nothing was written: {display(first.shown)}")


@contextmanager
def _turn(target: Target, call: Call[WriteFile]) -> Iterator[None]:
    """Those who append to one file at the same time go one after the other, so that none of them begins again for long.

    Raises what `Control.checkpoint` raises.
    """
    turn = target.root.turns.of(target.name)
    while not turn.acquire(timeout=TURN_LOOK_S):
        call.control.checkpoint()
    try:
        yield
    finally:
        turn.release()


def _changes(arguments: WriteFile) -> bool:  # noqa: ARG001 - always
    return True


WRITE_FILE: Final = Tool(
    name="write_file",
    title="Write File",
    description="Creates a text file or replaces its contents, at once or not at all. Its directory has to exist.",
    arguments=WriteFile,
    annotations=Annotations(read_only=False, destructive=True, idempotent=True),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.CREATE, Action.OVERWRITE}),
    paths={"path": Access.WRITE},
    contents=frozenset({"content"}),
    effect=_changes,
    check=check,
    body=body,
)
