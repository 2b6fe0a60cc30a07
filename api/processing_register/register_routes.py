"""Routes of a school's register of processing (AVG art. 30), now or at a past instant: as JSON, CSV and PDF.

The register is built from the log up to that instant. Only the names of the school, its board and its locations are
the present ones.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.contract.components import NOT_DRAWN, downloads, refuses
from api.contract.shared_parameters import shared_as
from api.grants.offers import SubProcessor
from api.processing_register.csv_table import csv_of
from api.processing_register.document import document_of
from api.processing_register.pdf_process import PdfProcess
from api.queries import school_rows
from api.queries.past_events import events_of, in_order, read_events, read_partners, read_school
from api.store.store import Store
from api.web.callers import SchoolOrOperator
from api.web.concurrency import RebuildLimiter
from api.web.files import attachment
from api.web.long_answers import json_answer, json_of
from api.web.schemas import Moment, Wire
from api.web.services import provided
from models.consents.partners import RecipientRole, Stage
from models.consents.schools import Board, School
from models.decision.grant_status import Status
from models.log.entry_states import ConnectionState, GrantState
from models.log.events import Event, PastEvent
from models.past.latest_states import LatestStates
from models.past.processing_register import Controller, Register, register_of
from models.past.register_texts import BOARD_OF_NOW, BOARD_OF_THEN
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS
from models.vocabulary.identifiers import Brin
from models.vocabulary.refusals import InvalidInput
from models.vocabulary.working_days import AMSTERDAM

router = APIRouter(prefix="/v1/schools/{brin}", tags=["schools"])

At = Annotated[
    Moment | None, Query(description="The instant; without it, now.", json_schema_extra=shared_as("RegisterAt"))
]


class BilingualText(Wire):
    nl: str
    en: str


class ControllerView(Wire):
    """The school with the board that it had then, as they are called at present."""

    brin: str
    school_name: str
    board_number: str | None
    board_name: str | None
    board_note: Annotated[BilingualText, Field(description="How far the log knows the board.")]


class RecipientView(Wire):
    """Who receives the data, as it was called then. `name` is the partner's; `stoppedAt` is of an emergency stop."""

    name: str
    kvk_number: str
    client_id: str
    connection: str
    recipient_role: RecipientRole
    stage: Stage | None
    stopped_at: Moment | None


class PurposeView(Wire):
    code: str
    title: str


class CategoryOfDataView(Wire):
    """A scope with its fields by their UWLR names; `conditions` says when a field is released, if not always."""

    scope: str
    description: str
    fields: list[str]
    conditions: dict[str, str]


class AgreementVersion(Wire):
    agreement_id: str
    agreement_version: str
    privacybijsluiter_version: str


class AgreementThenView(AgreementVersion):
    """The agreement that the school agreed to, as it stood then. The last five are null where the log does not tell."""

    signed_on: date
    valid_from: Moment
    valid_until: Moment | None
    in_force: bool
    replaced_by: Annotated[AgreementVersion | None, Field(description="The one that counted in its place.")]
    categories: list[str] | None
    sub_processors: list[SubProcessor] | None
    storage_countries: list[str] | None
    outside_eea: Annotated[
        list[str] | None,
        Field(alias="outsideEea", description="Countries outside the EEA of storage, and sub-processors there."),
    ]
    retention_days: Annotated[int | None, Field(description="After the end of the processing.")]


class ProcessingView(Wire):
    """One grant, as art. 30(1) AVG asks for it. `endedAt` and `continuedBy` are of one that has ended."""

    grant_id: str
    status: Status
    location: str | None
    location_name: str | None
    recipient: RecipientView
    purposes: list[PurposeView]
    instruction: Annotated[BilingualText, Field(description="On what the recipient receives the data.")]
    lawful_basis: Annotated[BilingualText, Field(description="Of art. 6(1): the school states its own.")]
    data_subjects: list[BilingualText]
    data: list[CategoryOfDataView]
    agreement: AgreementThenView | None
    security: BilingualText
    granted_at: Moment
    valid_from: Moment
    valid_until: Moment | None
    suspended_until: Moment | None
    reconfirm_by: Moment | None
    ended_at: Moment | None
    retention_days: Annotated[int | None, Field(description="The least that an agreement which counts for it says.")]
    retention_from: Annotated[
        Moment | None,
        Field(description="The end of the processing: of the grant, or of the last agreement where that came first."),
    ]
    delete_by: Annotated[date | None, Field(description="By when data must be deleted, in Amsterdam.")]
    continued_by: Annotated[
        list[str], Field(description="Grants by which the connection still receives data of this place or part of it.")
    ]


class RegisterView(Wire):
    """The register at `at`, made of the log up to `lastEvent`. What the log does not know is the school's to state."""

    controller: ControllerView
    at: Moment
    drawn_up_at: Moment
    last_event: int
    contact: Annotated[BilingualText, Field(description="How the controller is reached.")]
    joint_controllers: BilingualText
    data_protection_officer: BilingualText
    security: Annotated[BilingualText, Field(description="The school's own measures.")]
    processings: list[ProcessingView]
    ended: list[ProcessingView]


