"""Confining this process, once and for good. The order of the steps is the whole module.

*Trust.* Everything here is ours: the profile comes from `plan`, nothing of a client has been read yet.

*Invariant.* Either every layer of the profile is in force for every thread that this process will ever have, or
`SandboxSetupError` was raised and the process must end.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from fsserver.errors import SandboxSetupError
from fsserver.kernel import landlock, process, seccomp
from fsserver.kernel.landlock import FILE_RIGHTS
from fsserver.sandbox.profile import Enforcement, NamedRule, Ruleset, ServerProfile

# As a number: each operation on the enumeration's members is some calls of Python, in every cell.
_FILE_RIGHTS: Final = int(FILE_RIGHTS)


def confine(profile: ServerProfile) -> Enforcement:
    """Apply the profile to this process. Cannot be undone.

    The root descriptors of the profile must still be open; nothing else opened before is affected.

    Raises:
        SandboxSetupError: another thread exists already, or the kernel refused a step that it supports. What was
            applied before that stays: end the process.
    """
    if not profile.prctl:
        return Enforcement(0, seccomp=False, no_new_privs=False, dumpable=True, gaps=profile.gaps)
    try:
        _require_single_thread()
        process.set_no_new_privs()
        process.set_not_dumpable()
        if profile.ruleset is not None:
            restrict(profile.ruleset)
        if profile.filter is not None:
            seccomp.install(profile.filter)
        return Enforcement(
            landlock_abi=profile.ruleset.abi if profile.ruleset is not None else 0,
            seccomp=process.seccomp_filtered(),
            no_new_privs=process.no_new_privs(),
            dumpable=process.dumpable(),
            gaps=profile.gaps,
        )
    except OSError as error:
        raise SandboxSetupError(f"The server could not confine itself: {error}.") from error


def _require_single_thread() -> None:
    """A ruleset and a filter bind the calling thread and what it starts: a thread from before would stay free."""
    count = process.thread_count()
    if count != 1:
        raise SandboxSetupError(f"The server must confine itself before any thread starts; it has {count} threads.")


def restrict(rules: Ruleset) -> None:
    """Put this process under the ruleset for good. Raises ``OSError``; without a required directory too."""
    ruleset = landlock.create_ruleset(rules.handled_fs, rules.handled_net, rules.scoped)
    try:
        for rule in rules.descriptors:
            landlock.allow_beneath(ruleset, rule.descriptor, rule.access)
        for named in rules.paths:
            _allow_name(ruleset, named)
        for port in rules.ports:
            landlock.allow_connect(ruleset, port)
        landlock.restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _allow_name(ruleset: int, rule: NamedRule) -> None:
    try:
        descriptor = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        if rule.required:
            raise
        return  # what cannot be reached now is not granted
    try:
        landlock.allow_beneath(ruleset, descriptor, _fitting(descriptor, rule.access))
    finally:
        os.close(descriptor)


def _fitting(descriptor: int, access: int) -> int:
    """Without the rights that only a directory can have, if this is none."""
    of_files = int(access) & _FILE_RIGHTS
    return access if of_files == access or stat.S_ISDIR(os.fstat(descriptor).st_mode) else of_files
