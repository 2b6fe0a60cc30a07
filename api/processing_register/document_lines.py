"""The lines of the register's documents (CSV and PDF): a Dutch heading, an English heading, and the values.

All instants are in the time of Amsterdam.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Final

from api.processing_register.pdf_model import Line
from models.consents.partners import RecipientRole, Stage
from models.decision.grant_status import Status
from models.past.processing_register import AgreementThen, CategoryOfData, Controller, Processing, Recipient, Register
from models.past.register_texts import BY_THE_SCHOOL, Bilingual
from models.vocabulary.working_days import AMSTERDAM

TITLE: Final = "Register van verwerkingsactiviteiten"
#: The source of the document's data.
SOURCE: Final = Bilingual(
    "Dit register is opgemaakt uit het logboek van de privacymanager tot en met de genoemde gebeurtenis. De namen van"
    " school, bestuur en vestigingen zijn die van het moment van opmaken, alle andere gegevens die van de genoemde"
    " stand. Tijden zijn die van Europe/Amsterdam.",
    "Made of the privacy manager's log up to the named event. The names of the school, its board and its locations are"
    " those of when it was drawn up; everything else is as of the named instant. Times are those of Europe/Amsterdam.",
)
#: The places in the document that answer each letter of art. 30(1).
PLACES: Final = Bilingual(
    "AVG art. 30 lid 1: a hierboven; b bij Doeleinden; c bij Categorieën van betrokkenen, Gegevens en Categorieën van"
    " persoonsgegevens; d bij Ontvanger en Subverwerkers; e bij Doorgifte buiten de EER; f bij Bewaartermijn; g bij"
    " Beveiliging. Wat de school zelf moet invullen, staat er als „door de school in te vullen”.",
    "GDPR art. 30(1): (a) above; (b) at Purposes; (c) at Categories of data subjects, Data and Categories of personal"
    " data; (d) at Recipient and Sub-processors; (e) at Transfers outside the EEA; (f) at Retention; (g) at Security."
    " What the school must fill in itself reads “to be stated by the school”.",
)
NONE: Final = "geen / none"
UNKNOWN: Final = "staat niet in het logboek / not in the log"

STATUS: Final[Mapping[str, str]] = {
    Status.GRANTED: "verleend / granted",
    Status.SUSPENDED: "opgeschort / suspended",
    Status.NEEDS_RECONFIRMATION: "herbevestiging nodig / needs reconfirmation",
    Status.REVOKED: "ingetrokken / revoked",
    Status.EXPIRED: "verlopen / expired",
}
_ROLE: Final[Mapping[str, str]] = {
    RecipientRole.PROCESSOR: "verwerker / processor",
    RecipientRole.CONTROLLER: "zelf verwerkingsverantwoordelijke / controller itself",
}
_STAGE: Final[Mapping[str, str]] = {
    Stage.BUILDING: "in aanbouw / being built",
    Stage.PLACED: "geplaatst, nog niet in gebruik / placed, not yet live",
    Stage.LIVE: "in gebruik / live",
    Stage.WITHDRAWN: "teruggetrokken / withdrawn",
}


def register_lines(register: Register) -> list[Line]:
    """The lines about the register as a whole."""
    controller = register.controller
    return [
        Line("Verwerkingsverantwoordelijke", "Controller",
             (_board(controller), _both(controller.board_note))),
        Line("School", "School", (f"{controller.school_name} (BRIN {controller.brin})",)),
        Line("Contactgegevens", "Contact details", (_both(register.contact),)),
        Line("Gezamenlijke verwerkingsverantwoordelijken", "Joint controllers", (_both(register.joint_controllers),)),
        Line("Functionaris voor gegevensbescherming", "Data protection officer",
             (_both(register.data_protection_officer),)),
        Line("Beveiliging door de school", "Security by the school", (_both(register.security),)),
        Line("Stand per", "As of", (instant(register.at),)),
        Line("Opgemaakt op", "Drawn up on", (instant(register.drawn_up_at),)),
        Line("Laatste gebeurtenis in het logboek", "Last event of the log", (str(register.last_event),)),
    ]  # fmt: skip


def processing_lines(controller: Controller, processing: Processing) -> list[Line]:
    """The lines about one processing, by `PROCESSING_LINES`; one that does not apply has no values."""
    return [Line(nl, en, tuple(values(controller, processing))) for nl, en, values in PROCESSING_LINES]


def moment(at: datetime) -> str:
    """An instant to the minute, as text in the time of Amsterdam."""
    return at.astimezone(AMSTERDAM).strftime("%Y-%m-%d %H:%M")


def instant(at: datetime) -> str:
    """An instant in full precision, as text; the same register can be requested by it again."""
    return f"{at.astimezone(AMSTERDAM).isoformat(sep=' ')} (Europe/Amsterdam)"


def _both(text: Bilingual) -> str:
    return f"{text.nl} / {text.en}"


#: The value of a line that the school must fill in.
TO_STATE: Final = _both(BY_THE_SCHOOL)


def _board(controller: Controller) -> str:
    if controller.board_number is None:
        return UNKNOWN
    number = f"bevoegd gezag {controller.board_number}"
    return f"{controller.board_name} ({number})" if controller.board_name else number.capitalize()


def place(controller: Controller, processing: Processing) -> str:
    """The place that a processing is for: the whole school, or a location."""
    if processing.location is None:
        return f"de hele school / the whole school ({controller.brin})"
    return f"{processing.location} {processing.location_name or ''}".strip()


def _status(_: Controller, processing: Processing) -> Iterable[str]:
    yield STATUS[processing.status]
    if processing.suspended_until is not None:
        yield f"opgeschort tot / suspended until {moment(processing.suspended_until)}"
    if processing.reconfirm_by is not None:
        yield f"te herbevestigen voor / to be reconfirmed by {moment(processing.reconfirm_by)}"


def _connection(recipient: Recipient) -> Iterable[str]:
    yield f"{recipient.connection} ({recipient.client_id})"
    if recipient.stage is not None:
        yield _STAGE[recipient.stage]
    if recipient.stopped_at is not None:
        yield f"noodstop sinds / emergency stop since {moment(recipient.stopped_at)}"


def _data(category: CategoryOfData) -> str:
    fields = (
        f"{name} ({category.conditions[name]})" if name in category.conditions else name for name in category.fields
    )
    return f"{category.scope}: {', '.join(fields) or UNKNOWN}"


def _from_agreement(
    agreement: AgreementThen | None, values_of: Callable[[AgreementThen], tuple[str, ...] | None]
) -> tuple[str, ...]:
    """The values from an agreement; `NONE` where it has none, `UNKNOWN` where the log does not hold them."""
    values = values_of(agreement) if agreement is not None else None
    return (UNKNOWN,) if values is None else values or (NONE,)


def _version(agreement: AgreementThen | None) -> Iterable[str]:
    if agreement is None:
        yield UNKNOWN
        return
    yield f"versie / version {agreement.agreement_version} ({agreement.agreement_id})"
    yield f"privacybijsluiter {agreement.privacybijsluiter_version}"
    yield f"getekend op / signed on {agreement.signed_on.isoformat()}"
    yield f"geldig / valid {moment(agreement.valid_from)} – {until(agreement.valid_until)}"
    if not agreement.in_force:
        yield "op deze datum niet van kracht / not in force on this date"
    if agreement.replaced_by is not None:
        other = agreement.replaced_by
        yield (
            f"in plaats daarvan geldt / in its place holds {other.agreement_version},"
            f" privacybijsluiter {other.privacybijsluiter_version} ({other.agreement_id})"
        )


def _transfers(agreement: AgreementThen | None) -> tuple[str, ...]:
    countries = _from_agreement(agreement, lambda agreement: agreement.outside_eea)
    if agreement is None or not agreement.outside_eea:
        return countries
    return *countries, "passende waarborgen: door de school in te vullen / safeguards: to be stated by the school"


def _retention(processing: Processing) -> Iterable[str]:
    days = processing.retention_days
    if days is None:
        yield UNKNOWN
        return
    yield f"{days} dagen na het einde van de verwerking / days after the end of the processing"
    if processing.retention_from is not None:
        yield f"te tellen vanaf / counted from {moment(processing.retention_from)}"


def until(end: datetime | None) -> str:
    """The end of a period, as text in the time of Amsterdam."""
    return "tot nader bericht / until further notice" if end is None else moment(end)


def _deletion(_: Controller, processing: Processing) -> Iterable[str]:
    if processing.retention_from is None:
        return
    by: date | None = processing.delete_by
    yield UNKNOWN if by is None else by.isoformat()
    for grant_id in processing.continued_by:
        yield f"behalve wat valt onder toestemming / but for what is covered by grant {grant_id}"


def _storage(agreement: AgreementThen) -> tuple[str, ...] | None:
    return (", ".join(agreement.storage_countries),) if agreement.storage_countries else agreement.storage_countries


def _sub_processors(agreement: AgreementThen) -> tuple[str, ...] | None:
    found = agreement.sub_processors
    return found if found is None else tuple(f"{each.name} ({each.country})" for each in found)


#: The lines of every processing in order: Dutch heading, English heading, and the function of the values.
PROCESSING_LINES: Final[tuple[tuple[str, str, Callable[[Controller, Processing], Iterable[str]]], ...]] = (
    ("Toestemming", "Grant", lambda _, each: [each.grant_id]),
    ("Status", "Status", _status),
    ("Plaats", "Place", lambda controller, each: [place(controller, each)]),
    ("Ontvanger", "Recipient", lambda _, each: [f"{each.recipient.name} (KvK {each.recipient.kvk_number})"]),
    ("Koppeling", "Connection", lambda _, each: _connection(each.recipient)),
    ("Rol van de ontvanger", "Role of the recipient", lambda _, each: [_ROLE[each.recipient.recipient_role]]),
    ("Doeleinden", "Purposes", lambda _, each: [f"{purpose.title} ({purpose.code})" for purpose in each.purposes]),
    (
        "Basis van de verstrekking",
        "Basis of the disclosure",
        lambda _, each: [each.instruction.nl, each.instruction.en],
    ),
    ("Grondslag (AVG art. 6 lid 1)", "Lawful basis (GDPR art. 6(1))", lambda _, each: [_both(each.lawful_basis)]),
    (
        "Categorieën van betrokkenen",
        "Categories of data subjects",
        lambda _, each: [_both(who) for who in each.data_subjects] or [NONE],
    ),
    ("Gegevens", "Data", lambda _, each: [_data(category) for category in each.data]),
    (
        "Categorieën van persoonsgegevens",
        "Categories of personal data",
        lambda _, each: _from_agreement(each.agreement, lambda agreement: agreement.categories),
    ),
    ("Verwerkersovereenkomst", "Processing agreement", lambda _, each: _version(each.agreement)),
    ("Subverwerkers", "Sub-processors", lambda _, each: _from_agreement(each.agreement, _sub_processors)),
    (
        "Landen van opslag",
        "Countries of storage",
        lambda _, each: _from_agreement(each.agreement, _storage),
    ),
    ("Doorgifte buiten de EER", "Transfers outside the EEA", lambda _, each: _transfers(each.agreement)),
    ("Bewaartermijn", "Retention", lambda _, each: _retention(each)),
    ("Beveiliging", "Security", lambda _, each: [each.security.nl, each.security.en]),
    ("Verleend op", "Granted on", lambda _, each: [moment(each.granted_at)]),
    ("Geldig vanaf", "Valid from", lambda _, each: [moment(each.valid_from)]),
    ("Geldig tot", "Valid until", lambda _, each: [until(each.valid_until)]),
    ("Beëindigd op", "Ended on", lambda _, each: [moment(each.ended_at)] if each.ended_at is not None else []),
    ("Gegevens verwijderd uiterlijk", "Data deleted by", _deletion),
)
