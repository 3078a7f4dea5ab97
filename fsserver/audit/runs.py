"""The runs of a directory sink: each has a file of its own, or several after rotation, named after its start.

A name is no proof, so whoever removes or trusts a run looks at its records too: `last_record`.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from fsserver.audit.chain import START, ChainError, enter, unseal
from fsserver.audit.record import LOG_CONTINUED, Record
from fsserver.audit.segment import ends

_NAME = re.compile(r"(\d{8}T\d{6}Z)-\d+-[0-9a-f]{8}(\.\d{4,})?\.jsonl")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Run(NamedTuple):
    """A run by its files' names, which say nothing yet of what is in them.

    Attributes:
        start: in UTC, ``20261123T164229Z``, as its clock had it.
        changed_ns: when its last file was last written to.
        files: in the order of the chain. The first is missing where somebody removed it.
        size: bytes of all of them.
    """

    start: str
    changed_ns: int
    files: tuple[str, ...]
    size: int


def run_name(now_ns: int) -> str:
    """A file name that sorts by start, is readable, and that nobody else can have."""
    stamp = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"


def runs(directory: int) -> list[Run]:
    """The runs in this directory, oldest first. Raises OSError."""
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in os.listdir(directory):
        found = _NAME.fullmatch(name)
        if found is not None:
            number = found[2]
            stem = name[: -len(number or "") - len(".jsonl")]
            numbered.setdefault(stem, []).append((1 if number is None else int(number[1:]), name))
    there = []
    for each in numbered.values():
        files = tuple(name for _, name in sorted(each))
        with suppress(FileNotFoundError):  # another server removes it at this moment
            found_files = [os.stat(name, dir_fd=directory, follow_symlinks=False) for name in files]
            size = sum(found.st_size for found in found_files)
            there.append(Run(files[0].partition("-")[0], found_files[-1].st_mtime_ns, files, size))
    return sorted(there)


def open_run_file(directory: int, name: str) -> int:
    """A descriptor for reading. Raises OSError, also where it is no regular file of this user's."""
    descriptor = os.open(name, _FLAGS, dir_fd=directory)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise OSError(f"{name!a} is no file of ours")
    return descriptor


def last_record(directory: int, run: Run) -> Record | None:
    """The last whole record of a run whose files all begin as files of this chain do; None if one does not.

    Cheap: the first and the last record of each file. Raises OSError.
    """
    record, first = None, run.files[0]
    for name in run.files:
        descriptor = open_run_file(directory, name)
        try:
            beginning, last, _ = ends(descriptor, os.fstat(descriptor).st_size)
            begun, record = unseal(beginning), unseal(last)
            if name == first:
                enter(begun, START, None)
            elif (begun.get("event"), begun.get("first")) != (LOG_CONTINUED, first):
                return None
        except (ValueError, ChainError):
            return None
        finally:
            os.close(descriptor)
    return record


def newest(directory: int) -> dict[str, str] | None:
    """The run that began last, by its first file and its head: ``file``, ``head``. None if there is none to name."""
    with suppress(OSError):
        there = runs(directory)
        record = last_record(directory, there[-1]) if there else None
        if record is not None:
            return {"file": there[-1].files[0], "head": record["hash"]}
    return None
