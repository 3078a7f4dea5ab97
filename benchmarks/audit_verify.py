"""``python -m benchmarks.audit_verify``: what verifying a log costs, beside a bare loop of json.loads and SHA-256.

Both run in this process in turn, on the same file in the page cache; what is compared is processor time, so that other
processes disturb it little. Every verdict is checked.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.measure import WrongAnswerError, expect
from fsserver.audit.chain import START, Position, seal
from fsserver.audit.head import find_head
from fsserver.audit.signing import PublicKey, Signer
from fsserver.audit.verify import Status, verify

RECORDS = 200_000
CHECKPOINT_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``log``: which log; ``limit``: of processor time / that of the bare loop, None if it only explains."""

    name: str
    log: str
    limit: float | None
    measure: Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row after its rounds: seconds of the bare loop and of ours, and the ratio of each round."""

    row: Row
    bare_s: float
    own_s: float
    ratios: Sequence[float]

    @property
    def reached(self) -> bool | None:
        return None if self.row.limit is None else statistics.median(self.ratios) <= self.row.limit

    def line(self) -> str:
        ratio = f"{statistics.median(self.ratios):.2f} ({min(self.ratios):.2f} … {max(self.ratios):.2f})"
        limit = "-" if self.row.limit is None else f"≤ {self.row.limit:g}"
        verdict = {None: "-", True: "yes", False: "no"}[self.reached]
        times = [f"{self.bare_s:.3g} s", f"{self.own_s:.3g} s"]
        return "| " + " | ".join([self.row.name, *times, ratio, limit, verdict]) + " |"


def call_record(number: int, directory: str) -> dict[str, Any]:
    """The outcome of a call that read a file, as the server records it."""
    name = f"{directory}/chapter-{number % 977}.txt"
    return {
        "event": "call.outcome",
        "call": number,
        "tool": "read_text_file",
        "session": "579103f897ec1edd",
        "principal": "local",
        "arguments": {"path": f"/home/user/notes/{name}"},
        "paths": [
            {
                "action": "read",
                "file": f"65024:{number}",
                "name": name,
                "parameter": "path",
                "root": "notes",
                "rule": None,
            }
        ],
        "ok": True,
        "bytes": 1024,
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "duration_us": 316 + number % 97,
    }


def write_log(path: str, records: int, directory: str, signer: Signer | None) -> None:
    """A finished run of about ``records`` records."""
    after = START
    with open(path, "wb") as file:

        def put(fields: dict[str, Any]) -> None:
            nonlocal after
            time_of_day = f"2026-01-01T00:00:00.{after.seq % 10**6:06d}Z"
            chain = {"v": 1, "seq": after.seq + 1, "prev": after.head, "time": time_of_day, "up_us": after.seq * 153}
            line, after = seal({**fields, **chain})
            file.write(line)

        key = {} if signer is None else {"key": signer.public.id, "public_key": signer.public.text}
        put({"event": "run.start", "run": "579103f897ec1edd", "pid": 1, **key})
        for number in range(1, records + 1):
            put(call_record(number, directory))
            if signer is not None and number % CHECKPOINT_RECORDS == 0:
                put({"event": "log.checkpoint", **signed(signer, after, "log.checkpoint")})
        put({"event": "run.end", **({} if signer is None else signed(signer, after, "run.end"))})


def signed(signer: Signer, place: Position, event: str) -> dict[str, Any]:
    signature = signer.sign(event, place.seq, place.head)
    return {"signed_seq": place.seq, "signed_head": place.head, "key": signer.public.id, "signature": signature}


def bare_loop(path: str) -> None:
    with open(path, "rb") as file:
        for line in file:
            json.loads(line)
            hashlib.sha256(line).hexdigest()


def verified(*keys: PublicKey) -> Callable[[str, int], None]:
    def measure(path: str, records: int) -> None:
        verdict = verify(path, keys=keys)
        expect(verdict.status is Status.WHOLE and verdict.chains[0].last.seq >= records + 2, "not whole")
        expect(not keys or verdict.chains[0].signed == verdict.chains[0].last.seq - 1, "not signed")

    return measure


def head_of(path: str, records: int) -> None:
    found = find_head(path)
    expect(found.ended and found.position is not None and found.position.seq >= records + 2, "not the head")


def measured(row: Row, path: str, records: int, rounds: int) -> Outcome:
    """Rounds of bare loop, row, bare loop; each round's ratio is taken to the mean of its two neighbours."""
    bare, own, ratios = [], [], []
    for _ in range(rounds):
        before = processor_s(lambda: bare_loop(path))
        taken = processor_s(lambda: row.measure(path, records))
        after = processor_s(lambda: bare_loop(path))
        bare += [before, after]
        own.append(taken)
        ratios.append(taken / ((before + after) / 2))
    return Outcome(row, statistics.median(bare), statistics.median(own), ratios)


def processor_s(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a wrong answer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_verify", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few records, for development")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a limit is not kept")
    options = parser.parse_args(arguments)
    records, rounds = (20_000, 3) if options.quick else (RECORDS, 5)
    signer = Signer(Ed25519PrivateKey.generate())
    rows = [
        Row(f"verify, {records:,} records", "plain", 2.0, verified()),
        Row("verify, as many, signed every 1,000, with the public key", "signed", 2.0, verified(signer.public)),
        Row("verify, as many, names outside ASCII in each", "escaped", None, verified()),
        Row("head of as many", "plain", None, head_of),
    ]
    gc.disable()
    outcomes = []
    try:
        with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
            for log, directory, key in (("plain", "a/b", None), ("signed", "a/b", signer), ("escaped", "Übung", None)):
                write_log(f"{base}/{log}", records, directory, key)
            size = os.path.getsize(f"{base}/plain") / (records + 2)
            print(f"{size:.0f} bytes a record\n\n| what | bare loop | fsserver | ratio (min … max) | limit | reached |")
            print("|---|---|---|---|---|---|", flush=True)
            for row in rows:
                outcomes.append(measured(row, f"{base}/{row.log}", records, rounds))
                print(outcomes[-1].line(), flush=True)
    except WrongAnswerError as error:
        print(f"python -m benchmarks.audit_verify: {error}", file=sys.stderr)
        return 1
    return 1 if options.strict and any(outcome.reached is False for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
