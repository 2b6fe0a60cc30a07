"""Routes of onboarding cases: operators take the steps of a case; a partner sees the cases of its own connection."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.contract.components import answers
from api.grants.reconfirmation import require_reconfirmation
from api.queries import case_rows, registry_rows
from api.queries.session import Session
from api.registry.connection_routes import registered
from api.registry.partner_routes import touch
from api.security import sealing
from api.store.events import Actor, record
from api.web.callers import Caller, Operator, PartnerOrOperator
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Evidence, Moment, Page, RecordId, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.onboarding import Case, CaseStep, Readiness, RoadStep, require_step, stage_after
from models.consents.partners import Connection, Stage, is_stopped
from models.decision.kept_rules import rules_kept
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId
from models.vocabulary.periods import has_ended, holds
from models.vocabulary.refusals import InvalidInput

router = APIRouter(prefix="/v1/cases", tags=["onboarding"])

CaseId = Annotated[RecordId, Path()]


class NewStep(WireIn):
    """A step that was taken, and what shows it. `clientId` names the connection, with `agreements_sent` alone."""

    step: RoadStep
    evidence: Evidence
    client_id: ClientId | None = None


class CompanyView(Wire):
    name: str
    kvk_number: str


class ApplicantContactView(Wire):
    name: str
    email: str
    phone: str | None


class RequestedScopeView(Wire):
    scope: str
    purpose: str


class ConvenantView(Wire):
    version: str
    status: str
    registration: str | None


class StepTaken(Wire):
    """Who, when, and the evidence. Who it was is told to operators alone, until it is erased."""

    step: RoadStep
    at: Moment
    by: str | None
    role: str
    evidence: str | None


class CaseView(Wire):
    """An application on its road. `dueAt` is by when the partner manager reacts; null once that was done."""

    case_id: str
    reference: str
    company: CompanyView
    contact: ApplicantContactView
    product_name: str
    requested: list[RequestedScopeView]
    legal_relation: str
    edu_k: ConvenantView
    step: RoadStep
    client_id: str | None
    due_at: Moment | None
    overdue: bool
    steps: list[StepTaken]
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


@router.get("", operation_id="listCases")
async def list_cases(
    caller: PartnerOrOperator,
    reading: Reading,
    step: Annotated[RoadStep | None, Query(description="Only those that are here.")] = None,
    overdue: Annotated[bool, Query(description="Only those that have waited too long for a reaction.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CaseView]:
    """All cases; for a partner, those about its own connection."""
    at = reading.now if overdue else None
    found = await case_rows.cases(reading.session, caller.only, step, at, after_key(cursor), limit)
    shown, following = part(found, limit, lambda case: case.case_id)
    steps = await case_rows.case_steps(reading.session, [case.case_id for case in shown])
    views = await _views(reading.session, shown, steps, caller, reading.now)
    return Page(items=views, next=following)


@router.get("/{case_id}", operation_id="getCase", responses=answers(200, "ETag"))
async def get_case(caller: PartnerOrOperator, case_id: CaseId, reading: Reading, response: Response) -> CaseView:
    """One case, with every step that was taken."""
    case = await case_rows.case(reading.session, case_id, caller.only)
    response.headers["ETag"] = etag(case.version)
    steps = await case_rows.case_steps(reading.session, [case_id])
    return (await _views(reading.session, [case], steps, caller, reading.now))[0]


@router.post("/{case_id}/steps", operation_id="takeCaseStep", responses=answers(200, "ETag"))
async def take(
    caller: Operator, case_id: CaseId, wish: NewStep, writing: Writing, if_match: IfMatch = None
) -> CaseView:
    """Takes a step. One whose conditions are not met is refused, and says which."""
    case = await case_rows.case(writing.session, case_id)
    if if_match is not None:
        require_version(if_match, case.version)
    if wish.client_id is not None and wish.step is not RoadStep.AGREEMENTS_SENT:
        raise InvalidInput("clientId is named with the step agreements_sent.")
    steps = await take_step(writing, case, wish.step, caller.actor, wish.evidence, wish.client_id)
    shown = (await _views(writing.session, [case], steps, caller, writing.now))[0]
    return writing.answer(shown, case.version)


async def take_step(
    writing: WriteRequest, case: Case, step: RoadStep, actor: Actor, evidence: str, client_id: str | None = None
) -> Sequence[CaseStep]:
    """Takes a step of a case, and moves its connection to the stage that follows; returns all steps of the case.

    Raises `StepRefused` where a condition of the step is not met.
    """
    connection = await _connection(writing, client_id or case.client_id)
    require_step(case, step, await _readiness(writing, case, connection, step))
    stage = stage_after(RoadStep(case.step), step, connection) if connection is not None else None
    case.step = step
    case.client_id = connection.client_id if connection is not None else None
    case.version += 1
    case.revision, case.changed_at = writing.write.revision, writing.now
    if connection is not None and stage is not None:
        await _set_stage(writing, connection, stage, actor)
    return await saved_case(writing, case, EventKind.CASE_STEP_TAKEN, actor, evidence)


async def saved_case(
    writing: WriteRequest, case: Case, kind: EventKind, actor: Actor, evidence: str | None = None
) -> Sequence[CaseStep]:
    """Stores the case with its step, and appends the event, which names no person; returns all steps of the case."""
    writing.session.add(case)
    await writing.session.flush()
    before = await case_rows.case_steps(writing.session, [case.case_id])
    taken = CaseStep(
        case_id=case.case_id,
        number=len(before) + 1,
        step=case.step,
        at=writing.now,
        actor=await sealing.person(writing.session, actor.subject),
        actor_role=actor.role,
        evidence=evidence,
    )
    writing.session.add(taken)
    state = {"caseId": case.case_id, "step": case.step, "kvkNumber": case.kvk_number, "clientId": case.client_id}
    record(writing.write, kind, actor, state, client_id=case.client_id)
    return [*before, taken]


async def _connection(writing: WriteRequest, client_id: str | None) -> Connection | None:
    return await writing.session.get(Connection, client_id) if client_id is not None else None


async def _readiness(writing: WriteRequest, case: Case, connection: Connection | None, step: RoadStep) -> Readiness:
    if connection is None:
        return Readiness(None, False, False, False, frozenset(), False)
    session, client_id = writing.session, connection.client_id
    partner = await registry_rows.partner(session, connection.kvk_number)
    visible = step in (RoadStep.PLACED, RoadStep.LIVE)
    signed = [
        each
        for each in await registry_rows.agreements(session, [client_id])
        if each.signatories and (holds(each, writing.now) if visible else not has_ended(each, writing.now))
    ]
    return Readiness(
        connection=connection,
        taken=await case_rows.case_about(session, client_id, case.case_id) is not None,
        signed=bool(signed),
        document_kept=bool(await registry_rows.documents(session, [each.agreement_id for each in signed])),
        rules_kept=rules_kept(await registry_rows.ground_rules(session, [client_id]), writing.now),
        stopped=is_stopped(connection, partner),
    )


async def _set_stage(writing: WriteRequest, connection: Connection, stage: Stage, actor: Actor) -> None:
    """Sets the stage of a connection. One that returns from `withdrawn` needs every school's grant reconfirmed."""
    if connection.stage == Stage.WITHDRAWN:
        connection.request_version += 1
        await require_reconfirmation(writing.write, connection, actor)
    connection.stage = stage
    touch(writing, connection)
    writing.session.add(connection)
    state = registered(connection).model_dump(mode="json", by_alias=True)
    record(writing.write, EventKind.CONNECTION_MOVED, actor, state, client_id=connection.client_id)


