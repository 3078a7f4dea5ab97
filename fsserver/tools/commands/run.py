"""run_command and run_pipeline: programs of the policy, with arguments that it allows, to their end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field

from fsserver.paths.workspace import Access
from fsserver.policy.service import CallClass
from fsserver.sandbox.pipeline import start_all
from fsserver.sandbox.runner import Running
from fsserver.sandbox.streams import Ends, Feed, Pump, Sink
from fsserver.tools.arguments import MAX_NUMBER, Arguments
from fsserver.tools.call import Call
from fsserver.tools.commands.changes import watching
from fsserver.tools.commands.choice import Chosen, ask, choose, time_limit
from fsserver.tools.commands.following import Live, follow
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.commands.rendering import run_facts, run_result
from fsserver.tools.registry import Annotations, Tool
from fsserver.tools.result import ToolResult

MAX_STAGES: Final = 16
LISTED_NAMES: Final = 400  # characters of a description that list commands

Seconds = Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)]


class RunCommand(Arguments):
    command: str = Field(description="Its name in the policy.")
    args: list[str] = Field(default_factory=list, description="One string each; no shell reads them.")
    cwd: str | None = Field(None, description="A root's name and a path below it, or a path. Default: its first root.")
    stdin: str | None = Field(None, description="What it reads from standard input.")
    timeout: Seconds | None = Field(None, description="Seconds.")


class Stage(Arguments):
    command: str = Field(description="Its name in the policy.")
    args: list[str] = Field(default_factory=list, description="One string each.")


class RunPipeline(Arguments):
    stages: list[Stage] = Field(min_length=1, max_length=MAX_STAGES, description="a | b | c")
    cwd: str | None = Field(None, description="Where all of them run, as in run_command.")
    stdin: str | None = Field(None, description="What the first reads.")
    timeout: Seconds | None = Field(None, description="Seconds.")


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs that are decided."""

    stages: tuple[Chosen, ...]
    stdin: bytes
    timeout_s: float


def run_tools(host: CommandHost) -> tuple[Tool[Any], ...]:
    """The two tools, for one server."""

    def check_command(call: Call[RunCommand]) -> None:
        wanted = call.arguments
        stage = choose(call, host.commands, wanted.command, wanted.args, wanted.cwd)
        call.plan = _planned(call, [stage], wanted.stdin, wanted.timeout)

    def check_pipeline(call: Call[RunPipeline]) -> None:
        wanted = call.arguments
        stages = [choose(call, host.commands, each.command, each.args, wanted.cwd) for each in wanted.stages]
        call.plan = _planned(call, stages, wanted.stdin, wanted.timeout)

    def body(call: Call[Any]) -> ToolResult:
        return _run(call, host)

    hints = Annotations(read_only=False, destructive=True, open_world=host.networked)
    return (
        Tool(
            name="run_command",
            title="Run Command",
            description=f"Runs a program in a sandbox, without a shell. Commands: {_listed(host)}. "
            "describe_policy says what arguments they take.",
            arguments=RunCommand,
            annotations=hints,
            call_class=CallClass.COMMAND,
            needs=frozenset(),
            own_paths={"cwd": Access.LIST},
            contents=frozenset({"stdin"}),
            unavailable=host.no_commands,
            effect=lambda _: True,
            check=check_command,
            body=body,
            waits=True,
        ),
        Tool(
            name="run_pipeline",
            title="Run Pipeline",
            description="Runs commands as a | b | c, each with its own rules and sandbox. The exit code is the last's.",
            arguments=RunPipeline,
            annotations=hints,
            call_class=CallClass.COMMAND,
            needs=frozenset(),
            own_paths={"cwd": Access.LIST},
            contents=frozenset({"stdin"}),
            unavailable=host.no_commands,
            effect=lambda _: True,
            check=check_pipeline,
            body=body,
            waits=True,
        ),
    )


def _planned(call: Call[Any], stages: Sequence[Chosen], stdin: str | None, timeout_s: float | None) -> Plan:
    timeout_s = time_limit(stages, timeout_s)
    ask(call, stages, stdin)
    return Plan(tuple(stages), (stdin or "").encode("utf-8"), timeout_s)


def _run(call: Call[Any], host: CommandHost) -> ToolResult:
    plan: Plan = call.plan
    # More than a result can show is not kept, however much the policy lets be kept.
    kept = [min(stage.command.limits.output_bytes, call.limits.result_bytes) for stage in plan.stages]
    stdout, stderr = Ends(kept[-1]), [Ends(most) for most in kept]
    live = Live()
    with watching(call, host.policy, plan.stages), ExitStack() as held:
        runs = start_all(host.runner, [stage.request(plan.timeout_s) for stage in plan.stages], held)
        sources: dict[int, Sink] = {run.stderr: live.watch(sink) for run, sink in zip(runs, stderr, strict=True)}
        assert runs[-1].stdout is not None, "the last stage's output is ours"
        sources[runs[-1].stdout] = live.watch(stdout)
        endings = follow(runs, Pump(sources, _feed(runs[0], plan.stdin)), call.control, plan.timeout_s, live)
    call.facts |= run_facts(endings, stdout, stderr)
    return run_result(plan.stages, endings, stdout, stderr, call.limits.result_bytes)


def _feed(running: Running, data: bytes) -> Feed | None:
    """What writes ``data``; without any the command finds its input ended."""
    if data and running.stdin is not None:
        return Feed(running.stdin, data, running.close_stdin)
    running.close_stdin()
    return None


def _listed(host: CommandHost) -> str:
    names = ", ".join(host.commands)
    return names if len(names) <= LISTED_NAMES else names[:LISTED_NAMES].rpartition(", ")[0] + ", ..."
