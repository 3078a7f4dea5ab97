"""Reads a log to its end and says whether it is whole. Needs nothing but the files, and memory for one record.

What the answer can mean: *whole* says that no record was changed, removed, added or moved before the last one. It
cannot say that nothing came after it: a tail cut off at the end of a record, or a log that somebody wrote anew as a
whole, looks like any other. A head (the hash of a record) that was kept elsewhere closes that gap: ``expect_head``.
A public key that was kept elsewhere closes half of it, ``keys``: what is signed by it was not written anew.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from fsserver.audit.chain import ChainError, unseal
from fsserver.audit.record import LOG_CONTINUED, MAX_RECORD_BYTES, RUN_START
from fsserver.audit.walk import Chain, Link, OnRecord, Problem, Search, Status, Walk, open_log, run_before

if TYPE_CHECKING:
    from fsserver.audit.signing import PublicKey

__all__ = ["Chain", "Problem", "Status", "Verdict", "verify"]

_WORST_FIRST = (Status.TAMPERED, Status.CUT, Status.UNREADABLE, Status.TORN, Status.WHOLE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        expect_head, keys: what was asked for: a head, and the ids of the keys that signatures had to be by.
        skipped: how many entries of a directory are no ``.jsonl`` and so were not looked at.
    """

    path: str
    status: Status
    chains: tuple[Chain, ...]
    expect_head: str | None
    skipped: int
    message: str | None = None
    keys: tuple[str, ...] = ()


def verify(
    path: str, expect_head: str | None = None, keys: Sequence[PublicKey] = (), on_record: OnRecord = None
) -> Verdict:
    """Verify the file `path` and what it continues in, or every ``.jsonl`` of the directory `path`.

    `expect_head` is the hash of any record, 64 hex digits: if no record has it, the log was cut (or written anew).
    With `keys`, a signature by another key is tampering, and a chain without a signature counts as cut. Without, each
    run's signatures are held to the key that its first record names.
    `on_record` is called with each sound record and its line, once, in the order of the chains.
    Never raises for what is in the files or for what the system says to reading them.
    """
    search = Search(expect_head, {key.id: key for key in keys}, on_record=on_record)
    chains: list[Chain] = []
    skipped, message = 0, None
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))
            logs = [name for name in names if name.endswith(".jsonl")]
            skipped = len(names) - len(logs)
            chains = _chains(path, logs, search)
            message = None if chains else "no .jsonl file in this directory"
        else:
            directory, name = os.path.split(path)
            chains = [_checked(directory or ".", name, frozenset(os.listdir(directory or ".")), search)]
    except OSError as error:
        message = os.strerror(error.errno or errno.EIO)
    statuses = {chain.status for chain in chains} or {Status.UNREADABLE}
    if chains and expect_head is not None and all(chain.expected is None for chain in chains):
        statuses.add(Status.CUT)
    status = min(statuses, key=_WORST_FIRST.index)
    return Verdict(path, status, tuple(chains), expect_head, skipped, message, tuple(search.keys))


class _Beginning(NamedTuple):
    """What a file's first record says of other files, and its hash, by which a copy shows."""

    continues: bool
    before: Link | None
    head: str | None


def _beginning(directory: str, name: str) -> _Beginning:
    """Of a file whose first record cannot be read: nothing. The walk will tell."""
    try:
        with open_log(os.path.join(directory, name)) as stream:
            record = unseal(stream.readline(MAX_RECORD_BYTES))
        event = record.get("event")
        before = run_before(record) if event == RUN_START else None
        return _Beginning(event == LOG_CONTINUED, before, record["hash"])
    except (OSError, ChainError):
        return _Beginning(continues=False, before=None, head=None)


