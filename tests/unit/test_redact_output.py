"""What a client gets where the policy says ``redact_output``, and what it may write back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import Limits
from fsserver.tools.catalog import every_tool, file_tools
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from tests.commands import Commanded, command, commanded, script
from tests.gates import Served, served, texts
from tests.secret_rows import GITHUB, HEX, JWT, SECRETS
from tests.support import wait_until
from tests.trees import build, rules

GONE = "[redacted:github-token]"
LINE = f"token = {GITHUB}\n"
COMMANDS = (
    command("cat"),
    command("printf"),
    script("fail", 'echo "$1" >&2; exit 3'),
    script("slow", 'echo "$1"; sleep 60'),
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    lines = ["file a.txt one", f"file {GITHUB}.txt x", "file doc.md see [redacted:NAME] here"]
    build(tmp_path, [line.replace("file ", "file work/", 1) for line in lines])
    (tmp_path / "work/secret.txt").write_text(f"before\n{LINE}after {JWT}\n")
    (tmp_path / "work/picture.png").write_bytes(b"\x89PNG" + GITHUB.encode())
    return tmp_path / "work"


def redacting(gate: Served, redact: tuple[str, ...] = ()) -> Gate:
    """A gate like this one with redacted output."""
    policy = gate.gate._policy
    policy = replace(policy, redact_output=True, audit=replace(policy.audit, redact=redact))
    registry = every_tool(gate.host) if isinstance(gate, Commanded) else file_tools()
    return Gate(registry=registry, policy=policy, audit=gate.log)


@pytest.fixture
def plain(tmp_path: Path, work: Path) -> Iterator[Served]:
    with served(tmp_path, [rules(work)]) as running:
        yield running


@pytest.fixture
def gate(plain: Served) -> Served:
    return replace(plain, gate=redacting(plain))


@pytest.fixture
def runs(tmp_path: Path, work: Path) -> Iterator[Commanded]:
    with commanded(tmp_path, COMMANDS, [rules(work)], limits=Limits(result_bytes=16 * 1024)) as running:
        yield replace(running, gate=redacting(running))


def everything(result: Any) -> str:
    return repr((texts(result), result.structured, result.meta))


def test_text_of_a_file_is_shown_without_its_secrets(gate: Served) -> None:
    result = gate.call("read_text_file", path="secret.txt")
    text, note = texts(result)
    assert text == f"before\ntoken = {GONE}\nafter [redacted:jwt]\n"
    assert note.startswith("2 places are redacted here")
    assert result.meta is not None
    assert result.meta["fsserver/redacted"] == 2
    assert len(result.meta["fsserver/sha256"]) == 64, "the hash is of the file as it is"


def test_note_of_one_place_and_other_notes_stay(gate: Served) -> None:
    text, other, note = texts(gate.call("read_text_file", path="secret.txt", head=2, includeSha256=True))
    assert text == f"before\ntoken = {GONE}"
    assert other.startswith("sha256: ")
    assert note.startswith("One place is redacted here")


def test_result_without_a_secret_is_as_it_is_otherwise(plain: Served, gate: Served) -> None:
    for name, arguments in [("read_text_file", {"path": "a.txt"}), ("get_file_info", {"path": "a.txt"})]:
        assert gate.call(name, **arguments) == plain.call(name, **arguments)


def test_without_redact_output_results_show_what_is_there(plain: Served) -> None:
    result = plain.call("read_text_file", path="secret.txt")
    assert GITHUB in texts(result)[0]
    assert "fsserver/redacted" not in (result.meta or {})


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_text_file", {"path": "secret.txt", "lineNumbers": True}),
        ("read_file", {"path": "secret.txt"}),
        ("read_multiple_files", {"paths": ["secret.txt", f"{GITHUB}.txt", f"{GITHUB}.none"]}),
        ("list_directory", {"path": "."}),
        ("list_directory_with_sizes", {"path": "."}),
        ("directory_tree", {"path": "."}),
        ("search_files", {"path": ".", "pattern": "*"}),
        ("write_file", {"path": f"{GITHUB}.txt", "content": "x"}),
        ("move_file", {"source": f"{GITHUB}.txt", "destination": f"{GITHUB}.moved"}),
        ("edit_file", {"path": "secret.txt", "edits": [{"oldText": "after", "newText": "behind"}]}),
        ("edit_file", {"path": "secret.txt", "edits": [{"oldText": "befor", "newText": "x"}], "dryRun": True}),
        ("edit_file", {"path": "secret.txt", "edits": [{"oldText": f"token = {GITHUB[:-1]}!", "newText": "x"}]}),
        ("read_text_file", {"path": f"{GITHUB}.none"}),
        ("read_text_file", {"path": f"../{GITHUB}"}),
        (GITHUB, {}),
    ],
)
def test_no_tool_shows_a_secret(gate: Served, tool: str, arguments: dict[str, Any]) -> None:
    result = gate.call(tool, **arguments)
    assert GITHUB not in everything(result)
    assert JWT not in everything(result)
    assert "[redacted:" in everything(result)
    assert result.meta is not None
    assert result.meta["fsserver/redacted"] >= 1


def test_picture_is_left(gate: Served) -> None:
    result = gate.call("read_media_file", path="picture.png")
    assert not result.is_error
    assert result.meta is None


def test_policys_patterns_hold_for_results_and_not_for_hashes(plain: Served) -> None:
    gate = replace(plain, gate=redacting(plain, ("be[a-z]+", "[0-9a-f]{64}")))
    text, *_ = texts(gate.call("read_text_file", path="secret.txt"))
    assert text.startswith("[redacted:policy-1]\n")
    meta = gate.call("read_text_file", path="secret.txt").meta
    assert meta is not None
    assert len(meta["fsserver/sha256"]) == 64


def test_result_that_grew_is_within_its_limit_and_keeps_its_note(tmp_path: Path, work: Path) -> None:
    (work / "many.txt").write_text("a --token=x\n" * 1000)
    with served(tmp_path, [rules(work)], limits=Limits(result_bytes=4096)) as running:
        result = replace(running, gate=redacting(running)).call("read_text_file", path="many.txt")
    assert sum(len(text.encode()) for text in texts(result)) <= 4096
    text, cut, note = texts(result)
    assert text.endswith("limits.result is reached]")
    assert "nextOffset" in cut
    assert "places are redacted here" in note


# --- Writing back.

PLACE = f"token = {GONE}\n"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("write_file", {"content": PLACE}),
        ("write_file", {"content": PLACE, "mode": "append"}),
        ("edit_file", {"edits": [{"oldText": "before", "newText": PLACE}]}),
        ("edit_file", {"edits": [{"oldText": "x", "newText": "y"}, {"oldText": "before", "newText": PLACE}]}),
        ("edit_file", {"edits": [{"oldText": "before", "newText": PLACE}], "dryRun": True}),
        ("edit_file", {"edits": [{"oldText": "[redacted:a]", "newText": "[redacted:b]"}]}),
    ],
    ids=["overwrite", "append", "edit", "second of two edits", "dry run", "another marker"],
)
def test_what_stands_for_a_secret_is_not_written(
    gate: Served, work: Path, tool: str, arguments: dict[str, Any]
) -> None:
    before = (work / "secret.txt").read_bytes()
    error = gate.error(tool, path="secret.txt", **arguments)
    assert error["code"] == "denied.redacted"
    assert "edit_file" in error["allowedInstead"]
    assert (work / "secret.txt").read_bytes() == before
    (record,) = gate.records()
    assert record["event"] == "call.refused"


def test_edit_around_a_secret_leaves_it(gate: Served, work: Path) -> None:
    gate.text("edit_file", path="secret.txt", edits=[{"oldText": "before", "newText": "behind"}])
    assert (work / "secret.txt").read_text() == f"behind\n{LINE}after {JWT}\n"


def test_text_that_looks_so_in_the_file_itself_can_be_edited(gate: Served, work: Path) -> None:
    edits = [{"oldText": "see [redacted:NAME] here", "newText": "look at [redacted:NAME] there"}]
    gate.text("edit_file", path="doc.md", edits=edits)
    assert (work / "doc.md").read_text() == "look at [redacted:NAME] there"


def test_edit_of_a_hidden_place_says_that_the_file_has_something_else_there(gate: Served) -> None:
    result = gate.call("edit_file", path="secret.txt", edits=[{"oldText": PLACE, "newText": "x\n"}])
    assert result.is_error
    assert result.structured is not None
    assert result.structured["error"]["code"] == "request.no_match"
    assert texts(result)[-1].startswith("Where text reads [redacted:...], something else is there")


def test_without_redact_output_anything_is_written(plain: Served, work: Path) -> None:
    plain.text("write_file", path="a.txt", content=PLACE)
    assert (work / "a.txt").read_text() == PLACE


# --- Commands.


def test_output_of_a_command_is_shown_without_its_secrets(runs: Commanded) -> None:
    result = runs.call("run_command", command="cat", args=["secret.txt"])
    assert result.structured is not None
    assert result.structured["stdout"] == f"before\ntoken = {GONE}\nafter [redacted:jwt]\n"
    assert result.structured["exitCode"] == 0
    assert GONE in texts(result)[0]
    assert GITHUB not in everything(result)
    assert result.meta == {"fsserver/redacted": 2}


def test_error_output_is_too(runs: Commanded) -> None:
    result = runs.call("run_command", command="fail", args=[GITHUB])
    assert result.structured is not None
    assert result.structured["stderr"] == f"{GONE}\n"
    assert GITHUB not in everything(result)


def test_progress_is_too(runs: Commanded) -> None:
    messages: list[str | None] = []
    control = Control()

    def progress(done: float, whole: float | None, message: str | None) -> None:
        messages.append(message)
        if message is not None:
            control.cancelled.set()

    control.progress = progress
    runs.call("run_command", control, command="slow", args=[f"a {GITHUB}"])
    assert f"a {GONE}" in messages
    assert GITHUB not in repr(messages)


def test_process_in_the_background_is_too(runs: Commanded) -> None:
    handle = runs.structured("start_process", command="cat", args=["secret.txt"])["handle"]

    def output() -> str:
        result = runs.call("read_process", handle=handle)
        assert GITHUB not in everything(result)
        assert result.structured is not None
        return str(result.structured["output"])

    wait_until(lambda: "after" in output(), "its output was read")
    assert GONE in output()
    runs.call("stop_process", handle=handle)
    runs.structured("start_process", command="printf", args=["%s", GITHUB])
    listed = runs.call("list_processes")
    assert GITHUB not in everything(listed)
    assert handle in everything(listed), "a handle can still be used"


def test_handle_and_code_stay_whatever_the_policy_hides(runs: Commanded) -> None:
    gate = replace(runs, gate=redacting(runs, (".+",)))
    handle = gate.structured("start_process", command="printf", args=["x"])["handle"]
    assert gate.structured("stop_process", handle=handle)["state"] == "[redacted:policy-1]"
    assert (gate.call("read_process", handle="x").structured or {})["error"]["code"] == "request.process"


# --- The log.


def test_no_secret_is_in_the_log_after_all_kinds_of_calls(runs: Commanded, work: Path) -> None:
    for number, row in enumerate(SECRETS.values()):
        name = f"{number}-{row.secret.replace('/', '').replace(chr(10), '')[:100]}"
        runs.call("write_file", path=name, content=row.text)
        runs.call("read_text_file", path=f"../{row.text}")
        runs.call("run_command", command="printf", args=["%s", row.text])
        runs.call("edit_file", path=name, edits=[{"oldText": row.text, "newText": f"{row.text}!"}])
        runs.call(row.secret, path=row.text)
        runs.call("read_multiple_files", paths=[row.text, name])
    runs.log.close()
    assert verify(runs.log.path).status is Status.WHOLE
    log = Path(runs.log.path).read_text()
    assert HEX in log, "what is hashed is there"
    log = log.replace(HEX, "")
    assert log.count('"call.refused"') > len(SECRETS)
    for row in SECRETS.values():
        for call in log.splitlines():
            assert row.text not in call
    for name in ("GitHub personal token", "AWS access key id", "JSON Web Token", "npm token", "PyPI token"):
        assert SECRETS[name].secret not in log
