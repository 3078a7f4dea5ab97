"""Places that audit records are sent to, for tests: real syslog servers with real certificates, and an OTLP collector.

Each runs in threads of its own and is misbehaved on demand. They listen on loopback.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from tests.support import wait_until

MESSAGE = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>[\x21-\x7e]{1,255}) fsserver (?P<process>[\x21-\x7e]{1,128}) "
    rb'(?P<event>[\x21-\x7e]{1,32}) (?P<data>\[fsserver@32473(?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")*\]) '
    rb"(?P<record>\{.*\})",
    re.DOTALL,
)
"""RFC 5424, as strictly as this program has to write it."""


class Certificate(NamedTuple):
    """PEM files of a server."""

    certificate: str
    key: str


class Authority:
    """A certificate authority of our own, in PEM files below ``place``."""

    def __init__(self, place: Path, name: str = "ca") -> None:
        self._place = place
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        self.file = str(place / f"{name}.crt")
        made = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        Path(self.file).write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Certificate:
        """A server's certificate for a host name or an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        try:
            alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        made = self._sign(subject, key, x509.SubjectAlternativeName([alternative]))
        files = Certificate(str(self._place / f"{name}.crt"), str(self._place / f"{name}.key"))
        Path(files.certificate).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


class SyslogServer:
    """Receives octet-counted messages on one port; it can be stopped and started there again.

    Attributes:
        messages: all that came, in order, whole ones only.
        reading: clear, and it reads nothing more.
        pause_s: how long it waits before it reads; says: what it sends to who connects.
    """

    def __init__(self, certificate: Certificate | None, *, port: int = 0, room_bytes: int | None = 4096) -> None:
        """Args:
        room_bytes: what the kernel holds of what is not read yet: little, so that a client finds out. None is as usual:
            with so little, TCP may rest for seconds between two packets of a client that is gone.
        """
        self._room_bytes = room_bytes
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.certificate, certificate.key)
        self.messages: list[bytes] = []
        self.connections = 0
        self.pause_s = 0.0
        self.says = b""
        self._never = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = port
        self.start()

    def start(self) -> None:
        self._stopping = False
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._room_bytes is not None:
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._room_bytes)
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen()
        self.port = self._listening.getsockname()[1]
        self._spawn(self._accept, self._listening)

    def stop(self, *, abruptly: bool = False) -> None:
        """Close everything: with ``abruptly`` so that what it has not read makes the connection a reset one."""
        self._stopping = True
        self.reading.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                if abruptly:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)
        self._open.clear()
        self._threads.clear()

    def drop(self) -> None:
        """Close the connections that there are, and take new ones."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def lines(self) -> list[bytes]:
        """The records, as lines of a log."""
        found = [MESSAGE.fullmatch(message) for message in self.messages]
        return [each["record"] + b"\n" for each in found if each is not None]

    def wait_for(self, count: int, *, timeout_s: float = 10.0) -> None:
        wait_until(lambda: len(self.messages) >= count, f"{count} messages came", timeout_s=timeout_s)

    def _spawn(self, function: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                self._open.append(connection)
                if self._stopping:  # `stop` may not have seen this one
                    connection.close()
                    return
                self.connections += 1
                self._spawn(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError):  # the client or `stop` ended it
            connection = plain
            self.reading.wait(60)
            if self._context is not None:
                connection = self._context.wrap_socket(plain, server_side=True)
                self._open.append(connection)
            connection.sendall(self.says)
            data = b""
            while True:
                self.reading.wait(60)
                self._never.wait(self.pause_s)
                more = connection.recv(4096)
                if not more:
                    connection.close()
                    return
                data = self._cut(data + more)

    def _cut(self, data: bytes) -> bytes:
        while found := re.match(rb"([1-9]\d*) ", data):
            end = found.end() + int(found[1])
            if len(data) < end:
                break
            self.messages.append(data[found.end() : end])
            data = data[end:]
        return data


@contextmanager
def syslog_server(certificate: Certificate | None = None, *, room_bytes: int | None = 4096) -> Iterator[SyslogServer]:
    server = SyslogServer(certificate, room_bytes=room_bytes)
    try:
        yield server
    finally:
        server.stop()


class Collector:
    """An OTLP/HTTP collector of logs.

    Attributes:
        batches: what it took.
        refuses: it answers 400 to what has these bytes in it.
        status: how it answers otherwise; rejected: how many records of each batch it says it rejects.
        answering: clear, and it answers nothing.
        raw: what it answers instead, and closes; b"" for nothing.
        seen: called with each request's body before it is answered.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.batches: list[ExportLogsServiceRequest] = []
        self.status = 200
        self.rejected = 0
        self.raw: bytes | None = None
        self._last: BaseHTTPRequestHandler | None = None
        self.refuses: bytes | None = None
        self.seen: Callable[[bytes], None] | None = None
        self.body: bytes | None = None
        self.answering = threading.Event()
        self.answering.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536  # head and body in one packet

            def do_POST(self) -> None:
                collector.take(self)

            def log_message(self, *_: Any) -> None:
                """Nothing is said."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """The client went away."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        data = request.rfile.read(int(request.headers["Content-Length"]))
        assert request.headers["Content-Type"] == "application/x-protobuf"
        assert request.path == "/v1/logs"
        self.answering.wait(60)
        self._last = request
        status = 400 if self.refuses is not None and self.refuses in data else self.status
        if self.seen is not None:
            self.seen(data)
        batch = ExportLogsServiceRequest.FromString(data)
        if self.raw is not None:
            request.close_connection = True
            with suppress(OSError):
                request.wfile.write(self.raw)
            return
        if status == 200 and not self.rejected:
            self.batches.append(batch)
        said = ExportLogsServiceResponse(
            partial_success=ExportLogsPartialSuccess(rejected_log_records=self.rejected)
        ).SerializeToString()
        body = said if self.body is None else self.body
        with suppress(OSError):
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

    def say(self, data: bytes) -> None:
        """Send something on the connection that was used last."""
        assert self._last is not None
        self._last.wfile.write(data)
        self._last.wfile.flush()

    @property
    def records(self) -> Sequence[Any]:
        return [
            record
            for batch in self.batches
            for resource in batch.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def lines(self) -> list[bytes]:
        """The records, as lines of a log."""
        return [record.body.string_value.encode("ascii") + b"\n" for record in self.records]

    def stop(self) -> None:
        self.answering.set()
        if self._last is not None:
            with suppress(OSError):
                self._last.connection.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def collector(certificate: Certificate | None = None) -> Iterator[Collector]:
    server = Collector(certificate)
    try:
        yield server
    finally:
        server.stop()


def once(lines: Sequence[bytes]) -> list[bytes]:
    """Without those that came again, as ``awk '!seen[$0]++'`` has it."""
    return list(dict.fromkeys(lines))
