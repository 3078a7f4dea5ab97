"""Hostile paths: one table of paths, with every operation, on both resolvers.

Each row says which operations would have succeeded without fsserver (`naked`), and that is tried: a refusal of what is
impossible anyway would prove nothing. After each refusal the world outside the root is compared with what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fsserver.errors import FsserverError
from fsserver.paths.resolver import OpenAt2Resolver, Resolver, WalkResolver
from tests.attacks.verbs import NAKED, OPERATIONS, OWN_FILE
from tests.trees import build, rules, snapshot, workspace

RESOLVERS: dict[str, type[Resolver]] = {"openat2": OpenAt2Resolver, "walk": WalkResolver}

# What is outside, and what an ordinary project has inside. Each test gets both anew, and who comes after a change.
WORLD = (
    "file outside/secret.txt SECRET",
    "file outside/dir/deep.txt DEEP",
    "dir outside/empty",
    "file root-evil/secret.txt SECRET",
    f"file root/{OWN_FILE} mine",
    "file root/file.txt text",
    "file root/dir/sub/file.txt below",
)

READS = frozenset({"read", "stat", "edit", "copy_from"})
LOOKS = frozenset({"stat", "list", "walk"})
FILE = READS | {"write", "delete", "delete_tree", "move_from", "copy_to"}
DIRECTORY = LOOKS | {"make_directory", "move_from", "delete_tree"}
ABSENT = frozenset({"write", "create", "make_directory", "move_to", "copy_to"})
# A link's own name lies inside, and so do moving and deleting it.
LINK_ITSELF = frozenset({"move_from", "delete", "delete_tree"})
TAKEN = frozenset({"create", "move_to", "copy_to"})


@dataclass(frozen=True)
class Row:
    """One path. ``{base}`` is the directory that holds root and outside.

    Attributes:
        naked: the operations that succeed without protection.
        code: what fsserver answers.
        otherwise: operations with another answer; None is success, "*" any of our errors.
        tree: what is added to `WORLD`.
    """

    name: str
    path: str
    code: str
    naked: frozenset[str] = frozenset()
    tree: Sequence[str] = ()
    otherwise: dict[str, str | None] = field(default_factory=dict)
    deny: Sequence[str] = ()
    read_only: Sequence[str] = ()

    def answer(self, operation: str) -> str | None:
        return self.otherwise.get(operation, self.code)


OUTSIDE = "denied.outside_roots"
ESCAPE = "denied.link_escape"
PROTECTED = "denied.protected"
READ_ONLY = "denied.read_only"
BAD = "request.path"
EXISTS = "resource.exists"


def last_is_a_link() -> dict[str, str | None]:
    """A link in the last place: its name is taken, and the name itself may be moved and deleted."""
    return {**dict.fromkeys(TAKEN, EXISTS), **dict.fromkeys(LINK_ITSELF, None)}


ESCAPES = [
    Row("parent", "..", OUTSIDE, LOOKS | {"make_directory"}),
    Row("parent_of_parent", "../..", OUTSIDE, LOOKS | {"make_directory"}),
    Row("file_above", "../outside/secret.txt", OUTSIDE, FILE),
    Row("directory_above", "../outside/dir", OUTSIDE, DIRECTORY),
    Row("new_file_above", "../outside/new.txt", OUTSIDE, ABSENT),
    Row("dotdot_in_the_middle", "dir/../../outside/secret.txt", OUTSIDE, FILE),
    Row("dotdot_at_the_end", "dir/sub/../../../outside/dir/..", OUTSIDE, LOOKS | {"make_directory"}),
    Row("dotdot_with_dots", "./dir/./.././../outside/secret.txt", OUTSIDE, FILE),
    Row("many_dotdots", "../" * 60 + "{base}/outside/secret.txt", OUTSIDE, FILE),
    Row("absolute", "{base}/outside/secret.txt", OUTSIDE, FILE),
    Row("absolute_directory", "{base}/outside/dir", OUTSIDE, DIRECTORY),
    Row("absolute_new", "{base}/outside/new.txt", OUTSIDE, ABSENT),
    Row("absolute_through_root", "{base}/root/../outside/secret.txt", OUTSIDE, FILE),
    Row("absolute_with_two_slashes", "/{base}/outside/secret.txt", OUTSIDE, FILE),
    Row("sibling_with_the_roots_name_as_prefix", "{base}/root-evil/secret.txt", OUTSIDE, FILE),
    Row("sibling_relative", "../root-evil/secret.txt", OUTSIDE, FILE),
    Row("slash", "/", OUTSIDE, LOOKS | {"make_directory"}),
    Row("proc_self_root", "/proc/self/root{base}/outside/secret.txt", OUTSIDE, FILE),
    Row("proc_self_cwd", "/proc/self/cwd/../outside/secret.txt", OUTSIDE, FILE),
    Row("dev_fd", "/dev/fd/../fd", OUTSIDE, LOOKS | {"make_directory"}),
    Row(
        "link_to_file",
        "out",
        ESCAPE,
        FILE,
        ["link root/out -> ../outside/secret.txt"],
        last_is_a_link(),
    ),
    Row("absolute_link_to_file", "out", ESCAPE, FILE, ["link root/out -> {base}/outside/secret.txt"], last_is_a_link()),
    Row(
        "link_to_directory",
        "out",
        ESCAPE,
        LOOKS | {"make_directory", "move_from", "delete"},
        ["link root/out -> ../outside/dir"],
        last_is_a_link(),
    ),
    Row("below_link_to_directory", "out/deep.txt", ESCAPE, FILE, ["link root/out -> ../outside/dir"]),
    Row("new_below_link_to_directory", "out/new.txt", ESCAPE, ABSENT, ["link root/out -> {base}/outside/dir"]),
    Row(
        "directories_below_link",
        "out/a/b/c",
        ESCAPE,
        frozenset({"make_directory"}),
        ["link root/out -> ../outside/dir"],
    ),
    Row(
        "dangling_link",
        "out",
        ESCAPE,
        frozenset({"write", "copy_to", "make_directory", *LINK_ITSELF}) - {"make_directory"},
        ["link root/out -> ../outside/new.txt"],
        last_is_a_link(),
    ),
    Row("below_dangling_link", "out/x", ESCAPE, frozenset(), ["link root/out -> ../outside/nowhere"]),
    Row("link_to_parent", "up/outside/secret.txt", ESCAPE, FILE, ["link root/up -> .."]),
    Row("link_to_slash", "top{base}/outside/secret.txt", ESCAPE, FILE, ["link root/top -> /"]),
    Row(
        "chain_of_links",
        "a",
        ESCAPE,
        FILE,
        ["link root/a -> b", "link root/b -> dir/c", "link root/dir/c -> ../../outside/secret.txt"],
        last_is_a_link(),
    ),
    Row(
        "link_out_and_back",
        "back",
        ESCAPE,
        FILE,
        ["link root/back -> ../root/file.txt"],
        last_is_a_link(),
    ),
    Row("dotdot_after_link", "in/../../../outside/secret.txt", OUTSIDE, FILE, ["link root/in -> dir/sub"]),
    Row(
        "dotdot_after_link_upwards",
        "dir/sub/in/../outside/secret.txt",
        ESCAPE,
        FILE,
        ["link root/dir/sub/in -> {base}/root", "dir outside"],
    ),
    Row("absolute_link_inside_then_up", "in/secret.txt", ESCAPE, FILE, ["link root/in -> {base}/root/../outside"]),
    Row("link_to_proc_root", "r{base}/outside/secret.txt", ESCAPE, FILE, ["link root/r -> /proc/self/root"]),
    Row("link_to_proc_cwd", "r/../outside/secret.txt", ESCAPE, FILE, ["link root/r -> /proc/self/cwd"]),
    Row("link_to_sibling", "s", ESCAPE, FILE, ["link root/s -> {base}/root-evil/secret.txt"], last_is_a_link()),
]

MALFORMED = [
    Row("nul", "\0", BAD),
    Row("nul_at_the_end", "file.txt\0", BAD),
    Row("nul_in_the_middle", "file.txt\0/../../outside", BAD),
    Row("nul_cuts_to_an_allowed_name", "file.txt\0.png", BAD),
    Row("lone_surrogate", "file\ud800.txt", BAD),
    Row("surrogate_of_a_byte", "file\udcff.txt", BAD),
    Row("too_long", "a/" * 2048, BAD),
    Row("five_thousand_components", "a/" * 5000 + "x", BAD),
    Row("name_of_256_bytes", "a" * 256, BAD),
    Row("name_of_256_bytes_in_directories", "b" * 256 + "/x", BAD),
    Row("windows_drive", "C:\\Windows\\system32", BAD),
    Row("windows_drive_with_slashes", "c:/Windows", BAD),
    Row("windows_drive_alone", "Z:", BAD),
]

ENV = ["**/.env", "secrets", "**/caf\u00e9.key"]
FROZEN = [".git/hooks", ".git/config"]
SAME_NAME = frozenset(FILE)


def row_denied(name: str, path: str, naked: frozenset[str], *tree: str, **otherwise: str | None) -> Row:
    return Row(name, path, PROTECTED, naked, tree, otherwise, ENV, FROZEN)


ENV_FILE = "file root/.env KEY=1"
SECRETS = "file root/secrets/key.txt KEY"
DENIED = [
    row_denied("denied_file", ".env", FILE, ENV_FILE),
    row_denied("denied_file_in_directory", "dir/.env", FILE, "file root/dir/.env KEY=1"),
    row_denied("denied_absent", ".env", ABSENT),
    row_denied("denied_absolute", "{base}/root/.env", FILE, ENV_FILE),
    row_denied("denied_by_dotdot", "dir/../.env", FILE, ENV_FILE),
    row_denied("denied_by_dotdot_through_root", "../root/.env", FILE, ENV_FILE),
    row_denied("denied_with_slashes", ".//.env", FILE, ENV_FILE),
    row_denied("denied_directory", "secrets", DIRECTORY, SECRETS),
    row_denied("below_denied_directory", "secrets/key.txt", FILE, SECRETS),
    row_denied("absent_below_denied_directory", "secrets/new.txt", ABSENT, SECRETS),
    row_denied("absent_below_absent_denied_directory", "secrets/a/b", frozenset({"make_directory"})),
    row_denied("denied_below_absent_directory", "no/such/.env", frozenset({"make_directory"})),
    row_denied("link_to_denied", "l", FILE, ENV_FILE, "link root/l -> .env", **last_is_a_link()),
    row_denied("absolute_link_to_denied", "l", FILE, ENV_FILE, "link root/l -> {base}/root/.env", **last_is_a_link()),
    row_denied("below_link_to_denied_directory", "l/key.txt", FILE, SECRETS, "link root/l -> secrets"),
    row_denied("absent_below_link_to_denied_directory", "l/no.txt", ABSENT, SECRETS, "link root/l -> secrets"),
    row_denied(
        "deeply_absent_below_link_to_denied_directory",
        "l/no/x",
        frozenset({"make_directory"}),
        SECRETS,
        "link root/l -> secrets",
    ),
    row_denied(
        "dotdot_back_into_denied",
        "l/../key.txt",
        FILE,
        "file root/secrets/sub/x X",
        SECRETS,
        "link root/l -> secrets/sub",
    ),
    row_denied(
        "denied_name_is_a_link", ".env", FILE | {"make_directory"} - {"make_directory"}, "link root/.env -> file.txt"
    ),
    row_denied(
        "denied_name_is_a_link_in_a_linked_directory",
        "d/.env",
        FILE,
        "link root/dir/.env -> ../file.txt",
        "link root/d -> dir",
    ),
    row_denied(
        "hard_link_to_denied",
        "harmless.txt",
        FILE,
        ENV_FILE,
        "hard root/harmless.txt = root/.env",
        **dict.fromkeys(TAKEN, EXISTS),
    ),
    row_denied(
        "hard_link_below_denied_directory",
        "harmless.txt",
        FILE,
        SECRETS,
        "hard root/harmless.txt = root/secrets/key.txt",
        **dict.fromkeys(TAKEN, EXISTS),
    ),
    row_denied(
        "link_to_hard_link_to_denied",
        "l",
        FILE,
        ENV_FILE,
        "hard root/h.txt = root/.env",
        "link root/l -> h.txt",
        **last_is_a_link(),
    ),
    row_denied("composed_name", "caf\u00e9.key", FILE, "file root/caf\u00e9.key KEY"),
    row_denied("decomposed_name", "cafe\u0301.key", FILE, "file root/cafe\u0301.key KEY"),
    row_denied("composed_name_for_decomposed_file", "caf\u00e9.key", ABSENT, "file root/cafe\u0301.key KEY"),
    row_denied("denied_with_trailing_slash", "secrets/", DIRECTORY, SECRETS),
    row_denied("denied_file_as_a_directory", ".env/x", frozenset(), ENV_FILE),
]

CHANGING = frozenset(OPERATIONS) - {"read", "stat", "list", "walk", "copy_from"}


def row_frozen(name: str, path: str, naked: frozenset[str], *tree: str, **otherwise: str | None) -> Row:
    return Row(
        name, path, READ_ONLY, naked, tree, {**dict.fromkeys(set(OPERATIONS) - CHANGING, "*"), **otherwise}, ENV, FROZEN
    )


GIT = "file root/.git/config [core]"
FROZEN_ROWS = [
    row_frozen("frozen_file", ".git/config", FILE, GIT),
    row_frozen("frozen_absent", ".git/hooks/pre-commit", frozenset({"make_directory"}), GIT),
    row_frozen("frozen_absent_directory", ".git/hooks", ABSENT, GIT),
    row_frozen("frozen_with_absent_parents", ".git/hooks/a/b", frozenset({"make_directory"})),
    row_frozen("link_to_frozen", "l", FILE, GIT, "link root/l -> .git/config", **last_is_a_link()),
    row_frozen("new_below_link_to_frozen", "l/pre-commit", ABSENT, "dir root/.git/hooks", "link root/l -> .git/hooks"),
    row_frozen("hard_link_to_frozen", "h", FILE, GIT, "hard root/h = root/.git/config", **dict.fromkeys(TAKEN, EXISTS)),
]

MACHINE = ("..", "../..", "/", "/dev/fd/../fd")
ALL = ESCAPES + MALFORMED + DENIED + FROZEN_ROWS


def _world(base: Path, row: Row) -> Path:
    base.mkdir()
    build(base, WORLD)
    build(base, row.tree)
    return base


def _attack(row: Row, operation: str, resolver: Resolver, base: Path) -> str | None:
    """The code of our answer, None for success."""
    path = row.path.replace("{base}", str(base))
    with workspace(rules(base / "root", deny=row.deny, read_only=row.read_only), resolver=resolver) as work:
        try:
            OPERATIONS[operation](work, path)
        except FsserverError as error:
            refusal = error
        else:
            return None
    assert "SECRET" not in refusal.message
    assert "secret.txt" not in refusal.message or "secret.txt" in row.path, "the message names a link's target"
    return refusal.code


def _outside(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: value for name, value in seen.items() if not name.startswith("root/")}


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_path_is_refused_by_every_operation_and_nothing_changes(row: Row, resolver: str, tmp_path: Path) -> None:
    base, before = tmp_path, None
    for operation in OPERATIONS:
        if before is None:
            base = _world(tmp_path / operation, row)
            before = snapshot(base)
        answer = _attack(row, operation, RESOLVERS[resolver](), base)
        expected = row.answer(operation)
        assert answer == expected or (expected == "*" and answer != ESCAPE), operation
        after = snapshot(base)
        if answer is None:
            assert _outside(after) == _outside(before), operation
            before = None  # the next operation gets a new world; after a refusal this one is as it was
        else:
            assert after == before, operation


@pytest.mark.parametrize("row", [row for row in ALL if row.code != BAD], ids=lambda row: row.name)
def test_unprotected_calls_would_have_succeeded(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded = set()
    for operation, naked in NAKED.items():
        if row.path in MACHINE and operation not in LOOKS | {"make_directory"}:
            continue  # not tried on what the machine lives on
        base = _world(tmp_path / operation, row)
        monkeypatch.chdir(base / "root")
        with suppress(OSError):
            naked(row.path.replace("{base}", str(base)))
            succeeded.add(operation)
    assert succeeded == row.naked
