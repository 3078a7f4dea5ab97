"""Which files a log says were changed, each once: what it was before its first change, and is after its last."""

from __future__ import annotations

from typing import Final

from fsserver.audit.fields import shown, text
from fsserver.audit.phrases import held
from fsserver.audit.record import Record
from fsserver.audit.report_data import Change
from fsserver.audit.tally import Distinct

MOST_FILES: Final = 1000
MOST_DISTINCT: Final = 200_000  # files that are told apart when they are counted


class Files:
    """Takes changes in the order of the log; in bounded memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Change] = {}
        self._different = Distinct(MOST_DISTINCT)

    def see(self, seq: int, change: Record) -> None:
        """One member of a record's ``changes``. A move changes two names: one is there from then on, one no more."""
        root, name = change.get("root"), change.get("name")
        how = shown(change.get("change"), 20)
        before, after = held(change, "before"), held(change, "after")
        moved = how == "moved" and type(change.get("from")) is str
        if moved:
            from_root, came_from = change.get("from_root", root), change.get("from")
            gone = self._note(seq, from_root, came_from, f"moved to {self._place(root, name, from_root)}")
            if gone is not None:
                if not gone.changes:
                    gone.before = before
                gone.changes, gone.after, gone.stays = gone.changes + 1, held({}, "after"), False
            if text(change, "kind") == "directory":
                self._went_along(seq, from_root, came_from, name)
            how, before = f"moved from {self._place(from_root, came_from, root)}", held({}, "before")
        there = self._note(seq, root, name, how)
        if there is not None:
            if not there.changes:
                there.before, there.came, there.moved_here = before, moved or how == "created", moved
            there.changes, there.after, there.stays = there.changes + 1, after, how != "deleted"

    def all(self) -> list[Change]:
        """Those that are kept, by name."""
        return sorted(self._known.values(), key=lambda change: (change.root, change.name))

    @property
    def left_out(self) -> int:
        return len(self._different) - len(self._known)

    @property
    def uncounted(self) -> bool:
        """Whether there may be more than ``left_out`` says."""
        return self._different.full

    def _note(self, seq: int, root: object, name: object, how: str) -> Change | None:
        """What is known of a name, with 0 ``changes`` if nothing was; None if there is no room for it."""
        key = (shown(root, 64), shown(name, 600))
        self._different.add((root, name) if type(root) is str and type(name) is str else key)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_FILES:
                return None
            absent = held({}, "before")
            known = self._known[key] = Change(*key, 0, how, absent, absent, seq, came=False, stays=False)
        known.last, known.seq = how, seq
        return known

    def _went_along(self, seq: int, root: object, directory: object, to: object) -> None:
        """What is known of a directory that was moved is at its old place no more."""
        within = f"{shown(directory, 600)}/"
        for (of, name), change in self._known.items():
            if of == shown(root, 64) and change.stays and name.startswith(within):
                change.last, change.seq = f"moved with {within[:200]} to {shown(to, 200)}/", seq
                change.changes, change.after, change.stays = change.changes + 1, held({}, "after"), False

    @staticmethod
    def _place(root: object, name: object, seen_from: object) -> str:
        return shown(name, 200) if root == seen_from else f"{shown(root, 64)}/{shown(name, 200)}"
