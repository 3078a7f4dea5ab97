"""What a client's own roots leave of a workspace. They can take away and never add.

A narrowed workspace decides every access as the whole one does, with all of the policy's rules, and then refuses an
object whose real name is not beneath one of the client's directories. So a link from there to elsewhere in the same
root is refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fsserver.errors import BadPath, Denied, FsserverError, OutsideRoots
from fsserver.paths.client import ClientPath, parse
from fsserver.paths.names import collapse, components, display, join, remainder, ways_up
from fsserver.paths.root import Root
from fsserver.paths.ruling import shown_path
from fsserver.paths.target import Access, Target
from fsserver.paths.uri import path_of
from fsserver.paths.workspace import Place, Seen, Workspace, without_dots

_CHANGES_THE_PARENT = frozenset({Access.MOVE_FROM, Access.MOVE_TO, Access.DELETE})

MAX_CLIENT_ROOTS = 256
"""More of a client's roots are ignored: every call compares with each."""


class Kept(NamedTuple):
    """A directory that is left, as components beneath its root; none are the root itself.

    Attributes:
        parts: where it really is.
        asked: as the client wrote it, which can lead there through links.
    """

    root: Root
    parts: tuple[str, ...]
    asked: tuple[str, ...]


class NarrowedWorkspace(Workspace):
    """The part of ``granted`` that lies beneath ``directories``.

    Args:
        directories: what is left, in the order in which relative paths are tried.
    """

    def __init__(self, granted: Workspace, directories: Sequence[Kept]) -> None:
        super().__init__([root for root in granted.roots if any(root is kept.root for kept in directories)])
        self._granted = granted.relative_to([(kept.root, kept.parts) for kept in directories])
        self._kept = tuple(directories)

    @property
    def directories(self) -> tuple[str, ...]:
        """The absolute paths that are left; may hold surrogates."""
        return tuple(shown_path(kept.root, "/".join(kept.parts)) for kept in self._kept)

    @property
    def places(self) -> tuple[Place, ...]:
        """Each once, also where the client named it twice."""
        places = (
            Place(join(kept.root.rules.name, beneath), shown_path(kept.root, beneath), kept.root.rules.mode)
            for kept in self._kept
            for beneath in ("/".join(kept.parts),)
        )
        return tuple(dict.fromkeys(places))

    def holds_whole(self, name: str) -> bool:
        return any(kept.root.rules.name == name and not kept.parts for kept in self._kept)

    def target(self, path: ClientPath, access: Access, seen: Seen | None = None) -> Target:
        """As `Workspace.target`, and refused where the client's roots do not reach; nor does a path go up again from
        there, which would tell what is there.
        """
        for way in self._ways_up(path):
            try:
                self._reached(way, Access.LIST).close()
            except OutsideRoots:
                raise self._outside(path) from None
            except Denied:
                raise
            except FsserverError:
                continue  # said of the whole path
        return self._reached(path, access, seen)

    def _reached(self, path: ClientPath, access: Access, seen: Seen | None = None) -> Target:
        try:
            target = self._granted.target(path, access, seen)
        except FsserverError as error:
            if not isinstance(error, OutsideRoots) and self._asks_inside(path):
                raise
            raise self._outside(path) from None  # what is there, or is not, is nobody's business
        if any(target.root is kept.root and _reaches(kept.parts, target) for kept in self._kept):
            return target
        target.close()
        raise self._outside(path)

    def _ways_up(self, path: ClientPath) -> list[ClientPath]:
        if ".." not in path:
            return []
        request = parse(path, self._home)
        top = "/" if request.absolute else ""
        return [ClientPath(top + display("/".join(way))) for way in ways_up(request.parts)]

    def _asks_inside(self, path: ClientPath) -> bool:
        """Whether ``path`` begins in one of the directories, as written and wherever its links lead."""
        try:
            request = parse(path, self._home)
        except FsserverError:
            return True  # what is no path is nowhere
        if not request.absolute:
            return collapse(request.parts) is not None
        parts = without_dots(request.parts)
        return any(
            remainder(parts, (*prefix, *below)) is not None
            for kept in self._kept
            for prefix in kept.root.prefixes
            for below in (kept.parts, kept.asked)
        )

    def _outside(self, path: ClientPath) -> OutsideRoots:
        directories = ", ".join(map(display, self.directories))
        return OutsideRoots(
            f"Access denied - path outside allowed directories: {path} not in {directories}",
            allowed_instead="a path in a directory that the client offers as a root",
        )


class ClosedWorkspace(Workspace):
    """Knows the roots of ``granted``, so that its tools are known, and refuses every path, saying ``reason``."""

    def __init__(self, granted: Workspace, reason: str) -> None:
        super().__init__(granted.roots)
        self._reason = reason

    @property
    def directories(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def places(self) -> tuple[Place, ...]:
        """None."""
        return ()

    def holds_whole(self, name: str) -> bool:  # noqa: ARG002
        return False

    def target(self, path: ClientPath, access: Access, seen: Seen | None = None) -> Target:  # noqa: ARG002
        raise Denied(
            f"Access denied - the policy allows only what the client offers as a root, and {self._reason}",
            allowed_instead="add a directory to the client's roots, or set client_roots: ignore in the policy",
        )


def narrowed(granted: Workspace, uris: Sequence[str]) -> Workspace:
    """``granted`` cut down to the ``file://`` URIs that a client sent; closed if none of them is inside.

    A URI above a root leaves that root whole; one beneath it leaves that directory, if the policy lets it be listed.
    Anything else is left out.
    """
    directories: list[Kept] = []
    for uri in uris[:MAX_CLIENT_ROOTS]:
        try:
            path = path_of(uri)
        except BadPath:
            continue
        above = [Kept(root, (), ()) for root in granted.roots if _contains(path, root)]
        directories += above or _beneath(granted, path)
    if not directories:
        return ClosedWorkspace(granted, "none of the client's roots is inside")
    return NarrowedWorkspace(granted, directories)


def closed(granted: Workspace, reason: str) -> Workspace:
    """A workspace that refuses every path of ``granted``; ``reason`` ends a sentence."""
    return ClosedWorkspace(granted, reason)


def _reaches(prefix: tuple[str, ...], target: Target) -> bool:
    """Whether ``target`` lies in the directory ``prefix``. The directory itself is no more to be moved than a root."""
    beneath = remainder(components(target.name), prefix)
    return beneath is not None and (beneath != () or target.access not in _CHANGES_THE_PARENT)


def _contains(path: str, root: Root) -> bool:
    return any(remainder(prefix, components(path)) is not None for prefix in root.prefixes)


def _beneath(granted: Workspace, path: str) -> list[Kept]:
    try:
        with granted.target(ClientPath(display(path)), Access.LIST) as target:
            return [Kept(target.root, components(target.name), components(target.asked))]
    except FsserverError:
        return []
