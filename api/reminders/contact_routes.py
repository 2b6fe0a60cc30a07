"""Routes of reminders: the weekly letters to schools, connections and operators, and the addresses they go to."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from api.queries import due_rows, registry_rows, school_rows
from api.store.events import record
from api.web.callers import Caller, Operator, PartnerClient, SchoolAdmin
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import Moment, Page, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.reminders import Contact, Letter, LetterSubject, Mail, Recipient
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import Brin
from models.vocabulary.refusals import InvalidInput

router = APIRouter(tags=["reminders"])

#: One mailbox at a full domain name; the forms of RFC 5322 that mean several mailboxes, or none, are refused.
Mailbox = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+)*"
        r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$",
        max_length=254,
    ),
]


class NamedView(Wire):
    """A grant, a deletion duty by its grant, or a ground rule; `at` is when it ends or is due."""

    id: str
    client_id: str | None
    place: str | None
    at: Moment | None


class PartView(Wire):
    """What a letter says of one subject: how many there are, and the first 50."""

    subject: LetterSubject
    count: int
    items: list[NamedView]


class LetterView(Wire):
    """The letter of a week."""

    letter_id: str
    week: Annotated[date, Field(description="Its Monday.")]
    parts: list[PartView]
    made_at: Moment
    mail: Annotated[Mail, Field(description="What became of the e-mail.")]
    sent_at: Moment | None


class ReminderContactView(Wire):
    """Where letters go by e-mail; null where nobody gave an address here."""

    email: str | None


class NewContact(WireIn):
    email: Annotated[Mailbox | None, Field(description="Rather of a role than of a person. Null takes it away.")]


# -- the school -------------------------------------------------------------------------------------------------------


@router.get("/v1/schools/{brin}/reminders", operation_id="listRemindersToSchool")
async def list_reminders_to_school(
    caller: SchoolAdmin, brin: Brin, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[LetterView]:
    """The weekly letters to this school, the newest first: what ends, what to confirm, what partners did not delete."""
    await school_rows.school(reading.session, brin)
    return await _listed(reading, Recipient.SCHOOL, brin, limit, cursor)


@router.get("/v1/schools/{brin}/contact", operation_id="getContactOfSchool")
async def get_contact_of_school(caller: SchoolAdmin, brin: Brin, reading: Reading) -> ReminderContactView:
    """Where this school's letters go."""
    await school_rows.school(reading.session, brin)
    return await _contact(reading, Recipient.SCHOOL, brin)


@router.put("/v1/schools/{brin}/contact", operation_id="setContactOfSchool")
async def set_contact_of_school(
    caller: SchoolAdmin, brin: Brin, wish: NewContact, writing: Writing
) -> ReminderContactView:
    """From now on this school's letters go there."""
    await school_rows.school(writing.session, brin)
    return await _set(writing, caller, Recipient.SCHOOL, brin, wish.email)


# -- the partner ------------------------------------------------------------------------------------------------------


@router.get("/v1/consents/reminders", operation_id="listReminders")
async def list_reminders(
    caller: PartnerClient, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[LetterView]:
    """The weekly letters to the caller's connection, the newest first."""
    return await _listed(reading, Recipient.CONNECTION, caller.claims.client_id, limit, cursor)


@router.get("/v1/consents/contact", operation_id="getContact")
async def get_contact(caller: PartnerClient, reading: Reading) -> ReminderContactView:
    """Where the connection's letters go. Where nobody gave an address, that is the application's."""
    return await _contact(reading, Recipient.CONNECTION, caller.claims.client_id)


@router.put("/v1/consents/contact", operation_id="setContact")
async def set_contact(caller: PartnerClient, wish: NewContact, writing: Writing) -> ReminderContactView:
    """From now on the connection's letters go there."""
    client_id = caller.claims.client_id
    await registry_rows.connection_placed(writing.session, client_id)
    return await _set(writing, caller, Recipient.CONNECTION, client_id, wish.email)


# -- the operator -----------------------------------------------------------------------------------------------------


@router.get("/v1/reminders", operation_id="listRemindersToOperators")
async def list_reminders_to_operators(
    caller: Operator, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[LetterView]:
    """The weekly letters to operators, the newest first."""
    return await _listed(reading, Recipient.OPERATOR, "", limit, cursor)


async def _listed(
    reading: ReadRequest, kind: Recipient, recipient: str, limit: int, cursor: str | None
) -> Page[LetterView]:
    letters = await due_rows.letters(reading.session, kind, recipient, _week(cursor), limit)
    shown, following = part(letters, limit, lambda letter: letter.week.isoformat())
    return Page(items=[_view(letter) for letter in shown], next=following)


def _view(letter: Letter) -> LetterView:
    return LetterView.model_validate(letter.model_dump(exclude={"kind", "recipient", "attempts", "next_at"}))


def _week(cursor: str | None) -> str:
    """The week in a cursor. Raises `InvalidInput` for a key that is not exactly an ISO date."""
    key = after_key(cursor)
    try:
        if key and date.fromisoformat(key).isoformat() != key:
            raise ValueError
    except ValueError:
        raise InvalidInput("The cursor is not one of ours.") from None
    return key


async def _contact(reading: ReadRequest, kind: Recipient, recipient: str) -> ReminderContactView:
    contact = await reading.session.get(Contact, (kind, recipient))
    return ReminderContactView(email=contact.email if contact is not None else None)


async def _set(
    writing: WriteRequest, caller: Caller, kind: Recipient, recipient: str, email: str | None
) -> ReminderContactView:
    contact = await writing.session.get(Contact, (kind, recipient))
    if email is None:
        if contact is not None:
            await writing.write.destroy(contact)
    else:
        contact = contact or Contact(kind=kind, recipient=recipient, email=email, changed_at=writing.now)
        contact.email, contact.changed_at = email, writing.now
        writing.session.add(contact)
    # The address itself stays out of the log.
    state: dict[str, Any] = {"recipient": kind, "given": email is not None}
    brin = recipient if kind is Recipient.SCHOOL else None
    client_id = recipient if kind is Recipient.CONNECTION else None
    record(writing.write, EventKind.CONTACT_CHANGED, caller.actor, state, brin=brin, client_id=client_id)
    return writing.answer(ReminderContactView(email=email))
