"""Messages between two processes over a pipe, each with its length in bytes before it."""

import asyncio
from typing import BinaryIO, Final

_LENGTH_BYTES: Final = 8


def framed(message: bytes) -> bytes:
    """The message with its length before it."""
    return len(message).to_bytes(_LENGTH_BYTES) + message


def read(pipe: BinaryIO) -> bytes | None:
    """The next message, or None at the end of the input, also if the input ends within a message."""
    head = pipe.read(_LENGTH_BYTES)
    length = int.from_bytes(head)
    message = pipe.read(length) if len(head) == _LENGTH_BYTES else None
    return message if message is not None and len(message) == length else None


async def received(pipe: asyncio.StreamReader) -> bytes:
    """The next message. Raises `EOFError` at the end of the input."""
    length = int.from_bytes(await pipe.readexactly(_LENGTH_BYTES))
    return await pipe.readexactly(length)
