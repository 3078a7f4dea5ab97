"""``client_roots``: a client's roots are ignored, or cut its session down; they never add anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.client import Client, Message, envelope, text_of

Serve = Callable[..., Client]

OFFERS_ROOTS = {"roots": {"listChanged": True}}


def planted(place: Path) -> Path:
    """Two roots, ``work`` and ``other``, a file beside them, and ways between them."""
    for name in ("work/sub", "work/sub/deep", "work/side", "other"):
        (place / name).mkdir(parents=True)
        (place / name / "f.txt").write_text(name)
    (place / "outside.txt").write_text("outside")
    (place / "work/sub/to-side").symlink_to("../side/f.txt")
    (place / "work/link-to-sub").symlink_to("sub")
    (place / "work/sub/.env").write_text("SECRET=1")
    return place


def policy_in(tree: Path) -> Path:
    """A policy that narrows."""
    policy = tree / "policy.yaml"
    policy.write_text(
        json.dumps(
            {
                "version": 1,
                "client_roots": "narrow",
                "roots": {
                    name: {"path": str(tree / name), "mode": "rw", "deny": [".env"]} for name in ("work", "other")
                },
                "audit": {"sinks": [{"dir": str(tree / "audit")}]},
            }
        )
    )
    policy.chmod(0o600)
    return policy


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path)


@pytest.fixture
def narrow(serve: Serve, tree: Path) -> Callable[[], Client]:
    """Starts a server whose policy narrows."""
    policy = policy_in(tree)
    return lambda: serve("--policy", policy)


@dataclass(frozen=True)
class Session:
    """One that outlives the tests which use it: they read, and say other roots."""

    client: Client
    tree: Path

    def ask_again(self) -> Any:
        """The id of the server's next question. When it is put, all that the policy grants was left."""
        self.client.notify("notifications/roots/list_changed")
        say_roots(self.client, uri(self.tree))
        assert not refused(read(self.client, self.tree / "work/side/f.txt"))
        self.client.notify("notifications/roots/list_changed")
        return asked_for_roots(self.client)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    tree = planted(tmp_path_factory.mktemp("session"))
    argv = ["-m", "fsserver", "serve", "--policy", str(policy_in(tree))]
    with Client(argv, env={"XDG_STATE_HOME": str(tree / "state")}) as client:
        yield Session(opened(client, uri(tree)), tree)


def asked_for_roots(client: Client) -> Any:
    """The id of the server's question."""
    question = client.message()
    assert question["method"] == "roots/list"
    return question["id"]


def say_roots(client: Client, *roots: object) -> None:
    """Answer the server's question with these URIs."""
    answer_with(client, asked_for_roots(client), *roots)


def answer_with(client: Client, question: Any, *roots: object) -> None:
    listed = [{"uri": str(root)} for root in roots]
    client.send({"jsonrpc": "2.0", "id": question, "result": {"roots": listed}})


def uri(path: Path) -> str:
    return path.as_uri()


def opened(client: Client, *roots: object) -> Client:
    client.open(capabilities=OFFERS_ROOTS)
    say_roots(client, *roots)
    return client


def read(client: Client, path: object) -> Message:
    return client.call("read_text_file", {"path": str(path)})


def refused(result: Message) -> bool:
    return result.get("isError") is True and text_of(result).startswith("Access denied")


def test_by_default_a_client_is_never_asked(serve: Serve, tree: Path) -> None:
    client = serve("--root", tree / "work")
    client.open(capabilities=OFFERS_ROOTS)
    client.notify("notifications/roots/list_changed")
    assert text_of(read(client, tree / "work/side/f.txt")) == "work/side"
    client.close_input()
    assert client.unexpected + client.rest() == []


