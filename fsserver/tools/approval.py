"""What a person is asked before a call goes on, and what came of it.

A call that needs consent is made twice. The first time it stops before any effect, as `ConsentNeeded`. Whoever asks
the person then makes the call again with a `Consent`: everything is decided anew, and the call goes on only if it
would do exactly what the person was shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from fsserver.errors import ConsentDenied

MAX_SHOWN: Final = 16_000
"""Characters of all questions of a call. What is longer is refused: nobody consents to what was cut off."""


CANNOT_ASK: Final = "this client cannot ask a person: it does not offer elicitation in form mode"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that needs consent.

    Attributes:
        what: the exact effect in one or more lines: the argument vector and its directory, or the path and what
            happens to it. Printable; control and bidirectional characters are escaped by whoever makes it.
        rule: where the rule that asks is written, ``policy-basename:line``.
        reason: why the policy asks, in the policy's own words, if it has any.
        versions: what tells apart the states of the files that it is about, beside device and inode. Compared, and not
            shown.
    """

    what: str
    rule: str | None
    reason: str | None
    versions: tuple[str, ...] = ()


class Answer(StrEnum):
    """What came of asking. Only ACCEPTED lets a call go on."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    MALFORMED = "malformed"
    ABANDONED = "abandoned"
    BUSY = "busy"
    UNKNOWN_STATE = "unknown_state"
    OTHER_CALL = "other_call"
    USED = "used"
    UNREACHABLE = "unreachable"
    EXPIRED = "expired"
    CHANGED = "changed"
    TOO_LONG = "too_long"


ANSWERED: Final = frozenset(
    {
        Answer.ACCEPTED,
        Answer.DECLINED,
        Answer.CANCELLED,
        Answer.TIMEOUT,
        Answer.FAILED,
        Answer.MALFORMED,
        Answer.ABANDONED,
    }
)
"""What can come of one question only once. A client can repeat the others as often as it likes."""

_WHY: Final[Mapping[Answer, str]] = MappingProxyType(
    {
        Answer.DECLINED: "the person who was asked said no",
        Answer.CANCELLED: "the person who was asked closed the question without an answer",
        Answer.TIMEOUT: "nobody answered within the policy's approvals.timeout",
        Answer.UNAVAILABLE: CANNOT_ASK,
        Answer.FAILED: "the client answered the question with an error",
        Answer.MALFORMED: "the client's answer is not the form that was asked for, with approve as true or false",
        Answer.ABANDONED: "the call was cancelled while a person was asked",
        Answer.BUSY: "too many other questions wait for an answer or were answered just now",
        Answer.UNKNOWN_STATE: "the requestState is missing, was altered, or is not from this server's run",
        Answer.OTHER_CALL: "the requestState belongs to another call: the tool and every argument have to be the same",
        Answer.USED: "the answer was used before, and each holds for one call",
        Answer.UNREACHABLE: "what this server's replicas share cannot be reached, so an answer might be used twice",
        Answer.EXPIRED: "the answer came later than the policy's approvals.timeout",
        Answer.CHANGED: "the call would not do exactly what the person was shown any more",
        Answer.TOO_LONG: "the question is too long to be shown whole",
    }
)
_AGAIN: Final = "make the call anew, without requestState, to have the person asked again"
_INSTEAD: Final[Mapping[Answer, str]] = MappingProxyType(
    {
        Answer.DECLINED: "go on without it, or talk to the person first",
        Answer.UNAVAILABLE: "a client that offers elicitation; or calls that the policy allows without asking",
        Answer.TOO_LONG: "the same in several smaller calls",
        Answer.UNREACHABLE: "in a few seconds, the call anew, without requestState, to have the person asked again",
    }
)


@dataclass(frozen=True, slots=True)
class ConsentNeeded:
    """A call that stopped before any effect, since a person has to be asked.

    Attributes:
        call: the call's number in this run; its `call.asked` record has it.
        digest: what identifies exactly this call on exactly these objects, as hex.
    """

    call: int
    tool: str
    questions: tuple[Question, ...]
    digest: str

    def message(self) -> str:
        """All questions as text for a person."""
        parts = [f"Allow {self.tool} to do this?"]
        for question in self.questions:
            lines = [*question.what.split("\n"), f"rule: {question.rule or 'of the policy'}"]
            if question.reason:
                lines.append(f"reason: {question.reason}")
            parts.append("\n".join(map(_printable, lines)))
        return "\n\n".join(parts)


@dataclass(frozen=True, slots=True)
class Consent:
    """What came of asking about one call. Made by the server's side, never from a client's words alone.

    Attributes:
        digest: of the `ConsentNeeded` that was asked about.
        asked: its call's number; None where no such question is known.
        rule: of its first question.
    """

    answer: Answer
    digest: str = ""
    asked: int | None = None
    rule: str | None = None

    @classmethod
    def to(cls, needed: ConsentNeeded, answer: Answer) -> Consent:
        return cls(answer, needed.digest, needed.call, needed.questions[0].rule)


def _printable(line: str) -> str:
    """What cannot be seen or turns the line around is written as an escape, whoever made the line."""
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def refused(answer: Answer, rule: str | None) -> ConsentDenied:
    """The error that an answer becomes which is not ACCEPTED."""
    return ConsentDenied(
        f"Access denied - this call needs a person's consent, and {_WHY[answer]}",
        rule=rule,
        allowed_instead=_INSTEAD.get(answer, _AGAIN),
    )


def digest_of(
    tool: str, arguments: Mapping[str, Any], paths: Sequence[Mapping[str, Any]], questions: Sequence[Question]
) -> str:
    """SHA-256, hex, of what a person consents to: the tool, every argument, every object that was opened, by device
    and inode, and the questions with what they compare.

    Args:
        arguments: as the client sent them, so JSON.
        paths: what the audit log shows of each.
    """
    shown = [[question.what, question.rule, question.reason, question.versions] for question in questions]
    return canonical_digest([tool, arguments, list(paths), shown])


def canonical_digest(value: object) -> str:
    """SHA-256, hex, of a JSON value: keys sorted, no spaces, ASCII."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
