"""Tools that change names: create_directory, move_file, copy_file, delete_file."""

from __future__ import annotations

import stat
from typing import Final

from pydantic import Field

from fsserver.errors import IsADirectory
from fsserver.paths.moving import check_move, delete, move
from fsserver.paths.names import display
from fsserver.paths.quota import held
from fsserver.paths.tree import check_tree
from fsserver.paths.workspace import Access
from fsserver.paths.writing import copy_file, make_directories
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.registry import Annotations, Tool
from fsserver.tools.result import ToolResult, text_result


class CreateDirectory(Arguments):
    path: str = Field(description="The directory; missing parents are made too.")


class FromTo(Arguments):
    source: str = Field(description="What there is.")
    destination: str = Field(description="The new name; must not exist.")


class DeleteFile(Arguments):
    path: str = Field(description="A file, link or empty directory.")
    recursive: bool = Field(False, description="Delete a directory with all that is in it.")


def _always(arguments: Arguments) -> bool:  # noqa: ARG001 - an effect whatever they are
    return True


def create_directory(call: Call[CreateDirectory]) -> ToolResult:
    make_directories(call.targets["path"], changes=call.changes)
    return text_result(f"Successfully created directory {call.arguments.path}")


def check_moved(call: Call[FromTo]) -> None:
    """Refuses a tree in which a name would lose its protection, and what another root does not take."""
    source, destination = call.targets["source"], call.targets["destination"]
    check_move(source, destination, checkpoint=call.control.checkpoint)
    call.effects["source"] = f"move to {display(destination.resolved)}:"
    call.effects["destination"] = f"take what is moved from {display(source.resolved)}:"


def move_file(call: Call[FromTo]) -> ToolResult:
    source, destination = call.targets["source"], call.targets["destination"]
    move(source, destination, checkpoint=call.control.checkpoint, changes=call.changes)
    return text_result(f"Successfully moved {call.arguments.source} to {call.arguments.destination}")


def check_copy(call: Call[FromTo]) -> None:
    """Refuses a directory, and a file that the quota does not hold."""
    source = call.targets["source"]
    assert source.stat is not None
    if stat.S_ISDIR(source.stat.st_mode):
        raise IsADirectory(
            "EISDIR: illegal operation on a directory, copyfile", allowed_instead="copy its files one by one"
        )
    call.new_size = (call.targets["destination"], held(source.stat))


def copy(call: Call[FromTo]) -> ToolResult:
    source, destination = call.targets["source"], call.targets["destination"]
    status = copy_file(source, destination, checkpoint=call.control.checkpoint, changes=call.changes)
    call.facts["bytes"] = status.st_size
    return text_result(f"Successfully copied {call.arguments.source} to {call.arguments.destination}")


def check_delete(call: Call[DeleteFile]) -> None:
    """Refuses a tree with a protected name in it."""
    if call.arguments.recursive:
        check_tree(call.targets["path"], checkpoint=call.control.checkpoint)
        call.effects["path"] = "delete with all that is in it:"


def delete_file(call: Call[DeleteFile]) -> ToolResult:
    recursive, checkpoint = call.arguments.recursive, call.control.checkpoint
    delete(call.targets["path"], recursive=recursive, checkpoint=checkpoint, changes=call.changes)
    return text_result(f"Successfully deleted {call.arguments.path}")


CREATE_DIRECTORY: Final = Tool(
    name="create_directory",
    title="Create Directory",
    description="Makes a directory. One that exists is fine.",
    arguments=CreateDirectory,
    annotations=Annotations(read_only=False, idempotent=True),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.CREATE}),
    paths={"path": Access.MAKE_DIRECTORY},
    effect=_always,
    body=create_directory,
)
MOVE_FILE: Final = Tool(
    name="move_file",
    title="Move File",
    description="Moves or renames a file or directory. A link is moved itself.",
    arguments=FromTo,
    annotations=Annotations(read_only=False, destructive=True),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.MOVE}),
    paths={"source": Access.MOVE_FROM, "destination": Access.MOVE_TO},
    effect=_always,
    check=check_moved,
    body=move_file,
)
COPY_FILE: Final = Tool(
    name="copy_file",
    title="Copy File",
    description="Copies a file byte for byte.",
    arguments=FromTo,
    annotations=Annotations(read_only=False),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.CREATE}),
    paths={"source": Access.READ, "destination": Access.CREATE},
    effect=_always,
    check=check_copy,
    body=copy,
)
DELETE_FILE: Final = Tool(
    name="delete_file",
    title="Delete File",
    description="Deletes a name for good. A link is deleted itself.",
    arguments=DeleteFile,
    annotations=Annotations(read_only=False, destructive=True),
    call_class=CallClass.CHANGE,
    needs=frozenset({Action.DELETE}),
    paths={"path": Access.DELETE},
    effect=_always,
    check=check_delete,
    body=delete_file,
)
