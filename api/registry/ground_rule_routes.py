"""Routes of ground rules: operators record checks of the rules that a connection must keep, each a dated fact."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from api.queries import registry_rows
from api.queries.session import Session
from api.security import sealing
from api.store.events import record
from api.web.callers import Caller, Operator, OwnConnection
from api.web.read_request import Reading
from api.web.schemas import Day, Evidence, Moment, Name, Page, Reason, RecordId, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.ground_rules import GroundRule, require_convenant
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId
from models.vocabulary.periods import end_now, has_ended, require_period
from models.vocabulary.refusals import InvalidPeriod

router = APIRouter(prefix="/v1/connections/{client_id}/ground-rules", tags=["operators"])

GroundRuleId = Annotated[RecordId, Path()]


class ConvenantStatus(WireIn):
    """What the register of the privacyconvenant said: of which version, and as what."""

    version: Annotated[str, Field(max_length=8, examples=["4.0"])]
    status: Annotated[str, Field(max_length=16, examples=["deelnemer"])]


class NewGroundRule(WireIn):
    """A check of a ground rule: what was checked, against which source, when, and when to check again.

    With `kept: false` it was found not to be kept: whatever showed that it was ends now.
    """

    rule: GroundRuleName
    kept: bool = True
    evidence: Evidence
    source: Name
    checked_at: Moment | None = None
    check_again_on: Day | None = None
    convenant: ConvenantStatus | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class GroundRuleWithdrawal(WireIn):
    """An end, from now on."""

    reason: Reason


class GroundRuleView(Wire):
    """A check on record. `checkedBy` is told to operators alone, until it is erased."""

    ground_rule_id: str
    client_id: str
    rule: GroundRuleName
    kept: bool
    evidence: str
    source: str
    checked_by: str | None
    checked_at: Moment
    check_again_on: Day | None
    convenant_version: str | None
    convenant_status: str | None
    valid_from: Moment
    valid_until: Moment | None
    revision: int
    created_at: Moment


@router.post("", status_code=201, operation_id="recordGroundRule")
async def record_ground_rule(
    caller: Operator, client_id: ClientId, wish: NewGroundRule, writing: Writing
) -> GroundRuleView:
    """Records a check: that a ground rule is kept, from when until when, or that it is not, from now on."""
    await registry_rows.connection(writing.session, client_id)
    begins, checked_at = wish.valid_from or writing.now, wish.checked_at or writing.now
    require_period(begins, wish.valid_until)
    if checked_at > writing.now:
        raise InvalidPeriod("checkedAt must not be in the future.")
    convenant = wish.convenant
    rule = GroundRule(
        ground_rule_id=str(uuid.uuid4()),
        client_id=client_id,
        rule=wish.rule,
        kept=wish.kept,
        evidence=wish.evidence,
        source=wish.source,
        checked_by=await sealing.person(writing.session, caller.claims.subject),
        checked_at=checked_at,
        check_again_on=wish.check_again_on,
        convenant_version=convenant.version if convenant is not None else None,
        convenant_status=convenant.status if convenant is not None else None,
        valid_from=begins,
        valid_until=wish.valid_until,
        revision=writing.write.revision,
        created_at=writing.now,
    )
    require_convenant(rule.rule, rule.convenant_version, rule.convenant_status, kept=rule.kept)
    if not rule.kept:
        await _withdraw_facts(writing, caller, rule)
    writing.session.add(rule)
    return await _record(
        writing, caller, EventKind.GROUND_RULE_MET if rule.kept else EventKind.GROUND_RULE_NOT_KEPT, rule
    )


@router.get("", operation_id="listGroundRules")
async def list_ground_rules(caller: OwnConnection, client_id: ClientId, reading: Reading) -> Page[GroundRuleView]:
    """Every check on record of a connection's ground rules, oldest first, in one part."""
    await registry_rows.connection(reading.session, client_id)
    rules = await registry_rows.ground_rules(reading.session, [client_id])
    names = await _checkers(reading.session, rules, caller)
    return Page(items=[_view(rule, names) for rule in rules], next=None)


@router.post("/{ground_rule_id}/_withdraw", operation_id="withdrawGroundRule")
async def withdraw_ground_rule(
    caller: Operator, client_id: ClientId, ground_rule_id: GroundRuleId, wish: GroundRuleWithdrawal, writing: Writing
) -> GroundRuleView:
    """Ends the fact now: from this answer on the connection is denied, unless another fact shows the same rule."""
    rule = await registry_rows.ground_rule(writing.session, client_id, ground_rule_id)
    end_now(rule, writing.now)
    rule.revision = writing.write.revision
    return await _record(writing, caller, EventKind.GROUND_RULE_WITHDRAWN, rule, wish.reason)


async def _withdraw_facts(writing: WriteRequest, caller: Caller, check: GroundRule) -> None:
    """Withdraws every fact that shows the rule of a check that found it not kept; the check itself has no period."""
    for fact in await registry_rows.ground_rules(writing.session, [check.client_id]):
        if fact.rule == check.rule and not has_ended(fact, writing.now):
            end_now(fact, writing.now)
            fact.revision = writing.write.revision
            await _record(writing, caller, EventKind.GROUND_RULE_WITHDRAWN, fact, "A later check found it not kept.")
    check.valid_from = check.valid_until = writing.now
    check.ended = True


async def _record(
    writing: WriteRequest, caller: Caller, kind: EventKind, rule: GroundRule, reason: str | None = None
) -> GroundRuleView:
    view = _view(rule, await _checkers(writing.session, [rule], caller))
    # The checker is the event's actor; the evidence is left out, since an event would keep free text for ever.
    state = view.model_dump(mode="json", by_alias=True, exclude={"checked_by", "evidence"})
    record(writing.write, kind, caller.actor, state, client_id=view.client_id, reason=reason)
    return writing.answer(view)


async def _checkers(session: Session, rules: Sequence[GroundRule], caller: Caller) -> Mapping[str, str]:
    """The names of the checkers by their commitments; empty for a partner, which may not see them."""
    return await sealing.named(session, [rule.checked_by for rule in rules]) if caller.only is None else {}


def _view(rule: GroundRule, names: Mapping[str, str]) -> GroundRuleView:
    return GroundRuleView.model_validate(rule).model_copy(update={"checked_by": names.get(rule.checked_by)})
