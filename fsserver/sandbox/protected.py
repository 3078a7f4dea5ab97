"""The protected names that exist in a root, kept current: what a command's cell masks, binds and pins.

A command sees a root through mounts, and mounts are made over names that exist. So every cell belongs to one
generation of this index, and a cell of an older one must not be used: an entry that was replaced from outside, as an
editor does it, has lost what was mounted over it.

A directory is listed again only if the kernel told of a change in it, or, where it does not tell, if its ctime changed:
every name that comes, goes or is replaced does both. Names that a rule covers only through a directory above them are
not listed: what is mounted over that covers them.

Stricter than for file tools: a directory that ``deny`` covers is denied whole, and one that ``read_only`` covers is
read-only whole, also where an exception frees a part of what is in it; only where an exception frees all that may be
in a read-only directory is it `Protection.NAME`. A directory that cannot be looked into when it is listed (no right to
read or search it, or a name of more than `MAX_NAME` bytes) is denied whole, whoever owns it: its owner could open it to
the command.

What this cannot do:

- A link with a protected name is listed as `Kind.LINK`, for mount(2) would follow it. move_mount(2) can bind it onto
  itself by a descriptor of the link: then no command replaces it (measured on Linux 6.18, without privileges too).
  Reading it tells its target's name; what the target holds is protected by the target's own name.
- Another hard link of a protected file is listed too, with the same protection: looked for in the whole root when the
  protected name is first seen with more than one link, later in the directories that changed. It is not found where
  directories list other inode numbers than stat(2) tells, as some overlays do.
- On file systems whose changes the kernel does not tell, where a change leaves the directory's ctime alone or the clock
  is behind this machine's, a change is seen late. So is one that happens while the root is gone through.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from fsserver.errors import SandboxSetupError
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import open_how, openat2
from fsserver.kernel.watches import Watches, is_told
from fsserver.policy.compiled import RootRules
from fsserver.policy.decision import may_contain_protected
from fsserver.sandbox.listing import (
    MAX_PROTECTED,
    Identity,
    Inode,
    Kind,
    Listing,
    ProtectedName,
    Protection,
    UnreachableError,
    find_aliases,
    list_directory,
    stricter,
    too_much,
)

__all__ = ["Identity", "Kind", "ProtectedIndex", "ProtectedName", "Protection"]

MAX_DIRECTORIES = 200_000
MAX_ENTRIES = 2_000_000

# Each is a mount in every cell, about 20 µs; the kernel allows 100,000 in a namespace (fs.mount-max).
MAX_NAMES = 10_000

# Each keeps the directory's inode in the kernel's memory, about 1 KiB.
MAX_WATCHED = 8_192

# How often a directory is looked at in one refresh while others open and close it.
MOST_ROUNDS = 8

_DIRECTORY = open_how(c.O_PATH | c.O_DIRECTORY | c.O_NOFOLLOW, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)


class ProtectedIndex:
    """The index of one root. For one thread.

    Attributes:
        rules: of the root.
        descriptor: the root, opened with O_PATH or to read; the caller's to close.
        folds: whether the root's volume compares names without their case.
        names: what is protected, sorted, so that a directory comes before what is in it. Below a denied name nothing
            is listed, below a read-only one only denied names.
        directories: those between the root and the names, and those that are `Protection.NAME` themselves, sorted:
            bound onto themselves none can be renamed away. What lies in a read-only name needs no such thing.
        pinned: which directories those were.
        generation: another number whenever a cell that was built before must not be used any more.
    """

    def __init__(self, rules: RootRules, descriptor: int, *, folds: bool, most_watched: int = MAX_WATCHED) -> None:
        """Args:
        most_watched: how many directories it may have the kernel watch, of those that a user may. Each further one is
            asked for by its name, at each refresh.
        """
        self.rules = rules
        self.descriptor = descriptor
        self.names: tuple[ProtectedName, ...] = ()
        self.directories: tuple[str, ...] = ()
        self.generation = 0
        self.folds = folds
        self.pinned: tuple[Identity, ...] = ()
        self._listings: dict[str, Listing] = {}
        self._entries = self._protected = 0  # of all listings
        self._watches: Watches | None = None
        self._watched: dict[int, str] = {}  # by the number of its watch
        self._numbers: dict[str, int] = {}  # the other way round
        self._unwatched: set[str] = set()  # directories of which the kernel does not tell
        self._told: dict[int, bool] = {}  # by device: whether it tells what changes there
        self._unsettled: set[str] = set()  # directories that may have changed unseen
        self._stale_names = False  # what is published may not be what is listed
        self._most_watched = most_watched
        self._wanted: dict[Inode, tuple[Protection, int]] = {}
        self._searched: dict[Inode, int] = {}
        self._links_changed = False

    def refresh(self, *, everywhere: bool = False) -> bool:
        """Look what changed. True if `generation` did.

        Args:
            everywhere: also at what the kernel does not tell of: directories that may not be looked into any more. What
                is in one stays known and protected, but where it is another user's nothing can be mounted there.

        Raises:
            SandboxSetupError: the root holds more than `MAX_DIRECTORIES`, `MAX_ENTRIES` or `MAX_PROTECTED`, or cannot
                be read. What the attributes say is then out of date; the next call begins anew.
        """
        if not may_contain_protected(self.rules):
            return False
        try:
            stale = self._stale(everywhere=everywhere)
            if stale:
                self._watch(self._look_again(stale))
        except BaseException:
            self._listings, self._entries, self._protected = {}, 0, 0
            self._unsettled.clear()
            raise
        return self._publish() if self._stale_names else False

    @property
    def settled(self) -> bool:
        """Whether the next `refresh` lists nothing again but what changes until then."""
        return bool(self._listings) and not self._unsettled

    def require_few(self) -> None:
        """Raise `SandboxSetupError` if there are more than `MAX_NAMES`: too many mounts for a cell."""
        count = len(self.names) + len(self.directories)
        if count > MAX_NAMES:
            raise SandboxSetupError(
                f'The root "{self.rules.name}" holds {count} protected names and directories around them; a command '
                f"can be kept from {MAX_NAMES} at most.",
                allowed_instead="rules that cover whole directories instead of what is in them",
            )

    def _stale(self, *, everywhere: bool) -> list[str]:
        """The directories that changed, or may have changed unseen; the root where nothing is known yet.

        To look at each costs 2 µs and more, and there may be thousands, so the kernel is asked which ones it is. That a
        name leads to another directory now is a change of the one that it is in.
        """
        if not self._listings:
            return [""]
        numbers = set[int]() if self._watches is None else self._watches.changed()
        if everywhere or numbers is None:
            return [name for name, listing in self._listings.items() if not self._is_current(listing)]
        stale = {name for name in self._unwatched if not self._is_current(self._listings[name])}
        stale.update(self._watched[number] for number in numbers if number in self._watched)
        return list(stale | self._unsettled)

    def _watch(self, listed: Collection[Listing]) -> None:
        """Have the kernel tell what changes in these from now on, and no more what does in those that are gone."""
        gone = self._numbers.keys() - self._listings.keys()
        names = [*gone, *(listing.name for listing in listed)]
        before = [self._numbers.pop(name) for name in names if name in self._numbers]
        for former in before:
            del self._watched[former]
        self._unwatched &= self._listings.keys()
        for listing in listed:
            number = self._begin_to_watch(listing)
            if number is None:
                self._unwatched.add(listing.name)
            else:
                self._unwatched.discard(listing.name)
                self._numbers[listing.name], self._watched[number] = number, listing.name
        for former in before:
            if former not in self._watched and self._watches is not None:
                self._watches.remove(former)

    def _begin_to_watch(self, listing: Listing) -> int | None:
        """The number of its watch; None if it has none."""
        if not listing.opened or len(self._watched) >= self._most_watched:
            return None
        try:
            descriptor = openat2(self.descriptor, os.fsencode(listing.name or "."), _DIRECTORY)
        except OSError:
            return None
        try:
            if not self._is_told(descriptor):
                return None
            if self._watches is None:
                self._watches = Watches()
            number = self._watches.add(descriptor)
            status = os.fstat(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        if listing.signature != (status.st_ctime_ns, status.st_ino, status.st_dev):
            self._unsettled.add(listing.name)  # it changed before it was watched
        # A directory that is mounted in two places is watched under one of its names.
        return number if number not in self._watched else None

    def _is_told(self, descriptor: int) -> bool:
        device = os.fstat(descriptor).st_dev  # not that of the listing: its name may lead elsewhere by now
        told = self._told.get(device)
        if told is None:
            told = self._told[device] = is_told(descriptor)
        return told

    def close(self) -> None:
        """Have nothing watched any more; the next `refresh` looks at all of the directories again."""
        if self._watches is not None:
            self._watches.close()
        self._watches, self._watched, self._numbers = None, {}, {}
        self._unwatched = set(self._listings)

    def _look_again(self, stale: Collection[str]) -> list[Listing]:
        """List what is stale, and what cannot be looked into any more when it is searched for aliases; the listings."""
        listed: dict[str, Listing] = {}
        for _ in range(MOST_ROUNDS):
            listed |= {listing.name: listing for listing in self._list_again(stale)}
            stale = self._find_aliases([each for each in listed.values() if self._listings.get(each.name) is each])
            if not stale:
                return [each for each in listed.values() if self._listings.get(each.name) is each]
        raise self._unsteady()

    def _list_again(self, stale: Collection[str]) -> list[Listing]:
        """List what is stale, and what is new or replaced below it; returns those listings.

        Who may search a directory changes without being told: where one cannot be reached, the one above it is stale.
        """
        climbs: dict[str, int] = {}
        listed: dict[str, Listing] = {}
        for start in sorted(stale, key=lambda name: name.split("/")):  # outer ones first: they know what is gone
            known = self._listings.get(start)
            if start and (known is None or start in listed):
                continue  # it went with a directory above it, or was listed with it
            pending: list[tuple[str, Protection | None]] = [(start, None if known is None else known.above)]
            while pending:
                name, above = pending.pop()
                try:
                    listing = self._list(name, above)
                except UnreachableError:
                    self._forget(name)
                    outer = name.rpartition("/")[0]
                    climbs[outer] = climbs.get(outer, 0) + 1
                    if climbs[outer] > MOST_ROUNDS:
                        raise self._unsteady() from None
                    within = f"{outer}/" if outer else ""
                    pending = [each for each in pending if not each[0].startswith(within)]
                    pending.append((outer, self._listings[outer].above))
                    continue
                if listing is None:
                    continue
                listed[name] = listing
                # Where a directory has not changed, its names lead to what they led to.
                pending.extend(child for child in listing.children if not self._is_known(*child))
        if "" not in self._listings:
            raise SandboxSetupError(f'The root "{self.rules.name}" is no longer there, so no command may run.')
        return [listing for name, listing in listed.items() if self._listings.get(name) is listing]

    def _unsteady(self) -> SandboxSetupError:
        return SandboxSetupError(
            f'Directories in the root "{self.rules.name}" are closed and opened all the time, so no command may run.',
            allowed_instead="again when that has ended",
        )

    def _list(self, name: str, above: Protection | None) -> Listing | None:
        """List one directory, and forget what is not in it any more; None if it is gone."""
        before = self._listings.get(name)
        room = MAX_ENTRIES - self._entries + (0 if before is None else before.entries)
        listing = list_directory(self.descriptor, name, above, self.rules, folds=self.folds, most=room)
        if listing is None:
            self._forget(name)
            return None
        self._note_links(before, listing)
        if before is not None:
            for child in {child for child, _ in before.children}.difference(child for child, _ in listing.children):
                self._forget(child)
            self._count(before, -1)
        self._count(listing, 1)
        self._listings[name] = listing
        self._stale_names = self._stale_names or before is None or not _alike(before, listing)
        if listing.settled:
            self._unsettled.discard(name)
        else:
            self._unsettled.add(name)
        if len(self._listings) > MAX_DIRECTORIES or self._entries > MAX_ENTRIES or self._protected > MAX_PROTECTED:
            raise too_much(self.rules)
        return listing

    def _forget(self, name: str) -> None:
        """A directory, and all that is below it."""
        pending = [name]
        while pending:
            gone = self._listings.pop(pending.pop(), None)
            if gone is not None:
                self._stale_names = True
                self._unsettled.discard(gone.name)
                self._count(gone, -1)
                self._note_links(gone, None)
                pending.extend(child for child, _ in gone.children)

    def _count(self, listing: Listing, sign: int) -> None:
        self._entries += sign * listing.entries
        self._protected += sign * len(listing.protected)

    def _is_known(self, name: str, above: Protection | None) -> bool:
        known = self._listings.get(name)
        return known is not None and known.above is above and self._is_current(known)

    def _is_current(self, listing: Listing) -> bool:
        """Whether its name leads to the directory as it was listed."""
        if not listing.settled:
            return False
        try:
            status = os.stat(listing.name or ".", dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return (status.st_ctime_ns, status.st_ino, status.st_dev) == listing.signature

    def _note_links(self, before: Listing | None, after: Listing | None) -> None:
        old = (before.links, before.strictest) if before is not None else ({}, {})
        new = (after.links, after.strictest) if after is not None else ({}, {})
        self._links_changed = self._links_changed or old != new

    def _find_aliases(self, listed: list[Listing]) -> list[str]:
        """Look for other names of protected files: everywhere if one has links that were not looked for, else in
        ``listed``. Names in directories that did not change were compared with these files already.

        Returns: directories that cannot be looked into any more.
        """
        if self._links_changed:
            self._collect_wanted()
            self._links_changed = False
        everywhere = any(links > 1 and self._searched.get(inode) != links for inode, (_, links) in self._wanted.items())
        numbers = {number for _, number in self._wanted}
        closed: list[str] = []
        for listing in (self._listings.values() if everywhere else listed) if numbers else ():
            if listing.opened and listing.above is not Protection.DENY:
                try:
                    listing.aliases = find_aliases(self.descriptor, listing, numbers)
                    self._stale_names = self._stale_names or bool(listing.aliases)
                except UnreachableError:
                    closed.append(listing.name)
        if not closed:
            self._searched = {inode: links for inode, (_, links) in self._wanted.items()}
        return closed

    def _collect_wanted(self) -> None:
        self._wanted = {}
        for listing in self._listings.values():
            for inode, links in listing.links.items():
                protection, most = self._wanted.get(inode, (listing.strictest[inode], links))
                self._wanted[inode] = (stricter(listing.strictest[inode], protection), max(links, most))

    def _publish(self) -> bool:
        self._stale_names = False
        found: dict[str, ProtectedName] = {}
        for listing in self._listings.values():
            if not listing.opened and listing.above is not Protection.DENY:
                found[listing.name] = ProtectedName(listing.name, Protection.DENY, Kind.DIRECTORY, listing.identity)
            for each in listing.protected:
                found.setdefault(each.name, each)
        for listing in self._listings.values():
            for alias in listing.aliases:
                self._add_alias(found, alias, listing.above)
        names = tuple(found[name] for name in sorted(found))
        directories = self._directories(names)
        pinned = tuple(self._listings[name].identity for name in directories)
        if (names, directories, pinned) == (self.names, self.directories, self.pinned):
            return False
        self.names, self.directories, self.pinned = names, directories, pinned
        self.generation += 1
        return True

    def _add_alias(self, found: dict[str, ProtectedName], alias: ProtectedName, above: Protection | None) -> None:
        wanted = self._wanted.get(alias.identity[:2])
        if wanted is None or wanted[0] is above:
            return
        before = found.get(alias.name)
        if before is None or wanted[0] is Protection.DENY:
            found[alias.name] = ProtectedName(alias.name, wanted[0], alias.kind, alias.identity)

    def _directories(self, names: tuple[ProtectedName, ...]) -> tuple[str, ...]:
        around = {each.name for each in names if each.protection is Protection.NAME}
        for each in names:
            above = each.name.rpartition("/")[0]
            while above and above not in around:
                if self._listings[above].above is None:
                    around.add(above)
                above = above.rpartition("/")[0]
        return tuple(sorted(around))


def _alike(before: Listing, after: Listing) -> bool:
    """Whether what is published of a directory is the same. Its other names of protected files are not known yet."""
    old = (before.identity, before.above, before.opened, before.protected)
    return old == (after.identity, after.above, after.opened, after.protected) and not before.aliases
