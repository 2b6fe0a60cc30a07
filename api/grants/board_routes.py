"""Routes of boards (bevoegd gezag): grant and revoke for all schools of the board at once.

`models/consents/board_grants.py` decides what a board's grant does where a school has decided for itself.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query
from pydantic import Field

from api.grants import granting, offers
from api.grants.board_precedence import standings_of
from api.grants.grant_lifecycle import GrantView, settle, take_step, view
from api.grants.granting import GrantPlace
from api.grants.request_lifecycle import RequestView, views
from api.queries import grant_rows, registry_rows, request_rows, school_rows
from api.queries.session import Session
from api.web.callers import BoardAdmin
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading
from api.web.schemas import Moment, Page, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.board_grants import Standing, board_may_give, board_may_revoke
from models.consents.grants import Choice, Grant, Step
from models.consents.partners import Partner
from models.consents.requests import RequestStatus
from models.consents.schools import School
from models.vocabulary.identifiers import BoardNumber, Brin, ClientId
from models.vocabulary.refusals import Conflict, NotFound

router = APIRouter(prefix="/v1/boards/{board_number}", tags=["boards"])


class SchoolOfBoard(Wire):
    brin: str
    name: str


class BoardView(Wire):
    """A board, and its schools that are listed."""

    board_number: str
    name: str | None
    schools: list[SchoolOfBoard]


class StandingAtSchool(Wire):
    """Whose word counts for a connection at one school, and the latest grant for the whole of it."""

    school: SchoolOfBoard
    standing: Standing
    grant: GrantView | None


class BoardGrant(WireIn):
    """What the board permits, at all its schools or at these. `agreementId` is needed where a grant of the board's is
    confirmed that was given under another agreement, one that allowed less."""

    client_id: ClientId
    scopes: ScopeNames
    purposes: PurposeCodes
    schools: Annotated[list[Brin] | None, Field(min_length=1, max_length=500)] = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    agreement_id: RecordId | None = None


class BoardRevocation(WireIn):
    client_id: ClientId
    reason: Reason | None = None


class Reached(Wire):
    """The schools that were reached, as they now stand, and those that were left out, since their own word counts."""

    reached: list[StandingAtSchool]
    left_out: list[StandingAtSchool]
    revision: int


@router.get("", operation_id="getBoard")
async def get_board(caller: BoardAdmin, board_number: BoardNumber, reading: Reading) -> BoardView:
    """The board and its schools."""
    board = await school_rows.board(reading.session, board_number)
    schools = await school_rows.schools_of_board(reading.session, board_number)
    return BoardView(
        board_number=board.number, name=board.name, schools=[SchoolOfBoard.model_validate(each) for each in schools]
    )


@router.get("/grants", operation_id="listStandings")
async def list_standings(
    caller: BoardAdmin,
    board_number: BoardNumber,
    reading: Reading,
    client_id: Annotated[ClientId, Query(alias="clientId", description="The connection.")],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StandingAtSchool]:
    """How one connection stands at each of the board's schools, and by whose word."""
    await registry_rows.connection_placed(reading.session, client_id)
    schools = await school_rows.schools_of_board(reading.session, board_number)
    found = [each for each in schools if each.brin > after_key(cursor)]
    shown, following = part(found[: limit + 1], limit, lambda school: school.brin)
    at_schools = await _school_standings(reading.session, client_id, shown, reading.now)
    return Page(items=[each.shown(reading.now) for each in at_schools], next=following)


