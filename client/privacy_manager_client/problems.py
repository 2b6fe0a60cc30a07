"""Errors, by what the caller can do about them.

ClientError
├── Unavailable    no answer, or an invalid one: retry later
└── Problem        the service refuses, by a problem of its closed list (RFC 9457): docs/problems.md
"""

import contextlib
import json
from typing import Any

import httpx2


class ClientError(Exception):
    """Base of all errors between the caller and the service."""


class Unavailable(ClientError):
    """No valid answer in time. `again_after`: seconds after which a retry may succeed."""

    def __init__(self, detail: str, again_after: float | None = None) -> None:
        super().__init__(detail)
        self.again_after = again_after


class Problem(ClientError):
    """A refusal by the service. `slug` is stable, such as `not_found`; the detail is for a reader."""

    def __init__(self, slug: str, status: int, detail: str) -> None:
        super().__init__(f"{slug} ({status}): {detail}")
        self.slug, self.status, self.detail = slug, status, detail


#: Statuses after which the same request may be sent again.
_LATER = frozenset({429, 500, 502, 503, 504})
_MOST_CHARACTERS = 500


def error_of(answer: httpx2.Response) -> ClientError:
    """The error of an unsuccessful answer, whose body has been read."""
    members: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        document = json.loads(answer.content)
        members = document if isinstance(document, dict) else {}
    slug = str(members.get("type", "")).rpartition("/")[2] or f"status_{answer.status_code}"
    detail = str(members.get("detail", ""))[:_MOST_CHARACTERS]
    if answer.status_code in _LATER:
        after = answer.headers.get("Retry-After", "")
        seconds = float(after) if after.isascii() and after.isdigit() else None
        return Unavailable(f"{slug} ({answer.status_code}): {detail}", seconds)
    return Problem(slug, answer.status_code, detail)
