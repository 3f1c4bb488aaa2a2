"""A TCP proxy that breaks connections on demand: put it between a client and a component.

    with FaultProxy(target_port) as proxy:
        client(proxy.port)
        proxy.set(Fault(latency_seconds=0.2))
        proxy.set(Fault(cut_after_bytes=1000, direction="up", reset=True))
        proxy.set(Fault(black_hole=True))
        proxy.set(Fault(refuse=True))
        proxy.heal()

A fault concerns open and new connections from the moment it is set. Direction "up" is client to server, "down" the
other way, "both" either. One thread per direction of a connection, which is enough for tests.
"""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from tools.stack.ports import LOOPBACK

CHUNK_BYTES = 65536
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Fault:
    """What the proxy does to traffic; without arguments, nothing.

    `latency_seconds` delays each chunk. `cut_after_bytes` closes the connection after so many bytes in the direction,
    counted per connection from when the fault was set; `reset` sends RST in place of FIN. `black_hole` swallows all bytes
    and keeps connections open. `refuse` takes the listening socket away and resets what is open.
    """

    direction: Literal["up", "down", "both"] = "both"
    latency_seconds: float = 0.0
    cut_after_bytes: int | None = None
    reset: bool = False
    black_hole: bool = False
    refuse: bool = False

    def concerns(self, direction: Direction) -> bool:
        """Returns whether the fault is about a direction."""
        return self.direction in {direction, "both"}


HEALTHY = Fault()


class FaultProxy:
    """Listens on a loopback port of its own and forwards to a target port."""

    def __init__(self, target_port: int, port: int = 0) -> None:
        """Listens at once, on a free port unless one is given."""
        self.target_port = target_port
        self._fault = HEALTHY
        self._healed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._doomed: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = port
        self.num_connections = 0
        self._listen()

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def set(self, fault: Fault) -> None:
        """Puts a fault in place of the present one."""
        self._healed.set()
        self._healed = threading.Event()
        self._fault = fault
        if fault.refuse:
            self._stop_listening()
            self.drop_connections(reset=True)
        elif self._listener is None:
            self._listen()

    def heal(self) -> None:
        """Forwards faithfully again; connections that were cut stay cut."""
        self.set(HEALTHY)

    def drop_connections(self, *, reset: bool = False) -> None:
        """Closes all open connections."""
        with self._lock:
            sockets = list(self._open)
            if reset:
                self._doomed.update(sockets)
        for end in sockets:
            self._close(end, reset=reset)

    def close(self) -> None:
        """Stops listening and closes all connections."""
        self._healed.set()
        self._stop_listening()
        self.drop_connections()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept; close alone would not
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.num_connections += 1
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((LOOPBACK, self.target_port), timeout=5.0)
        except OSError:
            self._close(client, reset=True)
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.update({client, server})
        threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True).start()
        self._pump(server, client, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        seen, counted_for = 0, self._fault
        reset = False
        try:
            while chunk := source.recv(CHUNK_BYTES):
                fault, healed = self._fault, self._healed
                if fault is not counted_for:
                    seen, counted_for = 0, fault
                if fault.concerns(direction):
                    if fault.black_hole:
                        continue
                    if fault.latency_seconds > 0:
                        healed.wait(fault.latency_seconds)
                    if fault.cut_after_bytes is not None:
                        chunk = chunk[: max(0, fault.cut_after_bytes - seen)]
                seen += len(chunk)
                if chunk:
                    sink.sendall(chunk)
                limit = fault.cut_after_bytes if fault.concerns(direction) else None
                if limit is not None and seen >= limit:
                    reset = fault.reset
                    break
        except OSError:
            reset = True
        self._close(source, reset=reset)
        self._close(sink, reset=reset)

    def _close(self, end: socket.socket, *, reset: bool = False) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._open.discard(end)
            if reset or end in self._doomed:
                self._doomed.discard(end)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # sends nothing, but wakes a thread in recv, which would hold the socket open
            else:
                end.shutdown(socket.SHUT_RDWR)
        end.close()

    def __enter__(self) -> Self:
        """Returns the proxy, which already listens."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the proxy."""
        self.close()
