"""What came of a command, for programs and for readers, within ``limits.result``.

Some clients hand a model the text, others only ``structuredContent``; each is complete, so each gets half of the room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fsserver.paths.names import display
from fsserver.sandbox.runner import EndedBy, Ending
from fsserver.sandbox.streams import Ends
from fsserver.tools.commands.choice import Chosen
from fsserver.tools.result import Text, ToolResult
from fsserver.tools.text.hostile import beginning, end, neutralised
from fsserver.tools.text.sizes import format_size

MARK: Final = "[... {} bytes left out ...]"
MARK_BYTES: Final = 64
FIXED_BYTES: Final = 512  # keys, headings and numbers of a result
STAGE_BYTES: Final = 256  # the same of one stage of a pipeline
RECORDED_NAMES: Final = 8 * 1024  # characters of protected names in a record, of one kind and one stage
NAMES_SHARE: Final = 8  # the part of a result that protected names may take, as a fraction

_LIMITS: Final[Mapping[EndedBy, str]] = {
    EndedBy.TIME: "it reached its time limit",
    EndedBy.CPU: "it reached limits.cpu",
    EndedBy.MEMORY: "it reached limits.memory",
    EndedBy.PROCESSES: "it reached limits.processes",
    EndedBy.FILE_SIZE: "it reached limits.file_size",
    EndedBy.CANCELLED: "it was stopped",
}

_PROTECTED: Final[Mapping[str, str]] = {
    "not_moved": "that it made and that are still there, since they could not be moved away",
    "quarantined": "that it made and that were moved to quarantine",
    "masked": "that it could not see",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A stream as text, and how many of its bytes are left out."""

    text: str
    cut: int


