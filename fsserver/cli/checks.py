"""What ``fsserver doctor`` reports: lines, each with a verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

EXIT_CONFIG = 2
EXIT_KERNEL = 3

Verdict = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line. ``exit_code`` is what an error means for the process: 2 the configuration, 3 the kernel."""

    group: str
    name: str
    verdict: Verdict
    text: str
    exit_code: int = 0


@contextmanager
def launchers_words() -> Iterator[list[str]]:
    """What launchers have to say to an operator goes into the report, and not to standard error."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("fsserver")
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    try:
        yield said
    finally:
        log.removeHandler(handler)
        log.propagate = before
