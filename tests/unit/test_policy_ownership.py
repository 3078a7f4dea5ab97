"""Who else can write to a policy file."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from fsserver.policy.ownership import is_private_group, others_can_write
from tests.support import require_kernel


class User(NamedTuple):
    pw_name: str
    pw_uid: int
    pw_gid: int


class Group(NamedTuple):
    gr_name: str
    gr_gid: int
    gr_mem: list[str]


ADA = User("ada", 1000, 1000)
BOB = User("bob", 1001, 1001)


@pytest.mark.parametrize(
    ("group", "user", "everybody", "private"),
    [
        pytest.param(Group("ada", 1000, []), ADA, [ADA, BOB], True, id="hers alone"),
        pytest.param(Group("ada", 1000, ["ada"]), ADA, [ADA, BOB], True, id="hers, and it says so"),
        pytest.param(Group("ada", 1000, []), ADA, [], True, id="users are not listed, the name tells"),
        pytest.param(Group("ada", 1000, ["bob"]), ADA, [ADA, BOB], False, id="another member"),
        pytest.param(Group("ada", 1000, ["ada", "bob"]), ADA, [ADA, BOB], False, id="another member too"),
        pytest.param(Group("ada", 1000, []), ADA, [ADA, User("eve", 1002, 1000)], False, id="primary group of another"),
        pytest.param(Group("ada", 1000, []), ADA, [ADA, User("toor", 1000, 1000)], True, id="another name of hers"),
        pytest.param(Group("staff", 50, ["ada"]), ADA, [ADA, BOB], False, id="not her primary group"),
        pytest.param(Group("users", 100, []), User("ada", 1000, 100), [], False, id="shared, users are not listed"),
        pytest.param(Group("ada", 1000, []), User("ada", 1000, 100), [ADA], False, id="named alike, not primary"),
    ],
)
def test_a_group_is_private_only_if_nobody_else_is_in_it(
    group: Group, user: User, everybody: list[User], private: bool
) -> None:
    assert is_private_group(group, user, everybody) is private


def can_others_write(path: Path, uid: int) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return others_can_write(descriptor, os.fstat(descriptor), uid)
    finally:
        os.close(descriptor)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.touch()
    os.chown(path, -1, pwd.getpwuid(os.geteuid()).pw_gid)
    return path


def private_here() -> bool:
    """What this machine's databases say about the group of whoever runs the tests."""
    me = pwd.getpwuid(os.geteuid())
    return is_private_group(grp.getgrgid(me.pw_gid), me, pwd.getpwall())


@pytest.mark.parametrize("mode", [0o664, 0o660, 0o620])
def test_umask_002_is_accepted_where_the_group_is_private(mine: Path, mode: int) -> None:
    mine.chmod(mode)
    assert can_others_write(mine, os.geteuid()) is not private_here()


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o644, False), (0o602, True), (0o666, True)])
def test_others_are_asked_of_the_permission_bits(mine: Path, mode: int, others: bool) -> None:
    mine.chmod(mode)
    assert can_others_write(mine, os.geteuid()) is others


def test_a_file_of_somebody_else_is_not_excused_by_a_private_group(mine: Path) -> None:
    mine.chmod(0o660)
    assert can_others_write(mine, os.geteuid() + 1)


def test_a_group_that_no_database_knows_counts_as_others(mine: Path) -> None:
    unknown = 54321
    with pytest.raises(KeyError):
        grp.getgrgid(unknown)
    mine.chmod(0o660)
    if os.geteuid() == 0:
        os.chown(mine, -1, unknown)
        assert can_others_write(mine, 0)
    else:
        found = list(os.stat(mine))
        found[5] = unknown  # st_gid
        descriptor = os.open(mine, os.O_RDONLY)
        assert others_can_write(descriptor, os.stat_result(found), os.geteuid())
        os.close(descriptor)


def test_an_access_list_counts_as_others_though_the_group_is_private(mine: Path) -> None:
    entries = [(1, 6, 2**32 - 1), (2, 6, 54321), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(mine, "system.posix_acl_access", value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        require_kernel(f"access control lists on the file system of {mine}")
    assert os.stat(mine).st_mode & 0o020
    assert can_others_write(mine, os.geteuid())
