"""``tests`` of roots and commands: what the rules must accept or reject. One that does not hold stops the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fsserver.policy.arguments import Judgement, judge
from fsserver.policy.compiled import Action, Command, Effect, RootRules, SoughtProgram
from fsserver.policy.decision import decide
from fsserver.policy.problems import Code, Problem, Source, did_you_mean
from fsserver.policy.text import shortened
from fsserver.policy.tree import Node


def check_examples(rules: RootRules, root: Node, problems: list[Problem]) -> None:
    """Decide each example of ``root``, a checked section, and report those that come out the other way."""
    for wanted in ("accept", "reject"):
        for item in root.items_at("tests", wanted):
            problem = _check(rules, item, wanted == "accept")
            if problem is not None:
                problems.append(problem)


def _check(rules: RootRules, item: Node, wanted: bool) -> Problem | None:
    word, _, name = item.text.partition(" ")
    actions = {str(action) for action in Action}
    if word not in actions or not name.strip():
        help_text = did_you_mean(word, actions) or f"the actions are {', '.join(Action)}"
        return Problem(
            Code.TYPE, item.place, 'an example is an action and a path, such as "read src/main.py"', help_text
        )
    name = name.strip()
    if name.startswith(("/", "~")) or any(part in ("", ".", "..") for part in name.rstrip("/").split("/")):
        message = f'"{name}" is not a path beneath the root'
        return Problem(Code.TYPE, item.place, message, "write it as it is beneath the root, without a leading slash")
    decision = decide(rules, name.rstrip("/"), Action(word))
    if decision.allowed == wanted:
        return None
    if decision.allowed:
        return Problem(Code.TEST_FAILED, item.place, f'"{item.text}" is to be rejected, and the rules accept it')
    message = f'"{item.text}" is to be accepted, and is rejected: {decision.reason} ({decision.rule})'
    return Problem(Code.TEST_FAILED, item.place, message)


def check_command_examples(
    command: Command, node: Node, file: Source, spellings: Mapping[str, Sequence[str]], problems: list[Problem]
) -> None:
    """Judge each example of ``node``, a checked section, as if it ran in the first root that the command sees.

    A call about which a person is asked counts as accepted: what a test holds is whether the arguments are allowed.
    What a file accepts, ``file``, which extends it, may refuse: that is narrowing and no mistake.
    """
    program = command.program
    root = program.root if isinstance(program, SoughtProgram) else next(iter(command.roots))
    for wanted in ("accept", "reject"):
        for item in node.items_at("tests", wanted):
            arguments = _arguments(item, problems)
            if arguments is None:
                continue
            judgement = judge(command, arguments, directory=(root, ""), spellings=spellings)
            accepted = judgement.effect is not Effect.DENY
            shown = shortened(" ".join([command.name, *arguments]))
            if accepted and wanted == "reject":
                message = f'"{shown}" is to be rejected, and the rules accept it'
                problems.append(Problem(Code.TEST_FAILED, item.place, message))
            elif not accepted and wanted == "accept" and not _narrowed(item, judgement, file):
                message = f'"{shown}" is to be accepted, and is rejected: {judgement.reason} ({judgement.rule})'
                help_text = f"allowed: {judgement.allowed_instead}" if judgement.allowed_instead else None
                problems.append(Problem(Code.TEST_FAILED, item.place, message, help_text))


def _narrowed(item: Node, judgement: Judgement, file: Source) -> bool:
    """Whether another file's rule refuses an example that ``file`` did not write."""
    source = item.place.source
    return source is not file and judgement.rule is not None and judgement.rule.file != source.label


def _arguments(item: Node, problems: list[Problem]) -> list[str] | None:
    """An example's arguments: the items of a list, or a text split as a shell would."""
    if isinstance(item.value, list):
        return [each.text for each in item.items]
    import shlex  # noqa: PLC0415 - costs more than the rest of an example

    try:
        return shlex.split(item.text)
    except ValueError as error:
        message = f'"{shortened(item.text)}" cannot be split into arguments: {str(error).lower()}'
        problems.append(Problem(Code.TYPE, item.place, message, "write the arguments as a list"))
        return None
