"""Routes of operators: the register of partners."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from api.contract.components import VERSION_REQUIRED, answers, refuses
from api.queries import registry_rows
from api.store.events import record
from api.web.callers import Caller, Operator
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Moment, Name, Page, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.partners import Connection, Partner
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import KvkNumber
from models.vocabulary.refusals import AlreadyExists

router = APIRouter(prefix="/v1", tags=["operators"])


class NewPartner(WireIn):
    kvk_number: KvkNumber
    name: Name


class PartnerChange(WireIn):
    name: Name


class PartnerView(Wire):
    kvk_number: str
    name: str
    stopped_at: Annotated[Moment | None, Field(description="Since when an emergency stop denies all of it.")]
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


@router.post("/partners", status_code=201, operation_id="registerPartner", responses=answers(201, "ETag"))
async def register_partner(caller: Operator, wish: NewPartner, writing: Writing) -> PartnerView:
    """Registers a company. A takeover is another KvK number: another partner, which inherits nothing."""
    if await writing.session.get(Partner, wish.kvk_number) is not None:
        raise AlreadyExists(f"The partner {wish.kvk_number} is registered already.")
    moment, revision = writing.now, writing.write.revision
    partner = Partner(**wish.model_dump(), revision=revision, created_at=moment, changed_at=moment)
    return saved_partner(writing, partner, EventKind.PARTNER_REGISTERED, caller)


@router.get("/partners", operation_id="listPartners")
async def list_partners(
    caller: Operator, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[PartnerView]:
    """All partners, by KvK number."""
    found = await registry_rows.partners(reading.session, after_key(cursor), limit)
    shown, following = part(found, limit, lambda partner: partner.kvk_number)
    return Page(items=[PartnerView.model_validate(partner) for partner in shown], next=following)


@router.get("/partners/{kvk_number}", operation_id="getPartner", responses=answers(200, "ETag"))
async def get_partner(caller: Operator, kvk_number: KvkNumber, reading: Reading, response: Response) -> PartnerView:
    """One partner."""
    partner = await registry_rows.partner(reading.session, kvk_number)
    response.headers["ETag"] = etag(partner.version)
    return PartnerView.model_validate(partner)


@router.patch(
    "/partners/{kvk_number}", operation_id="changePartner", responses=answers(200, "ETag") | refuses(VERSION_REQUIRED)
)
async def change_partner(
    caller: Operator, kvk_number: KvkNumber, wish: PartnerChange, writing: Writing, if_match: IfMatch = None
) -> PartnerView:
    """Changes a partner's name."""
    partner = await registry_rows.partner(writing.session, kvk_number)
    require_version(if_match, partner.version)
    partner.name = wish.name
    touch(writing, partner)
    return saved_partner(writing, partner, EventKind.PARTNER_CHANGED, caller)


def saved_partner(
    writing: WriteRequest, partner: Partner, kind: EventKind, caller: Caller, reason: str | None = None
) -> PartnerView:
    """Stores the partner and appends the event of its change; returns the answer, with its ETag."""
    writing.session.add(partner)
    shown = PartnerView.model_validate(partner)
    record(writing.write, kind, caller.actor, shown.model_dump(mode="json", by_alias=True), reason=reason)
    return writing.answer(shown, partner.version)


def touch(writing: WriteRequest, row: Partner | Connection) -> None:
    """Raises the version of a partner or a connection, and notes this write as its last change."""
    row.version += 1
    row.revision = writing.write.revision
    row.changed_at = writing.now
