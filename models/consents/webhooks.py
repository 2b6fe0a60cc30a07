"""Webhooks: subscriptions of connections, the messages to them, and the attempts to deliver these.

A subscription has a URL of the partner. Each event makes one message for each subscription that it concerns; messages
of one school form a lane, delivered one after the other. Source: Standard Webhooks 1.0.0: `webhook-id`,
`webhook-timestamp`, `webhook-signature`, and a thin body {type, timestamp, data}.
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
    #: Restored from the log, which holds no URL: the partner must give it again.
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
    #: Connection refused, TLS failed, or the connection broke before the head of an answer arrived.
    NOT_CONNECTED = "not_connected"
    #: The attempt exceeded its total timeout.
    TOO_SLOW = "too_slow"
    #: The answer ended early, or is no HTTP.
    ANSWER_BROKEN = "answer_broken"
    ANSWER_TOO_LONG = "answer_too_long"
    #: The host name resolves to a refused address, or to none.
    TARGET_REFUSED = "target_refused"


#: Kinds of events sent to subscriptions: all that affect the worth of a school's permission to a connection.
SENT_KINDS: Final[frozenset[EventKind]] = (
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
#: Events that the log records for the partner alone, and that concern each of its connections.
OF_PARTNER: Final = frozenset({EventKind.PARTNER_STOPPED, EventKind.PARTNER_STOP_LIFTED})

#: Lane of messages about no single school.
NO_SCHOOL: Final = ""
MOST_SUBSCRIPTIONS: Final = 10
#: Wait after the first, second, ... failed attempt; after the last one the message is a dead letter.
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
#: Longest wait that a receiver can ask for.
LONGEST_WAIT: Final = timedelta(hours=24)
#: A subscription without a successful delivery for this long is disabled.
FAILING_FOR: Final = timedelta(days=5)
#: Time that the former secret still signs after a rotation, by default.
FORMER_SIGNS: Final = timedelta(hours=24)
MOST_HOURS_OF_FORMER: Final = 168
#: Lease of a lane by a deliverer: several times what the slowest delivery takes.
TAKEN_FOR: Final = timedelta(seconds=90)
#: Retention of delivered and dead messages, and of attempts.
KEPT_FOR: Final = timedelta(days=30)

_WAITING: Final = text("state = 'waiting'")
_DEAD: Final = text("state = 'dead'")
_FRESH: Final = text("attempts = 0")
_AGAIN: Final = text("attempts > 0")


class WebhookSubscription(SQLModel, table=True):
    """A connection's subscription. Its secret is not stored but derived from `seed` and a key outside the store."""

    __tablename__ = "webhook_subscriptions"

    subscription_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    url: str = Field(max_length=1000)
    #: Number of changes of the URL. The log records this and not the URL, which may itself be a secret.
    url_version: int = 1
    #: The kinds of events to send; None for all.
    types: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    state: str = Field(default=SubscriptionState.ACTIVE, max_length=16)
    disabled_reason: str | None = Field(default=None, max_length=16)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    #: Seed of the present secret. Random, not counted: a restored store would count the same numbers again.
    seed: str = Field(max_length=32)
    #: Seed of the former secret, which signs too until `former_until`.
    former_seed: str | None = Field(default=None, max_length=32)
    former_until: datetime | None = Field(default=None, sa_type=Instant)
    #: Time of the first failed attempt since the last success.
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def active(self) -> bool:
        return self.state == SubscriptionState.ACTIVE

    def rotate(self, seed: str, former_until: datetime | None) -> None:
        """Replaces the secret. The former one signs too until `former_until`; the one before it no longer."""
        former = self.seed if former_until is not None else None
        self.seed, self.former_seed, self.former_until = seed, former, former_until

    def seeds(self, now: datetime) -> list[str]:
        """Seeds of the secrets that sign at `now`, the newest first."""
        if self.former_seed is None or self.former_until is None or now >= self.former_until:
            return [self.seed]
        return [self.seed, self.former_seed]


class WebhookMessage(SQLModel, table=True):
    """The message of one event to one subscription. Its content is in the event.

    It has no foreign key to its subscription: a removed subscription goes at once, its messages in small steps.
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
    #: Number of the event.
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    #: The school (BRIN4), or `NO_SCHOOL`.
    lane: str = Field(max_length=4)
    state: str = Field(default=MessageState.WAITING, max_length=16)
    #: Time of creation, equal to the event's.
    at: datetime = Field(sa_type=Instant, index=True)


class WebhookLane(SQLModel, table=True):
    """A lane with at least one waiting message; the first one is delivered next."""

    __tablename__ = "webhook_lanes"
    __table_args__ = (
        Index("ix_webhook_lanes_fresh", "subscription_id", "next_at", postgresql_where=_FRESH, sqlite_where=_FRESH),
        Index("ix_webhook_lanes_again", "subscription_id", "next_at", postgresql_where=_AGAIN, sqlite_where=_AGAIN),
    )

    subscription_id: str = Field(primary_key=True, max_length=36)
    lane: str = Field(primary_key=True, max_length=4)
    #: Number of waiting messages.
    waiting: int
    #: Number of attempts of the first message.
    attempts: int = 0
    #: The lane can be leased from then on; None while its subscription is disabled.
    next_at: datetime | None = Field(sa_type=Instant)
    #: Token of the last lease, which lasts until `next_at`.
    claim: str = Field(default="", max_length=32)


class WebhookAttempt(SQLModel, table=True):
    """One attempt to deliver a message, and its outcome. No part of the receiver's answer is stored."""

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
    """The `webhook-id`: equal for all attempts, different in another history of the store."""
    return f"msg_{event.mark}_{event.number}"


#: Members of an event's state that a message includes.
_STATE_MEMBERS: Final = (
    *("location", "status", "stage", "requestId", "agreementId", "groundRuleId", "subscriptionId"),
    *("dueAt", "letterId", "week"),
)


def payload_of(event: Event, client_id: str) -> dict[str, Any]:
    """The body of a message: the object that changed, its school, the revision, and its new state."""
    return {
        "type": str(event.kind),
        "timestamp": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "number": event.number,
            "revision": event.revision,
            "clientId": client_id,
            "school": event.brin,
            "grantId": event.grant_id or event.state.get("grantId") or event.state.get("deletionOf"),
            **_state_members(event.state),
        },
    }


def _state_members(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in _STATE_MEMBERS if name in state}


def wait_after(attempts: int, chance: float, asked: timedelta | None = None) -> timedelta | None:
    """The wait after `attempts` failed attempts; None when the last one has been made.

    `chance`, from 0 up to 1, adds up to a fifth, so that retries spread. `asked` is the receiver's `Retry-After`: the
    wait is no shorter, and it counts up to `LONGEST_WAIT`.
    """
    if attempts > len(DELAYS):
        return None
    delay = DELAYS[attempts - 1] * (1 + chance / 5)
    return max(delay, min(asked, LONGEST_WAIT)) if asked is not None else delay
