"""``fsserver audit keygen`` and ``head``: a key to sign with, and the hash to keep elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsserver.audit.head import find_head
from fsserver.audit.log import AuditLog
from fsserver.audit.signing import PublicKey, Signer
from fsserver.audit.verify import Status, verify
from fsserver.cli.audit import audit_group
from tests.audit_logs import CALL, IMPOSSIBLE_NAMES, open_directory, open_file, private, sealed, written


def run(*arguments: str, **environment: str | None) -> Result:
    return CliRunner().invoke(audit_group, arguments, env=environment)


def test_key_is_made_in_the_configuration_directory_and_said(tmp_path: Path) -> None:
    result = run("keygen", XDG_CONFIG_HOME=str(tmp_path / "a/config"))
    key = tmp_path / "a/config/fsserver/audit.key"
    assert result.exit_code == 0, result.stderr
    signer = Signer.load(str(key))
    assert PublicKey.load(f"{key}.pub").id == signer.public.id
    for shown in (f"{key}\n", f"{key}.pub\n", signer.public.id, signer.public.text, f'key: "{key}"'):
        assert shown in result.stdout
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (key.parent, key.parent.parent, tmp_path / "a")}
    assert modes == {0o700}


@pytest.mark.parametrize("configuration", [None, "", "not/absolute"])
def test_configuration_directory_is_in_the_home_directory_by_default(tmp_path: Path, configuration: str | None) -> None:
    assert run("keygen", XDG_CONFIG_HOME=configuration, HOME=str(tmp_path)).exit_code == 0
    assert sorted(os.listdir(tmp_path / ".config/fsserver")) == ["audit.key", "audit.key.pub"]


def test_key_is_made_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("keygen", "--out", "new/my.key")
    assert result.exit_code == 0
    assert f"private key  {tmp_path}/new/my.key\n" in result.stdout
    assert sorted(os.listdir("new")) == ["my.key", "my.key.pub"]


@pytest.mark.parametrize("there", ["my.key", "my.key.pub"])
def test_no_key_is_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    result = run("keygen", "--out", str(tmp_path / "my.key"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{tmp_path / there} cannot be written: File exists.\n"
    assert os.listdir(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_key_in_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("keygen", "--out", str(tmp_path / "file/my.key"))
    assert result.exit_code == 2
    assert "my.key cannot be written: Not a directory." in result.stderr


# --- The head.


def rotated(directory: Path) -> AuditLog:
    log = open_file(directory / "log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    return log


def test_head_of_a_file_is_its_last_hash_and_verify_finds_it(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path, 8)
    result = run("head", str(path))
    head = json.loads(lines[-1])["hash"]
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [f"head {head}", "record 10 of log.jsonl (run.end)"]
    assert "Only the ends of the files were read" in result.stdout
    assert verify(str(path), head).chains[0].expected == 10


def test_head_of_a_rotated_log_is_in_its_last_file(tmp_path: Path) -> None:
    log = rotated(tmp_path / "audit")
    last = max(name for name in os.listdir(tmp_path / "audit") if name != "log.jsonl")
    for place in (log.path, str(tmp_path / "audit")):
        found = find_head(place)
        assert found.position is not None
        assert (found.status, found.file, found.position.head) == (Status.WHOLE, last, log.head)


def test_head_of_a_directory_is_that_of_the_newest_run(tmp_path: Path) -> None:
    heads = {}
    for _ in range(3):
        log = open_directory(tmp_path / "audit")
        log.close()
        heads[os.path.basename(log.path)] = log.head
    answer = json.loads(run("head", str(tmp_path / "audit"), "--json").stdout)
    newest = max(heads)
    assert (answer["verdict"], answer["exit"], answer["file"], answer["head"]) == ("whole", 0, newest, heads[newest])
    assert (answer["seq"], answer["ended"], answer["beingWritten"], answer["reason"]) == (2, True, False, None)


def test_head_of_the_default_directory_needs_no_path(tmp_path: Path) -> None:
    log = open_directory(tmp_path / "fsserver/audit")
    log.append("call.outcome", CALL)
    result = run("head", XDG_STATE_HOME=str(tmp_path))
    assert result.exit_code == 0
    assert f"head {log.head}\nrecord 2 of {os.path.basename(log.path)} (being written now)\n" in result.stdout
    log.close()


def test_head_of_a_killed_server_is_not_the_end_of_its_run(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    path.write_bytes(b"".join(written(path)[:3]))
    assert "(not run.end)" in run("head", str(path)).stdout


def test_head_is_found_at_once_in_a_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path, 20_000)
    read = 0
    pread = os.pread

    def count(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(descriptor, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", count)
    assert find_head(str(path)).status is Status.WHOLE
    assert read < 4_500_000 < path.stat().st_size


def cut(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size + size)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def replaced(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


# What is done to the directory of a rotated log, and to which of its files; what is said of it.
BROKEN: dict[str, tuple[Callable[[Path], object], Status, str]] = {
    "the last line is cut": (lambda d: cut(last_of(d), -1), Status.TORN, "ends in half a record"),
    "half a record was added": (lambda d: append(last_of(d), b"{"), Status.TORN, "ends in half a record"),
    "the last record was changed": (
        lambda d: last_of(d).write_bytes(last_of(d).read_bytes().replace(b"run.end", b"run.enb")),
        Status.TAMPERED, "does not verify"),
    "a file begins with another record": (
        lambda d: last_of(d).write_bytes(sealed([{"event": "run.start"}])), Status.TAMPERED, "does not verify"),
    "the last file was removed": (lambda d: last_of(d).unlink(), Status.CUT, "is not here: it was removed"),
    "the last file has no name yet": (
        lambda d: last_of(d).rename(d / f".{last_of(d).name}.new"), Status.TORN, "has no name yet"),
    "the first file was removed": (
        lambda d: (d / "log.jsonl").unlink(), Status.UNREADABLE, "cannot be read: No such file or directory"),
    "the first file was emptied": (
        lambda d: (d / "log.jsonl").write_bytes(b""), Status.UNREADABLE, "is empty"),
    "the first file is text": (
        lambda d: (d / "log.jsonl").write_bytes(b"hello\n"), Status.UNREADABLE, "is no fsserver audit log"),
    "the first file is text without an end": (
        lambda d: (d / "log.jsonl").write_bytes(b"hello"), Status.UNREADABLE, "is no fsserver audit log"),
    "the first file is half a record": (
        lambda d: (d / "log.jsonl").write_bytes(b'{"event":"run.start","ho'), Status.TORN, "ends in its first record"),
    "the first file is a record without end": (
        lambda d: (d / "log.jsonl").write_bytes(b'{"event":"run.start","a":"' + b"a" * 20_000_000),
        Status.TAMPERED, "does not verify"),
    "the first file is of another version": (
        lambda d: (d / "log.jsonl").write_bytes(sealed([{"event": "run.start", "v": 2}])),
        Status.UNREADABLE, "was written by another version"),
    "the first file is a FIFO": (
        lambda d: replaced(d / "log.jsonl", os.mkfifo), Status.UNREADABLE, "not a regular file"),
    "the first file is a directory": (
        lambda d: replaced(d / "log.jsonl", os.mkdir), Status.UNREADABLE, "has no .jsonl file"),
    "all is removed": (shutil.rmtree, Status.UNREADABLE, "cannot be read: No such file or directory"),
}  # fmt: skip


def last_of(directory: Path) -> Path:
    return max(path for path in directory.iterdir() if path.name != "log.jsonl")


@pytest.mark.parametrize("name", BROKEN)
def test_a_log_without_a_sound_end_is_said_to_be_that(tmp_path: Path, name: str) -> None:
    change, status, reason = BROKEN[name]
    log = rotated(tmp_path / "audit")
    change(tmp_path / "audit")
    result = run("head", log.path)
    assert result.exit_code == status
    assert reason in result.stderr
    assert ("head " in result.stdout) == ("half a record" in reason)
    assert json.loads(run("head", log.path, "--json").stdout)["exit"] == status


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES.values(), ids=IMPOSSIBLE_NAMES)
def test_next_file_that_cannot_be_one_has_no_head(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(sealed([{"event": "run.start"}, {"event": "log.rotated", "next": name}]))
    result = run("head", str(path))
    assert result.exit_code == Status.TAMPERED
    assert "names a next file that is none" in result.stderr


def test_a_directory_without_logs_has_no_head(tmp_path: Path) -> None:
    result = run("head", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "has no .jsonl file" in result.stderr


def test_head_and_keygen_load_nothing_that_a_server_needs(tmp_path: Path) -> None:
    open_file(tmp_path / "audit/log.jsonl").close()
    program = (
        "import sys\n"
        "from fsserver.cli.audit import audit_group\n"
        f"audit_group(['head', {str(tmp_path / 'audit')!r}], standalone_mode=False)\n"
    )
    show = "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    done = subprocess.run(
        [sys.executable, "-c", show + program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not {"pydantic", "mcp", "yaml", "anyio", "asyncio", "cryptography"} & set(done.stderr.split())
