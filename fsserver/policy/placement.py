"""Where roots may lie: checks of a policy against the disk, once, when it is loaded.

Directories are compared by device and inode, upwards from what must stay outside, so that links, bind mounts and
folding volumes cannot hide that one lies in another. The server opens its roots itself afterwards: what changes
between is not this module's to notice.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from fsserver.policy.problems import COMMAND_LINE, Code, LanguageError, Place, Problem, nearest
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.text import shortened
from fsserver.policy.tree import Node
from fsserver.policy.variables import NAMES, VARIABLE

Identity = tuple[int, int]

MAX_LINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""

MAX_SIBLINGS = 1000
"""How many names beside a missing directory are looked at for one that is spelt like it."""


@dataclass(frozen=True, slots=True)
class Located:
    """A root's directory.

    Attributes:
        path: absolute, ``~`` expanded, links not followed.
        ancestry: identities of the directory and all above it, itself first.
        names: the components of its real path, the last one first.
        each: the name of what in the directory is the root of one principal, with variables; None: it is the root.
    """

    path: str
    writable: bool
    place: Place
    ancestry: tuple[Identity, ...]
    names: tuple[str, ...]
    each: str | None = None

    @property
    def identity(self) -> Identity:
        return self.ancestry[0]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A file that the server reads and no client may choose.

    Attributes:
        what: it is, in a sentence.
        path: absolute.
        place: where the policy names it.
        secret: no command may read it either.
        again: the server reads it again later, and for that may read all of the directory that holds it.
    """

    what: str
    path: str
    place: Place
    secret: bool = True
    again: bool = False


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
    written, each = _without_variables(node.text)
    path = absolute(written, here)
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError as error:
        message = f"{path}: {(error.strerror or 'cannot be reached').lower()}"
        raise LanguageError(Code.PLACE, message, _help(error, written, path, node.place)) from None
    except ValueError:
        raise LanguageError(Code.PLACE, "not a path") from None
    if not stat.S_ISDIR(found.st_mode):
        raise LanguageError(Code.PLACE, f"{path} is not a directory", "a root is a directory")
    ancestry = tuple(ancestors(real))
    if len(ancestry) == 1:
        raise LanguageError(
            Code.PLACE, "the root directory / of the machine cannot be served", "name a directory in it"
        )
    if identity_of(here.home) == ancestry[0]:
        message = "the home directory itself cannot be served"
        raise LanguageError(Code.PLACE, message, "name a directory in it, such as ~/Documents")
    _require_access(path, real)
    return Located(path, writable, node.place, ancestry, tuple(reversed(real.split("/")[1:])), each)


def _without_variables(text: str) -> tuple[str, str | None]:
    """A root's path as it is written; if that holds variables, the directory above and the component with them.

    Raises `LanguageError` where they could not keep principals apart, or are none.
    """
    if "${" not in text:
        return text, None
    for found in re.finditer(r"\$\{[^}]*\}?", text):
        if not VARIABLE.fullmatch(found[0]):
            message = f'"{shortened(found[0])}" is not a variable of a path'
            known = ", ".join(f"${{{name}}}" for name in NAMES)
            raise LanguageError(Code.PLACE, message, f"there are {known}")
    above, slash, last = text.rstrip("/").rpartition("/")
    if not slash:
        return text, None  # it is refused, since it is not absolute
    if "${" in above:
        message = "only the last component of a path holds variables"
        raise LanguageError(Code.PLACE, message, "as in /srv/work/${principal.name}: what is above is there already")
    if re.search(r"\}[A-Za-z0-9_-]*\$\{", last):
        message = "two variables with nothing between them that is in no value: two principals could have one directory"
        raise LanguageError(Code.PLACE, message, "put a full stop between them")
    return above or "/", last


