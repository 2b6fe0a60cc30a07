"""Ways to frame requests on one connection, right and wrong, and what must come of each.

After each stands a last request, `LAST`, which closes the connection. Where it is answered, every byte before it was
read as what it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Answered by the application, and not by the edge.
TAKEN: Final = 0
LAST: Final = "/last"


@dataclass(frozen=True)
class Door:
    """Where framings are sent: a target that takes a POST with this body, and what a request must have besides."""

    target: bytes
    body: bytes
    headers: bytes = b""


@dataclass(frozen=True)
class Framing:
    """`answers` come in this order. The last request is answered unless the connection ends before it."""

    name: str
    made: Callable[[Door], bytes]
    answers: tuple[int, ...] = (TAKEN,)
    ends: bool = False

    def bytes_for(self, door: Door) -> bytes:
        return self.made(door) + last(door)


def last(door: Door) -> bytes:
    return head(door, b"Connection: close", method=b"GET", target=LAST.encode())


def head(
    door: Door, *lines: bytes, method: bytes = b"POST", target: bytes = b"", version: bytes = b"HTTP/1.1"
) -> bytes:
    """The head of a request with these header lines, after those that it needs."""
    first = b"%s %s %s\r\nHost: edge.test\r\nContent-Type: application/json\r\n" % (
        method,
        target or door.target,
        version,
    )
    return first + door.headers + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def counted(*lines: bytes, version: bytes = b"HTTP/1.1") -> Callable[[Door], bytes]:
    """A request whose body has its length, with these header lines besides."""
    return lambda door: head(door, b"Content-Length: %d" % len(door.body), *lines, version=version) + door.body


def of_length(line: Callable[[int], bytes], *lines: bytes) -> Callable[[Door], bytes]:
    """A request with a body, whose length is said by this line."""
    return lambda door: head(door, line(len(door.body)), *lines) + door.body


def chunked(
    *lines: bytes,
    coding: bytes = b"Transfer-Encoding: chunked",
    chunks: Callable[[bytes], bytes] | None = None,
    trailers: bytes = b"",
    version: bytes = b"HTTP/1.1",
) -> Callable[[Door], bytes]:
    """A request whose body is chunked."""
    framed = chunks or in_chunks(7)
    return lambda door: head(door, coding, *lines, version=version) + framed(door.body) + b"0\r\n" + trailers + b"\r\n"


def in_chunks(size: int, written: str = "{:x}", extension: bytes = b"") -> Callable[[bytes], bytes]:
    def framed(body: bytes) -> bytes:
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        return b"".join(written.format(len(piece)).encode() + extension + b"\r\n" + piece + b"\r\n" for piece in pieces)

    return framed


def get(*lines: bytes, **more: bytes) -> Callable[[Door], bytes]:
    return lambda door: head(door, *lines, **{"method": b"GET", "target": LAST.encode(), **more})


def both(*parts: Callable[[Door], bytes]) -> Callable[[Door], bytes]:
    """These requests, sent at once."""
    return lambda door: b"".join(part(door) for part in parts)


def raw(text: bytes) -> Callable[[Door], bytes]:
    return lambda _: text


_LENGTH: Final = b"Content-Length: %d"
#: A body that would be a request.
HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: edge.test\r\n\r\n"
TUNNEL: Final = {"method": b"CONNECT", "target": b"edge.test:443"}
H2C: Final = (b"Connection: Upgrade", b"Upgrade: h2c")
#: Sent by the client of the JDK by default.
OF_JAVA: Final = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
WEB_SOCKET: Final = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)

#: Framings that mean one thing.
RIGHT: Final = [
    Framing("a length", counted()),
    Framing("no body", get()),
    Framing("a length of zero", get(b"Content-Length: 0")),
    Framing("zeros before a length", of_length(lambda n: b"Content-Length: 000%d" % n)),
    Framing("spaces around a length", of_length(lambda n: b"Content-Length:   %d  " % n)),
    Framing("a tab before a length", of_length(lambda n: b"Content-Length:\t%d" % n)),
    Framing("no space before a length", of_length(lambda n: b"Content-Length:%d" % n)),
    Framing("a length in capitals", of_length(lambda n: b"CONTENT-LENGTH: %d" % n)),
    Framing("a GET with a body", both(get(_LENGTH % len(HIDDEN)), raw(HIDDEN))),
    Framing("one chunk", chunked(chunks=in_chunks(10_000))),
    Framing("chunks of one byte", chunked(chunks=in_chunks(1))),
    Framing("chunks of seven bytes", chunked()),
    Framing("a size in capitals", chunked(chunks=in_chunks(15, "{:X}"))),
    Framing("a size with zeros before it", chunked(chunks=in_chunks(15, "000{:x}"))),
    Framing("an extension of a chunk", chunked(chunks=in_chunks(9, extension=b";name=value"))),
    Framing("the coding in capitals", chunked(coding=b"TRANSFER-ENCODING: CHUNKED")),
    Framing("a trailer", chunked(trailers=b"X-Checksum: 1\r\n")),
    Framing("two trailers", chunked(trailers=b"X-One: 1\r\nX-Two: 2\r\n")),
    Framing("a partner in the trailers", chunked(trailers=b"X-Partner-Client-Id: another\r\n")),
    Framing("a token in the trailers", chunked(trailers=b"Authorization: Bearer another\r\n")),
    Framing("an address in the trailers", chunked(trailers=b"X-Forwarded-For: 10.1.2.3\r\n")),
    Framing("a host in the trailers", chunked(trailers=b"Host: elsewhere.test\r\n")),
    Framing("an upgrade in the trailers", chunked(trailers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n")),
    Framing("h2c with a length", counted(*OF_JAVA)),
    Framing("h2c with chunks", chunked(*OF_JAVA)),
    Framing("h2c without a body", get(*H2C)),
    Framing("h2c in capitals", counted(b"CONNECTION: UPGRADE", b"UPGRADE: H2C")),
    Framing("a web socket with a length", counted(*WEB_SOCKET)),
    Framing("a web socket without a body", get(*WEB_SOCKET)),
    Framing("TLS inside", counted(b"Connection: Upgrade", b"Upgrade: TLS/1.0")),
    Framing("several protocols", counted(b"Connection: keep-alive, Upgrade", b"Upgrade: foo/2, bar")),
    Framing("an upgrade that the connection does not name", counted(b"Upgrade: h2c")),
    Framing("a connection that names an upgrade that is not there", counted(b"Connection: Upgrade")),
    Framing("two requests at once", both(get(), get()), (TAKEN, TAKEN)),
    Framing("a request behind a length", both(counted(), get()), (TAKEN, TAKEN)),
    Framing("a request behind chunks", both(chunked(), get()), (TAKEN, TAKEN)),
    Framing("a request behind trailers", both(chunked(trailers=b"X-One: 1\r\n"), counted()), (TAKEN, TAKEN)),
    Framing("a request behind h2c with a length", both(counted(*H2C), counted()), (TAKEN, TAKEN)),
    Framing("a request behind h2c with chunks", both(chunked(*H2C), counted()), (TAKEN, TAKEN)),
    Framing("a request behind h2c without a body", both(get(*H2C), counted()), (TAKEN, TAKEN)),
    Framing("five requests at once", both(*[counted(), chunked()] * 2, get()), (TAKEN,) * 5),
    Framing("an empty line before", both(raw(b"\r\n"), counted())),
    Framing("two empty lines before", both(raw(b"\r\n\r\n"), counted())),
    Framing("an empty line between", both(counted(), raw(b"\r\n"), counted()), (TAKEN, TAKEN)),
    Framing("the whole address", get(target=b"http://edge.test" + LAST.encode())),
    Framing("a header without a value", counted(b"X-Empty:")),
    Framing("ninety headers", counted(*(b"X-%d: %d" % (number, number) for number in range(90)))),
    Framing("a header of 8 KiB", counted(b"X-Long: " + b"x" * 8192)),
    Framing("close", counted(b"Connection: close"), ends=True),
    Framing("close, and a request behind it", both(counted(b"Connection: close"), get()), ends=True),
    Framing("HTTP/1.0", counted(version=b"HTTP/1.0"), ends=True),
    Framing("HTTP/1.0 that would be kept", counted(b"Connection: keep-alive", version=b"HTTP/1.0"), ends=True),
    Framing("HTTP/1.0 that expects", counted(b"Expect: 100-continue", version=b"HTTP/1.0"), ends=True),
    Framing("a client that waits to be told", counted(b"Expect: 100-continue"), ends=True),
    Framing("a client that waits, with a space", counted(b"Expect: 100-continue "), ends=True),
    Framing("a client that waits, with chunks", chunked(b"Expect: 100-continue"), ends=True),
]  # fmt: skip


def wrong(name: str, made: Callable[[Door], bytes], status: int = 400, before: int = 0) -> Framing:
    return Framing(name, made, (*[TAKEN] * before, status), ends=True)


#: Framings that could be read in two ways, or are none.
WRONG: Final = [
    wrong("a length and chunks", chunked(b"Content-Length: 4")),
    wrong("chunks and a length", chunked(b"Transfer-Encoding: chunked", coding=b"Content-Length: 4")),
    wrong("one length twice", of_length(lambda n: b"Content-Length: %d\r\nContent-Length: %d" % (n, n))),
    wrong("two lengths", of_length(lambda n: b"Content-Length: %d\r\nContent-Length: 3" % n)),
    wrong("a list of one length", of_length(lambda n: b"Content-Length: %d, %d" % (n, n))),
    wrong("a length with a sign", of_length(lambda n: b"Content-Length: +%d" % n)),
    wrong("a length below zero", of_length(lambda n: b"Content-Length: -%d" % n)),
    wrong("a hexadecimal length", of_length(lambda n: b"Content-Length: 0x%x" % n)),
    wrong("a length with a fraction", of_length(lambda n: b"Content-Length: %d.0" % n)),
    wrong("an empty length", of_length(lambda _: b"Content-Length:")),
    wrong("a length that is too long", of_length(lambda _: b"Content-Length: 18446744073709551617")),
    wrong("a length in two words", of_length(lambda n: b"Content-Length: %d %d" % (n, n))),
    wrong("a length in quotes", of_length(lambda n: b'Content-Length: "%d"' % n)),
    wrong("a length with an underscore", of_length(lambda n: b"Content-Length: 0_%d" % n)),
    wrong("a space before the colon of a length", of_length(lambda n: b"Content-Length : %d" % n)),
    wrong("a space before the colon of a coding", chunked(coding=b"Transfer-Encoding : chunked")),
    wrong("a tab before the colon of a coding", chunked(coding=b"Transfer-Encoding\t: chunked")),
    wrong("a coding on the next line", chunked(coding=b"Transfer-Encoding:\r\n chunked")),
    wrong("a header on two lines", counted(b"X-Folded: one\r\n two")),
    wrong("a space before the first header", raw(b"POST / HTTP/1.1\r\n Host: edge.test\r\n\r\n")),
    wrong("chunked twice", chunked(coding=b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
    wrong("chunked, chunked", chunked(coding=b"Transfer-Encoding: chunked, chunked")),
    wrong("chunked, identity", chunked(coding=b"Transfer-Encoding: chunked, identity")),
    wrong("identity, and chunked", chunked(b"Transfer-Encoding: chunked", coding=b"Transfer-Encoding: identity"), 501),
    wrong("gzip, chunked", chunked(coding=b"Transfer-Encoding: gzip, chunked"), 501),
    wrong("gzip", chunked(coding=b"Transfer-Encoding: gzip")),
    wrong("identity", chunked(coding=b"Transfer-Encoding: identity")),
    wrong("xchunked", chunked(coding=b"Transfer-Encoding: xchunked")),
    wrong("a comma behind chunked", chunked(coding=b"Transfer-Encoding: chunked,")),
    wrong("a parameter of chunked", chunked(coding=b"Transfer-Encoding: chunked;q=1")),
    wrong("a control character before chunked", chunked(coding=b"Transfer-Encoding: \x0bchunked")),
    wrong("chunked in quotes", chunked(coding=b'Transfer-Encoding: "chunked"')),
    wrong("an empty coding", chunked(coding=b"Transfer-Encoding:")),
    wrong("chunks in HTTP/1.0", chunked(version=b"HTTP/1.0"), 501),
    wrong("a size with 0x", chunked(chunks=in_chunks(7, "0x{:x}"))),
    wrong("a size with a sign", chunked(chunks=in_chunks(7, "+{:x}"))),
    wrong("a space before a size", chunked(chunks=in_chunks(7, " {:x}"))),
    wrong("an empty size", chunked(chunks=in_chunks(7, ""))),
    wrong("a size that is no number", chunked(chunks=in_chunks(7, "zz"))),
    wrong("a size that is too long", chunked(chunks=in_chunks(7, "fffffffffffffffffffff{:x}"))),
    wrong("a size below that of its chunk", chunked(chunks=lambda body: b"%x\r\n%s\r\n" % (len(body) - 2, body))),
    wrong("a size above that of its chunk", chunked(chunks=lambda body: b"%x\r\n%s\r\n" % (len(body) + 1, body))),
    wrong("a chunk without its line end", chunked(chunks=lambda body: b"%x\r\n%s" % (len(body), body))),
    wrong("a size that ends with a line feed", chunked(chunks=lambda body: b"%x\n%s\r\n" % (len(body), body))),
    wrong("an extension with a line feed", chunked(chunks=lambda body: b"%x;a\nb\r\n%s\r\n" % (len(body), body))),
    wrong("an extension with a carriage return", chunked(chunks=lambda body: b"%x;a\rb\r\n%s\r\n" % (len(body), body))),
    wrong("a trailer without a colon", chunked(trailers=b"X-Checksum\r\n")),
    wrong("a trailer with a space before its colon", chunked(trailers=b"X-Checksum : 1\r\n")),
    wrong("a length in the trailers", chunked(trailers=b"Content-Length: 3\r\n")),
    wrong("a coding in the trailers", chunked(trailers=b"Transfer-Encoding: chunked\r\n")),
    wrong("no host", raw(b"GET /last HTTP/1.1\r\nAccept: */*\r\n\r\n")),
    wrong("two hosts", get(b"Host: elsewhere.test")),
    wrong("lines that end with a line feed", raw(b"GET /last HTTP/1.1\nHost: edge.test\n\n")),
    wrong("one line that ends with a line feed", raw(b"GET /last HTTP/1.1\r\nHost: edge.test\nX: 1\r\n\r\n")),
    wrong("an end of the head by a line feed", raw(b"GET /last HTTP/1.1\r\nHost: edge.test\r\n\n")),
    wrong("a carriage return in a value", counted(b"X-One: 1\r2")),
    wrong("a carriage return and a header behind it", counted(b"X-One: 1\rX-Two: 2")),
    wrong("a zero byte in a value", counted(b"X-One: 1\x002")),
    wrong("a zero byte in a name", counted(b"X-\x00One: 1")),
    wrong("a control character in a value", counted(b"X-One: 1\x7f2")),
    wrong("a space in a name", counted(b"X One: 1")),
    wrong("a name that is empty", counted(b": 1")),
    wrong("a line without a colon", counted(b"X-One")),
    wrong("a name in brackets", counted(b"(X): 1")),
    wrong("a high byte in a name", counted(b"X-\xe9: 1")),
    wrong("RTSP", raw(b"DESCRIBE /last RTSP/1.0\r\nHost: edge.test\r\n\r\n"), 505),
    wrong("ICE", raw(b"SOURCE /last ICE/1.0\r\nHost: edge.test\r\n\r\n"), 505),
    wrong("GET in RTSP", get(version=b"RTSP/1.0"), 505),
    wrong("a carriage return before an empty line", raw(b"\r\r\n\r\n")),
    wrong("a line feed before an empty line", raw(b"\n\r\n\r\n")),
    wrong("ten empty lines", both(raw(b"\r\n" * 10), get())),
    wrong("a length of five thousand zeros", of_length(lambda n: b"Content-Length: " + b"0" * 5_000 + b"%d" % n)),
    wrong("a length above that of any file", of_length(lambda _: b"Content-Length: 99999999"), 413),
    wrong("HTTP/2.0", get(version=b"HTTP/2.0"), 505),
    wrong("HTTP/1.2", get(version=b"HTTP/1.2")),
    wrong("HTTP/0.9", raw(b"GET /last\r\n\r\n"), 505),
    wrong("the beginning of HTTP/2", raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    wrong("a version in small letters", get(version=b"http/1.1")),
    wrong("a method that nobody knows", get(method=b"FETCH")),
    wrong("a method in small letters", get(method=b"get")),
    wrong("a tunnel", get(**TUNNEL), 501),
    wrong("a tunnel with a body", both(get(_LENGTH % len(HIDDEN), **TUNNEL), raw(HIDDEN)), 501),
    wrong("a high byte in the address", get(target=b"/\xe9")),
    wrong("a space in the address", get(target=b"/one two")),
    wrong("a control character in the address", get(target=b"/\x01")),
    wrong("an address without its path", get(target=b"http://edge.test")),
    wrong("a head of 40 KiB", counted(*(b"X-%d: %s" % (number, b"x" * 4000) for number in range(10))), 431),
    wrong("a head without an end", raw(b"GET /last HTTP/1.1\r\nX: " + b"x" * 60_000), 431),
    wrong("two hundred headers", counted(*(b"X-%d: 1" % number for number in range(200))), 431),
    wrong("an expectation that nobody knows", counted(b"Expect: a-miracle"), 417),
    wrong("a TLS greeting", raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")),
    wrong("a request behind which no request comes", both(counted(), raw(b"{}\r\n\r\n")), before=1),
    wrong("a body that is longer than its length", lambda door: counted()(door) + b"}}}}\r\n\r\n", before=1),
    wrong("a length with a low line", both(get(b"Content_Length: 6", method=b"POST"), raw(b"{}\r\n\r\n")), before=1),
]  # fmt: skip

FRAMINGS: Final = [*RIGHT, *WRONG]