async def _register(
    caller: SchoolOrOperator, brin: Annotated[Brin, Path()], request: Request, at: At = None
) -> Register:
    store, limiter = provided(request, Store), provided(request, RebuildLimiter)
    # A transaction of its own, which ends before the answer is made from the register.
    async with limiter.slot(brin), store.reading() as session:
        return await register_at(session, brin, at, await store.now(session))


SchoolRegister = Annotated[Register, Depends(_register)]

TABLE: Final = "text/csv"
DOCUMENT: Final = "application/pdf"


@router.get("/register", operation_id="getRegister", response_model=RegisterView)
async def get_register(caller: SchoolOrOperator, brin: Brin, register: SchoolRegister) -> Response:
    """The register of processing of this school, now or at a past instant."""
    return json_answer(await asyncio.to_thread(_json_of, register))


@router.get("/register.csv", operation_id="downloadRegisterTable", responses=downloads(TABLE), response_class=Response)
async def download_table(caller: SchoolOrOperator, brin: Brin, register: SchoolRegister) -> Response:
    """The same as a table for spreadsheets, one row a processing."""
    content = await asyncio.to_thread(csv_of, register)
    return attachment(content, _file_name(register, "csv"), TABLE)


@router.get(
    "/register.pdf",
    operation_id="downloadRegister",
    responses=downloads(DOCUMENT) | refuses(NOT_DRAWN),
    response_class=Response,
)
async def download_document(
    caller: SchoolOrOperator, brin: Brin, register: SchoolRegister, request: Request
) -> Response:
    """The same as a document to hand over."""
    document = await asyncio.to_thread(document_of, register)
    content = await provided(request, PdfProcess).draw(document, brin)
    return attachment(content, _file_name(register, "pdf"), DOCUMENT)


def _json_of(register: Register) -> bytes:
    return json_of(
        RegisterView.model_validate(replace(register, processings=(), ended=())),
        processings=map(ProcessingView.model_validate, register.processings),
        ended=map(ProcessingView.model_validate, register.ended),
    )


async def register_at(session: AsyncSession, brin: str, at: datetime | None, now: datetime) -> Register:
    """The register of a school at an instant. Raises `InvalidInput` for one in the future or before the log."""
    if at is not None and at > now:
        raise InvalidInput("at must not be in the future.")
    instant = at or now
    school = await school_rows.school(session, brin)
    last = (await session.exec(select(func.coalesce(func.max(Event.number), 0)).where(Event.at <= instant))).one()
    if at is not None and not last:
        raise InvalidInput("at must not be before the log begins.")
    # In threads, here and below, so that the event loop serves decisions meanwhile.
    latest = await asyncio.to_thread(LatestStates.of, await _events(session, brin, last))
    controller = await _controller(session, school, latest)
    return await asyncio.to_thread(register_of, controller, latest, instant, now, last)


async def _controller(session: AsyncSession, school: School, latest: LatestStates) -> Controller:
    in_log = school.brin in latest.boards
    number = latest.boards[school.brin] if in_log else school.board_number
    board = await session.get(Board, number) if number is not None else None
    return Controller(
        brin=school.brin,
        school_name=school.name,
        board_number=number,
        board_name=board.name if board is not None else None,
        board_note=BOARD_OF_THEN if in_log else BOARD_OF_NOW,
        locations={location.code: location.name for location in await school_rows.locations(session, school.brin)},
    )


async def _events(session: AsyncSession, brin: str, last: int) -> Sequence[PastEvent]:
    """The events up to `last` of the school and its grants, of the connections that got them with their agreements, and
    of their partners."""
    until, kind = col(Event.number) <= last, col(Event.kind)
    rows = await read_events(session, until, Event.brin == brin, kind.in_(GRANTS))
    client_ids = {row.client_id for row in rows}
    about_connections = col(Event.client_id).in_(client_ids), kind.in_([*CONNECTIONS, *AGREEMENTS])
    rows += await read_events(session, until, *about_connections)
    events = await asyncio.to_thread(lambda: list(events_of(rows)))
    partners = await read_partners(session, _kvk_numbers(events), last)
    return await asyncio.to_thread(in_order, events, partners, await read_school(session, brin, last))


def _kvk_numbers(events: Iterable[PastEvent]) -> set[str]:
    """The KvK numbers of the partners that connections belonged to, or that grants name."""
    found: set[str] = set()
    for each in events:
        if each.kind in GRANTS:
            found.add(GrantState.of(each.state).partner.kvk_number)
        elif each.kind in CONNECTIONS:
            found.add(ConnectionState.of(each.state).kvk_number)
    return found


def _file_name(register: Register, ending: str) -> str:
    day = register.at.astimezone(AMSTERDAM).date()
    return f"verwerkingsregister-{register.controller.brin}-{day.isoformat()}.{ending}"
