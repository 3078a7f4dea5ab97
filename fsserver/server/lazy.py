"""Packages whose own code waits until somebody asks for a name in it.

The protocol library's packages load its client, its HTTP client and its high-level server, whatever is used of them:
a fifth of a server's start. Their submodules do not need that.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


class _LazyPackage(ModuleType):
    """A package that is in place, so that its submodules can be imported, and not executed yet."""

    def __getattr__(self, name: str) -> object:
        """Called for what the package does not have: executing it may change that, once."""
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # before it is executed: it imports itself
        spec.loader.exec_module(self)
        return getattr(self, name)


def put_off(*packages: str) -> None:
    """Let these be executed at the first use of a name in them. One that is loaded already stays as it is.

    Args:
        packages: dotted names, each after those that it lies in.
    """
    for name in packages:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _LazyPackage
        sys.modules[name] = module
        above, _, last = name.rpartition(".")
        if above:
            setattr(sys.modules[above], last, module)
