"""What ``fsserver doctor`` reports: lines, each with a verdict."""

from __future__ import annotations

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
