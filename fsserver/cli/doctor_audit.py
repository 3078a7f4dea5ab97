"""What ``fsserver doctor`` says about the audit log of a policy. Makes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from fsserver.audit.network import fault, place
from fsserver.audit.segment import ANOTHER_PLACE, Segment, directory_fault
from fsserver.cli.checks import EXIT_CONFIG, Check
from fsserver.errors import ConfigError, FsserverError
from fsserver.policy.compiled import AuditRules, AuditSink
from fsserver.policy.service import NetworkSink

_LEFT_OUT: Final = "It is optional: the server starts, and writes nothing there."


def log_checks(rules: AuditRules) -> Iterator[Check]:
    """Whether the audit log can be kept in each of its places, and signed.

    What an optional place lacks is a warning: the server starts without it.
    """
    for number, sink in enumerate(rules.sinks, 1):
        name = "audit log" if number == 1 else f"audit log {number}"
        fault = _sink_fault(sink)
        if fault is None:
            yield Check("policy", name, "ok", _place(sink))
        elif sink.required:
            yield Check("policy", name, "error", fault, EXIT_CONFIG)
        else:
            yield Check("policy", name, "warning", f"{fault}\n{_LEFT_OUT}")
    for network in rules.network:
        yield _network_check(network)
    if rules.key is not None:
        yield _key_check(rules.key)


def _network_check(sink: NetworkSink) -> Check:
    """Whether it can be connected to, with a certificate that holds. Nothing is sent."""
    name = place(sink)
    try:
        reached = fault(sink)
    except ConfigError as error:
        if sink.required:
            return Check("policy", "audit log", "error", error.message, EXIT_CONFIG)
        return Check("policy", "audit log", "warning", f"{error.message}\n{_LEFT_OUT}")
    if reached is None:
        return Check("policy", "audit log", "ok", name)
    if sink.required:
        return Check("policy", "audit log", "error", f"{name} {reached}\nNo call is made without it.", EXIT_CONFIG)
    return Check("policy", "audit log", "warning", f"{name} {reached}\nIt is optional: calls are made without it.")


def _key_check(path: str) -> Check:
    from fsserver.audit.signing import Signer  # noqa: PLC0415 - a large library, only where a key is

    try:
        return Check("policy", "audit key", "ok", f"{path} (key {Signer.load(path).public.id})")
    except FsserverError as error:
        return Check("policy", "audit key", "error", error.message, EXIT_CONFIG)


def _directory_of(sink: AuditSink) -> str:
    return sink.directory if sink.directory is not None else os.path.dirname(str(sink.file))


def _place(sink: AuditSink) -> str:
    place = _directory_of(sink)
    try:
        return f"{place} (mode {stat.S_IMODE(os.lstat(place).st_mode):04o})"
    except FileNotFoundError:
        return f"{place} (will be made)"


def _sink_fault(sink: AuditSink) -> str | None:
    """Why records cannot be written there, or None: the directory must be this user's and writable by nobody else."""
    place = _directory_of(sink)
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return _fault_above(place)
    except OSError as error:
        return f"{place}: {error.strerror}\n{ANOTHER_PLACE}"
    fault = directory_fault(found)
    if fault is None and not os.access(place, os.W_OK | os.X_OK):
        fault = "is not writable for this user"
    if fault is not None:
        return f"{place} {fault}\n{ANOTHER_PLACE}"
    if _is_full(place):
        return f"{place} has no room: its disk is full"
    fault = _file_fault(place, os.path.basename(sink.file)) if sink.file is not None else None
    return None if fault is None else f"{place}: {fault}"


def _is_full(directory: str) -> bool:
    """Whether the file system says that it has no room, for this user, for a byte or for a name."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    blocks, names = (found.f_bfree, found.f_ffree) if os.geteuid() == 0 else (found.f_bavail, found.f_favail)
    return (found.f_blocks > 0 and blocks == 0) or (found.f_files > 0 and names == 0)  # 0 of 0: it does not count


def _file_fault(directory: str, name: str) -> str | None:
    """Why a server could not go on with this file, or None. Its lock is tried as `serve` takes it, for an instant."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            Segment(descriptor, name).close()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None  # it will be made
    except FsserverError as error:
        return error.message
    except OSError as error:
        return f"{name} cannot be opened: {(error.strerror or 'no reason is known').lower()}"
    return None


def _fault_above(place: str) -> str | None:
    """Why the directory cannot be made, or None."""
    above = os.path.dirname(place)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{place} cannot be made in {above}\n{ANOTHER_PLACE}"
    return f"{place} cannot be made: the disk of {above} is full" if _is_full(above) else None
