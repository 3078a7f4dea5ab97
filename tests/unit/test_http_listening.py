"""The socket that a service listens on, and the files of its TLS."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fsserver.errors import ConfigError
from fsserver.policy.service import Address, TlsFiles
from fsserver.transport.http.listening import STALLED_S, bind, bound, server_context
from tests.receivers import Authority


def test_a_connection_whose_client_takes_nothing_is_given_up_by_the_kernel() -> None:
    with closing(bind(Address("127.0.0.1", 0))) as listener:
        at = bound(listener)
        listener.setblocking(True)
        with socket.create_connection((at.host, at.port), 10):
            accepted, _ = listener.accept()
            with closing(accepted):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == STALLED_S * 1000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"certificate": "gone.crt"}, "gone.crt cannot be read: No such file or directory.", id="no cert"),
        pytest.param({"key": "gone.key"}, "gone.key cannot be read: No such file or directory.", id="no key"),
        pytest.param({"client_ca": "gone.crt"}, "gone.crt cannot be read: No such file or directory.", id="no CA"),
        pytest.param({"key": "text"}, "server.tls: the certificate or its key cannot be used: ", id="no key in it"),
        pytest.param({"client_ca": "text"}, "server.tls: client_ca cannot be used: ", id="no certificate in it"),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, str], said: str) -> None:
    (tmp_path / "text").write_text("no PEM\n")
    issued = Authority(tmp_path).issue("127.0.0.1")
    files = TlsFiles(issued.certificate, issued.key)
    assert server_context(files) is not None
    with pytest.raises(ConfigError) as caught:
        server_context(replace(files, **{name: str(tmp_path / file) for name, file in change.items()}))
    assert said in caught.value.message
