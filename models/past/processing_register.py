"""A school's register of processing (AVG art. 30(1)) at an instant, made from the grants and agreements in the log.

events -> LatestStates -> Register

For items that the log does not hold and the school must state itself, the register says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TypeVar

from models.consents.agreements import Agreement, agreement_then, extent
from models.consents.partners import RecipientRole, Stage
from models.decision.agreement_in_force import agreement_in_force
from models.decision.grant_status import NOT_YET, OPEN, Status, status_at
from models.log.entry_states import GrantState
from models.past.latest_states import LatestGrant, LatestStates
from models.past.register_texts import BY_THE_SCHOOL, DATA_SUBJECTS, INSTRUCTION, SECURITY, Bilingual
from models.vocabulary import purposes, scopes
from models.vocabulary.periods import holds
from models.vocabulary.working_days import AMSTERDAM

Item = TypeVar("Item")

#: Agreements by client id of the connection that they were signed for.
Signed = Mapping[str, Sequence[Agreement]]


@dataclass(frozen=True, slots=True)
class Controller:
    """The school with its board at the instant of the register, both by their present names; `locations` has the names
    of its locations by code.

    `board_note` says whether the board is taken from the log.
    """

    brin: str
    school_name: str
    board_number: str | None
    board_name: str | None
    board_note: Bilingual
    locations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipient:
    """The recipient of the data, by the names of that instant. `name` is the partner's."""

    name: str
    kvk_number: str
    client_id: str
    connection: str
    recipient_role: RecipientRole
    stage: Stage | None
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True)
class PurposeOfProcessing:
    code: str
    title: str


@dataclass(frozen=True, slots=True)
class CategoryOfData:
    """A scope with its fields by UWLR name; `conditions` says, by field, when a field is released, if not always."""

    scope: str
    description: str
    fields: tuple[str, ...]
    conditions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SubProcessorThen:
    name: str
    country: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an agreement, and the version of its privacybijsluiter."""

    agreement_id: str
    agreement_version: str
    privacybijsluiter_version: str


@dataclass(frozen=True, slots=True)
class AgreementThen:
    """The agreement that the school agreed to. `replaced_by` is the agreement in force instead of it, if another is.

    The last five members are None where the log does not hold them.
    """

    agreement_id: str
    agreement_version: str
    privacybijsluiter_version: str
    signed_on: date
    valid_from: datetime
    valid_until: datetime | None
    in_force: bool
    replaced_by: Version | None
    categories: tuple[str, ...] | None
    sub_processors: tuple[SubProcessorThen, ...] | None
    storage_countries: tuple[str, ...] | None
    outside_eea: tuple[str, ...] | None
    retention_days: int | None


@dataclass(frozen=True, slots=True)
class Processing:
    """The processing under one grant, with the items of art. 30(1) AVG. `ended_at` and `continued_by` are set when the
    grant has ended.

    `retention_days` is the shortest retention period of the agreements that count for the grant. It runs from
    `retention_from`, the end of the processing: the end of the grant, or of the last agreement if that came first.
    `delete_by` is the day in Amsterdam on which it is over. `continued_by` names the grants under which the same
    connection still receives data of the same place or of a part of it; data that those do not cover must still be
    deleted by that day.
    """

    grant_id: str
    status: Status
    location: str | None
    location_name: str | None
    recipient: Recipient
    purposes: tuple[PurposeOfProcessing, ...]
    instruction: Bilingual
    lawful_basis: Bilingual
    data_subjects: tuple[Bilingual, ...]
    data: tuple[CategoryOfData, ...]
    agreement: AgreementThen | None
    security: Bilingual
    granted_at: datetime
    valid_from: datetime
    valid_until: datetime | None
    suspended_until: datetime | None
    reconfirm_by: datetime | None
    ended_at: datetime | None
    retention_days: int | None
    retention_from: datetime | None
    delete_by: date | None
    continued_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """The school's processings at `at`, and separately those that had ended by then.

    The register is made from the log up to `last_event`. The log does not hold the controller's contact details, its
    joint controllers, its data protection officer and its own measures of security: the school must state them.
    """

    controller: Controller
    at: datetime
    drawn_up_at: datetime
    last_event: int
    contact: Bilingual
    joint_controllers: Bilingual
    data_protection_officer: Bilingual
    security: Bilingual
    processings: tuple[Processing, ...]
    ended: tuple[Processing, ...]


def register_of(
    controller: Controller, latest: LatestStates, at: datetime, drawn_up_at: datetime, last_event: int
) -> Register:
    """The register at `at`; `latest` was made from the events up to then that concern the school."""
    given = (grant for grant in latest.grants.values() if grant.status not in NOT_YET)
    signed = _by(latest.agreements.values(), lambda agreement: agreement.client_id)
    listed = sorted((_processing(controller, latest, signed, grant, at) for grant in given), key=_names)
    going_on = tuple(each for each in listed if each.ended_at is None)
    received = _by(going_on, lambda each: each.recipient.client_id)
    ended = [
        replace(each, continued_by=_continued_by(each, received.get(each.recipient.client_id, ())))
        for each in listed
        if each.ended_at is not None
    ]
    return Register(
        controller=controller,
        at=at,
        drawn_up_at=drawn_up_at,
        last_event=last_event,
        contact=BY_THE_SCHOOL,
        joint_controllers=BY_THE_SCHOOL,
        data_protection_officer=BY_THE_SCHOOL,
        security=BY_THE_SCHOOL,
        processings=going_on,
        ended=tuple(sorted(ended, key=lambda each: each.ended_at or at)),
    )


def _names(processing: Processing) -> tuple[str, ...]:
    """The sort key of the register."""
    recipient = processing.recipient
    names = recipient.name.casefold(), recipient.connection.casefold(), recipient.client_id
    return *names, processing.location or "", processing.granted_at.isoformat(), processing.grant_id


def _by(items: Iterable[Item], client_id: Callable[[Item], str]) -> Mapping[str, Sequence[Item]]:
    """The items grouped by the client id of their connection, in their given order."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(client_id(item), []).append(item)
    return found