@router.post("/grants", status_code=201, operation_id="grantForBoard")
async def grant(caller: BoardAdmin, board_number: BoardNumber, wish: BoardGrant, writing: Writing) -> Reached:
    """Permits a connection at all the board's schools, or at those that are named, but where a school has its own word.

    All of it is done, or nothing is. What the board gave before becomes what it says here.
    """
    connection = await registry_rows.connection_placed(writing.session, wish.client_id)
    (offer,) = await offers.offers_to_board(writing.session, [connection], board_number, writing.now)
    choice = Choice(frozenset(wish.scopes), frozenset(wish.purposes), wish.valid_from, wish.valid_until)
    schools = await _schools(writing, board_number, wish.schools)
    reached, left_out = [], []
    for each in await _school_standings(writing.session, wish.client_id, schools, writing.now):
        if not board_may_give(each.standing):
            left_out.append(each)
            continue
        latest = each.latest.grant if each.latest is not None and each.standing is Standing.BOARD else None
        if latest is not None:
            settle(writing.write, latest, offer.partner)
            await granting.amend_on_offer(writing, offer, latest, choice, wish.agreement_id, caller.actor)
        else:
            place = GrantPlace(each.school.brin, None)
            latest = await granting.give_on_offer(writing, offer, place, choice, wish.agreement_id, caller.actor)
        reached.append(_SchoolStanding(each.school, Standing.BOARD, _GrantAndPartner(latest, offer.partner)))
    if not reached:
        raise Conflict("Each of these schools has its own word on this connection: there is nobody to give it to.")
    return _answer(writing, reached, left_out)


@router.post("/grants/_revoke", operation_id="revokeForBoard")
async def revoke(caller: BoardAdmin, board_number: BoardNumber, wish: BoardRevocation, writing: Writing) -> Reached:
    """Takes back what the board gave a connection, at all its schools, but where a school has its own word."""
    schools = await school_rows.schools_of_board(writing.session, board_number)
    reached, left_out = [], []
    for each in await _school_standings(writing.session, wish.client_id, schools, writing.now):
        if each.latest is None or not board_may_revoke(each.standing):
            left_out.append(each)
            continue
        settle(writing.write, *each.latest)
        take_step(writing.write, *each.latest, Step.REVOKE, caller.actor, wish.reason)
        reached.append(_SchoolStanding(each.school, Standing.NONE, each.latest))
    if not reached:
        raise NotFound("The board gave this connection nothing that stands.")
    return _answer(writing, reached, left_out)


@router.get("/requests", operation_id="listRequestsToBoard")
async def list_requests(
    caller: BoardAdmin,
    board_number: BoardNumber,
    reading: Reading,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[RequestView]:
    """What partners ask of the board's schools. Its grant answers those that wait at the schools that it reaches."""
    found = await request_rows.requests_of_board(reading.session, board_number, status, after_key(cursor), limit)
    shown, following = part(found, limit, lambda request: request.request_id)
    return Page(items=await views(reading.session, shown), next=following)


class _GrantAndPartner(NamedTuple):
    grant: Grant
    partner: Partner


class _SchoolStanding(NamedTuple):
    """One school with its standing, and the latest grant for the whole school with its partner."""

    school: School
    standing: Standing
    latest: _GrantAndPartner | None

    def shown(self, now: datetime) -> StandingAtSchool:
        return StandingAtSchool(
            school=SchoolOfBoard.model_validate(self.school),
            standing=self.standing,
            grant=view(*self.latest, now) if self.latest is not None else None,
        )


async def _school_standings(
    session: Session, client_id: str, schools: Sequence[School], now: datetime
) -> list[_SchoolStanding]:
    grants = await grant_rows.latest_of_schools(session, client_id, [school.brin for school in schools])
    standings = await standings_of(session, grants.values(), now)
    partners = await registry_rows.partners_of_grants(session, grants.values())
    found = []
    for school in schools:
        grant = grants.get(school.brin)
        latest = _GrantAndPartner(grant, partners[client_id]) if grant is not None else None
        found.append(_SchoolStanding(school, standings[grant.grant_id] if grant is not None else Standing.NONE, latest))
    return found


async def _schools(writing: WriteRequest, board_number: str, brins: Sequence[str] | None) -> Sequence[School]:
    """The board's listed schools, or those of them in `brins`. Raises `NotFound` for another board's school."""
    schools = await school_rows.schools_of_board(writing.session, board_number)
    if brins is None:
        return schools
    if others := sorted(set(brins) - {school.brin for school in schools}):
        raise NotFound(f"No schools of the board, or no longer listed: {', '.join(others)}.")
    return [school for school in schools if school.brin in brins]


def _answer(writing: WriteRequest, reached: Sequence[_SchoolStanding], left_out: Sequence[_SchoolStanding]) -> Reached:
    return writing.answer(
        Reached(
            reached=[each.shown(writing.now) for each in reached],
            left_out=[each.shown(writing.now) for each in left_out],
            revision=writing.write.revision,
        )
    )
