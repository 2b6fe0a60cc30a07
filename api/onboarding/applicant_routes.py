"""Routes of applicants, without a token: they send in an application, and follow it by its reference and secret.

Each process limits the rate of one address; the store limits the number of applications in 24 hours.
"""

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Request
from pydantic import Field, StringConstraints

from api.contract import components
from api.edge.authentication import OPEN_TO_ANYONE
from api.edge.client_address import source_of
from api.edge.problems import TOO_MANY_REQUESTS, UNAUTHENTICATED, Refused
from api.onboarding.case_routes import saved_case, take_step
from api.queries import case_rows
from api.store.events import Actor
from api.web.read_request import Reading
from api.web.schemas import PROSE, Moment, Name, PurposeCode, Reason, ScopeName, Wire, WireIn
from api.web.services import provided
from api.web.write_request import Writing
from models.consents.ground_rules import require_convenant_known
from models.consents.onboarding import Case, CaseStep, RoadStep, require_sound_application
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import KvkNumber
from models.vocabulary.refusals import TransitionNotAllowed
from models.vocabulary.working_days import due_after

if TYPE_CHECKING:
    from limits import RateLimitItem

router = APIRouter(
    prefix=OPEN_TO_ANYONE, tags=["applicants"], responses=components.refuses(components.TOO_MANY_REQUESTS)
)

#: The characters of a reference: without O, I, L and U, so that one read aloud is not misheard (Crockford's base 32).
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: Requests an hour from one address to follow applications; the limit is against guessing of secrets.
_FOLLOWING_AN_HOUR: Final = 120
_DAY: Final = timedelta(hours=24)

Reference = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}$", max_length=11),
    Path(description="The reference that the answer to the application gave.", examples=["7K3QX-M2P9D"]),
]
Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[a-zA-Z]{2,63}$", max_length=254)
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9() -]{6,30}$", max_length=31)]


class Company(WireIn):
    name: Name
    kvk_number: KvkNumber


class Contact(WireIn):
    """Who is spoken to about the application."""

    name: Name
    email: Email
    phone: Phone | None = None


class Product(WireIn):
    """The application or leermiddel that is to be connected."""

    name: Name


class RequestedScope(WireIn):
    """A scope, and what it is needed for; the same scope may be named again for another purpose."""

    scope: ScopeName
    purpose: PurposeCode


class ConvenantRegistration(WireIn):
    """How the company stands in the register of the privacyconvenant."""

    version: Annotated[str, Field(max_length=8, examples=["4.0"])]
    status: Annotated[str, Field(max_length=16, examples=["deelnemer"])]
    registration: Name | None = None


class Application(WireIn):
    company: Company
    contact: Contact
    product: Product
    requested: Annotated[list[RequestedScope], Field(min_length=1, max_length=200)]
    legal_relation: Annotated[
        str,
        StringConstraints(min_length=1, max_length=2000, pattern=PROSE, strip_whitespace=True),
        Field(description="The legal relation between school and partner that the processing rests on, in words."),
    ]
    edu_k: ConvenantRegistration


class StepReached(Wire):
    step: RoadStep
    at: Moment


class ApplicationView(Wire):
    """Where an application is. `dueAt` is by when the partner manager reacts; null once that was done."""

    reference: str
    company_name: str
    product_name: str
    step: RoadStep
    due_at: Moment | None
    steps: list[StepReached]
    created_at: Moment


class ApplicationReceived(ApplicationView):
    """The same, with the secret to follow it. It is told this once, and is not kept here."""

    secret: str


class ApplicationWithdrawal(WireIn):
    reason: Reason


class ApplicationRateLimits:
    """The rate limits of one process by the applicant's address; each method raises `Refused` (429) beyond them."""

    def __init__(self, applications_an_hour: int, applications_a_day: int) -> None:
        # Imported by what serves, and not by what only reads the routes.
        from limits import RateLimitItemPerHour
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        #: Applications that are accepted within 24 hours from all addresses; counted in the store.
        self.applications_a_day = applications_a_day
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._applying = RateLimitItemPerHour(applications_an_hour, namespace="apply")
        self._following = RateLimitItemPerHour(max(_FOLLOWING_AN_HOUR, applications_an_hour), namespace="follow")

    def apply(self, request: Request) -> None:
        self._count(self._applying, request)

    def follow(self, request: Request) -> None:
        self._count(self._following, request)

    def _count(self, limit: "RateLimitItem", request: Request) -> None:
        if not self._limiter.hit(limit, source_of(request.client.host if request.client is not None else "")):
            raise Refused(
                TOO_MANY_REQUESTS, f"At most {limit.amount} an hour from one address.", {"Retry-After": "3600"}
            )


