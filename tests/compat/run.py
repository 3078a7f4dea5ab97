"""Runs rows on a server and makes its answers comparable.

What cannot be equal between two runs or two servers is replaced: the temporary directory by ``/BASE``, the present by
``NOW``, random names of temporary files, a directory's own size (the file system decides it), the length of a path.
Nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tests.compat import tree
from tests.compat.case import BASE, Case
from tests.compat.wire import Connection, ProtocolError

Answer = dict[str, Any]
Start = Callable[[str, tuple[str, ...]], list[str]]

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENTRY = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
KEPT_CHARACTERS = 3000

_RANDOM = re.compile(r"\.[0-9a-f]{32}\.tmp")
_TIME = r"\d\d:\d\d:\d\d GMT\+0000 \(Coordinated Universal Time\)"
# Dates of this run; the fixed ones in the rows are older. Whether reading moves the time of access, the mount decides.
_NOW = re.compile(rf"\w{{3}} \w{{3}} \d\d (?:202[5-9]|20[3-9]\d) {_TIME}")
_ACCESSED = re.compile(rf"^accessed: \w{{3}} \w{{3}} \d\d \d{{4}} {_TIME}$", re.MULTILINE)
_DIRECTORY_SIZE = re.compile(r"\Asize: \d+(?=\n(?:.*\n)*isDirectory: true)")
_BYTES = re.compile(r"the path has \d+ bytes")
_LONG_NAME = re.compile(r"(d/){100,}|n{100,}")


def reference_argv(install: str) -> Start:
    """How the reference server is started that npm installed beneath ``install``."""

    def argv(base: str, roots: tuple[str, ...]) -> list[str]:
        return ["node", os.path.join(install, ENTRY), *(f"{base}/{root}" for root in roots)]

    return argv


def fsserver_argv(base: str, roots: tuple[str, ...]) -> list[str]:
    """How fsserver is started with what the reference would get on its command line."""
    argv = [sys.executable, "-m", "fsserver", "serve", "--write"]
    for root in roots:
        argv += ["--root", f"{base}/{root}"]
    return argv


class Runner:
    """One kind of server on temporary directories: one process for each set of roots, started when first needed."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._running: dict[tuple[str, ...], tuple[str, Connection]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for base, connection in self._running.values():
            connection.close()
            shutil.rmtree(os.path.dirname(base))
        self._running.clear()

    def connect(self, roots: tuple[str, ...]) -> tuple[str, Connection]:
        """The temporary directory and the server for ``roots``, after the handshake."""
        if roots not in self._running:
            outer = os.path.realpath(tempfile.mkdtemp(prefix="fsserver-compat-"))
            base = f"{outer}/base"
            os.mkdir(base)
            tree.prepare(base)
            environment = {
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": base,
                "XDG_STATE_HOME": f"{outer}/state",
                "LANG": "C.UTF-8",
                "TZ": "UTC",
            }
            connection = Connection(self._start(base, roots), env=environment, cwd=REPOSITORY)
            self._running[roots] = base, connection
            connection.handshake()
        return self._running[roots]

    def run(self, case: Case) -> Answer:
        """Build the row's files, make its calls, and say what was answered and what the calls left behind."""
        base, connection = self.connect(case.roots)
        tree.clear(base)
        tree.build(base, (line.replace(BASE, base) for line in case.tree))
        before = tree.snapshot(base)
        answers = [_call(connection, base, call.tool, call.arguments) for call in case.calls]
        after = tree.snapshot(base)
        answer: Answer = {"answers": answers}
        if after != before:
            answer["after"] = [line.replace(base, BASE) for line in after]
        return answer

    def tools(self) -> list[dict[str, Any]]:
        """``tools/list`` as the server sends it."""
        tools: list[dict[str, Any]] = self.connect(("work",))[1].request("tools/list", {})["tools"]
        return tools


def _call(connection: Connection, base: str, tool: str, arguments: Mapping[str, Any]) -> Answer:
    try:
        result = connection.call(tool, _replaced(arguments, BASE, base))
    except ProtocolError as error:
        return {"protocol error": _normal(str(error), base)}
    content = [_short(_replaced(block, base, BASE)) for block in result["content"]]
    kind = "error" if result.get("isError") else "text"
    if all(block["type"] == "text" for block in content):
        texts = [_normal(block["text"], base) for block in content]
        return {kind: texts[0]} | ({"more": texts[1:]} if texts[1:] else {})
    return {"content": content} | ({"isError": True} if kind == "error" else {})


def _replaced(value: Any, old: str, new: str) -> Any:
    """``value`` with ``old`` replaced in every string."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {key: _replaced(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, old, new) for each in value]
    return value


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > KEPT_CHARACTERS:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{len(value)} characters, sha256 {digest}"
    if isinstance(value, dict):
        return {key: _short(_collapsed(each)) for key, each in value.items()}
    return value


def _collapsed(value: Any) -> Any:
    return _LONG_NAME.sub(lambda found: f"{found[0][:2]}…", value) if isinstance(value, str) else value


def _normal(text: str, base: str) -> str:
    text = text.replace(base, BASE)
    text = _BYTES.sub("the path has N bytes", _RANDOM.sub(".RANDOM.tmp", text))
    text = _NOW.sub("NOW", _ACCESSED.sub("accessed: DATE", text))
    return _DIRECTORY_SIZE.sub("size: SIZE", text)


def described(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What of ``tools/list`` a client relies on: names, titles, parameters, hints. Wording is free."""
    return {
        tool["name"]: {
            "annotations": tool.get("annotations", {}),
            "parameters": {name: _shape(schema) for name, schema in tool["inputSchema"].get("properties", {}).items()},
            "required": sorted(tool["inputSchema"].get("required", [])),
            "title": tool.get("title"),
        }
        for tool in tools
    }


def _shape(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without descriptions and dialect."""
    kept: dict[str, Any] = {
        key: schema[key] for key in ("type", "enum", "default", "minItems", "required") if key in schema
    }
    if "items" in schema:
        kept["items"] = _shape(schema["items"])
    if "properties" in schema:
        kept["properties"] = {name: _shape(each) for name, each in schema["properties"].items()}
    return kept
