"""A realistic audit log, the same for the same seed: ``python -m tests.audit_sample DIRECTORY`` writes one.

An afternoon of an agent at work in a repository, in two runs. The picture in docs/audit.md is of a report on it.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fsserver.audit.log import AuditLog
from fsserver.policy.compiled import AuditRules

START_NS = 1_795_451_849 * 10**9  # 2026-11-23 16:37:29 UTC
FILES = (
    "src/invoices/totals.py",
    "src/invoices/rounding.py",
    "src/invoices/export.py",
    "src/invoices/__init__.py",
    "tests/test_totals.py",
    "tests/test_rounding.py",
    "tests/test_export.py",
    "docs/rounding.md",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
)
RULES = {
    "read": None,
    "list": None,
    "edit": "invoices.yaml:9",
    "create": "invoices.yaml:9",
    "delete": "invoices.yaml:12",
}
Fields = dict[str, Any]


class Agent:
    """Calls of one session as the gate would record them, without anything behind them."""

    def __init__(self, log: AuditLog, clock: Clock, chance: random.Random) -> None:
        self._log, self._clock, self._chance = log, clock, chance
        self._calls = 0
        self._states: dict[str, Fields] = {name: self._state(name) for name in FILES}

    def read(self, tool: str = "read_text_file", name: str | None = None) -> None:
        name = name or self._chance.choice(FILES)
        fields = self._call(tool, {"path": f"/work/invoices/{name}"}, [("list" if "list" in tool else "read", name)])
        self._end(
            fields, {"ok": True, "bytes": self._chance.randint(200, 24_000)}, self._chance.lognormvariate(6.2, 0.7)
        )

    def edit(self, tool: str, action: str, name: str) -> None:
        fields = self._call(tool, {"path": f"/work/invoices/{name}"}, [(action, name)])
        self._log.append("call.intent", fields)
        before = self._states.pop(name, None)
        after = None if action == "delete" else self._state(name)
        if after is not None:
            self._states[name] = after
        change = "deleted" if after is None else "created" if before is None else "changed"
        changes = [{"root": "invoices", "name": name, "change": change, "before": before, "after": after}]
        facts: Fields = {"ok": True, "changes": changes}
        self._end(
            _short(fields), facts | ({"bytes": after["bytes"]} if after else {}), self._chance.lognormvariate(7.4, 0.5)
        )

    def run(
        self, command: str, *arguments: str, code: int = 0, seconds: float = 1, ended_by: str | None = None
    ) -> None:
        argv = [f"/usr/bin/{command}", *arguments]
        stage = {"command": command, "argv": argv, "root": "invoices", "directory": "", "paths": 0}
        fields = self._call("run_command", {"command": command, "args": list(arguments)}, []) | {"commands": [stage]}
        self._log.append("call.intent", fields)
        self._clock.pass_s(seconds)
        facts: Fields = {"ok": True, "exit": None if ended_by else code, "ended_by": ended_by, "layer": "full"}
        facts |= {"signal": "SIGKILL" if ended_by else None, "cpu_ms": int(seconds * 700), "stderr_bytes": 0}
        facts |= {"peak_memory_bytes": self._chance.randint(30, 180) * 1024**2, "quarantined": [], "not_moved": []}
        facts |= {"changes": self._made(command)}
        facts |= {"stdout_bytes": self._chance.randint(100, 9000)}
        self._end(_short(fields), facts, seconds * 1e6)

    def refused(self, tool: str, path: str, code: str, reason: str, rule: str | None = None) -> None:
        fields = self._call(tool, {"path": path}, [])
        facts = {"ok": False, "error": code, "reason": f"Access denied - {reason}", "rule": rule}
        self._end(fields, facts, self._chance.lognormvariate(5, 0.4), "call.refused")

    def failed(self, path: str) -> None:
        fields = self._call("read_text_file", {"path": path}, [])
        self._end(
            fields, {"ok": False, "error": "resource.not_found", "rule": None}, self._chance.lognormvariate(5, 0.4)
        )

    def asked(self, name: str, answer: str) -> None:
        fields = self._call("delete_file", {"path": f"/work/invoices/{name}"}, [("delete", name)])
        questions = [{"what": f"delete:\n/work/invoices/{name}", "rule": "invoices.yaml:12"}]
        digest = hashlib.sha256(name.encode()).hexdigest()
        self._log.append("call.asked", {**fields, "questions": questions, "digest": digest})
        self._clock.pass_s(self._chance.uniform(4, 20))
        again = {**_short(fields), "call": self._calls + 1, "principal": "ci"}
        self._log.append("call.consent", {**again, "answer": answer, "asked": fields["call"], "digest": digest})
        if answer == "accepted":
            self.edit("delete_file", "delete", name)
        else:
            reason = "the person who was asked said no"
            self.refused("delete_file", f"/work/invoices/{name}", "denied.consent", reason, "invoices.yaml:12")

    def _made(self, command: str) -> list[Fields]:
        """What the command left behind."""
        if command != "pytest":
            return []
        name = ".pytest_cache/v/cache/lastfailed"
        before, after = self._states.get(name), self._state(name)
        self._states[name] = after
        change = "created" if before is None else "changed"
        return [{"root": "invoices", "name": name, "change": change, "before": before, "after": after}]

    def _call(self, tool: str, arguments: Fields, paths: list[tuple[str, str]]) -> Fields:
        self._calls += 1
        self._clock.pass_s(self._chance.expovariate(1 / 6))
        shown = [
            {
                "parameter": "path",
                "root": "invoices",
                "name": name,
                "action": action,
                "file": "66:7",
                "rule": RULES[action],
            }
            for action, name in paths
        ]
        who = {"call": self._calls, "tool": tool, "session": "s1", "principal": "ci"}
        return {**who, "arguments": arguments, "paths": shown}

    def _end(self, fields: Fields, facts: Fields, microseconds: float, event: str = "call.outcome") -> None:
        self._log.append(event, {**fields, **facts, "duration_us": int(microseconds)})

    def _state(self, name: str) -> Fields:
        data = self._chance.randbytes(16)
        return {"bytes": self._chance.randint(300, 9000), "sha256": hashlib.sha256(name.encode() + data).hexdigest()}


class Clock:
    """The wall clock of a log that is written in one go."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def __call__(self) -> int:
        self.now_ns += 40_000
        return self.now_ns