def _continued_by(ended: Processing, going_on: Iterable[Processing]) -> tuple[str, ...]:
    """The grants of the processings in `going_on`, all of the same connection, whose place has data in common with the
    ended one: the same location, or the whole school for either of the two. `going_on` holds at most one processing for
    each place of the school."""
    return tuple(
        other.grant_id
        for other in going_on
        if None in (other.location, ended.location) or other.location == ended.location
    )


def _processing(
    controller: Controller, latest: LatestStates, signed: Signed, grant: LatestGrant, at: datetime
) -> Processing:
    state, status = grant.state, status_at(grant, at)
    recipient, chosen = _recipient(latest, state), frozenset(state.scopes)
    own = signed.get(state.client_id, ())
    agreement = _agreement_then(controller, latest, own, grant, at)
    ended_at = _ended_at(grant, status)
    retention_from, last = _end_of_processing(controller, own, grant, ended_at, at)
    retention_days = _retention_days(latest, agreement, last)
    return Processing(
        grant_id=state.grant_id,
        status=status,
        location=state.location,
        location_name=controller.locations.get(state.location or ""),
        recipient=recipient,
        purposes=tuple(_purpose(code) for code in state.purposes),
        instruction=INSTRUCTION[recipient.recipient_role],
        lawful_basis=BY_THE_SCHOOL,
        data_subjects=tuple(who for kind, who in DATA_SUBJECTS.items() if scopes.scopes_of_type(chosen, kind)),
        data=_data(chosen),
        agreement=agreement,
        security=SECURITY if agreement is not None else BY_THE_SCHOOL,
        granted_at=state.created_at,
        valid_from=state.valid_from,
        valid_until=grant.valid_until,
        suspended_until=grant.suspended_until if status is Status.SUSPENDED else None,
        reconfirm_by=grant.reconfirm_by if ended_at is None else None,
        ended_at=ended_at,
        retention_days=retention_days,
        retention_from=retention_from,
        delete_by=_delete_by(retention_from, retention_days),
    )


def _ended_at(grant: LatestGrant, status: Status) -> datetime | None:
    """When the grant ended. An expired grant ended at its `valid_until`, even if its event was written later."""
    if status in OPEN:
        return None
    return grant.valid_until if status is Status.EXPIRED else grant.changed_at


def _end_of_processing(
    controller: Controller, own: Sequence[Agreement], grant: LatestGrant, ended_at: datetime | None, at: datetime
) -> tuple[datetime | None, Agreement | None]:
    """When the processing for the school ended, or None, and the last agreement that counted for it, or None."""
    # A school that has moved to another board since then had the agreements of its board at that time.
    board = controller.board_number if ended_at is None else grant.board_when_changed or controller.board_number
    until = ended_at or at
    counted = agreement_then(own, board, until)
    if counted is not None:
        return ended_at, counted
    over = [
        (each.valid_until, each)
        for each in own
        if each.board_number in (None, board)
        and each.valid_until is not None
        and each.valid_from < each.valid_until <= until
    ]
    return max(over, key=lambda each: each[0], default=(ended_at, None))


