"""Results without secrets, for a policy that says ``redact_output``: what a client gets passes here, in one place.

It hides known forms and what ``audit.redact`` names. It is no wall against a client that wants a secret: what is read
in two halves, or encoded by a command, has no form that could be found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fsserver.audit.redaction import MARKER, Redactor
from fsserver.errors import RedactedContent
from fsserver.tools.control import Control
from fsserver.tools.render import CUT_NOTE
from fsserver.tools.result import Content, Text, ToolResult
from fsserver.tools.text.cutting import cut

META: Final = "fsserver/redacted"
"""Key of ``_meta``: how many places of a result are hidden."""

# Members of structured results that are ours and random or hashes: a pattern of the policy's may fit them by chance.
_OURS: Final = frozenset({"handle", "code", "sha256"})

_MARKERS: Final = re.compile(re.escape(MARKER) + r"[^\]\n]{0,64}")


class Outputs:
    """Hides secrets in results, which stay within ``limit_bytes`` of text, and in progress. Thread-safe."""

    def __init__(self, redactor: Redactor, limit_bytes: int) -> None:
        self._redactor = redactor
        self._limit_bytes = limit_bytes

    def control(self, control: Control) -> Control:
        """The same strings; what the tool says of its progress is looked at on its way."""
        send = control.progress
        if send is None:
            return control

        def progress(done: float, whole: float | None, message: str | None) -> None:
            send(done, whole, None if message is None else self._redactor.text(message)[0])

        return replace(control, progress=progress)

    def result(self, result: ToolResult) -> ToolResult:
        """The result, with a note and ``_meta`` that count what was hidden. Images, sounds and hashes are left."""
        texts: list[str] = []
        hidden = 0
        for block in result.content:
            if isinstance(block, Text):
                text, places = self._redactor.text(block.text)
                hidden += places
                texts.append(text)
        structured, places = self._members(result.structured or {})
        hidden = max(hidden, places)  # a command's output is in both
        # A marker in an error is quoted from the client: it looks for text that is not in the file like that.
        if not hidden and not (result.is_error and any(MARKER in text for text in texts)):
            return result
        note = _note(hidden)
        left = iter(_fitted(texts, self._limit_bytes - len(note)))
        content: list[Content] = [Text(next(left)) if isinstance(block, Text) else block for block in result.content]
        return ToolResult(
            (*content, Text(note)),
            result.is_error,
            None if result.structured is None else structured,
            {**(result.meta or {}), META: hidden} if hidden else result.meta,
        )

    def _members(self, members: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        shown: dict[str, Any] = {}
        hidden = 0
        for key, value in members.items():
            shown[key], places = (value, 0) if key in _OURS else self._value(value)
            hidden += places
        return shown, hidden

    def _value(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, str):
            return self._redactor.text(value)
        if isinstance(value, Mapping):
            return self._members(value)
        if isinstance(value, (list, tuple)):
            items = [self._value(item) for item in value]
            return [item for item, _ in items], sum(places for _, places in items)
        return value, 0


def _note(hidden: int) -> str:
    places = {0: "", 1: "One place is redacted here. "}.get(hidden, f"{hidden} places are redacted here. ")
    return f"{places}Where text reads {MARKER}...], something else is there: leave it as it is."


def _fitted(texts: list[str], room: int) -> list[str]:
    """The texts, of which the longest is cut where they are more than ``room`` bytes: what hides can be longer."""
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    over = sum(sizes) - room
    if over <= 0:
        return texts
    longest = sizes.index(max(sizes))
    fitting = cut(texts[longest], max(0, sizes[longest] - over), CUT_NOTE)
    return [*texts[:longest], fitting, *texts[longest + 1 :]]


def require_no_marker(new: str, old: str = "") -> None:
    """Keeps text that was read with secrets hidden from being written over them.

    A marker that is in ``old``, the text of the file that is replaced, is the file's own.

    Raises:
        RedactedContent: ``new`` holds another one.
    """
    if MARKER in new and not set(_MARKERS.findall(new)) <= set(_MARKERS.findall(old)):
        raise RedactedContent(
            f"Access denied - the new text holds {MARKER}...], which stands for a secret that was not shown; it would "
            "take the place of the secret in the file",
            allowed_instead="edit_file with oldText and newText that end before such places and begin after them",
        )
