"""What a webhook says, by the Standard Webhooks specification: believed once its signature has been verified."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook


class NotVerified(Exception):
    """It is not from whom it should be, or it is old, or not whole. Answer with 400 and believe nothing of it."""


@dataclass(frozen=True, slots=True)
class Received:
    """`message_id` is the same each time that a message is sent again: what was dealt with is not dealt with twice."""

    message_id: str
    sent_at: datetime
    content: dict[str, Any]


def received(body: bytes, headers: Mapping[str, str], *secrets: str) -> Received:
    """The message, when one of these secrets signed it within the last five minutes; give the raw body.

    While a secret is being changed the old one and the new one are given. Raises `NotVerified`.
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
        # The library lets some malformed signatures and bodies fail on its own code.
        return False
    return True
