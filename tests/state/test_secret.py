"""Files that hold one secret: private, a text, and for a key exactly 32 bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsserver.errors import ConfigError
from fsserver.state.secret import derived, read_key, read_secret
from tests.support import ORDINARY_UID

KEY = "0123456789abcdef" * 4


def written(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> str:
    file = tmp_path / "secret"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return str(file)


def test_key_is_its_bytes_whatever_white_space_is_around_it(tmp_path: Path) -> None:
    assert read_key(written(tmp_path, f" {KEY}\n")) == bytes.fromhex(KEY)
    assert read_key(written(tmp_path, KEY.upper())) == bytes.fromhex(KEY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (KEY[:-1], "64 hex"),
        (KEY + "00", "64 hex"),
        ("x" * 64, "64 hex"),
        (b"\xff", "text"),
    ],
)
def test_file_that_holds_no_key_is_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_key(written(tmp_path, text))


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o610])
def test_file_that_others_have_a_right_to_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(written(tmp_path, KEY, mode))


def test_group_may_read_what_belongs_to_root_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, KEY, 0o640)
    if os.geteuid() == 0:
        assert read_secret(path) == KEY
        os.chown(path, ORDINARY_UID, -1)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(path)


def test_what_is_no_file_or_missing_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "none"):
        with pytest.raises(ConfigError):
            read_secret(str(path))


def test_keys_for_two_purposes_have_nothing_in_common() -> None:
    key = bytes(32)
    assert len(derived(key, "question")) == 32
    assert len({derived(key, "question"), derived(key, "session"), derived(bytes([1]) * 32, "question"), key}) == 4
