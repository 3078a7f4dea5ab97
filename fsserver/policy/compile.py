"""From a checked, merged tree to the frozen policy that the rest of fsserver uses."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from fsserver.policy.auditing import certificates, compile_audit, file_sink
from fsserver.policy.commands import compile_commands
from fsserver.policy.compiled import (
    Action,
    ApprovalRules,
    AuditRules,
    ClientRoots,
    Command,
    Effect,
    Layer,
    Mode,
    PinnedProgram,
    Policy,
    Profile,
    RootRules,
    SandboxRules,
)
from fsserver.policy.decision import read_only_operations
from fsserver.policy.examples import check_examples
from fsserver.policy.limits import compile_limits
from fsserver.policy.overlap import share
from fsserver.policy.placement import Guarded, Located, check_exposure, check_guarded, check_overlaps, locate
from fsserver.policy.principal_rules import compile_principals
from fsserver.policy.problems import COMMAND_LINE, Code, Place, Problem, did_you_mean
from fsserver.policy.programs import SYSTEM, Grounds
from fsserver.policy.rules import Origin, PathRule
from fsserver.policy.service import Transport
from fsserver.policy.serving import ONLY_HTTP, compile_service, says_transport
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.tree import Entry, Node

_MARK: Final = 12  # hexadecimal digits


def compile_policy(
    tree: Node, *, name: str, source: str | None, files: Sequence[str], here: Surroundings, problems: list[Problem]
) -> Policy:
    """Build the policy, appending whatever is wrong to ``problems``: only if that stays empty may the policy be used.

    Args:
        tree: merged; every value in it has passed the schema.
        name: the policy's, if the tree has none.
        source: absolute path of the policy file, if there is one.
        files: absolute paths of all files that were read.
    """
    entries = tree.entries_at("roots")
    _require_a_root(tree, problems)
    sections = {root: entry.node for root, entry in entries.items()}
    located = locate(sections, here, problems)
    overlaps = check_overlaps(located, problems)
    audit = compile_audit(tree, here, problems)
    service = compile_service(tree, here, problems)
    guarded = (*_signing_key(tree, audit), *certificates(tree, here), *service.files)
    logs = tuple(sink.place for sink in audit.sinks)
    check_exposure(located, here, files, logs, problems, guarded=guarded, sink=file_sink(tree), policy=tree.place)
    check_guarded(guarded, here, logs, problems, seen=SYSTEM if tree.entries_at("commands") else ())
    if service.server.transport is Transport.STDIO and says_transport(tree):
        _refuse_variables(located, problems)
    roots = {root: _root(root, entry, tree, located.get(root), problems) for root, entry in entries.items()}
    for outer, inner, way in overlaps:
        roots[outer], roots[inner] = share(roots[outer], roots[inner], way)
    for root, section in sections.items():
        check_examples(roots[root], section, problems)
    limits = compile_limits(tree)
    grounds = Grounds(here, located, tuple(files), logs, tuple(file for file in guarded if file.secret))
    commands = compile_commands(tree, roots, grounds, limits=limits, origin_of=origin_of, problems=problems)
    profiles = {
        profile: _profile(profile, entry, roots, tree, problems)
        for profile, entry in tree.entries_at("profiles").items()
    }
    return Policy(
        name=_text(tree, "name") or name,
        source=source,
        digest=_digest(tree, located, audit, commands, guarded),
        roots=tuple(roots.values()),
        audit=audit,
        limits=limits,
        client_roots=ClientRoots(_text(tree, "client_roots") or ClientRoots.IGNORE),
        sandbox=_sandbox(tree, Layer.FULL if commands else Layer.NONE),
        approvals=_approvals(tree),
        profiles=MappingProxyType(profiles),
        commands=MappingProxyType(commands),
        state=here.state,
        redact_output=_flag(tree, "redact_output"),
        server=service.server,
        principals=compile_principals(tree, service.server, profiles, origin_of=origin_of, problems=problems),
        shared=service.shared,
        telemetry=service.telemetry,
        files=tuple(dict.fromkeys(files)),
        mark=hashlib.sha256(os.fsencode(source or "")).hexdigest()[:_MARK],
    )


def origin_of(place: Place) -> Origin:
    """The place as rules carry it; what was given on the command line has no line."""
    label = place.source.label
    return Origin(label, 0 if label == COMMAND_LINE else place.line)


def _signing_key(tree: Node, audit: AuditRules) -> list[Guarded]:
    node = tree.get("audit", "key")
    return [] if node is None or audit.key is None else [Guarded("the key of the audit log", audit.key, node.place)]


def _refuse_variables(located: Mapping[str, Located], problems: list[Problem]) -> None:
    """Report roots of principals where there are none."""
    for root in located.values():
        if root.each is not None:
            message = f"variables in a path need principals: {ONLY_HTTP}"
            problems.append(Problem(Code.CONFLICT, root.place, message, "write the directory's name"))


def _require_a_root(tree: Node, problems: list[Problem]) -> None:
    roots = tree.get("roots") or tree
    if not tree.entries_at("roots") and not tree.incomplete and not roots.incomplete:
        help_text = "roots: {notes: {path: ~/notes}} is one read-only directory"
        problems.append(Problem(Code.MISSING, roots.place, "a policy needs at least one root", help_text))


def _root(name: str, entry: Entry, tree: Node, located: Located | None, problems: list[Problem]) -> RootRules:
    node = entry.node
    mode_node = node.get("mode")
    mode = Mode(mode_node.text) if mode_node else Mode.RO
    operations = _operations(node, mode, origin_of(mode_node.place if mode_node else entry.key))
    items = {key: [*tree.items_at("roots", name, key), *tree.items_at("protect", key)] for key in ("deny", "read_only")}
    if located is not None:
        for item in (*items["deny"], *items["read_only"]):
            _refuse_own_path(item, located, problems)
    return RootRules(
        name=name,
        path=located.path if located else "/",
        mode=mode,
        origin=origin_of(entry.key),
        deny=tuple(_path_rule(item) for item in items["deny"]),
        read_only=tuple(_path_rule(item) for item in items["read_only"]),
        operations=operations,
        hardlinks=Effect(_text(node, "hardlinks") or Effect.ALLOW),
        max_file=_number(node, "max_file"),
        quota=_number(node, "quota"),
        each=located.each if located else None,
    )


def _operations(root: Node, mode: Mode, mode_origin: Origin) -> Mapping[Action, tuple[Effect, Origin]]:
    if mode is Mode.RO:
        return read_only_operations(mode_origin)
    written = {Action(name): entry.node for name, entry in root.entries_at("operations").items()}
    return MappingProxyType({action: (Effect(node.text), origin_of(node.place)) for action, node in written.items()})


def _refuse_own_path(item: Node, root: Located, problems: list[Problem]) -> None:
    """Report a glob that repeats the root's path: it would mean that path once more beneath the root, so nothing."""
    for node in (item.get("glob") or item, *item.items_at("except")):
        for path in (root.path, "/" + "/".join(reversed(root.names))):
            if (node.text + "/").startswith(path + "/"):
                message = "a glob begins at its root, and this one repeats the root's path"
                rest = node.text.removeprefix(path) or "/**"
                problems.append(Problem(Code.GLOB, node.place, message, f'write "{rest}"'))
                break


