"""Secrets in results over the wire: the real server with a policy that says ``redact_output``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.verify import Status, verify
from tests.protocol.client import HANDSHAKE_REVISIONS, MODERN, Client, Message, envelope, text_of
from tests.secret_rows import GITHUB

GONE = "[redacted:github-token]"
OWN = "cust-[0-9]+"


@pytest.fixture
def serving(serve: Callable[..., Client], root: Path, tmp_path: Path) -> Callable[..., Client]:
    """Starts a server over ``root`` that hides secrets, or not."""
    (root / "secret.txt").write_text(f"token: {GITHUB}\ncust-12\n")
    (root / f"{GITHUB}.txt").write_text("x")

    def start(**more: Any) -> Client:
        policy = tmp_path / "policy.yaml"
        audit = {"sinks": [{"dir": str(tmp_path / "audit")}], "redact": [OWN]}
        roots = {"work": {"path": str(root), "mode": "rw"}}
        policy.write_text(json.dumps({"version": 1, "roots": roots, "audit": audit, **more}, indent=1))
        return serve("--policy", policy)

    return start


def read(client: Client, revision: str, path: str) -> Message:
    if revision != MODERN:
        client.open(revision)
        return client.call("read_text_file", {"path": path})
    params = {"name": "read_text_file", "arguments": {"path": path}, "_meta": envelope()}
    return client.request("tools/call", params)


@pytest.mark.parametrize("revision", [*HANDSHAKE_REVISIONS, MODERN])
def test_text_is_redacted_and_counted(revision: str, serving: Callable[..., Client]) -> None:
    result = read(serving(redact_output=True), revision, "secret.txt")
    assert result["content"][0]["text"] == f"token: {GONE}\n[redacted:policy-1]\n"
    assert "2 places are redacted here" in result["content"][1]["text"]
    assert result["_meta"]["fsserver/redacted"] == 2
    assert GITHUB not in json.dumps(result)


def test_without_it_text_is_as_it_is_and_the_log_shows_no_secret(
    serving: Callable[..., Client], root: Path, tmp_path: Path
) -> None:
    client = serving()
    client.open()
    assert text_of(client.call("read_text_file", {"path": "secret.txt"})) == f"token: {GITHUB}\ncust-12\n"
    for path in (f"{GITHUB}.txt", f"../{GITHUB}", "cust-34"):
        client.call("read_text_file", {"path": path})
        client.call("write_file", {"path": path, "content": GITHUB})
    client.call(GITHUB)
    client.close_input()
    client.wait()
    (log,) = (tmp_path / "audit").iterdir()
    text = log.read_text()
    assert verify(str(log)).status is Status.WHOLE
    assert GITHUB not in text
    assert "cust-34" not in text
    assert text.count(GONE) >= 5
    assert text.count("[redacted:policy-1]") >= 2
    assert (root / "cust-34").read_text() == GITHUB, "only what is shown is redacted"


def test_listing_and_errors_are_redacted_and_a_marker_is_not_written(
    serving: Callable[..., Client], root: Path
) -> None:
    client = serving(redact_output=True)
    client.open()
    assert f"{GONE}.txt" in text_of(client.call("list_directory", {"path": "."}))
    assert GONE in text_of(client.call("read_text_file", {"path": f"{GITHUB}.none"}))
    refused = client.call("write_file", {"path": "secret.txt", "content": f"token: {GONE}\nnew\n"})
    assert refused["isError"]
    assert refused["structuredContent"]["error"]["code"] == "denied.redacted"
    assert "allowed instead: edit_file" in text_of(refused)
    edits = [{"oldText": "token:", "newText": "key:"}]
    assert not client.call("edit_file", {"path": "secret.txt", "edits": edits}).get("isError")
    assert (root / "secret.txt").read_text() == f"key: {GITHUB}\ncust-12\n"
