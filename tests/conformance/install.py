"""Where the conformance suite is: installed by npm, as suite/package-lock.json has it, into a cache directory.

The lock has a hash of each package and no address: where they come from is npm's configuration's to say.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from tests.compat.install import MissingError, cached

LOCKED: Final = Path(__file__).parent / "suite"
FILES: Final = ("package.json", "package-lock.json")
OLDEST_NODE: Final = 22  # what the suite needs; its authors use 24, which is in the lock for who has an older one


class Suite(NamedTuple):
    """The programs. ``node`` runs ``script``."""

    node: str
    script: str


def installed(directory: Path | None = None) -> Suite:
    """The suite; npm is asked for it where it is not there as it is locked.

    Raises:
        MissingError: no npm, or it cannot get the packages.
        RuntimeError: a package is not what is locked.
    """
    directory = directory or Path(cached("fsserver-conformance"))
    own = _node()
    wanted = hashlib.sha256(b"".join((LOCKED / name).read_bytes() for name in FILES)).hexdigest() + f" {bool(own)}"
    stamp = directory / "stamp"
    if not stamp.is_file() or stamp.read_text() != wanted:
        _install(directory, optional=own is None)
        stamp.write_text(wanted)
    modules = directory / "node_modules"
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "")
    node = own or str(modules / f"node-linux-{machine}" / "bin" / "node")
    return Suite(node, str(modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"))


def _install(directory: Path, *, optional: bool) -> None:
    if shutil.which("npm") is None:
        raise MissingError(f"npm is not on the PATH; it has to install the suite into {directory}.")
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(LOCKED / name, directory / name)
    print(f"installing the conformance suite into {directory}", flush=True)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    command += [] if optional else ["--omit=optional"]
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    if "EINTEGRITY" in done.stderr:
        raise RuntimeError(f"a package of the suite is not the one that is locked:\n{done.stderr.strip()[-1000:]}")
    if done.returncode != 0:
        raise MissingError(f"npm could not install the suite into {directory}:\n{done.stderr.strip()[-1000:]}")


def _node() -> str | None:
    """The machine's node, if it is new enough."""
    node = shutil.which("node")
    if node is None:
        return None
    done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=False)
    major = done.stdout.strip().removeprefix("v").partition(".")[0]
    return os.path.realpath(node) if major.isdigit() and int(major) >= OLDEST_NODE else None
