"""Routes of agreements: operators register them with their documents; a wider one asks schools to confirm grants."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, StringConstraints

from api.contract.components import downloads, takes_file
from api.grants.offers import AgreementView
from api.grants.reconfirmation import set_reconfirmation_dates
from api.queries import registry_rows
from api.queries.session import Session
from api.store.events import record
from api.web.callers import Caller, Operator, OwnConnection
from api.web.files import DocumentUpload, FileView, download
from api.web.read_request import Reading
from api.web.schemas import Day, Moment, Name, Page, PurposeCodes, Reason, RecordId, ScopeNames, WireIn, distinct
from api.web.write_request import WriteRequest, Writing
from models.consents.agreements import (
    Agreement,
    Party,
    require_grace,
    require_past,
    require_signed,
    require_sound_agreement,
)
from models.consents.files import DOCUMENTS
from models.consents.schools import Board
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import BoardNumber, ClientId
from models.vocabulary.periods import end_now, require_period
from models.vocabulary.refusals import InvalidInput

router = APIRouter(prefix="/v1/connections/{client_id}/agreements", tags=["operators"])

Label = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$", max_length=2), Field(description="ISO 3166-1.")]
AgreementId = Annotated[RecordId, Path()]


class Signature(WireIn):
    """Who signed for one of the two parties."""

    party: Party
    name: Name
    function: Name | None = None
    signed_on: Day


class NewSubProcessor(WireIn):
    """A sub-processor, and the country where it processes."""

    name: Name
    country: Country


class NewAgreement(WireIn):
    """A verwerkersovereenkomst that both parties have signed; `boardNumber` when one board did, for its schools alone.

    Where it allows more than the one that a school has agreed to, its grants go on until `graceUntil`, and then need
    reconfirmation; without it, from the start of the new version on.
    """

    board_number: BoardNumber | None = None
    agreement_version: Label
    privacybijsluiter_version: Label
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    purposes: Annotated[PurposeCodes, Field(min_length=1)]
    signed_on: Day
    signatories: Annotated[list[Signature], Field(max_length=20)]
    sub_processors: Annotated[list[NewSubProcessor], Field(max_length=100)]
    retention_days: Annotated[int, Field(ge=0, le=36_525, strict=True)]
    categories: Annotated[list[Name], Field(max_length=100)]
    storage_countries: Annotated[list[Country], Field(min_length=1, max_length=100)]
    grace_until: Moment | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class Ending(WireIn):
    """An end, from now on."""

    reason: Reason


class RegisteredAgreement(AgreementView):
    """An agreement as the register holds it, with its signed document where that was handed in."""

    document: FileView | None


@router.post("", status_code=201, operation_id="registerAgreement")
async def register_agreement(
    caller: Operator, client_id: ClientId, wish: NewAgreement, writing: Writing
) -> RegisteredAgreement:
    """Registers a signed agreement. From its start on it takes the place of the one before it."""
    await registry_rows.connection(writing.session, client_id)
    require_sound_agreement(wish.scopes, wish.purposes)
    begins = wish.valid_from or writing.now
    require_period(begins, wish.valid_until)
    require_grace(begins, wish.grace_until)
    require_signed(each.party for each in wish.signatories)
    require_past([wish.signed_on, *(each.signed_on for each in wish.signatories)], writing.now)
    if wish.board_number is not None and await writing.session.get(Board, wish.board_number) is None:
        raise InvalidInput(f"There is no board {wish.board_number}.")
    agreement = Agreement(
        agreement_id=str(uuid.uuid4()),
        client_id=client_id,
        **wish.model_dump(
            exclude={"valid_from", "scopes", "purposes", "signatories", "categories", "storage_countries"}
        ),
        scopes=distinct(wish.scopes),
        purposes=distinct(wish.purposes),
        signatories=[each.model_dump(mode="json", by_alias=True) for each in wish.signatories],
        categories=distinct(wish.categories),
        storage_countries=distinct(wish.storage_countries),
        valid_from=begins,
        registered_at_revision=writing.write.revision,
        revision=writing.write.revision,
        created_at=writing.now,
    )
    writing.session.add(agreement)
    _record(writing, caller, EventKind.AGREEMENT_SIGNED, agreement)
    await set_reconfirmation_dates(writing.write, client_id, caller.actor)
    return writing.answer((await _views(writing.session, [agreement]))[0])


@router.get("", operation_id="listAgreements")
async def list_agreements(caller: OwnConnection, client_id: ClientId, reading: Reading) -> Page[RegisteredAgreement]:
    """Every agreement that was ever registered for a connection, oldest first, in one part."""
    await registry_rows.connection(reading.session, client_id)
    found = await registry_rows.agreements(reading.session, [client_id])
    return Page(items=await _views(reading.session, found), next=None)


@router.post("/{agreement_id}/_end", operation_id="endAgreement")
async def end_agreement(
    caller: Operator, client_id: ClientId, agreement_id: AgreementId, wish: Ending, writing: Writing
) -> RegisteredAgreement:
    """Ends an agreement now."""
    agreement = await registry_rows.agreement(writing.session, client_id, agreement_id)
    end_now(agreement, writing.now)
    agreement.revision = writing.write.revision
    _record(writing, caller, EventKind.AGREEMENT_ENDED, agreement, wish.reason)
    await set_reconfirmation_dates(writing.write, client_id, caller.actor)
    return writing.answer((await _views(writing.session, [agreement]))[0])


@router.post(
    "/{agreement_id}/document",
    status_code=201,
    operation_id="keepAgreementDocument",
    openapi_extra=takes_file(*DOCUMENTS),
)
async def keep_document(
    caller: Operator, client_id: ClientId, agreement_id: AgreementId, upload: DocumentUpload
) -> FileView:
    """Keeps the signed document, a PDF, which is the body. The one that was handed in last is the document."""
    writing = upload.writing
    await registry_rows.agreement(writing.session, client_id, agreement_id)
    view = FileView.model_validate(await upload.keep(caller, agreement_id=agreement_id))
    state = {"agreementId": agreement_id, **view.model_dump(mode="json", by_alias=True, exclude={"name"})}
    record(writing.write, EventKind.AGREEMENT_DOCUMENT_KEPT, caller.actor, state, client_id=client_id)
    return writing.answer(view)


@router.get(
    "/{agreement_id}/document",
    operation_id="getAgreementDocument",
    responses=downloads(*DOCUMENTS),
    response_class=Response,
)
async def get_document(
    caller: OwnConnection, client_id: ClientId, agreement_id: AgreementId, reading: Reading, request: Request
) -> Response:
    """The signed document, as a download."""
    agreement = await registry_rows.agreement(reading.session, client_id, agreement_id)
    return download(request, await registry_rows.document(reading.session, agreement))


async def _views(session: Session, agreements: Sequence[Agreement]) -> list[RegisteredAgreement]:
    documents = await registry_rows.documents(session, [each.agreement_id for each in agreements])
    return [
        RegisteredAgreement(
            **AgreementView.model_validate(each).model_dump(),
            document=FileView.model_validate(documents[each.agreement_id]) if each.agreement_id in documents else None,
        )
        for each in agreements
    ]


def _record(
    writing: WriteRequest, caller: Caller, kind: EventKind, agreement: Agreement, reason: str | None = None
) -> None:
    # Signatories' names are left out: the agreement's row holds them, and an event would keep them for ever.
    view = AgreementView.model_validate(agreement)
    state = view.model_dump(mode="json", by_alias=True, exclude={"signatories": {"__all__": {"name", "function"}}})
    record(writing.write, kind, caller.actor, state, client_id=agreement.client_id, reason=reason)
