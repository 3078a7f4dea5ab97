"""Words of the policy language that are reserved and whose feature this version does not have.

They are refused, never ignored: a rule that somebody relies on must not be without effect. Taking a feature in
means to remove its row here and to add its model.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

# Keys, each by its path; "*" stands for any name, "[]" for any item of a list.
KEYS: Final[frozenset[tuple[str, ...]]] = frozenset(
    {
        ("commands", "*", "network", "allow"),
    }
)

# Words, by the path of the value that may hold them later.
VALUES: Final[MappingProxyType[tuple[str, ...], frozenset[str]]] = MappingProxyType(
    {
        ("audit", "content"): frozenset({"full"}),
    }
)
