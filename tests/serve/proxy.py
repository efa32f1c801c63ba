"""A way to the store that a test can cut or let hang: a TCP port whose bytes go to PostgreSQL's socket."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from urllib.parse import parse_qs, quote, urlsplit


class Proxy:
    """Forwards connections until `cut`; `hang` keeps them and forwards nothing; `mend` undoes both."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = query.get("host", [parts.hostname or ""])[0]
        port = int(query.get("port", [str(parts.port or 5432)])[0])
        self._target = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = f"{quote(parts.username or '')}:{quote(parts.password or '')}"
        self.url = f"postgresql://{login}@127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._flowing = threading.Event()
        self._flowing.set()
        self._accepting = True
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._accepting:
                near.close()
                continue
            family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
            far = socket.socket(family, socket.SOCK_STREAM)
            far.connect(self._target)
            self._open += [near, far]
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as ready, suppress(OSError, ValueError):
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in ready.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    self._flowing.wait()
                    if not data:
                        return
                    key.data.sendall(data)

    def cut(self) -> None:
        """Ends all connections and refuses new ones."""
        self._accepting = False
        opened, self._open = self._open, []
        for sock in opened:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        self._flowing.clear()

    def mend(self) -> None:
        self._accepting = True
        self._flowing.set()

    def close(self) -> None:
        self.mend()
        self.cut()
        self._listener.close()
