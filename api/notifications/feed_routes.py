"""Routes of the feed of a connection's changes: read, long-polled, or followed as a stream of server-sent events.

Every change has a bookmark: its number in the log and the mark of its revision, which no other history has. A reader
that continues from its last bookmark misses nothing and gets nothing twice. A bookmark that the store's history does
not hold, as after the restore of a backup, is refused with `NotInHistory`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import dataclass
from random import SystemRandom
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import format_sse_event
from pydantic import Field, StringConstraints
from sqlmodel.ext.asyncio.session import AsyncSession

from api.contract.components import NOT_IN_HISTORY, TOO_MANY_WAITING, refuses
from api.contract.shared_parameters import shared_as
from api.edge.authentication import authenticated
from api.edge.problems import Refused
from api.grants.consent_routes import Consent, school_name
from api.grants.grant_lifecycle import GrantView
from api.notifications.change_listeners import ChangeListeners, Listener
from api.queries import event_rows, school_rows
from api.security.tokens import TokenVerifier
from api.snapshot.current import CurrentSnapshot
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.store import Store
from api.web.callers import PartnerClient
from api.web.paging import Cursor, Limit, after_number, part
from api.web.schemas import Moment, Page
from api.web.server_sent_events import EventStream, cancel_and_wait, wait_for_disconnect
from api.web.services import provided
from models.consents.schools import School
from models.decision.decision import Reason
from models.decision.grant_status import Status
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.refusals import NotInHistory

log = logging.getLogger("privacy_manager.feed")

router = APIRouter(prefix="/v1/consents/changes", tags=["partners"])

#: The longest wait of a request for the list, and the longest stream, in seconds.
MOST_WAIT: Final = 25
MOST_STREAM: Final = 300
#: Seconds without a change after which a stream sends a comment, and checks its caller's token again.
HEARTBEAT_SECONDS: Final = 15.0
HEARTBEAT: Final = b":\n\n"
#: Changes that a stream reads and sends at once; between two parts the event loop serves decisions.
PART: Final = 50
#: The range of the random `retry` of a stream, in milliseconds, so that readers do not all reconnect at once.
RETRY: Final = 1_000, 3_000

#: The schema of an event in the contract.
EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One event. What only says when to come back, and comments, are none.",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string", "description": "The bookmark of the change."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/ConsentChange"},
        },
    },
}

Bookmark = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}-[0-9a-f]{32}$", max_length=42)]
Since = Annotated[
    Annotated[int, Field(ge=0, le=2**31 - 1)] | Bookmark,
    Query(
        description="Only what changed after this: the bookmark of a change, or a revision.",
        json_schema_extra=shared_as("FeedSince"),
    ),
]


class ConsentChange(Consent):
    """A consent as one change left it."""

    event: EventKind
    at: Moment
    bookmark: Annotated[str, Field(description="To go on from, as `since` or as `Last-Event-ID`.")]


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """The position from which to continue: after this revision, and after the event of this number and mark."""

    revision: int = 0
    number: int = 0
    mark: str = ""

    @classmethod
    def parse(cls, since: int | str) -> Self:
        if isinstance(since, int):
            return cls(revision=since)
        number, mark = since.split("-")
        return cls(number=int(number), mark=mark)


@router.get("", operation_id="listConsentChanges", responses=refuses(NOT_IN_HISTORY, TOO_MANY_WAITING))
async def list_changes(
    caller: PartnerClient,
    request: Request,
    since: Since = 0,
    wait: Annotated[
        int, Query(ge=0, le=MOST_WAIT, description="Seconds to wait for a change, where there is none yet.")
    ] = 0,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ConsentChange]:
    """Every change of the caller's consents, oldest first.

    Ask again from the `bookmark` of the last item that you have dealt with: nothing is missed, and nothing comes twice.
    With `wait` the answer comes as soon as there is a change, or when the time is over, with nothing in it.
    """
    client_id, begin, after = caller.claims.client_id, FeedPosition.parse(since), after_number(cursor)
    store = provided(request, Store)
    if not wait:
        return await _page(store, client_id, begin, after, limit)
    listeners = provided(request, ChangeListeners)
    with listeners.listening(client_id) as listener:
        found = await _page(store, client_id, begin, after, limit)
        if found.items:
            return found
        # While the request waits it holds no session, and `ChangeListeners` polls the store for all.
        request.state.waits = True
        await _wait_for_any(listener.changed(), wait_for_disconnect(request.receive), seconds=wait)
    async with listeners.reading:
        return await _page(store, client_id, begin, after, limit)


async def _listening(caller: PartnerClient, request: Request) -> AsyncIterator[Listener]:
    listeners = provided(request, ChangeListeners)
    # The dependency ends after the answer was sent, which for a stream is its end.
    with listeners.listening(caller.claims.client_id) as listener:
        yield listener


@router.get(
    "/stream",
    operation_id="streamConsentChanges",
    responses=refuses(NOT_IN_HISTORY, TOO_MANY_WAITING)
    | {200: {"content": {EventStream.media_type: {"schema": EVENT}}}},
    status_code=200,
    response_class=EventStream,
)
async def stream_changes(
    caller: PartnerClient,
    request: Request,
    listener: Annotated[Listener, Depends(_listening)],
    since: Since = 0,
    wait: Annotated[
        int, Query(ge=0, le=MOST_STREAM, description="Seconds after which it ends, when there is nothing more to say.")
    ] = MOST_STREAM,
    last_event_id: Annotated[Bookmark | None, Header(description="A bookmark, in place of `since`.")] = None,
) -> EventStream:
    """The same changes as server-sent events, each as it comes.

    The `data` of an event is an item of the list as JSON, its `id` the bookmark. The stream ends by itself, after some
    minutes and at the latest with the token; come back with `Last-Event-ID`, as browsers do by themselves.
    """
    begin = FeedPosition.parse(since if last_event_id is None else last_event_id)
    reader = _StreamReader(request, caller.claims.client_id, begin)
    first = await reader.read()
    return EventStream(_stream(reader, first, listener, wait, caller.claims.expires_at - time.time()))


class _StreamReader:
    """The position of one stream in the changes, and the check that its caller may still read."""

    def __init__(self, request: Request, client_id: str, begin: FeedPosition) -> None:
        self._request = request
        self._begin = begin
        self.client_id = client_id
        self.listeners = provided(request, ChangeListeners)

    async def read(self) -> list[ConsentChange]:
        """The next changes, at most `PART`. Raises the refusal that a new request of the caller would get."""
        await authenticated(self._request.scope, provided(self._request, TokenVerifier))
        await provided(self._request, CurrentSnapshot).get()
        async with self.listeners.reading:
            found = (await _page(provided(self._request, Store), self.client_id, self._begin, 0, PART)).items
        if found:
            self._begin = FeedPosition.parse(found[-1].bookmark)
        return found


async def _stream(
    reader: _StreamReader, found: list[ConsentChange], listener: Listener, wait: float, valid: float
) -> AsyncIterator[bytes]:
    """The bytes of a stream, until its end or a refusal.

    It ends after `wait` seconds once there are no more changes, and in any case after `MOST_STREAM` seconds or the
    `valid` seconds of the token.
    """
    now = asyncio.get_running_loop().time
    ends_if_idle_at, ends_at = now() + min(wait, valid), now() + min(MOST_STREAM, valid)
    # Sent at once, so that the reader knows that it is connected.
    yield format_sse_event(retry=SystemRandom().randint(*RETRY))
    try:
        while now() < ends_at and not reader.listeners.is_stopping:
            if found:
                yield b"".join(map(_event, found))
            elif (left := ends_if_idle_at - now()) <= 0:
                return
            elif not await _ended_within(listener.changed(), min(left, HEARTBEAT_SECONDS)):
                yield HEARTBEAT
            found = await reader.read()
    except (StoreUnreachable, StoreBehind, NotInHistory, Refused) as reason:
        # The status was sent already. The reader gets the refusal as the answer to its next request.
        log.info("a stream of %s ended: %s", reader.client_id, reason)


async def _ended_within(awaitable: Awaitable[None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except TimeoutError:
        return False
    return True


def _event(change: ConsentChange) -> bytes:
    return format_sse_event(id=change.bookmark, data_str=change.model_dump_json(by_alias=True))


async def _wait_for_any(*coroutines: Coroutine[Any, Any, None], seconds: float) -> None:
    """Waits for the first of the coroutines to end, or for so many seconds, and cancels the others."""
    tasks = [asyncio.create_task(awaitable) for awaitable in coroutines]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*tasks)


async def _page(store: Store, client_id: str, begin: FeedPosition, after: int, limit: int) -> Page[ConsentChange]:
    """At most `limit` changes after `begin` and after the event number `after`. Raises `NotInHistory`."""
    async with store.reading() as session:
        await _require_in_history(session, client_id, begin)
        last_number = max(begin.number, after)
        found = await event_rows.changes_of_client(session, client_id, begin.revision, last_number, limit)
        shown, following = part(found, limit, lambda event: event.number)
        names = await school_rows.schools_named(session, {event.brin for event in shown if event.brin})
        return Page(items=[_change(event, names) for event in shown], next=following)


async def _require_in_history(session: AsyncSession, client_id: str, begin: FeedPosition) -> None:
    if begin.number:
        known = await event_rows.mark_of_change(session, client_id, begin.number) == begin.mark
    else:
        known = begin.revision <= await event_rows.revision(session)
    if not known:
        raise NotInHistory(
            "The store's history does not hold this place. It is not the bookmark or the revision of a change that this"
            " service has told, or an older backup was put back since: then begin anew from 0."
        )


def _change(event: Event, names: dict[str, School]) -> ConsentChange:
    """The consent as the event left it, by the grant's state alone: decisions, not the feed, tell eligibility."""
    grant = GrantView.model_validate(event.state)
    early = grant.status is Status.GRANTED and event.at < grant.valid_from
    reason = Reason.NOT_YET_VALID if early else Reason(grant.status)
    return ConsentChange(
        school=school_name(grant.school, names),
        location=grant.location,
        client_id=grant.client_id,
        status=grant.status,
        reason=None if reason is Reason.GRANTED else reason,
        scopes=grant.scopes,
        purposes=grant.purposes,
        valid_from=grant.valid_from,
        valid_until=grant.valid_until,
        grant_id=grant.grant_id,
        revision=event.revision,
        event=EventKind(event.kind),
        at=event.at,
        bookmark=f"{event.number}-{event.mark}",
    )
