"""From a client's path to a decided target: which root is meant. What lies there is `resolution`'s part."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fsserver.errors import FsserverError, NotADirectory, NotFound, OutsideRoots
from fsserver.paths.client import ClientPath, Request, parse
from fsserver.paths.names import collapse, display, remainder
from fsserver.paths.resolution import MUST_BE_ABSENT, Resolution
from fsserver.paths.resolver import OpenAt2Resolver, Resolver
from fsserver.paths.root import Root
from fsserver.paths.ruling import INSIDE, Ruling, directories
from fsserver.paths.target import Access, Target

__all__ = ["Access", "ClientPath", "Workspace"]


class Workspace:
    """The roots of one principal. Keeps no state between calls; safe to use from several threads.

    Args:
        roots: in the policy's order, which is the order in which relative paths are tried.
        resolver: None is openat2(2), with the component walk for what it leaves undecided.
        home: what a leading ``~`` means; None asks the environment.
    """

    def __init__(self, roots: Sequence[Root], resolver: Resolver | None = None, *, home: str | None = None) -> None:
        self.roots = tuple(roots)
        self._resolver = OpenAt2Resolver() if resolver is None else resolver
        self._home = os.path.expanduser("~") if home is None else home
        self._rulings = tuple(Ruling(root, self.roots) for root in self.roots)

    def target(self, path: ClientPath, access: Access) -> Target:
        """Resolve ``path`` and decide ``access`` to it; the caller closes the target.

        A relative path means the first root where it exists; a new name the first root that has its directory.

        Raises:
            BadPath, Denied and its kinds, NotFound, AlreadyExists, NotADirectory, IsADirectory, PermissionDenied,
            LinkLoop, InputOutputError.
        """
        request = parse(path, self._home)
        candidates = self._candidates(request)
        if len(candidates) == 1:
            ruling, parts = candidates[0]
            return Resolution(ruling, self._resolver, request, access, parts).run()
        absent: Target | None = None
        first_error: FsserverError | None = None
        for ruling, parts in candidates:
            try:
                found = Resolution(ruling, self._resolver, request, access, parts).run()
            except (NotFound, NotADirectory) as error:
                first_error = first_error or error
                continue
            except BaseException:
                if absent is not None:
                    absent.close()
                raise
            if found.exists or access in MUST_BE_ABSENT:
                if absent is not None:
                    absent.close()
                return found
            if absent is None:
                absent = found
            else:
                found.close()
        if absent is not None:
            return absent
        assert first_error is not None
        raise first_error

    def _candidates(self, request: Request) -> list[tuple[Ruling, tuple[str, ...]]]:
        """The roots that ``request`` may mean, each with the components beneath it."""
        if not self.roots:
            raise OutsideRoots("Access denied - path outside allowed directories: there are none.")
        parts = request.parts
        if not request.absolute:
            if collapse(parts) is not None:
                return [(ruling, parts) for ruling in self._rulings]
            parts = (*self.roots[0].prefixes[0], *parts)
        match = self._longest_prefix(parts)
        if match is not None and collapse(match[1]) is not None:
            return [match]
        # A `..` in or before the root's own name: read as text, as path.resolve does; opened beneath it all the same.
        lexical = _resolve(parts)
        match = self._longest_prefix(lexical)
        if match is not None:
            return [match]
        shown = display(request.given if request.expanded else "/" + "/".join(lexical))
        raise OutsideRoots(
            f"Access denied - path outside allowed directories: {shown} not in {directories(self.roots)}",
            rule=str(self.roots[0].rules.origin),
            allowed_instead=INSIDE,
        )

    def _longest_prefix(self, parts: Sequence[str]) -> tuple[Ruling, tuple[str, ...]] | None:
        best: tuple[Ruling, tuple[str, ...]] | None = None
        for ruling in self._rulings:
            for prefix in ruling.root.prefixes:
                rest = remainder(parts, prefix)
                if rest is not None and (best is None or len(rest) < len(best[1])):
                    best = (ruling, rest)
        return best


def _resolve(parts: Sequence[str]) -> tuple[str, ...]:
    """An absolute path with its ``..`` taken out by text; the parent of ``/`` is ``/``."""
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return tuple(kept)
