"""What stands behind a gateway: it answers everything, and writes down what reached it, as it came."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reached:
    """A request that came through."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The values of a header; `_` in its name counts as `-`, as some applications have it."""
        return [value for each, value in self.headers if each.lower().replace("_", "-") == name.lower()]


class Las:
    """Records until it is asked, and then begins anew."""

    def __init__(self) -> None:
        self.port = 0
        self._reached: list[Reached] = []

    def take(self) -> list[Reached]:
        taken, self._reached = self._reached, []
        return taken

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        server = _Server(("127.0.0.1", 0), _handler_for(self._reached_by))
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _reached_by(self, request: Reached) -> None:
        self._reached.append(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A gateway may keep its connection for longer than the tests last.
    block_on_close = False


def _handler_for(reached: Callable[[Reached], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("do_"):
                raise AttributeError(name)
            return self.answer

        def answer(self) -> None:
            method, target, _ = self.raw_requestline.decode("latin-1").split(" ", 2)
            reached(Reached(method, target, tuple(self.headers.items())))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("X-Las", "yes")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    return Handler
