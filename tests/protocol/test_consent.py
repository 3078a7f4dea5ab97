"""A person's consent over the wire, in both eras: the real server, a client that answers as each test says."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.protocol.client import HANDSHAKE_REVISIONS, Client, Message, envelope, text_of
from tests.trees import build

Serve = Callable[..., Client]

CAN_ASK: Message = {"elicitation": {}}
YES = {"action": "accept", "content": {"approve": True}}

# What a client may answer besides a plain yes, and what the log says of it.
NO_CONSENT: dict[str, tuple[Any, str]] = {
    "declined": ({"action": "decline"}, "declined"),
    "accepted_without_approval": ({"action": "accept", "content": {"approve": False}}, "declined"),
    "closed": ({"action": "cancel"}, "cancelled"),
    "approve_is_text": ({"action": "accept", "content": {"approve": "true"}}, "malformed"),
    "approve_is_a_number": ({"action": "accept", "content": {"approve": 1}}, "malformed"),
    "approve_is_null": ({"action": "accept", "content": {"approve": None}}, "malformed"),
    "approve_is_missing": ({"action": "accept", "content": {"yes": True}}, "malformed"),
    "no_content": ({"action": "accept"}, "malformed"),
    "declined_with_approval": ({"action": "decline", "content": {"approve": True}}, "declined"),
}
# These break the revision's schema too; a modern call that holds one is a protocol error.
NO_RESULT: dict[str, tuple[Any, str]] = {
    "content_is_a_list": ({"action": "accept", "content": [True]}, "malformed"),
    "approve_is_a_list": ({"action": "accept", "content": {"approve": [True]}}, "malformed"),
    "unknown_action": ({"action": "yes", "content": {"approve": True}}, "malformed"),
    "no_action": ({"content": {"approve": True}}, "malformed"),
    "empty": ({}, "malformed"),
}


def planted(place: Path) -> Path:
    (place / "work").mkdir()
    build(place / "work", ["file a.txt one", "file b.txt two", "file d/c.txt three"])
    return place


def policy_in(tree: Path, timeout: str = "20s", **more: Any) -> Path:
    """A policy that asks before it deletes."""
    policy = tree / "policy.yaml"
    policy.write_text(
        json.dumps(
            {
                "version": 1,
                "roots": {"work": {"path": str(tree / "work"), "mode": "rw", "operations": {"delete": "ask"}}},
                "approvals": {"via": ["elicitation"], "timeout": timeout, "on_unavailable": "deny"},
                "audit": {"sinks": [{"dir": str(tree / "audit")}]},
                **more,
            },
            indent=1,
        )
    )
    policy.chmod(0o600)
    return policy


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path)


@pytest.fixture
def asking(serve: Serve, tree: Path) -> Callable[..., Client]:
    """Starts a server that asks before it deletes."""
    return lambda timeout="20s", **more: serve("--policy", policy_in(tree, timeout, **more))


def opened(client: Client, revision: str = HANDSHAKE_REVISIONS[-1], capabilities: Message = CAN_ASK) -> Client:
    client.open(revision, capabilities)
    return client


@dataclass(frozen=True)
class Standing:
    """A server that outlives the tests which use it: each leaves the tree as it is.

    Attributes:
        before: how many records there were when the test began.
    """

    client: Client
    tree: Path
    before: int = 0

    def events(self) -> list[str]:
        return events(self.tree)[self.before :]

    def answers(self) -> list[str]:
        return answers(self.tree, self.before)

    def unchanged(self) -> bool:
        found = [(self.tree / "work" / name).read_text() for name in ("a.txt", "b.txt", "d/c.txt")]
        return found == ["one", "two", "three"] and len(os.listdir(self.tree / "work")) == 3


@contextmanager
def standing(place: Path) -> Iterator[Standing]:
    tree = planted(place)
    argv = ["-m", "fsserver", "serve", "--policy", str(policy_in(tree))]
    with Client(argv, env={"XDG_STATE_HOME": str(tree / "state")}) as client:
        yield Standing(client, tree)


@pytest.fixture(scope="module")
def one_for_handshakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing(tmp_path_factory.mktemp("handshake")) as server:
        opened(server.client)
        yield server


@pytest.fixture(scope="module")
def one_for_modern_calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing(tmp_path_factory.mktemp("modern")) as server:
        server.client.request("server/discover", {"_meta": envelope()})  # it serves
        yield server


@pytest.fixture
def handshaken(one_for_handshakes: Standing) -> Iterator[Standing]:
    """The server that asks before it deletes, which others have used; at the end everything is there."""
    yield replace(one_for_handshakes, before=len(records(one_for_handshakes.tree)))
    assert one_for_handshakes.unchanged()


@pytest.fixture
def unopened(one_for_modern_calls: Standing) -> Iterator[Standing]:
    """The same, for calls that need no handshake."""
    yield replace(one_for_modern_calls, before=len(records(one_for_modern_calls.tree)))
    assert one_for_modern_calls.unchanged()


def records(tree: Path) -> list[dict[str, Any]]:
    (log,) = (tree / "audit").iterdir()
    lines = log.read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"].startswith("call.")]


def events(tree: Path) -> list[str]:
    return [record["event"] for record in records(tree)]


def answers(tree: Path, before: int = 0) -> list[str]:
    return [record["answer"] for record in records(tree)[before:] if record["event"] == "call.consent"]


def error_of(result: Message) -> Message:
    assert result.get("isError") is True, result
    return dict(result["structuredContent"]["error"])


# --- handshake: the server asks while the call waits


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_person_who_accepts_lets_the_call_go_on(revision: str, asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking(), revision)
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    message = question["params"]["message"]
    assert f"delete:\n{tree}/work/a.txt\nrule: policy.yaml:" in message
    jsonschema.validate(YES["content"], question["params"]["requestedSchema"])
    assert (tree / "work/a.txt").exists()
    client.respond(question, YES)
    assert text_of(client.answer(call)["result"]) == "Successfully deleted a.txt"
    assert not (tree / "work/a.txt").exists()
    assert events(tree) == ["call.asked", "call.consent", "call.intent", "call.outcome"]


def test_call_that_a_person_is_asked_about_counts_once(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking(limits={"calls": {"rate": "2/h"}}))
    for name in ("a.txt", "b.txt"):
        call = client.start_call("delete_file", {"path": name})
        client.respond(client.question(), YES)
        assert text_of(client.answer(call)["result"]) == f"Successfully deleted {name}"
    assert error_of(client.answer(client.start_call("delete_file", {"path": "d"}))["result"])["code"] == "limit.rate"
    assert not (tree / "work/b.txt").exists()


@pytest.mark.parametrize("name", NO_CONSENT | NO_RESULT)
def test_any_other_answer_refuses(name: str, handshaken: Standing) -> None:
    client = handshaken.client
    answer, recorded = (NO_CONSENT | NO_RESULT)[name]
    call = client.start_call("delete_file", {"path": "a.txt"})
    client.respond(client.question(), answer)
    error = error_of(client.answer(call)["result"])
    assert error["code"] == "denied.consent"
    assert error["rule"].startswith("policy.yaml:")
    assert handshaken.answers() == [recorded]
    assert text_of(client.call("read_text_file", {"path": "a.txt"})) == "one"


def test_client_that_answers_with_an_error_is_refused(handshaken: Standing) -> None:
    client = handshaken.client
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    client.send({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no"}})
    assert error_of(client.answer(call)["result"])["code"] == "denied.consent"
    assert handshaken.answers() == ["failed"]


@pytest.mark.parametrize(
    "capabilities", [{}, {"elicitation": {"url": {}}}, {"roots": {}}], ids=["none", "url", "roots"]
)
def test_client_that_cannot_ask_is_offered_less_and_refused(
    capabilities: Message, asking: Callable[..., Client], tree: Path
) -> None:
    client = opened(asking(), capabilities=capabilities)
    assert "delete_file" not in {tool["name"] for tool in client.request("tools/list")["tools"]}
    error = error_of(client.call("delete_file", {"path": "a.txt"}))
    assert error["code"] == "denied.tool"
    assert "cannot ask a person" in error["message"]
    assert client.unexpected == []
    assert (tree / "work/a.txt").exists()


@pytest.mark.parametrize("capability", [{}, {"form": {}}, {"form": {}, "url": {}}], ids=["empty", "form", "both"])
def test_client_that_can_ask_is_offered_the_tool(capability: Message, asking: Callable[..., Client]) -> None:
    client = opened(asking(), capabilities={"elicitation": capability})
    assert "delete_file" in {tool["name"] for tool in client.request("tools/list")["tools"]}


def test_nobody_answers_and_the_call_is_refused_in_time(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking(timeout="300ms"))
    begun = time.monotonic()
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    assert "approvals.timeout" in error_of(client.answer(call)["result"])["message"]
    assert 0.3 <= time.monotonic() - begun < 10
    assert answers(tree) == ["timeout"]
    (closed,) = client.unexpected
    assert (closed["method"], closed["params"]["requestId"]) == ("notifications/cancelled", question["id"])
    client.respond(question, YES)  # too late
    assert text_of(client.call("read_text_file", {"path": "a.txt"})) == "one"


def test_cancelled_call_ends_its_question_and_changes_nothing(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    client.notify("notifications/cancelled", {"requestId": call})
    closed = client.message()
    assert (closed["method"], closed["params"]["requestId"]) == ("notifications/cancelled", question["id"])
    client.respond(question, YES)
    assert text_of(client.call("read_text_file", {"path": "a.txt"})) == "one"
    client.close_input()
    client.wait()
    assert client.rest() == []
    assert answers(tree) == ["abandoned"]


@pytest.mark.slow
def test_client_that_leaves_while_it_is_asked_ends_the_session(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    client.start_call("delete_file", {"path": "a.txt"})
    client.question()
    client.close_input()
    assert client.wait(timeout_s=10) == 0
    assert answers(tree) == ["abandoned"]
    assert (tree / "work/a.txt").exists()


def test_file_that_was_exchanged_while_a_person_was_asked_is_kept(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    (tree / "work/new").write_text("precious")
    os.replace(tree / "work/new", tree / "work/a.txt")
    client.respond(question, YES)
    assert "exactly what the person was shown" in error_of(client.answer(call)["result"])["message"]
    assert (tree / "work/a.txt").read_text() == "precious"


def test_call_that_takes_long_to_find_that_it_has_to_ask_is_asked_about_once(
    asking: Callable[..., Client], tree: Path
) -> None:
    """The thread that reads is relieved of such a call, and others are answered meanwhile."""
    root = {"path": str(tree / "work"), "mode": "rw", "operations": {"delete": "ask"}, "deny": ["never"]}
    client = opened(asking(roots={"work": root}))
    for number in range(3000):
        (tree / f"work/d/{number}").touch()
    call = client.start_call("delete_file", {"path": "d", "recursive": True})
    read = client.start_call("read_text_file", {"path": "b.txt"})
    question = client.question() if (early := client.message()).get("id") == read else early
    assert question["method"] == "elicitation/create"
    if question is early:
        assert text_of(client.answer(read)["result"]) == "two"
    client.respond(question, YES)
    assert not client.answer(call)["result"].get("isError")
    assert sorted(os.listdir(tree / "work")) == ["a.txt", "b.txt"]
    delete = [record["event"] for record in records(tree) if record["tool"] == "delete_file"]
    assert delete == ["call.asked", "call.consent", "call.intent", "call.outcome"]


def test_other_calls_go_on_while_a_person_thinks(asking: Callable[..., Client]) -> None:
    client = opened(asking())
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    for _ in range(20):
        assert text_of(client.call("read_text_file", {"path": "b.txt"})) == "two"
    client.respond(question, YES)
    assert not client.answer(call)["result"].get("isError")


def test_a_person_is_asked_one_thing_at_a_time(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    calls = {name: client.start_call("delete_file", {"path": name}) for name in ("a.txt", "b.txt")}
    first = client.question()
    client.request("tools/list")
    assert client.unexpected == []
    client.respond(first, {"action": "decline"})
    said = [client.message(), client.message()]  # the refusal of the one and the question about the other
    (second,) = [message for message in said if message.get("method") == "elicitation/create"]
    (refused,) = [message for message in said if "result" in message]
    assert error_of(refused["result"])["code"] == "denied.consent"
    client.respond(second, YES)
    (left,) = [call for call in calls.values() if call != refused["id"]]
    assert not client.answer(left)["result"].get("isError")
    assert sum((tree / "work" / name).exists() for name in calls) == 1


def test_flood_of_questions_is_refused_and_reads_go_on(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking(limits={"calls": {"concurrency": 4}}))
    calls = [client.start_call("delete_file", {"path": "a.txt"}) for _ in range(10)]
    question = client.question()
    refused = [client.message() for _ in range(8)]
    assert {error_of(message["result"])["code"] for message in refused} == {"denied.consent"}
    assert {message["id"] for message in refused} < set(calls)
    assert text_of(client.call("read_text_file", {"path": "b.txt"})) == "two"
    client.respond(question, {"action": "decline"})
    said = [client.message(), client.message()]
    (second,) = [message for message in said if message.get("method") == "elicitation/create"]
    client.respond(second, {"action": "decline"})
    assert error_of(client.message()["result"])["code"] == "denied.consent"
    client.close_input()
    client.wait()
    assert sorted(answers(tree)) == ["busy"] * 8 + ["declined"] * 2


def test_answer_to_another_question_is_no_answer(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    call = client.start_call("delete_file", {"path": "a.txt"})
    question = client.question()
    for identifier in ("fsserver-0", "fsserver-2", 1, call):
        client.send({"jsonrpc": "2.0", "id": identifier, "result": YES})
    assert text_of(client.call("read_text_file", {"path": "a.txt"})) == "one"
    client.respond(question, {"action": "decline"})
    assert error_of(client.answer(call)["result"])["code"] == "denied.consent"
    assert (tree / "work/a.txt").exists()


def test_consent_holds_for_one_call(asking: Callable[..., Client], tree: Path) -> None:
    client = opened(asking())
    for name in ("a.txt", "b.txt"):
        call = client.start_call("delete_file", {"path": name})
        client.respond(client.question(), YES)
        assert not client.answer(call)["result"].get("isError")
    assert os.listdir(tree / "work") == ["d"]


# --- modern: the result asks, and the client makes the call again


def modern(client: Client, arguments: Message, tool: str = "delete_file", **more: Any) -> Message:
    capabilities = more.pop("capabilities", CAN_ASK)
    params = {"name": tool, "arguments": arguments, "_meta": envelope(capabilities=capabilities)}
    return client.request("tools/call", {**params, **more})


def asked(client: Client, arguments: Message, **more: Any) -> str:
    """The state that came with the question."""
    result = modern(client, arguments, **more)
    assert result["resultType"] == "input_required", result
    return str(result["requestState"])


A_TXT: Message = {"path": "a.txt"}


def test_modern_client_is_asked_through_the_result_and_repeats_the_call(
    asking: Callable[..., Client], tree: Path
) -> None:
    client = asking()
    result = modern(client, A_TXT)
    assert result["resultType"] == "input_required"
    question = result["inputRequests"]["approval"]
    assert question["method"] == "elicitation/create"
    assert f"delete:\n{tree}/work/a.txt\nrule: policy.yaml:" in question["params"]["message"]
    jsonschema.validate(YES["content"], question["params"]["requestedSchema"])
    assert (tree / "work/a.txt").exists()
    done = modern(client, A_TXT, inputResponses={"approval": YES}, requestState=result["requestState"])
    assert (done["resultType"], text_of(done)) == ("complete", "Successfully deleted a.txt")
    assert not (tree / "work/a.txt").exists()
    assert events(tree) == ["call.asked", "call.consent", "call.intent", "call.outcome"]


@pytest.mark.parametrize("name", NO_CONSENT)
def test_any_other_modern_answer_refuses_and_is_spent(name: str, unopened: Standing) -> None:
    client = unopened.client
    answer, recorded = NO_CONSENT[name]
    state = asked(client, A_TXT)
    result = modern(client, A_TXT, inputResponses={"approval": answer}, requestState=state)
    assert error_of(result)["code"] == "denied.consent"
    assert error_of(result)["rule"].startswith("policy.yaml:")
    second = modern(client, A_TXT, inputResponses={"approval": YES}, requestState=state)
    assert error_of(second)["code"] == "denied.consent"
    assert unopened.answers() == [recorded, "used"]


@pytest.mark.parametrize("name", NO_RESULT)
def test_modern_answer_that_is_no_result_changes_nothing(name: str, unopened: Standing) -> None:
    client = unopened.client
    params = {
        "name": "delete_file",
        "arguments": A_TXT,
        "_meta": envelope(capabilities=CAN_ASK),
        "inputResponses": {"approval": NO_RESULT[name][0]},
        "requestState": asked(client, A_TXT),
    }
    answer = client.answer(client.start("tools/call", params))
    assert "error" in answer or error_of(answer["result"])["code"] == "denied.consent"


def without_mac(state: str) -> str:
    return state.partition(".")[0]


def expiring_later(state: str) -> str:
    body, _, mac = state.partition(".")
    fields = json.loads(base64.urlsafe_b64decode(body))
    fields["expires"] += 1000
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode() + "." + mac


# How a state that belongs to deleting a.txt is misused: the state and the call that it comes with.
MISUSES: dict[str, tuple[Callable[[str], Any], Message, str]] = {
    "other_arguments": (lambda state: state, {"path": "b.txt"}, "other_call"),
    "further_arguments": (lambda state: state, {"path": "a.txt", "recursive": True}, "other_call"),
    "same_arguments_spelled_otherwise": (lambda state: state, {"path": "./a.txt"}, "other_call"),
    "tampered_body": (expiring_later, A_TXT, "unknown_state"),
    "tampered_code": (lambda state: state[:-1] + ("0" if state[-1] != "0" else "1"), A_TXT, "unknown_state"),
    "no_code": (without_mac, A_TXT, "unknown_state"),
    "cut": (lambda state: state[1:], A_TXT, "unknown_state"),
    "empty": (lambda state: "", A_TXT, "unknown_state"),
    "not_ascii": (lambda state: state + "é", A_TXT, "unknown_state"),
    "long": (lambda state: state * 100, A_TXT, "unknown_state"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_state_of_one_call_is_none_for_another(name: str, unopened: Standing) -> None:
    client = unopened.client
    misuse, arguments, recorded = MISUSES[name]
    state = misuse(asked(client, A_TXT))
    result = modern(client, arguments, inputResponses={"approval": YES}, requestState=state)
    assert error_of(result)["code"] == "denied.consent"
    assert unopened.answers() == [recorded]
    assert unopened.events()[-1] == "call.refused"


def test_answer_without_a_state_is_refused(unopened: Standing) -> None:
    result = modern(unopened.client, A_TXT, inputResponses={"approval": YES})
    assert error_of(result)["code"] == "denied.consent"
    assert unopened.answers() == ["unknown_state"]


def test_state_of_another_run_is_refused(asking: Callable[..., Client], tree: Path) -> None:
    state = asked(asking(), A_TXT)
    client = asking(name="again")
    result = modern(client, A_TXT, inputResponses={"approval": YES}, requestState=state)
    assert "not from this server's run" in error_of(result)["message"]
    assert (tree / "work/a.txt").exists()


def test_state_for_one_tool_is_none_for_another(asking: Callable[..., Client], tree: Path) -> None:
    client = asking(roots={"work": {"path": str(tree / "work"), "mode": "rw", "operations": {"create": "ask"}}})
    state = asked(client, {"path": "new"}, tool="create_directory")
    more: Message = {"inputResponses": {"approval": YES}, "requestState": state}
    result = modern(client, {"path": "new", "content": ""}, tool="write_file", **more)
    assert error_of(result)["code"] == "denied.consent"
    assert not (tree / "work/new").exists()
    assert not modern(client, {"path": "new"}, tool="create_directory", **more).get("isError")


def test_answer_is_used_once(asking: Callable[..., Client], tree: Path) -> None:
    client = asking()
    more: Message = {"inputResponses": {"approval": YES}, "requestState": asked(client, A_TXT)}
    assert not modern(client, A_TXT, **more).get("isError")
    (tree / "work/a.txt").write_text("made again")
    assert "used before" in error_of(modern(client, A_TXT, **more))["message"]
    assert (tree / "work/a.txt").read_text() == "made again"
    assert answers(tree) == ["accepted", "used"]


def test_answer_that_comes_too_late_is_refused(asking: Callable[..., Client], tree: Path) -> None:
    client = asking(timeout="1ms")
    state = asked(client, A_TXT)
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        client.request("tools/list", {"_meta": envelope(capabilities=CAN_ASK)})
    result = modern(client, A_TXT, inputResponses={"approval": YES}, requestState=state)
    assert error_of(result)["code"] == "denied.consent"
    assert answers(tree) == ["expired"]
    assert (tree / "work/a.txt").exists()


def test_file_that_was_exchanged_before_the_modern_answer_is_kept(asking: Callable[..., Client], tree: Path) -> None:
    client = asking()
    state = asked(client, A_TXT)
    (tree / "work/new").write_text("precious")
    os.replace(tree / "work/new", tree / "work/a.txt")
    result = modern(client, A_TXT, inputResponses={"approval": YES}, requestState=state)
    assert "exactly what the person was shown" in error_of(result)["message"]
    assert (tree / "work/a.txt").read_text() == "precious"


def test_modern_client_that_cannot_ask_is_refused_and_never_asked(unopened: Standing) -> None:
    result = modern(unopened.client, A_TXT, capabilities={"elicitation": {"url": {}}})
    assert error_of(result)["code"] == "denied.tool"


def test_state_without_an_answer_asks_again(unopened: Standing) -> None:
    state = asked(unopened.client, A_TXT)
    assert asked(unopened.client, A_TXT, requestState=state) != state


def test_question_about_roots_and_question_about_consent_come_in_one_flow(
    asking: Callable[..., Client], tree: Path
) -> None:
    client = asking(client_roots="narrow")
    capabilities = {**CAN_ASK, "roots": {}}
    arguments = {"path": str(tree / "work/d/c.txt")}
    first = modern(client, arguments, capabilities=capabilities)
    assert list(first["inputRequests"]) == ["roots"]
    roots = {"roots": {"roots": [{"uri": (tree / "work/d").as_uri()}]}}
    second = modern(client, arguments, capabilities=capabilities, inputResponses=roots)
    assert sorted(second["inputRequests"]) == ["approval", "roots"]
    more = {"requestState": second["requestState"], "capabilities": capabilities}
    done = modern(client, arguments, inputResponses={**roots, "approval": YES}, **more)
    assert text_of(done).startswith("Successfully deleted")
    assert not (tree / "work/d/c.txt").exists()


def test_consent_does_not_widen_what_the_clients_roots_leave(asking: Callable[..., Client], tree: Path) -> None:
    client = asking(client_roots="narrow")
    capabilities = {**CAN_ASK, "roots": {}}
    arguments = {"path": str(tree / "work/a.txt")}
    wide = {"roots": {"roots": [{"uri": (tree / "work").as_uri()}]}}
    narrow = {"roots": {"roots": [{"uri": (tree / "work/d").as_uri()}]}}
    state = asked(client, arguments, capabilities=capabilities, inputResponses=wide)
    result = modern(
        client, arguments, capabilities=capabilities, inputResponses={**narrow, "approval": YES}, requestState=state
    )
    assert error_of(result)["code"] == "denied.outside_roots"
    assert (tree / "work/a.txt").exists()
