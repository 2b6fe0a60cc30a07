"""Wire schemas of webhook subscriptions, messages and deliveries."""

from datetime import timedelta
from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator, Field, StringConstraints

from api.notifications.targets import Targets, target_of
from api.web.schemas import Moment, Reason, Wire, WireIn
from api.web.services import provided
from models.consents.webhooks import (
    FORMER_SIGNS,
    MOST_HOURS_OF_FORMER,
    SENT_KINDS,
    Outcome,
    SubscriptionState,
    WhyDisabled,
)

#: Dead letters that one call puts back into the queue.
MOST_REPLAYED = 500


def _known_type(kind: str) -> str:
    if kind not in SENT_KINDS:
        raise ValueError(f"one of {', '.join(sorted(SENT_KINDS))}, each in full; there are no patterns")
    return kind


Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000),
    Field(description="`https://`, a host's full name, port 443 or 8443. Nothing secret belongs in it."),
]


EventTypes = Annotated[
    list[
        Annotated[
            str,
            StringConstraints(max_length=40),
            AfterValidator(_known_type),
            Field(json_schema_extra={"enum": sorted(map(str, SENT_KINDS))}),
        ]
    ],
    Field(min_length=1, max_length=len(SENT_KINDS), description="Only events of these types; null for all."),
]


class NewSubscription(WireIn):
    """Where the connection wants to be told of changes."""

    url: Url
    types: EventTypes | None = None


class SubscriptionChange(WireIn):
    """What is left out stays as it is."""

    url: Url | None = None
    types: EventTypes | None = None


class Rotation(WireIn):
    former_hours: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=MOST_HOURS_OF_FORMER,
            description="For so long the former secret signs too; 0 when it leaked.",
        ),
    ] = int(FORMER_SIGNS / timedelta(hours=1))


class GivenReason(WireIn):
    reason: Reason | None = None


class DeadLetterReplay(WireIn):
    numbers: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]] | None,
        Field(min_length=1, max_length=MOST_REPLAYED, description="Only these; null for the oldest of all."),
    ] = None


class SubscriptionView(Wire):
    """A subscription, and how it fares."""

    subscription_id: str
    client_id: str
    url: Annotated[str, Field(description="Empty where it was lost with a store that was put back: give it again.")]
    types: list[str] | None
    state: SubscriptionState
    disabled_reason: WhyDisabled | None
    disabled_at: Moment | None
    failing_since: Annotated[Moment | None, Field(description="Since when nothing came through.")]
    former_until: Annotated[Moment | None, Field(description="Until then the former secret signs too.")]
    waiting: Annotated[int, Field(description="How many messages wait.")]
    next_attempt_at: Annotated[
        Moment | None,
        Field(description="From then on the next of them is tried; null while one is, or where nothing is to be sent."),
    ]
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


class SignedSubscription(SubscriptionView):
    secret: Annotated[str | None, Field(description="Signs what is sent. It is shown this once.")]


class MessageView(Wire):
    """A message for one subscription: which event it is of."""

    subscription_id: str
    message_id: Annotated[str, Field(description="Its `webhook-id`.")]
    number: Annotated[int, Field(description="Of the event, in the log.")]
    type: str
    school: str | None
    revision: int
    at: Moment


class DeliveryView(MessageView):
    """An attempt to deliver a message, and what came of it."""

    attempt: int
    attempted_at: Moment
    outcome: Outcome
    status_code: int | None
    milliseconds: int


class ReplayedDeadLetters(Wire):
    """How many dead letters wait again, and how many are left."""

    replayed: int
    left: int
    revision: int


def normalized_url(request: Request, url: str) -> str:
    """The URL in the form in which it is stored. Raises `TargetRefused`."""
    return target_of(url, loopback=provided(request, Targets).loopback).url
