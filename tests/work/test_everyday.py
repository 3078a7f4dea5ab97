"""What programs do every day and a sandbox easily breaks, each as a few lines of Python; and what stays closed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.work.desk import PYTHON, Desk, Work, desk_in, need

WORKS = {
    "a pool of processes, with their semaphores": """
import multiprocessing, os
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
""",
    "a lock and memory shared by name": """
from multiprocessing import Lock, shared_memory
memory = shared_memory.SharedMemory(create=True, size=4096)
again = shared_memory.SharedMemory(memory.name)
with Lock():
    again.buf[0] = 7
assert memory.buf[0] == 7
again.close(); memory.close(); memory.unlink()
""",
    "a child of an event loop": """
import asyncio
async def main():
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await child.communicate(b"x"))[0] == b"x"
asyncio.run(main())
""",
    "a pair of sockets": """
import socket
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    one, other = socket.socketpair(type=kind)
    one.send(b"x")
    assert other.recv(1) == b"x"
""",
    "a server and its client on loopback, IPv4 and IPv6": """
import socket
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    server = socket.create_server((address, 0), family=family)
    client = socket.create_connection(server.getsockname()[:2])
    server.accept()[0].send(b"x")
    assert client.recv(1) == b"x"
""",
    "localhost by name": """
import socket
assert socket.gethostbyname("localhost") == "127.0.0.1"
""",
    "a terminal of its own": """
import fcntl, os, pty, struct, termios
master, slave = pty.openpty()
assert os.ttyname(slave) == "/dev/pts/0"
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
assert os.get_terminal_size(slave) == (100, 40)
pid, terminal = pty.fork()
if pid == 0:
    os.write(os.open("/dev/tty", os.O_RDWR), b"from the terminal")
    os._exit(0)
assert os.read(terminal, 100) == b"from the terminal"
os.waitpid(pid, 0)
""",
    "temporary files that are executed": """
import os, subprocess, tempfile
with tempfile.NamedTemporaryFile("w", delete=False, suffix=".sh") as stream:
    stream.write("#!/bin/sh\\nexit 7\\n")
os.chmod(stream.name, 0o755)
assert subprocess.run([stream.name]).returncode == 7
""",
    "names in the root: links, hard links, fifos, modes, times, renames between directories": """
import os
os.mkdir("d"); open("d/a", "w").close(); os.symlink("a", "d/l"); os.link("d/a", "d/h"); os.mkfifo("d/f")
os.chmod("d/a", 0o700); os.utime("d/a", (1, 1)); os.mkdir("e"); os.rename("d/a", "e/a")
assert os.stat("e/a").st_nlink == 2
os.replace("d", "e/d")
""",
    "a database with a write-ahead log": """
import sqlite3
connection = sqlite3.connect("x.db")
assert connection.execute("pragma journal_mode=wal").fetchone() == ("wal",)
connection.execute("create table t (a)")
connection.execute("insert into t values (1)")
connection.commit()
assert connection.execute("select a from t").fetchall() == [(1,)]
""",
    "who and where it is": """
import getpass, os, pwd, socket, tempfile
assert (getpass.getuser(), os.path.expanduser("~"), tempfile.gettempdir()) == ("user", "/run/home", "/tmp")
assert pwd.getpwuid(os.getuid()).pw_dir == "/run/home"
assert os.access("/run/home", os.W_OK) and os.stat(".").st_uid == os.getuid()
assert socket.gethostname()
""",
    "devices and its own streams by name": """
import os, subprocess
assert os.read(os.open("/dev/urandom", os.O_RDONLY), 4) != os.read(os.open("/dev/random", os.O_RDONLY), 4)
open("/dev/null", "w").write("x")
assert subprocess.run(["cat", "/dev/stdin"], input=b"x", capture_output=True).stdout == b"x"
assert subprocess.run(["bash", "-c", "cat <(echo x)"], capture_output=True).stdout == b"x\\n"
""",
    "notices of changes": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.inotify_add_watch(libc.inotify_init(), b".", 0x100) > 0
""",
    "time zones, certificates, types of files, threads": """
import mimetypes, ssl, threading, time
assert time.localtime().tm_zone
assert mimetypes.guess_type("a.html")[0] == "text/html"
ssl.create_default_context()
thread = threading.Thread(target=time.time); thread.start(); thread.join()
""",
    "the table of its own processes": """
import os, subprocess
assert sorted(name for name in os.listdir("/proc") if name.isdigit())[0] == "1"
child = subprocess.Popen(["sleep", "60"])
assert os.readlink(f"/proc/{child.pid}/cwd") == os.getcwd()
child.kill(); child.wait()
""",
}

