"""Telling systemd how the service is doing: sd_notify(3), over a socket from before the server confined itself."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class Notifier:
    """Does nothing where nobody wants to be told (``NOTIFY_SOCKET`` is not set)."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address.startswith(("/", "@")):
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                opened.connect("\0" + address[1:] if address.startswith("@") else address)
            except OSError:
                opened.close()
            else:
                self._socket = opened

    def say(self, *assignments: str) -> None:
        """For example ``READY=1``."""
        if self._socket is not None:
            with suppress(OSError):  # the manager is gone, or does not read
                self._socket.send("\n".join(assignments).encode())

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
