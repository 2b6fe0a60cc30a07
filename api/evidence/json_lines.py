"""The lines in which a log's entries stand in a file, each of a size that is read whole."""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, Final

from api.security.strict_json import Malformed, strict_object

#: The largest entry lists all schools of the country, in 300 kB; reading a line of this size takes some 50 MiB at most.
MOST_BYTES: Final = 2 * 1024 * 1024


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines that follow, each with its end. One that is too long is cut off, and is no object then."""
    return iter(partial(file.readline, MOST_BYTES + 1), b"")


def object_in(line: bytes) -> dict[str, Any]:
    """The object of which the line is. Raises `Malformed`, also for a line that no entry makes so long."""
    if len(line) > MOST_BYTES:
        raise Malformed("too long")
    return strict_object(line)
