"""The disk and the machine against the log: full, read-only, failing, and a kill at any moment, under load.

What has to hold each time: nothing was changed without an intent in the log, the log verifies or has a torn end, and
the next start goes on with it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.record import Json
from fsserver.audit.verify import Status, verify
from fsserver.audit.walk import Chain
from fsserver.errors import AuditError, ConfigError
from fsserver.policy.compiled import AuditRules, Durability
from tests.audit_logs import CALL, key_pair, open_log, private, records_of
from tests.gates import Served, served
from tests.mounts import FailingDisk, make_read_only, mount_small_tmpfs
from tests.support import in_child
from tests.trees import build, rules

INTENT: dict[str, Json] = {
    "call": 1,
    "tool": "write_file",
    "session": "s",
    "principal": "local",
    "arguments": {"path": "a.txt"},
    "paths": [],
}
DURABILITY = [Durability.KERNEL, Durability.EFFECT]


@contextmanager
def serving(base: Path, audit: AuditRules) -> Iterator[Served]:
    top = base / "work"
    top.mkdir()
    build(top, ["file a.txt old", "file gone.txt old"])
    with served(base, [rules(top)], audit=audit) as gate:
        yield gate


def assert_calls_are_refused(gate: Served) -> None:
    """Every kind of call, with nothing changed and nothing shown."""
    before = {path.name: path.read_bytes() for path in gate.top.iterdir()}
    for _ in range(2):
        for name, arguments in {
            "write_file": {"path": "a.txt", "content": "x" * 500},
            "create_directory": {"path": "made"},
            "delete_file": {"path": "gone.txt"},
            "move_file": {"source": "a.txt", "destination": "b.txt"},
            "read_text_file": {"path": "a.txt"},
        }.items():
            assert gate.error(name, **arguments)["code"] == "audit.append", name
            assert not gate.log.ready
    assert {path.name: path.read_bytes() for path in gate.top.iterdir()} == before


def write_until_refused(gate: Served) -> int:
    """How many writes were made before one was refused with nothing done. Where it is the outcome that cannot be
    written, the result says that the change may be in place.
    """
    number = 0
    while True:
        result = gate.call("write_file", path="a.txt", content=f"{number} " + "x" * 300)
        there = (gate.top / "a.txt").read_text().startswith(f"{number} ")
        if not result.is_error:
            assert there
        elif "may be in place" not in str(result.structured):
            assert not there, "refused, and done all the same"
            return number
        number += 1
        assert number < 2000, "the disk is never full"


@pytest.mark.claim("C6")
@pytest.mark.parametrize("max_size", [1024**3, 20_000], ids=["one file", "while it rotates"])
@pytest.mark.parametrize("durability", DURABILITY)
def test_full_disk_refuses_every_call_with_nothing_changed_and_heals(
    tmp_path: Path, durability: Durability, max_size: int
) -> None:
    place = private(tmp_path / "audit")

    def attack() -> None:
        mount_small_tmpfs(place)
        ballast = place / "ballast"
        ballast.write_bytes(b"\0" * 40_000)
        with serving(tmp_path, AuditRules(str(place), max_size=max_size, durability=durability)) as gate:
            written = write_until_refused(gate)
            assert written > 10
            assert_calls_are_refused(gate)
            assert verify(gate.log.path).status is Status.WHOLE
            ballast.unlink()
            gate.text("write_file", path="a.txt", content="new")
            assert gate.log.ready
        chain = records_of(gate.log.path)
        (healed,) = [record for record in chain if record["event"] == "log.healed"]
        assert (healed["error"], chain[-1]["event"]) == ("ENOSPC", "run.end")
        assert [record["event"] for record in chain].count("call.intent") >= written + 1

    in_child(attack)


def test_file_size_limit_of_the_process_refuses_as_a_full_disk_does(tmp_path: Path) -> None:
    def attack() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with serving(tmp_path, AuditRules(str(tmp_path / "audit"))) as gate:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
            assert write_until_refused(gate) > 10
            assert_calls_are_refused(gate)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            gate.text("write_file", path="a.txt", content="new")
        assert verify(gate.log.path).status is Status.WHOLE

    in_child(attack)


def test_directory_that_became_read_only_refuses_calls_when_the_next_file_is_due(open_tmp_path: Path) -> None:
    """By its mode, so for whoever is not root; a read-only mount refuses the start."""

    def attack() -> None:
        place = private(open_tmp_path / "audit")
        with serving(open_tmp_path, AuditRules(str(place), max_size=5000)) as gate:
            place.chmod(0o500)
            assert write_until_refused(gate) > 0
            assert_calls_are_refused(gate)
            place.chmod(0o700)
            gate.text("write_file", path="a.txt", content="new")
        (healed,) = [record for record in records_of(gate.log.path) if record["event"] == "log.healed"]
        assert healed["error"] == "EACCES"

    in_child(attack, unprivileged=True)


@pytest.mark.parametrize("durability", DURABILITY)
def test_start_on_a_read_only_file_system_is_refused(tmp_path: Path, durability: Durability) -> None:
    place = private(tmp_path / "audit")
    open_log(AuditRules(None, str(place / "log.jsonl"))).close()
    before = (place / "log.jsonl").read_bytes()

    def attack() -> list[str]:
        make_read_only(place)
        said = []
        for audit in (AuditRules(str(place)), AuditRules(None, str(place / "log.jsonl")), AuditRules(f"{place}/new")):
            with pytest.raises((AuditError, ConfigError)) as caught:
                open_log(replace(audit, durability=durability))
            said.append(caught.value.message)
        return said

    assert ["ead-only file system" in message for message in in_child(attack)] == [True] * 3
    assert (place / "log.jsonl").read_bytes() == before


def test_failing_disk_takes_no_intent_that_a_call_went_on_with(tmp_path: Path) -> None:
    """A real fdatasync(2) that fails once and then answers 0: the reason why a file is not believed again.

    What is asserted is of records whose fdatasync came before the fault, or after it was told.
    """

    def attack() -> tuple[set[int], set[int], list[str]]:
        disk = FailingDisk(tmp_path)
        audit = AuditRules(str(disk.place / "audit"), durability=Durability.EFFECT)
        on: set[int] = set()
        with serving(tmp_path, audit) as gate:
            log = gate.log
            on |= {log.append("call.intent", INTENT, durable=True) for _ in range(3)}
            disk.fail()
            with suppress(AuditError):
                for _ in range(200):  # this disk says of the first that it has it, and loses it
                    log.append("call.intent", {**INTENT, "arguments": {"path": "x" * 3000}}, durable=True)
                pytest.fail("a full disk takes everything")
            assert_calls_are_refused(gate)
            disk.work()
            on.add(log.append("call.intent", INTENT, durable=True))
            assert log.ready
        events = [record["event"] for record in records_of(log.path)]
        disk.mount_again()
        return on, numbers_in(disk.place / "audit"), events

    on, there, events = in_child(attack)
    assert len(on) >= 4
    assert on <= there
    assert events.count("log.healed") >= 1
    assert events[-1] == "run.end"


def numbers_in(directory: Path) -> set[int]:
    """The numbers of the intents that can be read there, whatever is between them."""
    found = set()
    for path in directory.iterdir():
        for line in path.read_bytes().split(b"\n"):
            with suppress(ValueError):
                record = json.loads(line.replace(b"\0", b""))
                if record["event"] == "call.intent":
                    found.add(record["seq"])
    return found


# --- A kill at any moment.

KILLS = 200
KILLS_OF_A_LOG = 10  # of one chain; a longer one takes longer to verify, and shows nothing more
THREADS = 3
EFFECTS = 400  # what each thread of a child may do, however its parent ends
LIFE_S = 60


def working_child(audit: AuditRules, effects: Path) -> tuple[int, int]:
    """A forked child whose threads do what the gate does: intent, effect, outcome; its pid and a pipe that it holds.

    The effect is a file that is called as its intent is numbered.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIFE_S)
            log = open_log(audit)
            os.write(writer, b".")
            threads = [threading.Thread(target=work, args=(log, effects)) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    return pid, reader


def work(log: AuditLog, effects: Path) -> None:
    for _ in range(EFFECTS):
        number = log.append("call.intent", CALL, durable=True)
        (effects / str(number)).touch()
        log.append("call.outcome", {"ok": True})


def kill_after(pid: int, reader: int, seconds: float) -> None:
    """SIGKILL, so long after the child's log is open. A moment is waited for here, since the moment is the test."""
    try:
        ready, _, _ = select.select([reader], [], [], 30)
        assert ready, "the child opens its log"
        assert os.read(reader, 1) == b"."
        ended, _, _ = select.select([reader], [], [], seconds)
        assert not ended, "the child ended by itself"
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def intents(log: Path, chain: Chain) -> set[str]:
    """The numbers of all intents in the whole records of a chain, also where it has a torn end."""
    found = set()
    for name in chain.files:
        for line in (log.parent / name).read_bytes().split(b"\n")[:-1]:
            record = json.loads(line)
            if record["event"] == "call.intent":
                found.add(str(record["seq"]))
    return found


HABITS: dict[str, Callable[[AuditRules], AuditRules]] = {
    "one file": lambda audit: audit,
    "while it rotates": lambda audit: replace(audit, max_size=20_000),
    "each intent on the disk": lambda audit: replace(audit, max_size=20_000, durability=Durability.EFFECT),
    "signed often": lambda audit: replace(audit, checkpoint_records=2, checkpoint_s=0.003),
}


@pytest.mark.slow
@pytest.mark.claim("C6")
@pytest.mark.parametrize("habit", HABITS)
def test_killed_at_any_moment_leaves_no_effect_without_an_intent_and_a_log_that_goes_on(
    tmp_path: Path, habit: str
) -> None:
    moments = random.Random(habit)  # the same moments in each run
    key = key_pair(tmp_path)[0] if habit == "signed often" else None
    for number in range(KILLS // len(HABITS) // KILLS_OF_A_LOG):
        place, effects = private(tmp_path / f"audit-{number}"), private(tmp_path / f"effects-{number}")
        audit = HABITS[habit](AuditRules(None, str(place / "log.jsonl"), key=key))
        for _ in range(KILLS_OF_A_LOG):
            kill_after(*working_child(audit, effects), moments.uniform(0, 0.04))
            (chain,) = verify(str(place / "log.jsonl")).chains
            assert chain.status in (Status.WHOLE, Status.TORN)
            assert set(os.listdir(effects)) <= intents(place / "log.jsonl", chain)
        open_log(audit).close()
        (chain,) = verify(str(place / "log.jsonl")).chains
        assert (chain.status, chain.runs, chain.ended) == (Status.WHOLE, KILLS_OF_A_LOG + 1, True)
        assert set(os.listdir(effects)) <= intents(place / "log.jsonl", chain)
        assert len(os.listdir(effects)) > KILLS_OF_A_LOG
