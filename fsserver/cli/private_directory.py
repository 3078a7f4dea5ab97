"""The directory of a key or of a file of tokens that a verb makes."""

from __future__ import annotations

import os
from pathlib import Path

from fsserver.errors import ConfigError


def make_directory(path: str) -> None:
    """With mode 0700, and so are its missing parents. Raises ConfigError."""
    try:
        for missing in reversed([each for each in (Path(path), *Path(path).parents) if not os.path.lexists(each)]):
            missing.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"The directory {path} cannot be made: {error.strerror}.") from error
