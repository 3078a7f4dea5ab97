"""Whatever a policy file holds, it becomes a policy or a list of problems with places that exist."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fsserver.policy.loader import load_policy
from fsserver.policy.problems import PolicyErrors, Problem
from tests.policy_files import Desk, desk_in
from tests.support import REPOSITORY

SEEDS = [
    path.read_text()
    for directory in ("policies", "tests/golden/policy", "fsserver/policy/presets")
    for path in sorted((REPOSITORY / directory).glob("*.yaml"))
]
SEEDS.append(
    "version: 1\n"
    "extends: [preset:secrets]\n"
    "roots:\n"
    "  app: {path: ~/app, mode: rw, deny: ['**/.env', {glob: '*.pem', except: [x]}], operations: {delete: ask}}\n"
    "  notes: {path: ~/notes, max_file: 1MiB, tests: {accept: [read a], reject: [edit a]}}\n"
    "limits: {time: 1m, calls: {concurrency: 4}}\n"
    "profiles: {reader: {roots: {app: ro}, tools: [read_file], commands: [tool]}}\n"
    "commands:\n"
    "  tool:\n"
    "    exec: {in: app, find: bin/tool}\n"
    "    roots: {app: rw}\n"
    "    subcommands: {log: {flags: {-n: {int: {min: 1}}, -v: flag}, positionals: [{value: text, repeat: 0..2}]}}\n"
    "    env: {pass: [TZ], set: {A: b}}\n"
    "    limits: {time: 10s, processes: 8}\n"
    "    tests: {accept: [log -n 5], reject: [[log, -x]]}\n"
    "  any: {exec: /usr/bin/make, args: any, runtime: [~/.cache], network: full, decision: ask}\n"
    "audit: {sinks: [{dir: ~/audit}], max_size: 1GiB}\n"
)

SEEDS.append(
    "version: 1\n"
    "roots: {app: {path: '~/app/${principal.name}', mode: rw}, notes: {path: ~/notes}}\n"
    "server:\n"
    "  transport: http\n"
    "  listen: 10.0.0.1:8443\n"
    "  public_url: https://mcp.example.org/mcp\n"
    "  hosts: [mcp.internal:8443]\n"
    "  origins: ['https://app.example.org']\n"
    "  tls: {certificate: /k/c, key: /k/k}\n"
    "  proxies: [10.0.0.0/24]\n"
    "  auth: {tokens: /k/t, oauth: [{issuer: 'https://id.example', scopes: [a], algorithms: [ES256], leeway: 5s}]}\n"
    "  limits: {body: 1MiB, connections: 9}\n"
    "  ops: 127.0.0.1:9090\n"
    "principals:\n"
    "  - {when: {token: ci}, profile: reader}\n"
    "  - {when: {issuer: 'https://id.example.org', claim: {team: a}}}\n"
    "profiles: {reader: {roots: {notes: ro}}}\n"
    "limits: {calls: {rate: 10/30s, output: 1MiB/h, each: 2, classes: {read: {rate: 5/s}}}}\n"
    "state: {redis: 'rediss://h', ca: /r, key: /s, on_failure: local}\n"
    "telemetry: {calls: true, traces: 'http://127.0.0.1:4318', sample: 10%}\n"
    "audit: {sinks: [{dir: ~/audit}, {syslog: 'tls://h', ca: /l}, {otlp: 'https://h'}, {stderr: true}]}\n"
)

HOSTILE = (
    *("\t", "\0", "\ufeff", "\u2028", "\x85", "\r", "\x1b", "\uffff", "\U0001f600", "e\u0301", "\u202e"),
    *("&a ", "*a", "<<: ", "!!python/object:x ", "---\n", "...\n", "%YAML 1.1\n", "? ", "- ", ": ", "|\n", ">\n", "#"),
    *("[" * 40, "{" * 40, "[]", "{}", "'", '"', "\\", '"\\0"', '"\\ud800"', "`", "@", "=", "a" * 5000),
    *("~", "null", "true", "yes", "0o7", "1e400", "9" * 400, ".nan", "-1", "!x", "**", "../", "/"),
    *(
        "preset:secrets",
        "preset:service",
        "policy.yaml",
        "http",
        "none",
        "1/s",
        "5%",
        "0.0.0.0:80",
        "[::]:80",
        "x://:y@z",
    ),
    *("${", "${principal.name}", "${principal.claim.x}"),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        until = draw(st.integers(at, min(len(text), at + 12)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            text = text[:at] + draw(st.sampled_from(HOSTILE)) + text[until:]
        elif kind == 1:
            text = text[:at] + text[until:]
        elif kind == 2:
            text = text[:at] + draw(st.text(max_size=4)) + text[at:]
        else:
            lines = text.split("\n")
            first, second = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
            lines[first] = lines[second]
            text = "\n".join(lines)
    return text


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
KEYS = (
    *("version", "extends", "roots", "protect", "limits", "calls", "sandbox", "profiles", "tools", "audit", "sinks"),
    *(
        "approvals",
        "via",
        "server",
        "commands",
        "principals",
        "app",
        "path",
        "mode",
        "deny",
        "read_only",
        "glob",
        "except",
    ),
    *("operations", "delete", "tests", "accept", "exec", "in", "find", "args", "flags", "positionals", "value"),
    *("listen", "auth", "oauth", "issuer", "tls", "ops", "state", "redis", "key", "telemetry", "when", "token", "rate"),
    *("subcommands", "decision", "env", "set", "pass", "network", "runtime", "repeat", "int", "enum", "match"),
)


@st.composite
def wrong_types(draw: st.DrawFn) -> str:
    """A whole policy in which some values are of any type."""

    def replace(value: Any) -> Any:
        if draw(st.integers(0, 5)) == 0:
            return draw(VALUES)
        if isinstance(value, dict):
            changed = {key: replace(inner) for key, inner in value.items()}
            if draw(st.integers(0, 5)) == 0:
                changed[draw(st.sampled_from(KEYS))] = draw(VALUES)
            return changed
        return [replace(inner) for inner in value] if isinstance(value, list) else value

    return yaml.safe_dump(replace(yaml.safe_load(draw(st.sampled_from(SEEDS[-2:])))), allow_unicode=True)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as directory:
        yield desk_in(Path(directory))


def check(desk: Desk, data: bytes) -> None:
    path = desk.write(data)
    try:
        load_policy(path, desk.here)
    except PolicyErrors as errors:
        problems, message = errors.problems, errors.message
    else:
        return
    assert problems
    for problem in problems:
        check_place(problem)
    assert all(line.isprintable() for line in message.split("\n"))


def check_place(problem: Problem) -> None:
    lines = problem.place.source.lines
    assert 1 <= problem.line <= len(lines)
    assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
    assert problem.message
    assert "\n" not in problem.message


@settings(max_examples=400)
@given(mutated())
def test_a_changed_policy_loads_or_explains_itself(desk: Desk, text: str) -> None:
    check(desk, text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@settings(max_examples=200)
@given(wrong_types())
def test_wrong_types_are_explained(desk: Desk, text: str) -> None:
    check(desk, text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
def test_any_bytes_are_explained(desk: Desk, data: bytes) -> None:
    check(desk, data)
