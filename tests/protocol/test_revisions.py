"""All five revisions on one pipe, from the real server, with results that fit each revision's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_types.methods import serialize_server_result

from fsserver import __version__
from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, REVISIONS, Client, Message, envelope, text_of
from tests.protocol.conftest import StartFixture


def fits(method: str, revision: str, result: Message) -> None:
    """The revision's model accepts the result and knows every field of it.

    The SDK's models are of two generations: 2025-11-25's, for all handshake revisions, and 2026-07-28's. What the
    older ones lack is tested by name below.
    """
    assert serialize_server_result(method, revision, result) == result


class Speaker:
    """Says the same in any revision.

    Attributes:
        welcome: the result of the handshake, or of the discovery.
    """

    def __init__(self, client: Client, revision: str) -> None:
        self.client = client
        self.revision = revision
        if revision == MODERN:
            self.welcome = client.request("server/discover", {"_meta": envelope()})
        else:
            self.welcome = client.open(revision)

    def request(self, method: str, **params: Any) -> Message:
        """The result, which fits."""
        if self.revision == MODERN:
            params["_meta"] = envelope()
        result = self.client.request(method, params)
        fits(method, self.revision, result)
        return result

    def call(self, tool: str, **arguments: Any) -> Message:
        return self.request("tools/call", name=tool, arguments=arguments)


@contextmanager
def serving(root: Path, state: Path, revision: str, *options: str) -> Iterator[Speaker]:
    argv = ["-m", "fsserver", "serve", "--root", str(root), *options]
    with Client(argv, env={"XDG_STATE_HOME": str(state)}) as client:
        yield Speaker(client, revision)


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that servers of each revision serve."""
    root = tmp_path_factory.mktemp("root")
    (root / "a.txt").write_text("one\ntwo\n")
    return root


@pytest.fixture(scope="module", params=REVISIONS)
def speaker(
    request: pytest.FixtureRequest, common: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Speaker]:
    """A server for each revision, which outlives the tests, and may write."""
    with serving(common, tmp_path_factory.mktemp("state"), request.param, "--write") as speaker:
        yield speaker


@pytest.fixture(scope="module")
def read_only(common: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[Message]]:
    """For each revision the tools of a server that may not write."""
    listed = []
    for revision in REVISIONS:
        with serving(common, tmp_path_factory.mktemp("state"), revision) as speaker:
            listed.append(speaker.request("tools/list")["tools"])
    return listed


def test_tools_are_listed_and_called(speaker: Speaker, common: Path) -> None:
    tools = {tool["name"]: tool for tool in speaker.request("tools/list")["tools"]}
    assert {"read_text_file", "write_file", "edit_file", "list_directory"} <= tools.keys()
    for tool in tools.values():
        assert tool["inputSchema"]["type"] == "object"
        assert tool["title"]
        assert tool["description"]
        assert set(tool["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
    assert text_of(speaker.call("read_text_file", path=str(common / "a.txt"))) == "one\ntwo\n"
    speaker.call("write_file", path=speaker.revision, content="new")
    assert (common / speaker.revision).read_text() == "new"


def test_failures_are_results_that_fit(speaker: Speaker, common: Path) -> None:
    for tool, arguments in (
        ("read_text_file", {"path": "/etc/passwd"}),
        ("read_text_file", {"path": str(common / "missing")}),
        ("read_text_file", {"path": 5}),
        ("read_text_file", {"unknown": 5}),
        ("no_such_tool", {}),
    ):
        result = speaker.call(tool, **arguments)
        assert result["isError"] is True
        assert result["structuredContent"]["error"]["code"]
        assert text_of(result)


def test_a_read_only_server_lists_no_tool_that_writes(read_only: list[list[Message]]) -> None:
    for tools in read_only:
        assert tools
        assert all(tool["annotations"]["readOnlyHint"] for tool in tools)


def test_the_order_of_tools_is_fixed(read_only: list[list[Message]]) -> None:
    lists = [[tool["name"] for tool in tools] for tools in read_only]
    assert all(names == lists[0] for names in lists)


# --- what the misbehaving tools are enough for


@pytest.fixture(scope="module", params=REVISIONS)
def misbehaving(request: pytest.FixtureRequest) -> Iterator[Speaker]:
    """A server for each revision, which outlives the tests."""
    with Client(["-m", "tests.protocol.fixture_server"]) as client:
        yield Speaker(client, request.param)


@pytest.mark.parametrize("misbehaving", HANDSHAKE_REVISIONS, indirect=True)
def test_the_handshake_agrees_on_the_clients_revision(misbehaving: Speaker) -> None:
    result = misbehaving.welcome
    fits("initialize", misbehaving.revision, result)
    assert result["protocolVersion"] == misbehaving.revision
    assert result["serverInfo"] == {"name": "fsserver", "title": "fsserver", "version": __version__}
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert len(result["instructions"]) < 600


@pytest.mark.parametrize("asked", ["1999-01-01", "2026-07-28", "", "x"])
def test_the_handshake_offers_the_newest_to_a_client_of_an_unknown_revision(asked: str, start: StartFixture) -> None:
    assert start().open(asked)["protocolVersion"] == HANDSHAKE_REVISIONS[-1]


@pytest.mark.parametrize("misbehaving", [MODERN], indirect=True)
def test_a_modern_client_discovers_without_a_handshake(misbehaving: Speaker) -> None:
    result = misbehaving.welcome
    fits("server/discover", MODERN, result)
    assert result["supportedVersions"] == [MODERN]
    assert result["resultType"] == "complete"
    assert result["ttlMs"] > 0
    assert result["cacheScope"] == "private"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "fsserver"


@pytest.mark.parametrize("misbehaving", [MODERN], indirect=True)
def test_modern_lists_and_calls_say_what_they_are(misbehaving: Speaker) -> None:
    client = misbehaving.client
    listed = client.request("tools/list", {"_meta": envelope()})
    assert (listed["resultType"], listed["cacheScope"]) == ("complete", "private")
    assert listed["ttlMs"] > 0
    called = client.request("tools/call", {"name": "echo", "arguments": {"text": "x"}, "_meta": envelope()})
    fits("tools/call", MODERN, called)
    assert called["resultType"] == "complete"
    assert "isError" not in called


def test_a_handshake_client_is_told_nothing_of_the_modern_revision(one_server: Client) -> None:
    assert set(one_server.request("tools/list")) == {"tools"}
    assert set(one_server.call("echo")) == {"content"}


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({"io.modelcontextprotocol/protocolVersion": MODERN}, -32602),
        (envelope("2027-01-01"), -32022),
        (envelope("2025-11-25"), -32022),
        ({**envelope(), "io.modelcontextprotocol/protocolVersion": 5}, -32602),
        ({**envelope(), "io.modelcontextprotocol/clientCapabilities": "all"}, -32602),
    ],
)
def test_a_broken_envelope_is_refused(meta: Message, code: int, one_server: Client) -> None:
    error = one_server.error("tools/list", {"_meta": meta})
    assert error["code"] == code
    if code == -32022:
        assert error["data"]["supported"] == [MODERN]


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe"])
def test_what_the_modern_revision_dropped_is_not_served_in_it(method: str, one_server: Client) -> None:
    assert one_server.error(method, {"_meta": envelope()})["code"] == -32601


