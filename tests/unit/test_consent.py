"""A person's consent in the gate: what is asked, what an answer is worth, and that nothing happens without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action, Effect
from fsserver.policy.service import CallClass
from fsserver.tools.approval import MAX_SHOWN, Answer, Consent, ConsentNeeded, Question, digest_of
from fsserver.tools.arguments import Arguments
from fsserver.tools.call import Call
from fsserver.tools.catalog import file_tools
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from fsserver.tools.registry import Annotations, Registry, Tool
from fsserver.tools.result import ToolResult, text_result
from tests.gates import Served, served, texts
from tests.trees import build, rules, snapshot

ALL_ASK = dict.fromkeys((action for action in Action if action.changes), Effect.ASK)

# Each changes something; what is asked about it.
CALLS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "create": ("write_file", {"path": "new", "content": "x"}, ["create:\n{top}/new"]),
    "overwrite": ("write_file", {"path": "a.txt", "content": "x"}, ["overwrite:\n{top}/a.txt"]),
    "append": ("write_file", {"path": "a.txt", "content": "x", "mode": "append"}, ["overwrite:\n{top}/a.txt"]),
    "edit": (
        "edit_file",
        {"path": "a.txt", "edits": [{"oldText": "one", "newText": "1"}]},
        ["edit:\n{top}/a.txt"],
    ),
    "make_directory": ("create_directory", {"path": "e/f"}, ["create:\n{top}/e/f"]),
    "copy": ("copy_file", {"source": "a.txt", "destination": "new"}, ["create:\n{top}/new"]),
    "move": (
        "move_file",
        {"source": "a.txt", "destination": "new"},
        ["move to {top}/new:\n{top}/a.txt", "take what is moved from {top}/a.txt:\n{top}/new"],
    ),
    "delete": ("delete_file", {"path": "a.txt"}, ["delete:\n{top}/a.txt"]),
    "delete_all": ("delete_file", {"path": "d", "recursive": True}, ["delete with all that is in it:\n{top}/d"]),
    "through_a_link": ("write_file", {"path": "link", "content": "x"}, ["overwrite:\n{top}/d/b.txt"]),
}
by_call = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file d/b.txt two", "link link -> d/b.txt"])
    return work


@pytest.fixture
def gate(tmp_path: Path, top: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(top, operations=ALL_ASK)], can_ask=True) as running:
        yield running


def code(result: ToolResult) -> str:
    assert result.is_error, texts(result)
    assert result.structured is not None
    return str(result.structured["error"]["code"])


@by_call
def test_nothing_is_done_before_a_person_was_asked(name: str, gate: Served) -> None:
    before = snapshot(gate.top)
    tool, arguments, questions = CALLS[name]
    needed = gate.needed(tool, **arguments)
    assert [question.what for question in needed.questions] == [text.format(top=gate.top) for text in questions]
    assert {question.rule for question in needed.questions} == {"policy.yaml:7"}
    assert all("needs a person's consent" in str(question.reason) for question in needed.questions)
    assert snapshot(gate.top) == before
    (asked,) = gate.records()
    assert (asked["event"], asked["digest"], asked["call"]) == ("call.asked", needed.digest, needed.call)
    assert [question["what"] for question in asked["questions"]] == [question.what for question in needed.questions]


@by_call
def test_what_a_person_accepts_is_done_and_recorded(name: str, gate: Served) -> None:
    before = snapshot(gate.top)
    tool, arguments, _ = CALLS[name]
    needed = gate.needed(tool, **arguments)
    result = gate.answered(Consent.to(needed, Answer.ACCEPTED), tool, **arguments)
    assert not result.is_error, texts(result)
    assert snapshot(gate.top) != before
    asked, consent, intent, outcome = gate.records()
    assert [record["event"] for record in (asked, consent, intent, outcome)] == [
        "call.asked",
        "call.consent",
        "call.intent",
        "call.outcome",
    ]
    assert (consent["answer"], consent["asked"], consent["digest"]) == ("accepted", asked["call"], needed.digest)
    assert consent["call"] == intent["call"] == outcome["call"] != asked["call"]
    assert consent["principal"] == "tester"


@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.ACCEPTED])
def test_only_a_person_who_accepts_lets_a_call_go_on(answer: Answer, gate: Served) -> None:
    before = snapshot(gate.top)
    needed = gate.needed("delete_file", path="a.txt")
    result = gate.answered(Consent.to(needed, answer), "delete_file", path="a.txt")
    assert code(result) == "denied.consent"
    assert result.structured is not None
    assert result.structured["error"]["rule"] == "policy.yaml:7"
    assert result.structured["error"]["allowedInstead"]
    assert snapshot(gate.top) == before
    assert [record["event"] for record in gate.records()] == ["call.asked", "call.consent", "call.refused"]
    assert gate.records()[1]["answer"] == answer.value


def test_every_answer_is_told_in_its_own_words(gate: Served) -> None:
    needed = gate.needed("delete_file", path="a.txt")
    answers = [answer for answer in Answer if answer is not Answer.ACCEPTED]
    told = {texts(gate.answered(Consent.to(needed, answer), "delete_file", path="a.txt"))[0] for answer in answers}
    assert len(told) == len(answers)


def replaced(top: Path) -> None:
    (top / "other").write_text("one")
    os.replace(top / "other", top / "a.txt")


def linked_elsewhere(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("a.txt")


# What happens between question and answer; the call asked about and the call made then.
CHANGES: dict[str, tuple[Callable[[Path], object], dict[str, Any], dict[str, Any]]] = {
    "another_file_took_the_name": (replaced, {"path": "a.txt", "content": "x"}, {}),
    "the_file_is_gone": (lambda top: (top / "a.txt").unlink(), {"path": "a.txt", "content": "x"}, {}),
    "a_file_appeared": (lambda top: (top / "new").write_text("precious"), {"path": "new", "content": "x"}, {}),
    "a_link_leads_elsewhere": (linked_elsewhere, {"path": "link", "content": "x"}, {}),
    "another_path": (lambda top: None, {"path": "a.txt", "content": "x"}, {"path": "d/b.txt"}),
    "the_path_spelled_otherwise": (lambda top: None, {"path": "a.txt", "content": "x"}, {"path": "./a.txt"}),
    "other_contents": (lambda top: None, {"path": "a.txt", "content": "x"}, {"content": "y"}),
    "another_mode": (lambda top: None, {"path": "a.txt", "content": "x"}, {"mode": "append"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_consent_is_for_exactly_what_was_shown(name: str, gate: Served) -> None:
    change, arguments, swapped = CHANGES[name]
    needed = gate.needed("write_file", **arguments)
    change(gate.top)
    before = snapshot(gate.top)
    result = gate.answered(Consent.to(needed, Answer.ACCEPTED), "write_file", **{**arguments, **swapped})
    assert code(result) == "denied.consent"
    assert "exactly what the person was shown" in texts(result)[0]
    assert snapshot(gate.top) == before
    assert gate.records()[-1]["event"] == "call.refused"


def test_consent_to_one_tool_is_none_to_another(gate: Served) -> None:
    needed = gate.needed("write_file", path="new", content="")
    assert code(gate.answered(Consent.to(needed, Answer.ACCEPTED), "create_directory", path="new")) == "denied.consent"
    assert not (gate.top / "new").exists()


def test_consent_that_is_not_needed_any_more_is_refused(tmp_path: Path, top: Path) -> None:
    """The person said what may be overwritten; making the file anew is another effect."""
    with served(tmp_path, [rules(top, operations={Action.OVERWRITE: Effect.ASK})], can_ask=True) as gate:
        needed = gate.needed("write_file", path="a.txt", content="x")
        (top / "a.txt").unlink()
        result = gate.answered(Consent.to(needed, Answer.ACCEPTED), "write_file", path="a.txt", content="x")
        assert code(result) == "denied.consent"
        assert not (top / "a.txt").exists()


def test_append_that_others_overtake_does_not_go_beyond_the_consent(gate: Served) -> None:
    """An append begins again with what took the file's place, which nobody was shown."""
    needed = gate.needed("write_file", path="a.txt", content="x", mode="append")
    tool = file_tools().get("write_file")
    assert tool is not None
    real = tool.body

    def overtaken(call: Call[Any]) -> ToolResult:
        replaced(gate.top)
        return real(call)

    registry = Registry([replace(each, body=overtaken) if each is tool else each for each in file_tools().tools])
    again = replace(gate, gate=Gate(registry=registry, policy=gate.gate._policy, audit=gate.log))
    consent = Consent.to(needed, Answer.ACCEPTED)
    assert code(again.answered(consent, "write_file", path="a.txt", content="x", mode="append")) == "denied.consent"
    assert (gate.top / "a.txt").read_text() == "one"


