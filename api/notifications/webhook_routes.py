"""Routes of webhooks: partners manage their subscriptions, and see deliveries and dead letters; operators see both."""

import json
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from api.contract.components import NOT_FOUND, TOO_MANY_LOOKUPS, VERSION_REQUIRED, answers, refuses
from api.edge.problems import TOO_MANY_REQUESTS, Refused
from api.notifications.delivery_queue import log_state
from api.notifications.targets import Targets
from api.notifications.webhook_views import (
    MOST_REPLAYED,
    DeadLetterReplay,
    DeliveryView,
    GivenReason,
    MessageView,
    NewSubscription,
    ReplayedDeadLetters,
    Rotation,
    SignedSubscription,
    SubscriptionChange,
    SubscriptionView,
    normalized_url,
)
from api.queries import registry_rows, webhook_rows
from api.queries.session import Session
from api.security.sealing import webhook_secret
from api.store import outbox
from api.store.events import record
from api.web.callers import Caller, Operator, PartnerClient, claims_if_any
from api.web.paging import Cursor, Limit, after_key, after_number, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Page, RecordId, distinct
from api.web.services import provided
from api.web.write_request import WriteRequest, Writing
from models.consents.webhooks import (
    MOST_SUBSCRIPTIONS,
    NO_SCHOOL,
    SubscriptionState,
    WebhookAttempt,
    WebhookSubscription,
    WhyDisabled,
    message_id,
)
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId
from models.vocabulary.refusals import SubscriptionDisabled, TargetRefused, TestWaits, TooManySubscriptions

router = APIRouter(prefix="/v1", tags=["webhooks"])

OwnSubscriptionId = Annotated[RecordId, Path()]


# -- the check of a URL's target, before the revision's lock is taken -------------------------------------------------


async def _check_target(request: Request) -> TargetRefused | None:
    """Resolves the target of the URL in the body; returns its refusal, if any. Raises `Refused` (429) when too many
    names are being looked up.

    The refusal is returned, not raised: a repeat by Idempotency-Key gets the first answer, whatever the name resolves
    to by now. Other faults of the body are left to its schema.
    """
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
    url = body.get("url") if isinstance(body, dict) else None
    if isinstance(url, str):
        targets, claims = provided(request, Targets), claims_if_any(request)
        client_id = (claims.client_id or "") if claims is not None else ""
        if targets.is_busy_for(client_id):
            raise Refused(TOO_MANY_REQUESTS, "Too many names are being looked up.", {"Retry-After": "10"})
        try:
            await targets.resolve(url, client_id)
        except TargetRefused as refused:
            return refused
    return None


TargetRefusal = Annotated[TargetRefused | None, Depends(_check_target, scope="function")]


# -- the partner ------------------------------------------------------------------------------------------------------


