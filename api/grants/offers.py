"""Offers: a connection with its ground rules and the agreement in force for a board, as schools see it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, TypeVar

from pydantic import Field
from sqlmodel.ext.asyncio.session import AsyncSession

from api.grants.grant_lifecycle import PartnerName
from api.queries import registry_rows
from api.web.schemas import Moment, Wire
from models.consents.agreements import Agreement, Party, agreement_then, next_wider_agreement, widened
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner, RecipientRole, Stage, is_stopped
from models.decision.agreement_in_force import agreement_in_force
from models.decision.kept_rules import ALL_RULES, GroundRuleName, rules_kept
from models.vocabulary import scopes

Fact = TypeVar("Fact", GroundRule, Agreement)


class RequestedScopes(Wire):
    required: list[str]
    optional: list[str]


class Signatory(Wire):
    """Who signed for one of the two parties."""

    party: Party
    name: str
    function: str | None
    signed_on: date


class SubProcessor(Wire):
    name: str
    country: str


class AgreementView(Wire):
    """A signed verwerkersovereenkomst with its privacybijsluiter. Without a board it holds for every school."""

    agreement_id: str
    client_id: str
    board_number: str | None
    agreement_version: str
    privacybijsluiter_version: str
    scopes: list[str]
    purposes: list[str]
    signed_on: date
    signatories: list[Signatory]
    sub_processors: list[SubProcessor]
    retention_days: int
    categories: list[str]
    storage_countries: list[str]
    grace_until: Moment | None
    valid_from: Moment
    valid_until: Moment | None


class GroundRuleState(Wire):
    """Whether a ground rule is kept now, and by which evidence."""

    rule: GroundRuleName
    kept: bool
    valid_from: Moment | None
    valid_until: Moment | None
    source: str | None
    checked_at: Moment | None
    check_again_on: date | None
    convenant_version: str | None
    convenant_status: str | None


class Release(Wire):
    """What may be released of one type of data."""

    type: str
    scopes: list[str]
    fields: Annotated[list[str], Field(description="UWLR names, relative to the type's element.")]


class ConnectionView(Wire):
    """A connection as a school sees it."""

    client_id: str
    name: str
    partner: PartnerName
    profile: str
    recipient_role: RecipientRole
    scopes: RequestedScopes
    purposes: list[str]
    agreement: AgreementView | None
    ground_rules: list[GroundRuleState]
    stage: Stage
    stopped: Annotated[bool, Field(description="An emergency stop denies it everywhere.")]
    eligible: Annotated[bool, Field(description="It can be granted: placed, not stopped, rules and agreement kept.")]
    releases: Annotated[list[Release], Field(description="What it would release if all of it were granted.")]


class Difference(Wire):
    """Scopes and purposes that one of two has and the other has not."""

    scopes: list[str]
    purposes: list[str]


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts about one connection, for one board at `now`, that a school's choice is checked against."""

    connection: Connection
    partner: Partner
    ground_rules: tuple[GroundRule, ...]
    agreement: Agreement | None
    #: All agreements that were ever registered for the connection.
    agreements: tuple[Agreement, ...]
    board_number: str | None
    now: datetime

    @property
    def kept(self) -> frozenset[str]:
        return rules_kept(self.ground_rules, self.now)

    @property
    def eligible(self) -> bool:
        return (
            self.agreement is not None
            and self.kept == ALL_RULES
            and self.connection.visible
            and not is_stopped(self.connection, self.partner)
        )

    def allows_more_than_agreed(self, grant: Grant) -> bool:
        """Whether the agreement in force allows more than the one that the school agreed to, or that one is unknown."""
        if self.agreement is None or grant.agreement_id == self.agreement.agreement_id:
            return False
        agreed_to = self.agreed_to(grant)
        return agreed_to is None or not widened(agreed_to, self.agreement).is_nothing

    def agreed_to(self, grant: Grant) -> Agreement | None:
        """The agreement that the school agreed to; where the grant names none, the one in force when it was given."""
        known = next((each for each in self.agreements if each.agreement_id == grant.agreement_id), None)
        return known or agreement_then(self.agreements, self.board_number, grant.created_at, grant.granted_at_revision)

    def reconfirm_by(self, agreed_to: Agreement) -> datetime | None:
        """The instant from which a grant under this agreement needs reconfirmation, by the agreements on record."""
        successor = next_wider_agreement(self.agreements, agreed_to, self.board_number, self.now)
        return successor[1] if successor is not None else None


