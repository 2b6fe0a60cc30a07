"""What the client believes of a webhook, signed by the specification's own library."""

import base64
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from privacy_manager_client import NotVerified, received
from standardwebhooks import Webhook

BODY = json.dumps({"type": "consent.changed", "data": {"school": "16SW"}}).encode()


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


SECRET, OLD, OTHER = new_secret(), new_secret(), new_secret()


def signed(body: bytes = BODY, secret: str = SECRET, at: datetime | None = None, **instead: str) -> dict[str, str]:
    at = at or datetime.now(UTC)
    # The library takes what it is given for local time.
    signature = Webhook(secret).sign("msg_1", at.replace(tzinfo=None).replace(microsecond=0), body.decode())
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": signature,
        **{name.replace("_", "-"): value for name, value in instead.items()},
    }


def test_what_is_signed_by_one_of_our_secrets_is_believed() -> None:
    now = datetime.now(UTC)
    message = received(BODY, signed(at=now), SECRET)
    assert (message.message_id, message.content["type"]) == ("msg_1", "consent.changed")
    assert message.sent_at == now.replace(microsecond=0)
    assert received(BODY, signed(secret=OLD, at=now), SECRET, OLD) == message, "while a secret is being changed"
    both = f"{signed(secret=OTHER, at=now)['Webhook-Signature']} {signed(at=now)['Webhook-Signature']}"
    assert received(BODY, signed(at=now, Webhook_Signature=both), SECRET) == message


@pytest.mark.parametrize(
    "made",
    [
        lambda: (BODY + b" ", signed()),
        lambda: (BODY, signed(secret=OTHER)),
        lambda: (BODY, signed(at=datetime.now(UTC) - timedelta(minutes=6))),
        lambda: (BODY, signed(at=datetime.now(UTC) + timedelta(minutes=6))),
        lambda: (BODY, signed(Webhook_Id="msg_2")),
        lambda: (BODY, signed(Webhook_Timestamp="x")),
        lambda: (BODY, signed(Webhook_Timestamp="nan")),
        lambda: (BODY, signed(Webhook_Timestamp="1e400")),
        lambda: (BODY, signed(Webhook_Signature="v1")),
        lambda: (BODY, signed(Webhook_Signature="v1,!")),
        lambda: (BODY, signed(Webhook_Signature="")),
        lambda: (BODY, signed(Webhook_Signature="v2," + signed()["Webhook-Signature"][3:])),
        lambda: (b"\xff", signed()),
        lambda: (BODY, {}),
        lambda: (b"[1]", signed(b"[1]")),
        lambda: (b"no JSON", signed(b"no JSON")),
    ],
)
def test_anything_else_is_not(made: Callable[[], tuple[bytes, dict[str, Any]]]) -> None:
    body, headers = made()
    with pytest.raises(NotVerified):
        received(body, headers, SECRET)


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(NotVerified):
        received(BODY, signed())
