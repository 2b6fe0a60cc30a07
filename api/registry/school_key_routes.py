"""Routes of schoolkeys, the names by which a LAS knows a school: operators keep them, gateways look them up.

Only an operator adds a key: a school that could claim another's key would be released that school's data.
"""

from fastapi import APIRouter

from api.queries import school_rows
from api.store.events import record
from api.web.callers import Caller, GatewayOrOperator, Operator, SchoolOrOperator
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading
from api.web.schemas import Moment, Page, Reason, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.schools import SchoolKey
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import Brin, LocationCode, SchoolKeyName
from models.vocabulary.refusals import AlreadyExists

router = APIRouter(prefix="/v1")


class SchoolKeyView(Wire):
    """A key, and the school or the one location that it stands for."""

    schoolkey: str
    brin: str
    location: str | None
    revision: int
    created_at: Moment


class NewSchoolKey(WireIn):
    """Without a location it stands for the whole school."""

    schoolkey: SchoolKeyName
    location: LocationCode | None = None


class KeyRemoval(WireIn):
    reason: Reason | None = None


@router.post("/schools/{brin}/keys", status_code=201, operation_id="addSchoolKey", tags=["operators"])
async def add_school_key(caller: Operator, brin: Brin, wish: NewSchoolKey, writing: Writing) -> SchoolKeyView:
    """Keeps a schoolkey with a school. One that stands for anything already is refused: remove it there first."""
    await school_rows.school(writing.session, brin)
    await school_rows.require_listed(writing.session, brin, wish.location)
    if await writing.session.get(SchoolKey, wish.schoolkey) is not None:
        raise AlreadyExists("This schoolkey is kept already.")
    key = SchoolKey(**wish.model_dump(), brin=brin, revision=writing.write.revision, created_at=writing.now)
    writing.session.add(key)
    return _record(writing, key, EventKind.SCHOOL_KEY_ADDED, caller)


@router.get("/schools/{brin}/keys", operation_id="listSchoolKeys", tags=["operators"])
async def list_school_keys(
    caller: SchoolOrOperator, brin: Brin, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[SchoolKeyView]:
    """By which keys a school's data are asked for."""
    await school_rows.school(reading.session, brin)
    found = await school_rows.school_keys(reading.session, brin, after_key(cursor), limit)
    shown, following = part(found, limit, lambda key: key.schoolkey)
    return Page(items=[SchoolKeyView.model_validate(key) for key in shown], next=following)


@router.post("/schools/{brin}/keys/{schoolkey}/_remove", operation_id="removeSchoolKey", tags=["operators"])
async def remove_school_key(
    caller: Operator, brin: Brin, schoolkey: SchoolKeyName, writing: Writing, wish: KeyRemoval | None = None
) -> SchoolKeyView:
    """Removes a key. From the moment of the answer it stands for nothing."""
    key = await school_rows.key_of_school(writing.session, brin, schoolkey)
    await writing.session.delete(key)
    key.revision = writing.write.revision
    return _record(writing, key, EventKind.SCHOOL_KEY_REMOVED, caller, wish.reason if wish is not None else None)


@router.get("/school-keys/{schoolkey}", operation_id="getSchoolKey", tags=["gateways"])
async def get_school_key(caller: GatewayOrOperator, schoolkey: SchoolKeyName, reading: Reading) -> SchoolKeyView:
    """Which school or location a key stands for, now. It says nothing of what may be released of it."""
    return SchoolKeyView.model_validate(await school_rows.school_key(reading.session, schoolkey))


def _record(
    writing: WriteRequest, key: SchoolKey, kind: EventKind, caller: Caller, reason: str | None = None
) -> SchoolKeyView:
    view = SchoolKeyView.model_validate(key)
    record(writing.write, kind, caller.actor, view.model_dump(mode="json", by_alias=True), brin=key.brin, reason=reason)
    return writing.answer(view)
