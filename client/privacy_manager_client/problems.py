"""What goes wrong, by what the caller can do about it.

ClientError
├── Unavailable    no answer, or one that makes no sense: ask again later
└── Problem        the service refuses, by a problem of its closed list (RFC 9457): docs/problems.md
"""

import contextlib
import json
from typing import Any

import httpx2


class ClientError(Exception):
    """Anything that goes wrong between the caller and the service."""


class Unavailable(ClientError):
    """There was no answer in time, or none that can be read; after `again_after` seconds there may be one."""

    def __init__(self, detail: str, again_after: float | None = None) -> None:
        super().__init__(detail)
        self.again_after = again_after


class Problem(ClientError):
    """The service refuses. `slug` is stable, as `not_found`; the detail is for who reads it."""

    def __init__(self, slug: str, status: int, detail: str) -> None:
        super().__init__(f"{slug} ({status}): {detail}")
        self.slug, self.status, self.detail = slug, status, detail


#: With these there is nothing to mend in the request: it may be sent again as it is.
_LATER = frozenset({429, 500, 502, 503, 504})
_MOST_CHARACTERS = 500


def error_of(answer: httpx2.Response) -> ClientError:
    """What an answer that is no success means. Its body has been read."""
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        read = json.loads(answer.content)
        said = read if isinstance(read, dict) else {}
    slug = str(said.get("type", "")).rpartition("/")[2] or f"status_{answer.status_code}"
    detail = str(said.get("detail", ""))[:_MOST_CHARACTERS]
    if answer.status_code in _LATER:
        after = answer.headers.get("Retry-After", "")
        seconds = float(after) if after.isascii() and after.isdigit() else None
        return Unavailable(f"{slug} ({answer.status_code}): {detail}", seconds)
    return Problem(slug, answer.status_code, detail)
