"""The MCP inspector's command line against fsserver: a client that we did not write lists and calls the tools."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

from tests.compat import tree
from tests.compat.run import REPOSITORY, fsserver_argv


def problems(install: str) -> list[str]:
    """What the inspector could not do, in words."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fsserver-inspector-") as outer:
        base = f"{os.path.realpath(outer)}/base"
        os.mkdir(base)
        tree.prepare(base)
        tree.build(base, [r'file work/a.txt "one\ntwo\n"'])
        environment = {**os.environ, "HOME": base, "XDG_STATE_HOME": f"{outer}/state"}
        tools = _inspect(install, base, environment, "--method", "tools/list")
        names = {tool["name"] for tool in tools.get("tools", [])}
        if not {"read_text_file", "edit_file", "list_directory"} <= names:
            found.append(f"inspector: tools/list gave {sorted(names)} {tools.get('problem', '')}")
        for tool, expected, arguments in _CALLS:
            result = _inspect(install, base, environment, *_call(tool, arguments))
            text = "".join(block.get("text", "") for block in result.get("content", []))
            if expected not in text:
                found.append(f"inspector: {tool} gave {json.dumps(result)[:400]}, not {expected!r}")
    return found


_CALLS = (
    ("read_text_file", "one\ntwo\n", {"path": "a.txt"}),
    ("list_directory", "[FILE] a.txt", {"path": "."}),
    ("write_file", "Successfully wrote to b.txt", {"path": "b.txt", "content": "x"}),
    ("edit_file", "+2\n", {"path": "a.txt", "edits": '[{"oldText": "two", "newText": "2"}]'}),
    ("read_text_file", "Access denied - path outside allowed directories: ", {"path": "../outside/x"}),
)


def _call(tool: str, arguments: dict[str, str]) -> list[str]:
    pairs = [part for name, value in arguments.items() for part in ("--tool-arg", f"{name}={value}")]
    return ["--method", "tools/call", "--tool-name", tool, *pairs]


def _inspect(install: str, base: str, environment: dict[str, str], *method: str) -> dict[str, Any]:
    command = [os.path.join(install, "node_modules", ".bin", "mcp-inspector"), "--cli"]
    command += [*fsserver_argv(base, ("work",)), *method]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"problem": f"status {done.returncode}: {done.stdout.decode()[-300:]} {done.stderr.decode()[-300:]}"}
    return result
