"""Routes of what is due or overdue for operators: reactions to applications, ground rule checks, breach notices."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Query

from api.queries import due_rows
from api.web.callers import Operator
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading
from api.web.schemas import Moment, Page, Wire
from models.consents.ground_rules import GroundRule
from models.consents.incidents import Incident
from models.consents.onboarding import Case
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.working_days import end_of

router = APIRouter(prefix="/v1/due", tags=["operators"])

#: The period ahead that the list covers unless `until` says otherwise.
AHEAD: Final = timedelta(days=30)


class DueKind(StrEnum):
    """What is due: a reaction to an application, a ground rule to check again, one that ends, or a breach notice."""

    APPLICATION_REACTION = "application_reaction"
    GROUND_RULE_CHECK = "ground_rule_check"
    GROUND_RULE_END = "ground_rule_end"
    BREACH_NOTICE = "breach_notice"


class DueItem(Wire):
    """Something that is due. `id` is the case's, the ground rule's or the incident's."""

    kind: DueKind
    due_at: Moment
    overdue: bool
    id: str
    client_id: str | None
    rule: GroundRuleName | None

    @property
    def key(self) -> str:
        """The key by which the list is sorted and paged: due instant, kind and id."""
        return f"{self.due_at.isoformat(timespec='microseconds')} {self.kind} {self.id}"


@router.get("", operation_id="listDue")
async def list_due(
    caller: Operator,
    reading: Reading,
    until: Annotated[Moment | None, Query(description="Only what is due by then; without it, in 30 days.")] = None,
    overdue: Annotated[bool, Query(description="Only what is overdue.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DueItem]:
    """What is due, the earliest first. A ground rule that a later fact shows too does not end."""
    horizon = reading.now if overdue else until or reading.now + AHEAD
    items = [
        *(_reaction(case, reading.now) for case in await due_rows.cases_waiting(reading.session, horizon)),
        *(_notice(incident, reading.now) for incident in await due_rows.notices_waiting(reading.session, horizon)),
        *checks(await due_rows.ground_rules_in_force(reading.session), reading.now, horizon),
    ]
    after = after_key(cursor)
    following = sorted((item for item in items if item.key > after), key=lambda item: item.key)
    shown, next_cursor = part(following[: limit + 1], limit, lambda item: item.key)
    return Page(items=list(shown), next=next_cursor)


def _reaction(case: Case, now: datetime) -> DueItem:
    return _item(DueKind.APPLICATION_REACTION, case.due_at, now, case.case_id, case.client_id)


def _notice(incident: Incident, now: datetime) -> DueItem:
    due_at = incident.notice_due_at or incident.created_at
    return _item(DueKind.BREACH_NOTICE, due_at, now, incident.incident_id, incident.client_id)


def checks(rules: Sequence[GroundRule], now: datetime, horizon: datetime) -> Iterator[DueItem]:
    """The due items of ground rules up to `horizon`: the repeat of the newest check, and the end of the last fact."""
    facts: dict[tuple[str, str], list[GroundRule]] = {}
    for fact in rules:
        facts.setdefault((fact.client_id, fact.rule), []).append(fact)
    for (client_id, rule), known in facts.items():
        newest = max(known, key=lambda fact: (fact.checked_at, fact.created_at))
        again = end_of(newest.check_again_on) if newest.check_again_on is not None else None
        ends, last = _last_end(known, now)
        for kind, due_at, fact in (
            (DueKind.GROUND_RULE_CHECK, again, newest),
            (DueKind.GROUND_RULE_END, ends, last),
        ):
            if due_at is not None and due_at <= horizon:
                yield _item(kind, due_at, now, fact.ground_rule_id, client_id, GroundRuleName(rule))


def _last_end(facts: Sequence[GroundRule], now: datetime) -> tuple[datetime | None, GroundRule]:
    """The instant at which, as known at `now`, no fact shows the rule any more, None for never; and the last fact."""
    shown = [fact for fact in facts if fact.valid_from <= now]
    last = max(shown or facts, key=_end)
    while last.valid_until is not None:
        further = [fact for fact in facts if fact.valid_from <= last.valid_until and _end(fact) > _end(last)]
        if not further:
            break
        last = max(further, key=_end)
    return last.valid_until, last


def _end(fact: GroundRule) -> datetime:
    return fact.valid_until or datetime.max.replace(tzinfo=UTC)


def _item(
    kind: DueKind, due_at: datetime, now: datetime, id_: str, client_id: str | None, rule: GroundRuleName | None = None
) -> DueItem:
    return DueItem(kind=kind, due_at=due_at, overdue=due_at <= now, id=id_, client_id=client_id, rule=rule)