def _short(fields: Mapping[str, Any]) -> Fields:
    return {key: fields[key] for key in ("call", "tool", "session")}


def write_sample(path: Path, *, seed: int = 4) -> None:
    """The whole log, as the chain that begins at ``path``."""
    chance, clock = random.Random(seed), Clock(START_NS)
    for number, work in enumerate((_first_run, _second_run), 1):
        header: Fields = {"fsserver": "0.3.0", "policy": "invoices", "host": "build-7", "kernel": "6.12.0", "uid": 1000}
        header["policy_digest"] = hashlib.sha256(b"invoices").hexdigest()
        rules = AuditRules(directory=None, file=str(path))
        log = AuditLog.open(rules, run_id=f"r{number}-{chance.randbytes(4).hex()}", header=header, clock_ns=clock)
        confined: Fields = {
            "layer": "full",
            "landlock_abi": 7,
            "seccomp": True,
            "no_new_privs": True,
            "dumpable": False,
        }
        log.append("run.confined", {**confined, "not_enforced": ["stat"]})
        log.append("run.commands", {"layer": "full", "unavailable": None})
        client = {"name": "Claude Code", "version": "2.1.0"}
        session: Fields = {
            "session": "s1",
            "principal": "ci",
            "client": client,
            "protocol": "2025-11-25",
            "transport": "stdio",
        }
        log.append("session.client", session)
        agent = Agent(log, clock, chance)
        for step in work(agent, chance):
            step()
        log.close()
        clock.pass_s(140)


def _first_run(agent: Agent, chance: random.Random) -> Iterator[Any]:
    outside = "path outside allowed directories: "
    yield lambda: agent.read("list_directory", "src")
    for round_number in range(7):
        for _ in range(chance.randint(6, 16)):
            yield agent.read
        for _ in range(chance.randint(1, 4)):
            yield lambda: agent.edit("edit_file", "edit", chance.choice(FILES[:8]))
        code = int(round_number in (1, 2))
        yield partial(agent.run, "pytest", "-q", code=code, seconds=chance.uniform(4, 9))
        if round_number in (2, 4):
            yield lambda: agent.refused(
                "read_text_file", "/home/ci/.ssh/id_ed25519", "denied.outside_roots", outside + "id"
            )
            yield lambda: agent.refused(
                "write_file", "/work/invoices/.env", "denied.protected", ".env", "secrets.yaml:4"
            )
        if round_number == 3:
            yield lambda: agent.edit("write_file", "create", "src/invoices/currency.py")
            yield lambda: agent.edit("write_file", "create", "tests/test_currency.py")
            yield lambda: agent.run("git", "status", "--short", seconds=0.04)
            yield lambda: agent.failed("/work/invoices/docs/currency.md")
    yield lambda: agent.asked("src/invoices/export.py", "accepted")


def _second_run(agent: Agent, chance: random.Random) -> Iterator[Any]:
    reason = "the argument push is not one that the policy lists for git"
    for _ in range(4):
        for _ in range(chance.randint(5, 18)):
            yield agent.read
        yield lambda: agent.edit("edit_file", "edit", chance.choice(FILES[4:]))
        yield lambda: agent.run("git", "diff", "--stat", seconds=0.05)
    yield lambda: agent.run("pytest", "-q", "--slow", seconds=60, ended_by="time")
    for _ in range(2):
        yield lambda: agent.refused("run_command", "git push", "denied.command", reason, "invoices.yaml:31")
    yield lambda: agent.asked("CHANGELOG.md", "declined")
    yield lambda: agent.run("pytest", "-q", seconds=6)
    yield lambda: agent.run("git", "commit", "-m", "Round half to even", seconds=0.09)


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]) / "sample.jsonl")
