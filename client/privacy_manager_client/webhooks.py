"""Webhooks by the Standard Webhooks specification: the content of a message, after verification of its signature."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook


class NotVerified(Exception):
    """The message is not from the service, too old, or incomplete. Answer with 400 and ignore its content."""


@dataclass(frozen=True, slots=True)
class Received:
    """A verified message. `message_id` is the same each time that it is sent: process it once."""

    message_id: str
    sent_at: datetime
    content: dict[str, Any]


def received(body: bytes, headers: Mapping[str, str], *secrets: str) -> Received:
    """Verifies a message signed with one of these secrets within the last five minutes, from its raw body.

    During a rotation, pass both the old and the new secret. Raises `NotVerified`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    if not any(_is_signed(body, given, secret) for secret in secrets):
        raise NotVerified("no signature of ours that is valid now")
    try:
        content = json.loads(body)
    except ValueError:
        raise NotVerified("what was signed is no JSON") from None
    if not isinstance(content, dict):
        raise NotVerified("what was signed is no object")
    sent_at = datetime.fromtimestamp(float(given["webhook-timestamp"]), UTC)
    return Received(given["webhook-id"], sent_at, content)


def _is_signed(body: bytes, headers: dict[str, str], secret: str) -> bool:
    webhook = Webhook(secret)
    try:
        webhook.verify(body, headers, json_parse=False)
    except Exception:
        # The library fails with various exceptions on malformed signatures and bodies.
        return False
    return True
