"""What a connection must keep, as operators record it: signed agreements and ground rules, each a dated fact."""

import uuid
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path
from pydantic import Field, StringConstraints

from api import rows
from api.callers import Caller, Operator
from api.events import record
from api.reads import Reading
from api.terms import AgreementView
from api.wire import UUID_PATTERN, Day, Moment, Name, Page, PurposeCodes, Reason, ScopeNames, Wire, WireIn, distinct
from api.writes import WriteRequest, Writing
from models.agreements import Agreement, require_sound_agreement
from models.events import EventKind
from models.ground_rules import GroundRule, GroundRuleName
from models.identifiers import BoardNumber, ClientId
from models.periods import require_period
from models.refusals import InvalidInput, TransitionNotAllowed
from models.schools import Board

router = APIRouter(prefix="/v1/connections/{client_id}", tags=["operators"])

Label = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
RecordId = Annotated[str, StringConstraints(pattern=UUID_PATTERN, max_length=36), Path(description="A UUID.")]


class NewAgreement(WireIn):
    """A signed verwerkersovereenkomst; `boardNumber` when one board signed it for its schools alone."""

    board_number: BoardNumber | None = None
    agreement_version: Label
    privacybijsluiter_version: Label
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    purposes: Annotated[PurposeCodes, Field(min_length=1)]
    signed_on: Day
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class Ending(WireIn):
    """An end, from now on."""

    reason: Reason


class NewGroundRule(WireIn):
    """That a ground rule is kept, on what evidence, and from when until when."""

    rule: GroundRuleName
    evidence: Reason
    source: Name
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class GroundRuleView(Wire):
    ground_rule_id: str
    client_id: str
    rule: GroundRuleName
    evidence: str
    source: str
    checked_by: str
    valid_from: Moment
    valid_until: Moment | None
    revision: int
    created_at: Moment


Fact = TypeVar("Fact", AgreementView, GroundRuleView)


@router.post("/agreements", status_code=201, operation_id="registerAgreement")
async def register_agreement(
    caller: Operator, client_id: ClientId, wish: NewAgreement, writing: Writing
) -> AgreementView:
    """Registers a signed agreement. From its start on, it takes the place of the one before it."""
    await rows.connection(writing.session, client_id)
    require_sound_agreement(wish.scopes, wish.purposes)
    begins = wish.valid_from or writing.now
    require_period(begins, wish.valid_until)
    if wish.board_number is not None and await writing.session.get(Board, wish.board_number) is None:
        raise InvalidInput(f"There is no board {wish.board_number}.")
    agreement = Agreement(
        agreement_id=str(uuid.uuid4()),
        client_id=client_id,
        **wish.model_dump(exclude={"valid_from", "scopes", "purposes"}),
        scopes=distinct(wish.scopes),
        purposes=distinct(wish.purposes),
        valid_from=begins,
        registered_at_revision=writing.write.revision,
        revision=writing.write.revision,
        created_at=writing.now,
    )
    writing.session.add(agreement)
    shown = AgreementView.model_validate(agreement)
    return _recorded(writing, caller, EventKind.AGREEMENT_SIGNED, shown)


@router.get("/agreements", operation_id="listAgreements")
async def list_agreements(caller: Operator, client_id: ClientId, reading: Reading) -> Page[AgreementView]:
    """Every agreement that was ever registered for a connection, oldest first, in one part."""
    await rows.connection(reading.session, client_id)
    found = await rows.agreements(reading.session, [client_id])
    return Page(items=[AgreementView.model_validate(agreement) for agreement in found], next=None)


@router.post("/agreements/{agreement_id}/_end", operation_id="endAgreement")
async def end_agreement(
    caller: Operator, client_id: ClientId, agreement_id: RecordId, wish: Ending, writing: Writing
) -> AgreementView:
    """Ends an agreement now."""
    agreement = await rows.agreement(writing.session, client_id, agreement_id)
    _end(agreement, writing)
    shown = AgreementView.model_validate(agreement)
    return _recorded(writing, caller, EventKind.AGREEMENT_ENDED, shown, wish.reason)


@router.post("/ground-rules", status_code=201, operation_id="recordGroundRule")
async def record_ground_rule(
    caller: Operator, client_id: ClientId, wish: NewGroundRule, writing: Writing
) -> GroundRuleView:
    """Records that a ground rule is kept, from when until when, and on what evidence."""
    await rows.connection(writing.session, client_id)
    begins = wish.valid_from or writing.now
    require_period(begins, wish.valid_until)
    rule = GroundRule(
        ground_rule_id=str(uuid.uuid4()),
        client_id=client_id,
        **wish.model_dump(exclude={"valid_from"}),
        valid_from=begins,
        checked_by=caller.claims.subject,
        revision=writing.write.revision,
        created_at=writing.now,
    )
    writing.session.add(rule)
    return _recorded(writing, caller, EventKind.GROUND_RULE_MET, GroundRuleView.model_validate(rule))


@router.get("/ground-rules", operation_id="listGroundRules")
async def list_ground_rules(caller: Operator, client_id: ClientId, reading: Reading) -> Page[GroundRuleView]:
    """Every fact on record about a connection's ground rules, oldest first, in one part."""
    await rows.connection(reading.session, client_id)
    found = await rows.ground_rules(reading.session, [client_id])
    return Page(items=[GroundRuleView.model_validate(rule) for rule in found], next=None)


@router.post("/ground-rules/{ground_rule_id}/_withdraw", operation_id="withdrawGroundRule")
async def withdraw_ground_rule(
    caller: Operator, client_id: ClientId, ground_rule_id: RecordId, wish: Ending, writing: Writing
) -> GroundRuleView:
    """Ends the fact now: from this answer on the connection is denied, unless another fact shows the same rule."""
    rule = await rows.ground_rule(writing.session, client_id, ground_rule_id)
    _end(rule, writing)
    shown = GroundRuleView.model_validate(rule)
    return _recorded(writing, caller, EventKind.GROUND_RULE_WITHDRAWN, shown, wish.reason)


def _end(fact: Agreement | GroundRule, writing: WriteRequest) -> None:
    """The fact holds no longer, from now on; one that had not begun never does."""
    if fact.ended or (fact.valid_until is not None and fact.valid_until <= writing.now):
        raise TransitionNotAllowed("It has ended already.")
    fact.ended = True
    fact.valid_until = max(writing.now, fact.valid_from)
    fact.revision = writing.write.revision


def _recorded(writing: WriteRequest, caller: Caller, kind: EventKind, shown: Fact, reason: str | None = None) -> Fact:
    state = shown.model_dump(mode="json", by_alias=True)
    record(writing.write, kind, caller.actor, state, client_id=shown.client_id, reason=reason)
    return writing.answer(shown)
