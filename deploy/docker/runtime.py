"""Print the part of constraints.txt that fsserver needs to run, hashes and all: without its tests and its checks.

Who needs a package is in the ``# via`` remarks that `make lock` leaves. Needs the standard library only.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = "fsserver (pyproject.toml)"


def name_of(requirement: str) -> str:
    """``PyJWT[crypto]>=2`` is ``pyjwt``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def blocks(constraints: str) -> list[tuple[str, str]]:
    """Each package's name and its lines. A name may be there twice, for two versions of Python."""
    found = re.findall(r"^\S+==.*\n(?:[ \t].*\n)*", constraints, re.MULTILINE)
    return [(name_of(block), block) for block in found]


def needed(packages: list[tuple[str, str]], wanted: set[str]) -> set[str]:
    """The names of those that ``wanted``, of fsserver's own dependencies, need; themselves too."""
    by = [(name, set(re.findall(r"^ +#(?: via)? +(\S.*)$", block, re.MULTILINE))) for name, block in packages]
    found = {name for name, users in by if name in wanted and ROOT in users}
    while more := {name for name, users in by if name not in found and users & found}:
        found |= more
    return found


def main(project: str, constraints: str) -> None:
    declared = tomllib.loads(Path(project).read_text())["project"]
    extras = [each for extra in declared["optional-dependencies"].values() for each in extra]
    packages = blocks(Path(constraints).read_text())
    found = needed(packages, {name_of(each) for each in (*declared["dependencies"], *extras)})
    sys.stdout.write("".join(block for name, block in packages if name in found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
