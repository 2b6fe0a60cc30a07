"""A school's register of processing (AVG art. 30(1)) at an instant, from its grants and agreements, told by the log.

events -> Known -> Register

What the log does not know, and the school must state itself, is left to it in so many words.
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
from models.past.latest_states import GrantThen, Known
from models.past.register_texts import BY_THE_SCHOOL, DATA_SUBJECTS, INSTRUCTION, SECURITY, Bilingual
from models.vocabulary import purposes, scopes
from models.vocabulary.periods import holds
from models.vocabulary.working_days import AMSTERDAM

Item = TypeVar("Item")

#: Agreements by the connection that they were signed for.
Signed = Mapping[str, Sequence[Agreement]]


@dataclass(frozen=True, slots=True)
class Controller:
    """The school with the board that it had then, as they are called at present; names of its locations by their codes.

    `board_note` says how far the log knows the board.
    """

    brin: str
    school_name: str
    board_number: str | None
    board_name: str | None
    board_note: Bilingual
    locations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who receives the data, as it was called then. `name` is the partner's."""

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
    """A scope with its fields by their UWLR names; `conditions` says of a field when it is released, if not always."""

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
    """A version of an agreement, with that of its privacybijsluiter."""

    agreement_id: str
    agreement_version: str
    privacybijsluiter_version: str


@dataclass(frozen=True, slots=True)
class AgreementThen:
    """The agreement that the school agreed to. `replaced_by` is the one that counted in its place, if another did.

    The last five are None where the log does not tell.
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
    """One grant, as art. 30(1) AVG asks for it. `ended_at` and `continued_by` are of one that has ended.

    `retention_days` is the least that an agreement which counts for it says, and `retention_from` the end of the
    processing, from when on they count: that of the grant, or of the last agreement where that came first. `delete_by`
    is the day in Amsterdam on which they are over. `continued_by` names the grants by which the same connection still
    receives data of the same place, or of a part of it: what those do not cover must be deleted by then all the same.
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
    """What the school had processed at `at`, and apart what had ended by then.

    It is made of the log up to `last_event`. What the log knows nothing of is the school's to state: how the controller
    is reached, with whom it is controller, who its data protection officer is, and its own measures of security.
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


def register_of(controller: Controller, known: Known, at: datetime, drawn_up_at: datetime, last_event: int) -> Register:
    """The register at `at`, by what the events up to then that concern the school have told."""
    given = (grant for grant in known.grants.values() if grant.status not in NOT_YET)
    signed = _by(known.agreements.values(), lambda agreement: agreement.client_id)
    listed = sorted((_processing(controller, known, signed, grant, at) for grant in given), key=_names)
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
    """What the register is ordered by."""
    recipient = processing.recipient
    names = recipient.name.casefold(), recipient.connection.casefold(), recipient.client_id
    return *names, processing.location or "", processing.granted_at.isoformat(), processing.grant_id


def _by(items: Iterable[Item], client_id: Callable[[Item], str]) -> Mapping[str, Sequence[Item]]:
    """The items by the connection that they are of, each in the order that it has here."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(client_id(item), []).append(item)
    return found


def _continued_by(ended: Processing, going_on: Iterable[Processing]) -> tuple[str, ...]:
    """Of those of the same connection that go on, no more than a school has places, the ones of this place."""
    return tuple(
        other.grant_id
        for other in going_on
        if None in (other.location, ended.location) or other.location == ended.location
    )


def _processing(controller: Controller, known: Known, signed: Signed, grant: GrantThen, at: datetime) -> Processing:
    state, status = grant.state, status_at(grant, at)
    recipient, chosen = _recipient(known, state), frozenset(state.scopes)
    own = signed.get(state.client_id, ())
    agreement = _agreement_then(controller, known, own, grant, at)
    ended_at = _ended_at(grant, status)
    retention_from, last = _end_of_processing(controller, own, grant, ended_at, at)
    retention_days = _least(known, agreement, last)
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


