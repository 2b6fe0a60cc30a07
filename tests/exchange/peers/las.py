"""A LAS that isn't one: it answers UWLR requests on this machine's loopback, as it should or in any wrong way.

What it answers is invented. A wrong answer carries planted values like a right one, so that it can be seen whether
anything of it is released.
"""

import re
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Literal, Self, get_args

from tests.exchange.peers.invented import CallName, Invented, exception_answer, invented
from tests.exchange.peers.large_answers import Large

#: What every wrong answer holds besides what was planted in it.
SECRET: Final = "zqgeheim"

_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Request:
    """A request as the LAS received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def call(self) -> CallName:
        found = re.search(rb"(leerlinggegevens|structuur|leerlingen|leerkrachten)_verzoek", self.body)
        assert found, self.body
        call = found[1].decode()
        for name in get_args(CallName):
            if name == call:
                known: CallName = name
                return known
        raise AssertionError(call)

    def value(self, name: str) -> str | None:
        """The text of the first element of this name."""
        found = re.search(rf"<(?:[\w.-]+:)?{name}(?:\s[^>]*)?>([^<]*)<".encode(), self.body)
        return found[1].decode() if found else None


@dataclass(frozen=True)
class Reply:
    """What the LAS answers. With no `length` it is that of the body; `then` says what follows the last byte."""

    body: bytes | Iterable[bytes]
    status: str = "200 OK"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/xml; charset=utf-8"),)
    length: int | None = None
    then: Literal["close", "hang"] = "close"
    pause: float = 0.0


Behaviour = Callable[[Request], Reply]


@dataclass
class Las:
    """The LAS, from `with` until its end. It keeps the requests, and the last answer that it invented."""

    behaviour: Behaviour
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.las = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/uwlr"

    def wait_for_the_end(self, seconds: float) -> bool:
        """Waits; whether the end came before that."""
        return self._ended.wait(seconds)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    las: Las


class _Handler(socketserver.StreamRequestHandler):
    """One request of HTTP/1.1, written and read by hand: what a server should never send is what it is for."""

    server: _Server

    def handle(self) -> None:
        try:
            request = self._read()
            if request is not None:
                self.server.las.requests.append(request)
                self._write(self.server.las.behaviour(request))
        except (ConnectionError, TimeoutError):
            return  # who asked went away: that is theirs to decide

    def _read(self) -> Request | None:
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers: dict[str, str] = {}
        while (header := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(headers.get("content-length", "0")))
        return Request(line[0], line[1], headers, body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _write(self, reply: Reply) -> None:
        length = reply.length
        if length is None and isinstance(reply.body, bytes):
            length = len(reply.body)
        lines = [
            f"HTTP/1.1 {reply.status}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        lines.append(f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        for piece in [reply.body] if isinstance(reply.body, bytes) else reply.body:
            if reply.pause and self.server.las.wait_for_the_end(reply.pause):
                return
            self.wfile.write(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
        if reply.then == "hang":
            self.server.las.wait_for_the_end(_PATIENCE)
        elif length is None:
            self.wfile.write(b"0\r\n\r\n")


# -- as it should -------------------------------------------------------------------------------------------------


def answer_to(request: Request, *, clean: bool = False) -> Invented:
    """The answer to what was asked. The same request has the same answer."""
    brincode, dependancecode = request.value("brincode"), request.value("dependancecode")
    return invented(
        request.call,
        clean=clean,
        schooljaar=request.value("schooljaar") or "",
        brincode=brincode or "16SW",
        dependancecode=dependancecode,
    )


def clean(request: Request) -> Reply:
    return Reply(answer_to(request, clean=True).content)


def unclean(request: Request) -> Reply:
    return Reply(answer_to(request).content)


def in_pieces(request: Request) -> Reply:
    """In chunks, and none of them where an element ends."""
    content = answer_to(request).content
    return Reply(content[start : start + 999] for start in range(0, len(content), 999))


def slow(request: Request) -> Reply:
    content = answer_to(request).content
    step = len(content) // 10 + 1
    return Reply((content[start : start + step] for start in range(0, len(content), step)), pause=0.05)


def with_cookie(request: Request) -> Reply:
    return replace(clean(request), headers=(("Content-Type", "text/xml"), ("Set-Cookie", "sessie=1; Path=/")))


def by_key(brincode: str | None = "16SW", dependancecode: str | None = None, key: str | None = None) -> Behaviour:
    """Answers with the schoolkey that was asked by, or another, and with this BRIN or with none."""

    def behaviour(request: Request) -> Reply:
        asked = key or request.value("schoolkey")
        source = invented(request.call, clean=False, brincode=brincode, dependancecode=dependancecode, schoolkey=asked)
        return Reply(source.content)

    return behaviour


def without_changes(request: Request) -> Reply:
    return Reply(exception_answer(request.call, "geenwijzigingen"))


def without_data(request: Request) -> Reply:
    return Reply(exception_answer(request.call, "geengegevens"))


def huge(megabytes: float) -> Behaviour:
    """Answers with so many megabytes of pupils."""

    def behaviour(request: Request) -> Reply:
        return Reply(Large(megabytes, request.call))

    return behaviour
