"""What ``fsserver audit verify`` prints: the verdict as text for people, or as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fsserver.audit.verify import Chain, Verdict

_WORDS = {"WHOLE": ("whole", "green"), "TAMPERED": ("TAMPERED", "red"), "UNREADABLE": ("unreadable", "red")}
_WORDS |= {"CUT": ("CUT", "red"), "TORN": ("torn", "yellow")}


def plain(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON has it."""
    return {
        "path": verdict.path,
        "verdict": verdict.status.name.lower(),
        "exit": int(verdict.status),
        "message": verdict.message,
        "expectedHead": verdict.expect_head,
        "expectedHeadFound": None if verdict.expect_head is None else any(c.expected for c in verdict.chains),
        "publicKeys": list(verdict.keys),
        "otherEntries": verdict.skipped,
        "chains": [
            {
                "files": chain.files,
                "verdict": chain.status.name.lower(),
                "firstSeq": chain.first,
                "lastSeq": chain.last.seq,
                "head": chain.last.head,
                "runs": chain.runs,
                "healed": chain.healed,
                "ended": chain.ended,
                "beingWritten": chain.live,
                "expectedHeadSeq": chain.expected,
                "signedSeq": chain.signed or None,
                "signedBy": chain.signed_by,
                "signaturesNotChecked": chain.unchecked,
                "notes": chain.notes,
                "problem": chain.problem
                and {
                    "file": chain.problem.file,
                    "line": chain.problem.line,
                    "seq": chain.problem.seq,
                    "reason": chain.problem.reason,
                },
            }
            for chain in verdict.chains
        ],
    }


def text(verdict: Verdict) -> str:
    """The verdict in words, and then what it cannot tell."""
    lines = [line for chain in verdict.chains for line in _chain_lines(chain)]
    if verdict.message:
        lines.append(f"{status(verdict.status.name)} {name(verdict.path)}: {verdict.message}")
    if verdict.skipped:
        lines.append(f"Not looked at: {_times(verdict.skipped, 'other entry', 'other entries')}, no .jsonl.")
    if verdict.chains and (verdict.status.name == "WHOLE" or verdict.expect_head is not None):
        lines.append(_about_head(verdict))
    if verdict.status.name == "WHOLE":
        lines += _about_signatures(verdict)
    return "\n".join(lines)


def _chain_lines(chain: Chain) -> list[str]:
    """One chain: the verdict and the files, then what is wrong, then what is in it."""
    records = chain.first and chain.last.seq >= chain.first
    lines = [f"{status(chain.status.name)} {' → '.join(name(file) for file in chain.files)}"]
    if chain.problem is not None:
        problem = chain.problem
        line = f", line {problem.line}" if problem.line else ""
        lines.append(f"  {name(problem.file)}{line}: record {problem.seq} {problem.reason}.")
    if records:
        healed = f", healed {_times(chain.healed, 'time')}" if chain.healed else ""
        lines.append(f"  sound records {chain.first} to {chain.last.seq}, {_times(chain.runs, 'run')}{healed}")
        lines += _signature_lines(chain)
        lines.append(f"  head {chain.last.head}")
    if chain.first > 1:
        lines.append("  begins in the middle: the files before it were not looked at")
    if chain.live:
        lines.append("  is being written now: verified up to what was there when it was read")
    elif records and not chain.ended and not chain.problem:
        lines.append("  does not end with run.end: the server was killed, or the tail was cut")
    return lines + [f"  {note}" for note in chain.notes]


def _signature_lines(chain: Chain) -> list[str]:
    lines = []
    if chain.signed:
        rest = _times(chain.last.seq - chain.signed, "record")
        lines.append(f"  signed up to record {chain.signed} by {', '.join(chain.signed_by)}; not signed: {rest}")
    elif chain.promised:
        lines.append("  names a key, but nothing is signed with it yet")
    if chain.unchecked:
        lines.append(f"  {_times(chain.unchecked, 'signature')} not checked: the file that names the key was not read")
    return lines


def _about_head(verdict: Verdict) -> str:
    if verdict.expect_head is None:
        within = "Signed by the given key." if verdict.keys else "Verified within itself."
        anew = "or a run's file that was removed" if verdict.keys else "or a log written anew"
        return f"{within} A tail that was cut off, {anew}, shows only against a head kept elsewhere: --expect-head."
    for chain in verdict.chains:
        if chain.expected is not None:
            return (
                f"The expected head is record {chain.expected}; {chain.last.seq - chain.expected} sound records follow."
            )
    return "The expected head is not there: records were cut off, or the log was written anew."


def _about_signatures(verdict: Verdict) -> list[str]:
    """What signatures prove, and what they leave open: the end of the log, always."""
    if verdict.keys:
        return [
            "Without the private key nobody can have changed, added or removed a record before the last signature, or "
            "written it all anew. A log that ends with a signed run.end lost nothing. Of one that does not, records "
            "after the last signature are held by the chain alone, and it may have been cut after any of them."
        ]
    if any(chain.signed for chain in verdict.chains):
        return [
            "The signatures fit the key that the log itself names: one writer wrote all that is signed. Whoever writes "
            "a log anew names a key of their own, so who it was shows only with a key kept elsewhere: --public-key."
        ]
    return []


def _times(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def status(word: str) -> str:
    """A verdict in its column, coloured."""
    shown, colour = _WORDS[word]
    return click.style(f"{shown:<10}", fg=colour, bold=True)


def name(text: str) -> str:
    """A file name that cannot act on the terminal."""
    return text if text.isprintable() and text.isascii() else ascii(text)
