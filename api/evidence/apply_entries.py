"""Writes the state in an entry of the log to the tables, so that they are as that change left them.

Names of persons, evidence and texts were never in the log: they are not restored, and `RESTORED` takes their place.
Erasures are done again.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from api.store import outbox
from api.store.shredding import forget_person, forget_reason
from api.store.unit_of_work import Write
from models.consents.agreements import Agreement
from models.consents.deletions import DeletionDuty
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner, Stage
from models.consents.references import ConsentReference
from models.consents.reminders import Letter, Mail
from models.consents.requests import AccessRequest, RequestStatus
from models.consents.schools import Board, Location, School, SchoolKey
from models.consents.webhooks import SubscriptionState, WebhookSubscription, WhyDisabled
from models.log.entry_states import (
    AgreementState,
    ConnectionState,
    DutyState,
    ErasedActorState,
    ErasedReasonState,
    GrantState,
    LetterState,
    PartnerState,
    ReferenceState,
    RequestState,
    RuleState,
    SchoolKeyState,
    SchoolsState,
    WebhookState,
)
from models.log.events import Event
from models.vocabulary.event_kinds import (
    AGREEMENTS,
    CONNECTIONS,
    DELETIONS,
    GRANTS,
    PARTNERS,
    REFERENCES,
    REQUESTS,
    RULES,
    SCHOOLS,
    SUBSCRIPTIONS,
    EventKind,
)

#: The text in columns whose values the log does not hold, by design.
RESTORED: Final = "Hersteld uit het logboek."


class EntryReplay:
    """Applies events one by one, in order of number."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._session = write.session
        self._steps: list[tuple[frozenset[EventKind], Callable[[Event], Awaitable[None]]]] = [
            (GRANTS, self._grant),
            (REQUESTS, self._request),
            (DELETIONS, self._duty),
            (REFERENCES, self._reference),
            (CONNECTIONS, self._connection),
            (PARTNERS, self._partner),
            (RULES, self._rule),
            (AGREEMENTS, self._agreement),
            (SUBSCRIPTIONS, self._subscription),
            (SCHOOLS, self._schools),
            (frozenset({EventKind.SCHOOL_KEY_ADDED}), self._key_added),
            (frozenset({EventKind.REMINDER_GIVEN}), self._letter),
            (frozenset({EventKind.SCHOOL_KEY_REMOVED}), self._key_removed),
            (frozenset({EventKind.ACTOR_ERASED}), self._actor_erased),
            (frozenset({EventKind.REASON_ERASED}), self._reason_erased),
        ]

    async def apply(self, event: Event) -> None:
        """Writes the event's state to the tables. An event of a kind that no decision rests on changes nothing.

        Raises `StateInvalid` for a state that no change of its kind can have written.
        """
        for kinds, step in self._steps:
            if event.kind in kinds:
                await step(event)

    async def _grant(self, event: Event) -> None:
        state = GrantState.of(event.state)
        connection = await self._session.get_one(Connection, state.client_id)
        grant = await self._session.get(Grant, state.grant_id)
        if grant is None:
            grant = Grant(
                **_of(state, "grant_id", "client_id", "location", "created_at"),
                brin=state.school,
                granted_at_revision=event.revision,
                request_version=connection.request_version,
            )
        if event.kind in (EventKind.GRANT_GRANTED, EventKind.GRANT_AMENDED):
            grant.request_version = connection.request_version
        grant.scopes, grant.purposes = list(state.scopes), list(state.purposes)
        grant.status, grant.suspended_until = state.status, state.suspended_until
        grant.valid_from, grant.valid_until = state.valid_from, state.valid_until
        grant.agreement_id, grant.reconfirm_by = state.agreement_id, state.reconfirm_by
        _set_version(grant, state)
        self._session.add(grant)

    async def _request(self, event: Event) -> None:
        state = RequestState.of(event.state)
        request = await self._session.get(AccessRequest, state.request_id)
        if request is None:
            request = AccessRequest(
                **_of(state, "request_id", "client_id", "location"),
                brin=state.school,
                asked_in_entry=event.number,
                created_at=event.at,
            )
        request.required_scopes, request.optional_scopes = list(state.scopes.required), list(state.scopes.optional)
        request.purposes, request.status = list(state.purposes), state.status
        request.request_version, request.grant_id = state.request_version, state.grant_id
        request.version, request.revision, request.changed_at = state.version, event.revision, event.at
        if request.status != RequestStatus.OPEN:
            request.answered_in_entry = event.number
        self._session.add(request)

    async def _duty(self, event: Event) -> None:
        state = DutyState.of(event.state)
        duty = await self._session.get(DeletionDuty, state.deletion_of)
        if duty is None:
            duty = DeletionDuty(
                **_of(state, "client_id", "location", "scopes"), grant_id=state.deletion_of, brin=state.school
            )
        duty.ended_at, duty.due_at, duty.confirmed_at = state.ended_at, state.due_at, state.confirmed_at
        duty.revision = event.revision
        if event.kind == EventKind.DELETION_CONFIRMED:
            duty.confirmed_in_entry = event.number
        elif event.kind == EventKind.DELETION_LAPSED:
            duty.lapsed_at = event.at
        elif event.kind == EventKind.DELETION_OVERDUE:
            duty.overdue_told_at = event.at
        self._session.add(duty)

    async def _letter(self, event: Event) -> None:
        """Restores a letter as written, without a mail: whether it was sent is not known, and nobody gets it twice."""
        state = LetterState.of(event.state)
        letter = Letter(
            letter_id=state.letter_id,
            kind=state.recipient,
            recipient=event.brin or event.client_id or "",
            week=state.week,
            parts=state.parts,
            made_at=event.at,
            mail=Mail.NONE,
        )
        self._session.add(letter)

    async def _reference(self, event: Event) -> None:
        state = ReferenceState.of(event.state)
        found = await self._session.get(ConsentReference, state.reference_id)
        if found is None:
            found = ConsentReference(
                **_of(state, "reference_id", "client_id", "party", "reference"),
                brin=state.school,
                created_at=event.at,
            )
        found.request_id, found.grant_id = state.request_id, state.grant_id
        found.confirmed_at, found.revision = state.confirmed_at, event.revision
        self._session.add(found)

    async def _subscription(self, event: Event) -> None:
        """Restores a subscription. The log holds no URL: one set since the backup is lost, and its partner must set it
        again."""
        state = WebhookState.of(event.state)
        found = await self._session.get(WebhookSubscription, state.subscription_id)
        if event.kind == EventKind.WEBHOOK_REMOVED:
            if found is not None:
                await outbox.drop(self._session, found.subscription_id)
                await self._session.delete(found)
            return
        if found is None:
            found = WebhookSubscription(**_of(state, "subscription_id", "client_id"), url="", created_at=event.at)
        found.types = list(state.types) if state.types is not None else None
        found.state, found.disabled_reason, found.disabled_at = state.state, state.disabled_reason, state.disabled_at
        found.seed, found.former_seed, found.former_until = state.seed, state.former_seed, state.former_until
        found.version, found.revision, found.changed_at = state.version, event.revision, event.at
        if state.url_version != found.url_version:
            found.url, found.url_version = "", state.url_version
        if not found.url and found.active:
            found.state, found.disabled_reason = SubscriptionState.DISABLED, WhyDisabled.RESTORED
            found.disabled_at = found.changed_at
        self._session.add(found)
        if found.active:
            await outbox.resume(self._session, found.subscription_id, found.changed_at)
        else:
            await outbox.pause(self._session, found.subscription_id)

    async def _connection(self, event: Event) -> None:
        state = ConnectionState.of(event.state)
        connection = await self._session.get(Connection, state.client_id)
        if connection is None:
            connection = Connection(**_of(state, "client_id", "kvk_number", "profile", "recipient_role", "created_at"))
        connection.required_scopes = list(state.scopes.required)
        connection.optional_scopes = list(state.scopes.optional)
        connection.name, connection.purposes = state.name, list(state.purposes)
        connection.stage, connection.stopped_at = state.stage or Stage.LIVE, state.stopped_at
        connection.request_version = state.request_version
        _set_version(connection, state)
        self._session.add(connection)

    async def _partner(self, event: Event) -> None:
        state = PartnerState.of(event.state)
        partner = await self._session.get(Partner, state.kvk_number)
        if partner is None:
            partner = Partner(**_of(state, "kvk_number", "created_at"))
        partner.name, partner.stopped_at = state.name, state.stopped_at
        _set_version(partner, state)
        self._session.add(partner)

    async def _rule(self, event: Event) -> None:
        state = RuleState.of(event.state)
        rule = await self._session.get(GroundRule, state.ground_rule_id)
        if rule is None:
            rule = GroundRule(
                **_of(state, "ground_rule_id", "client_id", "rule", "kept", "source", "created_at"),
                **_of(state, "convenant_version", "convenant_status", "check_again_on"),
                checked_at=state.checked_at or state.created_at,
                evidence=RESTORED,
                checked_by=event.actor,
            )
        rule.ended = event.kind != EventKind.GROUND_RULE_MET
        rule.revision, rule.valid_from, rule.valid_until = state.revision, state.valid_from, state.valid_until
        self._session.add(rule)

    async def _agreement(self, event: Event) -> None:
        state = AgreementState.of(event.state)
        agreement = await self._session.get(Agreement, state.agreement_id)
        if agreement is None:
            agreement = Agreement(
                **_of(state, "agreement_id", "client_id", "board_number", "agreement_version", "signed_on"),
                **_of(state, "privacybijsluiter_version", "scopes", "purposes", "grace_until"),
                **_of(state, "sub_processors", "categories", "storage_countries"),
                retention_days=state.retention_days or 0,
                signatories=[{**each, "name": RESTORED, "function": None} for each in state.signatories],
                registered_at_revision=event.revision,
                created_at=event.at,
            )
        agreement.ended = event.kind == EventKind.AGREEMENT_ENDED
        agreement.revision = event.revision
        agreement.valid_from, agreement.valid_until = state.valid_from, state.valid_until
        self._session.add(agreement)

    async def _schools(self, event: Event) -> None:
        """Restores schools and locations without their names, which the next import of DUO's files adds."""
        listed = SchoolsState.of(event.state).listed
        if listed is None:
            return
        for brin, board_number, gone in listed.schools:
            if board_number is not None and await self._session.get(Board, board_number) is None:
                self._session.add(Board(number=board_number))
                await self._session.flush()
            school = await self._session.get(School, brin) or School(brin=brin, name=brin, revision=0)
            school.board_number, school.gone_at = board_number, event.at if gone else None
            school.revision = event.revision
            self._session.add(school)
        await self._session.flush()
        for code, gone in listed.locations:
            location = await self._session.get(Location, code)
            if location is None:
                location = Location(code=code, brin=code[:4], name=code, kinds=[], revision=0)
            location.gone_at, location.revision = event.at if gone else None, event.revision
            self._session.add(location)

    async def _key_added(self, event: Event) -> None:
        state = SchoolKeyState.of(event.state)
        self._session.add(SchoolKey(**_of(state, "schoolkey", "brin", "location", "revision", "created_at")))

    async def _key_removed(self, event: Event) -> None:
        key = await self._session.get(SchoolKey, SchoolKeyState.of(event.state).schoolkey)
        if key is not None:
            await self._session.delete(key)

    async def _actor_erased(self, event: Event) -> None:
        """Erases the name again: the backup still contains a name that was erased after it was made."""
        await forget_person(self._write, ErasedActorState.of(event.state).commitment)

    async def _reason_erased(self, event: Event) -> None:
        found = await self._session.get(Event, ErasedReasonState.of(event.state).number)
        if found is not None:
            await forget_reason(self._write, found)


def _of(state: Struct, *columns: str) -> dict[str, Any]:
    """Values for these columns of a new row, from members of the same name; tuples in the state become lists."""
    values = {name: getattr(state, name) for name in columns}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _set_version(row: Grant | Connection | Partner, state: GrantState | ConnectionState | PartnerState) -> None:
    row.version, row.revision, row.changed_at = state.version, state.revision, state.changed_at
