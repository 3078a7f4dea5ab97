"""``fsserver token`` and ``fsserver state``: secrets are made once, shown once, and kept for this user alone."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsserver.cli.main import main
from fsserver.errors import ConfigError
from fsserver.transport.auth.token_file import MAX_FILE, add_token, digest_of, read_tokens
from tests.support import ORDINARY_UID

DIGEST = "a" * 64
LINE = f"ci {DIGEST}\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fsserver")


def names(path: Path) -> list[str]:
    return [token.name for token in read_tokens(str(path))]


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_token_alone_is_on_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    made = run("token", "new", "ci", "--file", str(file))
    assert made.exit_code == 0, made.stderr
    assert re.fullmatch(r"fss_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert "never expires" in made.stderr
    assert made.stdout.strip() not in made.stderr
    assert read_tokens(str(file))[0].digest == digest_of(made.stdout.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tokens"]


def test_token_that_nobody_was_shown_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "fsserver", "token", "new", "ci", "--file", str(file)]
        unseen = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (unseen.returncode, names(file)) == (2, [])
    assert unseen.stderr == b"Error: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("verb", [("token", "new", "ci", "--file"), ("state", "keygen", "--out")], ids=["token", "key"])
def test_a_missing_directory_is_made_for_this_user_alone(tmp_path: Path, verb: tuple[str, ...]) -> None:
    file = tmp_path / "config/fsserver/file"
    made = run(*verb, str(file))
    assert made.exit_code == 0, made.stderr
    for path, mode in ((file, 0o600), (file.parent, 0o700), (file.parent.parent, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    (tmp_path / "text").touch()
    refused = run(*verb, str(tmp_path / "text/file"))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Not a directory" in refused.stderr


def test_a_wrong_name_makes_no_directory(tmp_path: Path) -> None:
    assert run("token", "new", "a b", "--file", str(tmp_path / "gone/tokens")).exit_code == 2
    assert not os.listdir(tmp_path)


def test_token_with_an_end_is_listed_with_it(tmp_path: Path) -> None:
    file = private(tmp_path / "tokens", f"# made by hand\n\nold {DIGEST} 2001-02-03T04:05:06Z\n")
    assert run("token", "new", "robot-17", "--file", str(file), "--expires", "90d").exit_code == 0
    listed = run("token", "list", "--file", str(file))
    first, second = listed.stdout.splitlines()
    assert first == "old       2001-02-03T04:05:06Z  expired"
    assert re.fullmatch(r"robot-17  20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", second)
    assert DIGEST not in listed.stdout
    assert file.read_text().startswith("# made by hand\n\nold ")


def test_each_verb_speaks_json(tmp_path: Path) -> None:
    file = str(tmp_path / "tokens")
    made = json.loads(run("token", "new", "ci", "--file", file, "--expires", "1h", "--json").stdout)
    assert set(made) == {"name", "expires", "expired", "token", "file"}
    assert (made["name"], made["file"]) == ("ci", file)
    listed = json.loads(run("token", "list", "--file", file, "--json").stdout)
    assert listed == {"tokens": [{"name": "ci", "expires": made["expires"], "expired": False}]}
    revoked = json.loads(run("token", "revoke", "ci", "--file", file, "--json").stdout)
    assert revoked == {"name": "ci", "revoked": True, "file": file}
    assert json.loads(run("token", "list", "--file", file, "--json").stdout) == {"tokens": []}


def test_revoked_token_leaves_the_others_and_the_remarks(tmp_path: Path) -> None:
    file = private(tmp_path / "tokens", f"# robots\na {'1' * 64}\nab {'2' * 64}\n # a\n")
    assert run("token", "revoke", "a", "--file", str(file)).exit_code == 0
    assert file.read_text() == f"# robots\nab {'2' * 64}\n # a\n"


def test_line_without_an_end_is_completed_first(tmp_path: Path) -> None:
    file = private(tmp_path / "tokens", LINE.rstrip())
    add_token(str(file), "second", None)
    assert names(file) == ["ci", "second"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["new", "ci"], "has a token ci already", id="name that is there"),
        pytest.param(["new", "../x"], "is no name for a token", id="path"),
        pytest.param(["new", "anonymous"], "is no name for a token", id="reserved"),
        pytest.param(["new", ""], "is no name for a token", id="empty"),
        pytest.param(["new", "a b"], "is no name for a token", id="space"),
        pytest.param(["new", "a\nroot"], "is no name for a token", id="line feed"),
        pytest.param(["new", "x" * 65], "is no name for a token", id="too long"),
        pytest.param(["new", "x", "--expires", "soon"], "--expires", id="no time"),
        pytest.param(["new", "x", "--expires", "999999999999d"], "--expires", id="no calendar has it"),
        pytest.param(["revoke", "nobody"], "has no token nobody", id="unknown name"),
    ],
)
def test_mistake_exits_2_and_changes_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = private(tmp_path / "tokens", LINE)
    result = run("token", *arguments, "--file", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert file.read_text() == LINE
    assert os.listdir(tmp_path) == ["tokens"]


@pytest.mark.parametrize("verb", [["list"], ["revoke", "ci"]], ids=["list", "revoke"])
def test_missing_file_is_not_made(tmp_path: Path, verb: list[str]) -> None:
    result = run("token", *verb, "--file", str(tmp_path / "tokens"))
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory." in result.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_mode_of_the_file_stays(tmp_path: Path, mode: int) -> None:
    file = private(tmp_path / "tokens", LINE)
    file.chmod(mode)
    add_token(str(file), "second", None)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_owner_of_the_file_stays_when_root_changes_it(tmp_path: Path) -> None:
    """The server may be another user, who could not read root's file."""
    file = private(tmp_path / "tokens", LINE)
    owner = ORDINARY_UID if os.geteuid() == 0 else os.geteuid()
    os.chown(file, owner, -1)
    assert run("token", "new", "second", "--file", str(file)).exit_code == 0
    assert file.stat().st_uid == owner
    assert [each.name for each in read_tokens(str(file), foreign=True)] == ["ci", "second"]
    assert run("token", "list", "--file", str(file)).exit_code == 0


