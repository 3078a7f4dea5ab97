"""The pure half of the server's confinement: what each kernel gives, what is planned, the filter on both machines."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from pathlib import Path

import pytest

from fsserver.errors import ConfigError, FsserverError, KernelUnsupported
from fsserver.kernel import seccomp
from fsserver.kernel.features import Features
from fsserver.kernel.landlock import AccessFs, AccessNet, Scope
from fsserver.kernel.seccomp import Instruction
from fsserver.kernel.syscall_numbers import MACHINES, NEWEST, names, numbers
from fsserver.policy.compiled import Layer, Mode
from fsserver.sandbox.command_filter import CHANGES_OF_MODE, MAKES_FILES, UNSEEN_MODE
from fsserver.sandbox.command_gaps import gaps_of
from fsserver.sandbox.downgrade import downgrade
from fsserver.sandbox.plan import READ, STATE, WRITE, plan_server
from fsserver.sandbox.profile import (
    Enforcement,
    RootGrant,
    Ruleset,
    Runtime,
    ServerNetwork,
    ServerProfile,
    available_layer,
)
from fsserver.sandbox.runtime import find_runtime
from fsserver.sandbox.seccomp import denied_calls, server_filter

MODERN = Features("Linux", "6.18.0", "x86_64", landlock_abi=7, seccomp=True, openat2=True, proc=True)
RUNTIME = Runtime(code=("/opt/python", "/srv/fsserver"), system=("/usr/lib",), devices=("/dev/null",))
PID = 4711

ABI_1 = AccessFs((1 << 13) - 1)
ABI_2 = ABI_1 | AccessFs.REFER
ABI_3 = ABI_2 | AccessFs.TRUNCATE
ABI_5 = ABI_3 | AccessFs.IOCTL_DEV
ABI_9 = ABI_5 | AccessFs.RESOLVE_UNIX
TCP = AccessNet.BIND_TCP | AccessNet.CONNECT_TCP
SCOPED = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
NO_NET, NO_SCOPE = AccessNet(0), Scope(0)


# --- Downgrade: kernel ABI → rights, and what is left open with and without seccomp.

DOWNGRADES = [
    (
        0,
        0,
        AccessFs(0),
        NO_NET,
        NO_SCOPE,
        ["landlock", "metadata", "stat"],
        ["landlock", "seccomp", "metadata", "stat"],
    ),
    (
        1,
        1,
        ABI_1,
        NO_NET,
        NO_SCOPE,
        ["refer", "truncate", "ioctl_dev", "metadata", "stat"],
        ["refer", "truncate", "tcp", "ioctl_dev", "signals", "seccomp", "metadata", "stat"],
    ),
    (
        2,
        2,
        ABI_2,
        NO_NET,
        NO_SCOPE,
        ["truncate", "ioctl_dev", "metadata", "stat"],
        ["truncate", "tcp", "ioctl_dev", "signals", "seccomp", "metadata", "stat"],
    ),
    (
        3,
        3,
        ABI_3,
        NO_NET,
        NO_SCOPE,
        ["ioctl_dev", "metadata", "stat"],
        ["tcp", "ioctl_dev", "signals", "seccomp", "metadata", "stat"],
    ),
    (
        4,
        4,
        ABI_3,
        TCP,
        NO_SCOPE,
        ["ioctl_dev", "metadata", "stat"],
        ["ioctl_dev", "signals", "seccomp", "metadata", "stat"],
    ),
    (5, 5, ABI_5, TCP, NO_SCOPE, ["metadata", "stat"], ["signals", "seccomp", "metadata", "stat"]),
    (6, 6, ABI_5, TCP, SCOPED, ["metadata", "stat"], ["seccomp", "metadata", "stat"]),
    (7, 7, ABI_5, TCP, SCOPED, ["metadata", "stat"], ["seccomp", "metadata", "stat"]),
    (8, 8, ABI_5, TCP, SCOPED, ["metadata", "stat"], ["seccomp", "metadata", "stat"]),
    (9, 9, ABI_9, TCP, SCOPED, ["metadata", "stat"], ["seccomp", "metadata", "stat"]),
    (42, 9, ABI_9, TCP, SCOPED, ["metadata", "stat"], ["seccomp", "metadata", "stat"]),
]


@pytest.mark.parametrize(
    ("kernel", "abi", "fs", "net", "scoped", "gaps", "gaps_without_seccomp"),
    DOWNGRADES,
    ids=[f"kernel-abi-{row[0]}" for row in DOWNGRADES],
)
def test_each_abi_gives_exactly_these_rights(
    kernel: int, abi: int, fs: AccessFs, net: AccessNet, scoped: Scope, gaps: list[str], gaps_without_seccomp: list[str]
) -> None:
    found = downgrade(kernel, seccomp=True)
    assert (found.abi, found.fs, found.net, found.scoped) == (abi, fs, net, scoped)
    assert [gap.code for gap in found.gaps] == gaps
    without = downgrade(kernel, seccomp=False)
    assert (without.abi, without.fs, without.net, without.scoped) == (abi, fs, net, scoped)
    assert [gap.code for gap in without.gaps] == gaps_without_seccomp


@pytest.mark.parametrize(
    ("abi", "with_seccomp", "layer"),
    [
        (0, True, Layer.NONE),
        (2, True, Layer.NONE),
        (3, True, Layer.LANDLOCK),
        (3, False, Layer.NONE),
        (7, True, Layer.LANDLOCK),
        (7, False, Layer.NONE),
    ],
)
def test_the_layer_that_is_reached(abi: int, with_seccomp: bool, layer: Layer) -> None:
    assert available_layer(abi, seccomp=with_seccomp) is layer


# --- Plan.


def root(name: str, path: str, mode: Mode = Mode.RW, descriptor: int = 5) -> RootGrant:
    return RootGrant(name, descriptor, path, mode)


def plan(
    roots: list[RootGrant],
    *,
    state: tuple[str, ...] = ("/var/lib/fsserver",),
    features: Features = MODERN,
    require: Layer = Layer.NONE,
) -> ServerProfile:
    return plan_server(
        roots=roots, state_directories=state, runtime=RUNTIME, features=features, pid=PID, require=require
    )


def test_roots_are_granted_by_descriptor_and_the_rest_by_name() -> None:
    rules = plan([root("a", "/w", Mode.RW, 5), root("b", "/r", Mode.RO, 6)]).ruleset
    assert rules is not None
    assert {rule.descriptor: rule.access for rule in rules.descriptors} == {5: WRITE, 6: READ}
    assert {rule.path: (rule.access, rule.required) for rule in rules.paths} == {
        "/var/lib/fsserver": (STATE, True),
        "/opt/python": (READ, False),
        "/srv/fsserver": (READ, False),
        "/usr/lib": (READ, False),
        "/dev/null": (AccessFs.READ_FILE | AccessFs.WRITE_FILE, False),
    }


@pytest.mark.parametrize("abi", range(1, 10))
def test_every_right_of_the_abi_is_handled_and_no_rule_asks_for_more(abi: int) -> None:
    rules = plan([root("a", "/w"), root("b", "/r", Mode.RO)], features=with_abi(abi)).ruleset
    assert rules is not None
    assert rules.handled_fs == downgrade(abi, seccomp=True).fs
    assert all(access and access & rules.handled_fs == access for access in granted(rules))


def granted(rules: Ruleset) -> list[AccessFs]:
    return [*(rule.access for rule in rules.descriptors), *(rule.access for rule in rules.paths)]


def with_abi(abi: int) -> Features:
    return dataclasses.replace(MODERN, landlock_abi=abi)


@pytest.mark.parametrize(
    "never",
    [
        AccessFs.EXECUTE,
        AccessFs.MAKE_CHAR,
        AccessFs.MAKE_BLOCK,
        AccessFs.MAKE_FIFO,
        AccessFs.MAKE_SOCK,
        AccessFs.IOCTL_DEV,
        AccessFs.RESOLVE_UNIX,
    ],
    ids=lambda right: right.name,
)
def test_some_rights_are_granted_nowhere(never: AccessFs) -> None:
    rules = plan([root("a", "/w")], features=with_abi(9)).ruleset
    assert rules is not None
    assert never in rules.handled_fs
    assert not any(never in access for access in granted(rules))


OVERLAPS = [
    ("state in a root", [root("a", "/w")], ("/w/state",), ConfigError),
    ("state in a read-only root", [root("a", "/w", Mode.RO)], ("/w/state",), ConfigError),
    ("state is a root", [root("a", "/w")], ("/w",), ConfigError),
    ("root in the state", [root("a", "/state/w", Mode.RO)], ("/state",), ConfigError),
    ("code in a writable root", [root("a", "/srv")], (), ConfigError),
    ("code is a writable root", [root("a", "/opt/python")], (), ConfigError),
    ("code in the state", [], ("/opt",), ConfigError),
    ("code in a read-only root", [root("a", "/srv", Mode.RO)], (), None),
    ("a writable root in the code", [root("a", "/opt/python/share")], (), None),
    ("a root with a similar name", [root("a", "/srv/fsserver-work")], ("/srv/fsserver-state",), None),
    ("nothing granted", [], (), None),
]


@pytest.mark.parametrize(("roots", "state", "error"), [row[1:] for row in OVERLAPS], ids=[row[0] for row in OVERLAPS])
def test_a_grant_that_reaches_the_server_itself_is_refused(
    roots: list[RootGrant], state: tuple[str, ...], error: type[FsserverError] | None
) -> None:
    if error is None:
        plan(roots, state=state)
        return
    with pytest.raises(error):
        plan(roots, state=state)


def test_a_read_only_root_in_a_writable_one_is_named_as_a_gap() -> None:
    profile = plan([root("work", "/w"), root("vendor", "/w/vendor", Mode.RO), root("docs", "/docs", Mode.RO)])
    nested = [gap.text for gap in profile.gaps if gap.code == "nested_ro"]
    assert len(nested) == 1
    assert "vendor" in nested[0]


REQUIREMENTS = [
    (Layer.NONE, 0, False, True),
    (Layer.NONE, 7, True, True),
    (Layer.LANDLOCK, 7, True, True),
    (Layer.LANDLOCK, 3, True, True),
    (Layer.LANDLOCK, 2, True, False),
    (Layer.LANDLOCK, 7, False, False),
    (Layer.LANDLOCK, 0, True, False),
    (Layer.FULL, 7, True, True),
    (Layer.FULL, 0, False, False),
]


@pytest.mark.claim("C8")
@pytest.mark.parametrize(("require", "abi", "with_seccomp", "served"), REQUIREMENTS)
def test_less_than_the_policy_requires_is_refused(require: Layer, abi: int, with_seccomp: bool, served: bool) -> None:
    features = dataclasses.replace(MODERN, landlock_abi=abi, seccomp=with_seccomp)
    if served:
        profile = plan([root("a", "/w")], features=features, require=require)
        assert (profile.ruleset is not None) == (abi > 0)
        assert (profile.filter is not None) == with_seccomp
        return
    with pytest.raises(KernelUnsupported, match=str(require)):
        plan([root("a", "/w")], features=features, require=require)


def test_another_system_gets_a_profile_that_does_nothing() -> None:
    features = Features("Darwin", "24", "arm64", landlock_abi=0, seccomp=False, openat2=False, proc=False)
    profile = plan([root("a", "/w")], features=features)
    assert (profile.prctl, profile.ruleset, profile.filter) == (False, None, None)


def test_what_is_in_force_reads_as_one_line_and_as_a_record() -> None:
    gaps = downgrade(2, seccomp=True).gaps
    found = Enforcement(2, seccomp=True, no_new_privs=True, dumpable=False, gaps=gaps)
    assert str(found).startswith("layer none (Landlock ABI 2, seccomp, no_new_privs, not dumpable); not enforced: ")
    assert "zero length" in str(found)
    assert found.as_record() == {
        "layer": "none",
        "landlock_abi": 2,
        "seccomp": True,
        "no_new_privs": True,
        "dumpable": False,
        "not_enforced": ["truncate", "ioctl_dev", "metadata", "stat"],
    }


# --- Runtime.


def test_the_runtime_is_where_this_python_and_fsserver_are() -> None:
    import fsserver  # noqa: PLC0415

    runtime = find_runtime()
    assert os.path.realpath(fsserver.__path__[0]) in runtime.code
    assert os.path.realpath(sys.executable) in runtime.code
    assert os.path.realpath(os.path.dirname(os.__file__)) in runtime.code
    assert all(os.path.isabs(path) for path in (*runtime.code, *runtime.system, *runtime.devices))


def test_the_current_directory_and_pythonpath_are_no_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m fsserver`` puts the current directory on sys.path: that may be somebody's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend("")
    assert not [path for path in find_runtime().code if str(tmp_path).startswith(path)]


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local", "/"])
def test_a_system_wide_python_grants_its_library_only(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, prefix)
    assert prefix not in find_runtime().code


# --- The filter, run by an interpreter of its own: both machines are tested wherever the tests run.


def run_filter(program: tuple[Instruction, ...], arch: int, number: int, arguments: tuple[int, ...] = ()) -> str:
    """What the kernel would answer, after <linux/filter.h>."""
    words = {seccomp.DATA_NR: number & 0xFFFFFFFF, seccomp.DATA_ARCH: arch}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[seccomp.DATA_ARGS + 8 * index] = value & 0xFFFFFFFF
        words[seccomp.DATA_ARGS + 8 * index + 4] = value >> 32 & 0xFFFFFFFF
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case seccomp.LOAD:
                accumulator = words[operand]
            case seccomp.AND:
                accumulator &= operand
            case seccomp.JUMP_EQUAL:
                at += if_true if accumulator == operand else if_false
            case seccomp.JUMP_GREATER:
                at += if_true if accumulator > operand else if_false
            case seccomp.JUMP_GREATER_OR_EQUAL:
                at += if_true if accumulator >= operand else if_false
            case seccomp.JUMP_ANY_BIT:
                at += if_true if accumulator & operand else if_false
            case seccomp.RETURN:
                return ANSWERS[operand]
            case _:
                raise AssertionError(f"no instruction {code:#x}")


ANSWERS = {
    seccomp.SECCOMP_RET_ALLOW: "allow",
    seccomp.SECCOMP_RET_KILL_PROCESS: "kill",
    seccomp.SECCOMP_RET_ERRNO | errno.EPERM: "EPERM",
    seccomp.SECCOMP_RET_ERRNO | errno.ENOSYS: "ENOSYS",
}

THREAD_OF_GLIBC = 0x3D0F00
SOCK_CLOEXEC, SOCK_NONBLOCK = 0o2000000, 0o4000

BY_ARGUMENT = [
    ("clone", (THREAD_OF_GLIBC,), "allow"),
    ("clone", (17,), "EPERM"),
    ("clone", (0,), "EPERM"),
    *(
        ("clone", (THREAD_OF_GLIBC | namespace,), "EPERM")
        for namespace in (0x20000, *(1 << bit for bit in range(25, 31)))
    ),
    ("clone3", (0,), "ENOSYS"),
    ("socketpair", (1, 1), "allow"),
    ("socketpair", (1, 1 | SOCK_CLOEXEC | SOCK_NONBLOCK), "allow"),
    ("socketpair", (1, 2), "EPERM"),
    ("socketpair", (1, 5), "EPERM"),
    ("socketpair", (2, 1), "EPERM"),
    *(("ioctl", (0, command), "allow") for command in (0x5401, 0x541B, 0x5421, 0x5451, 0x80086601)),
    ("ioctl", (0, 0x8914), "EPERM"),  # SIOCSIFFLAGS: root switches a network device off, by any socket
    ("ioctl", (0, 0x8901), "EPERM"),  # FIOSETOWN
    *(("fcntl", (0, command), "allow") for command in (0, 1, 2, 3, 4, 6, 1030)),
    *(("fcntl", (0, command), "EPERM") for command in (8, 10, 15, 1 << 32 | 8)),
    ("ioctl", (0, 0x5412), "EPERM"),
    ("ioctl", (0, 0x541C), "EPERM"),
    ("ioctl", (0, 1 << 32 | 0x5412), "EPERM"),
    ("kill", (PID,), "allow"),
    ("kill", (0,), "EPERM"),
    ("kill", (2**64 - 1,), "EPERM"),
    ("tgkill", (PID, PID), "allow"),
    ("tgkill", (1, 1), "EPERM"),
    ("prlimit64", (0,), "allow"),
    ("prlimit64", (PID,), "allow"),
    ("prlimit64", (1,), "EPERM"),
    ("utimensat", (5, 0), "allow"),
    ("utimensat", (5, 0x7FFF12340000), "EPERM"),
    ("utimensat", (5, 0x7FFF00000000), "EPERM"),
]

STREAM, DATAGRAM, RAW = 1, 2, 3
UNIX, IPV4, IPV6, NETLINK, PACKET, VSOCK = 1, 2, 10, 16, 17, 40
TCP_PROTOCOL, UDP, SCTP, UDPLITE, SMC, MPTCP = 6, 17, 132, 136, 256, 262
FASTOPEN, NOSIGNAL = 0x20000000, 0x4000

CONNECTS = ServerNetwork(serves=True, ports=(443,))
RESOLVES = ServerNetwork(serves=True, ports=(443,), resolves=True)

BY_ARGUMENT_OF_A_SERVICE = [
    *(("socket", (family, STREAM | SOCK_CLOEXEC, 0), "allow", "allow") for family in (IPV4, IPV6)),
    ("socket", (IPV4, STREAM | SOCK_NONBLOCK, TCP_PROTOCOL), "allow", "allow"),
    ("socket", (IPV6, DATAGRAM | SOCK_NONBLOCK, 0), "EPERM", "allow"),
    ("socket", (IPV4, DATAGRAM, UDP), "EPERM", "allow"),
    ("socket", (IPV4, RAW, TCP_PROTOCOL), "EPERM", "EPERM"),
    *(("socket", (family, STREAM, 0), "EPERM", "EPERM") for family in (0, UNIX, NETLINK, PACKET, VSOCK)),
    *(("socket", (family, DATAGRAM, 0), "EPERM", "EPERM") for family in (UNIX, NETLINK, PACKET, VSOCK)),
    *(("socket", (family, RAW, 0), "EPERM", "EPERM") for family in (IPV4, NETLINK, PACKET)),
    *(("socket", (IPV4, STREAM, protocol), "EPERM", "EPERM") for protocol in (SCTP, SMC, MPTCP)),
    *(("socket", (IPV6, DATAGRAM, protocol), "EPERM", "EPERM") for protocol in (1, UDPLITE)),
    ("sendto", (5, 0, 0, NOSIGNAL), "allow", "allow"),
    ("sendto", (5, 0, 0, FASTOPEN | NOSIGNAL), "EPERM", "EPERM"),
    ("sendmsg", (5, 0, NOSIGNAL), "allow", "allow"),
    ("sendmsg", (5, 0, FASTOPEN), "EPERM", "EPERM"),
    ("sendmmsg", (5, 0, 1, NOSIGNAL), "allow", "allow"),
    ("sendmmsg", (5, 0, 1, FASTOPEN), "EPERM", "EPERM"),
    *((call, (5,), "allow", "allow") for call in ("accept", "accept4", "connect")),
    *((call, (5,), "EPERM", "EPERM") for call in ("bind", "listen")),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("call", "arguments", "connects", "resolves"), BY_ARGUMENT_OF_A_SERVICE)
def test_a_service_has_no_sockets_but_those_that_it_needs(
    machine: str, call: str, arguments: tuple[int, ...], connects: str, resolves: str
) -> None:
    for network, answer in ((CONNECTS, connects), (RESOLVES, resolves)):
        program = server_filter(machine, PID, network)
        assert run_filter(program, seccomp.AUDIT_ARCH[machine], numbers(machine)[call], arguments) == answer


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", ["socket", "connect", "bind", "listen"])
def test_a_service_that_connects_to_nobody_makes_no_socket(machine: str, call: str) -> None:
    program = server_filter(machine, PID, ServerNetwork(serves=True))
    assert run_filter(program, seccomp.AUDIT_ARCH[machine], numbers(machine)[call], (IPV4, STREAM, 0)) == "EPERM"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("call", "arguments", "answer"), BY_ARGUMENT)
def test_a_call_is_decided_by_its_arguments(machine: str, call: str, arguments: tuple[int, ...], answer: str) -> None:
    program = server_filter(machine, PID)
    assert run_filter(program, seccomp.AUDIT_ARCH[machine], numbers(machine)[call], arguments) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_has_the_answer_that_the_table_says(machine: str) -> None:
    program = server_filter(machine, PID)
    table = {number: name for name, number in numbers(machine).items()}
    decided = {name for name, _, _ in BY_ARGUMENT}
    for number in range(NEWEST + 3):
        if table.get(number) in decided:
            continue
        expected = "EPERM" if table.get(number) in denied_calls() else "allow" if number <= NEWEST else "ENOSYS"
        assert run_filter(program, seccomp.AUDIT_ARCH[machine], number) == expected, table.get(number, number)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("arch", [0, 0x40000003, 0x40000028, *seccomp.AUDIT_ARCH.values()], ids=hex)
def test_another_architecture_is_killed(machine: str, arch: int) -> None:
    answer = run_filter(server_filter(machine, PID), arch, numbers(machine)["execve"])
    assert answer == ("EPERM" if arch == seccomp.AUDIT_ARCH[machine] else "kill")


@pytest.mark.parametrize("number", [0, 2, 59, 322, 0x3FFFFFFF])
def test_x32_is_refused_whatever_the_number(number: int) -> None:
    program = server_filter("x86_64", PID)
    assert run_filter(program, seccomp.AUDIT_ARCH["x86_64"], seccomp.X32_SYSCALL_BIT | number) == "EPERM"


# What the server, Python and its path resolver call all the time, by x86_64's and aarch64's numbers.
NEEDED = {
    "openat": (257, 56),
    "openat2": (437, 437),
    "renameat2": (316, 276),
    "statx": (332, 291),
    "flock": (73, 32),
    "ftruncate": (77, 46),
    "getrandom": (318, 278),
    "fchmod": (91, 52),
    "fchown": (93, 55),
    "fsetxattr": (190, 7),
    "fremovexattr": (199, 16),
    "readlinkat": (267, 78),
    "futex": (202, 98),
    "epoll_pwait": (281, 22),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "mmap": (9, 222),
    "fdatasync": (75, 83),
    "copy_file_range": (326, 285),
    "eventfd2": (290, 19),
    "pipe2": (293, 59),
    "sendmsg": (46, 211),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", NEEDED)
def test_what_the_server_needs_is_allowed(machine: str, call: str) -> None:
    number = NEEDED[call][MACHINES.index(machine)]
    assert run_filter(server_filter(machine, PID), seccomp.AUDIT_ARCH[machine], number) == "allow"


def test_every_name_that_is_decided_has_a_number_and_only_those_do() -> None:
    decided = {row[0] for row in (*BY_ARGUMENT, *BY_ARGUMENT_OF_A_SERVICE)} | set(denied_calls())
    called = {"seccomp", "capset", "close_range"}  # by this package itself
    of_commands = {*CHANGES_OF_MODE, *MAKES_FILES, UNSEEN_MODE}
    assert decided | of_commands == names() - called
    assert len(denied_calls()) == len(set(denied_calls()))


@pytest.mark.parametrize("machine", MACHINES)
def test_no_number_is_used_twice(machine: str) -> None:
    table = numbers(machine)
    assert len(set(table.values())) == len(table)


@pytest.mark.claim("C8")
@pytest.mark.parametrize(
    ("layer", "abi", "told"),
    [
        pytest.param(Layer.LANDLOCK, 5, True, id="before Linux 6.12"),
        pytest.param(Layer.LANDLOCK, 6, False, id="since"),
        pytest.param(Layer.FULL, 5, False, id="in a namespace of processes"),
    ],
)
def test_commands_that_can_signal_other_processes_are_told_to_be_able_to(layer: Layer, abi: int, told: bool) -> None:
    features = dataclasses.replace(MODERN, landlock_abi=abi)
    assert any("signals" in text for text in gaps_of(layer, features)) == told
