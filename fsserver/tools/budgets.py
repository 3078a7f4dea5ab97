"""What each principal may use of the server: how often, how many calls at once, and how many bytes of results.

Rates and bytes are counted where replicas share them, if they share; places of calls at work are this process's own.
A call is counted when it comes, whatever becomes of it: a refusal costs a record, too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from fsserver.errors import RateLimited, SharedStateError, TooManyCalls
from fsserver.policy.compiled import Limits
from fsserver.policy.service import Budget, CallClass, Rate
from fsserver.state.shared import SharedState, digest

_UNITS: Final[Mapping[int, str]] = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}


class _Bound(NamedTuple):
    """One budget that a call falls under: of its class, or of all calls; and where the policy has it."""

    call_class: CallClass | None
    budget: Budget
    key: str

    @property
    def words(self) -> str:
        return "" if self.call_class is None else f" of the class {self.call_class}"


class Budgets:
    """Thread-safe."""

    def __init__(self, limits: Limits, state: SharedState) -> None:
        self._state = state
        every = _Bound(None, limits.budget, "limits.calls")
        # The class's first: what it refuses takes nothing of the other.
        self._bounds: dict[CallClass | None, tuple[_Bound, ...]] = {
            each: (_Bound(each, limits.budgets.get(each, _NONE), f"limits.calls.classes.{each}"), every)
            for each in CallClass
        }
        self._bounds[None] = (every,)
        self._mutex = threading.Lock()  # over the next
        self._at_work: dict[tuple[str, CallClass | None], int] = {}

    @classmethod
    def of(cls, limits: Limits, state: SharedState) -> Budgets | None:
        """None if the policy bounds nobody: then there is nothing to count."""
        bounded = any(budget != _NONE for budget in (limits.budget, *limits.budgets.values()))
        return cls(limits, state) if bounded else None

    def use(self, principal: str, call_class: CallClass | None) -> Use:
        """What one call of the principal is going to use. None for the class: it is a call of no tool that there is."""
        return Use(self, principal, call_class)

    def begin(self, principal: str, call_class: CallClass | None, *, counted: bool) -> None:
        """See `Use.begin`."""
        bounds = self._bounds[call_class]
        self._take_places(principal, bounds)
        try:
            for bound in bounds:
                self._require_output(principal, bound)
            for bound in bounds if counted else ():
                self._take_call(principal, bound)
        except BaseException:
            self.end(principal, call_class)
            raise

    def end(self, principal: str, call_class: CallClass | None) -> None:
        """Give back the places that `begin` took."""
        with self._mutex:
            self._give_back(principal, self._bounds[call_class])

    def count(self, principal: str, call_class: CallClass | None, size: int) -> None:
        """See `Use.count`."""
        for bound in self._bounds[call_class]:
            if bound.budget.output is not None:
                with suppress(SharedStateError):  # the call is done, and the next one is refused while this goes on
                    self._state.use(_name("output", principal, bound), bound.budget.output, size)

    def _take_places(self, principal: str, bounds: tuple[_Bound, ...]) -> None:
        with self._mutex:
            for taken, bound in enumerate(bounds):
                most = bound.budget.concurrency
                if most is None:
                    continue
                place = (principal, bound.call_class)
                if self._at_work.get(place, 0) >= most:
                    self._give_back(principal, bounds[:taken])
                    raise TooManyCalls(
                        f"{most} calls{bound.words} are at work for you, and the policy allows no more at a time.",
                        rule=f"{bound.key}.each",
                        allowed_instead="the same call when one of them has ended",
                    )
                self._at_work[place] = self._at_work.get(place, 0) + 1

    def _give_back(self, principal: str, bounds: tuple[_Bound, ...]) -> None:
        for bound in bounds:
            place = (principal, bound.call_class)
            if bound.budget.concurrency is not None:
                left = self._at_work[place] - 1
                if left:
                    self._at_work[place] = left
                else:
                    del self._at_work[place]

    def _require_output(self, principal: str, bound: _Bound) -> None:
        rate, rule = bound.budget.output, f"{bound.key}.output"
        if rate is None:
            return
        try:
            wait_s = self._state.used_up(_name("output", principal, bound), rate)
        except SharedStateError as error:
            raise _with_rule(error, rule) from None
        if wait_s:
            raise RateLimited(
                f"Results of your calls{bound.words} have used the {rate.amount} bytes {per(rate)} of the policy.",
                retry_after_s=wait_s,
                rule=rule,
            )

    def _take_call(self, principal: str, bound: _Bound) -> None:
        rate, rule = bound.budget.rate, f"{bound.key}.rate"
        if rate is None:
            return
        try:
            wait_s = self._state.take(_name("calls", principal, bound), rate)
        except SharedStateError as error:
            raise _with_rule(error, rule) from None
        if wait_s:
            raise RateLimited(
                f"You have made the {rate.amount} calls{bound.words} {per(rate)} of the policy.",
                retry_after_s=wait_s,
                rule=rule,
            )


class Use:
    """One call's part. Not thread-safe, as a call is made in one thread.

    Attributes:
        begun: the call was let in.
    """

    __slots__ = ("_budgets", "_call_class", "_principal", "begun")

    def __init__(self, budgets: Budgets, principal: str, call_class: CallClass | None) -> None:
        self._budgets = budgets
        self._principal = principal
        self._call_class = call_class
        self.begun = False

    def begin(self, *, counted: bool) -> None:
        """Let the call in, and count it. `end` has to follow.

        Args:
            counted: False for a call that was counted before.

        Raises:
            RateLimited, TooManyCalls: the principal has used what it may; nothing has to follow.
            SharedStateError: nobody can say.
        """
        self._budgets.begin(self._principal, self._call_class, counted=counted)
        self.begun = True

    def end(self) -> None:
        """The call is over."""
        self._budgets.end(self._principal, self._call_class)

    def count(self, size: int) -> None:
        """Count the bytes of its result. They are not refused any more; the next call is."""
        self._budgets.count(self._principal, self._call_class, size)


_NONE: Final = Budget()


def _name(what: str, principal: str, bound: _Bound) -> str:
    return digest(what, principal, bound.call_class or "")


def per(rate: Rate) -> str:
    """The time of a rate in words, after an amount."""
    return _UNITS.get(rate.per_s) or f"in {rate.per_s} seconds"


def _with_rule(error: SharedStateError, rule: str) -> SharedStateError:
    return SharedStateError(error.message, rule=rule, allowed_instead=error.allowed_instead)
