"""From a client's path to a decided target: which root is meant. What lies there is `resolution`'s part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from fsserver.errors import Denied, FsserverError, NotADirectory, NotFound, OutsideRoots
from fsserver.paths.client import ClientPath, Request, parse
from fsserver.paths.names import collapse, display, remainder
from fsserver.paths.resolution import MUST_BE_ABSENT, Base, Resolution, Seen, require_unmoved
from fsserver.paths.resolver import OpenAt2Resolver, Resolver
from fsserver.paths.root import Root
from fsserver.paths.ruling import INSIDE, Ruling, directories
from fsserver.paths.target import Access, Target
from fsserver.policy.compiled import Mode

__all__ = ["Access", "ClientPath", "Place", "Seen", "Workspace", "require_unmoved"]


class Place(NamedTuple):
    """A directory that is allowed with all that is beneath it.

    Attributes:
        name: the root's in the policy, with the names beneath it.
        path: absolute, the kernel's own spelling. Like ``name`` it may hold surrogates.
    """

    name: str
    path: str
    mode: Mode


class Workspace:
    """The roots of one principal. Keeps no state between calls; safe to use from several threads.

    Args:
        roots: in the policy's order, which is the order in which relative paths are tried.
        resolver: None is openat2(2), with the component walk for what it leaves undecided.
        home: what a leading ``~`` means; None asks the environment.
        bases: where relative paths are tried, as components beneath roots; None is the roots themselves.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        resolver: Resolver | None = None,
        *,
        home: str | None = None,
        bases: Sequence[tuple[Root, tuple[str, ...]]] | None = None,
    ) -> None:
        self.roots = tuple(roots)
        self._resolver = OpenAt2Resolver() if resolver is None else resolver
        self._home = os.path.expanduser("~") if home is None else home
        self._rulings = tuple(Ruling(root, self.roots) for root in self.roots)
        ruling_of = {id(ruling.root): ruling for ruling in self._rulings}
        beneath = [(root, ()) for root in self.roots] if bases is None else bases
        self._bases: tuple[Base, ...] = tuple((ruling_of[id(root)], parts) for root, parts in beneath)

    @property
    def directories(self) -> tuple[str, ...]:
        """The absolute paths that are allowed, as the operator wrote each root, then where it really is if that
        differs: the reference's order. May hold surrogates.
        """
        return tuple(spelling for root in self.roots for spelling in reversed(root.spellings))

    @property
    def places(self) -> tuple[Place, ...]:
        """The directories that are allowed, each once, in the policy's order."""
        return tuple(Place(root.rules.name, root.shown, root.rules.mode) for root in self.roots)

    def holds_whole(self, name: str) -> bool:
        """Whether all of the root called ``name`` may be reached, as far as the policy's rules allow."""
        return any(root.rules.name == name for root in self.roots)

    def relative_to(self, directories: Sequence[tuple[Root, tuple[str, ...]]]) -> Workspace:
        """These roots, with relative paths tried in ``directories`` beneath them instead of in the roots themselves."""
        return Workspace(self.roots, self._resolver, home=self._home, bases=directories)

    def target(self, path: ClientPath, access: Access, seen: Seen | None = None) -> Target:
        """Resolve ``path`` and decide ``access`` to it; the caller closes the target.

        A relative path means the first root where it exists; a new name the first root that has its directory and lets
        it be made.

        Args:
            seen: of a call of many paths: an empty dict for the first, the same for the others; see `require_unmoved`.

        Raises:
            BadPath, Denied and its kinds, NotFound, AlreadyExists, NotADirectory, IsADirectory, PermissionDenied,
            LinkLoop, InputOutputError.
        """
        request = parse(path, self._home)
        candidates = self._candidates(request)
        if len(candidates) == 1:
            return Resolution(candidates[0], self._resolver, request, access, seen).run()
        failures: list[FsserverError] = []
        absent: Target | None = None
        try:
            for base in candidates:
                found = self._try(base, request, access)
                if isinstance(found, FsserverError):
                    failures.append(found)
                elif found.exists or access in MUST_BE_ABSENT:
                    return found
                elif absent is None:
                    absent = found
                else:
                    found.close()
            if absent is not None:
                chosen, absent = absent, None
                return chosen
        finally:
            if absent is not None:
                absent.close()
        # That it is missing says more than that a root would not have let it be made.
        raise next((failure for failure in failures if not isinstance(failure, Denied)), failures[0])

    def _try(self, base: Base, request: Request, access: Access) -> Target | FsserverError:
        """The target in one of several roots that ``request`` may mean, or why it is none there although another of
        the roots may be meant: what is missing, or refused and not there. What may not even be looked at counts as
        there: nobody is told whether it is.

        Raises:
            As `target`: this root is meant, and the access fails.
        """
        try:
            return Resolution(base, self._resolver, request, access).run()
        except (NotFound, NotADirectory) as missing:
            return missing
        except Denied as refusal:
            try:
                Resolution(base, self._resolver, request, Access.STAT).run().close()
            except (NotFound, NotADirectory):
                return refusal
            except FsserverError:
                pass
            raise

    def _candidates(self, request: Request) -> list[Base]:
        """The roots that ``request`` may mean, each with the components beneath it."""
        if not self.roots:
            raise OutsideRoots("Access denied - path outside allowed directories: there are none.")
        parts = request.parts
        if not request.absolute:
            if collapse(parts) is not None:
                return [(ruling, (*base, *parts)) for ruling, base in self._bases]
            ruling, base = self._bases[0]
            parts = (*ruling.root.prefixes[0], *base, *parts)
        match = self._longest_prefix(parts)
        if match is not None and collapse(match[1]) is not None:
            return [match]
        # A `..` in or before the root's own name: read as text, as path.resolve does; opened beneath it all the same.
        lexical = without_dots(parts)
        match = self._longest_prefix(lexical)
        if match is not None:
            return [match]
        shown = display(request.given if request.expanded else "/" + "/".join(lexical))
        raise OutsideRoots(
            f"Access denied - path outside allowed directories: {shown} not in {directories(self.roots)}",
            rule=str(self.roots[0].rules.origin),
            allowed_instead=INSIDE,
        )

    def _longest_prefix(self, parts: Sequence[str]) -> Base | None:
        best: Base | None = None
        for ruling in self._rulings:
            for prefix in ruling.root.prefixes:
                rest = remainder(parts, prefix)
                if rest is not None and (best is None or len(rest) < len(best[1])):
                    best = (ruling, rest)
        return best


def without_dots(parts: Sequence[str]) -> tuple[str, ...]:
    """An absolute path with its ``..`` taken out by text; the parent of ``/`` is ``/``."""
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return tuple(kept)
