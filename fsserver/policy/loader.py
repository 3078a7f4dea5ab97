"""From files, or from directories on the command line, to a policy; or to all that is wrong with it at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fsserver.errors import ConfigError
from fsserver.policy.compile import compile_policy
from fsserver.policy.compiled import Policy
from fsserver.policy.merge import merge
from fsserver.policy.model import COMMAND_LINE_POLICY, POLICY
from fsserver.policy.ownership import others_can_write
from fsserver.policy.presets import NAMES, PREFIX, read_preset
from fsserver.policy.problems import (
    COMMAND_LINE,
    Code,
    LanguageError,
    Place,
    PolicyErrors,
    Problem,
    Source,
    did_you_mean,
)
from fsserver.policy.report import render
from fsserver.policy.schema import Section, Where, check, given_name
from fsserver.policy.source import parse
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.text import MAX_BYTES, shortened
from fsserver.policy.tree import Entry, Node

MAX_CHAIN = 16
_BESIDE = "a policy is extended by a path relative to the file that extends it"


def load_policy(path: Path, here: Surroundings | None = None) -> Policy:
    """The policy in a YAML file, with everything that it extends.

    Raises:
        PolicyErrors: with every mistake that was found.
        ConfigError: this process has no home directory, or none that it works in and ``path`` is relative.
    """
    return load_resolved(path, here)[0]


def load_resolved(path: Path, here: Surroundings | None = None) -> tuple[Policy, Node]:
    """`load_policy`, and the tree that it was made from: every file merged, each value with its place.

    Raises:
        As `load_policy`.
    """
    source = _from_here(str(path))
    reading = _Reading(here or Surroundings.of_process())
    tree = reading.file(str(path), None)
    policy = reading.finish(tree, path.stem, source)
    assert tree is not None
    return policy, tree


def policy_from_roots(dirs: Sequence[str], write: bool, here: Surroundings | None = None) -> Policy:
    """The policy of ``--root DIR …``: each directory a root, read-only unless ``write``, with ``preset:secrets``.

    Raises:
        PolicyErrors: with every mistake that was found.
        ConfigError: this process has no home directory, or none that it works in and a directory is relative.
    """
    reading = _Reading(here or Surroundings.of_process())
    tree = reading.extended(_tree_of_roots(dirs, write), "", COMMAND_LINE_POLICY)
    return reading.finish(tree, "command-line", None)


class _Reading:
    """One policy on its way from its files."""

    def __init__(self, here: Surroundings) -> None:
        self._here = here
        self._problems: list[Problem] = []
        self._files: list[str] = []
        self._done: dict[str | tuple[int, int], Node] = {}
        self._open: list[str | tuple[int, int]] = []

    def finish(self, tree: Node | None, name: str, source: str | None) -> Policy:
        policy = None
        if tree is not None:
            policy = compile_policy(
                tree, name=name, source=source, files=self._files, here=self._here, problems=self._problems
            )
        if self._problems or policy is None:
            order = {file: index for index, file in enumerate(dict.fromkeys(p.file for p in self._problems))}
            problems = sorted(self._problems, key=lambda problem: (order[problem.file], problem.line, problem.column))
            raise PolicyErrors(problems, render(problems))
        return policy

    def file(self, shown: str, extended_at: Place | None) -> Node | None:
        """The merged tree of one file. ``extended_at``: where another file names it."""
        try:
            data, identity = _read(shown, self._here.uid)
        except LanguageError as error:
            place = extended_at or Place(Source(shown, os.path.basename(shown), ("",)), 1, 1, 0)
            help_text = error.help if extended_at is None or error.code is not Code.UNREADABLE else _BESIDE
            self._problems.append(Problem(error.code, place, error.message, help_text))
            return None
        self._files.append(os.path.abspath(shown))
        return self._tree(identity, data, shown, os.path.basename(shown), extended_at)

    def _tree(
        self, identity: str | tuple[int, int], data: bytes, shown: str, label: str, extended_at: Place | None
    ) -> Node | None:
        if extended_at is not None and (identity in self._open or len(self._open) >= MAX_CHAIN):
            message = f"{label} extends itself" if identity in self._open else f"more than {MAX_CHAIN} files in a chain"
            self._problems.append(Problem(Code.EXTENDS, extended_at, message))
            return None
        if identity in self._done:
            return self._done[identity]
        parsed = parse(data, shown, label)
        self._problems.extend(parsed.problems)
        root = parsed.root
        if root is None:
            if not parsed.problems:
                message = "the policy is empty"
                place = Place(parsed.source, 1, 1, 1)
                self._problems.append(Problem(Code.MISSING, place, message, 'a policy begins with "version: 1"'))
            return None
        self._open.append(identity)
        tree = self.extended(root, os.path.dirname(shown))
        self._open.pop()
        if tree is not None:
            self._done[identity] = tree
        return tree

    def extended(self, root: Node, directory: str, spec: Section = POLICY) -> Node | None:
        """A file's tree, checked and together with what it extends."""
        usable = check(spec, root, Where(), self._problems)
        _complete_roots(root, self._problems)
        bases = []
        for item in root.items_at("extends"):
            base = self._base(item, directory)
            root.incomplete = root.incomplete or base is None or base.incomplete
            if base is not None:
                bases.append(base)
        if not usable:
            return None
        tree = merge(bases, root, self._problems)
        _complete_commands(tree)
        return tree

    def _base(self, item: Node, directory: str) -> Node | None:
        name = item.text
        if not name.startswith(PREFIX):
            if os.path.isabs(name) or name.startswith("~"):
                self._problems.append(Problem(Code.EXTENDS, item.place, _BESIDE))
                return None
            return self.file(os.path.join(directory, name), item.place)
        preset = name.removeprefix(PREFIX)
        if preset not in NAMES:
            help_text = did_you_mean(name, [PREFIX + known for known in NAMES])
            message = f'there is no preset "{preset}"; there are {", ".join(NAMES)}'
            self._problems.append(Problem(Code.EXTENDS, item.place, message, help_text))
            return None
        return self._tree(name, read_preset(preset), name, name, item.place)


