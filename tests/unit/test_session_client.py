"""Who a client says it is: in the log before its first call, again when it changes, bounded and harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.record import Json
from fsserver.errors import AuditError
from fsserver.tools.catalog import file_tools
from fsserver.tools.control import Control
from fsserver.tools.gate import Gate
from fsserver.tools.introductions import MAX_INTRODUCTIONS
from fsserver.tools.session import MAX_WORD, Client, Session
from tests.audit_schema import require_fit
from tests.gates import Served, served
from tests.trees import rules


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "work").mkdir()
    with served(tmp_path, [rules(tmp_path / "work")]) as running:
        yield running


def introduced(gate: Served) -> list[dict[str, Any]]:
    require_fit(Path(gate.log.path), beginning="session.")
    lines = Path(gate.log.path).read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == "session.client"]


def said(gate: Served, name: str, *, protocol: str = "2025-11-25", session: str = "s1") -> Session:
    return replace(gate.session, id=session, client=Client(name, "1"), protocol=protocol)


def test_who_the_client_is_comes_before_its_first_call(gate: Served) -> None:
    gate.session.client, gate.session.protocol = Client("editor", "1.2"), "2025-11-25"
    gate.call("list_directory", path=".")
    gate.call("list_directory", path=".")
    lines = [json.loads(line) for line in Path(gate.log.path).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run.start", "session.client", "call.outcome", "call.outcome"]
    fields = ("session", "principal", "client", "protocol", "transport")
    assert [lines[1][field] for field in fields] == [
        "s1",
        "tester",
        {"name": "editor", "version": "1.2"},
        "2025-11-25",
        "stdio",
    ]


def test_a_client_that_does_not_say_is_not_in_the_log(gate: Served) -> None:
    gate.gate.introduce(gate.session)
    gate.call("list_directory", path=".")
    assert introduced(gate) == []


def test_it_is_written_again_only_when_something_of_it_changes(gate: Served) -> None:
    for session in (
        said(gate, "a"),
        said(gate, "a"),
        said(gate, "b"),
        said(gate, "b", protocol="2026-07-28"),
        said(gate, "c", session="s2"),
        said(gate, "b", protocol="2026-07-28"),
        said(gate, "a"),
    ):
        gate.gate.introduce(session)
    told = [(each["session"], each["client"]["name"], each["protocol"]) for each in introduced(gate)]
    assert told == [
        ("s1", "a", "2025-11-25"),
        ("s1", "b", "2025-11-25"),
        ("s1", "b", "2026-07-28"),
        ("s2", "c", "2025-11-25"),
        ("s1", "a", "2025-11-25"),
    ]


def test_a_client_with_a_new_name_for_each_call_does_not_fill_the_log(gate: Served) -> None:
    for number in range(MAX_INTRODUCTIONS + 5):
        assert not gate.gate.call(said(gate, f"n{number}"), "list_directory", {"path": "."}, Control()).is_error  # type: ignore[union-attr]
    assert [each["client"]["name"] for each in introduced(gate)] == [f"n{number}" for number in range(20)]


HOSTILE = {
    "long": ("n" * 10_000, "n" * MAX_WORD),
    "several lines": ("a\r\nb\tc", "a b c"),
    "an escape sequence": ("\x1b[2Jx", "\\x1b[2Jx"),
    "writing turned around": ("a\u202eb", "a\\xe2\\x80\\xaeb"),
    "half a pair": ("\ud800", "?"),
    "long escapes": ("\x01" * 100, ("\\x01" * 100)[:MAX_WORD]),
    "other letters": ("é漢", "é漢"),
    "empty": ("", ""),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE.keys())
def test_its_words_are_bounded_and_act_on_nothing(gate: Served, text: str, shown: str) -> None:
    client = Client.saying(text, text)
    assert (client.name, client.version) == (shown, shown)
    gate.gate.introduce(replace(gate.session, client=client))
    assert introduced(gate)[0]["client"] == {"name": shown, "version": shown}


def test_a_call_of_somebody_who_cannot_be_recorded_is_refused_and_the_next_one_tries_again(gate: Served) -> None:
    class FullLog:
        full = True

        def append(self, event: str, fields: Mapping[str, Json], **more: Any) -> int:
            if self.full:
                raise AuditError("The audit log cannot be written.")
            return gate.log.append(event, fields, **more)

    log: Any = FullLog()
    other = replace(gate, gate=Gate(registry=file_tools(), policy=gate.gate._policy, audit=log))
    other.session.client = Client("editor", "1")
    assert other.error("write_file", path="n", content="x")["code"] == "audit.append"
    assert not (gate.top / "n").exists()
    log.full = False
    other.text("write_file", path="n", content="x")
    assert len(introduced(gate)) == 1
