"""Random sessions: whatever is mixed, in whatever pieces, every request gets its one answer."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from tests.protocol.client import envelope
from tests.protocol.conftest import StartFixture

BAD = (b"{", b"[]", b"\xff\xfe", b"nothing", b'{"jsonrpc":"2.0"}', b"[" * 300)
UNANSWERED = (b"", b'{"jsonrpc":"2.0","method":"x"}')


class Session:
    """Says ``count`` things at random, and knows what it is owed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[bytes] = []
        self.owed: set[int] = set()
        self.cancelled: set[int] = set()
        self.errors = 0
        self.next = 1_000

    def say(self, message: dict[str, Any]) -> None:
        self.lines.append(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def request(self, method: str, params: dict[str, Any]) -> None:
        self.next += 1
        self.owed.add(self.next)
        self.say({"id": self.next, "method": method, "params": params})

    def step(self) -> None:
        roll = self.random.random()
        meta = {"_meta": envelope()} if self.random.random() < 0.3 else {}
        if roll < 0.5:
            text = "x" * self.random.randrange(2_000)
            self.request("tools/call", {"name": "echo", "arguments": {"text": text}, **meta})
        elif roll < 0.6:
            seconds = self.random.choice((0.0, 0.001, 0.003, 0.01))
            self.request("tools/call", {"name": "sleep", "arguments": {"seconds": seconds}, **meta})
        elif roll < 0.65:
            self.request("tools/call", {"name": "big", "arguments": {"bytes": self.random.randrange(100_000)}, **meta})
        elif roll < 0.7:
            self.request("tools/list", meta)
        elif roll < 0.75:
            self.request("ping", {})
        elif roll < 0.85 and self.owed:
            identifier = self.next - self.random.randrange(20)
            self.cancelled.add(identifier)
            self.say({"method": "notifications/cancelled", "params": {"requestId": identifier}})
        elif roll < 0.95:
            self.lines.extend(BAD + UNANSWERED)
            self.errors += len(BAD)
        else:
            self.request("no/such/method", meta)

    def pieces(self) -> list[bytes]:
        """All of it, cut where it happens to be."""
        data = b"".join(line + b"\n" for line in self.lines)
        pieces = []
        while data:
            cut = self.random.choice((1, 7, 500, 5_000, 100_000))
            pieces.append(data[:cut])
            data = data[cut:]
        return pieces


@pytest.mark.claim("C9")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("concurrency", [1, 16])
def test_every_request_is_answered_once_or_was_cancelled(seed: int, concurrency: int, start: StartFixture) -> None:
    session = Session(seed)
    for _ in range(1_500):
        session.step()
    client = start(concurrency)
    client.open()
    writer = client.raw_in_background(*session.pieces())
    answers: Counter[int] = Counter()
    errors = 0
    while errors < session.errors or not session.owed - session.cancelled <= answers.keys():
        message = client.message()
        if message["id"] is None:
            errors += 1
        else:
            answers[message["id"]] += 1
    writer.join(20)
    client.request("ping")
    for message in client.unexpected:
        answers[message["id"]] += 1
    assert errors == session.errors
    assert set(answers.values()) == {1}
    assert answers.keys() <= session.owed
    client.close_input()
    assert client.rest() == []
    assert client.wait() == 0
    assert client.stderr() == ""
