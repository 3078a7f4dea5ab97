"""Commands that try to get out, by real programs in real cells. Argument rules are off: the sandbox alone holds.

One cell makes all attempts of the table, each in a process of its own (`tests.attacks.probe`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from fsserver.policy.compiled import Layer
from tests.attacks import probe
from tests.attacks.surroundings import PROTECTED, Surroundings, attacked, surroundings
from tests.cells import SETTINGS, Launched, every_setting, give


class Row(NamedTuple):
    """One attempt.

    Attributes:
        full, landlock: what comes of it in a cell of that layer; alternatives are joined by "or". ``done`` in
            `landlock` is a gap that is documented.
        free: what comes of it without a sandbox; None where an unprivileged user cannot, or must not try it here.
    """

    name: str
    full: str
    landlock: str
    free: str | None = "done"


OUTSIDE = (
    Row("read_outside", "ENOENT", "EACCES"),
    Row("read_by_dots", "ENOENT", "EACCES"),
    Row("read_by_dots_from_here", "ENOENT", "EACCES"),
    Row("read_by_a_new_link", "ENOENT", "EACCES"),
    Row("read_by_a_planted_link", "ENOENT", "EACCES"),
    Row("read_by_proc_self_root", "ENOENT", "EACCES"),
    Row("read_by_root_of_init", "EACCES", "EACCES", None),
    Row("read_by_root_of_launcher", "ENOENT", "EACCES"),
    Row("read_by_an_open_descriptor", "ENOTDIR", "ENOTDIR", None),
    Row("read_shadow", "ENOENT", "EACCES", None),
    Row("read_state", "ENOENT", "EACCES", None),
    Row("read_home", "ENOENT", "EACCES"),
    Row("list_outside", "ENOENT", "EACCES"),
    Row("stat_outside", "ENOENT", "done"),
    Row("stat_system", "ENOENT", "done"),
    Row("write_outside", "ENOENT", "EACCES"),
    Row("truncate_outside", "ENOENT", "EACCES"),
    Row("create_outside", "ENOENT", "EACCES"),
    Row("make_directory_outside", "ENOENT", "EACCES"),
    Row("remove_outside", "ENOENT", "EACCES"),
    Row("move_out", "ENOENT", "EACCES"),
    Row("move_in", "ENOENT", "EACCES"),
    Row("link_in", "ENOENT", "EXDEV"),
    Row("write_system", "EROFS", "EACCES", None),
    Row("write_etc", "EROFS", "EACCES", None),
    Row("write_top", "EROFS", "EACCES", None),
    Row("chmod_outside", "ENOENT", "done"),
    Row("utime_outside", "ENOENT", "done"),
    Row("setxattr_outside", "ENOENT", "done"),
    Row("read_in_read_only_root", "done", "done"),
    Row("write_in_read_only_root", "EROFS", "EACCES"),
    Row("create_in_read_only_root", "EROFS", "EACCES"),
    Row("remove_in_read_only_root", "EROFS", "EACCES"),
    Row("rename_in_read_only_root", "EROFS", "EACCES"),
    Row("chmod_in_read_only_root", "EROFS", "done"),
    Row("make_a_device", "EACCES", "EACCES", None),
    Row("make_a_block_device", "EACCES", "EACCES", None),
    Row("open_a_disk", "ENOENT", "EACCES", None),
)

PROCESSES = (
    Row("read_environment_of_launcher", "ENOENT", "EACCES"),
    Row("read_environment_of_parent", "EACCES", "EACCES", None),
    Row("read_memory_of_parent", "EACCES", "EACCES", None),
    Row("read_descriptors_of_parent", "EACCES", "EACCES", None),
    Row("read_environment_of_bystander", "ENOENT", "EACCES"),
    Row("read_memory_of_bystander", "ENOENT", "EACCES"),
    Row("read_root_of_bystander", "ENOENT", "EACCES"),
    Row("read_descriptors_of_bystander", "ENOENT", "done"),
    Row("read_through_descriptor_of_bystander", "ENOENT", "EACCES"),
    Row("read_command_line_of_bystander", "ENOENT", "done"),
    Row("signal_bystander", "ESRCH", "EPERM"),
    Row("signal_launcher", "ESRCH", "EPERM"),
    Row("limit_bystander", "EPERM", "EPERM"),
    Row("limit_parent", "EPERM", "EPERM", None),
    Row("limit_itself", "done", "done"),
    Row("slow_bystander_down", "ESRCH", "EPERM"),
    Row("slow_parent_down", "EPERM", "EPERM", None),
    Row("slow_all_of_the_user_down", "EPERM", "EPERM", None),
    Row("slow_itself_down", "done", "done"),
    Row("schedule_bystander", "ESRCH", "EPERM"),
    Row("schedule_parent", "EPERM", "EPERM", None),
    Row("schedule_itself", "done", "done"),
    Row("order_input_and_output_of_parent", "EPERM", "EPERM", None),
    Row("order_input_and_output_of_all_of_the_user", "EPERM", "EPERM", None),
    Row("ptrace_parent", "EPERM", "EPERM", None),
    Row("ptrace_bystander", "EPERM", "EPERM", None),  # whether it may be traced is the machine's to say
    Row("ptrace_own_child", "EPERM", "EPERM"),
    Row("read_memory_by_call", "EPERM", "EPERM"),
    Row("take_a_descriptor_of_parent", "EPERM", "EPERM", None),
    Row("take_own_descriptor", "EPERM", "EPERM"),
    Row("compare_kernel_pointers", "EPERM", "EPERM", None),
    Row("write_core_pattern", "EACCES", "EACCES", None),
    Row("write_own_sysctl", "EROFS", "EACCES", None),
    Row("trigger_sysrq", "ENOENT", "ENOENT", None),
    Row("write_own_uid_map", "EACCES", "EACCES", None),
)

NETWORK = (
    Row("connect_to_a_path", "EPERM", "EPERM"),
    Row("connect_to_an_abstract_name", "EPERM", "EPERM"),
    Row("send_to_an_abstract_name_from_a_pair", "EPERM", "EPERM"),
    Row("make_a_stream_pair", "done", "done"),
    Row("make_vsock", "EAFNOSUPPORT", "EAFNOSUPPORT", None),
    Row("make_netlink_uevent", "EAFNOSUPPORT", "EAFNOSUPPORT"),
    Row("make_netlink_netfilter", "EAFNOSUPPORT", "EAFNOSUPPORT", None),
    Row("make_packet", "EAFNOSUPPORT", "EAFNOSUPPORT", None),
    Row("make_kernel_crypto", "EAFNOSUPPORT", "EAFNOSUPPORT", None),
    Row("make_raw", "EPERM", "EPERM", None),
    # In its own network namespace a command reaches itself, and nobody listens there.
    Row("connect_to_host_loopback", "ECONNREFUSED", "EPERM"),
    Row("connect_to_host_loopback_6", "ECONNREFUSED", "EPERM", None),
    Row("send_a_datagram_to_host_loopback", "ECONNREFUSED", "EPERM"),
    Row("ask_a_name_server", "ENETUNREACH", "EPERM", None),
    Row("connect_to_the_internet", "ENETUNREACH", "EPERM", None),
)

KERNEL = (
    Row("make_io_uring", "EPERM", "EPERM", None),
    Row("load_bpf", "EPERM", "EPERM", None),
    Row("open_perf_event", "EPERM", "EPERM", None),
    Row("use_keyring", "EPERM", "EPERM"),
    Row("add_key", "EPERM", "EPERM"),
    Row("handle_page_faults", "EPERM", "EPERM", None),
    Row("unshare_user", "EPERM", "EPERM"),
    *(Row(f"unshare_{kind}", "EPERM", "EPERM", None) for kind in probe.CLONE_NEW if kind != "user"),
    *(Row(name, "EPERM", "EPERM", None) for name in probe.OF_SUBVOLUMES),
    Row("clone_into_a_user_namespace", "EPERM", "EPERM"),
    Row("clone3_into_a_user_namespace", "ENOSYS", "ENOSYS"),
    Row("join_a_namespace", "EPERM", "EPERM", None),
    Row("mount", "EPERM", "EPERM", None),
    Row("bind", "EPERM", "EPERM", None),
    Row("unmount", "EPERM", "EPERM", None),
    Row("pivot_root", "EPERM", "EPERM", None),
    Row("change_root", "EPERM", "EPERM", None),
    Row("open_a_mount_tree", "EPERM", "EPERM", None),
    Row("open_a_file_system", "EPERM", "EPERM", None),
    Row("change_a_mount", "EPERM", "EPERM", None),
    Row("open_by_handle", "EPERM", "EPERM", None),
    Row("watch_whole_mounts", "EPERM", "EPERM", None),
    Row("load_a_module", "EPERM", "EPERM", None),
    Row("set_the_host_name", "EPERM", "EPERM", None),
    Row("set_the_clock", "EPERM", "EPERM", None),
    Row("read_the_kernel_log", "EPERM", "EPERM", None),
    Row("type_into_a_terminal", "EPERM", "EACCES", None),
    Row("type_into_nothing", "EPERM", "EPERM", None),
    Row("write_to_a_terminal_of_the_host", "EACCES", "EACCES"),
    Row("open_the_controlling_terminal", "ENXIO", "ENXIO", None),
    Row("raise_open_files", "EPERM", "EPERM", None),
    Row("raise_priority", "EPERM", "EPERM", None),
    # EINVAL where no other user is mapped in its namespace.
    Row("become_root", "EINVAL", "EPERM or EINVAL", None),
    Row("become_another", "EINVAL", "EPERM or EINVAL", None),
    Row("drop_groups", "EPERM", "EPERM", None),
)

# What a file in a root could do to others, outside any sandbox: run as the root's owner.
SET_ID = (
    Row("set_user_id_by_chmod", "EPERM", "EPERM"),
    Row("set_group_id_by_chmod", "EPERM", "EPERM"),
    Row("set_user_id_by_descriptor", "EPERM", "EPERM"),
    Row("set_user_id_by_directory", "EPERM", "EPERM"),
    Row("set_user_id_by_fchmodat2", "EPERM", "EPERM", None),  # from Linux 6.6 on
    Row("make_a_file_with_user_id", "EPERM", "EPERM"),
    Row("make_a_nameless_file_with_user_id", "EPERM", "EPERM", None),
    Row("make_a_node_with_user_id", "EPERM", "EPERM"),
    Row("make_a_file_with_user_id_unseen", "ENOSYS", "ENOSYS"),
    Row("make_a_file_with_group_id_that_an_access_list_makes_executable", "EPERM", "EPERM", None),
    Row("set_attributes_by_file_setattr", "EPERM", "EPERM", None),  # from Linux 6.17 on
)

# Landlock cannot deny inside what it grants: there all of this succeeds, and the policy had to accept it in words.
NAMES = (
    Row("read_denied", "EACCES", "done"),
    Row("write_denied", "EACCES", "done"),
    Row("append_denied", "EACCES", "done"),
    Row("truncate_denied", "EACCES", "done"),
    Row("chmod_denied", "EROFS", "done"),
    Row("unlink_denied", "EBUSY", "done"),
    Row("rename_denied", "EBUSY", "done"),
    Row("replace_denied", "EBUSY", "done"),
    Row("exchange_denied", "EBUSY", "done"),
    Row("rename_parent_of_denied", "EBUSY", "done"),
    Row("rename_top_of_denied", "EBUSY", "done"),
    Row("link_denied", "EXDEV", "done"),
    Row("read_denied_by_link", "EACCES", "done"),
    Row("read_denied_by_hard_link_from_before", "EACCES", "done"),
    Row("read_denied_by_descriptor_of_directory", "EACCES", "done"),
    Row("read_denied_by_proc", "EACCES", "done"),
    Row("mount_over_denied", "EPERM", "EPERM", None),
    Row("unmount_denied", "EPERM", "EPERM", None),
    Row("read_denied_directory", "EACCES", "done"),
    Row("read_in_denied_directory", "EACCES", "done"),
    Row("make_in_denied_directory", "EACCES", "done"),
    Row("rename_denied_directory", "EBUSY", "done"),
    Row("read_hook", "done", "done"),
    Row("write_hook", "EROFS", "done"),
    Row("create_hook", "EROFS", "done"),
    Row("chmod_hook", "EROFS", "done"),
    Row("unlink_hook", "EROFS", "done"),
    Row("rename_hooks", "EBUSY", "done"),
    Row("rename_git", "EBUSY", "done"),
    Row("commit_beside_hooks", "done", "done"),
)

ROWS = {row.name: row for row in (*OUTSIDE, *PROCESSES, *NETWORK, *KERNEL, *SET_ID, *NAMES)}
# In the order of the program, where those that are in the way of others come last.
ORDER = [name for name in probe.ATTEMPTS if name in ROWS]


class World(NamedTuple):
    around: Surroundings
    cells: Launched
    outcomes: dict[str, str]
    left: dict[str, str]


@pytest.fixture(scope="module", params=every_setting())
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with attacked(request.param) as (around, cells):
        yield World(around, cells, around.attempts(cells, ORDER), _contents(around))


def _contents(around: Surroundings) -> dict[str, str]:
    """What the files hold that nothing may change."""
    kept = ["outside/secret", "outside/victim", "notes/a.txt"]
    return {name: (around.base / name).read_text() for name in kept if (around.base / name).exists()}


@pytest.mark.claim("C1")
@pytest.mark.claim("C2")
@pytest.mark.claim("C4")
@pytest.mark.parametrize("name", ROWS)
def test_attempt_from_inside_a_cell_comes_to_nothing(world: World, name: str) -> None:
    row = ROWS[name]
    wanted = row.full if world.cells.setting.layer is Layer.FULL else row.landlock
    assert world.outcomes[name] in wanted.split(" or ")


def test_every_attempt_is_in_the_table() -> None:
    assert set(probe.ATTEMPTS) == set(ROWS)
    assert {row.name for row in NAMES} - {"rename_denied_directory", "rename_top_of_denied"} <= {*PROTECTED}


@pytest.mark.claim("C1")
def test_files_outside_are_as_they_were_after_all_attempts(world: World) -> None:
    assert world.left == {"outside/secret": "outside-secret-4711", "outside/victim": "x", "notes/a.txt": "a"}
    assert sorted(os.listdir(world.around.base / "outside")) == ["secret", "victim"]
    assert sorted(os.listdir(world.around.base / "notes")) == ["a.txt", "removed.txt", "renamed.txt"]


@pytest.mark.claim("C4")
def test_no_listener_of_the_host_hears_of_a_command(world: World) -> None:
    assert world.around.heard() == []


@pytest.mark.claim("C2")
def test_protected_files_are_as_they_were_after_all_attempts(world: World) -> None:
    if world.cells.setting.layer is not Layer.FULL:
        assert not (world.around.base / "work/protected").exists(), "a command could rename it, as the gap says"
        return
    protected = world.around.base / "work/protected"
    for name in PROTECTED:
        assert (protected / name / ".env").read_text() == "denied", name
        assert sorted(os.listdir(protected / name / ".git/hooks")) == ["pre-commit"], name
        assert (protected / name / ".git/hooks/pre-commit").read_text() == "hook", name
    assert (protected / "vault/key").read_text() == "denied"


def test_attempts_succeed_without_a_sandbox() -> None:
    """So each row shows what the sandbox stops, and not that the attempt is a mistake of its own."""
    setting = SETTINGS[-1]
    expected = {name: ROWS[name].free for name in ORDER if ROWS[name].free is not None}
    with surroundings(setting) as around:
        if os.geteuid() == 0:
            for part in ("work", "notes", "outside"):
                give(around.base / part, setting.owner)
        assert around.without_a_sandbox(list(expected)) == expected
        assert around.heard() == ["path", "abstract", "datagram", "tcp", "udp"]
