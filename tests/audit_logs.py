"""Audit logs for tests: written by the real log, or sealed by hand where the real one would refuse."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsserver.audit.chain import START, Position
from fsserver.audit.log import AuditLog
from fsserver.audit.record import Json
from fsserver.audit.signing import PublicKey, Signer, generate
from fsserver.audit.verify import verify
from fsserver.policy.compiled import AuditRules

UNLIMITED = 1024**3
IMPOSSIBLE_NAMES = {  # of a next file, as JSON can spell them
    "with half of a surrogate pair": "b\ud800",
    "of more bytes than a name has": "\N{EURO SIGN}" * 86,
    "of more letters than a name has": "b" * 256,
    "with a NUL byte": "b\0",
    "that is a path": "../b.jsonl",
    "that is hidden": ".b.jsonl",
    "that is empty": "",
}
CALL: dict[str, Json] = {"tool": "read_text_file", "call": 1, "arguments": {"path": "/notes/a.txt"}, "bytes": 12}


def open_file(path: Path, *, max_size: int = UNLIMITED, run_id: str = "run") -> AuditLog:
    return AuditLog.open(AuditRules(directory=None, file=str(path), max_size=max_size), run_id=run_id, header={})


def open_directory(path: Path, *, max_size: int = UNLIMITED, run_id: str = "run") -> AuditLog:
    return AuditLog.open(AuditRules(directory=str(path), max_size=max_size), run_id=run_id, header={})


def open_log(rules: AuditRules, *, run_id: str = "run", clock_ns: Callable[[], int] = time.time_ns) -> AuditLog:
    return AuditLog.open(rules, run_id=run_id, header={}, clock_ns=clock_ns)


def records(path: Path | str) -> list[dict[str, Any]]:
    """The records of one file."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def records_of(path: Path | str) -> list[dict[str, Any]]:
    """The records of the whole chain that begins in the file `path`, which is sound."""
    (chain,) = verify(str(path)).chains
    return [record for name in chain.files for record in records(Path(path).parent / name)]


def key_pair(place: Path) -> tuple[str, PublicKey]:
    """A new private key's file in `place`, and the public half."""
    return str(place / "key"), generate(str(place / "key"), str(place / "key.pub")).public


def private(path: Path) -> Path:
    """A new directory that the log accepts."""
    path.mkdir(mode=0o700)
    return path


def written(path: Path, records: int = 4, *, text: str = "") -> list[bytes]:
    """The lines of a finished log at `path` with `records` calls: two more than that."""
    log = open_file(path)
    for number in range(records):
        log.append("call.outcome", {**CALL, "call": number, "text": text})
    log.close()
    return path.read_bytes().splitlines(keepends=True)


def seal(record: Mapping[str, Any]) -> tuple[bytes, Position]:
    """The line for `record`, which has no ``hash``, and the position after it, made as docs/audit.md says it."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    head = hashlib.sha256(text.encode()).hexdigest()
    line = json.dumps({**record, "hash": head}, sort_keys=True, separators=(",", ":")) + "\n"
    return line.encode(), Position(record["seq"], head)


def sealed(events: Sequence[Mapping[str, Json]], after: Position = START) -> bytes:
    """A chain of records made by hand, as somebody makes one who writes a log anew."""
    lines = []
    for event in events:
        record = {"v": 1, "seq": after.seq + 1, "prev": after.head, "event": "x", "time": "2026-01-01T00:00:00.000000Z"}
        line, after = seal({**record, **event})
        lines.append(line)
    return b"".join(lines)


def place_of(line: bytes) -> Position:
    """Number and hash that a line says it has."""
    record = json.loads(line)
    return Position(record["seq"], record["hash"])


def signature(signer: Signer, place: Position, event: str = "log.checkpoint") -> dict[str, Json]:
    """What a record that signs the one at `place` carries."""
    signed = signer.sign(event, place.seq, place.head)
    return {"signed_seq": place.seq, "signed_head": place.head, "key": signer.public.id, "signature": signed}


def start_of(signer: Signer, **fields: Json) -> dict[str, Json]:
    """The first record of a run with a key."""
    return {"event": "run.start", "key": signer.public.id, "public_key": signer.public.text, **fields}


def signed(signer: Signer, start: Mapping[str, Json] | None = None) -> list[bytes]:
    """The twelve lines of a run with a key: a checkpoint in the 5th and the 9th, and a signed ``run.end``."""
    lines = [sealed([start or start_of(signer)])]
    for event in [*["call"] * 3, "log.checkpoint"] * 2 + ["call", "call", "run.end"]:
        after = place_of(lines[-1])
        fields = {**CALL, "event": "call.outcome", "call": len(lines)} if event == "call" else {"event": event}
        lines.append(sealed([fields if event == "call" else {**fields, **signature(signer, after, event)}], after))
    return lines
