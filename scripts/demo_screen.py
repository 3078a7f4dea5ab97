"""What the demo prints, and the calls that it makes: each is shown as it is made, each fact is checked before it is."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from dataclasses import dataclass
from typing import Any, NoReturn

from mcp import Client
from mcp.types import CallToolResult, TextContent

COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
CALL_TIMEOUT_S = 20.0
MARGIN = 112  # characters of a line


class StepError(Exception):
    """A step did not do what its text says."""


def paint(text: str, *styles: str) -> str:
    return f"\033[{';'.join(styles)}m{text}\033[0m" if COLOUR and styles else text


def title(text: str) -> None:
    print(f"\n{paint(text, BOLD)}")


def show(text: str, *styles: str) -> None:
    for line in text.splitlines():
        for part in textwrap.wrap(line, MARGIN, subsequent_indent="  ") or [""]:
            print(f"    {paint(part, *styles)}")


def show_diff(diff: str) -> None:
    colours = {"+": GREEN, "-": RED, "@": DIM}
    for line in diff.splitlines():
        show(line, colours.get(line[:1], DIM))


def note(text: str) -> None:
    print(f"  {paint('·', YELLOW)} {text}")


def fail(text: str) -> NoReturn:
    print(f"  {paint('✗', RED)} {text}")
    raise StepError(text)


def behaved(condition: bool, text: str) -> None:
    if not condition:
        fail(text)
    print(f"  {paint('✓', GREEN)} {text}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A result: its text, whether it is an error, and what programs read of it."""

    text: str
    is_error: bool
    fields: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.fields.get("error", {}))


class Session:
    """One connection of the client.

    Args:
        base: the demo's directory, which is left out of what is printed.
    """

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._base = base

    async def call(self, tool: str, **arguments: Any) -> Answer:
        """Make a call; its arguments are shown, its result is the caller's to show."""
        print(f"  {paint('→', YELLOW)} {tool} {self._short(_shown(arguments))}")
        result = await self._client.call_tool(tool, arguments, read_timeout_seconds=CALL_TIMEOUT_S)
        return Answer(_text_of(result), bool(result.is_error), dict(result.structured_content or {}))

    async def answer(self, tool: str, **arguments: Any) -> str:
        """The text of a call that has to succeed."""
        result = await self.call(tool, **arguments)
        if result.is_error:
            fail(f"{tool} failed: {result.text}")
        return result.text

    async def refusal(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The error of a call that has to be refused."""
        result = await self.call(tool, **arguments)
        if not result.is_error or not result.error:
            fail(f"{tool} was not refused: {result.text}")
        self.show(result.text, RED)
        return result.error

    def show(self, text: str, *styles: str) -> None:
        show(self._short(text), *styles)

    def show_diff(self, diff: str) -> None:
        show_diff(self._short(diff))

    def _short(self, text: str) -> str:
        return text.replace(f"{self._base}/", "…/")


def _shown(arguments: dict[str, Any]) -> str:
    """Commands as one would type them, anything else as name and value."""
    if "command" in arguments:
        return shlex.join([arguments["command"], *arguments.get("args", [])])
    if "stages" in arguments:
        return " | ".join(_shown(stage) for stage in arguments["stages"])
    return ", ".join(f"{name}: {value}" for name, value in arguments.items())


def _text_of(result: CallToolResult) -> str:
    first = result.content[0] if result.content else None
    return first.text if isinstance(first, TextContent) else ""