def _ended_at(grant: GrantThen, status: Status) -> datetime | None:
    """When it ended: what ended by time did so then, whenever that was written down."""
    if status in OPEN:
        return None
    return grant.valid_until if status is Status.EXPIRED else grant.changed_at


def _end_of_processing(
    controller: Controller, own: Sequence[Agreement], grant: GrantThen, ended_at: datetime | None, at: datetime
) -> tuple[datetime | None, Agreement | None]:
    """When the processing for the school ended, if it did, and the agreement that counted last."""
    # A school that has gone to another board since had the agreements of the board before it.
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


def _least(known: Known, agreed_to: AgreementThen | None, last: Agreement | None) -> int | None:
    if agreed_to is None or agreed_to.retention_days is None:
        return None
    # What another agreement allows more, the school has not agreed to; what it allows less, binds the partner.
    other = known.retention[last.agreement_id] if last is not None else None
    return agreed_to.retention_days if other is None else min(agreed_to.retention_days, other)


def _delete_by(retention_from: datetime | None, retention_days: int | None) -> date | None:
    if retention_from is None or retention_days is None:
        return None
    return retention_from.astimezone(AMSTERDAM).date() + timedelta(days=retention_days)


def _recipient(known: Known, grant: GrantState) -> Recipient:
    # What was granted before the log told of its connection is known by what the grant itself says.
    connection = known.connections.get(grant.client_id)
    kvk_number = connection.kvk_number if connection is not None else grant.partner.kvk_number
    partner = known.partners.get(kvk_number)
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
    known = purposes.PURPOSES.get(code)
    return PurposeOfProcessing(code, known.title if known is not None else code)


def _data(chosen: frozenset[str]) -> tuple[CategoryOfData, ...]:
    """The scopes in the catalogue's order; one that a later catalogue no longer has, at the end by its name alone."""
    known = [scope for name, scope in scopes.CATALOGUE.scopes.items() if name in chosen]
    unknown = sorted(chosen - {scope.name for scope in known})
    return (
        *(CategoryOfData(scope.name, scope.description, scope.fields, scope.conditions) for scope in known),
        *(CategoryOfData(name, name, (), {}) for name in unknown),
    )


def _agreement_then(
    controller: Controller, known: Known, own: Sequence[Agreement], grant: GrantThen, at: datetime
) -> AgreementThen | None:
    """The agreement that the school agreed to; where the grant does not tell, the one that counted when it began."""
    state, board = grant.state, controller.board_number
    agreed_to = known.agreements.get(state.agreement_id or "") or agreement_then(
        own, grant.board_when_granted or board, state.created_at, grant.granted_revision
    )
    if agreed_to is None:
        return None
    current = agreement_in_force(own, board, at)
    replaced = current is not None and current.agreement_id != agreed_to.agreement_id
    told = known.retention[agreed_to.agreement_id] is not None
    return AgreementThen(
        **_version(agreed_to),
        signed_on=agreed_to.signed_on,
        valid_from=agreed_to.valid_from,
        valid_until=agreed_to.valid_until,
        in_force=holds(agreed_to, at),
        replaced_by=Version(**_version(current)) if current is not None and replaced else None,
        categories=tuple(agreed_to.categories) if told else None,
        sub_processors=_sub_processors(agreed_to) if told else None,
        storage_countries=tuple(agreed_to.storage_countries) if told else None,
        outside_eea=tuple(sorted(extent(agreed_to).outside_eea)) if told else None,
        retention_days=known.retention[agreed_to.agreement_id],
    )


def _sub_processors(agreement: Agreement) -> tuple[SubProcessorThen, ...]:
    return tuple(SubProcessorThen(each["name"], each["country"]) for each in agreement.sub_processors)


def _version(agreement: Agreement) -> dict[str, str]:
    return {
        "agreement_id": agreement.agreement_id,
        "agreement_version": agreement.agreement_version,
        "privacybijsluiter_version": agreement.privacybijsluiter_version,
    }
