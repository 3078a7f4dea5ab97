"""get_file_info and list_allowed_directories."""

from __future__ import annotations

import stat
import time
from typing import Final

from pydantic import Field

from fsserver.paths.names import display
from fsserver.paths.reading import file_info
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class GetFileInfo(Arguments):
    path: str = Field(description="A file or directory.")


class NoArguments(Arguments):
    pass


def js_date(nanoseconds: int) -> str:
    """A time as JavaScript's ``Date`` prints it in the server's zone; the zone by its short name unless it is UTC.

    Milliseconds are rounded as node rounds them. A file can claim any time: one that no calendar has is said to be so.
    """
    seconds = (nanoseconds + 500_000) // 1_000_000 // 1000
    try:
        at = time.localtime(seconds)
    except (OverflowError, OSError, ValueError):
        return "Invalid Date"
    sign, offset = ("-", -at.tm_gmtoff) if at.tm_gmtoff < 0 else ("+", at.tm_gmtoff)
    zone = "Coordinated Universal Time" if at.tm_zone in ("UTC", "GMT") else at.tm_zone
    day = f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {at.tm_mday:02d} {at.tm_year:04d}"
    clock = f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
    return f"{day} {clock} GMT{sign}{offset // 3600:02d}{offset // 60 % 60:02d} ({zone})"


def get_file_info(call: Call[GetFileInfo]) -> ToolResult:
    info = file_info(call.targets["path"])
    status = info.stat
    lines = (
        f"size: {status.st_size}",
        f"created: {js_date(info.born_ns or 0)}",
        f"modified: {js_date(status.st_mtime_ns)}",
        f"accessed: {js_date(status.st_atime_ns)}",
        f"isDirectory: {'true' if stat.S_ISDIR(status.st_mode) else 'false'}",
        f"isFile: {'true' if stat.S_ISREG(status.st_mode) else 'false'}",
        f"permissions: {status.st_mode & 0o777:03o}",
    )
    return text_result("\n".join(lines))


def list_allowed_directories(call: Call[NoArguments]) -> ToolResult:
    return text_result("Allowed directories:\n" + "\n".join(map(display, call.workspace.directories)))


GET_FILE_INFO: Final = Tool(
    name="get_file_info",
    title="Get File Info",
    description="Size, times, kind and permissions of a file or directory.",
    arguments=GetFileInfo,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.READ}),
    paths={"path": Access.STAT},
    body=get_file_info,
)
LIST_ALLOWED_DIRECTORIES: Final = Tool(
    name="list_allowed_directories",
    title="List Allowed Directories",
    description="The directories that this server gives access to, with everything below them.",
    arguments=NoArguments,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset(),
    body=list_allowed_directories,
)
