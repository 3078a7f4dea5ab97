"""Verdicts on logs that nobody attacked, and on what is no log; attacks are in tests/attacks/test_audit.py."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fsserver.audit.chain import Position, unseal
from fsserver.audit.head import find_head
from fsserver.audit.signing import Signer, generate
from fsserver.audit.verify import Status, verify
from fsserver.cli.audit import audit_group
from tests.audit_logs import CALL, IMPOSSIBLE_NAMES, open_directory, open_file, private, sealed, signed, written


def run(*arguments: str) -> Result:
    return CliRunner().invoke(audit_group, ["verify", *arguments])


def test_several_runs_in_a_directory_are_chains_of_their_own(tmp_path: Path) -> None:
    for _ in range(3):
        open_directory(tmp_path / "audit").close()
    verdict = verify(str(tmp_path / "audit"))
    assert verdict.status is Status.WHOLE
    assert [(chain.first, chain.last.seq, chain.ended) for chain in verdict.chains] == [(1, 2, True)] * 3


def test_every_head_that_the_log_ever_had_is_accepted(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    heads = []
    for _ in range(30):
        log.append("call.outcome", CALL)
        heads.append(log.head)
    log.close()
    assert {verify(log.path, head).status for head in heads} == {Status.WHOLE}
    assert verify(str(tmp_path / "audit"), heads[3]).status is Status.WHOLE


def test_log_in_use_is_whole_and_said_to_be_in_use(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    (chain,) = verify(log.path).chains
    assert (chain.status, chain.live, chain.ended) == (Status.WHOLE, True, False)
    log.close()
    (chain,) = verify(log.path).chains
    assert (chain.status, chain.live, chain.ended) == (Status.WHOLE, False, True)


def test_half_a_line_in_a_log_in_use_is_being_written(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl")
    with open(log.path, "ab") as stream:
        stream.write(b"{")
    (chain,) = verify(log.path).chains
    assert chain.status is Status.TORN
    assert chain.problem is not None
    assert "being written at this moment" in chain.problem.reason


def test_verifying_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "audit/log.jsonl"
    open_file(path).close()
    verify(str(path))
    open_file(path).close()


def test_middle_of_a_rotated_log_is_verified_by_itself_when_it_is_named(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    (chain,) = verify(str(tmp_path / "audit/log.0002.jsonl")).chains
    assert chain.status is Status.WHOLE
    assert chain.first > 1
    assert chain.last.head == log.head


def test_unknown_version_is_unreadable_and_not_called_tampered(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(sealed([{"event": "run.start", "v": 2}]))
    assert verify(str(tmp_path / "log.jsonl")).status is Status.UNREADABLE


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES.values(), ids=IMPOSSIBLE_NAMES)
def test_next_file_that_cannot_be_one_is_tampered_and_said_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(sealed([{"event": "run.start"}, {"event": "log.rotated", "next": name}]))
    result = run(str(path))
    assert result.exit_code == Status.TAMPERED
    assert "names a next file that is none" in result.stdout


def test_each_file_of_a_directory_is_read_about_once_however_they_hang_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that lead to one another against the order of their names, and whose beginning is not there."""
    files = 60
    names = [f"{files - number:04d}.jsonl" for number in range(files)]
    after = Position(1, "a" * 64)
    for previous, name, following in zip(["gone.jsonl", *names], names, [*names[1:], "end.jsonl"], strict=False):
        events = [{"event": "log.continued", "previous": previous}, {"event": "log.rotated", "next": following}]
        content = sealed(events, after)
        (tmp_path / name).write_bytes(content)
        after = Position(after.seq + 2, unseal(content.splitlines(keepends=True)[-1])["hash"])
    looked_at = 0

    def unseal_and_count(line: bytes) -> dict[str, object]:
        nonlocal looked_at
        looked_at += 1
        return unseal(line)

    for module in ("verify", "walk"):
        monkeypatch.setattr(f"fsserver.audit.{module}.unseal", unseal_and_count)
    verdict = verify(str(tmp_path), after.head)
    assert looked_at <= 3 * files + 2
    assert verdict.status is Status.TAMPERED
    assert sorted(name for chain in verdict.chains for name in chain.files) == sorted(names)
    assert {chain.expected for chain in verdict.chains} == {None, after.seq}


