"""The audit section of a policy, compiled: where records go, and how they are signed, kept and redacted."""

from __future__ import annotations

import os
from typing import Final

from fsserver.policy.compiled import AuditRules, AuditSink, Durability
from fsserver.policy.placement import absolute
from fsserver.policy.problems import Code, LanguageError, Place, Problem
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.tree import Node

MAX_SINK_NAME: Final = 200  # bytes; a rotated file's name is longer


def compile_audit(tree: Node, here: Surroundings, problems: list[Problem]) -> AuditRules:
    """Build the rules of the whole policy, appending whatever is wrong to ``problems``."""
    sinks = [sink for item in tree.items_at("audit", "sinks") if (sink := _sink(item, here, problems)) is not None]
    places = [sink.file or sink.directory for sink in sinks]
    for item, place in zip(tree.items_at("audit", "sinks"), places, strict=False):
        if places.count(place) > 1:
            problems.append(Problem(Code.CONFLICT, item.place, f"two sinks write to {place}"))
            break
    for item in tree.items_at("audit", "sinks")[:1]:
        required = item.get("required")
        if required is not None and required.value is False:
            message = "the first sink is always required; `required: false` is for further ones"
            problems.append(Problem(Code.CONFLICT, required.place, message))
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


def _sink(item: Node, here: Surroundings, problems: list[Problem]) -> AuditSink | None:
    required = item.get("required")
    for key in ("dir", "file"):
        node = item.get(key)
        if node is None:
            continue
        path = _path(node, here, problems)
        if path is None:
            return None
        if key == "file" and not _can_continue(os.path.basename(path)):
            message = "the audit log's file has a name that begins with a dot, or one of more than 200 bytes"
            problems.append(Problem(Code.PLACE, node.place, message, "when it is full, the next is named after it"))
        needed = required is None or required.value is True
        return AuditSink(path, None, needed) if key == "dir" else AuditSink(None, path, needed)
    return None


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
