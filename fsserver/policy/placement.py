"""Where roots may lie: checks of a policy against the disk, once, when it is loaded.

Directories are compared by device and inode, upwards from what must stay outside, so that links, bind mounts and
folding volumes cannot hide that one lies in another. The server opens its roots itself afterwards: what changes
between is not this module's to notice.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsserver.policy.problems import Code, LanguageError, Place, Problem
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.tree import Node

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Located:
    """A root's directory.

    Attributes:
        path: absolute, ``~`` expanded, links not followed.
        ancestry: identities of the directory and all above it, itself first.
        names: the components of its real path, the last one first.
    """

    path: str
    writable: bool
    place: Place
    ancestry: tuple[Identity, ...]
    names: tuple[str, ...]

    @property
    def identity(self) -> Identity:
        return self.ancestry[0]


def locate(roots: Mapping[str, Node], here: Surroundings, problems: list[Problem]) -> dict[str, Located]:
    """Each root's directory, as far as it may be one."""
    located: dict[str, Located] = {}
    for name, root in roots.items():
        node = root.get("path")
        if node is None:
            if not root.incomplete:
                message = f'the root "{name}" has no path'
                problems.append(Problem(Code.MISSING, root.place, message, "write path: and a directory"))
            continue
        try:
            mode = root.get("mode")
            located[name] = _located(node, mode is not None and mode.text == "rw", here)
        except LanguageError as error:
            problems.append(Problem(error.code, node.place, error.message, error.help))
    return located


def _located(node: Node, writable: bool, here: Surroundings) -> Located:
    path = absolute(node.text, here)
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError as error:
        raise LanguageError(Code.PLACE, f"{path}: {(error.strerror or 'cannot be reached').lower()}") from None
    except ValueError:
        raise LanguageError(Code.PLACE, "not a path") from None
    if not stat.S_ISDIR(found.st_mode):
        raise LanguageError(Code.PLACE, f"{path} is not a directory", "a root is a directory")
    ancestry = tuple(ancestors(real))
    if len(ancestry) == 1:
        raise LanguageError(
            Code.PLACE, "the root directory / of the machine cannot be served", "name a directory in it"
        )
    if _identity(here.home) == ancestry[0]:
        message = "the home directory itself cannot be served"
        raise LanguageError(Code.PLACE, message, "name a directory in it, such as ~/Documents")
    return Located(path, writable, node.place, ancestry, tuple(reversed(real.split("/")[1:])))


def absolute(text: str, here: Surroundings) -> str:
    """A path of a policy with ``~`` expanded. Raises `LanguageError`."""
    if text == "~" or text.startswith("~/"):
        path = here.home + text[1:]
    elif text.startswith("~"):
        raise LanguageError(Code.PLACE, "~ stands for your own home directory only", "write the absolute path")
    else:
        path = text
    if not path.startswith("/"):
        help_text = "begin it with ~/ for a directory in your home directory"
        raise LanguageError(Code.PLACE, f'"{text}" is not an absolute path', help_text)
    if ".." in path.split("/"):
        raise LanguageError(Code.PLACE, 'a path in a policy holds no ".."', "write where it leads")
    return "/" + os.path.normpath(path).lstrip("/")


def ancestors(real: str) -> Iterator[Identity]:
    """Identities of ``real`` and all directories above it. Of a path that is not there yet: those that are."""
    while True:
        identity = _identity(real)
        if identity is not None:
            yield identity
        if real == "/":
            return
        real = os.path.dirname(real)


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def check_overlaps(located: Mapping[str, Located], problems: list[Problem]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Report roots that must not overlap. Returns the other overlaps as (outer, inner, components between)."""
    overlaps = []
    for inner_name, inner in located.items():
        for outer_name, outer in located.items():
            if inner_name == outer_name or outer.identity not in inner.ancestry:
                continue
            depth = inner.ancestry.index(outer.identity)
            first = f'the root "{outer_name}" ({outer.place.source.label}:{outer.place.line})'
            if depth == 0:
                if outer.place.order() < inner.place.order():
                    message = f"this is the same directory as {first}"
                    problems.append(Problem(Code.OVERLAP, inner.place, message, "a directory is one root"))
            elif inner.writable:
                kind = "writable" if outer.writable else "read-only"
                message = f"this writable root lies in {first}, which is {kind}"
                problems.append(Problem(Code.OVERLAP, inner.place, message, "only a read-only root may lie in another"))
            else:
                overlaps.append((outer_name, inner_name, tuple(reversed(inner.names[:depth]))))
    return overlaps


def check_exposure(
    located: Iterable[Located], here: Surroundings, files: Sequence[str], audit: str, problems: list[Problem]
) -> None:
    """Report roots that hold what no client may change or read: policy, audit log, state, fsserver itself.

    Args:
        files: the policy files, absolute.
        audit: the directory that the audit log is in, absolute; it need not exist. The server may make and rename
            files anywhere in it, so a file sink takes its directory for itself.
    """
    outside = [("the policy file", name) for file in files for name in _hops(file)]
    apart = [("the audit log", audit), ("fsserver's state directory", here.state), *here.own]
    above = [(what, path, _all_above(path)) for what, path in (*outside, *apart)]
    above_imports = [("a directory that Python imports from", path, _all_above(path)) for path in here.imports]
    inside = [(what, path, _identity(path)) for what, path in apart]
    for root in located:
        for what, path, identities in (*above, *above_imports) if root.writable else above:
            if root.identity in identities:
                message = f"{what} is in this root: {path}"
                help_text = "a client could read or change it; keep it apart"
                problems.append(Problem(Code.EXPOSED, root.place, message, help_text))
                break
        for what, path, identity in inside:
            if identity in root.ancestry[1:]:
                message = f"this root lies in {what}: {path}"
                problems.append(Problem(Code.EXPOSED, root.place, message, "serve another directory"))
                break


def _all_above(path: str) -> frozenset[Identity]:
    """``path`` itself and every directory above it, as it is written and where it really is."""
    return frozenset(ancestors(path)) | frozenset(ancestors(os.path.realpath(path)))


def _hops(path: str) -> Iterator[str]:
    """``path``, and each name that it leads to if it is a link: whoever changes one of them changes what is read."""
    for _ in range(40):
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return