def show(stream: Ends, budget: int) -> Shown:
    """All of a stream if it fits, else its head and its tail with a line between them that counts the rest."""
    if not stream.total:
        return Shown("", 0)
    head, tail = stream.head, stream.tail
    if not stream.lost:
        text = neutralised(head + tail)
        if len(text.encode("utf-8")) <= budget:
            return Shown(text, 0)
        head = tail = head + tail
    room = budget - MARK_BYTES
    if room <= 0:
        return Shown("", stream.total)
    first, taken = beginning(head, room // 2)
    last, also_taken = end(tail if stream.lost else tail[taken:], room - len(first.encode("utf-8")))
    left_out = stream.total - taken - also_taken
    return Shown(f"{first}\n{MARK.format(left_out)}\n{last}", left_out)


def shares(wanted: Sequence[int], budget: int) -> list[int]:
    """``budget`` among several that want so much: who wants less than an equal share leaves the rest to the others."""
    given = [0] * len(wanted)
    left = budget
    for place, number in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[number] = min(wanted[number], left // (len(wanted) - place))
        left -= given[number]
    return given


def run_result(
    stages: Sequence[Chosen], endings: Sequence[Ending], stdout: Ends, stderr: Sequence[Ends], limit_bytes: int
) -> ToolResult:
    """The result of `run_command`, or of `run_pipeline` where there are several stages.

    Args:
        stderr: of each stage.
    """
    ending, limited = endings[-1], next((each for each in reversed(endings) if each.ended_by is not None), None)
    ended_by = None if limited is None else limited.ended_by
    names = protected_names(endings, limit_bytes // NAMES_SHARE)
    status = _status(stages[-1] if len(stages) == 1 else None, ending, ended_by)
    notes = "".join(f"\n{note}" for note in (*_stage_lines(stages, endings), *protected_words(names)))
    room = limit_bytes // 2 - FIXED_BYTES - len((status + notes).encode("utf-8"))
    room = max(0, room - (STAGE_BYTES * len(stages) if len(stages) > 1 else 0))
    streams = (stdout, *stderr)
    budgets = shares([_most(stream) for stream in streams], room)
    out, *errs = (show(stream, budget) for stream, budget in zip(streams, budgets, strict=True))
    err = Shown(_joined(each.text for each in errs), sum(each.cut for each in errs))
    fields: dict[str, Any] = {
        "exitCode": ending.exit_code,
        "signal": ending.signal,
        "endedBy": ended_by,
        "stdout": out.text,
        "stderr": err.text,
        "stdoutCut": out.cut,
        "stderrCut": err.cut,
        "durationMs": _ms(max(each.duration_s for each in endings)),
        "peakMemoryBytes": ending.peak_memory_bytes,
        "layer": ending.layer,
        "protected": [name for each in names.values() for name in each],
    }
    if len(stages) > 1:
        fields["stages"] = [_stage(*each) for each in zip(stages, endings, strict=True)]
    text = status + notes + _section("stdout", out.text) + _section("stderr", err.text)
    return ToolResult((Text(text),), is_error=ended_by is not None, structured=fields)


def run_facts(endings: Sequence[Ending], stdout: Ends, stderr: Sequence[Ends]) -> dict[str, Any]:
    """What the outcome record says."""
    facts = {**ending_facts(endings[-1]), "stdout_bytes": stdout.total}
    facts["stderr_bytes"] = sum(each.total for each in stderr)
    if len(endings) > 1:
        facts["stages"] = [ending_facts(each) for each in endings]
    return facts


def ending_facts(ending: Ending) -> dict[str, Any]:
    return {
        "exit": ending.exit_code,
        "signal": ending.signal,
        "ended_by": ending.ended_by,
        "layer": ending.layer,
        "cpu_ms": _ms(ending.cpu_s),
        "peak_memory_bytes": ending.peak_memory_bytes,
        "quarantined": _recorded(ending.quarantined),
        "not_moved": _recorded(ending.not_moved),
    }


def how_it_ended(ending: Ending) -> str:
    """In words: its exit code or its signal, and the limit if one ended it."""
    words = f"exit code {ending.exit_code}" if ending.signal is None else f"ended by {ending.signal}"
    return words if ending.ended_by is None else f"{words}: {_LIMITS[ending.ended_by]}"


def _recorded(names: Sequence[str]) -> list[Any]:
    """Names for a record, which has a bound: of many the first, and how many are left out."""
    left = RECORDED_NAMES
    for number, name in enumerate(names):
        left -= len(name)
        if left < 0:
            return [*names[:number], {"cut": len(names) - number}]
    return list(names)


def _status(chosen: Chosen | None, ending: Ending, ended_by: EndedBy | None) -> str:
    parts = [how_it_ended(ending), f"{_ms(ending.duration_s)} ms"]
    if ending.peak_memory_bytes is not None:
        parts.append(f"peak memory {format_size(ending.peak_memory_bytes)}")
    parts.append(f"layer {ending.layer}")
    if chosen is not None and ended_by not in (None, EndedBy.CANCELLED):
        parts.append(f"rule: {chosen.command.origin}")
    return ", ".join(parts)


def _stage(chosen: Chosen, ending: Ending) -> dict[str, Any]:
    return {
        "command": chosen.command.name,
        "exitCode": ending.exit_code,
        "signal": ending.signal,
        "endedBy": ending.ended_by,
        "durationMs": _ms(ending.duration_s),
        "peakMemoryBytes": ending.peak_memory_bytes,
        "layer": ending.layer,
    }


def _stage_lines(stages: Sequence[Chosen], endings: Sequence[Ending]) -> list[str]:
    if len(stages) == 1:
        return []
    words = (f"{stage.command.name} {how_it_ended(ending)}" for stage, ending in zip(stages, endings, strict=True))
    return [f"stages: {'; '.join(words)}"]


def protected_names(endings: Sequence[Ending], budget: int) -> dict[str, list[str]]:
    """Protected names by what became of them, as many as fit ``budget`` bytes; then how many more there are."""
    shown: dict[str, list[str]] = {}
    names = [
        (became, name)
        for attribute, became in _PROTECTED.items()
        for name in dict.fromkeys(name for ending in endings for name in getattr(ending, attribute))
    ]
    for number, (became, name) in enumerate(names):
        budget -= len(display(name).encode("utf-8")) + 4
        if budget < 0:
            shown.setdefault(became, []).append(f"and {len(names) - number} more")
            break
        shown.setdefault(became, []).append(display(name))
    return shown


def protected_words(names: Mapping[str, Sequence[str]]) -> list[str]:
    """`protected_names` for a reader, a line for each kind."""
    return [f"protected names {became}: {', '.join(each)}" for became, each in names.items()]


def _most(stream: Ends) -> int:
    """What a stream takes at most when it is shown; four bytes for one that has to be spelt out."""
    if stream.lost or not stream.total:
        return stream.total * 4
    return len(neutralised(stream.head + stream.tail).encode("utf-8"))


def _joined(texts: Iterable[str]) -> str:
    """Texts after each other, each on lines of its own."""
    whole = ""
    for text in texts:
        whole += "\n" + text if whole and text and not whole.endswith("\n") else text
    return whole


def _section(heading: str, text: str) -> str:
    return f"\n--- {heading}\n{text.removesuffix(chr(10))}" if text else ""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
