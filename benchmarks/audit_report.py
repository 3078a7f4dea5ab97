"""``python -m benchmarks.audit_report``: a report on a large log, as a ratio to what reading and hashing alone takes.

The bare loop parses each line with json.loads and takes its SHA-256. Targets: at most 6 times that, in at most 300 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from fsserver.audit.log import AuditLog
from fsserver.audit.record import Json
from fsserver.audit.report import make_report
from fsserver.audit.report_html import render
from fsserver.audit.verify import Status
from fsserver.policy.compiled import AuditRules

RECORDS = 1_000_000
MOST_RATIO = 6.0
MOST_BYTES = 300_000_000
TOOLS = ("read_text_file", "list_directory", "search_files", "get_file_info")


def main() -> int:
    """Exit status: 0 the targets are reached, 1 one is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_report", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--child", choices=("bare", "report"), help=argparse.SUPPRESS)
    parser.add_argument("--log", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(bare(options.log) if options.child == "bare" else reported(options.log)))
        return 0
    with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
        path = os.path.join(os.path.realpath(base), "audit", "log.jsonl")
        write(path, options.records)
        alone, whole = measured("bare", path), measured("report", path)
    ratio = whole["seconds"] / alone["seconds"]
    memory = whole["peak_bytes"]
    print(f"{options.records} records, {alone['bytes'] / 1e6:.0f} MB")
    print(f"json.loads and SHA-256: {alone['seconds']:.1f} s")
    print(f"verified and reported:  {whole['seconds']:.1f} s, {ratio:.1f} times that, {memory / 1e6:.0f} MB of memory")
    return 0 if ratio <= MOST_RATIO and memory <= MOST_BYTES else 1


def write(path: str, records: int) -> None:
    """A log as an agent makes it: of five calls one changes a file, and of a hundred one is refused."""
    rules = AuditRules(directory=None, file=path, max_size=2**40)
    log = AuditLog.open(rules, run_id="bench", header={"policy": "bench"})
    call, written = 0, 2  # with the first and the last
    while written < records:
        call += 1
        written += add_call(log, call)
    log.close()


def add_call(log: AuditLog, call: int) -> int:
    """One call; how many records it has."""
    name = f"src/package_{call % 97}/module_{call % 4001}.py"
    who: dict[str, Json] = {"call": call, "session": "s1"}
    asked: dict[str, Json] = {"principal": "local", "arguments": {"path": f"/work/project/{name}"}}
    took = 80 + call * 7919 % 4000
    if call % 100 == 0:
        refusal: dict[str, Json] = {"error": "denied.protected", "rule": "p.yaml:4", "reason": "no", "ok": False}
        log.append(
            "call.refused", {**who, **asked, "tool": "read_text_file", "paths": [], **refusal, "duration_us": took}
        )
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


def measured(child: str, path: str) -> dict[str, float]:
    """What ``child`` takes in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.audit_report", "--child", child, "--log", path]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=1200)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def bare(path: str) -> dict[str, float]:
    started, size = time.perf_counter(), 0
    with open(path, "rb") as stream:
        for line in stream:
            size += len(line)
            json.loads(line)
            hashlib.sha256(line).hexdigest()
    return {"seconds": time.perf_counter() - started, "bytes": size}


def reported(path: str) -> dict[str, float]:
    started = time.perf_counter()
    made = make_report(path)
    page = render(made, title="x")
    seconds = time.perf_counter() - started
    assert made.verdict.status is Status.WHOLE, made.verdict
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak, "page_bytes": len(page)}


if __name__ == "__main__":
    sys.exit(main())