@by_call
def test_where_nobody_can_be_asked_nothing_is_done(name: str, tmp_path: Path, top: Path) -> None:
    """Another root grants every tool, so that it is the path that is refused."""
    (tmp_path / "free").mkdir()
    before = snapshot(top)
    tool, arguments, _ = CALLS[name]
    with served(tmp_path, [rules(top, operations=ALL_ASK), rules(tmp_path / "free", name="free")]) as gate:
        inside = {
            key: str(top / value) if key != "content" and key != "mode" else value
            for key, value in arguments.items()
            if isinstance(value, str)
        }
        error = gate.error(tool, **{**arguments, **inside})
        assert error["code"] == "denied.consent"
        assert "does not offer elicitation" in error["message"]
        assert [record["event"] for record in gate.records()] == ["call.consent", "call.refused"]
        assert gate.records()[0]["answer"] == "unavailable"
    assert snapshot(top) == before


def test_tool_that_needs_consent_is_offered_where_a_person_can_be_asked(tmp_path: Path, top: Path) -> None:
    for can_ask in (True, False):
        with served(tmp_path, [rules(top, operations={Action.DELETE: Effect.ASK})], can_ask=can_ask) as gate:
            assert ("delete_file" in {tool.name for tool in gate.gate.tools(gate.session)}) is can_ask
            if not can_ask:
                error = gate.error("delete_file", path="a.txt")
                assert error["code"] == "denied.tool"
                assert "this client cannot ask a person" in error["message"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("edit_file", {"path": "a.txt", "edits": [{"oldText": "one", "newText": "1"}], "dryRun": True}),
        ("create_directory", {"path": "d"}),
        ("read_text_file", {"path": "a.txt"}),
    ],
    ids=["dry_run", "directory_that_exists", "read"],
)
def test_what_changes_nothing_is_not_asked_about(tool: str, arguments: dict[str, Any], gate: Served) -> None:
    assert not gate.call(tool, **arguments).is_error


