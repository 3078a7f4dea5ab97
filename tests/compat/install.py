"""Where the node packages are that are compared with: installed by npm into a cache directory when they are missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

REFERENCE = "@modelcontextprotocol/server-filesystem", "2026.8.31"
INSPECTOR = "@modelcontextprotocol/inspector", "2.12.0"
VARIABLE = "FSSERVER_NODE_MODULES"


class MissingError(Exception):
    """Something that has to be on the machine first; the message says what."""


def install_directory() -> str:
    """``$FSSERVER_NODE_MODULES``, else a directory of our own in the user's cache."""
    return os.environ.get(VARIABLE) or cached("fsserver-reference")


def cached(name: str) -> str:
    """The directory ``name`` in the user's cache, which need not be there."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), name)


def installed(*packages: tuple[str, str], directory: str | None = None) -> str:
    """The directory that holds ``node_modules`` with exactly these versions; npm is asked for what is not there.

    Args:
        directory: default: `install_directory`. What is asked for apart needs one of its own: npm removes the rest.

    Raises:
        MissingError: no node, no npm, or npm cannot get the packages.
    """
    if shutil.which("node") is None:
        raise MissingError(
            "node is not on the PATH. The reference server needs node 20 or newer; fsserver itself does not."
        )
    directory = directory or install_directory()
    wanted = [(name, version) for name, version in packages if _version(directory, name) != version]
    if not wanted:
        return directory
    if shutil.which("npm") is None:
        raise MissingError(f"npm is not on the PATH; it has to install {_names(wanted)} into {directory}.")
    os.makedirs(directory, exist_ok=True)
    command = ["npm", "install", "--prefix", directory, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
    command += [f"{name}@{version}" for name, version in packages]
    print(f"installing {_names(wanted)} into {directory}", flush=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise MissingError(f"npm could not install {_names(wanted)} into {directory}:\n{done.stderr.strip()[-1000:]}")
    return directory


def _names(packages: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}@{version}" for name, version in packages)


def _version(directory: str, name: str) -> str | None:
    try:
        with open(os.path.join(directory, "node_modules", name, "package.json"), encoding="utf-8") as file:
            version: str = json.load(file)["version"]
    except FileNotFoundError:
        return None
    return version