def test_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    private(tmp_path / "etc/tokens", LINE)
    (tmp_path / "link").symlink_to("etc/tokens")
    add_token(str(tmp_path / "link"), "second", None)
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "etc/tokens") == ["ci", "second"]


def test_many_at_once_lose_no_token(tmp_path: Path) -> None:
    file = str(tmp_path / "tokens")
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(add_token, file, f"t{number}", None) for number in range(40)]
    assert len({each.result()[0] for each in made}) == 40
    assert sorted(names(tmp_path / "tokens")) == sorted(f"t{number}" for number in range(40))
    assert os.listdir(tmp_path) == ["tokens"]


# --- The file.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ci\n", id="no hash"),
        pytest.param(f"ci {DIGEST[:-1]}\n", id="short hash"),
        pytest.param(f"ci {DIGEST.upper()}\n", id="hash in capitals"),
        pytest.param(f"ci {DIGEST} 2030-01-01\n", id="date without a time"),
        pytest.param(f"ci {DIGEST} 2030-02-30T00:00:00Z\n", id="no such day"),
        pytest.param(f"ci {DIGEST} 2030-01-01T00:00:00+01:00\n", id="another time zone"),
        pytest.param(f"ci {DIGEST} 2030-01-01T00:00:00Z x\n", id="a word more"),
        pytest.param(f"c/i {DIGEST}\n", id="name that is a path"),
        pytest.param(f"anonymous {DIGEST}\n", id="reserved name"),
        pytest.param("ci fss_" + "a" * 43 + "\n", id="token itself"),
        pytest.param(f"{LINE}ci {'b' * 64}\n", id="name twice"),
        pytest.param(f"{LINE}other {DIGEST}\n", id="token twice"),
    ],
)
def test_line_that_is_not_as_it_should_be_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    file = private(tmp_path / "tokens", f"# first\n{text}")
    with pytest.raises(ConfigError) as refused:
        read_tokens(str(file))
    line = len(text.splitlines()) + 1
    assert refused.value.message.startswith(f"{file}:{line}: ")
    assert not re.search("fss_|aaaa|bbbb", refused.value.message)


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [(0o600, True), (0o400, True), (0o640, True), (0o440, True), (0o660, False), (0o644, False), (0o602, False)],
    ids=oct,
)
def test_file_that_others_may_write_or_everybody_read_is_refused(tmp_path: Path, mode: int, accepted: bool) -> None:
    file = private(tmp_path / "tokens", LINE)
    file.chmod(mode)
    if accepted:
        assert names(file) == ["ci"]
    else:
        with pytest.raises(ConfigError, match="chmod 600"):
            read_tokens(str(file))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused_to_a_server(tmp_path: Path) -> None:
    file = private(tmp_path / "tokens", LINE)
    os.chown(file, ORDINARY_UID, -1)
    with pytest.raises(ConfigError, match="must belong to this user or to root"):
        read_tokens(str(file))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda path: path.mkdir(), "is not a regular file", id="directory"),
        pytest.param(os.mkfifo, "is not a regular file", id="FIFO"),
        pytest.param(lambda path: path.write_bytes(b"\xff"), "is no file of tokens", id="not ASCII"),
        pytest.param(lambda path: path.write_bytes(b"#" * (MAX_FILE + 1)), "is no file of tokens", id="too large"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "cannot be read", id="dangling link"),
    ],
)
def test_what_is_no_file_of_tokens_is_refused(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    file = tmp_path / "tokens"
    make(file)
    if not file.is_symlink():
        file.chmod(0o600)
    with pytest.raises(ConfigError, match=said):
        read_tokens(str(file))


# --- The sealing key.


def test_sealing_key_is_made_for_this_user_alone(tmp_path: Path) -> None:
    key = tmp_path / "seal.key"
    made = run("state", "keygen", "--out", str(key))
    assert made.exit_code == 0, made.stderr
    assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in made.stdout + made.stderr
    assert f'key: "{key}"' in made.stdout
    assert json.loads(run("state", "keygen", "--out", f"{key}2", "--json").stdout) == {"key": f"{key}2"}
    assert key.read_text() != (tmp_path / "seal.key2").read_text()


@pytest.mark.parametrize("there", ["file", "link"])
def test_no_sealing_key_is_replaced(tmp_path: Path, there: str) -> None:
    key = tmp_path / "seal.key"
    if there == "file":
        key.write_text("mine")
    else:
        key.symlink_to(tmp_path / "elsewhere")
    result = run("state", "keygen", "--out", str(key))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{key} cannot be written: File exists.\n"
    assert os.listdir(tmp_path) == ["seal.key"]


def test_neither_verb_loads_what_a_server_needs(tmp_path: Path) -> None:
    show = "import sys; from fsserver.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
    show += "print(*sorted({each.split('.')[0] for each in sys.modules}), file=sys.stderr)"
    for verb in (
        ["token", "new", "a", "--file", "t"],
        ["token", "list", "--file", "t"],
        ["state", "keygen", "--out", "k"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", show, *verb], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        loaded = set(done.stderr.split())
        assert "click" in loaded
        assert not loaded & {"mcp", "jwt", "cryptography", "pydantic", "yaml", "structlog", "httptools", "starlette"}