def test_discover_and_then_initialize_on_one_pipe(start: StartFixture) -> None:
    client = start()
    client.request("server/discover", {"_meta": envelope()})
    assert client.open("2025-11-25")["protocolVersion"] == "2025-11-25"
    assert text_of(client.call("session")) == "tests/1 2025-11-25"


@pytest.mark.parametrize("misbehaving", ["2025-06-18"], indirect=True)
def test_both_kinds_of_request_in_turns_and_at_once(misbehaving: Speaker) -> None:
    client = misbehaving.client
    handshake = {"name": "session", "arguments": {}}
    modern = {**handshake, "_meta": envelope()}
    identifiers = [client.start("tools/call", modern if n % 2 else handshake) for n in range(50)]
    texts = [text_of(client.answer(identifier)["result"]) for identifier in identifiers]
    assert texts == ["tests/1 2025-06-18", f"tests/1 {MODERN}"] * 25


@pytest.mark.parametrize("meta", [{}, envelope()], ids=["handshake", "modern"])
def test_a_cancellation_reaches_calls_of_either_kind(meta: Message, client: Client) -> None:
    slow = client.start_call("sleep", {"seconds": 60}, _meta=meta)
    client.notify("notifications/cancelled", {"requestId": slow, "_meta": meta})
    assert text_of(client.call("echo", {"text": "next"})) == "next"
    client.close_input()
    assert client.wait(2) == 0
    assert client.unexpected + client.rest() == []


def test_a_modern_client_gets_progress(start: StartFixture) -> None:
    client = start()
    client.answer(client.start_call("counted", {"seconds": 0.2}, _meta={**envelope(), "progressToken": "p"}))
    assert {message["params"]["progressToken"] for message in client.unexpected} == {"p"}


def test_a_modern_envelope_does_not_make_initialize_modern(start: StartFixture) -> None:
    client = start()
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
        "_meta": envelope(),
    }
    assert client.request("initialize", params)["protocolVersion"] == "2025-11-25"


def test_calls_before_the_handshake_are_refused_and_it_still_works(start: StartFixture) -> None:
    client = start()
    client.notify("notifications/initialized" + "x")
    client.notify("notifications/roots/list_changed")
    assert client.error("tools/list")["code"] == -32602
    assert client.error("tools/call", {"name": "echo", "arguments": {}})["code"] == -32602
    assert client.request("ping") == {}
    client.open()
    assert text_of(client.call("echo", {"text": "x"})) == "x"


def test_a_handshake_and_a_call_in_one_write_are_served_in_order(start: StartFixture) -> None:
    client = start()
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
    initialize = client.start("initialize", params)
    call = client.start_call("session")
    assert "result" in client.answer(initialize)
    assert text_of(client.answer(call)["result"]) == "tests/1 2025-11-25"


def test_sound_reaches_also_clients_whose_revision_has_none(misbehaving: Speaker) -> None:
    types = [block["type"] for block in misbehaving.call("media")["content"]]
    assert types == ["text", "image", "resource" if misbehaving.revision == "2024-11-05" else "audio"]


def test_no_request_and_no_ping_is_ever_sent_to_a_client(start: StartFixture) -> None:
    client = start()
    client.open(capabilities={"roots": {"listChanged": True}, "sampling": {}, "elicitation": {}})
    client.notify("notifications/roots/list_changed")
    client.call("echo")
    client.close_input()
    assert client.unexpected + client.rest() == []
