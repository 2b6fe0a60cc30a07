"""What the client believes of a webhook, signed by the specification's own library."""

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from privacy_manager_client import NotVerified, received
from standardwebhooks import Webhook

NOW = datetime.now(UTC)
BODY = json.dumps({"type": "consent.changed", "data": {"school": "16SW"}}).encode()


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


SECRET, OLD, OTHER = new_secret(), new_secret(), new_secret()


def signed(body: bytes = BODY, secret: str = SECRET, at: datetime = NOW, **instead: str) -> dict[str, str]:
    # The library takes what it is given for local time.
    signature = Webhook(secret).sign("msg_1", at.replace(tzinfo=None).replace(microsecond=0), body.decode())
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": signature,
        **{name.replace("_", "-"): value for name, value in instead.items()},
    }


def test_what_is_signed_by_one_of_our_secrets_is_believed() -> None:
    message = received(BODY, signed(), SECRET)
    assert (message.message_id, message.content["type"]) == ("msg_1", "consent.changed")
    assert message.sent_at == NOW.replace(microsecond=0)
    assert received(BODY, signed(secret=OLD), SECRET, OLD) == message, "while a secret is being changed"
    both = f"{signed(secret=OTHER)['Webhook-Signature']} {signed()['Webhook-Signature']}"
    assert received(BODY, signed(Webhook_Signature=both), SECRET) == message


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY + b" ", signed()),
        (BODY, signed(secret=OTHER)),
        (BODY, signed(at=NOW - timedelta(minutes=6))),
        (BODY, signed(at=NOW + timedelta(minutes=6))),
        (BODY, signed(Webhook_Id="msg_2")),
        (BODY, signed(Webhook_Timestamp="x")),
        (BODY, signed(Webhook_Timestamp="nan")),
        (BODY, signed(Webhook_Timestamp="1e400")),
        (BODY, signed(Webhook_Signature="v1")),
        (BODY, signed(Webhook_Signature="v1,!")),
        (BODY, signed(Webhook_Signature="")),
        (BODY, signed(Webhook_Signature="v2," + signed()["Webhook-Signature"][3:])),
        (b"\xff", signed()),
        (BODY, {}),
        (b"[1]", signed(b"[1]")),
        (b"no JSON", signed(b"no JSON")),
    ],
)
def test_anything_else_is_not(body: bytes, headers: dict[str, Any]) -> None:
    with pytest.raises(NotVerified):
        received(body, headers, SECRET)


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(NotVerified):
        received(BODY, signed())
