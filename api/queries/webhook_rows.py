"""Webhook subscriptions, their messages and the attempts to deliver these."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, or_
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.webhooks import (
    NO_SCHOOL,
    MessageState,
    WebhookAttempt,
    WebhookLane,
    WebhookMessage,
    WebhookSubscription,
)
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.refusals import InvalidInput


async def subscription_of_client(session: Session, client_id: str, subscription_id: str) -> WebhookSubscription:
    found = await session.get(WebhookSubscription, subscription_id)
    return required(found if found and found.client_id == client_id else None, "There is no such subscription.")


async def subscriptions_of_client(session: Session, client_id: str) -> Sequence[WebhookSubscription]:
    query = select(WebhookSubscription).where(WebhookSubscription.client_id == client_id)
    query = query.order_by(col(WebhookSubscription.created_at), col(WebhookSubscription.subscription_id))
    return (await session.exec(query)).all()


class Waiting(NamedTuple):
    """Number of messages waiting for a subscription, and the time of the next attempt.

    None during an attempt, and while the subscription is disabled.
    """

    messages: int = 0
    next_at: datetime | None = None


async def messages_waiting(session: Session, subscription_ids: Collection[str]) -> dict[str, Waiting]:
    """The waiting messages of each of these subscriptions that has any."""
    # For a leased lane, `next_at` is the end of the lease, not the next attempt.
    next_at = case((col(WebhookLane.claim) == "", col(WebhookLane.next_at)))
    lanes = WebhookLane.subscription_id, func.sum(WebhookLane.waiting), func.min(next_at)
    query = select(*lanes).where(col(WebhookLane.subscription_id).in_(subscription_ids))
    found = await session.exec(query.group_by(col(WebhookLane.subscription_id)))
    return {name: Waiting(int(many), next_at) for name, many, next_at in found}


async def test_waits(session: Session, subscription_id: str) -> bool:
    """Whether a test message waits for this subscription."""
    query = select(Event.number).join(WebhookMessage, col(WebhookMessage.number) == Event.number)
    query = query.where(
        WebhookMessage.subscription_id == subscription_id,
        WebhookMessage.lane == NO_SCHOOL,
        WebhookMessage.state == MessageState.WAITING,
        Event.kind == EventKind.WEBHOOK_TESTED,
    )
    return (await session.exec(query.limit(1))).first() is not None


async def attempts(
    session: Session, subscription_id: str, before: int, limit: int
) -> Sequence[tuple[WebhookAttempt, Event]]:
    """The attempts to deliver to a subscription before the one with this id, the latest first."""
    query = select(WebhookAttempt, Event).join(Event, col(Event.number) == WebhookAttempt.number)
    query = query.where(WebhookAttempt.subscription_id == subscription_id)
    if before:
        query = query.where(col(WebhookAttempt.id) < before)
    return (await session.exec(query.order_by(col(WebhookAttempt.id).desc()).limit(limit + 1))).all()


async def dead_letters(
    session: Session, subscription_id: str, after: int, limit: int
) -> Sequence[tuple[WebhookMessage, Event]]:
    query = _dead().where(WebhookMessage.subscription_id == subscription_id, col(WebhookMessage.number) > after)
    found: Sequence[tuple[WebhookMessage, Event]] = (
        await session.exec(query.order_by(col(WebhookMessage.number)).limit(limit + 1))
    ).all()
    return found


async def dead_letters_left(session: Session, subscription_id: str) -> int:
    query = select(func.count()).select_from(WebhookMessage)
    query = query.where(WebhookMessage.subscription_id == subscription_id, WebhookMessage.state == MessageState.DEAD)
    return (await session.exec(query)).one()


def name_of_message(message: WebhookMessage) -> str:
    """The cursor of a message in the order of `dead_letters_of_client`."""
    return f"{message.subscription_id}:{message.number}"


async def dead_letters_of_client(
    session: Session, client_id: str, after: str, limit: int
) -> Sequence[tuple[WebhookMessage, Event]]:
    """The dead letters of all subscriptions of a connection, after the one with this cursor."""
    subscription_id, _, number = after.partition(":")
    if after and not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise InvalidInput("The cursor is not one of ours.")
    own = select(WebhookSubscription.subscription_id).where(WebhookSubscription.client_id == client_id)
    name = col(WebhookMessage.subscription_id), col(WebhookMessage.number)
    query = _dead().where(name[0].in_(own))
    query = query.where(or_(name[0] > subscription_id, and_(name[0] == subscription_id, name[1] > int(number or 0))))
    found: Sequence[tuple[WebhookMessage, Event]] = (await session.exec(query.order_by(*name).limit(limit + 1))).all()
    return found


def _dead() -> Any:
    query = select(WebhookMessage, Event).join(Event, col(Event.number) == WebhookMessage.number)
    return query.where(WebhookMessage.state == MessageState.DEAD)
