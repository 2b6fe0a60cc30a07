"""A parser of server-sent events (WHATWG HTML, 9.2.6), as far as this service uses them."""

from collections.abc import AsyncIterator
from typing import Final

#: More than any event of the service has.
MOST_EVENT_BYTES: Final = 1024 * 1024


async def data_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The `data` of each complete event. Raises `ValueError` for one that is too large.

    Lines end with a line feed only, not with Unicode's other line separators, which an event's text may contain.
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
