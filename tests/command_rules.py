"""Commands made from the policy language, with a program that nobody runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsserver.policy.arguments import Judgement, judge
from fsserver.policy.compiled import Command
from tests.policy_files import desk_in

SPELLINGS = {"app": ("/srv/app", "/data/app"), "notes": ("/srv/notes",), "deep": ("/srv/app/deep",)}


def command_of(directory: Path, rules: str, *, name: str = "tool") -> Command:
    """The command that ``rules``, in flow style and without exec, come to. Roots: app rw, notes ro, deep ro."""
    desk = desk_in(directory)
    desk.directory("app/deep")
    roots = "{app: {path: ~/app, mode: rw}, notes: {path: ~/notes}, deep: {path: ~/app/deep}}"
    program = "exec: {in: app, find: bin/tool}"
    text = f"version: 1\nroots: {roots}\ncommands:\n  {name}: {{{program}, {rules}}}\n"
    return desk.load(text).commands[name]


def judged(command: Command, arguments: Sequence[str], directory: str = "") -> Judgement:
    return judge(command, arguments, directory=("app", directory), spellings=SPELLINGS)
