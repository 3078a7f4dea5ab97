"""No resource and no completion reaches outside: URIs in every spelling, links that leave, protected names.

Each time the request is refused, the refusal is in the log, nothing of the secret comes out, and nothing has changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsserver.paths.uri import file_uri
from tests.attacks.test_every_tool_refuses_outside import OUTSIDE, PROTECTED, SECRET, build_hostile
from tests.gates import Served, served, texts
from tests.trees import build, rules, snapshot

# Where {out} is the directory outside and {top} the root.
URIS = {
    "a plain file outside": "file://{out}/s.txt",
    "on localhost": "file://localhost{out}/s.txt",
    "without an authority": "file:{out}/s.txt",
    "four slashes": "file:///{out}/s.txt",
    "another host": "file://example.com{top}/a.txt",
    "a host before the root": "file://server/share",
    "a user": "file://root@localhost/etc/passwd",
    "another scheme": "http://localhost{top}/a.txt",
    "a path": "{top}/a.txt",
    "a relative path": "file:a.txt",
    "home": "file://~/.ssh/id_rsa",
    "home as a name": "file:///~/.ssh/id_rsa",
    "parent": "file://{top}/../outside/s.txt",
    "parent, escaped": "file://{top}/%2e%2e/outside/s.txt",
    "parent, half escaped": "file://{top}/.%2e/outside/s.txt",
    "parent, escaped twice": "file://{top}/%252e%252e/outside/s.txt",
    "parent and slash, escaped": "file://{top}/%2e%2e%2foutside%2fs.txt",
    "slash, escaped": "file://{top}%2f..%2foutside%2fs.txt",
    "parent, in UTF-8 that is too long": "file://{top}/%c0%ae%c0%ae/outside/s.txt",
    "slash, in UTF-8 that is too long": "file://{top}/..%c0%afoutside/s.txt",
    "parent, wide": "file://{top}/%ef%bc%8e%ef%bc%8e/outside/s.txt",
    "parent as our escapes": "file://{top}/\\x2e\\x2e/outside/s.txt",
    "backslashes": "file://{top}/..\\outside\\s.txt",
    "NUL": "file://{top}/a.txt%00",
    "NUL before an ending": "file://{out}/s.txt%00.png",
    "a query": "file://{top}/a.txt?x=/../../outside/s.txt",
    "a fragment": "file://{top}/a.txt#/../../outside/s.txt",
    "sibling prefix": "file://{top}-evil/s.txt",
    "sibling prefix, escaped": "file://{top}%2Devil/s.txt",
    "link out, escaped": "file://{top}/link%2Dfile",
    "denied name, escaped": "file://{top}/%2e%65nv",
    "denied name in a denied directory, escaped": "file://{top}/v%61ult/key",
    "FIFO": "file://{top}/pipe",
    "socket": "file://{top}/socket",
    "device": "file:///dev/zero",
    "descriptor": "file:///proc/self/fd/0",
    "memory": "file:///proc/self/mem",
    "nothing": "",
    "very long": "file://{top}/" + "a/" * 50_000,
}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    build_hostile(tmp_path, "harmless")
    build(tmp_path, ["fifo work/pipe", "socket work/socket"])
    with served(tmp_path, [rules(tmp_path / "work", deny=["**/.env", "vault"])]) as running:
        yield running


def attack(gate: Served, uri: str, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    result = gate.read(uri)
    assert result.is_error
    said = "\n".join(texts(result))
    assert SECRET not in said
    assert "harmless" not in said
    (record,) = gate.records()
    assert (record["ok"], record["via"]) == (False, "resources/read")
    assert record["event"] == "call.refused" or record["error"] == "resource.not_found", record
    after = snapshot(tmp_path)
    log = "state/" + Path(gate.log.path).name
    assert {**before, log: None} == {**after, log: None}


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.claim("C5")
@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", URIS)
def test_hostile_uri_is_refused_and_recorded(gate: Served, name: str, tmp_path: Path) -> None:
    uri = URIS[name].format(out=tmp_path / "outside", top=gate.top)
    attack(gate, uri, tmp_path)


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", [*OUTSIDE, *PROTECTED])
def test_path_that_no_tool_takes_is_no_resource(gate: Served, name: str, tmp_path: Path) -> None:
    path = {**OUTSIDE, **PROTECTED}[name].format(out=tmp_path / "outside", top=gate.top)
    attack(gate, file_uri(os.path.join(gate.top, path)), tmp_path)


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.parametrize("typed", ["{top}/", "{top}/d/", "{top}/l", "{top}/to-", "{top}/.", "{top}/vaul", "{top}/%2e"])
def test_no_protected_name_and_no_way_out_is_offered(gate: Served, typed: str) -> None:
    completion = gate.complete(typed.format(top=gate.top))
    assert completion is not None
    offered = {value.removeprefix(f"{gate.top}/").rstrip("/") for value in completion["values"]}
    assert offered <= {"a.txt", "d"}


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.claim("C6")
@pytest.mark.parametrize(
    "typed",
    [
        "{out}/",
        "{out}/s",
        "{top}/link-dir/",
        "{top}/link-up/outside/",
        "{top}/link-proc/etc/",
        "{top}/vault/",
        "{top}/to-vault/k",
        "{top}/../outside/",
        "{top}/%2e%2e/outside/",
        "{top}%2f..%2foutside/",
        "{top}-evil/",
        "/etc/",
        "/proc/self/",
    ],
)
def test_hostile_beginning_completes_to_nothing_and_is_recorded(gate: Served, typed: str, tmp_path: Path) -> None:
    assert gate.complete(typed.format(out=tmp_path / "outside", top=gate.top)) is None
    (record,) = gate.records()
    assert (record["event"], record["via"]) == ("call.refused", "completion/complete")


def test_the_attacked_uris_would_have_led_somewhere(gate: Served, tmp_path: Path) -> None:
    for path in ("link-file", "to-env", "hard-env", "../outside/s.txt", "vault/key"):
        assert (gate.top / path).read_text() == SECRET
    assert texts(gate.read(file_uri(str(gate.top / "a.txt")))) == ["harmless"]
