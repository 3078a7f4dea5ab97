"""What the audit log says about one call, gathered while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fsserver.audit.record import Shown, canonical, content, parse, quoted
from fsserver.errors import Denied, FsserverError, InternalError, ResourceError
from fsserver.paths.changes import Changes
from fsserver.paths.resolution import Seen
from fsserver.paths.target import Target
from fsserver.tools.approval import Consent, ConsentNeeded

MAX_NAMES: Final = 128 * 1024
"""Characters of all names in a record; of what is longer the hash is shown. Escaped they take six times as much."""

MAX_PATH: Final = 4096  # characters of a path that was refused; the kernel takes no longer ones

_NO_ARGUMENTS: Final = Shown("{}", "")


@dataclass(slots=True)
class Trail:
    """One call's records. They belong together by ``call``, its number in this run.

    Attributes:
        commands, changes: see `fsserver.tools.call.Call`.
        via: the method of a request that is no tool call; ``tool`` is what serves it.
        request: the transport's name for the request.
        trace: the id of the trace that the call is part of.
        seen: where the roots were at the first path of a list; see `fsserver.paths.resolution.require_unmoved`.
        intended: its intent is in the log, so what follows is an outcome and repeats nothing.
    """

    call: int
    tool: str
    session: str
    principal: str
    arguments: Shown = _NO_ARGUMENTS
    commands: list[dict[str, Any]] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    seen: Seen = field(default_factory=dict)
    intended: bool = False
    via: str | None = None
    request: str | None = None
    trace: str | None = None
    _names_left: int = MAX_NAMES
    _paths: list[str] = field(default_factory=list)  # of each what was opened, in canonical form
    _named: list[str] = field(default_factory=list)  # of each path, where a secret may be
    started_ns: int = field(default_factory=time.perf_counter_ns)

    def add(self, parameter: str | None, target: Target) -> None:
        """One path: what was opened, not what was asked for; that is in the arguments."""
        rule = target.decision.rule
        status = target.stat
        self._names_left -= len(target.name)
        name = quoted(target.name) if self._names_left >= 0 else canonical(content(os.fsencode(target.name)))
        file = None if status is None else f"{status.st_dev}:{status.st_ino}"
        opened = f'"action":{quoted(target.action)},"file":{_text(file)},"name":{name},"parameter":{_text(parameter)}'
        decided = f'"root":{quoted(target.root.rules.name)},"rule":{_text(None if rule is None else str(rule))}'
        self._paths.append(f"{{{opened},{decided}}}")
        self._named.append(name)

    @property
    def paths(self) -> list[dict[str, Any]]:
        """What was opened, as the log shows it."""
        return [parse(path) for path in self._paths]

    def asked(self, needed: ConsentNeeded) -> dict[str, Any]:
        """The fields of the record that a person is about to be asked."""
        shown = [{"what": question.what, "rule": question.rule} for question in needed.questions]
        return {**self.intent(), "questions": shown, "digest": needed.digest}

    def consent(self, consent: Consent) -> dict[str, Any]:
        """The fields of the record of what came of it; ``asked`` is the number of the call that stopped to ask."""
        return {**self._who(), "answer": consent.answer.value, "asked": consent.asked, "digest": consent.digest}

    def intent(self) -> dict[str, Any]:
        fields = {
            **self._who(),
            "arguments": self.arguments,
            "paths": Shown(f"[{','.join(self._paths)}]", "\0".join(self._named)),
        }
        if self.commands:
            fields["commands"] = self.commands
        return fields

    def done(self, facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The event and the fields of a success."""
        return "call.outcome", self._end({"ok": True, **facts})

    def failed(self, error: FsserverError, path: str | None = None) -> tuple[str, dict[str, Any]]:
        """The event and the fields of a failure; with ``path``, of one path of a call that goes on.

        That one repeats neither the arguments nor the other paths, or a list of paths would be written once for each:
        the record that ends the call has them.
        """
        fields: dict[str, Any] = {"ok": False, "error": error.code, "rule": error.rule}
        if isinstance(error, Denied):
            fields["reason"] = error.message  # the messages of other errors may quote contents
        refused = not self.intended and not isinstance(error, ResourceError | InternalError)
        event = "call.refused" if refused else "call.outcome"
        if path is not None:
            return event, {**self._who(), "path": path[:MAX_PATH], **fields}
        return event, self._end(fields)

    def _who(self) -> dict[str, Any]:
        who: dict[str, Any] = {
            "call": self.call,
            "tool": self.tool,
            "session": self.session,
            "principal": self.principal,
        }
        if self.via is not None:
            who["via"] = self.via
        return who | self._origin()

    def _origin(self) -> dict[str, Any]:
        """What finds the call in other systems."""
        origin: dict[str, Any] = {}
        if self.request is not None:
            origin["request"] = self.request
        if self.trace is not None:
            origin["trace"] = self.trace
        return origin

    def _end(self, fields: dict[str, Any]) -> dict[str, Any]:
        fields["duration_us"] = (time.perf_counter_ns() - self.started_ns) // 1000
        if self.intended:
            who = {"call": self.call, "tool": self.tool, "session": self.session, **self._origin()}
            return {**who, **fields, **self.changes.record()}
        return {**self.intent(), **fields}


def _text(value: str | None) -> str:
    """In canonical form."""
    return "null" if value is None else quoted(value)


def without_contents(arguments: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Arguments that fit no tool, as a record may show them: only what is named as one of ``paths`` is whole. The rest
    may be contents under a wrong name or in a wrong form.
    """
    return {key: value if key in paths and _is_text(value) else _covered(value) for key, value in arguments.items()}


def _is_text(value: object) -> bool:
    """A string or a list of strings."""
    return all(isinstance(item, str) for item in (value if isinstance(value, list) else [value]))


def _covered(value: object) -> object:
    if isinstance(value, str):
        return content(value)
    if isinstance(value, bool | int | float | None):
        return value
    return {"cut": type(value).__name__}
