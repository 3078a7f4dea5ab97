"""The programs of commands, and what else of the disk they need: checks against the disk, once, when it is loaded.

What a command may read beyond its roots must not hold what the roots' rules protect, nor what a client must not read:
so no runtime directory lies in a root or around one, and none holds the policy, the audit log or fsserver's state.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fsserver.policy.compiled import PinnedProgram
from fsserver.policy.placement import Guarded, Located, absolute, all_above, ancestors, identity_of
from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.surroundings import Surroundings

# Installations that belong to the system: every command reads its libraries there anyway, and beside programs they
# hold what belongs to nobody in particular.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Directories below / that are no installation, even if they have a directory bin.
SHARED: Final = (
    "",
    *["etc", "var", "home", "root", "opt", "srv", "tmp", "mnt", "media", "run", "dev", "proc", "sys", "boot"],
)


@dataclass(frozen=True, slots=True)
class Grounds:
    """What programs are looked for in, and kept apart from.

    Attributes:
        located: the roots.
        files: the policy files, absolute.
        audit: the directories that the audit log is in.
        secrets: files that no command may read.
    """

    here: Surroundings
    located: Mapping[str, Located]
    files: tuple[str, ...]
    audit: tuple[str, ...]
    secrets: tuple[Guarded, ...] = ()

    def why_apart(self, directory: str) -> str | None:
        """What of ours, or which root, lies in ``directory`` or around it, completing "it lies …"; None if nothing."""
        inner = identity_of(directory)
        above = frozenset(ancestors(os.path.realpath(directory)))
        for name, root in self.located.items():
            if inner in root.ancestry:
                return f'around the root "{name}"'
            if root.identity in above:
                return f'in the root "{name}"'
        for what, path in self._ours():
            if inner in all_above(path):
                return f"around {what}"
            if identity_of(path) in above:
                return f"in {what}"
        return None

    def _ours(self) -> Iterator[tuple[str, str]]:
        yield from (("the policy file", file) for file in self.files)
        yield from (("the audit log", directory) for directory in self.audit)
        yield from ((secret.what, secret.path) for secret in self.secrets)
        yield ("fsserver's state directory", self.here.state)
        # Python's library and packages are no secret, and a Python may well be what a command needs.
        yield from ((what, path) for what, path in self.here.own if what.startswith("fsserver's"))


@dataclass(frozen=True, slots=True)
class Found:
    """A pinned program, and the installation that its name belongs to if that is another than the program's own."""

    program: PinnedProgram
    beside: tuple[str, ...]


def pin(text: str, sha256: str | None, grounds: Grounds) -> Found:
    """The program at a path that does not change with a root. Raises `LanguageError`."""
    if not text.startswith(("/", "~")):
        here = shutil.which(os.path.basename(text))
        help_text = f"this machine has {here}" if here else "write where it is installed"
        raise LanguageError(Code.PLACE, f'"{text}" is not an absolute path', help_text)
    path = absolute(text, grounds.here)
    real = os.path.realpath(path)
    _refuse_writable(path, grounds)
    try:
        found = os.stat(real)
    except OSError as error:
        message = f"{path}: {(error.strerror or 'cannot be reached').lower()}"
        help_text = "install it, name another, or take the command out"
        first, *words = path.split()
        if words and os.path.isfile(first):
            help_text = f"exec: {first}, and what stands before the client's arguments in prepend: [{', '.join(words)}]"
        raise LanguageError(Code.PROGRAM, message, help_text) from None
    if not stat.S_ISREG(found.st_mode):
        raise LanguageError(Code.PROGRAM, f"{path} is not a regular file", "name the program itself")
    if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
        message = f"{path} is set-user-ID or set-group-ID: it would run as somebody else"
        raise LanguageError(Code.PROGRAM, message, "no command gains privileges")
    if not found.st_mode & 0o111 or not os.access(real, os.X_OK):
        raise LanguageError(Code.PROGRAM, f"{path} cannot be executed", f"chmod +x {path}")
    if sha256 is not None:
        _check_sum(path, real, sha256)
    prefix = _installation(real, grounds)
    beside = _installation(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)), grounds)
    program = PinnedProgram(path, found.st_dev, found.st_ino, sha256, found.st_ctime_ns, prefix)
    return Found(program, (beside,) if beside not in (None, prefix) else ())


def check_sought(name: str) -> None:
    """Raise `LanguageError` if a program that is content of a root cannot be called so."""
    if name.startswith(("/", "~")) or any(part in ("", ".", "..") for part in name.split("/")):
        message = f'"{name}" is not a path beneath a root'
        raise LanguageError(Code.PROGRAM, message, "write it without a leading slash, as in .venv/bin/pytest")


def runtime_directory(text: str, grounds: Grounds) -> str:
    """A directory that a command may read and execute in, without links. Raises `LanguageError`."""
    path = absolute(text, grounds.here)
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        raise LanguageError(Code.PLACE, f"{path}: {(error.strerror or 'cannot be reached').lower()}") from None
    if not stat.S_ISDIR(mode):
        raise LanguageError(Code.PLACE, f"{path} is not a directory", "runtime is a list of directories")
    if identity_of(real) in frozenset(ancestors(os.path.realpath(grounds.here.home))):
        message = f"{path} is the home directory or holds it"
        raise LanguageError(Code.PLACE, message, "name the directories in it that the program needs")
    why = grounds.why_apart(real)
    if why is not None:
        message = f"{path} lies {why}: the command would read there what the policy protects"
        raise LanguageError(Code.EXPOSED, message, "name the directories that the program needs, apart from that")
    return real


def _refuse_writable(path: str, grounds: Grounds) -> None:
    """Raise `LanguageError` if a client can choose what ``path`` leads to."""
    above = all_above(path)
    for name, root in grounds.located.items():
        if root.writable and root.identity in above:
            message = f'{path} is content of the writable root "{name}", or is reached through it'
            help_text = f"write exec: {{in: {name}, find: …}}: then nothing but the sandbox is relied on"
            raise LanguageError(Code.PROGRAM, message, help_text)


def _check_sum(path: str, real: str, wanted: str) -> None:
    try:
        with open(real, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise LanguageError(Code.PROGRAM, f"{path}: its SHA-256 cannot be checked: {reason}") from None
    if actual != wanted:
        message = f"{path} is another file: its SHA-256 is {actual}"
        raise LanguageError(Code.PROGRAM, message, "if the new file is meant, write its sum")


def _installation(program: str, grounds: Grounds) -> str | None:
    """P for a program P/bin/NAME or P/sbin/NAME, where all of P belongs to programs; else None.

    ``program`` is without links but for its last component.
    """
    directory = os.path.dirname(program)
    if os.path.basename(directory) not in ("bin", "sbin"):
        return None
    prefix = os.path.dirname(directory)
    if (os.path.dirname(prefix) == "/" and prefix[1:] in SHARED) or any(
        f"{prefix}/".startswith(f"{system}/") for system in SYSTEM
    ):
        return None
    home = os.path.realpath(grounds.here.home)
    if identity_of(prefix) in frozenset(ancestors(home)):
        return None
    # ~/.local and ~/.cargo hold more than programs. A virtual environment holds nothing else, wherever it is.
    if identity_of(os.path.dirname(prefix)) == identity_of(home) and not os.path.isfile(f"{prefix}/pyvenv.cfg"):
        return None
    return prefix if grounds.why_apart(prefix) is None else None
