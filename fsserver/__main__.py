"""Entry point of ``fsserver`` and ``python -m fsserver``. Imports nothing heavy: each verb loads what it needs."""

import os
import sys

from fsserver.cli.main import main as command_line


def main() -> None:
    """The command line, with names of files in UTF-8, as policies and clients write them.

    Where the locale says otherwise, as de_DE with ISO-8859-1 does, Python would read each name as another text, which
    no rule on names fits: so it begins anew in its UTF-8 mode.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - this very program
    command_line()


if __name__ == "__main__":
    main()
