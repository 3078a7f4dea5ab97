"""``python -m benchmarks.http``: the service under load from 64 connections; its section of docs/performance.md.

Beside it stands the SDK's own server over HTTP with one tool that returns its text (`benchmarks.echo_http`): no
authentication, no policy, no file, no log. Both are loaded in turn in the same run, block beside block, by wrk, which
looks at every answer. The service asks for a token, decides, opens the file and writes its record.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final

from benchmarks import report
from benchmarks.corpus import text
from benchmarks.measure import WrongAnswerError, expect
from benchmarks.report import Line, PerCall
from fsserver.transport.auth.token_file import add_token
from tests.compat.run import REPOSITORY

CONNECTIONS: Final = 64
SMALL_BYTES: Final = 1024
LEAST: Final = 0.8
"""Of the calls a second of the SDK's echo."""

START_S: Final = 30.0
ECHO: Final = "hello"

SESSION: Final = "2025-11-25"
MODERN: Final = "2026-07-28"

POLICY: Final = """version: 1
extends: [preset:secrets]
roots: {{bench: {{path: {base}/root, mode: rw}}}}
server: {{transport: http, listen: "127.0.0.1:0", auth: {{tokens: {base}/tokens/file}}}}
principals: [{{when: {{token: bench}}}}]
audit: {{sinks: [{{dir: {base}/audit}}]}}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of request to one server. ``body`` has ID where its id belongs."""

    name: str
    port: int
    fields: Mapping[str, str]
    body: str
    expected: str


@dataclass(frozen=True, slots=True)
class Block:
    """What wrk counted in one block. ``share``: of one processor, that wrk itself took."""

    rate: float
    p50: float
    p95: float
    p99: float
    share: float


@contextmanager
def _running(argv: Sequence[str], *, env: Mapping[str, str], errors: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(errors, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *argv], cwd=REPOSITORY, env=env, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)


def _port(errors: str, line: str) -> int:
    """The one that a server says, in a line of its log, that it listens on."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with open(errors, encoding="utf-8") as file:
            found = re.search(line, said := file.read())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise WrongAnswerError(f"a server does not start: {said[-1000:]}")


def _fields(**more: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} | more


def _modern(tool: str) -> dict[str, str]:
    return {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}


def _envelope() -> dict[str, Any]:
    prefix = "io.modelcontextprotocol"
    return {
        f"{prefix}/protocolVersion": MODERN,
        f"{prefix}/clientInfo": {"name": "bench", "version": "1"},
        f"{prefix}/clientCapabilities": {},
    }


def _call(tool: str, arguments: Mapping[str, str], meta: Mapping[str, Any] | None = None) -> str:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta is not None:
        params["_meta"] = meta
    call = {"jsonrpc": "2.0", "id": "ID", "method": "tools/call", "params": params}
    return json.dumps(call).replace('"ID"', "ID", 1)


def _post(port: int, body: str, fields: Mapping[str, str]) -> tuple[str, str | None]:
    """The answer's text, and the id of the session that it begins."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request("POST", "/mcp", body, dict(fields))
        response = connection.getresponse()
        answer = response.read().decode()
        expect(response.status in (200, 202), f"status {response.status}: {answer[:300]}")
        return answer, response.headers["Mcp-Session-Id"]
    finally:
        connection.close()


def _session(port: int, fields: Mapping[str, str]) -> dict[str, str]:
    """The header fields of a session that was opened."""
    client = {"name": "bench", "version": "1"}
    params = {"protocolVersion": SESSION, "capabilities": {}, "clientInfo": client}
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    _, session = _post(port, json.dumps(opening), fields)
    assert session is not None
    within = {**fields, "Mcp-Session-Id": session, "MCP-Protocol-Version": SESSION}
    _post(port, json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), within)
    return within


