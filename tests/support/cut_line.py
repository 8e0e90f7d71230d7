"""The line between a server and PostgreSQL, cut at a COMMIT when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""PostgreSQL's frontend message of the simple query COMMIT (PostgreSQL documentation, "Message Formats")."""


class Cut(Enum):
    """Where it is cut."""

    BEFORE = "the server never hears of the commit"
    AFTER = "the commit is done and its answer is lost"


class Line:
    """Accepts connections to a PostgreSQL and counts the commits that pass.

    Args:
        port: PostgreSQL's.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.commits = 0
        self._at = 0
        self._lock = threading.Lock()
        self.where = Cut.BEFORE
        self.do: Callable[[], None] = lambda: None

    def cut(self, where: Cut, *, after: int, do: Callable[[], None] = lambda: None) -> None:
        """Cut the connection at the commit after so many more, and `do` something at that moment."""
        with self._lock:
            self._at, self.where, self.do = self.commits + after + 1, where, do

    def due(self) -> bool:
        """Whether this commit is the one."""
        with self._lock:
            self.commits += 1
            return self.commits == self._at

    def run(self) -> None:
        """Accept connections until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
                _Pair(self, client, socket.create_connection(("127.0.0.1", self._to))).start()
            except OSError:
                if self._listener.fileno() < 0:
                    return

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Pair:
    """One connection through the line."""

    def __init__(self, line: Line, client: socket.socket, server: socket.socket) -> None:
        self._line = line
        self._client = client
        self._server = server
        self._silent = False
        self._answered = threading.Event()

    def start(self) -> None:
        for work in (self._forward, self._back):
            threading.Thread(target=work, daemon=True).start()

    def _forward(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(65536):
                due = COMMIT in data and self._line.due()
                if due and self._line.where is Cut.BEFORE:
                    break
                self._silent = due
                self._server.sendall(data)
                if due:
                    self._answered.wait(10)
                    break
            else:
                due = False
            if due:
                self._line.do()
        self._close()

    def _back(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(65536):
                if self._silent:
                    self._answered.set()
                    return
                self._client.sendall(data)
        if not self._silent:
            self._close()

    def _close(self) -> None:
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def line(port: int) -> Iterator[Line]:
    """A line to a PostgreSQL."""
    made = Line(port)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)
