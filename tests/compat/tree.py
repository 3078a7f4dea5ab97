"""File trees as lists of one-line strings: built before the calls of a row, read back afterwards.

Lines, names percent-encoded as in a URL so that any byte can stand in them::

    dir work/sub
    file work/a.txt "a JSON string\\n"
    bytes work/b.bin 89504e47
    repeat work/big.txt 3000 "line\\n"
    sparse work/big.bin 1073741824
    link work/l -> a.txt
    mode 600 work/a.txt
    time work/a.txt 2020-01-02T03:04:05.678

Parents are made where they are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

PLACES = ("work", "second", "outside", "work-sibling")
SHOWN_BYTES = 400


def prepare(base: str) -> None:
    """The directories that stay while a server runs; ``alias`` is a link to a root."""
    for place in PLACES:
        os.mkdir(f"{base}/{place}")
    os.symlink("work", f"{base}/alias")


def clear(base: str) -> None:
    """Remove everything inside the directories that stay."""
    for place in PLACES:
        os.chmod(f"{base}/{place}", 0o755)
        with os.scandir(f"{base}/{place}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


def build(base: str, lines: Iterable[str]) -> None:
    """Make what ``lines`` say beneath ``base``."""
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "mode":
            mode, _, name = rest.partition(" ")
            os.chmod(_path(base, name), int(mode, 8))
            continue
        name, _, value = rest.partition(" ")
        path = _path(base, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        if kind == "dir":
            os.makedirs(path, mode=0o755, exist_ok=True)
        elif kind == "link":
            os.symlink(value.removeprefix("-> "), path)
        elif kind == "time":
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
            os.utime(path, (moment.timestamp(), moment.timestamp()))
        elif kind == "sparse":
            _write(path, b"")
            os.truncate(path, int(value))
        else:
            _write(path, _content(kind, value))


def _content(kind: str, value: str) -> bytes:
    if kind == "file":
        return _text(value)
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind == "repeat":
        count, _, text = value.partition(" ")
        return _text(text) * int(count)
    raise ValueError(f"not a kind of line: {kind}")


def _text(value: str) -> bytes:
    text = json.loads(value)
    assert isinstance(text, str)
    return text.encode()


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o644)


def _path(base: str, name: str) -> bytes:
    return os.fsencode(base) + b"/" + unquote_to_bytes(name)


def snapshot(base: str) -> list[str]:
    """What is beneath the directories that stay, in the same lines, sorted by name."""
    lines: list[str] = []
    for place in sorted(PLACES):
        lines.extend(_describe(os.fsencode(base), place.encode()))
    return lines


def _describe(base: bytes, directory: bytes) -> Iterator[str]:
    for leaf in sorted(os.listdir(base + b"/" + directory)):
        name = directory + b"/" + leaf
        shown = quote(name, safe="/~+,=@ ").replace(" ", "%20")
        status = os.lstat(base + b"/" + name)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            yield f"link {shown} -> {os.fsdecode(os.readlink(base + b'/' + name))}"
        elif stat.S_ISDIR(status.st_mode):
            yield f"dir {shown}"
            if mode != 0o755:
                yield f"mode {mode:o} {shown}"
            yield from _describe(base, name)
        else:
            yield f"{_file(base + b'/' + name, status.st_size, shown)}"
            if mode != 0o644:
                yield f"mode {mode:o} {shown}"


def _file(path: bytes, size: int, shown: str) -> str:
    if size > 1 << 24:
        return f"sparse {shown} {size}"
    with open(path, "rb") as file:
        data = file.read()
    if len(data) > SHOWN_BYTES:
        return f"sha256 {shown} {hashlib.sha256(data).hexdigest()}"
    try:
        return f"file {shown} {json.dumps(data.decode(), ensure_ascii=False)}"
    except UnicodeDecodeError:
        return f"bytes {shown} {data.hex()}"
