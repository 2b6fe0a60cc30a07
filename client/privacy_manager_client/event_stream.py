"""Server-sent events as they come over the wire (WHATWG HTML, 9.2.6), as far as this service sends them."""

from collections.abc import AsyncIterator
from typing import Final

#: More than any event of the service has.
MOST_EVENT_BYTES: Final = 1024 * 1024


async def data_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The `data` of each event that came whole. Raises `ValueError` for one that is too large.

    A line ends with a line feed, and not with whatever else Unicode takes for an end of a line: an event's text may
    hold that.
    """
    rest, data = b"", list[bytes]()
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            elif not line.strip() and data:
                yield b"\n".join(data)
                data = []
        if len(rest) + sum(map(len, data)) > MOST_EVENT_BYTES:
            raise ValueError("an event that is too large")