# What is refused, and the errno that a program gets.
CLOSED = {
    "a socket of the file system": ("import socket; socket.socket(socket.AF_UNIX)", "EPERM"),
    "a pair of sockets that could send to others": (
        "import socket; socket.socketpair(type=socket.SOCK_DGRAM)",
        "EPERM",
    ),
    "a connection beyond the machine": (
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)",
        "ENETUNREACH",
    ),
    "writing to the system": ("open('/usr/x', 'w')", "EACCES EROFS"),
    "a set-user-ID file": ("import os; open('s', 'w').close(); os.chmod('s', 0o4755)", "EPERM"),
    "a set-group-ID file": ("import os; os.fchmod(os.open('s', os.O_CREAT), 0o2755)", "EPERM"),
    "the password hashes": ("open('/etc/shadow')", "ENOENT"),
    "the user's home": ("import os; os.listdir({home!r})", "ENOENT"),
    "what is beside the root": ("open({beside!r})", "ENOENT"),
    "a namespace": (
        "import ctypes as t; t.CDLL(None, use_errno=True).unshare(0x10000000); raise OSError(t.get_errno(), '')",
        "EPERM",
    ),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = desk_in(tmp_path_factory.mktemp("everyday"))
    (desk.base / "beside").write_text("SECRET")
    desk.write("attempt", f'#!/bin/sh\nexec {PYTHON} -c "$1"\n', mode=0o755)
    desk.write("terminal", '#!/bin/sh\nexec script -qec "$1" /dev/null\n', mode=0o755)
    return desk


@pytest.fixture(scope="module")
def work(desk: Desk) -> Iterator[Work]:
    attempt, terminal = (f"exec: {{in: workspace, find: {name}}}, args: any" for name in ("attempt", "terminal"))
    commands = f"attempt: {{{attempt}}}, sockets: {{{attempt}, unix_sockets: true}}, terminal: {{{terminal}}}"
    with desk.serve(f"commands: {{{commands}}}\n") as work:
        yield work


@pytest.mark.parametrize("name", WORKS)
def test_everyday_business_works(work: Work, desk: Desk, name: str) -> None:
    where = desk.root / name.split(maxsplit=1)[0] / str(len(name))
    where.mkdir(parents=True)
    ran = work.run("attempt", WORKS[name], cwd=str(where))
    assert (ran["exitCode"], ran["stderr"]) == (0, "")


@pytest.mark.parametrize("name", CLOSED)
def test_what_is_closed_says_so_in_an_errno(work: Work, desk: Desk, name: str) -> None:
    attempt, wanted = CLOSED[name]
    attempt = attempt.format(home=str(desk.home), beside=str(desk.base / "beside"))
    lines = "\n    ".join(attempt.split("; "))
    text = f"import errno\ntry:\n    {lines}\nexcept OSError as error:\n    print(errno.errorcode[error.errno])"
    ran = work.run("attempt", text)
    assert ran["stdout"].strip() in wanted.split(), ran


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET], ids=["streams", "packets"])
def test_one_of_a_pair_of_sockets_is_not_connected_to_a_socket_in_the_root(
    work: Work, desk: Desk, kind: socket.SocketKind
) -> None:
    directory = os.open(desk.root, os.O_PATH)
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(f"/proc/self/fd/{directory}/{kind.name}")  # a socket's address is short
        os.close(directory)
        listener.listen()
        text = f"""
import socket
one, _ = socket.socketpair(type={int(kind)})
for attempt in (lambda: one.connect("{kind.name}"), lambda: one.sendto(b"x", "{kind.name}")):
    try:
        attempt()
    except OSError as error:
        print(type(error).__name__)
"""
        assert "OSError" in work.works("attempt", text)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_sockets_of_the_file_system_work_where_the_policy_grants_them(work: Work) -> None:
    text = "from multiprocessing import Manager\nwith Manager() as manager: print(manager.list([1])[0])"
    assert work.works("sockets", text) == "1\n"
    assert work.run("attempt", text)["exitCode"] != 0


def test_a_terminal_program_finds_its_terminal(work: Work) -> None:
    need("script")
    assert work.works("terminal", "tty && stty size").startswith("/dev/pts/0")


def test_what_a_command_makes_belongs_to_the_owner_of_the_root(work: Work, desk: Desk) -> None:
    work.works("attempt", "import os; os.makedirs('made/deep'); open('made/deep/file', 'w').close()")
    owner = desk.root.stat().st_uid
    made = [desk.root / "made", *Path(desk.root / "made").rglob("*")]
    assert {path.stat().st_uid for path in made} == {owner}
    assert len(made) == 3


def test_a_root_is_there_by_the_path_that_the_policy_has_for_it() -> None:
    """As where /home is a link: what a client writes, and the first lines of scripts, begin with that."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:  # a command has a /tmp of its own
        os.chmod(place, 0o755)
        os.mkdir(f"{place}/real")
        os.symlink(f"{place}/real", f"{place}/home")
        desk = desk_in(Path(place, "home"))
        (desk.root / "shell").symlink_to("/bin/sh")
        desk.write("attempt", f'#!{desk.root}/shell\ncat "$1"\n', mode=0o755)
        with desk.serve("commands: {attempt: {exec: {in: workspace, find: attempt}, args: any}}\n") as work:
            assert work.works("attempt", f"{desk.root}/attempt").startswith(f"#!{place}/home/")