def test_what_lies_in_a_clients_root_and_nothing_else_is_left(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/sub"))
    assert text_of(read(client, tree / "work/sub/f.txt")) == "work/sub"
    assert text_of(read(client, tree / "work/sub/deep/f.txt")) == "work/sub/deep"
    for path in ("work/side/f.txt", "work", "other/f.txt", "outside.txt", "work/sub/../side/f.txt", "work/sub/to-side"):
        assert refused(read(client, tree / path)), path
    assert refused(client.call("list_directory", {"path": str(tree / "work")}))
    assert refused(client.call("write_file", {"path": str(tree / "work/new"), "content": "x"}))
    moved = {"source": str(tree / "work/sub/f.txt"), "destination": str(tree / "work/side/g.txt")}
    assert refused(client.call("move_file", moved))
    assert refused(client.call("delete_file", {"path": str(tree / "work/sub"), "recursive": True}))
    assert refused(
        client.call("move_file", {"source": str(tree / "work/sub"), "destination": str(tree / "work/sub/x")})
    )
    assert text_of(client.call("list_allowed_directories")).splitlines()[1:] == [str(tree / "work/sub")]


def test_relative_paths_begin_in_the_clients_root(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/side"), uri(tree / "work/sub"))
    assert text_of(read(client, "f.txt")) == "work/side"
    assert text_of(read(client, "deep/f.txt")) == "work/sub/deep"
    assert text_of(client.call("list_directory", {"path": "."})) == "[FILE] f.txt"
    client.call("write_file", {"path": "new.txt", "content": "x"})
    assert (tree / "work/side/new.txt").read_text() == "x"
    assert refused(read(client, "../sub/../../outside.txt"))
    assert text_of(read(client, "../sub/f.txt")) == "work/sub"


def test_refusals_tell_nothing_of_what_lies_beside_the_clients_root(narrow: Callable[[], Client], tree: Path) -> None:
    """Neither whether it exists, nor where a link leads, nor which directories the policy would grant."""
    client = opened(narrow(), uri(tree / "work/sub"))
    for path in (
        "work/side/f.txt",
        "work/side/none",
        "work/none/none",
        "other/f.txt",
        "outside.txt",
        "work/sub/to-side",
        "work/side/f.txt/../../sub/f.txt",
        "work/side/none/../../sub/f.txt",
        "work/side/../sub/f.txt",
        "work/sub/to-side/../none/../../sub/f.txt",
    ):
        text = text_of(read(client, tree / path)).splitlines()[0]
        allowed = f"{tree / 'work/sub'}"
        assert text == f"Access denied - path outside allowed directories: {tree / path} not in {allowed}", path
    assert "ENOENT" in text_of(read(client, tree / "work/sub/none"))


def test_clients_root_that_is_a_link_is_spelled_either_way(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/link-to-sub"))
    assert text_of(read(client, tree / "work/link-to-sub/f.txt")) == "work/sub"
    assert text_of(read(client, tree / "work/sub/f.txt")) == "work/sub"
    assert "ENOENT" in text_of(read(client, tree / "work/link-to-sub/none"))


def test_no_directory_is_listed_where_no_root_of_the_client_is_inside(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "elsewhere"))
    assert text_of(client.call("list_allowed_directories")).splitlines() == ["Allowed directories:"]
    assert refused(read(client, "f.txt"))


def test_protected_names_stay_protected_in_a_clients_root(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/sub"))
    assert refused(read(client, tree / "work/sub/.env"))
    assert "policy.yaml" in read(client, tree / "work/sub/.env")["structuredContent"]["error"]["rule"]


@pytest.mark.parametrize(
    ("roots", "readable"),
    [
        (["/"], {"work/side", "other"}),
        (["{tree}"], {"work/side", "other"}),
        (["{tree}/work"], {"work/side"}),
        (["{tree}/other", "{tree}/work/side"], {"work/side", "other"}),
        (["{tree}/work/link-to-sub"], set()),  # means work/sub
        (["{tree}/elsewhere", "{tree}/other"], {"other"}),
    ],
)
def test_roots_only_take_away(roots: list[str], readable: set[str], session: Session) -> None:
    client, tree = session.client, session.tree
    answer_with(client, session.ask_again(), *(uri(Path(root.format(tree=tree))) for root in roots))
    found = {name for name in ("work/side", "other") if not refused(read(client, tree / name / "f.txt"))}
    assert found == readable
    assert refused(read(client, tree / "outside.txt"))


NOTHING_INSIDE: tuple[list[str], ...] = (
    [],
    ["file:///etc"],
    ["file:///nowhere"],
    ["file:///etc/../{work}"],
    ["{work}"],
    ["http://localhost{work}"],
    ["file://example.com{work}"],
    ["file://{work}-evil"],
    ["file://{work}%00"],
    ["file://{work}/f.txt?x"],
    ["file:"],
    ["%%%"],
    ["file://["],
)


@pytest.mark.parametrize("roots", NOTHING_INSIDE)
def test_roots_that_leave_nothing_close_the_session(roots: list[str], session: Session) -> None:
    work = session.tree / "work"
    answer_with(session.client, session.ask_again(), *(root.format(work=work) for root in roots))
    result = read(session.client, work / "side/f.txt")
    assert refused(result)
    assert "client" in text_of(result)


@pytest.mark.parametrize("answer", [{"error": {"code": -1, "message": "no"}}, {"result": {"roots": 5}}, {"result": {}}])
def test_an_answer_without_roots_closes_the_session(answer: Message, session: Session) -> None:
    session.client.send({"jsonrpc": "2.0", "id": session.ask_again(), **answer})
    assert refused(read(session.client, session.tree / "work/side/f.txt"))


def test_a_first_answer_that_leaves_nothing_closes_the_session(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow())
    assert refused(read(client, tree / "work/side/f.txt"))


def test_a_client_that_knows_no_roots_gets_what_the_policy_grants(narrow: Callable[[], Client], tree: Path) -> None:
    client = narrow()
    client.open()
    assert text_of(read(client, tree / "work/side/f.txt")) == "work/side"
    assert refused(read(client, tree / "outside.txt"))
    assert client.unexpected == []


def test_calls_wait_for_the_answer(narrow: Callable[[], Client], tree: Path) -> None:
    client = narrow()
    client.open(capabilities=OFFERS_ROOTS)
    question = client.message()
    early = client.start_call("read_text_file", {"path": str(tree / "work/sub/f.txt")})
    client.request("tools/list")
    assert client.unexpected == []
    roots = [{"uri": uri(tree / "work/sub")}]
    client.send({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": roots}})
    assert text_of(client.answer(early)["result"]) == "work/sub"


@pytest.mark.slow
def test_a_client_that_never_answers_is_refused(narrow: Callable[[], Client], tree: Path) -> None:
    client = narrow()
    client.open(capabilities=OFFERS_ROOTS)
    assert refused(read(client, tree / "work/sub/f.txt"))


def test_changed_roots_are_asked_for_again_and_the_old_ones_are_gone(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/sub"))
    assert text_of(read(client, tree / "work/sub/f.txt")) == "work/sub"
    client.notify("notifications/roots/list_changed")
    say_roots(client, uri(tree / "other"))
    assert refused(read(client, tree / "work/sub/f.txt"))
    assert text_of(read(client, tree / "other/f.txt")) == "other"


def test_an_answer_to_no_question_changes_nothing(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/sub"))
    for identifier in ("fsserver-1", "fsserver-2", 1):
        client.send({"jsonrpc": "2.0", "id": identifier, "result": {"roots": [{"uri": uri(tree)}]}})
    assert refused(read(client, tree / "other/f.txt"))


def test_every_refusal_is_in_the_audit_log(narrow: Callable[[], Client], tree: Path) -> None:
    client = opened(narrow(), uri(tree / "work/sub"))
    assert refused(read(client, tree / "work/side/f.txt"))
    client.close_input()
    client.wait()
    (log,) = (tree / "audit").iterdir()
    refusals = [
        record for line in log.read_text().splitlines() if (record := json.loads(line))["event"] == "call.refused"
    ]
    assert [record["tool"] for record in refusals] == ["read_text_file"]


# --- modern: the question is the call's result


def modern_call(client: Client, path: Path, capabilities: Message, **more: object) -> Message:
    params = {"name": "read_text_file", "arguments": {"path": str(path)}, "_meta": envelope(capabilities=capabilities)}
    return client.request("tools/call", {**params, **more})


def test_a_modern_client_is_asked_through_the_result_and_repeats_the_call(
    narrow: Callable[[], Client], tree: Path
) -> None:
    client = narrow()
    asked = modern_call(client, tree / "work/sub/f.txt", OFFERS_ROOTS)
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["roots"]["method"] == "roots/list"
    answers = {"roots": {"roots": [{"uri": uri(tree / "work/sub")}]}}
    result = modern_call(client, tree / "work/sub/f.txt", OFFERS_ROOTS, inputResponses=answers)
    assert text_of(result) == "work/sub"
    assert refused(modern_call(client, tree / "work/side/f.txt", OFFERS_ROOTS, inputResponses=answers))
    everything = {"roots": {"roots": [{"uri": "file:///"}]}}
    assert refused(modern_call(client, tree / "outside.txt", OFFERS_ROOTS, inputResponses=everything))


def test_a_modern_client_that_knows_no_roots_gets_what_the_policy_grants(
    narrow: Callable[[], Client], tree: Path
) -> None:
    client = narrow()
    assert text_of(modern_call(client, tree / "work/sub/f.txt", {})) == "work/sub"
    assert refused(modern_call(client, tree / "outside.txt", {}))
