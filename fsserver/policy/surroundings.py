"""What a policy must keep its roots away from on this machine."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass

from fsserver.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The process and the machine, as far as loading a policy depends on them. All paths are absolute.

    Attributes:
        home: the user's home directory; ``~`` in a policy.
        state: fsserver's directory for what it keeps between runs, the audit log by default.
        uid: who may own the policy file, besides root.
        own: what fsserver runs from, each as (description, directory): neither in a root nor around one.
        imports: further directories that Python imports from: none may lie in a writable root.
    """

    home: str
    state: str
    uid: int
    own: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]

    @classmethod
    def of_process(cls) -> Surroundings:
        """As this process has them. Paths in the environment that are not absolute are ignored, as XDG has it.

        Raises:
            ConfigError: neither HOME nor the user database knows a home directory.
        """
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            home = _home_of_user()
        state = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(state):
            state = os.path.join(home, ".local/state")
        return cls(
            home=os.path.normpath(home),
            state=os.path.normpath(os.path.join(state, "fsserver")),
            uid=os.geteuid(),
            own=tuple(_own_directories()),
            imports=tuple(_import_directories()),
        )


def _home_of_user() -> str:
    import pwd  # noqa: PLC0415 - only where HOME says nothing

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        message = f"HOME is not an absolute path, and user {os.getuid()} is not in the user database: set HOME"
        raise ConfigError(message) from None


def _import_directories() -> list[str]:
    try:
        return list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))
    except FileNotFoundError:  # nothing can be imported from a current directory that was removed
        return list(dict.fromkeys(entry for entry in sys.path if os.path.isabs(entry)))


def _own_directories() -> list[tuple[str, str]]:
    paths = sysconfig.get_paths()
    own = [
        ("fsserver's own code", os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        ("the Python library", paths["stdlib"]),
        ("the directory of installed Python packages", paths["purelib"]),
        ("the directory of installed Python packages", paths["platlib"]),
    ]
    if sys.prefix != sys.base_prefix:
        own.append(("fsserver's Python environment", sys.prefix))
    return list(dict.fromkeys(own))
