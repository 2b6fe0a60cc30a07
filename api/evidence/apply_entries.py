"""Puts into the tables what an entry of the log says, so that they are again as that change left them.

Names of persons, evidence and texts were never in the log: they are not there afterwards, and a note stands instead.
What was erased is erased again.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import Any, Final, TypeVar

from sqlmodel import SQLModel

from api.store import outbox
from api.store.shredding import forget_person, forget_reason
from api.store.unit_of_work import Write
from models.consents.agreements import Agreement
from models.consents.deletions import DeletionDuty
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner
from models.consents.references import ConsentReference
from models.consents.reminders import Letter, Mail
from models.consents.requests import AccessRequest, RequestStatus
from models.consents.schools import Board, Location, School, SchoolKey
from models.consents.webhooks import SubscriptionState, WebhookSubscription, WhyDisabled
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

#: Stands where the log holds nothing, by design.
RESTORED: Final = "Hersteld uit het logboek."

Entry = Mapping[str, Any]
Row = TypeVar("Row", bound=SQLModel)


class Restoring:
    """Applies entries one by one, in order of their numbers."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._session = write.session
        self._steps: list[tuple[frozenset[EventKind], Callable[[Entry], Awaitable[None]]]] = [
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

    async def apply(self, entry: Entry) -> None:
        """An entry of another kind is about nothing that decisions rest on."""
        for kinds, step in self._steps:
            if entry["kind"] in kinds:
                await step(entry)

    async def _grant(self, entry: Entry) -> None:
        state = entry["state"]
        connection = await self._session.get_one(Connection, state["clientId"])
        grant = await self._session.get(Grant, state["grantId"])
        if grant is None:
            grant = Grant(
                **_of(state, "grant_id", "client_id", "location"),
                brin=state["school"],
                granted_at_revision=entry["revision"],
                created_at=_instant(state["createdAt"]),
                request_version=connection.request_version,
            )
        if entry["kind"] in (EventKind.GRANT_GRANTED, EventKind.GRANT_AMENDED):
            grant.request_version = connection.request_version
        _set(grant, _of(state, "scopes", "purposes", "status", "agreement_id", "version", "revision"))
        _set(grant, _instants(state, "valid_from", "valid_until", "suspended_until", "reconfirm_by", "changed_at"))
        self._session.add(grant)

    async def _request(self, entry: Entry) -> None:
        state = entry["state"]
        request = await self._session.get(AccessRequest, state["requestId"])
        if request is None:
            request = AccessRequest(
                **_of(state, "request_id", "client_id", "location"),
                brin=state["school"],
                asked_in_entry=entry["number"],
                created_at=_instant(entry["at"]),
            )
        request.required_scopes = state["scopes"]["required"]
        request.optional_scopes = state["scopes"]["optional"]
        _set(request, _of(state, "purposes", "status", "request_version", "grant_id", "version"))
        request.revision, request.changed_at = entry["revision"], _instant(entry["at"])
        if request.status != RequestStatus.OPEN:
            request.answered_in_entry = entry["number"]
        self._session.add(request)

    async def _duty(self, entry: Entry) -> None:
        state = entry["state"]
        duty = await self._session.get(DeletionDuty, state["deletionOf"])
        if duty is None:
            named = {"grant_id": state["deletionOf"], "brin": state["school"]}
            duty = DeletionDuty(**named, **_of(state, "client_id", "location", "scopes"))
        _set(duty, _instants(state, "ended_at", "due_at", "confirmed_at"))
        duty.revision, moment = entry["revision"], _instant(entry["at"])
        if entry["kind"] == EventKind.DELETION_CONFIRMED:
            duty.confirmed_in_entry = entry["number"]
        elif entry["kind"] == EventKind.DELETION_LAPSED:
            duty.lapsed_at = moment
        elif entry["kind"] == EventKind.DELETION_OVERDUE:
            duty.overdue_told_at = moment
        self._session.add(duty)

    async def _letter(self, entry: Entry) -> None:
        """That it was written. Whether it was sent is not known, and nobody gets it twice."""
        state = entry["state"]
        letter = Letter(
            letter_id=state["letterId"],
            kind=state["recipient"],
            recipient=entry["brin"] or entry["clientId"] or "",
            week=date.fromisoformat(state["week"]),
            parts=state["parts"],
            made_at=_instant(entry["at"]),
            mail=Mail.NONE,
        )
        self._session.add(letter)

    async def _reference(self, entry: Entry) -> None:
        state = entry["state"]
        found = await self._session.get(ConsentReference, state["referenceId"])
        if found is None:
            found = ConsentReference(
                **_of(state, "reference_id", "client_id", "party", "reference"),
                brin=state["school"],
                created_at=_instant(entry["at"]),
            )
        _set(found, {**_of(state, "request_id", "grant_id"), **_instants(state, "confirmed_at")})
        found.revision = entry["revision"]
        self._session.add(found)

    async def _subscription(self, entry: Entry) -> None:
        """A URL that was given since the backup is not known: the log does not hold it, and its partner must."""
        state = entry["state"]
        found = await self._session.get(WebhookSubscription, state["subscriptionId"])
        if entry["kind"] == EventKind.WEBHOOK_REMOVED:
            if found is not None:
                await outbox.drop(self._session, found.subscription_id)
                await self._session.delete(found)
            return
        if found is None:
            found = WebhookSubscription(
                **_of(state, "subscription_id", "client_id"), url="", created_at=_instant(entry["at"])
            )
        _set(found, _of(state, "types", "state", "disabled_reason", "seed", "former_seed", "version"))
        _set(found, _instants(state, "disabled_at", "former_until"))
        found.revision, found.changed_at = entry["revision"], _instant(entry["at"])
        if state["urlVersion"] != found.url_version:
            found.url, found.url_version = "", state["urlVersion"]
        if not found.url and found.active:
            found.state, found.disabled_reason = SubscriptionState.DISABLED, WhyDisabled.RESTORED
            found.disabled_at = found.changed_at
        self._session.add(found)
        if found.active:
            await outbox.resume(self._session, found.subscription_id, found.changed_at)
        else:
            await outbox.pause(self._session, found.subscription_id)

    async def _connection(self, entry: Entry) -> None:
        state = entry["state"]
        connection = await self._session.get(Connection, state["clientId"])
        if connection is None:
            created = _instants(state, "created_at")
            connection = Connection(**_of(state, "client_id", "kvk_number", "profile", "recipient_role"), **created)
        connection.required_scopes = state["scopes"]["required"]
        connection.optional_scopes = state["scopes"]["optional"]
        _set(connection, _of(state, "name", "purposes", "stage", "request_version", "version", "revision"))
        _set(connection, _instants(state, "stopped_at", "changed_at"))
        self._session.add(connection)

    async def _partner(self, entry: Entry) -> None:
        state = entry["state"]
        partner = await self._session.get(Partner, state["kvkNumber"])
        if partner is None:
            partner = Partner(kvk_number=state["kvkNumber"], **_instants(state, "created_at"))
        _set(partner, _of(state, "name", "version", "revision"))
        _set(partner, _instants(state, "stopped_at", "changed_at"))
        self._session.add(partner)

    async def _rule(self, entry: Entry) -> None:
        state = entry["state"]
        rule = await self._session.get(GroundRule, state["groundRuleId"])
        if rule is None:
            again = state["checkAgainOn"]
            rule = GroundRule(
                **_of(state, "ground_rule_id", "client_id", "rule", "kept", "source"),
                **_of(state, "convenant_version", "convenant_status"),
                **_instants(state, "checked_at", "created_at"),
                check_again_on=date.fromisoformat(again) if again is not None else None,
                evidence=RESTORED,
                checked_by=entry["actor"],
            )
        rule.ended = entry["kind"] != EventKind.GROUND_RULE_MET
        rule.revision = state["revision"]
        _set(rule, _instants(state, "valid_from", "valid_until"))
        self._session.add(rule)

    async def _agreement(self, entry: Entry) -> None:
        state = entry["state"]
        agreement = await self._session.get(Agreement, state["agreementId"])
        if agreement is None:
            agreement = Agreement(
                **_of(state, "agreement_id", "client_id", "board_number", "agreement_version", "scopes", "purposes"),
                **_of(state, "privacybijsluiter_version", "sub_processors", "retention_days", "categories"),
                **_of(state, "storage_countries"),
                **_instants(state, "grace_until"),
                signed_on=date.fromisoformat(state["signedOn"]),
                signatories=[{**each, "name": RESTORED, "function": None} for each in state["signatories"]],
                registered_at_revision=entry["revision"],
                created_at=_instant(entry["at"]),
            )
        agreement.ended = entry["kind"] == EventKind.AGREEMENT_ENDED
        agreement.revision = entry["revision"]
        _set(agreement, _instants(state, "valid_from", "valid_until"))
        self._session.add(agreement)

    async def _schools(self, entry: Entry) -> None:
        """Schools and locations without their names, which the next import of DUO's files brings back."""
        listed = entry["state"].get("listed", {})
        moment = _instant(entry["at"])
        for brin, board_number, gone in listed.get("schools", ()):
            if board_number is not None and await self._session.get(Board, board_number) is None:
                self._session.add(Board(number=board_number))
                await self._session.flush()
            school = await self._session.get(School, brin) or School(brin=brin, name=brin, revision=0)
            school.board_number, school.gone_at = board_number, moment if gone else None
            school.revision = entry["revision"]
            self._session.add(school)
        await self._session.flush()
        for code, gone in listed.get("locations", ()):
            location = await self._session.get(Location, code)
            if location is None:
                location = Location(code=code, brin=code[:4], name=code, kinds=[], revision=0)
            location.gone_at, location.revision = moment if gone else None, entry["revision"]
            self._session.add(location)

    async def _key_added(self, entry: Entry) -> None:
        state = entry["state"]
        key = SchoolKey(**_of(state, "schoolkey", "brin", "location", "revision"), **_instants(state, "created_at"))
        self._session.add(key)

    async def _key_removed(self, entry: Entry) -> None:
        key = await self._session.get(SchoolKey, entry["state"]["schoolkey"])
        if key is not None:
            await self._session.delete(key)

    async def _actor_erased(self, entry: Entry) -> None:
        """What was erased since the backup was made is in it, and is erased again."""
        await forget_person(self._write, entry["state"]["commitment"])

    async def _reason_erased(self, entry: Entry) -> None:
        event = await self._session.get(Event, entry["state"]["number"])
        if event is not None:
            await forget_reason(self._write, event)


def _of(state: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """These columns, from the members that bear their names in camel case."""
    return {name: state.get(_camel(name)) for name in names}


def _instants(state: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same for instants."""
    return {name: _instant(value) if value is not None else None for name, value in _of(state, *names).items()}


def _set(row: Row, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _instant(value: str) -> datetime:
    return datetime.fromisoformat(value)
