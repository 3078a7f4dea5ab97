"""The presets that ship with fsserver: policy files of this package, which name rules and no roots."""

from __future__ import annotations

import os
from typing import Final

PREFIX: Final = "preset:"
NAMES: Final = ("git", "make", "node", "python", "readonly", "secrets", "service")


def read_preset(name: str) -> bytes:
    """The preset's YAML. ``name`` is one of `NAMES`."""
    assert name in NAMES
    with open(os.path.join(os.path.dirname(__file__), "presets", f"{name}.yaml"), "rb") as file:
        return file.read()