def _require_access(path: str, real: str) -> None:
    """Raise `LanguageError` unless this user may list and enter the directory: otherwise every call would fail.

    The kernel is asked by doing it, so that access lists, capabilities and what a file server thinks count too. A
    writable root need not be writable at its top: a tree that is so in part is a fine root.
    """
    try:
        os.close(os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        os.stat(real + "/.")  # a name is looked up in it, the one that every directory has
    except OSError as error:
        message = f"{path} cannot be listed and entered: {(error.strerror or 'it cannot be opened').lower()}"
        raise LanguageError(Code.PLACE, message, _NO_ACCESS if isinstance(error, PermissionError) else None) from None


_NO_ACCESS = "the user who runs the server needs the right to read and to enter it: chmod u+rx, or name another"


def _help(error: OSError, written: str, path: str, place: Place) -> str | None:
    """What to do about a root's path that does not lead anywhere."""
    if isinstance(error, PermissionError):
        return "the user who runs the server may not enter a directory above it"
    if not isinstance(error, FileNotFoundError):
        return None
    if os.path.islink(path):
        return "it is a link, and what it leads to is not there"
    import shlex  # noqa: PLC0415 - only after a mistake

    make_it = f"make it (mkdir -p {shlex.quote(path)}), or name another directory"
    near = _similar(path)
    given = place.source.lines[place.line - 1][place.column - 1 :]
    if near is None and place.source.shown == COMMAND_LINE and not given.startswith(("/", "~/")):
        return (
            "a path that is not absolute begins where fsserver was started: write the whole path, or begin it with ~/"
        )
    if near is None:
        return make_it
    return f'did you mean "{os.path.dirname(written.rstrip("/"))}/{near}"? Otherwise {make_it}'


def _similar(path: str) -> str | None:
    """The name of a directory beside the missing ``path`` that is spelt like it. Never from ``ssh`` to ``.ssh``."""
    parent, name = os.path.split(path)
    try:
        with os.scandir(parent) as entries:
            beside = [entry.name for entry in islice(entries, MAX_SIBLINGS) if entry.is_dir()]
    except OSError:
        return None
    hidden = name.startswith(".")
    return nearest(name, (other for other in beside if other.isprintable() and other.startswith(".") == hidden))


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
        identity = identity_of(real)
        if identity is not None:
            yield identity
        if real == "/":
            return
        real = os.path.dirname(real)


def identity_of(path: str) -> Identity | None:
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
            if inner.each is not None or outer.each is not None:
                if depth or outer.place.order() < inner.place.order():
                    message = f"{first} and this one share a directory, and one has variables in its path"
                    problems.append(Problem(Code.OVERLAP, inner.place, message, "give each a directory of its own"))
            elif depth == 0:
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
    located: Mapping[str, Located],
    here: Surroundings,
    files: Sequence[str],
    logs: Sequence[str],
    problems: list[Problem],
    *,
    guarded: Sequence[Guarded],
    sink: Place | None,
    policy: Place,
) -> None:
    """Report roots that hold what no client may change or read: policy, audit log, state, fsserver itself; and policy
    files that lie where the server itself may write.

    Args:
        files: the policy files, absolute.
        logs: the directories that the audit log is in, absolute; they need not exist. The server may make and rename
            files anywhere in them, so a file sink takes its directory for itself.
        guarded: further files that no client may choose, nor read.
        sink: where the policy names the log's file, if it names one: to be changed when a root lies beside it.
        policy: where to tell what is no root's fault.
    """
    apart = [*(("the audit log", log) for log in logs), ("fsserver's state directory", here.state), *here.own]
    named = ((file.what, file.path) for file in guarded)
    outside = [*(("the policy file", file) for file in files), *named, *apart]
    above = [(what, path, all_above(path)) for what, path in outside]
    above_imports = [("a directory that Python imports from", path, all_above(path)) for path in here.imports]
    inside = [(what, path, identity_of(path)) for what, path in apart]
    for path in files:
        for what, directory in _written(here, logs):
            if identity_of(directory) in all_above(path):
                message = f"the policy file lies in {what}, where the server may write: {path}"
                problems.append(Problem(Code.EXPOSED, sink or policy, message, "keep the policy and the log apart"))
                break
    for name, root in located.items():
        for what, path, identities in (*above, *above_imports) if root.writable else above:
            if root.identity in identities:
                message = f"{what} is in this root: {path}"
                help_text = "a client could read or change it; keep it apart"
                problems.append(Problem(Code.EXPOSED, root.place, message, help_text))
                break
        for what, path, identity in inside:
            if identity in root.ancestry[1:]:
                if path in logs and sink is not None:
                    message = f'the directory of the audit log holds the root "{name}": {path}'
                    help_text = "the server may write anywhere beside the log: give it a directory of its own"
                    problems.append(Problem(Code.EXPOSED, sink, message, help_text))
                    break
                message = f"this root lies in {what}: {path}"
                problems.append(Problem(Code.EXPOSED, root.place, message, "serve another directory"))
                break