def test_deny_beats_ask(tmp_path: Path, top: Path) -> None:
    with served(tmp_path, [rules(top, deny=["a.txt"], read_only=["d"], operations=ALL_ASK)], can_ask=True) as gate:
        assert gate.error("delete_file", path="a.txt")["code"] == "denied.protected"
        assert gate.error("delete_file", path="d/b.txt")["code"] == "denied.read_only"
        assert gate.error("delete_file", path="d", recursive=True)["code"] == "denied.read_only"


def test_tree_with_a_protected_name_is_refused_and_not_asked_about(tmp_path: Path, top: Path) -> None:
    with served(tmp_path, [rules(top, deny=["b.txt"], operations=ALL_ASK)], can_ask=True) as gate:
        assert gate.error("delete_file", path="d", recursive=True)["code"] == "denied.protected"
        assert [record["event"] for record in gate.records()] == ["call.refused"]


def test_caller_that_does_not_ask_leaves_no_record_of_a_question(gate: Served) -> None:
    stopped = gate.gate.call(gate.session, "delete_file", {"path": "a.txt"}, Control(), asks=False)
    assert isinstance(stopped, ConsentNeeded)
    assert gate.records() == []
    assert (gate.top / "a.txt").exists()


class Anything(Arguments):
    path: str


def with_questions(gate: Served, *questions: Question) -> Served:
    """The same gate with one more tool, ``probe``, whose check asks these, and which makes ``made``."""

    def check(call: Call[Anything]) -> None:
        call.questions.extend(questions)

    def body(call: Call[Anything]) -> ToolResult:
        (gate.top / "made").write_text("x")
        return text_result("done")

    tool: Tool[Anything] = Tool(
        name="probe",
        title="Probe",
        description="For tests.",
        arguments=Anything,
        annotations=Annotations(read_only=False),
        call_class=CallClass.READ,
        needs=frozenset(),
        paths={"path": Access.READ},
        effect=lambda arguments: True,
        check=check,
        body=body,
    )
    registry = Registry((*file_tools().tools, tool))
    return replace(gate, gate=Gate(registry=registry, policy=gate.gate._policy, audit=gate.log))