def _applying(request: Request) -> None:
    provided(request, ApplicationRateLimits).apply(request)


def _following(
    request: Request,
    x_application_secret: Annotated[
        str | None, Header(description="The secret that the answer to the application gave.", max_length=100)
    ] = None,
) -> str:
    provided(request, ApplicationRateLimits).follow(request)
    if x_application_secret is None:
        detail = "Send the application's secret as X-Application-Secret."
        raise Refused(UNAUTHENTICATED, detail, {"WWW-Authenticate": "X-Application-Secret"})
    return _digest(x_application_secret)


Applying = Annotated[None, Depends(_applying)]
#: The SHA-256 digest, in hexadecimal, of the secret that the request has sent.
Applicant = Annotated[str, Depends(_following)]


@router.post("", status_code=201, operation_id="apply")
async def apply(caller: Applying, request: Request, wish: Application, writing: Writing) -> ApplicationReceived:
    """Sends in an application. The answer holds a reference and a secret to follow it with."""
    require_sound_application(wish.requested)
    require_convenant_known(wish.edu_k.version, wish.edu_k.status)
    most = provided(request, ApplicationRateLimits).applications_a_day
    if await case_rows.cases_since(writing.session, writing.now - _DAY) >= most:
        raise Refused(TOO_MANY_REQUESTS, "More applications came in than a day can hold.", {"Retry-After": "3600"})
    secret = secrets.token_urlsafe(32)
    case = Case(
        case_id=str(uuid.uuid4()),
        reference=_reference(),
        secret_digest=_digest(secret),
        company_name=wish.company.name,
        kvk_number=wish.company.kvk_number,
        contact_name=wish.contact.name,
        contact_email=wish.contact.email,
        contact_phone=wish.contact.phone,
        product_name=wish.product.name,
        requested=[each.model_dump() for each in wish.requested],
        legal_relation=wish.legal_relation,
        convenant_version=wish.edu_k.version,
        convenant_status=wish.edu_k.status,
        convenant_registration=wish.edu_k.registration,
        due_at=due_after(writing.now),
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    steps = await saved_case(writing, case, EventKind.CASE_APPLIED, _actor(case))
    return writing.answer(ApplicationReceived(**_view(case, steps).model_dump(), secret=secret))


@router.get("/{reference}", operation_id="followApplication")
async def follow(caller: Applicant, reference: Reference, reading: Reading) -> ApplicationView:
    """Where the application is. Another secret answers as a reference that does not exist."""
    case = await case_rows.case_of_applicant(reading.session, reference, caller)
    return _view(case, await case_rows.case_steps(reading.session, [case.case_id]))


@router.post("/{reference}/_withdraw", operation_id="withdrawApplication")
async def withdraw(
    caller: Applicant, reference: Reference, wish: ApplicationWithdrawal, writing: Writing
) -> ApplicationView:
    """Withdraws the application, as long as its connection is not placed: from then on, an operator does."""
    case = await case_rows.case_of_applicant(writing.session, reference, caller)
    if case.step in (RoadStep.PLACED, RoadStep.LIVE):
        raise TransitionNotAllowed("The connection is placed: ask the partner manager to withdraw it.")
    steps = await take_step(writing, case, RoadStep.WITHDRAWN, _actor(case), wish.reason)
    return writing.answer(_view(case, steps))


def _view(case: Case, steps: Sequence[CaseStep]) -> ApplicationView:
    return ApplicationView(
        reference=case.reference,
        company_name=case.company_name,
        product_name=case.product_name,
        step=RoadStep(case.step),
        due_at=case.due_at if case.step == RoadStep.APPLIED else None,
        steps=[StepReached.model_validate(step) for step in steps],
        created_at=case.created_at,
    )


def _actor(case: Case) -> Actor:
    return Actor(f"applicant:{case.reference}", "applicant")


def _reference() -> str:
    letters = [secrets.choice(_ALPHABET) for _ in range(10)]
    return f"{''.join(letters[:5])}-{''.join(letters[5:])}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