def _chains(directory: str, names: list[str], search: Search) -> list[Chain]:
    """Every chain of a directory: first those that begin there, then files that say they continue one, but do not."""
    there = frozenset(names)
    beginnings = {name: _beginning(directory, name) for name in names}
    links = {name: beginning.before for name, beginning in beginnings.items() if beginning.before is not None}
    search = replace(
        search,
        heads=frozenset(link.head for link in links.values()),
        gone=frozenset(link.file for link in links.values()) - there,
    )
    chains = [_checked(directory, name, there, search) for name in names if not beginnings[name].continues]
    seen = {name for chain in chains for name in chain.files}
    read = {name for chain in chains for name in _read(chain)}
    for name in names:
        if name not in seen:
            chain = _checked(directory, name, there, search, read)
            seen.update(chain.files)
            read.update(_read(chain))
            if chain.status is not Status.TAMPERED:
                reason = "continues a file that is not here or does not lead to it"
                chain.status, chain.problem = Status.TAMPERED, Problem(name, 1, chain.first, reason)
            chains.append(chain)
    chains = [chain for chain in chains if not _removed_meanwhile(directory, chain)]
    _tell_copies(chains, beginnings)
    _compare_links(chains, links)
    return chains


def _read(chain: Chain) -> list[str]:
    """The files of which more than the first record was looked at: a second look finds nothing else in them."""
    stopped = chain.problem is not None and chain.problem.file == chain.files[-1] and chain.problem.line <= 1
    return chain.files[:-1] if stopped else chain.files


def _removed_meanwhile(directory: str, chain: Chain) -> bool:
    """Whether a server's retention removed the files of `chain` since they were listed: as if a moment before."""
    return chain.status is not Status.WHOLE and not os.path.lexists(os.path.join(directory, chain.files[0]))


def _tell_copies(chains: Iterable[Chain], beginnings: Mapping[str, _Beginning]) -> None:
    """No two runs begin with one record: who has no key can still put a copy of one run in the place of another."""
    first: dict[str, str] = {}
    for chain in chains:
        name = chain.files[0]
        head = beginnings[name].head
        if head is not None and (other := first.setdefault(head, name)) != name and chain.status is Status.WHOLE:
            reason = f"is the first of {other!a} too: one of the two files is a copy of the other"
            chain.status, chain.problem = Status.TAMPERED, Problem(name, 1, chain.first, reason)


def _compare_links(chains: Iterable[Chain], links: Mapping[str, Link]) -> None:
    """Hold each run to what the next one says of it. A file that is there, but not up to the hash named, was cut."""
    found = {head for chain in chains for head in chain.found}
    removed = {name for chain in chains for name in chain.removed}
    by_file = {name: chain for chain in chains for name in chain.files}
    for name, link in links.items():
        earlier = by_file.get(link.file)
        if link.head in found or name not in by_file:
            continue
        if earlier is None:
            told = "removed by retention, as a log.removed record says"
            untold = "gone, and no log.removed record that is here says that retention removed it"
            note = f"the run before it, {link.file!a}, is {told if link.file in removed else untold}"
            by_file[name].notes.append(note)
        elif earlier.status in (Status.WHOLE, Status.TORN):
            reason = f"is not there, though the next run, {name!a}, names a record from there on: the tail was cut off"
            earlier.status = Status.CUT
            earlier.problem = Problem(earlier.files[-1], 0, earlier.last.seq + 1, reason)


def _checked(
    directory: str, name: str, there: frozenset[str], search: Search, read: AbstractSet[str] = frozenset()
) -> Chain:
    """One chain. A live one is read a second time before it is called anything bad: while a writer takes back half a
    record, or names its next file, a reader can see what never was in the log."""
    chain = Walk(directory, there, search, read).chain(name)
    if chain.live and chain.status is not Status.WHOLE:
        chain = Walk(directory, there, replace(search, told=chain.last.seq), read).chain(name)
    if search.keys and not chain.signed and chain.status in (Status.WHOLE, Status.TORN):
        reason = "is not signed by the key, and no record after it is: the log is by somebody else, or was cut"
        chain.status, chain.problem = Status.CUT, Problem(name, 0, chain.first, reason)
    return chain
