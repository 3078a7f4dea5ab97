"""Variables in the path of a root that each principal has one of its own of. Pure. Standard library only."""

from __future__ import annotations

import re
from typing import Final

NAMES: Final = ("principal.name", "principal.subject", "principal.client", "principal.claim.NAME")
"""What they may be called; NAME is the name of a claim."""

VARIABLE: Final = re.compile(r"\$\{principal\.(name|subject|client|claim\.([A-Za-z0-9_.:-]{1,64}))\}")
"""One variable. Its first group is what of the principal is meant, its second the name of a claim."""

VALUE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What may stand for a variable, so that a directory's name leads nowhere else, and two values never look alike."""