@router.post(
    "/webhooks/subscriptions",
    status_code=201,
    operation_id="subscribe",
    responses=answers(201, "ETag") | refuses(NOT_FOUND, TOO_MANY_LOOKUPS),
)
async def subscribe(
    caller: PartnerClient, target_refusal: TargetRefusal, request: Request, wish: NewSubscription, writing: Writing
) -> SignedSubscription:
    """Tells the connection of its changes at this URL from now on. The answer has the secret, once."""
    if target_refusal is not None:
        raise target_refusal
    client_id = caller.claims.client_id
    await registry_rows.connection(writing.session, client_id)
    if len(await webhook_rows.subscriptions_of_client(writing.session, client_id)) >= MOST_SUBSCRIPTIONS:
        raise TooManySubscriptions(f"A connection has at most {MOST_SUBSCRIPTIONS} subscriptions.")
    subscription = WebhookSubscription(
        subscription_id=str(uuid.uuid4()),
        client_id=client_id,
        url=normalized_url(request, wish.url),
        types=distinct(wish.types) if wish.types is not None else None,
        seed=secrets.token_hex(16),
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    writing.session.add(subscription)
    return await _signed(writing, subscription, EventKind.WEBHOOK_SUBSCRIBED, caller)


@router.get("/webhooks/subscriptions", operation_id="listSubscriptions")
async def list_subscriptions(caller: PartnerClient, reading: Reading) -> Page[SubscriptionView]:
    """The subscriptions of the caller's connection, in one part."""
    found = await webhook_rows.subscriptions_of_client(reading.session, caller.claims.client_id)
    return Page(items=await _views(reading.session, found), next=None)


@router.get("/webhooks/subscriptions/{subscription_id}", operation_id="getSubscription", responses=answers(200, "ETag"))
async def get_subscription(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, reading: Reading, response: Response
) -> SubscriptionView:
    """One subscription of the caller's connection."""
    found = await webhook_rows.subscription_of_client(reading.session, caller.claims.client_id, subscription_id)
    response.headers["ETag"] = etag(found.version)
    return (await _views(reading.session, [found]))[0]


@router.patch(
    "/webhooks/subscriptions/{subscription_id}",
    operation_id="changeSubscription",
    responses=answers(200, "ETag") | refuses(VERSION_REQUIRED, TOO_MANY_LOOKUPS),
)
async def change_subscription(
    caller: PartnerClient,
    subscription_id: OwnSubscriptionId,
    target_refusal: TargetRefusal,
    request: Request,
    wish: SubscriptionChange,
    writing: Writing,
    if_match: IfMatch = None,
) -> SubscriptionView:
    """Another URL, or other types. What waits goes to the new URL, also when it is of a type no longer wanted."""
    if target_refusal is not None:
        raise target_refusal
    found = await _own(writing, caller, subscription_id)
    require_version(if_match, found.version)
    if wish.url is not None and found.url != (url := normalized_url(request, wish.url)):
        found.url, found.url_version = url, found.url_version + 1
    if "types" in wish.model_fields_set:
        found.types = distinct(wish.types) if wish.types is not None else None
    return await _saved(writing, found, EventKind.WEBHOOK_CHANGED, caller)


@router.post("/webhooks/subscriptions/{subscription_id}/_remove", operation_id="removeSubscription")
async def remove_subscription(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, writing: Writing, wish: GivenReason | None = None
) -> SubscriptionView:
    """Ends a subscription. What waits is sent no more."""
    found = await _own(writing, caller, subscription_id)
    (shown,) = await _views(writing.session, [found])
    await outbox.drop(writing.session, subscription_id)
    await writing.session.delete(found)
    found.revision = writing.write.revision
    _record(writing, found, EventKind.WEBHOOK_REMOVED, caller, log_state(found), wish)
    return writing.answer(shown.model_copy(update={"revision": found.revision}))


@router.post(
    "/webhooks/subscriptions/{subscription_id}/_rotate", operation_id="rotateSecret", responses=answers(200, "ETag")
)
async def rotate(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, writing: Writing, wish: Rotation | None = None
) -> SignedSubscription:
    """A new secret, which signs from now on. The former one signs beside it for a while, one before that no more."""
    found = await _own(writing, caller, subscription_id)
    hours = (wish or Rotation()).former_hours
    found.rotate(secrets.token_hex(16), writing.now + timedelta(hours=hours) if hours else None)
    return await _signed(writing, found, EventKind.WEBHOOK_ROTATED, caller)


@router.post("/webhooks/subscriptions/{subscription_id}/_test", operation_id="testSubscription")
async def send_test(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, writing: Writing, wish: GivenReason | None = None
) -> MessageView:
    """Sends a message of the type `webhook.tested`, like any other. What came of it is among the deliveries."""
    found = await _own(writing, caller, subscription_id)
    if not found.active:
        raise SubscriptionDisabled("Enable the subscription first.")
    if await webhook_rows.test_waits(writing.session, subscription_id):
        raise TestWaits("A test message waits to be delivered, or for its next attempt.")
    write = writing.write
    await outbox.write_message(writing.session, subscription_id, write.next_number, NO_SCHOOL, writing.now)
    state = {"subscriptionId": subscription_id, "clientId": found.client_id}
    _record(writing, found, EventKind.WEBHOOK_TESTED, caller, state, wish)
    return writing.answer(MessageView(**_message_members(subscription_id, write.events[-1])))


@router.post(
    "/webhooks/subscriptions/{subscription_id}/_disable",
    operation_id="disableSubscription",
    responses=answers(200, "ETag"),
)
async def disable(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, writing: Writing, wish: GivenReason | None = None
) -> SubscriptionView:
    """Sends nothing more until it is enabled again. What happens meanwhile makes no messages."""
    found = await _own(writing, caller, subscription_id)
    if not found.active:
        raise SubscriptionDisabled("It is disabled already.")
    await outbox.pause(writing.session, subscription_id)
    found.state, found.disabled_reason, found.disabled_at = (
        SubscriptionState.DISABLED,
        WhyDisabled.BY_PARTNER,
        writing.now,
    )
    return await _saved(writing, found, EventKind.WEBHOOK_DISABLED, caller, wish)


@router.post(
    "/webhooks/subscriptions/{subscription_id}/_enable",
    operation_id="enableSubscription",
    responses=answers(200, "ETag"),
)
async def enable(
    caller: PartnerClient, subscription_id: OwnSubscriptionId, writing: Writing, wish: GivenReason | None = None
) -> SubscriptionView:
    """Sends again, first what waited. What happened meanwhile is in the feed of changes."""
    found = await _own(writing, caller, subscription_id)
    if not found.url:
        raise TargetRefused("Its URL was lost: give it again first.")
    await outbox.resume(writing.session, subscription_id, writing.now)
    found.state, found.disabled_reason, found.disabled_at = SubscriptionState.ACTIVE, None, None
    found.failing_since = None
    return await _saved(writing, found, EventKind.WEBHOOK_ENABLED, caller, wish)


@router.get("/webhooks/subscriptions/{subscription_id}/deliveries", operation_id="listDeliveries")
async def list_deliveries(
    caller: PartnerClient,
    subscription_id: OwnSubscriptionId,
    reading: Reading,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeliveryView]:
    """Every attempt of the last 30 days, the latest first, and what came of it."""
    await webhook_rows.subscription_of_client(reading.session, caller.claims.client_id, subscription_id)
    found = await webhook_rows.attempts(reading.session, subscription_id, after_number(cursor), limit)
    shown, following = part(found, limit, lambda row: str(row[0].id))
    return Page(items=[_delivery(attempt, event) for attempt, event in shown], next=following)


@router.get("/webhooks/subscriptions/{subscription_id}/dead-letters", operation_id="listDeadLetters")
async def list_dead_letters(
    caller: PartnerClient,
    subscription_id: OwnSubscriptionId,
    reading: Reading,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[MessageView]:
    """What was given up after its last attempt in the last 30 days, the oldest first."""
    await webhook_rows.subscription_of_client(reading.session, caller.claims.client_id, subscription_id)
    found = await webhook_rows.dead_letters(reading.session, subscription_id, after_number(cursor), limit)
    shown, following = part(found, limit, lambda row: row[0].number)
    return Page(items=[MessageView(**_message_members(subscription_id, event)) for _, event in shown], next=following)


@router.post("/webhooks/subscriptions/{subscription_id}/dead-letters/_replay", operation_id="replayDeadLetters")
async def replay_dead_letters(
    caller: PartnerClient,
    subscription_id: OwnSubscriptionId,
    writing: Writing,
    wish: DeadLetterReplay | None = None,
) -> ReplayedDeadLetters:
    """Sends dead letters again, under the ids that they had: those that are named, or the oldest 500.

    They come after what was delivered since: which word is the last, the revision tells.
    """
    found = await _own(writing, caller, subscription_id)
    if not found.active:
        raise SubscriptionDisabled("Enable the subscription first.")
    numbers = wish.numbers if wish is not None else None
    count = await outbox.requeue_dead_letters(writing.session, subscription_id, numbers, MOST_REPLAYED, writing.now)
    left = await webhook_rows.dead_letters_left(writing.session, subscription_id)
    state = {"subscriptionId": subscription_id, "clientId": found.client_id, "messages": count}
    _record(writing, found, EventKind.WEBHOOK_REPLAYED, caller, state)
    return writing.answer(ReplayedDeadLetters(replayed=count, left=left, revision=writing.write.revision))


# -- the operator -----------------------------------------------------------------------------------------------------


@router.get("/connections/{client_id}/webhooks", operation_id="listSubscriptionsOfConnection")
async def list_subscriptions_of_connection(
    caller: Operator, client_id: ClientId, reading: Reading
) -> Page[SubscriptionView]:
    """The subscriptions of a connection, in one part: who asks why a partner was not told begins here."""
    await registry_rows.connection(reading.session, client_id)
    found = await webhook_rows.subscriptions_of_client(reading.session, client_id)
    return Page(items=await _views(reading.session, found), next=None)


@router.get("/connections/{client_id}/dead-letters", operation_id="listDeadLettersOfConnection")
async def list_dead_letters_of_connection(
    caller: Operator, client_id: ClientId, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[MessageView]:
    """What was given up of all subscriptions of a connection, by subscription, the oldest first."""
    await registry_rows.connection(reading.session, client_id)
    found = await webhook_rows.dead_letters_of_client(reading.session, client_id, after_key(cursor), limit)
    shown, following = part(found, limit, lambda row: webhook_rows.name_of_message(row[0]))
    return Page(
        items=[MessageView(**_message_members(each.subscription_id, event)) for each, event in shown], next=following
    )


# -- both -------------------------------------------------------------------------------------------------------------


async def _own(writing: WriteRequest, caller: Caller, subscription_id: str) -> WebhookSubscription:
    return await webhook_rows.subscription_of_client(writing.session, caller.claims.client_id, subscription_id)


async def _saved(
    writing: WriteRequest,
    subscription: WebhookSubscription,
    kind: EventKind,
    caller: Caller,
    wish: GivenReason | None = None,
) -> SubscriptionView:
    """Stores a change of a subscription with its event, and answers with the subscription."""
    shown = await _changed(writing, subscription, kind, caller, wish)
    return writing.answer(shown, subscription.version)


async def _signed(
    writing: WriteRequest, subscription: WebhookSubscription, kind: EventKind, caller: Caller
) -> SignedSubscription:
    """Stores a change of a subscription with its event, and answers with the subscription and its signing secret."""
    shown = await _changed(writing, subscription, kind, caller)
    secret = webhook_secret(writing.session, subscription.subscription_id, subscription.seed)
    return writing.answer(SignedSubscription(**shown.model_dump(), secret=secret), subscription.version)


async def _changed(
    writing: WriteRequest,
    subscription: WebhookSubscription,
    kind: EventKind,
    caller: Caller,
    wish: GivenReason | None = None,
) -> SubscriptionView:
    if kind is not EventKind.WEBHOOK_SUBSCRIBED:
        subscription.version += 1
    subscription.revision, subscription.changed_at = writing.write.revision, writing.now
    writing.session.add(subscription)
    _record(writing, subscription, kind, caller, log_state(subscription), wish)
    return (await _views(writing.session, [subscription]))[0]


def _record(
    writing: WriteRequest,
    subscription: WebhookSubscription,
    kind: EventKind,
    caller: Caller,
    state: dict[str, Any],
    wish: GivenReason | None = None,
) -> None:
    reason = wish.reason if wish is not None else None
    record(writing.write, kind, caller.actor, state, client_id=subscription.client_id, reason=reason)


async def _views(session: Session, subscriptions: Sequence[WebhookSubscription]) -> list[SubscriptionView]:
    waiting = await webhook_rows.messages_waiting(session, [each.subscription_id for each in subscriptions])
    nothing = webhook_rows.Waiting()
    return [
        SubscriptionView(waiting=found.messages, next_attempt_at=found.next_at, **each.model_dump())
        for each in subscriptions
        for found in [waiting.get(each.subscription_id, nothing)]
    ]


def _message_members(subscription_id: str, event: Any) -> dict[str, Any]:
    return {
        "subscription_id": subscription_id,
        "message_id": message_id(event),
        "number": event.number,
        "type": event.kind,
        "school": event.brin,
        "revision": event.revision,
        "at": event.at,
    }


def _delivery(attempt: WebhookAttempt, event: Any) -> DeliveryView:
    shown = attempt.model_dump(include={"attempt", "outcome", "status_code", "milliseconds"})
    return DeliveryView(**_message_members(attempt.subscription_id, event), **shown, attempted_at=attempt.at)
