"""Messages between two processes over a pipe: before each stands how many bytes it has."""

import asyncio
from typing import BinaryIO, Final

_LENGTH_BYTES: Final = 8


def framed(message: bytes) -> bytes:
    """The message as it goes over the pipe."""
    return len(message).to_bytes(_LENGTH_BYTES) + message


def read(pipe: BinaryIO) -> bytes | None:
    """The next message, or None at the end, also where that comes within a message."""
    head = pipe.read(_LENGTH_BYTES)
    length = int.from_bytes(head)
    message = pipe.read(length) if len(head) == _LENGTH_BYTES else None
    return message if message is not None and len(message) == length else None


async def received(pipe: asyncio.StreamReader) -> bytes:
    """The next message. Raises `EOFError` at the end."""
    length = int.from_bytes(await pipe.readexactly(_LENGTH_BYTES))
    return await pipe.readexactly(length)
