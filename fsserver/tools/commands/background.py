"""start_process and what can be done with a process: read, write, stop, list."""

from __future__ import annotations

import json
import shlex
import time
from typing import Annotated, Any, Final

from pydantic import Field

from fsserver.errors import CommandDenied
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Effect, Network
from fsserver.policy.service import CallClass
from fsserver.tools.approval import Question
from fsserver.tools.arguments import MAX_NUMBER, Arguments, Offset
from fsserver.tools.call import Call
from fsserver.tools.commands.changes import not_watched
from fsserver.tools.commands.choice import ask, choose, cut_line, quoted, shown_command
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.commands.processes import Process
from fsserver.tools.commands.rendering import ending_facts, how_it_ended, protected_names, protected_words
from fsserver.tools.registry import READS, Annotations, Tool
from fsserver.tools.result import Text, ToolResult
from fsserver.tools.text.hostile import LONGEST_CHARACTER, beginning, end, whole_characters

START_S: Final = 0.1
"""How long start_process looks whether it could be started at all: most mistakes show at once."""

WRITE_S: Final = 10.0  # how long write_process waits for a process to read
STOP_S: Final = 10.0  # how long stop_process waits; the sandbox kills after a shorter grace
MAX_WAIT_S: Final = 60.0
SHOWN_ARGUMENTS: Final = 100  # characters of them in a list
FIXED_BYTES: Final = 512
MOST_NAMES: Final = 4096  # bytes of protected names that are told of one process


Wait = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]


class StartProcess(Arguments):
    command: str = Field(description="Its name in the policy.")
    args: list[str] = Field(default_factory=list, description="One string each; no shell reads them.")
    cwd: str | None = Field(None, description="As in run_command.")


class OneProcess(Arguments):
    handle: str = Field(description="From start_process.")


class ReadProcess(OneProcess):
    offset: Offset | None = Field(None, description="nextOffset of an earlier call. Default: newest.")
    wait: Wait | None = Field(None, description=f"Seconds to wait for new output, up to {MAX_WAIT_S:g}.")


class WriteProcess(OneProcess):
    input: str = Field(description="For its standard input.")
    close: bool = Field(False, description="End its input after that.")


class NoArguments(Arguments):
    pass