def _retention_days(latest: LatestStates, agreed_to: AgreementThen | None, last: Agreement | None) -> int | None:
    if agreed_to is None or agreed_to.retention_days is None:
        return None
    # The shorter period: the school has not agreed to a longer one, and a shorter one in a later agreement binds the
    # partner.
    other = latest.retention[last.agreement_id] if last is not None else None
    return agreed_to.retention_days if other is None else min(agreed_to.retention_days, other)


def _delete_by(retention_from: datetime | None, retention_days: int | None) -> date | None:
    if retention_from is None or retention_days is None:
        return None
    return retention_from.astimezone(AMSTERDAM).date() + timedelta(days=retention_days)


def _recipient(latest: LatestStates, grant: GrantState) -> Recipient:
    # A grant that is older than the first entry about its connection is described by its own state.
    connection = latest.connections.get(grant.client_id)
    kvk_number = connection.kvk_number if connection is not None else grant.partner.kvk_number
    partner = latest.partners.get(kvk_number)
    stops = [each.stopped_at for each in (connection, partner) if each is not None and each.stopped_at is not None]
    return Recipient(
        name=partner.name if partner is not None else grant.partner.name,
        kvk_number=kvk_number,
        client_id=grant.client_id,
        connection=connection.name if connection is not None else grant.client_id,
        recipient_role=RecipientRole(connection.recipient_role if connection is not None else RecipientRole.PROCESSOR),
        stage=Stage(connection.stage) if connection is not None and connection.stage is not None else None,
        stopped_at=min(stops, default=None),
    )


def _purpose(code: str) -> PurposeOfProcessing:
    purpose = purposes.PURPOSES.get(code)
    return PurposeOfProcessing(code, purpose.title if purpose is not None else code)


def _data(chosen: frozenset[str]) -> tuple[CategoryOfData, ...]:
    """The scopes in the catalogue's order. A scope that the present catalogue lacks comes last, by its name alone."""
    in_catalogue = [scope for name, scope in scopes.CATALOGUE.scopes.items() if name in chosen]
    others = sorted(chosen - {scope.name for scope in in_catalogue})
    return (
        *(CategoryOfData(scope.name, scope.description, scope.fields, scope.conditions) for scope in in_catalogue),
        *(CategoryOfData(name, name, (), {}) for name in others),
    )


def _agreement_then(
    controller: Controller, latest: LatestStates, own: Sequence[Agreement], grant: LatestGrant, at: datetime
) -> AgreementThen | None:
    """The agreement that the school agreed to; if the grant names none, the one that counted when the grant began."""
    state, board = grant.state, controller.board_number
    agreed_to = latest.agreements.get(state.agreement_id or "") or agreement_then(
        own, grant.board_when_granted or board, state.created_at, grant.granted_revision
    )
    if agreed_to is None:
        return None
    current = agreement_in_force(own, board, at)
    replaced = current is not None and current.agreement_id != agreed_to.agreement_id
    in_log = latest.retention[agreed_to.agreement_id] is not None
    return AgreementThen(
        **_version(agreed_to),
        signed_on=agreed_to.signed_on,
        valid_from=agreed_to.valid_from,
        valid_until=agreed_to.valid_until,
        in_force=holds(agreed_to, at),
        replaced_by=Version(**_version(current)) if current is not None and replaced else None,
        categories=tuple(agreed_to.categories) if in_log else None,
        sub_processors=_sub_processors(agreed_to) if in_log else None,
        storage_countries=tuple(agreed_to.storage_countries) if in_log else None,
        outside_eea=tuple(sorted(extent(agreed_to).outside_eea)) if in_log else None,
        retention_days=latest.retention[agreed_to.agreement_id],
    )


def _sub_processors(agreement: Agreement) -> tuple[SubProcessorThen, ...]:
    return tuple(SubProcessorThen(each["name"], each["country"]) for each in agreement.sub_processors)


def _version(agreement: Agreement) -> dict[str, str]:
    return {
        "agreement_id": agreement.agreement_id,
        "agreement_version": agreement.agreement_version,
        "privacybijsluiter_version": agreement.privacybijsluiter_version,
    }
