"""Routes of a school's offers: the placed connections that it can grant, and the documents of its agreements."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from api.contract.components import downloads
from api.grants import offers
from api.grants.board_precedence import standings_of
from api.grants.grant_lifecycle import GrantView, view
from api.grants.offers import AgreementView, ConnectionView, Difference, Offer
from api.queries import grant_rows, registry_rows, school_rows
from api.web.callers import SchoolAdmin
from api.web.files import download
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading
from api.web.schemas import Moment, Page, RecordId, Wire
from models.consents.agreements import Extent, next_wider_agreement, successors, widened
from models.consents.board_grants import Standing
from models.consents.files import DOCUMENTS
from models.consents.grants import Grant
from models.decision.grant_status import OPEN
from models.vocabulary.identifiers import Brin

router = APIRouter(prefix="/v1/schools/{brin}", tags=["schools"])


class AgreementExtent(Wire):
    """What one agreement allows and another does not. `retentionDays` is null where it keeps data no longer."""

    scopes: list[str]
    purposes: list[str]
    categories: list[str]
    sub_processors: list[str]
    outside_eea: Annotated[
        list[str],
        Field(alias="outsideEea", description="Countries outside the EEA of storage, and sub-processors there."),
    ]
    retention_days: int | None


class AgreementChange(Wire):
    """Another agreement than the one that the school agreed to counts, or soon will, and how the two differ.

    Where it allows more, the grant needs reconfirmation from `confirmBy` on; a `PATCH` that names the agreement, once
    it counts, confirms it.
    """

    grant_id: str
    location: str | None
    agreed_to: Annotated[str, Field(description="The agreement that the school agreed to.")]
    agreement: AgreementView
    confirm_by: Moment | None
    wider: AgreementExtent
    narrower: AgreementExtent


class GrantableConnection(ConnectionView):
    """A connection, with the grant that this school gave it: for the whole school, else for one of its locations."""

    grant: GrantView | None
    standing: Annotated[
        Standing,
        Field(description="Whose word counts for the whole school: its own, its board's, or nobody's; or left out."),
    ]
    difference: Annotated[Difference | None, Field(description="Asked for, and not covered by `grant`.")]
    agreement_changes: Annotated[
        list[AgreementChange], Field(description="Of each grant here that was given under another agreement.")
    ]


@router.get("/connections", operation_id="listGrantableConnections")
async def list_connections(
    caller: SchoolAdmin, brin: Brin, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[GrantableConnection]:
    """Every connection that is placed, with its terms and the grant that this school gave it."""
    school = await school_rows.school(reading.session, brin)
    found = await registry_rows.connections_visible(reading.session, after_key(cursor), limit)
    shown, following = part(found, limit, lambda connection: connection.client_id)
    offered = await offers.offers_to_board(reading.session, shown, school.board_number, reading.now)
    grants = await grant_rows.grants_in_school(reading.session, brin, [connection.client_id for connection in shown])
    of_school = [grant for grant in grants if grant.location is None]
    standings = await standings_of(reading.session, of_school, reading.now)
    known = {grant.client_id: standings[grant.grant_id] for grant in of_school}
    items = [_grantable(each, grants, known.get(each.connection.client_id, Standing.NONE)) for each in offered]
    return Page(items=items, next=following)


@router.get(
    "/agreements/{agreement_id}/document",
    operation_id="getOwnAgreementDocument",
    responses=downloads(*DOCUMENTS),
    response_class=Response,
)
async def get_agreement_document(
    caller: SchoolAdmin, brin: Brin, agreement_id: Annotated[RecordId, Path()], reading: Reading, request: Request
) -> Response:
    """The signed document of an agreement that a grant of this school rests on, as a download."""
    school = await school_rows.school(reading.session, brin)
    agreement = await registry_rows.agreement_of_school(reading.session, school, agreement_id)
    return download(request, await registry_rows.document(reading.session, agreement))


def _grantable(offer: Offer, grants: Sequence[Grant], standing: Standing) -> GrantableConnection:
    own = [each for each in grants if each.client_id == offer.connection.client_id]
    shown = next((each for each in own if each.status in OPEN), own[0] if own else None)
    connection = offer.connection
    difference = shown and Difference(
        scopes=sorted(connection.requested_scopes - frozenset(shown.scopes)),
        purposes=sorted(frozenset(connection.purposes) - frozenset(shown.purposes)),
    )
    return GrantableConnection(
        **offers.view_members(offer),
        grant=shown and view(shown, offer.partner, offer.now),
        standing=standing,
        difference=difference,
        agreement_changes=[
            change for each in own if each.status in OPEN and (change := _agreement_change(offer, each))
        ],
    )


def _agreement_change(offer: Offer, grant: Grant) -> AgreementChange | None:
    """The difference between the agreement that counts for this grant, or soon will, and the one agreed to, if any."""
    agreed_to = offer.agreed_to(grant)
    if agreed_to is None:
        return None
    others = (offer.agreements, agreed_to, offer.board_number, offer.now)
    proposed = next_wider_agreement(*others) or next(successors(*others), None)
    if proposed is None:
        return None
    agreement, _ = proposed
    return AgreementChange(
        grant_id=grant.grant_id,
        location=grant.location,
        agreed_to=agreed_to.agreement_id,
        agreement=AgreementView.model_validate(agreement),
        confirm_by=grant.reconfirm_by,
        wider=_extent(widened(agreed_to, agreement)),
        narrower=_extent(widened(agreement, agreed_to)),
    )


def _extent(extent: Extent) -> AgreementExtent:
    listed = {
        each.name: sorted(value)
        for each in fields(extent)
        if isinstance(value := getattr(extent, each.name), frozenset)
    }
    return AgreementExtent(retention_days=extent.retention_days, **listed)
