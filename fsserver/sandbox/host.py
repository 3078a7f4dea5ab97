"""What of this machine a command may see besides its roots: found once, by whoever starts the launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# Programs and libraries. Where one is a link to another, as /bin usually is, the cell has the same link.
SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
)
# Never the directory: it also has keys, password hashes, and what the administrator wrote for other programs.
ETC: Final = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "debian_version",
    "fonts",
    "host.conf",
    "hosts",
    "java-*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "manpath.config",
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "php",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "python3*",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
NETWORK_ETC: Final = ("gai.conf", "resolv.conf")
MOST_COPIED: Final = 64 * 1024
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
DEVICE_LINKS: Final = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


@dataclass(frozen=True, slots=True)
class Host:
    """Absolute paths that existed.

    Attributes:
        directories: programs and libraries, without links.
        links: names of the root directory that are links, each with what it says.
        etc, network_etc: as (where a command sees it, where it really is).
        contents: of the small files of ``etc``, each by its path; bytes that are not UTF-8 as lone surrogates.
        git_identity: the user's name and address for commits, each empty if unknown.
    """

    directories: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    etc: tuple[tuple[str, str], ...]
    network_etc: tuple[tuple[str, str], ...]
    contents: Mapping[str, str]
    devices: tuple[str, ...]
    git_identity: tuple[str, str]


def look_around(home: str) -> Host:
    """The machine as it is now. ``home``: the user's, for the name that commits carry."""
    links = tuple((path, os.readlink(path)) for path in SYSTEM if os.path.islink(path))
    etc = tuple(_etc(ETC))
    return Host(
        directories=tuple(path for path in SYSTEM if os.path.isdir(path) and not os.path.islink(path)),
        links=links,
        etc=etc,
        network_etc=tuple(_etc(NETWORK_ETC)),
        contents={path: content for path, real in etc if (content := _content(real)) is not None},
        devices=tuple(path for path in DEVICES if os.path.exists(path)),
        git_identity=git_identity(home),
    )


def _etc(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    present = sorted(os.listdir("/etc")) if os.path.isdir("/etc") else []
    for name in names:
        beginning = name.removesuffix("*")
        found = [each for each in present if each.startswith(beginning)] if beginning != name else [name]
        for each in found:
            path = f"/etc/{each}"
            real = os.path.realpath(path)
            if os.path.exists(real):
                yield path, real


def _content(path: str) -> str | None:
    """What a small file holds. To write it anew for each command takes less time than to bind it."""
    try:
        if os.path.isfile(path) and os.path.getsize(path) <= MOST_COPIED:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                return stream.read()
    except OSError:
        pass
    return None


_SECTION: Final = re.compile(r"\s*\[\s*([A-Za-z0-9.-]+)\s*\]")
_ENTRY: Final = re.compile(r'\s*(name|email)\s*=\s*"?([^"#;\\]*)"?', re.IGNORECASE)


def git_identity(home: str) -> tuple[str, str]:
    """``user.name`` and ``user.email`` of the user's own git configuration. What is written unusually is not found."""
    found = {"name": "", "email": ""}
    for path in (f"{home}/.config/git/config", f"{home}/.gitconfig"):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                lines = stream.read(1 << 20).splitlines()
        except OSError:
            continue
        section = ""
        for line in lines:
            heading = _SECTION.match(line)
            entry = _ENTRY.match(line)
            if heading is not None:
                section = heading[1].lower()
            elif entry is not None and section == "user":
                found[entry[1].lower()] = "".join(each for each in entry[2].strip() if each.isprintable())
    return found["name"], found["email"]