def test_question_of_a_tools_own_check_is_asked(gate: Served) -> None:
    question = Question("git push\nin /work", "policy.yaml:20", "pushing is public")
    gate = with_questions(gate, question)
    needed = gate.needed("probe", path="a.txt")
    assert needed.questions == (question,)
    assert not (gate.top / "made").exists()
    assert not gate.answered(Consent.to(needed, Answer.ACCEPTED), "probe", path="a.txt").is_error
    assert (gate.top / "made").exists()


def test_consent_to_another_question_of_the_same_call_is_refused(gate: Served) -> None:
    needed = with_questions(gate, Question("git push", "policy.yaml:20", None)).needed("probe", path="a.txt")
    other = with_questions(gate, Question("git push --force", "policy.yaml:20", None))
    assert code(other.answered(Consent.to(needed, Answer.ACCEPTED), "probe", path="a.txt")) == "denied.consent"
    assert not (gate.top / "made").exists()


def test_question_that_is_too_long_to_be_shown_is_refused(gate: Served) -> None:
    gate = with_questions(gate, Question("x" * MAX_SHOWN, "policy.yaml:20", None))
    error = gate.error("probe", path="a.txt")
    assert error["code"] == "denied.consent"
    assert "too long" in error["message"]
    assert not (gate.top / "made").exists()


def test_message_shows_the_whole_effect_and_nothing_can_hide_in_it(gate: Served) -> None:
    name = "a\u202etxt\nrule: none\u2028\x85\u200b.exe"
    (gate.top / name).write_text("x")
    message = gate.needed("delete_file", path=name).message()
    assert message.split("\n") == [
        "Allow delete_file to do this?",
        "",
        "delete:",
        f"{gate.top}/a\\xe2\\x80\\xaetxt\\x0arule: none\\xe2\\x80\\xa8\\xc2\\x85\\u200b.exe",
        "rule: policy.yaml:7",
        'reason: delete in the root "work" needs a person\'s consent',
    ]


def test_digest_tells_every_part_apart() -> None:
    asked = Question("w", "r", "why")
    paths = [{"file": "1:2"}]
    parts: list[tuple[Any, ...]] = [
        ("t", {"a": 1}, paths, [asked]),
        ("u", {"a": 1}, paths, [asked]),
        ("t", {"a": "1"}, paths, [asked]),
        ("t", {"a": 1}, [{"file": "1:3"}], [asked]),
        ("t", {"a": 1}, paths, [Question("v", "r", "why")]),
        ("t", {"a": 1}, paths, [Question("w", "s", "why")]),
        ("t", {"a": 1}, paths, [Question("w", "r", None)]),
        ("t", {"a": 1}, paths, [asked, asked]),
    ]
    assert len({digest_of(*part) for part in parts}) == len(parts)
    assert digest_of("t", {"a": 1, "b": 2}, [], []) == digest_of("t", {"b": 2, "a": 1}, [], [])
