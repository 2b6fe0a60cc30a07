"""A body in chunks (RFC 9112, 7.1): takes its framing off, and finds where it ends.

The parser of heads reads it, too, and does not say where a message ends among the bytes that it is given. But a message
ends with a line, so that it is given one line at a time. Trailers are read over: they are no headers, whatever they
are called.
"""

from typing import Final

import httptools

from api.edge.request_shape import MOST_LENGTH

#: A body in so many pieces more than one for each 256 bytes means harm: each costs as much as many bytes.
MOST_CHUNKS: Final = 16_384
BYTES_A_CHUNK: Final = 256
#: Bytes of sizes, extensions and trailers, beside as many as the body has.
MOST_FRAMING_BYTES: Final = 256 * 1024
#: Bytes read before the event loop gets its turn: some 3 ms where each is a line.
SLICE: Final = 4 * 1024
_HEAD: Final = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


class ChunksMalformed(ValueError):
    """The body is not chunked as it must be."""


class ChunkedBody:
    """Reads one body. Once it is `complete`, `after` is what came behind it."""

    def __init__(self) -> None:
        self._found: list[bytes] = []
        self._chunks = self._framing = self._size = 0
        self.complete = False
        self.after = b""
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD)

    def read(self, data: bytes) -> bytes:
        """The part of the body in these next bytes, at most a `SLICE`. Raises `ChunksMalformed`."""
        at = 0
        try:
            while at < len(data) and not self.complete:
                end = data.find(b"\n", at) + 1 or len(data)
                self._parser.feed_data(data[at:end])
                at = end
        except httptools.HttpParserError as error:
            raise ChunksMalformed("The body is not chunked as RFC 9112 has it.") from error
        self.after = data[at:]
        found = b"".join(self._found)
        self._found.clear()
        self._size += len(found)
        self._framing += at - len(found)
        if (
            self._chunks > MOST_CHUNKS + self._size // BYTES_A_CHUNK
            or self._framing > MOST_FRAMING_BYTES + self._size
            or self._size > MOST_LENGTH
        ):
            raise ChunksMalformed("The body has too many chunks, or too much between them.")
        return found

    # -- what the parser tells; of trailers nobody asks it -------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._found.append(body)

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_message_complete(self) -> None:
        self.complete = True