class Background:
    """The bodies of the tools."""

    def __init__(self, host: CommandHost) -> None:
        self._host = host

    def check_start(self, call: Call[StartProcess]) -> None:
        wanted = call.arguments
        chosen = choose(call, self._host.commands, wanted.command, wanted.args, wanted.cwd)
        if not chosen.command.background:
            raise CommandDenied(
                f"Access denied - {chosen.command.name} does not run in the background",
                rule=str(chosen.command.origin),
                allowed_instead="run_command; in the background: "
                + (", ".join(command.name for command in self._host.background) or "nothing"),
            )
        ask(call, [chosen], None)
        call.plan = chosen

    def start(self, call: Call[StartProcess]) -> ToolResult:
        not_watched(call, self._host.policy)
        process = self._host.processes.start(call.owner, call.plan, self._host.runner)
        process.ended.wait(START_S)
        if process.error is not None:
            raise process.error
        fields = {"handle": process.handle, "layer": self._host.runner.layer, **_state(process)}
        lines = [f"{process.handle}: {_words(process)}"]
        if process.chosen.command.network is Network.NONE:
            fields["note"] = "It is in a network namespace of its own: no other program can connect to it."
            lines.append(fields["note"])
        return ToolResult((Text("\n".join(lines)),), structured=fields)

    def read(self, call: Call[ReadProcess]) -> ToolResult:
        wanted = call.arguments
        process = self._host.processes.get(call.owner, wanted.handle)
        if wanted.wait is not None:
            beyond = process.written()[1] if wanted.offset is None else wanted.offset
            until = time.monotonic() + min(wanted.wait, MAX_WAIT_S, _left(call))
            process.wait_for_output(beyond, until, call.control)
        room = max(call.limits.result_bytes // 2 - FIXED_BYTES, LONGEST_CHARACTER * LONGEST_CHARACTER)
        start, text, following = _excerpt(process, wanted.offset, room)
        first, total = process.written()
        fields = {"output": text, "offset": start, "nextOffset": following, "total": total, **_state(process)}
        status = f"{_words(process)}, output {start}-{following} of {total} bytes"
        if start > (wanted.offset or 0):
            status += f"; bytes before {start} are " + ("gone" if first == start else "left out or gone")
            fields["firstOffset"] = first
        call.facts["bytes"] = following - start
        return ToolResult((Text(f"{status}\n{text}" if text else status),), structured=fields)

    def check_write(self, call: Call[WriteProcess]) -> None:
        """What was allowed to start only with a person's consent is told nothing without it either."""
        call.plan = process = self._host.processes.get(call.owner, call.arguments.handle)
        call.commands.append(process.chosen.record())
        decision = process.chosen.decision
        if decision.effect is Effect.ASK:
            what = f"write to the standard input of: {shown_command(process.chosen)}\n{quoted(call.arguments.input)}"
            if call.arguments.close:
                what += "\nand end its input"
            call.questions.append(Question(what, str(decision.rule), decision.reason))

    def write(self, call: Call[WriteProcess]) -> ToolResult:
        not_watched(call, self._host.policy)
        data = call.arguments.input.encode("utf-8")
        process: Process = call.plan
        until = time.monotonic() + min(WRITE_S, _left(call))
        count = process.write(data, close=call.arguments.close, until=until, control=call.control)
        call.facts["bytes"] = count
        text = f"{count} bytes written"
        if count < len(data):
            text = f"{count} of {len(data)} bytes written: the process does not read on. Write the rest later."
        return ToolResult((Text(text),), structured={"written": count, "left": len(data) - count, **_state(process)})

    def check_stop(self, call: Call[OneProcess]) -> None:
        call.plan = process = self._host.processes.get(call.owner, call.arguments.handle)
        call.commands.append(process.chosen.record())

    def stop(self, call: Call[OneProcess]) -> ToolResult:
        not_watched(call, self._host.policy)
        process: Process = call.plan
        process.stop()
        until = time.monotonic() + STOP_S
        while not process.ended.wait(0.05) and time.monotonic() < until:
            call.control.checkpoint()
        if process.ending is not None:
            call.facts |= ending_facts(process.ending)
        return ToolResult((Text(_words(process)),), structured=_state(process))

    def list(self, call: Call[NoArguments]) -> ToolResult:
        processes = self._host.processes.of(call.owner)
        rows: list[dict[str, Any]] = []
        lines: list[str] = []
        left = call.limits.result_bytes // 2
        for process in processes:
            shown = cut_line(shlex.join((process.chosen.command.name, *process.chosen.arguments)), SHOWN_ARGUMENTS)
            place = cut_line(process.chosen.place, SHOWN_ARGUMENTS)
            age_s = round(time.monotonic() - process.started)
            rows.append(
                {"handle": process.handle, "command": shown, "cwd": place, "ageSeconds": age_s, **_state(process)}
            )
            lines.append(f"{process.handle} {shown} in {place}, {age_s} s ago: {_words(process)}")
            left -= len(json.dumps(rows[-1]))
            if left < 0:
                rows[-1:], lines[-1:] = [], [f"and {len(processes) - len(rows) + 1} more"]
                break
        fields: dict[str, Any] = {"processes": rows, "more": len(processes) - len(rows)}
        whereabouts = self._host.processes.whereabouts
        if whereabouts is not None:
            fields["replica"] = whereabouts.replica
            lines = [
                *(lines or ["No process."]),
                f"These are all on replica {whereabouts.replica}; others may have more.",
            ]
        return ToolResult((Text("\n".join(lines) or "No process."),), structured=fields)


def background_tools(host: CommandHost) -> tuple[Tool[Any], ...]:
    """The five tools, for one server."""
    own = Background(host)
    acts = Annotations(read_only=False, destructive=True, open_world=host.networked)
    none: frozenset[Any] = frozenset()
    return (
        Tool(
            name="start_process",
            title="Start Process",
            description="Starts a command in the background, until stop_process or the end of the session. Possible: "
            f"{', '.join(command.name for command in host.background)}.",
            arguments=StartProcess,
            annotations=acts,
            call_class=CallClass.COMMAND,
            needs=none,
            own_paths={"cwd": Access.LIST},
            unavailable=host.no_background,
            effect=lambda _: True,
            check=own.check_start,
            body=own.start,
            waits=True,
        ),
        Tool(
            name="read_process",
            title="Read Process",
            description="What a process wrote to its output and error output, and how it is.",
            arguments=ReadProcess,
            annotations=READS,
            call_class=CallClass.READ,
            needs=none,
            unavailable=host.no_background,
            body=own.read,
            waits=True,
        ),
        Tool(
            name="write_process",
            title="Write Process",
            description="Writes to the standard input of a process.",
            arguments=WriteProcess,
            annotations=acts,
            call_class=CallClass.COMMAND,
            needs=none,
            contents=frozenset({"input"}),
            unavailable=host.no_background,
            effect=lambda _: True,
            check=own.check_write,
            body=own.write,
            waits=True,
        ),
        Tool(
            name="stop_process",
            title="Stop Process",
            description="Ends a process with everything that it started.",
            arguments=OneProcess,
            annotations=Annotations(read_only=False, destructive=True, idempotent=True),
            call_class=CallClass.READ,
            needs=none,
            unavailable=host.no_background,
            effect=lambda _: True,
            check=own.check_stop,
            body=own.stop,
            waits=True,
        ),
        Tool(
            name="list_processes",
            title="List Processes",
            description="The processes of this session, and which have ended.",
            arguments=NoArguments,
            annotations=READS,
            call_class=CallClass.READ,
            needs=none,
            unavailable=host.no_background,
            body=own.list,
        ),
    )


def _excerpt(process: Process, offset: int | None, room: int) -> tuple[int, str, int]:
    """A stretch of the output as text: where it begins and ends."""
    if offset is None:
        first, total = process.written()
        start, data, complete = process.output(max(first, total - room - LONGEST_CHARACTER), room + LONGEST_CHARACTER)
    else:
        start, data, complete = process.output(offset, room)
    if not complete:
        # The rest of the last character is still to come, and belongs to what is read next.
        data = data[: whole_characters(data, len(data))]
    if offset is None:
        text, used = end(data, room)
        start += len(data) - used
    else:
        text, used = beginning(data, room)
    return start, text, start + used


def _state(process: Process) -> dict[str, Any]:
    fields: dict[str, Any] = {"state": process.state, "exitCode": None}
    ending = process.ending
    if ending is not None:
        fields |= {"exitCode": ending.exit_code, "signal": ending.signal, "endedBy": ending.ended_by}
        names = protected_names((ending,), MOST_NAMES)
        if names:
            fields["protected"] = [name for each in names.values() for name in each]
    if process.error is not None:
        fields["error"] = process.error.message
    return fields


def _words(process: Process) -> str:
    if process.error is not None:
        return f"failed: {process.error.message}"
    if process.ending is None:
        return "running"
    names = protected_names((process.ending,), MOST_NAMES)
    return "; ".join((how_it_ended(process.ending), *protected_words(names)))


def _left(call: Call[Any]) -> float:
    """Seconds that the call may still take."""
    deadline = call.control.deadline
    return MAX_WAIT_S if deadline is None else max(0.0, deadline - time.monotonic())
