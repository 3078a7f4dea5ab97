"""The real server over HTTP, in every revision: files, errors, resources, a person's consent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_types.methods import serialize_server_result

from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, REVISIONS, Message, text_of
from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import Server, served_http
from tests.trees import build

pytestmark = pytest.mark.slow

YES = {"action": "accept", "content": {"approve": True}}
NO = {"action": "decline"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("http").resolve()
    (base / "work").mkdir()
    build(base / "work", ["file a.txt one"])
    return base


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    policy = {
        "version": 1,
        "roots": {"work": {"path": str(base / "work"), "mode": "rw", "operations": {"delete": "ask"}}},
        "approvals": {"via": ["elicitation"], "timeout": "20s", "on_unavailable": "deny"},
        "server": {"transport": "http", "listen": "127.0.0.1:0", "auth": "none"},
        "audit": {"sinks": [{"dir": str(base / "audit")}]},
    }
    with served_http(json.dumps(policy, indent=1), base) as server:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.stderr


@pytest.fixture(params=REVISIONS)
def client(request: pytest.FixtureRequest, server: Server) -> HttpClient:
    client = HttpClient(server.url, request.param, capabilities={"elicitation": {}})
    if request.param != MODERN:
        client.open()
    return client


def call(client: HttpClient, tool: str, **arguments: Any) -> Message:
    """The result, which fits the revision."""
    result = client.call(tool, arguments)
    assert serialize_server_result("tools/call", client.revision, result) == result
    return result


def test_files_are_read_and_written(client: HttpClient, base: Path) -> None:
    listed = client.request("tools/list")
    assert {"read_text_file", "write_file", "delete_file"} <= {tool["name"] for tool in listed["tools"]}
    assert text_of(call(client, "read_text_file", path="a.txt")) == "one"
    call(client, "write_file", path=f"{client.revision}.txt", content="new")
    assert (base / f"work/{client.revision}.txt").read_text() == "new"


def test_failures_are_results_without_paths_of_the_host(client: HttpClient, base: Path) -> None:
    for tool, arguments, code in (
        ("read_text_file", {"path": "/etc/passwd"}, "denied.outside_roots"),
        ("read_text_file", {"path": "missing"}, "resource.not_found"),
        ("no_such_tool", {}, "request.unknown_tool"),
    ):
        result = call(client, tool, **arguments)
        assert result["isError"] is True
        assert result["structuredContent"]["error"]["code"] == code
        assert str(base / "audit") not in json.dumps(result)


def test_a_resource_is_read(client: HttpClient, base: Path) -> None:
    read = client.request("resources/read", {"uri": (base / "work/a.txt").as_uri()})
    assert [contents["text"] for contents in read["contents"]] == ["one"]


@pytest.mark.parametrize(("answer", "left"), [(YES, False), (NO, True)], ids=["approved", "declined"])
@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS[2:])  # those that have elicitation
def test_a_person_is_asked_on_the_stream_of_the_call(
    answer: Message, left: bool, revision: str, server: Server, base: Path
) -> None:
    client = HttpClient(server.url, revision, capabilities={"elicitation": {}})
    client.open()
    file = base / f"work/{revision} {left}"
    file.write_text("x")
    with client.start_call("delete_file", {"path": str(file)}) as waiting:
        question = waiting.question()
        assert f"delete:\n{file}" in question["params"]["message"]
        client.respond(question, answer)
        assert waiting.result().get("isError", False) is left
    assert file.exists() is left


@pytest.mark.parametrize(("answer", "left"), [(YES, False), (NO, True)], ids=["approved", "declined"])
def test_a_person_is_asked_through_the_result(answer: Message, left: bool, server: Server, base: Path) -> None:
    client = HttpClient(server.url, capabilities={"elicitation": {}})
    file = base / f"work/modern {left}"
    file.write_text("x")
    asked = client.call("delete_file", {"path": str(file)})
    assert asked["resultType"] == "input_required"
    assert file.exists()
    (key,) = asked["inputRequests"]
    retry = {"inputResponses": {key: answer}, "requestState": asked["requestState"]}
    assert client.call("delete_file", {"path": str(file)}, **retry).get("isError", False) is left
    assert file.exists() is left
    again = client.call("delete_file", {"path": str(file)}, **retry)
    assert again["isError"] is True, "an answer counts once"


def test_a_client_that_shows_no_forms_is_refused_at_once(server: Server, base: Path) -> None:
    client = HttpClient(server.url)
    assert call(client, "delete_file", path="a.txt")["isError"] is True
    assert (base / "work/a.txt").exists()