def _subjects(base: str, stack: ExitStack) -> list[Subject]:
    """All servers, started: two of the SDK's, then the service's two eras."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": f"{base}/home", "LANG": "C.UTF-8"}
    subjects = []
    for kind, name in (("sessions", "the SDK's echo, sessions"), ("stateless", "the SDK's echo, stateless, JSON")):
        log = f"{base}/{kind}.log"
        stack.enter_context(_running(["-m", "benchmarks.echo_http", kind], env=env, errors=log))
        port = _port(log, r"running on http://127\.0\.0\.1:(\d+)")
        fields = _session(port, _fields()) if kind == "sessions" else _fields(**{"MCP-Protocol-Version": SESSION})
        subjects.append(Subject(name, port, fields, _call("echo", {"text": ECHO}), ECHO))
    log = f"{base}/service.log"
    command = ["-m", "fsserver", "serve", "--policy", _policy(base)]
    stack.enter_context(_running(command, env=env, errors=log))
    port = _port(log, r"Serving MCP on 127\.0\.0\.1:(\d+)")
    with open(f"{base}/token", encoding="ascii") as file:
        token = _fields(Authorization=f"Bearer {file.read()}")
    tool, arguments, expected = "read_text_file", {"path": f"{base}/root/small.txt"}, text(SMALL_BYTES)
    within = _session(port, token)
    subjects.append(Subject("read 1 KB in a session", port, within, _call(tool, arguments), expected))
    modern = _call(tool, arguments, _envelope())
    subjects.append(Subject(f"read 1 KB, {MODERN}", port, token | _modern(tool), modern, expected))
    return subjects


def _policy(base: str) -> str:
    for directory in ("root", "tokens"):
        os.mkdir(f"{base}/{directory}")
    os.mkdir(f"{base}/home", mode=0o700)
    with open(f"{base}/root/small.txt", "w", encoding="utf-8") as file:
        file.write(text(SMALL_BYTES))
    with open(f"{base}/token", "w", encoding="ascii") as file:
        file.write(add_token(f"{base}/tokens/file", "bench", None)[0])
    with open(f"{base}/policy.yaml", "w", encoding="utf-8") as file:
        file.write(POLICY.format(base=base))
    os.chmod(f"{base}/policy.yaml", 0o600)
    return f"{base}/policy.yaml"


def _check(subject: Subject) -> None:
    """Raises WrongAnswerError: its answer is not what it should be."""
    answer, _ = _post(subject.port, subject.body.replace("ID", "1", 1), subject.fields)
    (line,) = (line for line in answer.splitlines() if line.removeprefix("data: ").startswith("{"))
    result = json.loads(line.removeprefix("data: "))["result"]
    expect(result["content"][0]["text"] == subject.expected, f"{subject.name}: not the text: {answer[:300]}")


def _load(base: str, subject: Subject, seconds: int) -> Block:
    """Raises WrongAnswerError: one answer was an error, or missing."""
    with open(f"{base}/fields", "w", encoding="ascii") as file:
        file.writelines(f"{name}: {value}\r\n" for name, value in subject.fields.items())
        file.write(f"Host: 127.0.0.1:{subject.port}\r\n")
    with open(f"{base}/body", "w", encoding="utf-8") as file:
        file.write(subject.body)
    script = os.path.join(REPOSITORY, "benchmarks", "load.lua")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{subject.port}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--", f"{base}/fields", f"{base}/body"], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = json.loads(done.stdout.splitlines()[-1])
    wrong = {key: counted[key] for key in ("not200", "errors", "broken") if counted[key]}
    expect(not wrong, f"{subject.name}: {wrong} of {counted['requests']} requests")
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = counted["requests"] / counted["seconds"]
    return Block(rate, counted["p50"], counted["p95"], counted["p99"], took / counted["seconds"])


def _lines(subjects: Sequence[Subject], blocks: Sequence[Sequence[Block]]) -> list[Line]:
    lines = []
    peers, own = (list(zip(subjects, blocks, strict=True))[part] for part in (slice(0, 2), slice(2, 4)))
    for subject, mine in own:
        for peer, theirs in peers:
            others, rates = [each.rate for each in theirs], [each.rate for each in mine]
            lines.append(PerCall(subject.name, peer.name, "calls/s", others, rates, LEAST, at_least=True).line())
    for subject, mine in own:
        for quantile in ("p50", "p95", "p99"):
            others, times = ([getattr(each, quantile) for each in some] for some in (peers[0][1], mine))
            lines.append(PerCall(f"{subject.name}, {quantile}", peers[0][0].name, "s", others, times).line())
    return lines


def _measured(seconds: int, rounds: int) -> tuple[list[Line], float]:
    """The lines, and the largest share of a processor that wrk took."""
    with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as found, ExitStack() as stack:
        base = os.path.realpath(found)
        subjects = _subjects(base, stack)
        blocks: list[list[Block]] = [[] for _ in subjects]
        order = list(range(len(subjects)))
        for subject in subjects:
            _check(subject)
            _load(base, subject, 1)  # warms up
        for _ in range(rounds):
            for place in order:
                block = _load(base, subjects[place], seconds)
                blocks[place].append(block)
                print(f"{subjects[place].name}: {block.rate:.0f} calls/s, p99 {block.p99 * 1000:.1f} ms", flush=True)
            order.reverse()
    return _lines(subjects, blocks), max(block.share for each in blocks for block in each)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 an answer that is an error, or with --strict a limit that is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short blocks, for development")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a limit is not kept")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    if shutil.which("wrk") is None:
        print("make bench: wrk is not on the PATH. On Debian: apt-get install wrk.", file=sys.stderr)
        return 1
    try:
        lines, share = _measured(*((2, 2) if options.quick else (10, 6)))
    except WrongAnswerError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    print("\n".join(" · ".join(line.cells()) for line in lines), f"\nwrk took at most {share:.2f} of a processor")
    if not options.quick:
        report.replace_section(report.HTTP, report.http_section(lines, load, share))
        print(f"\nwritten: {os.path.relpath(report.DOCUMENT)}")
    return 1 if options.strict and any(line.reached is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
