"""The socket that a service listens on."""

from __future__ import annotations

import socket
from contextlib import closing

from fsserver.policy.service import Address
from fsserver.transport.http.listening import STALLED_S, bind, bound


def test_a_connection_whose_client_takes_nothing_is_given_up_by_the_kernel() -> None:
    with closing(bind(Address("127.0.0.1", 0))) as listener:
        at = bound(listener)
        listener.setblocking(True)
        with socket.create_connection((at.host, at.port), 10):
            accepted, _ = listener.accept()
            with closing(accepted):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == STALLED_S * 1000