def _complete_roots(tree: Node, problems: list[Problem]) -> None:
    """What one file says about a root by not saying it, and what it must not say.

    A root with a path and no mode is read-only: write that out, so that no other file can read it otherwise.
    """
    for entry in tree.entries_at("roots").values():
        root = entry.node
        if "path" in root.entries and "mode" not in root.entries and not root.incomplete:
            root.entries["mode"] = Entry(entry.key, Node(entry.key, "ro"))
        mode = root.get("mode")
        if mode is None or mode.text == "rw":
            continue
        for operation in root.entries_at("operations").values():
            if operation.node.text != "deny":
                help_text = "write mode: rw, or leave the operation out"
                problems.append(Problem(Code.WIDENS, operation.node.place, "this root is read-only", help_text))


# What a command says by not saying it.
_NOT_GRANTED = (("network", "none"), ("unix_sockets", False), ("background", False), ("home", "private"))


def _complete_commands(tree: Node) -> None:
    """Write out what a command does not grant, so that a file which extends this one cannot grant it.

    A section without ``exec`` narrows a command of another file, and says nothing by what it leaves out.
    """
    for entry in tree.entries_at("commands").values():
        command = entry.node
        if "exec" not in command.entries or command.incomplete:
            continue
        for key, value in _NOT_GRANTED:
            command.entries.setdefault(key, Entry(entry.key, Node(entry.key, value)))
        for subcommand in command.entries_at("subcommands").values():
            subcommand.node.entries.setdefault("positionals", Entry(subcommand.key, Node(subcommand.key, [])))
        if "args" not in command.entries and "subcommands" not in command.entries:
            command.entries["args"] = Entry(entry.key, Node(entry.key, {}))


def _read(path: str, uid: int) -> tuple[bytes, tuple[int, int]]:
    """The file's bytes and identity, if nobody but ``uid`` and root can have written it. Raises `LanguageError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        help_text = None if path.startswith("/") else "a path that is not absolute begins where fsserver was started"
        raise LanguageError(Code.UNREADABLE, f"{path}: {reason.lower()}", help_text) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise LanguageError(Code.UNREADABLE, f"{path} is not a regular file")
        if found.st_uid not in (0, uid):
            message = f"{path} belongs to user {found.st_uid}, who could change it"
            raise LanguageError(Code.OWNER, message, f"chown {uid} {path}")
        if others_can_write(descriptor, found, uid):
            raise LanguageError(Code.OWNER, f"{path} can be changed by other users", f"chmod go-w {path}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1), (found.st_dev, found.st_ino)
    except OSError as error:
        raise LanguageError(Code.UNREADABLE, f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    finally:
        os.close(descriptor)


def _tree_of_roots(dirs: Sequence[str], write: bool) -> Node:
    """What ``--root DIR …`` says, as the tree of a policy file."""
    source = Source(COMMAND_LINE, COMMAND_LINE, tuple(f"--root {directory}" for directory in dirs) or ("--root",))
    start = Place(source, 1, 1, 1)

    def entry(value: str | int | list[Node] | dict[str, Entry], place: Place = start) -> Entry:
        return Entry(place, Node(place, value))

    roots: dict[str, Entry] = {}
    for line, directory in enumerate(dirs, start=1):
        place = Place(source, line, len("--root ") + 1, max(1, len(directory)))
        mode = entry("rw" if write else "ro", place)
        roots[_free_name(directory, roots)] = entry({"path": entry(_absolute(directory), place), "mode": mode}, place)
    extends = [Node(start, f"{PREFIX}secrets")]
    return Node(start, {"version": entry(1), "extends": entry(extends), "roots": entry(roots)})


def _absolute(directory: str) -> str:
    if directory == "~" or directory.startswith("~/") or "\0" in directory:
        return directory  # a client's configuration knows no shell; `placement` expands it
    if not directory:
        return directory
    path = _from_here(directory)
    return os.path.realpath(directory) if ".." in directory.split("/") else path


def _from_here(path: str) -> str:
    """``path``, absolute. Raises `ConfigError`."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise ConfigError(f"{shortened(path)}: the current directory was removed; give an absolute path") from None


def _free_name(directory: str, taken: dict[str, Entry]) -> str:
    base = given_name(os.path.basename(_from_here(directory.replace("\0", ""))))
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
