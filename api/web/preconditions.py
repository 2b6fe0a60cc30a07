"""`ETag` and `If-Match` (RFC 9110): an amendment names the version that its caller has read."""

from typing import Annotated

from fastapi import Header, Request
from pydantic import StringConstraints

from models.vocabulary.refusals import InvalidInput, VersionMismatch, VersionRequired

IfMatch = Annotated[
    str | None,
    Header(description="The ETag that was read. Without it the answer is 428; when it is not the present one, 412."),
    StringConstraints(max_length=255),
]


def etag(version: int | str) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def require_version(if_match: str | None, version: int | str) -> None:
    """Raises `VersionRequired` or `VersionMismatch` unless `if_match` names the present version."""
    if if_match is None:
        raise VersionRequired("Send the ETag that you read as If-Match.")
    if if_match.strip() not in ("*", etag(version)):
        raise VersionMismatch("It has changed since you read it: read it again.")


def require_once(request: Request, *names: str) -> None:
    """Raises `InvalidInput` for a header that is sent twice: one reader would take the first, another the last."""
    for name in names:
        if len(request.headers.getlist(name)) > 1:
            raise InvalidInput(f"Send {name} once.")