def _path_rule(item: Node) -> PathRule:
    glob = item.get("glob") or item
    exceptions = tuple(exception.text for exception in item.items_at("except"))
    return PathRule(glob.text, origin_of(item.place), exceptions)


def _profile(name: str, entry: Entry, roots: Mapping[str, RootRules], tree: Node, problems: list[Problem]) -> Profile:
    modes: dict[str, Mode] | None = None
    if entry.node.get("roots") is not None:
        modes = {}
        for root, granted in entry.node.entries_at("roots").items():
            modes[root] = Mode(granted.node.text)
            if root not in roots:
                if not (tree.get("roots") or tree).incomplete:
                    help_text = did_you_mean(root, roots)
                    problems.append(Problem(Code.UNKNOWN_ROOT, granted.key, f'there is no root "{root}"', help_text))
            elif modes[root] is Mode.RW and roots[root].mode is Mode.RO:
                origin = roots[root].operations[Action.CREATE][1]
                message = f'the root "{root}" is read-only ({origin}); a profile can only narrow it'
                problems.append(Problem(Code.WIDENS, granted.node.place, message, 'write "ro"'))
    tools = None
    if entry.node.get("tools") is not None:
        tools = frozenset(tool.text for tool in entry.node.items_at("tools"))
    commands = _profile_commands(entry.node, tree, problems)
    granted_roots = MappingProxyType(modes) if modes is not None else None
    return Profile(name, granted_roots, tools, origin_of(entry.key), commands)


def _profile_commands(profile: Node, tree: Node, problems: list[Problem]) -> frozenset[str] | None:
    if profile.get("commands") is None:
        return None
    known = tree.entries_at("commands")
    for item in profile.items_at("commands"):
        if item.text not in known and not (tree.get("commands") or tree).incomplete:
            message = f'there is no command "{item.text}"'
            problems.append(Problem(Code.UNKNOWN_COMMAND, item.place, message, did_you_mean(item.text, known)))
    return frozenset(item.text for item in profile.items_at("commands"))


def _sandbox(tree: Node, default: Layer) -> SandboxRules:
    section = tree.get("sandbox") or Node(tree.place, {})
    return SandboxRules(
        require=Layer(_text(section, "require") or default),
        accept_unprotected=_flag(section, "accept_unprotected"),
        accept_uid0=_flag(section, "accept_uid0"),
    )


def _approvals(tree: Node) -> ApprovalRules:
    defaults = ApprovalRules()
    timeout = tree.get("approvals", "timeout")
    return ApprovalRules(
        via=tuple(way.text for way in tree.items_at("approvals", "via")) or defaults.via,
        timeout_s=float(timeout.number) if timeout else defaults.timeout_s,
        on_unavailable=Effect(_text(tree, "approvals", "on_unavailable") or defaults.on_unavailable),
    )


def _digest(
    tree: Node,
    located: Mapping[str, Located],
    audit: AuditRules,
    commands: Mapping[str, Command],
    guarded: Sequence[Guarded],
) -> str:
    """Of everything that the policy says, with the paths that it means here; not of where it is written."""
    paths = {name: root.path for name, root in located.items()}
    programs = {name: _paths_of(command) for name, command in commands.items()}
    resolved = {
        "policy": tree.plain(),
        "paths": paths,
        "programs": programs,
        "audit": [[sink.directory, sink.file] for sink in audit.sinks],
        "files": [[file.what, file.path] for file in guarded],
    }
    return hashlib.sha256(json.dumps(resolved, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _paths_of(command: Command) -> list[str | None]:
    program = command.program
    pinned = [program.path, program.prefix] if isinstance(program, PinnedProgram) else []
    return [*pinned, *command.runtime]


def _text(node: Node, *path: str) -> str | None:
    found = node.get(*path)
    return found.text if found else None


def _number(node: Node, *path: str) -> int | None:
    found = node.get(*path)
    return int(found.number) if found else None


def _flag(node: Node, *path: str) -> bool:
    found = node.get(*path)
    return found is not None and found.value is True
