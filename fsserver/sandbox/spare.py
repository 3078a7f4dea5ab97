"""Modules that Python's own library imports, and that the launcher never uses. Import this one first.

Each cell is a copy of the launcher: what is in memory here is copied, counted and given back for every command. The
module ``inspect`` alone, which ``dataclasses`` imports for one rare case, brings a fifth of it.
"""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["put_off"]


class _Later(ModuleType):
    """In a module's place until somebody asks for a name in it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(self.__name__, None)
        module = __import__(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def put_off(*modules: str) -> None:
    """Let these be loaded at the first use of a name in them. One that is loaded already stays as it is.

    Args:
        modules: without dots.
    """
    for name in modules:
        sys.modules.setdefault(name, _Later(name))
