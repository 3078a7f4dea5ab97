"""The audit section of a policy, compiled: where records go, and how they are signed, kept and redacted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from fsserver.policy.addresses import PLAIN_SYSLOG_PORT, SYSLOG_PORT, parse_url
from fsserver.policy.compiled import AuditRules, AuditSink, Durability
from fsserver.policy.placement import Guarded, absolute
from fsserver.policy.problems import Code, LanguageError, Place, Problem
from fsserver.policy.service import NetworkProtocol, NetworkSink
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.tree import Node

MAX_SINK_NAME: Final = 200  # bytes; a rotated file's name is longer


def compile_audit(tree: Node, here: Surroundings, problems: list[Problem]) -> AuditRules:
    """Build the rules of the whole policy, appending whatever is wrong to ``problems``."""
    items = tree.items_at("audit", "sinks")
    named = [(item, sink) for item in items if (sink := _sink(item, here, problems)) is not None]
    _check_items(items, problems)
    places = [_place(sink) for _, sink in named]
    for (item, _), place in zip(named, places, strict=True):
        if places.count(place) > 1:
            problems.append(Problem(Code.CONFLICT, item.place, f"two sinks write to {place}"))
            break
    sinks = [sink for _, sink in named if isinstance(sink, AuditSink)]
    keep = tree.get("audit", "keep")
    if keep is not None and sinks and all(sink.directory is None for sink in sinks):
        message = "`keep` removes ended runs from a directory, and every sink here is one file"
        help_text = "write to `dir`, or leave `keep` out: all runs of a file are one chain, of which no part can go"
        problems.append(Problem(Code.CONFLICT, keep.place, message, help_text))
    first, *others = sinks or [AuditSink(f"{here.state}/audit")]
    defaults = AuditRules(None)
    durability, key = tree.get("audit", "durability"), tree.get("audit", "key")
    changes = tree.get("audit", "changes")
    return AuditRules(
        first.directory,
        first.file,
        max_size=_whole(tree, "max_size") or defaults.max_size,
        others=tuple(others),
        network=tuple(sink for _, sink in named if isinstance(sink, NetworkSink)),
        stderr=any(item.get("stderr") is not None for item in items),
        durability=Durability(durability.text) if durability else defaults.durability,
        key=None if key is None else _path(key, here, problems),
        checkpoint_records=_whole(tree, "checkpoint", "records") or defaults.checkpoint_records,
        checkpoint_s=_seconds(tree, "checkpoint", "time") or defaults.checkpoint_s,
        keep_s=_seconds(tree, "keep", "time"),
        keep_bytes=_whole(tree, "keep", "size"),
        changes=changes is not None and changes.value is True,
        redact=tuple(item.text for item in tree.items_at("audit", "redact")),
    )


def file_sink(tree: Node) -> Place | None:
    """Where the policy names a file for records, if it does."""
    for sink in tree.items_at("audit", "sinks"):
        for key, entry in sink.entries.items():
            if key == "file":
                return entry.node.place
    return None


def certificates(tree: Node, here: Surroundings) -> list[Guarded]:
    """The files that say whom network sinks trust. What is wrong with one is told by `compile_audit`."""
    nodes = [ca for item in tree.items_at("audit", "sinks") if (ca := item.get("ca")) is not None]
    named = ((node, _path(node, here, [])) for node in nodes)
    what = "the certificate of an audit sink's CA"
    return [Guarded(what, path, node.place, secret=False) for node, path in named if path is not None]


def _check_items(items: Sequence[Node], problems: list[Problem]) -> None:
    """Report what single sinks say that has no meaning there."""
    for item in items[:1]:
        if item.get("dir") is None and item.get("file") is None:
            message = "the first sink is a directory or a file: the log that calls wait for, and that is verified"
            problems.append(Problem(Code.CONFLICT, item.place, message, "put `dir` or `file` before it"))
    for number, item in enumerate(items):
        required, ca, errors = item.get("required"), item.get("ca"), item.get("stderr")
        if required is not None and number == 0 and required.value is False:
            message = "the first sink is always required; `required: false` is for further ones"
            problems.append(Problem(Code.CONFLICT, required.place, message))
        if errors is not None and required is not None and required.value is True:
            message = "standard error is never required: nobody can tell whether it was read"
            problems.append(Problem(Code.CONFLICT, required.place, message, "take it out"))
        if errors is not None and errors.value is False:
            problems.append(Problem(Code.CONFLICT, errors.place, "a sink that is none", "write true, or take it out"))
        syslog = item.get("syslog")
        if ca is not None and (syslog is None or not syslog.text.startswith("tls:")):
            message = "`ca` is for a syslog server with TLS"
            problems.append(Problem(Code.CONFLICT, ca.place, message, "take it out, or write syslog: tls://…"))
    if sum(item.get("stderr") is not None for item in items) > 1:
        problems.append(Problem(Code.CONFLICT, items[-1].place, "two sinks write to standard error"))


def _sink(item: Node, here: Surroundings, problems: list[Problem]) -> AuditSink | NetworkSink | None:
    """None for standard error, and for a place that is none."""
    written = item.get("required")
    required = written is None or written.value is True
    syslog, otlp = item.get("syslog"), item.get("otlp")
    if syslog is not None:
        ca = item.get("ca")
        url = parse_url(syslog.text, ("tls", "tcp"), syslog.text)
        plain = url.scheme == "tcp"
        return NetworkSink(
            NetworkProtocol.SYSLOG,
            host=url.host,
            port=url.port or (PLAIN_SYSLOG_PORT if plain else SYSLOG_PORT),
            ca=None if ca is None else _path(ca, here, problems),
            plain=plain,
            required=required,
        )
    if otlp is not None:
        return NetworkSink(NetworkProtocol.OTLP, url=otlp.text, required=required)
    for key in ("dir", "file"):
        node = item.get(key)
        path = None if node is None else _path(node, here, problems)
        if node is None or path is None:
            continue
        if key == "dir":
            return AuditSink(path, None, required)
        if not _can_continue(os.path.basename(path)):
            message = "the audit log's file has a name that begins with a dot, or one of more than 200 bytes"
            problems.append(Problem(Code.PLACE, node.place, message, "when it is full, the next is named after it"))
        return AuditSink(None, path, required)
    return None


def _place(sink: AuditSink | NetworkSink) -> str:
    if isinstance(sink, AuditSink):
        return sink.file or str(sink.directory)
    return sink.url or f"{sink.host}:{sink.port}"


def _path(node: Node, here: Surroundings, problems: list[Problem]) -> str | None:
    try:
        return absolute(node.text, here)
    except LanguageError as error:
        problems.append(Problem(error.code, node.place, error.message, error.help))
        return None


def _can_continue(name: str) -> bool:
    """Whether the names of the files that continue a log called so are visible and not too long."""
    return not name.startswith(".") and len(os.fsencode(name)) <= MAX_SINK_NAME


def _whole(tree: Node, *path: str) -> int | None:
    found = tree.get("audit", *path)
    return int(found.number) if found else None


def _seconds(tree: Node, *path: str) -> float | None:
    found = tree.get("audit", *path)
    return float(found.number) if found else None