def check_guarded(
    files: Sequence[Guarded], here: Surroundings, logs: Sequence[str], problems: list[Problem], *, seen: Sequence[str]
) -> None:
    """Report files that lie where the server could still write them, or secrets where commands could read them, or
    beside so much that the server's confinement would be none.

    Args:
        logs: as in `check_exposure`.
        seen: directories that every command sees; empty if there are no commands.
    """
    reachable = [(f"{what}, which the server may read and write", path, False) for what, path in _written(here, logs)]
    reachable += [(f"{path}, which every command may read", path, True) for path in seen]
    for file in files:
        above = all_above(file.path)
        for where, directory, reads in reachable:
            if (file.secret or not reads) and identity_of(directory) in above:
                message = f"{file.what} lies in {where}: {file.path}"
                help_text = f"keep it apart: ~/.config/fsserver/{os.path.basename(file.path)}"
                problems.append(Problem(Code.EXPOSED, file.place, message, help_text))
                break
        wide = _too_wide(file, here) if file.again else None
        if wide is not None:
            message = f"{file.what} is read again on SIGHUP, so the server could read everything in {wide}"
            help_text = "give it a directory of its own, such as /etc/fsserver"
            problems.append(Problem(Code.EXPOSED, file.place, message, help_text))


def _too_wide(file: Guarded, here: Surroundings) -> str | None:
    """The directory that holds the file, as it is written or where it leads, if that is none of its own."""
    wide = {*ancestors(here.home), identity_of("/"), identity_of("/etc")} - {None}
    holding = (os.path.dirname(path) for path in (file.path, os.path.realpath(file.path)))
    return next((directory for directory in holding if identity_of(directory) in wide), None)


def _written(here: Surroundings, logs: Sequence[str]) -> list[tuple[str, str]]:
    """The directories that the server may write once it has confined itself, besides roots, and what they are."""
    return [*(("the directory of the audit log", log) for log in logs), ("fsserver's state directory", here.state)]


def all_above(path: str) -> frozenset[Identity]:
    """``path`` itself and every directory above it: where it is written, where it really is, and where each link on the
    way lies. Whoever can write in one of them chooses what ``path`` leads to.
    """
    return frozenset(identity for hop in _hops(path) for identity in ancestors(hop))


def _hops(path: str) -> Iterator[str]:
    """``path`` as it is written, every link that is followed on the way, and last where it leads. A name that is not
    there yet is taken for one that is no link.
    """
    yield path
    links = 0
    here = "/"
    ahead = path.split("/")[::-1]
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        name = os.path.join(here, part)
        try:
            target = os.readlink(name)
        except OSError:  # no link, or nothing
            here = name
            continue
        yield name
        links += 1
        if links > MAX_LINKS:
            return
        ahead.extend(target.split("/")[::-1])
        if target.startswith("/"):
            here = "/"
    yield here
