"""Entry point of ``fsserver`` and ``python -m fsserver``. Imports nothing heavy: each verb loads what it needs."""

from fsserver.cli.main import main

if __name__ == "__main__":
    main()
