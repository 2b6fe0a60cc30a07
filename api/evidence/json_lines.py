"""JSON lines of a log's entries in a file, of bounded length."""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, Final

from api.security.strict_json import Malformed, strict_object

#: The longest line. The largest entry lists all schools of the country, in 300 kB; parsing 2 MiB takes at most 50 MiB.
MOST_BYTES: Final = 2 * 1024 * 1024


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines that follow, each with its line break. A line that is too long is cut, and `object_in` refuses it."""
    return iter(partial(file.readline, MOST_BYTES + 1), b"")


def object_in(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises `Malformed`, also for a line longer than `MOST_BYTES`."""
    if len(line) > MOST_BYTES:
        raise Malformed("too long")
    return strict_object(line)
