"""What of the suite fails, and why that is as it should be. A scenario that passes after all has to leave the list.

No revision requires any of these scenarios.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NO_TASKS: Final = "The extension io.modelcontextprotocol/tasks is not offered: background processes have tools."

EXPECTED: Final[Mapping[str, str]] = {
    f"tasks-{name}": _NO_TASKS
    for name in (
        "lifecycle",
        "capability-negotiation",
        "wire-fields",
        "request-state-removal",
        "mrtr-input",
        "request-headers",
        "dispatch-and-envelope",
        "required-task-error",
        "mrtr-composition",
    )
}
