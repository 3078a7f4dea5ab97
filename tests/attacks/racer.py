"""The attacker of the race tests: a process that moves names about as fast as it can, until its input ends.

``python -m tests.attacks.racer exchange A B`` swaps two names; ``… shuttle A B`` renames A to B and back.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsserver.kernel.constants import AT_FDCWD, RENAME_EXCHANGE
from fsserver.kernel.syscalls import renameat2
from tests.support import REPOSITORY

_ROUNDS_PER_LOOK = 200


def main(how: str, one: str, other: str) -> None:
    a, b = os.fsencode(one), os.fsencode(other)
    print("ready", flush=True)
    while not select.select([0], [], [], 0)[0]:
        for _ in range(_ROUNDS_PER_LOOK):
            if how == "exchange":
                renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE)
            else:
                os.rename(a, b)
                os.rename(b, a)


@contextmanager
def racing(how: str, one: Path, other: Path) -> Iterator[None]:
    """A racer runs on ``one`` and ``other``; it has begun when this is entered, and has ended when it is left."""
    command = [sys.executable, "-m", "tests.attacks.racer", how, str(one), str(other)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=20)


if __name__ == "__main__":
    main(*sys.argv[1:])
