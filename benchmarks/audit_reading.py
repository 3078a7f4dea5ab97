"""What reading a log costs, beside a bare loop of json.loads and SHA-256 over the same file. For `benchmarks.audit`.

Each runs in a process of its own, in turn, on a file in the page cache; what is compared is processor time, which other
processes disturb little. Every verdict is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.measure import expect
from benchmarks.report import Line, PerCall, shown
from fsserver.audit.log import AuditLog
from fsserver.audit.record import Json
from fsserver.audit.report import make_report
from fsserver.audit.report_html import render
from fsserver.audit.signing import PublicKey, generate
from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import AuditRules

BARE = "json.loads and SHA-256"
MOST_REPORT_BYTES = 300_000_000
LONGEST_S = 1200
TOOLS = ("read_text_file", "list_directory", "search_files", "get_file_info")


def verified(base: str, records: int, rounds: int, *, signed: bool, limit: float) -> list[Line]:
    """Verifying a finished log, with the public key if it is ``signed``."""
    path, key = _write(base, records, signed=signed)
    pairs = [(_child("bare", path, key)["seconds"], _child("verify", path, key)["seconds"]) for _ in range(rounds)]
    name = f"verify {records:,} records" + (", signed, with the public key" if signed else "")
    return [PerCall(name, BARE, "s", [pair[0] for pair in pairs], [pair[1] for pair in pairs], limit).line()]


def reported(base: str, records: int, *, limit: float) -> list[Line]:
    """A report as HTML, verified, once; and the most memory that it takes."""
    path, key = _write(base, records, signed=False)
    bare, report = _child("bare", path, key), _child("report", path, key)
    peak = report["peak_bytes"]
    name = f"report of {records:,} records"
    return [
        PerCall(name, BARE, "s", [bare["seconds"]], [report["seconds"]], limit).line(),
        Line(
            f"peak memory of a {name}",
            "-",
            "-",
            shown(peak, "B"),
            "-",
            f"≤ {shown(MOST_REPORT_BYTES, 'B')}",
            peak <= MOST_REPORT_BYTES,
        ),
    ]


def _write(base: str, records: int, *, signed: bool) -> tuple[str, str]:
    """A log as an agent makes it, and the public key: of five calls one changes a file, of a hundred one is refused."""
    path, private, public = f"{base}/audit/log.jsonl", f"{base}/key", f"{base}/key.pub"
    generate(private, public)
    rules = AuditRules(directory=None, file=path, max_size=2**40, key=private if signed else None)
    log = AuditLog.open(rules, run_id="bench", header={"policy": "bench"})
    call, written = 0, 2  # with the first and the last
    while written < records:
        call += 1
        written += _add_call(log, call)
    log.close()
    return path, public


def _add_call(log: AuditLog, call: int) -> int:
    """One call; how many records it has."""
    name = f"src/package_{call % 97}/module_{call % 4001}.py"
    who: dict[str, Json] = {"call": call, "session": "s1"}
    asked: dict[str, Json] = {"principal": "local", "arguments": {"path": f"/work/project/{name}"}}
    took = 80 + call * 7919 % 4000
    if call % 100 == 0:
        refusal: dict[str, Json] = {"error": "denied.protected", "rule": "p.yaml:4", "reason": "no", "ok": False}
        fields = {**who, **asked, "tool": "read_text_file", "paths": [], **refusal, "duration_us": took}
        log.append("call.refused", fields)
        return 1
    action = "edit" if call % 5 == 0 else "read"
    path: dict[str, Json] = {"parameter": "path", "root": "app", "name": name, "action": action, "file": "66306:1834"}
    asked["paths"] = [{**path, "rule": None}]
    if action == "read":
        tool = TOOLS[call % len(TOOLS)]
        log.append("call.outcome", {**who, **asked, "tool": tool, "ok": True, "bytes": 1200, "duration_us": took})
        return 1
    state: Json = {"bytes": 1200, "sha256": hashlib.sha256(name.encode()).hexdigest()}
    change: Json = {"root": "app", "name": name, "change": "changed", "before": state, "after": state}
    log.append("call.intent", {**who, **asked, "tool": "edit_file"})
    log.append("call.outcome", {**who, "tool": "edit_file", "ok": True, "duration_us": took, "changes": [change]})
    return 2


# --- in the child


def _bare(path: str, key: str) -> None:  # noqa: ARG001 - all of them are called alike
    with open(path, "rb") as stream:
        for line in stream:
            json.loads(line)
            hashlib.sha256(line).hexdigest()


def _verify(path: str, key: str) -> None:
    with open(path, "rb") as stream:
        keys = [PublicKey.load(key)] if b'"public_key"' in stream.readline() else []
    verdict = verify(path, keys=keys)
    expect(verdict.status is Status.WHOLE and verdict.chains[0].ended, "not whole")
    expect(not keys or verdict.chains[0].signed == verdict.chains[0].last.seq - 1, "not signed")


def _report(path: str, key: str) -> None:  # noqa: ARG001 - as above
    made = make_report(path)
    expect(made.verdict.status is Status.WHOLE and len(render(made, title="x")) > 1000, "no report")


_WORK: dict[str, Callable[[str, str], None]] = {"bare": _bare, "verify": _verify, "report": _report}


def _child(work: str, path: str, key: str) -> dict[str, float]:
    """What the work takes in a process of its own: ``seconds`` of processor time and ``peak_bytes``."""
    command = [sys.executable, "-m", "benchmarks.audit_reading", work, path, key]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LONGEST_S)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _main() -> None:
    work, path, key = sys.argv[1:]
    began = time.process_time()
    _WORK[work](path, key)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "pid": os.getpid()}))


if __name__ == "__main__":
    _main()
