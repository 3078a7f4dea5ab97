"""Several principals of one service, each under its own profile and in its own directory."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.http_server import Server, served_http
from tests.support import wait_until

POLICY = """
version: 1
name: team
roots:
  work: {{path: {base}/work, mode: rw, deny: [secret]}}
  mine: {{path: "{base}/homes/${{principal.name}}", mode: rw}}
commands:
  touch: {{exec: /usr/bin/touch, args: any, roots: {{work: rw}}}}
  sleep: {{exec: /usr/bin/sleep, args: any, roots: {{work: ro}}}}
limits: {{calls: {{concurrency: 2}}}}
profiles:
  reader: {{roots: {{work: ro, mine: rw}}, commands: [touch]}}
principals:
  - {{when: {{token: writer}}}}
  - {{when: {{token: reader}}, profile: reader}}
  - {{when: {{token: homeless}}}}
server: {{transport: http, listen: "127.0.0.1:0", ops: "127.0.0.1:0", auth: {{tokens: {base}/tokens/file}}}}
audit: {{sinks: [{{dir: {base}/audit}}]}}
sandbox: {{accept_uid0: true}}
"""


@dataclass
class Team:
    server: Server
    base: Path
    tokens: dict[str, str]

    def post(self, who: str | None, message: dict[str, Any], session: str | None = None) -> tuple[int, Any, str | None]:
        """The status, the body, and the session's id."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        if session is not None:
            headers["Mcp-Session-Id"] = session
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        try:
            connection.request("POST", self.server.path, json.dumps(message), headers)
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body else None, response.headers["Mcp-Session-Id"]
        finally:
            connection.close()

    def session(self, who: str) -> str:
        client = {"name": f"client of {who}", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        status, _, session = self.post(who, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
        assert status == 200
        assert session is not None
        return session

    def call(self, who: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of one call, in a session of its own."""
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        status, answer, _ = self.post(who, message, self.session(who))
        assert status == 200, answer
        result: dict[str, Any] = answer["result"]
        return result

    def tools(self, who: str) -> set[str]:
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        _, answer, _ = self.post(who, message, self.session(who))
        return {tool["name"] for tool in answer["result"]["tools"]}

    def records(self) -> list[dict[str, Any]]:
        (file,) = (self.base / "audit").glob("*.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    base = tmp_path_factory.mktemp("team").resolve()
    for directory in ("work", "homes/writer", "homes/reader", "homes/other", "tokens", "audit"):
        (base / directory).mkdir(parents=True)
    (base / "homes/other/private").write_text("of another")
    (base / "homes/writer/own").write_text("of the writer")
    tokens = {}
    for name in ("writer", "reader", "homeless", "stranger"):
        command = [sys.executable, "-m", "fsserver", "token", "new", name, "--file", str(base / "tokens/file")]
        tokens[name] = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    with served_http(POLICY.format(base=base), base) as server:
        yield Team(server, base, tokens)
        assert server.stop() == 0


def text(result: dict[str, Any]) -> str:
    return "\n".join(block["text"] for block in result["content"])


def intents(team: Team) -> int:
    return sum(record["event"] == "call.intent" for record in team.records())


def test_each_principal_gets_the_tools_of_its_profile(team: Team) -> None:
    # What changes files is there for the reader too: its own directory may be written to.
    assert "run_command" in team.tools("writer") & team.tools("reader")


def test_a_profile_narrows_what_file_tools_may_do(team: Team) -> None:
    assert "isError" not in team.call("writer", "write_file", path=f"{team.base}/work/a", content="x")
    refused = team.call("reader", "write_file", path=f"{team.base}/work/b", content="x")
    assert refused["structuredContent"]["error"]["code"] == "denied.read_only"
    assert not (team.base / "work/b").exists()
    assert text(team.call("reader", "read_text_file", path=f"{team.base}/work/a")) == "x"


def test_a_profile_narrows_what_its_commands_see(team: Team) -> None:
    written = team.call("writer", "run_command", command="touch", args=["by-writer"])
    assert written["structuredContent"]["exitCode"] == 0, written
    refused = team.call("reader", "run_command", command="touch", args=["by-reader"])
    assert refused["structuredContent"]["exitCode"] == 1
    assert "Read-only file system" in text(refused)
    assert {path.name for path in (team.base / "work").iterdir()} >= {"by-writer"}
    assert not (team.base / "work/by-reader").exists()


@pytest.mark.parametrize("who", ["writer", "reader"])
def test_each_principal_has_its_own_directory(team: Team, who: str) -> None:
    assert f"{team.base}/homes/{who}" in text(team.call(who, "list_allowed_directories"))
    assert "isError" not in team.call(who, "write_file", path=f"{team.base}/homes/{who}/note", content=who)
    assert (team.base / "homes" / who / "note").read_text() == who


@pytest.mark.parametrize(
    "path",
    [
        "homes/other/private",
        "homes",
        "homes/writer",
        "homes/reader/../writer/own",
        "homes/reader/../../homes/writer/own",
    ],
)
def test_the_directory_of_another_is_outside(team: Team, path: str) -> None:
    tool = "list_directory" if path in ("homes", "homes/writer") else "read_text_file"
    refused = team.call("reader", tool, path=f"{team.base}/{path}")
    assert refused["isError"] is True
    assert refused["structuredContent"]["error"]["code"] == "denied.outside_roots"


def test_a_link_to_the_directory_of_another_is_refused_as_escape(team: Team) -> None:
    link = team.base / "homes/reader/link"
    link.symlink_to("../writer/own")
    refused = team.call("reader", "read_text_file", path=str(link))
    assert refused["structuredContent"]["error"]["code"] == "denied.link_escape"


def test_commands_do_not_see_directories_of_principals(team: Team) -> None:
    refused = team.call("writer", "run_command", command="touch", args=[f"{team.base}/homes/writer/by-command"])
    assert refused["structuredContent"]["exitCode"] != 0
    assert not (team.base / "homes/writer/by-command").exists()


def test_a_directory_that_was_made_anew_is_the_one_that_is_served(team: Team) -> None:
    team.call("writer", "write_file", path=f"{team.base}/homes/writer/before", content="x")
    (team.base / "homes/writer").rename(team.base / "homes/gone")
    (team.base / "homes/writer").mkdir()
    team.call("writer", "write_file", path=f"{team.base}/homes/writer/after", content="x")
    assert [path.name for path in (team.base / "homes/writer").iterdir()] == ["after"]
    assert not (team.base / "homes/gone/after").exists()


def test_a_call_is_cancelled_while_as_many_are_at_work_as_may_be(team: Team) -> None:
    session = team.session("writer")
    sleep = {"name": "run_command", "arguments": {"command": "sleep", "args": ["5"]}}
    before = intents(team)
    with ThreadPoolExecutor(2) as pool:
        calls = [{"jsonrpc": "2.0", "id": each, "method": "tools/call", "params": sleep} for each in (1, 2)]
        sleeping = [pool.submit(team.post, "writer", call, session) for call in calls]
        wait_until(lambda: intents(team) == before + 2, "both have begun")
        for each in (1, 2):
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": each}}
            assert team.post("writer", cancel, session)[0] == 202
        ended = [call.result(20)[1]["result"]["structuredContent"]["endedBy"] for call in sleeping]
    assert ended == ["cancelled"] * 2


PING = {"jsonrpc": "2.0", "id": 7, "method": "ping"}


@pytest.mark.claim("C10")
def test_a_session_is_of_no_use_to_another_principal(team: Team) -> None:
    session = team.session("writer")
    assert team.post("writer", PING, session)[0] == 200
    status, answer, _ = team.post("reader", PING, session)
    assert status == 404
    assert "session" in answer["error"]["message"]


@pytest.mark.claim("C10")
@pytest.mark.parametrize(
    ("who", "status"), [(None, 401), ("stranger", 403), ("homeless", 403)], ids=["nobody", "no-entry", "no-directory"]
)
def test_who_is_granted_nothing_is_refused_and_logged(team: Team, who: str | None, status: int) -> None:
    before = len(team.server.lines)
    answered, answer, _ = team.post(who, PING)
    assert answered == status
    assert str(team.base) not in json.dumps(answer)
    team.server.line(rf"refused with {status}", after=before)


def test_a_token_is_neither_in_the_log_nor_in_the_records(team: Team) -> None:
    team.call("writer", "read_text_file", path=f"{team.base}/work/{team.tokens['writer']}")
    written = team.server.stderr + json.dumps(team.records())
    assert not [name for name, token in team.tokens.items() if token in written]


def test_records_say_whose_call_it_was(team: Team) -> None:
    team.call("reader", "list_allowed_directories")
    *_, last = (record for record in team.records() if record["event"] == "call.outcome")
    assert last["principal"] == "token:reader"
    assert len(last["request"]) == 16
    clients = [record for record in team.records() if record["event"] == "session.client"]
    assert {record["client"]["name"] for record in clients} >= {"client of reader"}
    assert {record["transport"] for record in clients} == {"http"}


def test_numbers_of_calls_are_of_the_whole_run(team: Team) -> None:
    for who in ("writer", "reader", "writer"):
        team.call(who, "list_allowed_directories")
    ends = [record["call"] for record in team.records() if record["event"] in ("call.outcome", "call.refused")]
    assert len(ends) == len(set(ends))


def test_the_process_is_confined(team: Team) -> None:
    status = Path(f"/proc/{team.server.process.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    (confined,) = (record for record in team.records() if record["event"] == "run.confined")
    assert confined["layer"] == "landlock"
    commands = [record for record in team.records() if record["event"] == "run.commands"]
    assert [record.get("profile") for record in commands] == [None, "reader"]
