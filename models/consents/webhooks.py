"""Webhooks: what a connection is told of its consents, where, and what becomes of each message.

A subscription names a URL of the partner's. What changes makes a message for each subscription that it concerns, and
messages of one school stand in a lane, in which one after the other is delivered. By the Standard Webhooks
specification, 1.0.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`, and a thin body {type, timestamp, data}.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, text
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.log.events import Event
from models.vocabulary.event_kinds import AGREEMENTS, DELETIONS, GRANTS, REQUESTS, RULES, EventKind


class SubscriptionState(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class WhyDisabled(StrEnum):
    """Why nothing is sent to a subscription."""

    BY_PARTNER = "by_partner"
    #: The receiver answered 410.
    GONE = "gone"
    #: Nothing came through for `FAILING_FOR`.
    FAILING = "failing"
    #: It came back from the log, which holds no URL: the partner must give it again.
    RESTORED = "restored"


class MessageState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


class Outcome(StrEnum):
    """What came of one attempt to deliver. Only the first is a success."""

    DELIVERED = "delivered"
    #: A whole answer that is neither 2xx, 3xx nor 410.
    REFUSED = "refused"
    #: A redirect, which is never followed.
    REDIRECTED = "redirected"
    GONE = "gone"
    #: Nobody listens, TLS fails, or the connection broke before the head of an answer was there.
    NOT_CONNECTED = "not_connected"
    #: The whole took longer than it may.
    TOO_SLOW = "too_slow"
    #: The answer ended before it was whole, or is no HTTP.
    ANSWER_BROKEN = "answer_broken"
    ANSWER_TOO_LONG = "answer_too_long"
    #: The name stands for an address that nothing is sent to, or for none.
    TARGET_REFUSED = "target_refused"


#: What a subscription is told: whatever decides what a school's permission is worth to the connection.
TOLD: Final[frozenset[EventKind]] = (
    GRANTS
    | REQUESTS
    | RULES
    | AGREEMENTS
    | DELETIONS
    | {
        EventKind.REMINDER_GIVEN,
        EventKind.CONNECTION_MOVED,
        EventKind.CONNECTION_CHANGED,
        EventKind.CONNECTION_STOPPED,
        EventKind.CONNECTION_STOP_LIFTED,
        EventKind.PARTNER_STOPPED,
        EventKind.PARTNER_STOP_LIFTED,
    }
)
#: Of these the log names the partner alone; they concern each of its connections.
OF_PARTNER: Final = frozenset({EventKind.PARTNER_STOPPED, EventKind.PARTNER_STOP_LIFTED})

#: The lane of what is about no one school.
NO_SCHOOL: Final = ""
MOST_SUBSCRIPTIONS: Final = 10
#: How long a message waits after its first, second, ... attempt; after the last one it is a dead letter.
DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
#: The longest wait that a receiver can ask for.
LONGEST_WAIT: Final = timedelta(hours=24)
#: A subscription to which nothing came through for so long is disabled.
FAILING_FOR: Final = timedelta(days=5)
#: How long a secret still signs after the next one was made, unless its owner says otherwise.
FORMER_SIGNS: Final = timedelta(hours=24)
MOST_HOURS_OF_FORMER: Final = 168
#: For so long a lane is taken by who delivers: several times what the slowest delivery takes.
TAKEN_FOR: Final = timedelta(seconds=90)
#: How long it is shown what was delivered, what died, and what each attempt came to.
KEPT_FOR: Final = timedelta(days=30)

_WAITING: Final = text("state = 'waiting'")
_DEAD: Final = text("state = 'dead'")
_FRESH: Final = text("attempts = 0")
_AGAIN: Final = text("attempts > 0")


class WebhookSubscription(SQLModel, table=True):
    """Where a connection wants to be told. Its secret is nowhere: it is made of `seed` and a key outside."""

    __tablename__ = "webhook_subscriptions"

    subscription_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    url: str = Field(max_length=1000)
    #: How often another URL was given: the log tells this and not the URL, which may itself be a secret.
    url_version: int = 1
    #: The kinds of events that it wants; None for all.
    types: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    state: str = Field(default=SubscriptionState.ACTIVE, max_length=16)
    disabled_reason: str | None = Field(default=None, max_length=16)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    #: Of which the secret is made that signs now. Drawn, not counted: a store that was put back would count again.
    seed: str = Field(max_length=32)
    #: The one before, which signs too until `former_until`.
    former_seed: str | None = Field(default=None, max_length=32)
    former_until: datetime | None = Field(default=None, sa_type=Instant)
    #: Since when nothing came through, after the first attempt that failed.
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def active(self) -> bool:
        return self.state == SubscriptionState.ACTIVE

    def rotate(self, seed: str, former_until: datetime | None) -> None:
        """Another secret signs from now on, and until then the former one too; the one before that no more."""
        former = self.seed if former_until is not None else None
        self.seed, self.former_seed, self.former_until = seed, former, former_until

    def seeds(self, now: datetime) -> list[str]:
        """Of which the secrets are made that sign now, the newest first."""
        if self.former_seed is None or self.former_until is None or now >= self.former_until:
            return [self.seed]
        return [self.seed, self.former_seed]


class WebhookMessage(SQLModel, table=True):
    """What one event has to tell one subscription. What it says is in the event.

    It refers to its subscription by name alone: what is removed goes at once, and its messages go bit by bit.
    """

    __tablename__ = "webhook_messages"
    __table_args__ = (
        Index(
            "ix_webhook_messages_waiting",
            "subscription_id",
            "lane",
            "number",
            postgresql_where=_WAITING,
            sqlite_where=_WAITING,
        ),
        Index("ix_webhook_messages_dead", "subscription_id", "number", postgresql_where=_DEAD, sqlite_where=_DEAD),
    )

    subscription_id: str = Field(primary_key=True, max_length=36)
    #: The event's.
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    #: The school (BRIN4), or `NO_SCHOOL`.
    lane: str = Field(max_length=4)
    state: str = Field(default=MessageState.WAITING, max_length=16)
    #: When it was made, which is when the event was.
    at: datetime = Field(sa_type=Instant, index=True)


class WebhookLane(SQLModel, table=True):
    """A lane in which messages wait; there is none where none do. The first of them is the next to be delivered."""

    __tablename__ = "webhook_lanes"
    __table_args__ = (
        Index("ix_webhook_lanes_fresh", "subscription_id", "next_at", postgresql_where=_FRESH, sqlite_where=_FRESH),
        Index("ix_webhook_lanes_again", "subscription_id", "next_at", postgresql_where=_AGAIN, sqlite_where=_AGAIN),
    )

    subscription_id: str = Field(primary_key=True, max_length=36)
    lane: str = Field(primary_key=True, max_length=4)
    #: How many messages wait in it.
    waiting: int
    #: How often the first of them was tried.
    attempts: int = 0
    #: From then on whoever comes takes it; None while its subscription is disabled.
    next_at: datetime | None = Field(sa_type=Instant)
    #: Who took it last, and until `next_at` has it.
    claim: str = Field(default="", max_length=32)


class WebhookAttempt(SQLModel, table=True):
    """One attempt to deliver a message, and what came of it. Nothing that the receiver said is kept."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (Index("ix_webhook_attempts_subscription_id_id", "subscription_id", "id"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )
    subscription_id: str = Field(max_length=36)
    number: int
    attempt: int
    at: datetime = Field(sa_type=Instant, index=True)
    outcome: str = Field(max_length=16)
    status_code: int | None = None
    milliseconds: int


