"""UWLR-L's calls and faults, and the structure of the profile Smalle set's answers (UWLR 2.2 and 2.3)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
UWLR: Final = "http://www.edustandaard.nl/leerresultaten/2/leerlinggegevens"
AUTORISATIE: Final = "http://www.edustandaard.nl/leerresultaten/2/autorisatie"

#: Schema versions that a request may name; 2.3 has no date of birth.
VERSIONS: Final = ("2.2", "2.3")
WITH_DATE_OF_BIRTH: Final = "2.2"


class Call(StrEnum):
    """The four calls, by the prefix of their request's and answer's names."""

    ALL = "leerlinggegevens"
    STRUCTURE = "structuur"
    PUPILS = "leerlingen"
    TEACHERS = "leerkrachten"

    @property
    def data(self) -> str:
        """The element with the data in the answer."""
        return "leerlinggegevens" if self is Call.ALL else f"leerlinggegevens-{self.value}"

    @property
    def action(self) -> str:
        """The SOAPAction of the service description."""
        return "HaalLeerlinggegevens" if self is Call.ALL else f"{UWLR}/{self.value}_verzoek"

    @property
    def needs(self) -> tuple[str, ...]:
        """The types without which no answer is valid."""
        return _NEEDS[self]


_NEEDS: Final = {
    Call.ALL: ("school", "leerling"),
    Call.STRUCTURE: ("school",),
    Call.PUPILS: ("school", "leerling"),
    Call.TEACHERS: ("school", "docent"),
}


class Fault(StrEnum):
    """The standard's faults."""

    INVALID_MESSAGE = "Client.OngeldigBericht"
    UNKNOWN_CUSTOMER = "Client.OngeldigeKlantIdentificatie"
    NOT_AUTHORISED = "Client.AutorisatieOngeldig"
    INVALID_VERSION = "Client.XsdVersieOngeldig"
    UNAVAILABLE = "Server.TijdelijkNietBeschikbaar"
    INTERNAL = "Server.InterneFout"


@dataclass(frozen=True)
class Expected:
    """Values that an answer must have: school, school year and schema version of the request.

    With a `schoolkey` the answer must have that; its BRIN is checked only if it has one.
    """

    schooljaar: str
    brincode: str
    dependancecode: str | None
    schoolkey: str | None
    xsdversie: str


# -- values -----------------------------------------------------------------------------------------------------------

#: Whether a text is a valid value of a schema type.
Valid = Callable[[str], bool]


def text(limit: int) -> Valid:
    return lambda value: len(value) <= limit


def _pattern(expression: str) -> Valid:
    matches = re.compile(expression, re.ASCII).fullmatch
    return lambda value: matches(value) is not None


def _instant(expression: str, parsed: Callable[[str], date]) -> Valid:
    """A calendar date or time: the expression's first group is parsed by `parsed`; a time zone may follow."""
    matches = re.compile(rf"({expression})(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)?", re.ASCII).fullmatch

    def valid(value: str) -> bool:
        match = matches(value)
        try:
            return match is not None and bool(parsed(match[1]))
        except ValueError:
            return False

    return valid


#: Whether a text is an `xs:date`, or an `xs:dateTime`.
is_day: Final = _instant(r"\d{4}-\d\d-\d\d", date.fromisoformat)
is_moment: Final = _instant(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?", datetime.fromisoformat)
is_school_year: Final = _pattern(r"[12]\d{3}-[12]\d{3}")
is_brin: Final = _pattern(r"\d{2}[A-Z]{2}")
is_location: Final = _pattern(r"\d{2}")
is_year_group: Final = _pattern("[BDSVCNH0-8]|1[1-6]")
is_role: Final = _pattern("ADJ|ADM|CON|DIR|ICT|IB|KLA|LRK|LOS|LOC|OWA|OUD|RT|SMW|STA|VAK")
MOST_IN_A_KEY: Final = 256


def place_of(code: str) -> str:
    """A BRIN4 or BRIN6 in UWLR's sense: location `00` is the whole school."""
    return code[:4] if code[4:] == "00" else code


# -- the entities of an answer ----------------------------------------------------------------------------------------

NAME: Final[dict[str, Valid]] = {"achternaam": text(200), "voorvoegsel": text(10), "roepnaam": text(64)}


@dataclass(frozen=True)
class Entity:
    """One kind of element in the profile: its simple fields in the schema's order, and the required ones.

    `groups` is the element that holds references to groups; a leerling's single `groep` is such a reference itself.
    """

    name: str
    resource_type: str
    #: Prefix of each field's name in the catalogue of scopes.
    prefix: str
    fields: dict[str, Valid]
    required: tuple[str, ...] = ()
    group: str | None = None
    groups: str | None = None
    roles: bool = False
    is_person: bool = False


SCHOOL: Final = Entity(
    "school",
    "school",
    "",
    {
        "schooljaar": is_school_year,
        "peildatum": is_day,
        "brincode": is_brin,
        "dependancecode": is_location,
        "schoolkey": text(MOST_IN_A_KEY),
        "aanmaakdatum": is_moment,
        "auteur": text(128),
        "xsdversie": text(32),
        "commentaar": lambda _: True,
    },
    required=("schooljaar",),
)
GROUP: Final = Entity(
    "groep", "groep", "", {"naam": text(64), "jaargroep": is_year_group}, required=("naam", "jaargroep")
)
COMPOSED_GROUP: Final = Entity(
    "samengestelde_groep", "groep", "samengestelde_groep/", {"naam": text(64)}, required=("naam",)
)
PUPIL: Final = Entity(
    "leerling",
    "leerling",
    "",
    {**NAME, "geboortedatum": is_day, "jaargroep": is_year_group},
    group="groep",
    groups="samengestelde_groepen",
    is_person=True,
)
TEACHER: Final = Entity(
    "leerkracht",
    "docent",
    "",
    {**NAME, "emailadres": text(256)},
    groups="groepen",
    roles=True,
    is_person=True,
)
ROLES: Final[dict[str, Valid]] = {"rol": is_role, "rolomschrijving": text(64)}

#: Sections of the data in the schema's order, with the kinds of elements in each.
SECTIONS: Final = {
    "groepen": (GROUP, COMPOSED_GROUP),
    "leerlingen": (PUPIL,),
    "leerkrachten": (TEACHER,),
}
SECTIONS_OF: Final = {
    Call.ALL: ("groepen", "leerlingen", "leerkrachten"),
    Call.STRUCTURE: ("groepen",),
    Call.PUPILS: ("leerlingen",),
    Call.TEACHERS: ("leerkrachten",),
}
NOTHING: Final = ("geenwijzigingen", "geengegevens")