async def _views(
    session: Session, cases: Sequence[Case], steps: Sequence[CaseStep], caller: Caller, now: Moment
) -> list[CaseView]:
    names = await sealing.named(session, [step.actor for step in steps]) if caller.only is None else {}
    return [_view(case, steps, names, now) for case in cases]


def _view(case: Case, steps: Sequence[CaseStep], names: Mapping[str, str], now: Moment) -> CaseView:
    waiting = case.step == RoadStep.APPLIED
    return CaseView(
        **case.model_dump(include={"case_id", "reference", "product_name", "requested", "legal_relation", "client_id"}),
        company=CompanyView(name=case.company_name, kvk_number=case.kvk_number),
        contact=ApplicantContactView(name=case.contact_name, email=case.contact_email, phone=case.contact_phone),
        edu_k=ConvenantView(
            version=case.convenant_version, status=case.convenant_status, registration=case.convenant_registration
        ),
        step=RoadStep(case.step),
        due_at=case.due_at if waiting else None,
        overdue=waiting and case.due_at <= now,
        steps=[
            StepTaken(
                step=RoadStep(each.step),
                at=each.at,
                by=names.get(each.actor),
                role=each.actor_role,
                evidence=each.evidence,
            )
            for each in steps
            if each.case_id == case.case_id
        ],
        **case.model_dump(include={"version", "revision", "created_at", "changed_at"}),
    )
