"""The state that a modern client carries: worth something for one call, one time, for a while."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fsserver.errors import SharedStateError
from fsserver.paths.workspace import Workspace
from fsserver.server import sealing
from fsserver.server.sealing import Seal, bound_to
from fsserver.state.local import LocalState
from fsserver.tools.approval import Answer, Consent, ConsentNeeded, Question, refused
from fsserver.tools.session import Session

SESSION = Session("s1", "alice", None, None, Workspace(()))
NEEDED = ConsentNeeded(7, "delete_file", (Question("delete:\n/a", "p.yaml:3", None),), "d" * 64)
ARGUMENTS = {"path": "a", "recursive": False}
WHO = "alice"
BOUND = bound_to(SESSION, "delete_file", ARGUMENTS)
GOOD = Consent(Answer.ACCEPTED, NEEDED.digest, 7, "p.yaml:3")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_answer_with_its_state_is_the_consent_to_that_call() -> None:
    seal = Seal(60)
    assert seal.open(seal.make(NEEDED, BOUND), BOUND, Answer.ACCEPTED, WHO) == GOOD
    declined = seal.open(seal.make(NEEDED, BOUND), BOUND, Answer.DECLINED, WHO)
    assert declined == replace(GOOD, answer=Answer.DECLINED)


@pytest.mark.parametrize(
    "bound",
    [
        pytest.param(bound_to(replace(SESSION, principal="mallory"), "delete_file", ARGUMENTS), id="other principal"),
        pytest.param(bound_to(replace(SESSION, id="s2"), "delete_file", ARGUMENTS), id="other session"),
        pytest.param(bound_to(replace(SESSION, scope="p"), "delete_file", ARGUMENTS), id="other scope"),
        pytest.param(bound_to(SESSION, "write_file", ARGUMENTS), id="other tool"),
        pytest.param(bound_to(SESSION, "delete_file", {**ARGUMENTS, "path": "b"}), id="other path"),
        pytest.param(bound_to(SESSION, "delete_file", {**ARGUMENTS, "recursive": True}), id="other flag"),
        pytest.param(bound_to(SESSION, "delete_file", {**ARGUMENTS, "recursive": 0}), id="other type"),
        pytest.param(bound_to(SESSION, "delete_file", {"path": "a"}), id="less"),
        pytest.param(bound_to(SESSION, "delete_file", None), id="none"),
    ],
)
def test_state_for_another_call_is_refused_and_not_spent(bound: str) -> None:
    seal = Seal(60)
    state = seal.make(NEEDED, BOUND)
    assert seal.open(state, bound, Answer.ACCEPTED, WHO) == replace(GOOD, answer=Answer.OTHER_CALL)
    assert seal.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD


def test_order_of_arguments_does_not_matter() -> None:
    assert bound_to(SESSION, "t", {"a": 1, "b": [2]}) == bound_to(SESSION, "t", {"b": [2], "a": 1})


def test_every_changed_letter_is_noticed() -> None:
    seal = Seal(60)
    state = seal.make(NEEDED, BOUND)
    for place in range(len(state)):
        other = "A" if state[place] != "A" else "B"
        changed = state[:place] + other + state[place + 1 :]
        assert seal.open(changed, BOUND, Answer.ACCEPTED, WHO) == Consent(Answer.UNKNOWN_STATE), place
    assert seal.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD


@pytest.mark.parametrize(
    "state", [None, 5, b"x.y", "", ".", "x", "é.é", "x." + "0" * 64, "x" * 100_000, ["x"], {}, True]
)
def test_what_is_no_state_is_refused(state: object) -> None:
    assert Seal(60).open(state, BOUND, Answer.ACCEPTED, WHO) == Consent(Answer.UNKNOWN_STATE)


def test_state_of_another_process_is_refused() -> None:
    assert Seal(60).open(Seal(60).make(NEEDED, BOUND), BOUND, Answer.ACCEPTED, WHO) == Consent(Answer.UNKNOWN_STATE)


def test_state_holds_as_long_as_a_person_may_think() -> None:
    clock = Clock()
    seal = Seal(60, clock=clock)
    in_time, late = seal.make(NEEDED, BOUND), seal.make(NEEDED, BOUND)
    clock.now += 60
    assert seal.open(in_time, BOUND, Answer.ACCEPTED, WHO) == GOOD
    clock.now += 0.001
    assert seal.open(late, BOUND, Answer.ACCEPTED, WHO).answer is Answer.EXPIRED
    assert seal.open(in_time, BOUND, Answer.ACCEPTED, WHO).answer is Answer.EXPIRED


def test_state_is_spent_by_any_answer() -> None:
    seal = Seal(60)
    for answer in (Answer.ACCEPTED, Answer.DECLINED, Answer.MALFORMED):
        state = seal.make(NEEDED, BOUND)
        assert seal.open(state, BOUND, answer, WHO).answer is answer
        assert seal.open(state, BOUND, Answer.ACCEPTED, WHO).answer is Answer.USED


def test_who_uses_all_its_room_takes_none_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_USED", 3)
    monkeypatch.setattr(sealing, "MAX_USED_BY_ALL", 5)
    clock = Clock()
    seal = Seal(60, clock=clock)

    def used(principal: str) -> Answer:
        return seal.open(seal.make(NEEDED, BOUND), BOUND, Answer.ACCEPTED, principal).answer

    assert [used("mallory") for _ in range(4)] == [Answer.ACCEPTED] * 3 + [Answer.BUSY]
    assert [used("alice") for _ in range(3)] == [Answer.ACCEPTED] * 2 + [Answer.BUSY]  # there is a bound for all, too
    clock.now += 61
    assert used("mallory") is used("alice") is Answer.ACCEPTED


def test_used_states_are_remembered_up_to_a_bound_and_forgotten_when_they_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing, "MAX_USED", 3)
    clock = Clock()
    seal = Seal(60, clock=clock)
    spent = [seal.make(NEEDED, BOUND) for _ in range(3)]
    for state in spent:
        assert seal.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD
    assert seal.open(seal.make(NEEDED, BOUND), BOUND, Answer.ACCEPTED, WHO).answer is Answer.BUSY
    assert {seal.open(state, BOUND, Answer.ACCEPTED, WHO).answer for state in spent} == {Answer.USED}
    clock.now += 61
    assert seal.open(seal.make(NEEDED, BOUND), BOUND, Answer.ACCEPTED, WHO) == GOOD
    assert {seal.open(state, BOUND, Answer.ACCEPTED, WHO).answer for state in spent} == {Answer.EXPIRED}


def test_of_many_threads_with_one_state_one_gets_the_consent() -> None:
    seal = Seal(60)
    state = seal.make(NEEDED, BOUND)
    got: list[Answer] = []
    together = threading.Barrier(8)

    def use() -> None:
        together.wait(10)
        got.append(seal.open(state, BOUND, Answer.ACCEPTED, WHO).answer)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(got) == [Answer.ACCEPTED] + [Answer.USED] * 7


KEY = bytes(range(32))


class Memory(LocalState):
    """One memory of several processes."""

    shared: bool = True  # type: ignore[misc]  # a constant of the class


class Unreachable(Memory):
    def spend(self, key: str, ttl_s: float) -> bool:
        raise SharedStateError("unreachable")


def test_answer_to_one_replica_holds_at_another_and_for_one_of_them() -> None:
    memory = Memory()
    here, there = Seal.of(60, KEY, memory), Seal.of(60, KEY, memory)
    state = here.make(NEEDED, BOUND)
    assert there.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD
    assert here.open(state, BOUND, Answer.ACCEPTED, WHO).answer is Answer.USED
    assert there.open(state, BOUND, Answer.ACCEPTED, WHO).answer is Answer.USED


def test_no_answer_holds_while_nobody_knows_which_were_used() -> None:
    seal = Seal.of(60, KEY, Unreachable())
    state = seal.make(NEEDED, BOUND)
    assert seal.open(state, BOUND, Answer.ACCEPTED, WHO) == replace(GOOD, answer=Answer.UNREACHABLE)
    assert seal.open(state, bound_to(SESSION, "write_file", {}), Answer.ACCEPTED, WHO).answer is Answer.OTHER_CALL
    assert "cannot be reached" in refused(Answer.UNREACHABLE, None).message


def test_clock_of_the_day_is_used_with_a_shared_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    day, machine = Clock(), Clock()
    monkeypatch.setattr(sealing, "time", SimpleNamespace(time=day, monotonic=machine))
    shared, alone = Seal.of(60, KEY, Memory()), Seal(60)
    ours, later, theirs = shared.make(NEEDED, BOUND), shared.make(NEEDED, BOUND), alone.make(NEEDED, BOUND)
    machine.now += 61  # as another machine's may be
    assert shared.open(ours, BOUND, Answer.ACCEPTED, WHO) == GOOD
    assert alone.open(theirs, BOUND, Answer.ACCEPTED, WHO).answer is Answer.EXPIRED
    day.now += 61
    assert shared.open(later, BOUND, Answer.ACCEPTED, WHO).answer is Answer.EXPIRED


def test_used_state_is_remembered_for_as_long_as_any_replicas_clock_would_take_it() -> None:
    clock, kept = Clock(), []

    def spend(key: str, ttl_s: float) -> bool:
        kept.append(ttl_s)
        return True

    seal = Seal(60, KEY, spend, clock=clock)
    state = seal.make(NEEDED, BOUND)
    clock.now += 50
    assert seal.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD
    assert kept == [pytest.approx(10 + sealing.CLOCKS_S)]


def test_key_without_a_shared_memory_is_not_used() -> None:
    here, there = Seal.of(60, KEY, LocalState()), Seal.of(60, KEY, LocalState())
    state = here.make(NEEDED, BOUND)
    assert there.open(state, BOUND, Answer.ACCEPTED, WHO) == Consent(Answer.UNKNOWN_STATE)
    assert here.open(state, BOUND, Answer.ACCEPTED, WHO) == GOOD
    for half in ({"key": KEY}, {"spend": LocalState().spend}):
        with pytest.raises(ValueError, match="together"):
            Seal(60, **half)


def test_another_key_opens_nothing() -> None:
    memory = Memory()
    state = Seal.of(60, KEY, memory).make(NEEDED, BOUND)
    assert Seal.of(60, bytes(32), memory).open(state, BOUND, Answer.ACCEPTED, WHO) == Consent(Answer.UNKNOWN_STATE)


def test_sessions_of_one_scope_are_one_and_other_principals_are_not() -> None:
    first, second = (replace(SESSION, id=name, scope="alice") for name in ("s1", "s2"))
    assert bound_to(first, "t", {}) == bound_to(second, "t", {})
    assert bound_to(first, "t", {}) != bound_to(replace(first, principal="bob"), "t", {})
    assert SESSION.owner == ("alice", "s1")
    assert second.owner == ("alice", "alice")
