"""Policies in temporary directories, with surroundings that hold nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsserver.policy.compiled import Policy
from fsserver.policy.loader import load_policy
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.surroundings import Surroundings


@dataclass(frozen=True)
class Desk:
    """A home directory, and a place beside it for policy files."""

    base: Path

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def here(self) -> Surroundings:
        state = str(self.home / ".local/state/fsserver")
        code = ("fsserver's own code", str(self.base / "code"))
        return Surroundings(str(self.home), state, os.geteuid(), (code,), (str(self.base / "imports"),))

    def directory(self, name: str) -> Path:
        """A directory beneath home, made if it is not there."""
        path = self.home / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, text: str | bytes, name: str = "policy.yaml") -> Path:
        path = self.base / "policies" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        return path

    def load(self, text: str | bytes, name: str = "policy.yaml") -> Policy:
        return load_policy(self.write(text, name), self.here)

    def problems(self, text: str | bytes, name: str = "policy.yaml") -> list[str]:
        """What is wrong, each as ``CODE line:column message``."""
        with pytest.raises(PolicyErrors) as caught:
            self.load(text, name)
        return [f"{p.code} {p.line}:{p.column} {p.message}" for p in caught.value.problems]


def desk_in(directory: Path) -> Desk:
    desk = Desk(directory)
    for name in ("home/notes", "home/app/src", "code", "imports"):
        (directory / name).mkdir(parents=True)
    return desk
