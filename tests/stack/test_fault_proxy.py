"""The TCP proxy: each fault against a real socket server."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tools.stack.faults import Fault, FaultProxy


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy in front of an echo server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with FaultProxy(server.server_address[1]) as running:
            yield running
        server.shutdown()


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (chunk := connection.recv(65536)):
        found += chunk
    return found


def test_without_a_fault_all_bytes_pass_both_ways(proxy: FaultProxy) -> None:
    sent = bytes(range(256)) * 1000

    with connect(proxy) as connection:
        threading.Thread(target=connection.sendall, args=(sent,)).start()
        assert read(connection, len(sent)) == sent
    assert proxy.num_connections == 1


def test_latency_delays_each_way(proxy: FaultProxy) -> None:
    proxy.set(Fault(latency_seconds=0.2))
    started = time.monotonic()

    with connect(proxy) as connection:
        connection.sendall(b"x")
        assert read(connection, 1) == b"x"

    assert time.monotonic() - started >= 0.4


def test_cut_closes_after_exactly_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.set(Fault(direction="down", cut_after_bytes=1000))

    with connect(proxy) as connection:
        connection.sendall(b"x" * 5000)
        assert read(connection, 5000) == b"x" * 1000


def test_reset_is_seen_as_a_reset(proxy: FaultProxy) -> None:
    proxy.set(Fault(direction="up", cut_after_bytes=0, reset=True))

    with connect(proxy) as connection:
        connection.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            read(connection, 1)


def test_black_hole_swallows_and_keeps_the_connection(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"a")
        assert read(connection, 1) == b"a"
        proxy.set(Fault(black_hole=True))
        connection.settimeout(0.2)
        connection.sendall(b"lost")
        with pytest.raises(TimeoutError):
            connection.recv(1)

        proxy.heal()
        connection.settimeout(5)
        connection.sendall(b"b")
        assert read(connection, 1) == b"b"


def test_refused_connections_come_back_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    with connect(proxy) as connection:
        connection.sendall(b"a")
        assert read(connection, 1) == b"a"
        proxy.set(Fault(refuse=True))
        with pytest.raises(ConnectionResetError):
            read(connection, 1)

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)

    proxy.heal()
    assert proxy.port == port
    with connect(proxy) as connection:
        connection.sendall(b"b")
        assert read(connection, 1) == b"b"


def test_target_that_is_down_resets_the_client() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        target = reserved.getsockname()[1]
        with FaultProxy(target) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as connection:
            read(connection, 1)
