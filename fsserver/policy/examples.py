"""``tests`` of a root: actions that its rules must accept or reject. One that does not hold stops the server."""

from __future__ import annotations

from fsserver.policy.compiled import Action, RootRules
from fsserver.policy.decision import decide
from fsserver.policy.problems import Code, Problem, did_you_mean
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