async def offers_to_board(
    session: AsyncSession, connections: Sequence[Connection], board_number: str | None, now: datetime
) -> list[Offer]:
    """The offer of each connection to the schools of a board; with None, to schools without a board."""
    client_ids = [connection.client_id for connection in connections]
    partners = await registry_rows.partners_of(session, connections)
    rules = by_client(await registry_rows.ground_rules(session, client_ids))
    agreements = by_client(await registry_rows.agreements(session, client_ids))
    return [
        Offer(
            connection=connection,
            partner=partners[connection.kvk_number],
            ground_rules=tuple(rules.get(connection.client_id, ())),
            agreement=agreement_in_force(agreements.get(connection.client_id, ()), board_number, now),
            agreements=tuple(agreements.get(connection.client_id, ())),
            board_number=board_number,
            now=now,
        )
        for connection in connections
    ]


def view_members(offer: Offer) -> dict[str, object]:
    """The members of a `ConnectionView`."""
    connection, agreement = offer.connection, offer.agreement
    return {
        "client_id": connection.client_id,
        "name": connection.name,
        "partner": PartnerName.model_validate(offer.partner),
        "profile": connection.profile,
        "recipient_role": RecipientRole(connection.recipient_role),
        "scopes": RequestedScopes(required=connection.required_scopes, optional=connection.optional_scopes),
        "purposes": connection.purposes,
        "agreement": AgreementView.model_validate(agreement) if agreement is not None else None,
        "ground_rules": rule_states(offer.ground_rules, offer.now),
        "stage": Stage(connection.stage),
        "stopped": is_stopped(connection, offer.partner),
        "eligible": offer.eligible,
        "releases": _releases(offer),
    }


def rule_states(ground_rules: Sequence[GroundRule], now: datetime) -> list[GroundRuleState]:
    """The state of each ground rule at `now`, by the checks on record, which are in order of age, oldest first."""
    return [_state([fact for fact in ground_rules if fact.rule == rule], rule, now) for rule in GroundRuleName]


def _state(facts: Sequence[GroundRule], rule: GroundRuleName, now: datetime) -> GroundRuleState:
    kept = rule in rules_kept(facts, now)
    current = [fact for fact in facts if rules_kept([fact], now)] or facts
    last = current[-1] if current else None
    return GroundRuleState(
        rule=rule,
        kept=kept,
        valid_from=last.valid_from if last else None,
        valid_until=last.valid_until if last else None,
        source=last.source if last else None,
        checked_at=last.checked_at if last else None,
        check_again_on=last.check_again_on if last else None,
        convenant_version=last.convenant_version if last else None,
        convenant_status=last.convenant_status if last else None,
    )


def _releases(offer: Offer) -> list[Release]:
    covered = frozenset(offer.agreement.scopes) if offer.agreement is not None else frozenset()
    at_most = scopes.closed(offer.connection.requested_scopes & covered)
    return [
        Release(type=kind, scopes=list(named), fields=list(scopes.fields_of(at_most, kind)))
        for kind in scopes.RESOURCE_TYPES
        if (named := scopes.scopes_of_type(at_most, kind))
    ]


def by_client(facts: Iterable[Fact]) -> Mapping[str, list[Fact]]:
    """The facts grouped by client id, in the given order."""
    by_client: dict[str, list[Fact]] = {}
    for fact in facts:
        by_client.setdefault(fact.client_id, []).append(fact)
    return by_client
