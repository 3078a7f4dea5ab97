"""The index of protected names against a fresh one, after every few of many random changes to the tree.

Three of them: the kernel tells what changes in every directory, in the first few, and in none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fsserver.policy.compiled import Mode, PathRule, RootRules
from fsserver.sandbox.protected import MAX_WATCHED, ProtectedIndex
from tests.trees import ORIGIN

PATHS = st.lists(st.sampled_from(["a", "b", ".env", "keys", "ro", ".git"]), min_size=1, max_size=4).map("/".join)


def known(index: ProtectedIndex) -> list[tuple[object, ...]]:
    """Without the times: that of a file also changes where its directory does not."""
    return [(each.name, each.protection, each.kind, each.identity[:2]) for each in index.names]


class Tree(RuleBasedStateMachine):
    """Each rule does what the system allows; what it refuses is no change, which has to be noticed as none too."""

    def __init__(self) -> None:
        super().__init__()
        self.top = tempfile.mkdtemp(prefix="fsserver-index-")
        self.policy = RootRules(
            "work",
            self.top,
            Mode.RW,
            ORIGIN,
            deny=(PathRule(".env", ORIGIN), PathRule("keys/**", ORIGIN, ("keys/a/**",))),
            read_only=(PathRule("ro", ORIGIN), PathRule("**/.git", ORIGIN, ("**/.git/**",))),
        )
        self.descriptor = os.open(self.top, os.O_PATH)
        self.indexes = [
            ProtectedIndex(self.policy, self.descriptor, folds=False, most_watched=most) for most in (MAX_WATCHED, 3, 0)
        ]

    def teardown(self) -> None:
        for index in self.indexes:
            index.close()
        os.close(self.descriptor)
        shutil.rmtree(self.top)

    def path(self, name: str) -> str:
        return os.path.join(self.top, name)

    @rule(name=PATHS)
    def make_file(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL, 0o600))

    @rule(name=PATHS)
    def make_directories(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.makedirs(self.path(name))

    @rule(name=PATHS, leads_to=PATHS)
    def make_link(self, name: str, leads_to: str) -> None:
        with contextlib.suppress(OSError):
            os.symlink(leads_to, self.path(name))

    @rule(name=PATHS, other=PATHS)
    def make_hard_link(self, name: str, other: str) -> None:
        with contextlib.suppress(OSError):
            os.link(self.path(name), self.path(other), follow_symlinks=False)

    @rule(name=PATHS, other=PATHS)
    def rename(self, name: str, other: str) -> None:
        with contextlib.suppress(OSError):
            os.rename(self.path(name), self.path(other))

    @rule(name=PATHS)
    def remove(self, name: str) -> None:
        path = self.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)

    @invariant()
    def indexes_are_what_a_fresh_walk_finds(self) -> None:
        for index in self.indexes:
            before = index.names, index.directories, index.generation
            changed = index.refresh()
            fresh = ProtectedIndex(self.policy, self.descriptor, folds=False, most_watched=0)
            fresh.refresh()
            assert known(index) == known(fresh)
            assert index.directories == fresh.directories
            assert (index.generation != before[2]) is changed
            if not changed:
                assert (index.names, index.directories) == before[:2]
        names = {name.name for name in index.names}
        for name in (*names, *index.directories):
            assert os.path.lexists(self.path(name))
        for name in names:
            parents = name.split("/")[:-1]
            for end in range(1, len(parents) + 1):
                above = "/".join(parents[:end])
                assert above in index.directories or any(
                    above == each or above.startswith(f"{each}/") for each in names
                )


TestTree = pytest.mark.slow(Tree.TestCase)
TestTree.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
