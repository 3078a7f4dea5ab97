"""``resources/read`` and ``completion/complete`` at the gate: what they give, and what the log says of them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths.narrowing import closed, narrowed
from fsserver.paths.uri import file_uri
from fsserver.policy.compiled import Limits
from fsserver.tools.control import Control
from fsserver.tools.files.completion import COMPLETION
from fsserver.tools.gate import Gate
from fsserver.tools.result import Audio, Blob, Image, ToolResult
from tests.gates import Served, served, texts
from tests.secret_rows import GITHUB
from tests.trees import build, rules

PNG = b"\x89PNG\r\n\x1a\n\0\0"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    build(
        tmp_path / "work",
        [
            "file a.txt one",
            "file notes/plan.md # Plan",
            "file notes/other.md # Other",
            "file notes/.env SECRET=1",
            "file .env SECRET=1",
            "file drawing.svg <svg/>",
            "file data.zip text all the same",
            "dir empty",
            "link to-notes -> notes",
            "link to-plan -> notes/plan.md",
            "link to-env -> .env",
            "link out -> ../outside",
            "link nowhere -> none",
            "fifo pipe",
        ],
    )
    (tmp_path / "outside").mkdir()
    (tmp_path / "work/picture.png").write_bytes(PNG)
    (tmp_path / "work/latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "work/late.log").write_bytes(b"line\n" * 2000 + b"\xff\n")
    (tmp_path / "work/100% sure #1?.txt").write_text("odd")
    (tmp_path / "work" / os.fsdecode(b"caf\xe9.txt")).write_text("name")
    return tmp_path / "work"


@pytest.fixture
def gate(tmp_path: Path, work: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(work, deny=["**/.env"])]) as running:
        yield running


def uri(gate: Served, name: str) -> str:
    return file_uri(str(gate.top / name))


def mime(result: ToolResult) -> Any:
    assert not result.is_error, texts(result)
    assert result.structured is not None
    return result.structured["mimeType"]


def raw(result: ToolResult) -> bytes:
    (block,) = result.content
    assert isinstance(block, Blob | Image | Audio)
    return base64.b64decode(block.data)


def code(result: ToolResult) -> Any:
    assert result.is_error, texts(result)
    assert result.structured is not None
    return result.structured["error"]["code"]


TEXTS = {
    "a.txt": ("text/plain", "one"),
    "notes/plan.md": ("text/markdown", "# Plan"),
    "to-plan": ("text/plain", "# Plan"),
    "drawing.svg": ("image/svg+xml", "<svg/>"),
    "data.zip": ("text/plain", "text all the same"),
    "100% sure #1?.txt": ("text/plain", "odd"),
    os.fsdecode(b"caf\xe9.txt"): ("text/plain", "name"),
}


@pytest.mark.parametrize("name", TEXTS, ids=ascii)
def test_text_is_given_whole_with_the_type_of_its_name(gate: Served, name: str) -> None:
    kind, text = TEXTS[name]
    result = gate.read(uri(gate, name))
    assert (mime(result), texts(result)) == (kind, [text])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("picture.png", "image/png"), ("latin.txt", "application/octet-stream"), ("late.log", "application/octet-stream")],
)
def test_what_is_no_text_is_given_as_its_bytes(gate: Served, name: str, kind: str) -> None:
    result = gate.read(uri(gate, name))
    assert mime(result) == kind
    assert raw(result) == (gate.top / name).read_bytes()


def test_directory_is_given_as_its_listing(gate: Served) -> None:
    result = gate.read(uri(gate, "notes"))
    assert mime(result) == "inode/directory"
    assert texts(result) == [gate.text("list_directory", path="notes")]
    assert texts(gate.read(uri(gate, "empty/"))) == [""]


def test_record_names_the_tool_the_file_and_the_hash_and_how_it_was_asked(gate: Served) -> None:
    status = (gate.top / "notes/plan.md").stat()
    for name, tool in (("to-plan", "read_text_file"), ("picture.png", "read_media_file"), ("notes", "list_directory")):
        gate.read(uri(gate, name))
        record = gate.records()[-1]
        assert (record["event"], record["ok"]) == ("call.outcome", True)
        assert (record["tool"], record["via"]) == (tool, "resources/read")
        assert record["arguments"] == {"uri": uri(gate, name)}
        (path,) = record["paths"]
        if name == "to-plan":
            assert (path["name"], path["file"]) == ("notes/plan.md", f"{status.st_dev}:{status.st_ino}")
        if tool != "list_directory":
            assert record["sha256"] == hashlib.sha256((gate.top / path["name"]).read_bytes()).hexdigest()
    assert len(gate.records()) == 3


def test_call_of_a_tool_has_no_method_in_its_record(gate: Served) -> None:
    gate.call("read_text_file", path="a.txt")
    assert "via" not in gate.records()[-1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "resource.not_found"),
        ("a.txt/x", "resource.not_a_directory"),
        (".env", "denied.protected"),
        ("pipe", "denied.special_file"),
        ("out", "denied.link_escape"),
        ("nowhere", "resource.not_found"),
    ],
)
def test_failure_is_the_tools_own_and_has_one_record(gate: Served, name: str, said: str) -> None:
    assert code(gate.read(uri(gate, name))) == said
    assert code(gate.call("read_text_file", path=name)) == said
    read, called = gate.records()
    kept = ("event", "tool", "error", "rule")
    assert {key: read[key] for key in kept} == {key: called[key] for key in kept}
    assert read["via"] == "resources/read"


def test_uri_that_is_none_is_refused_and_recorded_as_it_came(gate: Served) -> None:
    for bad in ("http://localhost/a", f"file://{gate.top}/%00", f"file://{gate.top}/../x", ""):
        assert code(gate.read(bad)) == "request.path"
        record = gate.records()[-1]
        assert (record["event"], record["arguments"]) == ("call.refused", {"uri": bad})


# --- how much


def test_text_that_no_result_holds_is_refused_and_says_what_reads_it(tmp_path: Path, work: Path) -> None:
    (work / "long.txt").write_text("line\n" * 2000)
    (work / "one-line.txt").write_text("x" * 9000)
    (work / "fits.txt").write_text("x" * (8192 - 512))
    with served(tmp_path, [rules(work)], limits=Limits(result_bytes=8192)) as gate:
        for name in ("long.txt", "one-line.txt"):
            result = gate.read(uri(gate, name))
            assert code(result) == "limit.file_size"
            assert "line\n" not in texts(result)[0]
            assert result.structured is not None
            assert "read_text_file with offset" in result.structured["error"]["allowedInstead"]
            assert gate.records()[-1]["ok"] is False
        assert texts(gate.read(uri(gate, "fits.txt"))) == ["x" * (8192 - 512)]


def test_bytes_beyond_the_limit_of_the_root_are_refused(tmp_path: Path, work: Path) -> None:
    with served(tmp_path, [rules(work, max_file=8)]) as gate:
        assert code(gate.read(uri(gate, "picture.png"))) == "limit.file_size"


def test_long_listing_is_cut_and_says_how_to_go_on(tmp_path: Path, work: Path) -> None:
    build(work / "many", [f"file {number:04} x" for number in range(2000)])
    with served(tmp_path, [rules(work)], limits=Limits(result_bytes=4096)) as gate:
        (text,) = texts(gate.read(uri(gate, "many")))
        assert len(text) <= 4096
        lines = text.splitlines()
        shown = lines[: lines.index("")]
        assert lines[-2] == f"nextCursor: {shown[-1].removeprefix('[FILE] ')}"
        assert lines[-1] == "list_directory goes on with this cursor."


def test_listing_that_leaves_a_name_out_and_is_not_cut_promises_no_cursor(tmp_path: Path, work: Path) -> None:
    (work / "odd").mkdir()
    (work / "odd/short").touch()
    (work / "odd" / ("\x01" * 255)).touch()
    with served(tmp_path, [rules(work)], limits=Limits(result_bytes=1024)) as gate:
        assert texts(gate.read(uri(gate, "odd"))) == [
            "[FILE] short\n\n1 name is too long for a result and left out.",
        ]


# --- what the policy grants


@pytest.mark.parametrize(
    ("tools", "name", "kind"),
    [
        ({"read_text_file"}, "a.txt", "text/plain"),
        ({"read_text_file"}, "picture.png", "request.encoding"),
        ({"read_text_file"}, "notes", "denied.tool"),
        ({"read_media_file"}, "a.txt", "application/octet-stream"),
        ({"read_media_file"}, "picture.png", "image/png"),
        ({"read_media_file"}, "notes", "denied.tool"),
        ({"list_directory"}, "notes", "inode/directory"),
        ({"list_directory"}, "a.txt", "resource.not_a_directory"),
        ({"list_directory"}, ".env", "denied.protected"),
        ({"write_file", "read_file"}, "a.txt", "denied.tool"),
        ({"write_file"}, "none", "denied.tool"),
    ],
)
def test_only_what_a_granted_tool_reads_is_read(
    tools: set[str], name: str, kind: str, tmp_path: Path, work: Path
) -> None:
    with served(tmp_path, [rules(work, deny=["**/.env"])], tools=frozenset(tools)) as gate:
        result = gate.read(uri(gate, name))
        assert (code(result) if result.is_error else mime(result)) == kind
        assert "SECRET" not in "".join(texts(result))


def test_refusal_of_a_tool_is_recorded_for_that_tool(tmp_path: Path, work: Path) -> None:
    with served(tmp_path, [rules(work)], tools=frozenset({"read_text_file"})) as gate:
        said = texts(gate.read(uri(gate, "notes")))[0]
        assert said.startswith("Access denied - the policy does not grant the tool list_directory")
        assert gate.complete("/") is None
        refused = [(record["event"], record["tool"]) for record in gate.records()]
        assert refused == [("call.refused", "list_directory"), ("call.refused", "list_allowed_directories")]


def test_clients_roots_narrow_resources_and_completions(gate: Served) -> None:
    session = replace(gate.session, workspace=narrowed(gate.session.workspace, [uri(gate, "notes")]))
    narrow = replace(gate, session=session)
    assert texts(narrow.read(uri(gate, "notes/plan.md"))) == ["# Plan"]
    assert code(narrow.read(uri(gate, "a.txt"))) == "denied.outside_roots"
    assert values(narrow, f"{gate.top}/notes/p") == [f"{gate.top}/notes/plan.md"]
    assert values(narrow, "/") == [f"{gate.top}/notes/"]
    twice = narrowed(gate.session.workspace, [uri(gate, "notes"), uri(gate, "notes/"), "file:///", uri(gate, ".")])
    assert [place.path for place in twice.places] == [f"{gate.top}/notes", str(gate.top)]
    assert narrow.complete(f"{gate.top}/a") is None
    shut = replace(gate, session=replace(gate.session, workspace=closed(gate.session.workspace, "nobody said")))
    assert code(shut.read(uri(gate, "a.txt"))) == "denied.rule"
    assert shut.complete("/") is None


def test_secrets_are_hidden_in_resources_too(gate: Served) -> None:
    (gate.top / "token.txt").write_text(f"token = {GITHUB}\n")
    policy = replace(gate.gate._policy, redact_output=True)
    hiding = replace(gate, gate=Gate(registry=gate.gate._registry, policy=policy, audit=gate.log))
    result = hiding.read(uri(gate, "token.txt"))
    assert texts(result)[0] == "token = [redacted:github-token]\n"
    assert (result.meta or {})["fsserver/redacted"] == 1


# --- completions


def values(gate: Served, typed: str) -> list[str]:
    completion = gate.complete(typed)
    assert completion is not None
    assert len(completion["values"]) <= completion.get("total", 100)
    return list(completion["values"])


def test_names_that_lead_on_are_offered_and_no_others(gate: Served) -> None:
    top = str(gate.top)
    offered = [value.removeprefix(f"{top}/") for value in values(gate, f"{top}/")]
    assert offered == [
        "100%25 sure %231%3F.txt",
        "a.txt",
        "caf%E9.txt",
        "data.zip",
        "drawing.svg",
        "empty/",
        "late.log",
        "latin.txt",
        "notes/",
        "picture.png",
        "to-notes/",
        "to-plan",
    ]
    for value in offered:
        assert not gate.read(f"file://{top}/{value}").is_error, value


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("{top}/n", ["{top}/notes/"]),
        ("{top}/notes", ["{top}/notes/"]),
        ("{top}/notes/", ["{top}/notes/other.md", "{top}/notes/plan.md"]),
        ("{top}/notes/.", []),
        ("{top}/to-notes/p", ["{top}/to-notes/plan.md"]),
        ("{top}//notes//p", ["{top}//notes//plan.md"]),
        ("{top}/./notes/p", ["{top}/./notes/plan.md"]),
        ("{top}/100%25", ["{top}/100%25 sure %231%3F.txt"]),
        ("{top}/100%", ["{top}/100%25 sure %231%3F.txt"]),
        ("{top}/caf%E9", ["{top}/caf%E9.txt"]),
        ("{top}/none", []),
        ("{top}", ["{top}/"]),
        ("", ["{top}/"]),
        ("/", ["{top}/"]),
    ],
)
def test_what_is_typed_goes_on(gate: Served, typed: str, found: list[str]) -> None:
    assert values(gate, typed.format(top=gate.top)) == [value.format(top=gate.top) for value in found]


def test_delimiter_that_is_typed_as_it_is_ends_no_path_that_is_offered(gate: Served) -> None:
    build(gate.top, ["file what?/#1/now.txt now"])
    for typed in ("what?/#1/n", "what%3f/%231/n"):
        (value,) = values(gate, f"{gate.top}/{typed}")
        assert texts(gate.read(f"file://{value}")) == ["now"]


def test_root_whose_name_begins_another_is_offered_beside_it(tmp_path: Path) -> None:
    build(tmp_path, ["file work/in/f x", "dir work-2"])
    roots = [rules(tmp_path / name, name=name.replace("/", "-")) for name in ("work", "work-2", "work/in")]
    with served(tmp_path, roots) as gate:
        assert values(gate, f"{tmp_path}/wor") == [f"{tmp_path}/{name}/" for name in ("work-2", "work", "work/in")]
        assert values(gate, f"{tmp_path}/work/i") == [f"{tmp_path}/work/in/"]
        assert gate.records()[-1]["tool"] == "list_directory"


@pytest.mark.parametrize(
    ("typed", "event", "said"),
    [
        ("/etc/", "call.refused", "denied.outside_roots"),
        ("/etc/pass", "call.refused", "denied.outside_roots"),
        ("{top}-evil/", "call.refused", "denied.outside_roots"),
        ("{top}/../", "call.refused", "request.path"),
        ("{top}/%2e%2e/", "call.refused", "request.path"),
        ("{top}/out/", "call.refused", "denied.link_escape"),
        ("{top}/a%00", "call.refused", "request.path"),
        ("notes/", "call.refused", "request.path"),
        ("~/", "call.refused", "request.path"),
        ("{top}/none/", "call.outcome", "resource.not_found"),
        ("{top}/a.txt/", "call.outcome", "resource.not_a_directory"),
    ],
)
def test_path_outside_completes_to_nothing_and_is_recorded(gate: Served, typed: str, event: str, said: str) -> None:
    assert gate.complete(typed.format(top=gate.top)) is None
    record = gate.records()[-1]
    assert (record["event"], record["error"], record["via"]) == (event, said, "completion/complete")
    assert record["arguments"] == {"path": typed.format(top=gate.top)}


def test_what_is_typed_and_longer_than_any_path_is_refused_before_it_is_taken_apart(gate: Served) -> None:
    typed = f"{gate.top}/" + "%" * 20_000
    assert gate.complete(typed) is None
    (record,) = gate.records()
    assert (record["event"], record["tool"], record["error"]) == ("call.refused", "list_directory", "request.path")
    assert record["arguments"]["path"]["bytes"] == len(typed)


def test_completion_needs_the_tool_that_lists(tmp_path: Path, work: Path) -> None:
    with served(tmp_path, [rules(work)], tools=frozenset({"read_text_file"})) as gate:
        assert gate.complete(f"{work}/") is None
        assert gate.complete("/") is None
        assert [record["error"] for record in gate.records()] == ["denied.tool"] * 2


def test_at_most_a_hundred_are_offered_and_the_rest_is_counted_honestly(tmp_path: Path) -> None:
    build(tmp_path / "work", [f"file few/{number:03} x" for number in range(100)])
    build(tmp_path / "work", [f"file more/{number:03} x" for number in range(101)])
    build(tmp_path / "work", [f"file many/{number:04} x" for number in range(1001)])
    with served(tmp_path, [rules(tmp_path / "work", deny=["few/09*", "many/0*"])]) as gate:
        seen = {}
        for name in ("few", "more", "many"):
            completion = gate.complete(f"{gate.top}/{name}/")
            assert completion is not None
            seen[name] = (len(completion["values"]), completion.get("total"), completion["hasMore"])
    assert seen == {"few": (90, 90, False), "more": (100, 101, True), "many": (1, None, False)}


def test_values_stay_within_a_result(tmp_path: Path) -> None:
    build(tmp_path / "work", [f"file {'n' * 200}{number:03} x" for number in range(100)])
    with served(tmp_path, [rules(tmp_path / "work")], limits=Limits(result_bytes=4096)) as gate:
        completion = gate.complete(f"{gate.top}/n")
        assert completion is not None
        assert 0 < sum(map(len, completion["values"])) <= 4096
        assert (completion["total"], completion["hasMore"]) == (100, True)


def test_completion_that_is_cancelled_or_out_of_time_ends_as_a_call_does(gate: Served) -> None:
    cancelled = Control()
    cancelled.cancelled.set()
    for control, said in ((cancelled, "request.cancelled"), (Control(deadline=0.0), "limit.time")):
        typed = {"path": f"{gate.top}/notes/"}
        result = gate.gate.call(gate.session, COMPLETION.usual, typed, control, guise=COMPLETION)
        assert isinstance(result, ToolResult)
        assert code(result) == said
