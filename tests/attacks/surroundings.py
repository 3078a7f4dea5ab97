"""What an attack from inside a cell aims at: files outside, sockets, a process of the same user, protected names."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsserver.kernel.syscall_numbers import numbers
from fsserver.policy.compiled import Command, Layer, Mode, RootRules
from fsserver.sandbox.users import NOBODY_ELSE
from tests.attacks import probe
from tests.cells import PYTHON, Launched, Setting, give, launched, python
from tests.support import ORDINARY_UID
from tests.trees import build, rules

SECRET = "outside-secret-4711"
PROBE = Path(probe.__file__).read_text()
BOTH = {"work": Mode.RW, "notes": Mode.RO}
BYSTANDER = "import time; time.sleep(600)"
PROTECTED = [name for name in probe.ATTEMPTS if "denied" in name or "hook" in name or name == "rename_git"]
# <asm/unistd.h>; the product has no use for this one.
RENAMEAT2 = {"x86_64": 316, "aarch64": 276}


@dataclass
class Surroundings:
    """A directory of its own, with the roots in it and what they must be kept from."""

    base: Path
    host_uid: int
    bystander: subprocess.Popen[bytes]
    facts: dict[str, Any]
    listeners: dict[str, socket.socket]

    def told(self, launcher: int) -> str:
        return json.dumps({**self.facts, "launcher": launcher})

    def attempts(self, cells: Launched, names: Sequence[str]) -> dict[str, str]:
        """What comes of each attempt in one cell."""
        outcomes: dict[str, str] = cells.run("probe", self.told(cells.pid), *names, timeout_s=60.0).json()
        return outcomes

    def without_a_sandbox(self, names: Sequence[str]) -> dict[str, str]:
        """The same attempts by an ordinary process of the same user."""
        ran = subprocess.run(
            [PYTHON, "-I", "-S", "-B", "-c", PROBE, self.told(self.bystander.pid), *names],
            capture_output=True,
            check=True,
            timeout=60,
            **as_user(self.host_uid),
        )
        outcomes: dict[str, str] = json.loads(ran.stdout)
        return outcomes

    def heard(self) -> list[str]:
        """Who of the host's listeners has heard anything."""
        heard = []
        for name, listener in self.listeners.items():
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(100)
                else:
                    listener.accept()[0].close()
            except BlockingIOError:
                continue
            heard.append(name)
        return heard


def as_user(uid: int) -> dict[str, Any]:
    """For subprocess: another user, where this one is root."""
    return {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}


def host_uid(setting: Setting) -> int:
    """Whom the host takes a command for."""
    if setting.root and setting.layer is Layer.FULL:
        return NOBODY_ELSE
    return ORDINARY_UID if os.geteuid() == 0 else os.getuid()


@contextmanager
def open_directory() -> Iterator[Path]:
    """A new directory that every user can look into."""
    directory = Path(tempfile.mkdtemp(prefix="fsserver-cells-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        for mask in directory.rglob("run/masks/directory"):  # of a launcher that was killed: nobody may enter it
            mask.chmod(0o700)
        shutil.rmtree(directory)


@contextmanager
def surroundings(setting: Setting) -> Iterator[Surroundings]:
    with ExitStack() as stack:
        base = stack.enter_context(open_directory())
        uid = host_uid(setting)
        _build(base)
        if os.geteuid() == 0:
            # What only the owner of a file may do shall not fail because of that.
            give(base / "outside", uid)
        listeners = {
            "path": _unix(f"{base}/work/s"),
            "abstract": _unix(abstract := f"\0fsserver-{secrets.token_hex(8)}"),
            "datagram": _unix(f"{abstract}-datagram", socket.SOCK_DGRAM),
            "tcp": _internet(socket.SOCK_STREAM),
            "udp": _internet(socket.SOCK_DGRAM),
        }
        for listener in listeners.values():
            listener.setblocking(False)
            stack.enter_context(listener)
        with open(base / "outside/secret") as secret:
            bystander = subprocess.Popen(
                [PYTHON, "-I", "-S", "-c", BYSTANDER], stdin=secret, env={"SECRET": SECRET}, **as_user(uid)
            )
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        primary, terminal = os.openpty()
        stack.callback(os.close, primary)
        stack.callback(os.close, terminal)
        if os.geteuid() == 0:
            os.fchown(terminal, uid, uid)
        call_numbers = {**numbers(os.uname().machine), "renameat2": RENAMEAT2[os.uname().machine]}
        facts = {
            "numbers": call_numbers,
            "root": f"{base}/work",
            "notes": f"{base}/notes",
            "outside": f"{base}/outside",
            "state": f"{base}/state",
            "home": f"{base}/home",
            "abstract": abstract[1:],
            "tcp": listeners["tcp"].getsockname()[1],
            "udp": listeners["udp"].getsockname()[1],
            "bystander": bystander.pid,
            "disk": _a_disk(),
            "terminal": os.ttyname(terminal),
        }
        yield Surroundings(base, uid, bystander, facts, listeners)


def commands() -> list[Command]:
    return [python("probe", PROBE, roots=BOTH)]


def root_rules(base: Path) -> list[RootRules]:
    work = rules(base / "work", deny=["**/.env", "protected/vault"], read_only=["**/.git/hooks"])
    return [work, rules(base / "notes", name="notes", mode=Mode.RO)]


@contextmanager
def attacked(setting: Setting) -> Iterator[tuple[Surroundings, Launched]]:
    """Surroundings, and a launcher whose command "probe" may do what it likes."""
    with surroundings(setting) as around, launched(around.base, setting, commands(), root_rules(around.base)) as cells:
        yield around, cells


def _build(base: Path) -> None:
    tree = ["file work/a.txt a", "file notes/a.txt a", f"file outside/secret {SECRET}", "file outside/victim x"]
    tree += ["file notes/removed.txt a", "file notes/renamed.txt a"]
    tree += ["dir home", "file work/protected/vault/key denied", f"link work/planted-link -> {base}/outside/secret"]
    for name in PROTECTED:
        tree += [f"file work/protected/{name}/.env denied", f"file work/protected/{name}/.git/hooks/pre-commit hook"]
    hard = "work/protected/read_denied_by_hard_link_from_before"
    build(base, [*tree, f"hard {hard}/other-name = {hard}/.env"])
    for path in (base / "outside").rglob("*"):
        path.chmod(0o666)
    (base / "outside").chmod(0o777)


def _unix(name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, kind)
    if name.startswith("\0"):
        listener.bind(name)
    else:
        # By a short name for the directory: the kernel takes at most 107 bytes (unix(7)), and TMPDIR can be longer.
        directory = os.open(os.path.dirname(name), os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(name)}")
        os.close(directory)
        os.chmod(name, 0o777)
    if kind is socket.SOCK_STREAM:
        listener.listen()
    return listener


def _internet(kind: socket.SocketKind) -> socket.socket:
    listener = socket.socket(socket.AF_INET, kind)
    listener.bind(("127.0.0.1", 0))
    if kind is socket.SOCK_STREAM:
        listener.listen()
    return listener


def _a_disk() -> str:
    disks = (f"/dev/{name}" for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode))
    return next(disks, "/dev/vda")
