"""``completion/complete``: how a path that somebody types may go on, as a call of the tool that lists directories.

Only what leads on is offered: no protected name, nothing that is no file or directory, and no link that leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fsserver.errors import BadPath, FsserverError
from fsserver.paths.entry import Entry, Kind, kind_of, paced
from fsserver.paths.names import display
from fsserver.paths.reading import list_entries
from fsserver.paths.uri import template_value, unescaped
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Limits
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.files.info import LIST_ALLOWED_DIRECTORIES
from fsserver.tools.files.listing import LIST_DIRECTORY
from fsserver.tools.guise import Form, Guise
from fsserver.tools.result import ToolResult

MOST: Final = 100  # values in an answer; the protocol's bound
COUNTED: Final = 1000  # names that go on like this: of more it is not said how many can be offered


class RootStart(Arguments):
    """The beginning of a root's path; like all of these unescaped and displayed."""

    start: str


class NameStart(Arguments):
    """The beginning of a name in the directory ``path``; ``typed`` is that directory as it was typed, but that nothing
    in it ends the path of a URI.
    """

    path: str
    typed: str
    start: str


def complete_root(call: Call[RootStart]) -> ToolResult:
    """The allowed directories whose paths begin so."""
    start = call.arguments.start
    paths = {path + "/" for path in call.workspace.directories if (display(path) + "/").startswith(start)}
    values = sorted(map(template_value, paths))
    call.facts["entries"] = min(len(values), MOST)
    return _answer(values[:MOST], len(values), more=len(values) > MOST)


def complete_name(call: Call[NameStart]) -> ToolResult:
    """The names in the directory that begin so, sorted by bytes."""
    wanted = call.arguments
    room = call.limits.result_bytes
    values: list[str] = []
    entries = list_entries(call.targets["path"], call.control.checkpoint)
    found = [entry for entry in entries if display(entry.name).startswith(wanted.start)]
    countable = len(found) <= COUNTED
    total = 0
    more = False
    for entry, end in _leading_on(found, call):
        value = f"{wanted.typed}{template_value(entry.name)}{end}"
        room -= len(value.encode("utf-8"))
        more = more or len(values) == MOST or room < 0
        total += 1
        if not more:
            values.append(value)
        elif not countable:
            break
    call.facts["entries"] = len(values)
    return _answer(values, total if countable else None, more=more)


def _leading_on(entries: list[Entry], call: Call[NameStart]) -> Iterator[tuple[Entry, str]]:
    """Those that can be read or listed, each with the slash that follows a directory."""
    for entry in paced(entries, call.control.checkpoint):
        if entry.kind == "link":  # to follow one can take a third of a second
            call.control.checkpoint()
        kind = _kind(entry, call.workspace)
        if kind in ("file", "directory"):
            yield entry, "/" if kind == "directory" else ""


def _kind(entry: Entry, workspace: Workspace) -> Kind | None:
    """Of what is behind the name; None for what may not be looked at: a protected file under another of its names, and
    a link to where this session does not reach, or to nothing.
    """
    try:
        if entry.kind != "link":
            return kind_of(entry.stat().st_mode)
        with workspace.target(ClientPath(display(entry.shown)), Access.STAT) as target:
            return None if target.stat is None else kind_of(target.stat.st_mode)
    except FsserverError:
        return None


def _answer(values: list[str], total: int | None, *, more: bool) -> ToolResult:
    counted = {} if total is None else {"total": total}
    return ToolResult((), structured={"values": values, **counted, "hasMore": more})


_ROOTS: Final = Form(LIST_ALLOWED_DIRECTORIES.name, RootStart, complete_root)
_NAMES: Final = Form(LIST_DIRECTORY.name, NameStart, complete_name)

LISTER: Final = _NAMES.tool
"""Where this tool is not granted there are no completions."""


def choose(
    workspace: Workspace,
    limits: Limits,  # noqa: ARG001 - Choose
    granted: frozenset[str],  # noqa: ARG001
    parameters: Mapping[str, Any],
) -> tuple[Form[Any], Mapping[str, Any]]:
    """The roots while what is typed may still become one, then the names in the directory that it is in."""
    typed: str = parameters["path"]
    path = display(unescaped(typed))
    if path and not path.startswith("/"):
        raise BadPath("The path is not absolute.", allowed_instead="a path that begins with a slash")
    roots = [display(root) + "/" for root in workspace.directories]
    if not any(path.startswith(root) for root in roots) and any(root.startswith(path) for root in roots):
        return _ROOTS, {"start": path}
    directory, slash, start = path.rpartition("/")
    typed = typed[: typed.rfind("/") + 1].replace("?", "%3F").replace("#", "%23")
    return _NAMES, {"path": directory + slash, "typed": typed, "start": start}


COMPLETION: Final = Guise("completion/complete", LIST_DIRECTORY.name, choose)
