"""A report as one JSON object: all of it. docs/audit.md says what the keys mean."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from fsserver.audit.report_data import Report
from fsserver.audit.report_words import judgement, summary
from fsserver.audit.tally import Histogram, Timeline
from fsserver.audit.verify import Verdict

VERSION = 1


def render(report: Report, *, title: str) -> str:
    tone, headline, sentences = judgement(report)
    whole = {
        "version": VERSION,
        "title": title,
        "verdict": _verdict(report.verdict) | {"tone": tone, "headline": headline, "sentences": sentences},
        "summary": summary(report),
        **{key: value for key, value in _plain(report).items() if key != "verdict"},
    }
    return json.dumps(whole, indent=2) + "\n"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    chains = [
        {
            "files": chain.files,
            "verdict": chain.status.name.lower(),
            "firstSeq": chain.first,
            "lastSeq": chain.last.seq,
            "head": chain.last.head,
            "beingWritten": chain.live,
            "expectedHeadSeq": chain.expected,
        }
        for chain in verdict.chains
    ]
    return {"verdict": verdict.status.name.lower(), "exit": int(verdict.status), "chains": chains}


def _plain(value: Any) -> Any:
    """Dataclasses as objects with camelCase keys, as every JSON of this program."""
    if isinstance(value, Timeline):
        rows = [
            {"start": datetime.fromtimestamp(second, UTC).isoformat(), "ok": ok, "failed": failed, "refused": refused}
            for second, (ok, failed, refused) in value.rows()
        ]
        return {"bucketSeconds": value.width, "buckets": rows}
    if is_dataclass(value) and not isinstance(value, Verdict):
        found = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {_camel(name): _plain(each) for name, each in found if not isinstance(each, Histogram | Verdict)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {_camel(name): _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, dict) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
