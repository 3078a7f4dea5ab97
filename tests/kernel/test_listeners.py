"""A listening socket can be ended without a connection in between."""

from __future__ import annotations

import os
import socket

import pytest

from fsserver.kernel.listeners import begin_no_more
from tests.support import require_kernel


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_connected_is_accepted_and_nobody_connects_any_more(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as listener,
        socket.socket(family) as before,
        socket.socket(family) as after,
    ):
        listener.settimeout(5)
        before.connect(listener.getsockname())
        if not begin_no_more(listener):
            if os.geteuid() != 0:
                pytest.skip("this kernel lets only root attach a filter to a socket")
            require_kernel("SO_ATTACH_FILTER")
        after.settimeout(0.2)
        with pytest.raises(TimeoutError):
            after.connect(listener.getsockname())
        before.sendall(b"sent before anybody accepted")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == b"sent before anybody accepted"
            accepted.sendall(b"answer")
            assert before.recv(100) == b"answer"