def message_id(event: Event) -> str:
    """The `webhook-id`: the same each time that it is sent, and another one in another history of the store."""
    return f"msg_{event.mark}_{event.number}"


#: What of an event's state a message says.
_SAID: Final = (
    *("location", "status", "stage", "requestId", "agreementId", "groundRuleId", "subscriptionId"),
    *("dueAt", "letterId", "week"),
)


def payload_of(event: Event, client_id: str) -> dict[str, Any]:
    """The body of a message: which thing of which school changed, at which revision, and how it stands since."""
    return {
        "type": str(event.kind),
        "timestamp": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "number": event.number,
            "revision": event.revision,
            "clientId": client_id,
            "school": event.brin,
            "grantId": event.grant_id or event.state.get("grantId") or event.state.get("deletionOf"),
            **_said(event.state),
        },
    }


def _said(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in _SAID if name in state}


def wait_after(attempts: int, chance: float, asked: timedelta | None = None) -> timedelta | None:
    """How long a message waits after so many attempts, all of which failed; None when it has had its last one.

    `chance`, from 0 up to 1, makes it up to a fifth longer, so that not all come back at once. `asked` is what the
    receiver's `Retry-After` says: no shorter wait, and at most `LONGEST_WAIT`.
    """
    if attempts > len(DELAYS):
        return None
    delay = DELAYS[attempts - 1] * (1 + chance / 5)
    return max(delay, min(asked, LONGEST_WAIT)) if asked is not None else delay
