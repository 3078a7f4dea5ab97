"""What to serve, as ``serve`` and ``doctor`` take it from the command line: a policy file, or directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from fsserver.policy.compiled import Policy


@dataclass(frozen=True, slots=True)
class Selection:
    """The options as given. ``roots``: of ``--root``; ``write`` and ``profile`` say how to serve what is chosen."""

    policy_file: Path | None
    roots: tuple[str, ...]
    write: bool
    profile: str | None

    @property
    def given(self) -> bool:
        """Whether anything was chosen."""
        return self.policy_file is not None or bool(self.roots)

    def check(self, *, needed: bool) -> None:
        """Raise `click.UsageError` if the options exclude each other, or nothing is chosen and that is ``needed``."""
        if self.policy_file is not None and self.roots:
            raise click.UsageError("--policy and --root exclude each other: a policy file names its own roots.")
        if needed and not self.given:
            raise click.UsageError("Say what to serve: --policy FILE, or --root DIR (repeatable).")
        if self.policy_file is None and self.profile:
            raise click.UsageError("--profile needs --policy: profiles are written in a policy file.")
        if not self.roots and self.write:
            raise click.UsageError("--write goes with --root; in a policy file, write `mode: rw` at the root.")

    def load(self) -> Policy:
        """The policy that is chosen. Loading is the slow part, so it is imported here.

        Raises:
            ConfigError: the policy is wrong, or has no such profile.
        """
        if self.policy_file is None:
            from fsserver.policy.loader import policy_from_roots  # noqa: PLC0415

            return policy_from_roots(self.roots, write=self.write)
        from fsserver.policy.decision import narrow  # noqa: PLC0415
        from fsserver.policy.loader import load_policy  # noqa: PLC0415

        policy = load_policy(Path(os.path.expanduser(self.policy_file)))  # a client's configuration knows no shell
        return narrow(policy, self.profile) if self.profile else policy

    def arguments(self, policy: Policy) -> list[str]:
        """The options that choose the same from any working directory. ``policy``: as loaded."""
        arguments: list[str] = []
        if policy.source:
            arguments += ["--policy", policy.source]
        for root in self.roots:
            arguments += ["--root", str(Path(root).expanduser().absolute())]
        if self.write:
            arguments.append("--write")
        if self.profile:
            arguments += ["--profile", self.profile]
        return arguments


def refuse_what_is_no_option(rest: Sequence[str]) -> None:
    """Raise `click.UsageError` if a word is left over, with the option that it is most likely meant for."""
    if not rest:
        return
    option = "--policy" if rest[0].endswith((".yaml", ".yml", ".json")) else "--root"
    raise click.UsageError(f"Got an unexpected argument: {rest[0]}. Did you mean {option} {rest[0]}?")
