"""No tool reaches outside, made from the registry's own declarations: a new tool is attacked without a new test.

For every path parameter of every tool, with valid arguments otherwise: paths outside in every spelling, links that
leave, and protected names. Each time the call is refused, the refusal is in the log, and nothing has changed outside
or inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths.workspace import Access
from fsserver.tools.catalog import file_tools
from fsserver.tools.registry import Tool
from tests.gates import Served, served, texts
from tests.searching import unconfined
from tests.trees import build, rules, snapshot

SECRET = "the secret outside"

# Valid values for whatever a tool requires besides its paths.
VALUES: dict[str, Any] = {
    "content": "attack",
    "edits": [{"oldText": "secret", "newText": "attack"}],
    "pattern": "**",
}


@dataclass(frozen=True)
class Place:
    """One path parameter of one tool."""

    tool: Tool[Any]
    parameter: str
    access: Access
    many: bool

    def arguments(self, path: str, innocent: str) -> dict[str, Any]:
        schema = self.tool.input_schema
        arguments = {name: VALUES[name] for name in schema.get("required", []) if name in VALUES}
        for other, access in self.tool.paths.items():
            arguments[other] = "new" if access in (Access.CREATE, Access.MOVE_TO) else innocent
        arguments[self.parameter] = [path] if self.many else path
        return arguments


PLACES = [
    Place(tool, parameter, access, many)
    for tool in file_tools().tools
    for declared, many in ((tool.paths, False), (tool.path_lists, True))
    for parameter, access in declared.items()
]

# Where {out} is the directory outside and {top} the root. Each leads out; the codes say how that was seen.
OUTSIDE = {
    "absolute": "{out}/s.txt",
    "absolute directory": "{out}",
    "absent": "{out}/none",
    "the file system": "/",
    "password file": "/etc/passwd",
    "parent": "../outside/s.txt",
    "parent in the middle": "d/../../outside/s.txt",
    "parent after the root": "{top}/../outside/s.txt",
    "many parents": "../" * 40 + "etc/passwd",
    "sibling prefix": "{top}-evil/s.txt",
    "sibling prefix, absent": "{top}-evil/none",
    "home of another": "/root/.ssh/id_rsa",
    "this process": "/proc/self/environ",
    "descriptors": "/dev/fd/0",
    "root by proc": "/proc/self/root/etc/passwd",
    "doubled slashes": "//{out}//s.txt",
    "link to a file": "link-file",
    "link to a directory": "link-dir",
    "through a link": "link-dir/s.txt",
    "absent through a link": "link-dir/none",
    "link to nowhere outside": "link-new",
    "chain of links": "chain",
    "link to a parent": "link-up/outside/s.txt",
    "link by proc": "link-proc/etc/passwd",
}
# These leave through the last link only. Tools that act on the link itself may do so.
LAST_LINK = {"link to a file", "link to a directory", "link to nowhere outside", "chain of links"}
ON_LINKS = {Access.MOVE_FROM, Access.DELETE}

PROTECTED = {
    "denied name": ".env",
    "denied name below": "d/.env",
    "denied directory": "vault",
    "in a denied directory": "vault/key",
    "absent in a denied directory": "vault/none",
    "link to a denied name": "to-env",
    "through a link to a denied directory": "to-vault/key",
    "hard link to a denied name": "hard-env",
    "dots to a denied name": "d/../.env",
}

REFUSED = {
    "denied.outside_roots",
    "denied.link_escape",
    "denied.protected",
    "denied.read_only",
    "denied.special_file",
}


def build_hostile(base: Path, text: str) -> None:
    """A root "work", with ``a.txt`` that holds the text, that leads outside in every way; what it denies, and a
    neighbour.
    """
    build(
        base,
        [
            f"file outside/s.txt {SECRET}",
            f"file work-evil/s.txt {SECRET}",
            f"file work/a.txt {text}",
            "dir work/d",
            f"file work/.env {SECRET}",
            f"file work/d/.env {SECRET}",
            f"file work/vault/key {SECRET}",
            "link work/link-file -> ../outside/s.txt",
            f"link work/link-dir -> {base}/outside",
            "link work/link-new -> ../outside/new",
            "link work/chain -> link-file",
            "link work/link-up -> ..",
            "link work/link-proc -> /proc/self/root",
            "link work/to-env -> .env",
            "link work/to-vault -> vault",
            "hard work/hard-env = work/.env",
        ],
    )


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    top = tmp_path / "work"
    build_hostile(tmp_path, "harmless secret")
    roots = [rules(top, deny=["**/.env", "vault"])]
    with served(tmp_path, roots, engine=unconfined(roots)) as running:
        yield running


def innocent(place: Place) -> str:
    return "d" if place.access is Access.LIST else "a.txt"


def attack(gate: Served, place: Place, path: str, tmp_path: Path) -> None:
    path = path.format(out=tmp_path / "outside", top=gate.top)
    arguments = place.arguments(path, innocent(place))
    before = snapshot(tmp_path)
    result = gate.call(place.tool.name, **arguments)
    said = "\n".join(texts(result))
    assert SECRET not in said
    if place.many:
        assert ": Error - " in said
    else:
        assert result.is_error, said
        assert result.structured is not None
        assert result.structured["error"]["code"] in REFUSED, said
    records = gate.records()
    refusals = [record for record in records if record["event"] == "call.refused"]
    assert [record["error"] in REFUSED for record in refusals] == [True], records
    assert not [record for record in records if record["event"] == "call.intent"]
    after = snapshot(tmp_path)
    log = "state/" + Path(gate.log.path).name
    assert {**before, log: None} == {**after, log: None}


def ids(place: Place) -> str:
    return f"{place.tool.name}.{place.parameter}"


@pytest.mark.claim("C1")
@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", PLACES, ids=ids)
def test_outside_path_is_refused_and_recorded(gate: Served, place: Place, name: str, tmp_path: Path) -> None:
    if name in LAST_LINK and place.access in ON_LINKS:
        result = gate.call(place.tool.name, **place.arguments(OUTSIDE[name], innocent(place)))
        assert not result.is_error, texts(result)  # the link itself went; what it led to is as it was
        assert (tmp_path / "outside/s.txt").read_text() == SECRET
        return
    if name in LAST_LINK and place.access in (Access.CREATE, Access.MOVE_TO):
        before = snapshot(tmp_path / "outside")
        result = gate.call(place.tool.name, **place.arguments(OUTSIDE[name], innocent(place)))
        assert result.is_error
        assert snapshot(tmp_path / "outside") == before
        return
    attack(gate, place, OUTSIDE[name], tmp_path)


@pytest.mark.claim("C2")
@pytest.mark.parametrize("name", PROTECTED)
@pytest.mark.parametrize("place", PLACES, ids=ids)
def test_protected_name_is_refused_and_recorded(gate: Served, place: Place, name: str, tmp_path: Path) -> None:
    if name == "link to a denied name" and place.access in (*ON_LINKS, Access.CREATE, Access.MOVE_TO):
        gate.call(place.tool.name, **place.arguments(PROTECTED[name], innocent(place)))
        assert (tmp_path / "work/.env").read_text() == SECRET
        return
    if name == "hard link to a denied name" and place.access in (Access.CREATE, Access.MOVE_TO):
        assert gate.call(place.tool.name, **place.arguments(PROTECTED[name], innocent(place))).is_error
        return
    attack(gate, place, PROTECTED[name], tmp_path)


def test_the_attacked_paths_would_have_worked_without_a_gate(tmp_path: Path, gate: Served) -> None:
    for path in (
        "link-file",
        "link-dir/s.txt",
        "chain",
        "link-up/outside/s.txt",
        "to-env",
        "hard-env",
        "../outside/s.txt",
    ):
        assert (gate.top / path).read_text() == SECRET


def test_every_parameter_that_looks_like_a_path_is_declared_as_one() -> None:
    for tool in file_tools().tools:
        paths = {name for name in tool.input_schema["properties"] if name in ("path", "paths", "source", "destination")}
        assert paths == tool.paths.keys() | tool.path_lists.keys(), tool.name
    assert len(PLACES) >= 17


# Every kind of value that JSON can send, in every parameter of every tool.
HOSTILE: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "fraction": 1.5,
    "huge float": 1e308,
    "huge integer": 10**400,
    "empty": "",
    "NUL": "\0",
    "NUL inside": "a.txt\0.png",
    "half a pair": "\ud800",
    "a megabyte": "x" * 2**20,
    "slashes": "/" * 5000,
    "5,000 components": "a/" * 5000,
    "long name": "n" * 256,
    "empty list": [],
    "empty object": {},
    "deep": [[[[[[[[[[]]]]]]]]]],
    "many": ["a"] * 20_000,
    "list with half a pair": ["\ud800"],
    "tilde": "~root",
    "percent": "%2e%2e/%2e%2e/etc/passwd",
    "file URI": "file:///etc/passwd",
    "drive": "C:\\Windows",
    "backslashes": "..\\..\\etc\\passwd",
    "variable": "$HOME/.ssh",
    "stars": "*" * 2000,
    "braces": "{a,b}" * 20,
    "bracket": "[",
    "extended": "!(a)",
    "newline": "a\nb",
    "bidi": "\u202ea",
}


@pytest.mark.parametrize("tool", file_tools().tools, ids=lambda tool: tool.name)
def test_hostile_argument_never_breaks_a_tool(gate: Served, tool: Tool[Any]) -> None:
    outside = snapshot(gate.top.parent / "outside")
    for parameter in (*tool.input_schema["properties"], "no such parameter"):
        for name, value in HOSTILE.items():
            build(gate.top, ["file a.txt harmless secret"])
            arguments = {each: VALUES[each] for each in tool.input_schema.get("required", []) if each in VALUES}
            for other, access in tool.paths.items():
                arguments[other] = "new" if access in (Access.CREATE, Access.MOVE_TO) else "a.txt"
            arguments |= {each: ["a.txt"] for each in tool.path_lists}
            arguments[parameter] = value
            result = gate.call(tool.name, **arguments)
            for text in texts(result):
                assert len(text.encode()) <= 65536, (parameter, name)
            if result.is_error:
                assert result.structured is not None
                assert result.structured["error"]["code"] != "internal", (parameter, name)
    assert snapshot(gate.top.parent / "outside") == outside
