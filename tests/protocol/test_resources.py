"""Resources and completions on the wire, in every revision, from the real server."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.client import MODERN, REVISIONS, Client, Message, envelope, text_of
from tests.protocol.test_revisions import Speaker, fits
from tests.trees import build

Serve = Callable[..., Client]

TEMPLATE = "file://{+path}"
PNG = b"\x89PNG\r\n\x1a\n\0\0"


class Reader(Speaker):
    """A server for each revision, which outlives the tests: they read the files below ``root`` and change nothing."""

    def __init__(self, place: Path, client: Client, revision: str) -> None:
        super().__init__(client, revision)
        self.root = place / "root"
        self.place = place

    def log(self) -> list[Message]:
        return log_of(self.place)


@pytest.fixture(scope="module", params=REVISIONS)
def speaker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    place = tmp_path_factory.mktemp("reader")
    build(place / "root", ["file a.txt one\ntwo\n", "file notes/plan.md # Plan\n", "dir long"])
    (place / "root/picture.png").write_bytes(PNG)
    (place / "root/long/lines.txt").write_text("line\n" * 40_000)
    argv = ["-m", "fsserver", "serve", "--root", str(place / "root")]
    with Client(argv, env={"XDG_STATE_HOME": str(place / "state")}) as client:
        yield Reader(place, client, request.param)


def failing(speaker: Speaker, method: str, **params: Any) -> Message:
    if speaker.revision == MODERN:
        params["_meta"] = envelope()
    return speaker.client.error(method, params)


def reference(value: str, uri: str = TEMPLATE, name: str = "path") -> Message:
    return {"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": name, "value": value}}


def log_of(tmp_path: Path) -> list[Message]:
    (log,) = (tmp_path / "state").rglob("*.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


# --- what is announced and listed


def test_handshake_and_discovery_announce_resources_and_completions(speaker: Reader) -> None:
    result = speaker.welcome
    fits("server/discover" if speaker.revision == MODERN else "initialize", speaker.revision, result)
    assert result["capabilities"]["resources"] == {"subscribe": False, "listChanged": False}
    assert result["capabilities"]["completions"] == {}


@pytest.mark.parametrize(
    ("tools", "announced"),
    [
        (["write_file", "list_allowed_directories"], set()),
        (["read_text_file"], {"resources"}),
        (["list_directory"], {"resources", "completions"}),
    ],
)
def test_nothing_is_announced_or_served_that_the_policy_grants_no_tool_for(
    tools: list[str], announced: set[str], serve: Serve, root: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    profiles = {"agent": {"roots": {"work": "ro"}, "tools": tools}}
    policy.write_text(json.dumps({"version": 1, "roots": {"work": {"path": str(root)}}, "profiles": profiles}))
    policy.chmod(0o600)
    client = serve("--policy", policy, "--profile", "agent")
    assert set(client.open()["capabilities"]) == {"tools"} | announced
    served = {
        "resources": ("resources/list", "resources/templates/list", "resources/read"),
        "completions": ("completion/complete",),
    }
    for capability, methods in served.items():
        for method in methods:
            answer = client.answer(client.start(method, {"uri": f"file://{root}", **reference("/")}))
            missing = answer.get("error", {}).get("code") == -32601
            assert missing is (capability not in announced), (method, answer)
    if announced == {"resources"}:
        assert client.request("resources/list") == {"resources": []}


def test_roots_are_listed_and_each_can_be_read(speaker: Reader) -> None:
    listed = speaker.request("resources/list")
    (resource,) = listed["resources"]
    assert resource["uri"] == speaker.root.as_uri()
    assert resource["name"] == "root"
    assert resource["title"] == f"root ({speaker.root})"
    assert "read-only" in resource["description"]
    assert resource["mimeType"] == "inode/directory"
    if speaker.revision == MODERN:
        assert listed["ttlMs"] > 0
        assert (listed["resultType"], listed["cacheScope"]) == ("complete", "private")
    (contents,) = speaker.request("resources/read", uri=resource["uri"])["contents"]
    assert contents["text"] == "[FILE] a.txt\n[DIR] long\n[DIR] notes\n[FILE] picture.png"


def test_one_template_stands_for_every_file(speaker: Reader) -> None:
    listed = speaker.request("resources/templates/list")
    (template,) = listed["resourceTemplates"]
    assert template["uriTemplate"] == TEMPLATE
    assert template["name"]
    assert template["title"]
    assert "read_text_file" in template["description"]
    if speaker.revision == MODERN:
        assert listed["ttlMs"] > 0


# --- reading


def test_text_bytes_and_directories_are_read(speaker: Reader) -> None:
    before = len(speaker.log())
    uri = f"{speaker.root.as_uri()}/notes/plan.md"
    result = speaker.request("resources/read", uri=uri)
    assert result["contents"] == [{"uri": uri, "mimeType": "text/markdown", "text": "# Plan\n"}]
    if speaker.revision == MODERN:
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    uri = f"{speaker.root.as_uri()}/picture.png"
    (contents,) = speaker.request("resources/read", uri=uri)["contents"]
    assert contents == {"uri": uri, "mimeType": "image/png", "blob": base64.b64encode(PNG).decode()}
    uri = f"{speaker.root.as_uri()}/notes/"
    (contents,) = speaker.request("resources/read", uri=uri)["contents"]
    assert contents == {"uri": uri, "mimeType": "inode/directory", "text": "[FILE] plan.md"}
    tools = [record["tool"] for record in speaker.log()[before:] if record.get("via") == "resources/read"]
    assert tools == ["read_text_file", "read_media_file", "list_directory"]


def test_refusal_is_an_error_that_says_which_rule_and_what_instead(speaker: Reader) -> None:
    error = failing(speaker, "resources/read", uri="file:///etc/passwd")
    assert error["code"] == -32003
    assert error["message"].startswith("Access denied - path outside allowed directories: /etc/passwd")
    data = error["data"]
    assert (data["uri"], data["code"]) == ("file:///etc/passwd", "denied.outside_roots")
    assert data["rule"] == "command line"
    assert data["allowedInstead"]
    assert speaker.log()[-1]["event"] == "call.refused"


def test_missing_resource_has_the_code_of_the_revision(speaker: Reader) -> None:
    uri = f"{speaker.root.as_uri()}/none"
    error = failing(speaker, "resources/read", uri=uri)
    assert error["code"] == (-32602 if speaker.revision == MODERN else -32002)
    assert error["data"]["uri"] == uri
    assert error["data"]["code"] == "resource.not_found"


NO_FILES = ("", "x", "http://example.com/", "file://example.com/etc/passwd", "file:///a%00")


def test_uri_that_is_none_of_a_file_is_a_wrong_parameter(speaker: Reader) -> None:
    for uri in NO_FILES:
        error = failing(speaker, "resources/read", uri=uri)
        assert (error["code"], error["data"]["code"]) == (-32602, "request.path"), uri


def test_hostile_uri_is_not_sent_back_whole(speaker: Reader) -> None:
    uri = f"{speaker.root.as_uri()}/" + "%41" * 300_000
    error = failing(speaker, "resources/read", uri=uri)
    assert (error["code"], error["data"]["code"]) == (-32602, "request.path")
    assert uri.startswith(error["data"]["uri"])
    assert len(json.dumps(error)) < 20_000


def test_text_that_is_too_long_is_refused_with_what_reads_it(speaker: Reader) -> None:
    error = failing(speaker, "resources/read", uri=f"{speaker.root.as_uri()}/long/lines.txt")
    assert (error["code"], error["data"]["code"]) == (-32003, "limit.file_size")
    assert "read_text_file" in error["data"]["allowedInstead"]


def test_parameters_of_the_wrong_form_are_refused(speaker: Reader) -> None:
    half = {"ref": {"type": "ref/resource", "uri": TEMPLATE}}
    rows: dict[str, tuple[Message, ...]] = {
        "resources/read": ({}, {"uri": 5}, {"uri": None}, {"uri": ["file:///"]}),
        "completion/complete": ({}, half, {**half, "argument": "path"}, {**half, "argument": {"name": "path"}}),
    }
    for method, wrong in rows.items():
        for params in wrong:
            assert failing(speaker, method, **params)["code"] == -32602


def test_many_reads_at_once_are_all_answered(serve: Serve, root: Path) -> None:
    client = serve("--root", root)
    client.open()
    uri = f"{root.as_uri()}/a.txt"
    reads = [client.start("resources/read", {"uri": uri}) for _ in range(200)]
    assert {client.answer(each)["result"]["contents"][0]["text"] for each in reads} == {"one\ntwo\n"}


# --- completions


def test_path_is_completed_as_it_is_typed(speaker: Reader) -> None:
    for typed, values in (
        ("", [f"{speaker.root}/"]),
        (f"{speaker.root}/n", [f"{speaker.root}/notes/"]),
        (f"{speaker.root}/notes/", [f"{speaker.root}/notes/plan.md"]),
    ):
        result = speaker.request("completion/complete", **reference(typed))
        assert result["completion"] == {"values": values, "total": len(values), "hasMore": False}
    uri = f"file://{speaker.root}/notes/plan.md"
    assert speaker.request("resources/read", uri=uri)["contents"][0]["text"] == "# Plan\n"


def test_path_outside_completes_to_nothing(speaker: Reader) -> None:
    result = speaker.request("completion/complete", **reference("/etc/"))
    assert result["completion"] == {"values": [], "total": 0, "hasMore": False}
    assert speaker.log()[-1]["event"] == "call.refused"


NO_VARIABLES = {
    "template": reference("/", uri="file:///{path}"),
    "variable": reference("/", name="file"),
    "prompt": {"ref": {"type": "ref/prompt", "name": "path"}, "argument": {"name": "path", "value": "/"}},
}


def test_what_is_no_variable_of_the_template_cannot_be_completed(speaker: Reader) -> None:
    for name, params in NO_VARIABLES.items():
        assert failing(speaker, "completion/complete", **params)["code"] == -32602, name


# --- the client's roots


@pytest.fixture
def narrow(serve: Serve, root: Path, tmp_path: Path) -> Client:
    """A server whose policy narrows; ``root`` has a directory ``sub``."""
    (root / "sub").mkdir()
    (root / "sub/f.txt").write_text("sub")
    policy = tmp_path / "policy.yaml"
    work = {"path": str(root), "mode": "rw"}
    policy.write_text(json.dumps({"version": 1, "client_roots": "narrow", "roots": {"work": work}}))
    policy.chmod(0o600)
    return serve("--policy", policy)


def test_handshake_client_gets_what_its_roots_leave(narrow: Client, root: Path) -> None:
    narrow.open(capabilities={"roots": {}})
    question = narrow.question("roots/list")
    narrow.respond(question, {"roots": [{"uri": f"{root.as_uri()}/sub"}]})
    (resource,) = narrow.request("resources/list")["resources"]
    assert (resource["uri"], resource["name"]) == (f"{root.as_uri()}/sub", "work/sub")
    assert narrow.request("resources/read", {"uri": f"{resource['uri']}/f.txt"})["contents"][0]["text"] == "sub"
    assert narrow.error("resources/read", {"uri": f"{root.as_uri()}/a.txt"})["data"]["code"] == "denied.outside_roots"
    completion = narrow.request("completion/complete", reference("/"))["completion"]
    assert completion["values"] == [f"{root}/sub/"]


def test_modern_client_is_asked_for_its_roots_by_a_read(narrow: Client, root: Path) -> None:
    meta = envelope(capabilities={"roots": {}})
    params = {"uri": f"{root.as_uri()}/sub/f.txt", "_meta": meta}
    asked = narrow.request("resources/read", params)
    fits("resources/read", MODERN, asked)
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["roots"]["method"] == "roots/list"
    answers = {"roots": {"roots": [{"uri": f"{root.as_uri()}/sub"}]}}
    read = narrow.request("resources/read", {**params, "inputResponses": answers})
    assert read["contents"][0]["text"] == "sub"
    outside = {"uri": f"{root.as_uri()}/a.txt", "_meta": meta, "inputResponses": answers}
    assert narrow.error("resources/read", outside)["data"]["code"] == "denied.outside_roots"


def test_modern_client_with_roots_is_told_nothing_by_requests_that_cannot_ask(
    narrow: Client, root: Path, tmp_path: Path
) -> None:
    meta = {"_meta": envelope(capabilities={"roots": {}})}
    assert narrow.request("resources/list", meta)["resources"] == []
    completion = narrow.request("completion/complete", {**reference(f"{root}/"), **meta})["completion"]
    assert completion == {"values": [], "total": 0, "hasMore": False}
    assert log_of(tmp_path)[-1]["error"] == "denied.rule"
    without = {"_meta": envelope()}
    assert len(narrow.request("resources/list", without)["resources"]) == 1
    assert narrow.request("completion/complete", {**reference(f"{root}/s"), **without})["completion"]["total"] == 1


# --- nothing else has changed


def test_a_call_goes_on_as_before_beside_them(speaker: Reader) -> None:
    identifier = speaker.client.start("resources/read", {"uri": "file:///etc/passwd", "_meta": envelope()})
    assert text_of(speaker.call("read_text_file", path=str(speaker.root / "a.txt"))) == "one\ntwo\n"
    assert "error" in speaker.client.answer(identifier)


def test_a_log_that_takes_no_record_gives_nothing_out(serve: Serve, root: Path, tmp_path: Path) -> None:
    client = serve("--root", root)
    client.open()
    (log,) = (tmp_path / "state").rglob("*.jsonl")
    os.truncate(log, 0)
    for method, params in (
        ("resources/read", {"uri": f"{root.as_uri()}/a.txt"}),
        ("completion/complete", reference(f"{root}/")),
    ):
        error = client.error(method, params)
        assert error["code"] == -32603
        assert error["data"]["code"].startswith("audit.")
        assert "one" not in json.dumps(error)