def test_file_that_others_lead_to_is_read_by_the_one_that_it_continues(tmp_path: Path) -> None:
    """The middle of a chain is found through its own file, though another one names it too."""
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    (tmp_path / "audit/a.jsonl").write_bytes(
        sealed([{"event": "run.start"}, {"event": "log.rotated", "next": "log.0003.jsonl"}])
    )
    (tmp_path / "audit/log.jsonl").unlink()
    verdict = verify(str(tmp_path / "audit"), log.head)
    assert verdict.status is Status.TAMPERED
    assert any(chain.expected for chain in verdict.chains)


def test_verify_ends_though_the_log_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that adds two files for each record that is read: only what was there at the start is looked at."""
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    looked_at = 0

    def unseal_and_grow(line: bytes) -> dict[str, object]:
        nonlocal looked_at
        looked_at += 1
        assert looked_at < 100, "verify runs after the writer"
        for _ in range(20):
            log.append("call.outcome", CALL)
        return unseal(line)

    for module in ("verify", "walk"):
        monkeypatch.setattr(f"fsserver.audit.{module}.unseal", unseal_and_grow)
    verdict = verify(log.path)
    monkeypatch.undo()
    log.close()
    assert verdict.status is Status.WHOLE
    assert verdict.chains[0].live


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda path: None, id="absent"),
        pytest.param(lambda path: path.touch(), id="empty"),
        pytest.param(lambda path: path.mkdir(), id="directory without logs"),
        pytest.param(os.mkfifo, id="FIFO"),
        pytest.param(lambda path: path.symlink_to(path), id="link to itself"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="device"),
    ],
)
def test_what_is_no_log_is_unreadable(tmp_path: Path, arrange: object) -> None:
    assert callable(arrange)
    arrange(tmp_path / "log.jsonl")
    assert verify(str(tmp_path / "log.jsonl")).status is Status.UNREADABLE


NO_LOG = "log.jsonl: record 1 is not there: this is no fsserver audit log."
HEADER = sealed([{"event": "run.start", "run": "r"}])
CALLS = sealed([{"event": "run.start"}, {"event": "call.outcome"}, {"event": "run.end"}]).splitlines(keepends=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"hello\nworld\n", id="text"),
        pytest.param(b"hello", id="text without a line end"),
        pytest.param(b"version: 1\nroots: {a: {path: ~/a}}\n", id="a policy"),
        pytest.param(b'{"event":"start","seq":1}\n{"event":"stop","seq":2}\n', id="another program's JSON"),
        pytest.param(b'{\n  "a": 1\n}\n', id="JSON in several lines"),
        pytest.param(b"[1]\n", id="a list"),
        pytest.param(b"\n" + b"x" * 100, id="an empty line first"),
        pytest.param(bytes(range(11, 256)) * 40, id="bytes without a line end"),
        pytest.param(b"\0" * 5000, id="zeros"),
        pytest.param(b"x" * 5_000_000, id="more without a line end than a record can hold"),
    ],
)
def test_a_file_that_never_was_a_log_is_called_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(data)
    result = run(str(tmp_path / "log.jsonl"))
    assert (result.exit_code, result.stdout.splitlines()[1].strip()) == (2, NO_LOG)
    assert verify(str(tmp_path)).status is Status.UNREADABLE


def test_what_a_file_claims_to_hold_and_does_not_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "log.jsonl").open("wb") as file:
        file.truncate(2 * 1024**4)  # its zeros would take an hour
    assert verify(str(tmp_path)).status is Status.UNREADABLE
    with (tmp_path / "log.jsonl").open("r+b") as file:
        file.seek(1024**4)
        file.write(CALLS[1])
    assert verify(str(tmp_path)).status is Status.TAMPERED


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(HEADER.replace(b'"r"', b'"s"'), Status.TAMPERED, id="a first record with a wrong hash"),
        pytest.param(HEADER.replace(b'"event":', b'"Event":'), Status.TAMPERED, id="a first record with a wrong key"),
        pytest.param(b" " + HEADER, Status.TAMPERED, id="a space before the first record"),
        pytest.param(b"{" + HEADER, Status.TAMPERED, id="a first record that is no JSON"),
        pytest.param(b"x\n" + b"".join(CALLS[1:]), Status.TAMPERED, id="the first line exchanged"),
        pytest.param(b"\n" + b"".join(CALLS[1:]), Status.TAMPERED, id="the first line emptied"),
        pytest.param(b"\0" * len(CALLS[0]) + b"".join(CALLS[1:]), Status.TAMPERED, id="the first line zeroed"),
        pytest.param(b"x\n" * 3 + CALLS[2], Status.TAMPERED, id="one record left"),
        pytest.param(b"x\n" * 131_040 + CALLS[2], Status.TAMPERED, id="one record left, far behind"),
        pytest.param(b"x\n" + CALLS[2].replace(b":", b" : "), Status.TAMPERED, id="one record left, written otherwise"),
        pytest.param(b"x\n" + CALLS[2][:-30], Status.TAMPERED, id="a part of one record left"),
        pytest.param(b"{", Status.TORN, id="one byte of the first record"),
        pytest.param(HEADER[:15], Status.TORN, id="a part of its first key"),
        pytest.param(HEADER[:60], Status.TORN, id="half of the first record"),
        pytest.param(HEADER[:-1], Status.TORN, id="the first record without its line end"),
        pytest.param(HEADER + b"hello", Status.TORN, id="other bytes after a sound record"),
        pytest.param(HEADER + b"hello\n", Status.TAMPERED, id="another line after a sound record"),
    ],
)
def test_what_was_a_log_is_never_called_none(tmp_path: Path, data: bytes, status: Status) -> None:
    (tmp_path / "log.jsonl").write_bytes(data)
    assert verify(str(tmp_path / "log.jsonl")).status is status
    assert verify(str(tmp_path)).status is status


def test_a_file_of_a_chain_that_was_exchanged_for_another_is_tampered(tmp_path: Path) -> None:
    log = open_file(tmp_path / "audit/log.jsonl", max_size=3000)
    for _ in range(30):
        log.append("call.outcome", CALL)
    log.close()
    (tmp_path / "audit/log.0002.jsonl").write_bytes(b"hello\n")
    assert verify(str(tmp_path / "audit/log.jsonl")).status is Status.TAMPERED


# --- Runs of a directory name the run before them.


def run_file(directory: Path, name: str, *, previous: Any = None, removed: tuple[str, ...] = ()) -> list[bytes]:
    """A run of five records, whose first names another run."""
    start: dict[str, Any] = {"event": "run.start", **({} if previous is None else {"previous": previous})}
    events = [start, CALL, {"event": "log.removed", "files": list(removed)}, CALL, {"event": "run.end"}]
    lines = sealed(events).splitlines(keepends=True)
    (directory / name).write_bytes(b"".join(lines))
    return lines


def link_to(name: str, line: bytes) -> dict[str, str]:
    return {"file": name, "head": json.loads(line)["hash"]}


@pytest.mark.parametrize("record", range(5))
def test_a_run_that_the_next_one_names_rightly_is_whole(tmp_path: Path, record: int) -> None:
    """Also by a record in its middle: it was still being written when the next run began."""
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[record]))
    verdict = verify(str(tmp_path))
    assert verdict.status is Status.WHOLE
    assert not any(chain.notes for chain in verdict.chains)


@pytest.mark.parametrize("left", [1, 4])
@pytest.mark.parametrize("torn", [b"", b"{"], ids=["whole", "torn"])
def test_a_run_whose_tail_the_next_one_names_was_cut(tmp_path: Path, left: int, torn: bytes) -> None:
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[4]))
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:left]) + torn)
    result = run(str(tmp_path))
    assert result.exit_code == Status.CUT
    assert f"a.jsonl: record {left + 1} is not there, though the next run, 'b.jsonl', names" in result.stdout
    assert {chain.files[0]: chain.status for chain in verify(str(tmp_path)).chains} == {
        "a.jsonl": Status.CUT,
        "b.jsonl": Status.WHOLE,
    }


def test_a_run_that_was_written_anew_is_not_the_one_that_the_next_one_names(tmp_path: Path) -> None:
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[4]))
    run_file(tmp_path, "a.jsonl", removed=("x.jsonl",))
    assert verify(str(tmp_path)).status is Status.CUT


def test_a_run_that_was_tampered_with_is_called_that_and_not_cut(tmp_path: Path) -> None:
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[4]))
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    assert verify(str(tmp_path)).chains[0].status is Status.TAMPERED
    assert verify(str(tmp_path)).status is Status.TAMPERED


@pytest.mark.parametrize(
    ("removed", "note"),
    [
        pytest.param(("x.jsonl", "a.jsonl"), "removed by retention, as a log.removed record says", id="by retention"),
        pytest.param(("x.jsonl",), "gone, and no log.removed record that is here says", id="by somebody"),
    ],
)
def test_a_run_that_is_gone_is_told_and_changes_no_verdict(tmp_path: Path, removed: tuple[str, ...], note: str) -> None:
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[4]), removed=removed)
    (tmp_path / "a.jsonl").unlink()
    result = run(str(tmp_path))
    assert result.exit_code == Status.WHOLE
    assert f"the run before it, 'a.jsonl', is {note}" in result.stdout
    assert note in json.loads(run(str(tmp_path), "--json").stdout)["chains"][0]["notes"][0]


def test_a_run_under_another_name_is_found(tmp_path: Path) -> None:
    lines = run_file(tmp_path, "a.jsonl")
    run_file(tmp_path, "b.jsonl", previous=link_to("a.jsonl", lines[4]))
    (tmp_path / "a.jsonl").rename(tmp_path / "c.jsonl")
    assert not any(chain.notes for chain in verify(str(tmp_path)).chains)


@pytest.mark.parametrize(
    "previous",
    ["a.jsonl", 1, [], {}, {"file": "a.jsonl"}, {"file": "../a.jsonl", "head": "0" * 64}, {"file": "a", "head": "0"}],
    ids=str,
)
def test_a_run_that_names_no_run_as_the_one_before_it_is_tampered(tmp_path: Path, previous: object) -> None:
    run_file(tmp_path, "b.jsonl", previous=previous)
    assert verify(str(tmp_path)).status is Status.TAMPERED
    assert verify(str(tmp_path / "b.jsonl")).status is Status.TAMPERED


def test_a_file_that_retention_removes_while_the_directory_is_read_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        run_file(tmp_path, name)
    listdir = os.listdir

    def list_and_remove(path: str) -> list[str]:
        names = listdir(path)
        (tmp_path / "a.jsonl").unlink()
        return names

    monkeypatch.setattr(os, "listdir", list_and_remove)
    verdict = verify(str(tmp_path))
    assert (verdict.status, [chain.files for chain in verdict.chains]) == (Status.WHOLE, [["b.jsonl"]])


# --- What is printed.


def key_files(directory: Path) -> tuple[Signer, str]:
    signer = generate(str(directory / "key"), str(directory / "key.pub"))
    return signer, str(directory / "key.pub")


def test_text_says_what_signatures_prove_without_a_key(tmp_path: Path) -> None:
    signer, _ = key_files(tmp_path)
    (tmp_path / "log.jsonl").write_bytes(b"".join(signed(signer)))
    result = run(str(tmp_path / "log.jsonl"))
    assert result.exit_code == 0
    assert f"signed up to record 11 by {signer.public.id}; not signed: 1 record\n" in result.stdout
    assert "The signatures fit the key that the log itself names" in result.stdout
    assert "shows only with a key kept elsewhere: --public-key" in result.stdout


def test_text_says_what_signatures_prove_with_a_key_and_what_not(tmp_path: Path) -> None:
    signer, public = key_files(tmp_path)
    (tmp_path / "log.jsonl").write_bytes(b"".join(signed(signer)[:11]))
    result = run(str(tmp_path / "log.jsonl"), "--public-key", public)
    assert result.exit_code == 0
    assert "not signed: 3 records" in result.stdout
    assert "Signed by the given key. A tail that was cut off" in result.stdout
    assert "shows only against a head kept elsewhere" in result.stdout
    assert "Without the private key nobody can have changed, added or removed a record" in result.stdout


def test_a_log_that_is_not_by_the_given_key_is_cut_or_tampered(tmp_path: Path) -> None:
    signer, public = key_files(tmp_path)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(signed(signer)[:3]))
    result = run(str(path), "--public-key", public)
    assert result.exit_code == 3
    assert "log.jsonl: record 1 is not signed by the key, and no record after it is" in result.stdout
    assert "names a key, but nothing is signed with it yet" in result.stdout
    other = generate(str(tmp_path / "other"), str(tmp_path / "other.pub"))
    path.write_bytes(b"".join(signed(other)))
    result = run(str(path), "--public-key", public)
    assert result.exit_code == 1
    assert "log.jsonl, line 5: record 5 is signed by another key than the one expected." in result.stdout
    assert run(str(path), "--public-key", public, "--public-key", str(tmp_path / "other.pub")).exit_code == 0


def test_json_tells_of_signatures(tmp_path: Path) -> None:
    signer, public = key_files(tmp_path)
    (tmp_path / "log.jsonl").write_bytes(b"".join(signed(signer)))
    answer = json.loads(run(str(tmp_path / "log.jsonl"), "--json", "--public-key", public).stdout)
    assert answer["publicKeys"] == [signer.public.id]
    (chain,) = answer["chains"]
    assert (chain["signedSeq"], chain["signedBy"], chain["signaturesNotChecked"]) == (11, [signer.public.id], 0)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_public_key_that_is_none_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    written(private(tmp_path / "audit") / "log.jsonl")
    if content is not None:
        (tmp_path / "key.pub").write_bytes(content)
    result = run(str(tmp_path / "audit"), "--public-key", str(tmp_path / "key.pub"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "key.pub" in result.stderr


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path, 20_000)
    tracemalloc.start()
    assert verify(str(path)).status is Status.WHOLE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 5_000_000
    assert peak < 1_000_000


def test_text_names_the_first_bad_record_and_the_reason(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path)
    lines[2] = lines[2].replace(b"/notes/a.txt", b"/notes/b.txt")
    path.write_bytes(b"".join(lines))
    result = run(str(path))
    assert result.exit_code == 1
    assert "log.jsonl, line 3: record 3 was changed: its bytes do not give the hash that it carries." in result.stdout
    assert "\x1b[" not in result.stdout


def test_text_says_what_it_cannot_tell_without_a_head(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path)
    assert "shows only against a head kept elsewhere" in run(str(path)).stdout


def test_json_for_machines(tmp_path: Path) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    lines = written(path, 2)
    head = json.loads(lines[-1])["hash"]
    result = run(str(path), "--json", "--expect-head", json.loads(lines[1])["hash"].upper())
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (answer["verdict"], answer["exit"], answer["expectedHeadFound"]) == ("whole", 0, True)
    (chain,) = answer["chains"]
    assert (chain["files"], chain["lastSeq"], chain["head"], chain["expectedHeadSeq"]) == (["log.jsonl"], 4, head, 2)


@pytest.mark.parametrize("head", ["", "abc", "g" * 64, "0" * 65])
def test_head_that_is_no_hash_is_a_usage_error(tmp_path: Path, head: str) -> None:
    result = run(str(tmp_path), "--expect-head", head)
    assert result.exit_code == 2
    assert "64 hexadecimal digits" in result.stderr


def test_file_names_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J\n.jsonl").write_bytes(sealed([{"event": "run.start"}]))
    result = run(str(tmp_path))
    assert result.exit_code == 0
    assert "\\x1b[2J\\n.jsonl" in result.stdout
    assert "\x1b" not in result.stdout


def test_verifying_loads_nothing_that_a_server_needs(tmp_path: Path) -> None:
    open_file(tmp_path / "audit/log.jsonl").close()
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from fsserver.cli.audit import audit_group\n"
        f"audit_group(['verify', {str(tmp_path / 'audit')!r}, '--json'], standalone_mode=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "whole"
    assert not {"pydantic", "mcp", "yaml", "anyio", "asyncio", "cryptography"} & set(done.stderr.split())


@pytest.mark.parametrize("end", [b"", b'{"half'], ids=["whole", "torn"])
def test_copy_is_verified_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    path = private(tmp_path / "audit") / "log.jsonl"
    written(path)
    with open(path, "ab") as stream:
        stream.write(end)
    before = verify(str(path)), find_head(str(path))

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert (verify(str(path)), find_head(str(path))) == before
