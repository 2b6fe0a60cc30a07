"""Routes of deletion duties for partners, schools and operators: what to delete after the end of a grant, by when."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from api.contract.shared_parameters import shared_as
from api.deletions import duties
from api.deletions.duties import DutyView, views
from api.queries import deletion_rows, school_rows
from api.web.callers import Operator, PartnerClient, SchoolAdmin
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import PROSE, GrantId, Page, WireIn
from api.web.write_request import Writing
from models.consents.deletions import DutyStatus
from models.vocabulary.identifiers import Brin, ClientId

router = APIRouter(tags=["deletions"])

Standing = Annotated[DutyStatus | None, Query(description="Only those that stand so.")]
OfConnection = Annotated[ClientId | None, Query(alias="clientId", json_schema_extra=shared_as("OfConnection"))]

Statement = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=PROSE, strip_whitespace=True),
    Field(description="What was deleted, and what the law makes the partner keep."),
]


class Confirmation(WireIn):
    statement: Statement


@router.get("/v1/consents/deletions", operation_id="listDeletions")
async def list_deletions(
    caller: PartnerClient, reading: Reading, status: Standing = None, limit: Limit = 100, cursor: Cursor = None
) -> Page[DutyView]:
    """What the caller's connection has to delete, or had: one duty for each grant that has ended."""
    return await _listed(reading, status, limit, cursor, client_id=caller.claims.client_id)


@router.post("/v1/consents/deletions/{grant_id}/_confirm", operation_id="confirmDeletion")
async def confirm(
    caller: PartnerClient,
    grant_id: Annotated[GrantId, Path()],
    writing: Writing,
    wish: Confirmation,
) -> DutyView:
    """States that what was received under the grant is deleted, also when that is late. It is said once."""
    found = await deletion_rows.of_client(writing.session, caller.claims.client_id, grant_id)
    duties.confirm(writing.write, found, caller.actor, wish.statement)
    (shown,) = await views(writing.session, [found], writing.now, writing.write.events)
    return writing.answer(shown)


@router.get("/v1/schools/{brin}/deletions", operation_id="listDeletionsOfSchool")
async def list_deletions_of_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    status: Standing = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DutyView]:
    """What partners have to delete of this school's, and whether they say that they did."""
    await school_rows.school(reading.session, brin)
    return await _listed(reading, status, limit, cursor, brin=brin)


@router.get("/v1/deletions", operation_id="listAllDeletions")
async def list_all_deletions(
    caller: Operator,
    reading: Reading,
    status: Standing = None,
    client_id: OfConnection = None,
    school: Annotated[Brin | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DutyView]:
    """The deletion duties of all connections."""
    return await _listed(reading, status, limit, cursor, client_id=client_id, brin=school)


async def _listed(
    reading: ReadRequest,
    status: DutyStatus | None,
    limit: int,
    cursor: str | None,
    *,
    client_id: str | None = None,
    brin: str | None = None,
) -> Page[DutyView]:
    found = await deletion_rows.listed(
        reading.session, reading.now, status, after_key(cursor), limit, client_id=client_id, brin=brin
    )
    shown, following = part(found, limit, lambda duty: duty.grant_id)
    return Page(items=await views(reading.session, shown, reading.now), next=following)
