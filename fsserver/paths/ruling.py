"""What the rules of every root that holds a name say about it; where roots overlap the strictest wins."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence

from fsserver.errors import ConsentDenied, Denied, HardLinkDenied, OperationDenied, ProtectedName, ReadOnlyName
from fsserver.paths.names import display, join, remainder
from fsserver.paths.root import Root
from fsserver.policy.compiled import Action, Effect, Origin
from fsserver.policy.decision import Decision, decide, may_contain_protected, protection

_REFUSALS: dict[str, type[Denied]] = {
    kind.code: kind for kind in (ProtectedName, ReadOnlyName, OperationDenied, ConsentDenied, HardLinkDenied)
}

_OTHER_NAME = re.compile(r"[. ]\Z|~[0-9]")

# What a client may do instead of leaving its roots.
INSIDE = "paths in the directories that list_allowed_directories names"

# How strictly a name is protected.
FREE, READ_ONLY, DENIED = 0, 1, 2


class Ruling:
    """The rules for one root's names, with those of the roots that lie in it or that it lies in.

    Attributes:
        root: the root that names are beneath.
        roots: all of the principal's.
        others: the overlapping ones.
    """

    def __init__(self, root: Root, roots: Sequence[Root]) -> None:
        self.root = root
        self.roots = tuple(roots)
        self.others = tuple(other for other in roots if other is not root and _overlap(root, other))
        self.may_protect = any(may_contain_protected(each.rules) for each in (root, *self.others))

    def decide(self, names: Iterable[str], action: Action, shown: str) -> Decision:
        """The strictest decision about ``action`` on all ``names``: it allows, or asks for a person's consent.

        Raises:
            Denied: one of them is refused. The message names ``shown``, which the client knows.
        """
        strictest: Decision | None = None
        for name in names:
            for root, theirs in self._views(name):
                if root.folds:
                    _require_own_name(root, theirs, shown)
                decision = decide(root.rules, theirs, action, folds=root.folds)
                if not decision.allowed and not decision.asks:
                    raise refusal(decision, shown)
                if strictest is None or strictest.allowed:
                    strictest = decision
        assert strictest is not None, "nothing was asked about"
        return strictest

    def protected(self, name: str) -> bool:
        """Whether ``name`` is denied: shown in listings and nothing more."""
        if not self.may_protect:
            return False
        if not self.others:  # the usual case, asked once for every entry of a listing
            return protection(self.root.rules, name, Action.READ, folds=self.root.folds) is not None
        return self.level(name) == DENIED

    def level(self, name: str) -> int:
        """How strictly ``name`` is protected, whatever the mode of its root."""
        return self.protection(name)[0]

    def protection(self, name: str) -> tuple[int, Origin | None]:
        """`level` and the rule that makes it."""
        strictest: tuple[int, Origin | None] = (FREE, None)
        for root, theirs in self._views(name):
            denying = protection(root.rules, theirs, Action.READ, folds=root.folds)
            if denying is not None:
                return DENIED, denying.origin
            freezing = protection(root.rules, theirs, Action.OVERWRITE, folds=root.folds)
            if freezing is not None:
                strictest = (READ_ONLY, freezing.origin)
        return strictest

    def require_links(self, name: str, status: os.stat_result, action: Action, shown: str) -> None:
        """Refuse a file with several names if one is protected, or if its root does not want such files read.

        Raises:
            ProtectedName, ReadOnlyName, HardLinkDenied.
        """
        if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
            return
        if action in (Action.READ, Action.EDIT):
            for root, _ in self._views(name):
                if root.rules.hardlinks is not Effect.ALLOW:
                    raise HardLinkDenied(
                        f"Access denied - the file has more than one name (hard links): {display(shown)}",
                        rule=str(root.rules.origin),
                    )
        for root in self.roots:
            other_name = root.aliases.protected_name(status)
            if other_name is not None:
                decision = decide(root.rules, other_name, action, folds=root.folds)
                if not decision.allowed:
                    raise refusal(decision, shown)

    def root_in(self, path: str, status: os.stat_result) -> Root | None:
        """A root that is the directory at the absolute ``path``, or lies in it."""
        for root in self.roots:
            if root.identity == (status.st_dev, status.st_ino) or (root.path() + "/").startswith(path + "/"):
                return root
        return None

    def _views(self, name: str) -> list[tuple[Root, str]]:
        """Each root that holds ``name``, and the name as seen from there."""
        views = [(self.root, name)]
        if self.others:
            parts = (*self.root.prefixes[0], *(name.split("/") if name else ()))
            for other in self.others:
                rest = remainder(parts, other.prefixes[0])
                if rest is not None:
                    views.append((other, "/".join(rest)))
        return views


def _require_own_name(root: Root, name: str, shown: str) -> None:
    """Volumes that fold often know a file by other names too, which no rule can foresee: FAT's short names, and names
    with dots or spaces at their end. Where anything is protected they are refused.
    """
    if may_contain_protected(root.rules) and any(_OTHER_NAME.search(part) for part in name.split("/")):
        raise ProtectedName(
            f"Access denied - on this volume the name may stand for another one: {display(shown)}",
            rule=str(root.rules.origin),
        )


def refusal(decision: Decision, shown: str) -> Denied:
    """The error for a decision that does not allow, or that asks where nobody has consented."""
    kind = _REFUSALS.get(decision.code, Denied)
    return kind(
        f"Access denied - {decision.reason}: {display(shown)}",
        rule=None if decision.rule is None else str(decision.rule),
        allowed_instead=decision.allowed_instead,
    )


def shown_path(root: Root, name: str) -> str:
    """The absolute path of a name beneath a root, as clients see it but for `display`."""
    return join(root.shown, name)


def directories(roots: Sequence[Root]) -> str:
    """The roots for a message: every spelling that clients may use, as written before the kernel's own."""
    return ", ".join(display(spelling) for root in roots for spelling in reversed(root.spellings))


def _overlap(one: Root, other: Root) -> bool:
    a, b = one.prefixes[0], other.prefixes[0]
    return remainder(a, b) is not None or remainder(b, a) is not None
