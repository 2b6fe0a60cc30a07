"""Invented answers of a LAS, clean and as unclean as the field's. Every value that is planted can be traced.

Whatever is written here is made up. A planted value carries a marker that occurs once, or is a date or a number that
occurs once, so that a value that comes out of the release layer can be traced to the field it was planted in.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from tests.exchange.peers.answer_writer import SOAP, UWLR, XSI, Element, Writer

CallName = Literal["leerlinggegevens", "structuur", "leerlingen", "leerkrachten"]

CALLS: Final[tuple[CallName, ...]] = ("leerlinggegevens", "structuur", "leerlingen", "leerkrachten")
FOREIGN: Final = "urn:voorbeeld:uitbreiding"
ECKID_HOST: Final = "https://eckid.voorbeeld.example/201703/"
SCHOOLJAAR: Final = "2026-2027"
BRIN: Final = "16SW"

#: The sections of each answer, in the order of the schema.
SECTIONS: Final[dict[CallName, tuple[str, ...]]] = {
    "leerlinggegevens": ("school", "vestigingen", "groepen", "leerlingen", "leerkrachten"),
    "structuur": ("school", "vestigingen", "groepen"),
    "leerlingen": ("school", "leerlingen"),
    "leerkrachten": ("school", "leerkrachten"),
}

_SURNAMES: Final = (
    "O'Brien",
    "Öztürk & Zn.",
    "de <Wit>",
    'van "Dam"',
    "Łukasz-Ğ",
    "d’Été",
    "𝔄delheid",
    "Ng]]>Ha",
    "李小龙",
    "I%20J &amp; co",
)
_GRADES: Final = ("1", "2", "3", "4", "5", "6", "7", "8")
_ROLES: Final = ("DIR", "ICT", "ADM")


def inner_name(call: CallName) -> str:
    """The name of the element that holds the data of an answer to this call."""
    return call if call == "leerlinggegevens" else f"leerlinggegevens-{call}"


@dataclass(frozen=True)
class Planted:
    """A value that occurs once in an answer.

    It may be released only where each of `needs`, (type, field), is granted; where `never`, under no grant at all.
    """

    path: str
    marker: str
    needs: frozenset[tuple[str, str]] = frozenset()
    never: bool = False


@dataclass(frozen=True)
class Invented:
    """An answer, and what was planted in it."""

    call: CallName
    content: bytes
    planted: tuple[Planted, ...]
    clean: bool
    schooljaar: str = SCHOOLJAAR
    brincode: str = BRIN
    dependancecode: str | None = None


def invented(
    call: CallName,
    *,
    seed: int = 0,
    clean: bool = True,
    brincode: str | None = BRIN,
    schooljaar: str = SCHOOLJAAR,
    dependancecode: str | None = None,
    schoolkey: str | None = None,
    groups: int = 2,
    pupils: int = 5,
    teachers: int = 3,
) -> Invented:
    """An answer to `call`, valid under the profile where it is `clean`, else with all that it shouldn't hold."""
    chance = random.Random(f"{call} {seed} {clean}")
    inventor = _Inventor(chance, clean)
    school = inventor.school(schooljaar, brincode, dependancecode, schoolkey)
    sections: dict[str, Element] = {"school": school}
    in_full = call == "leerlinggegevens"
    if not clean and "vestigingen" in SECTIONS[call]:
        sections["vestigingen"] = inventor.locations()
    if "groepen" in SECTIONS[call]:
        sections["groepen"] = inventor.groups(groups)
    else:
        inventor.groups_elsewhere(groups)
    if "leerlingen" in SECTIONS[call]:
        sections["leerlingen"] = Element("leerlingen", inventor.pupils(pupils, in_full=in_full))
    if "leerkrachten" in SECTIONS[call]:
        sections["leerkrachten"] = Element("leerkrachten", inventor.teachers(teachers, in_full=in_full))
    inner = Element(inner_name(call), [sections[name] for name in SECTIONS[call] if name in sections])
    if not clean:
        inventor.soil_the_sections(inner)
    answer = Element(f"{call}_antwoord", [inner])
    content = enveloped(Writer(chance, inventor.plant, clean).written(answer), prefix=chance.choice(("soap", "S", "e")))
    return Invented(call, content, tuple(inventor.planted), clean, schooljaar, brincode or BRIN, dependancecode)


def enveloped(body: str, *, prefix: str = "soap", header: str = "") -> bytes:
    """The SOAP envelope around this body, as UTF-8."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{prefix}:Envelope xmlns:{prefix}="{SOAP}">{header}<{prefix}:Body>{body}</{prefix}:Body></{prefix}:Envelope>'
    ).encode()


def exception_answer(call: CallName, name: Literal["geenwijzigingen", "geengegevens"]) -> bytes:
    """The answer that there is nothing new, or nothing at all."""
    return enveloped(f'<{call}_antwoord xmlns="{UWLR}"><{name}/></{call}_antwoord>')


class _Inventor:
    """Makes up the entities of one answer and keeps what it planted."""

    def __init__(self, chance: random.Random, clean: bool) -> None:
        self.chance = chance
        self.clean = clean
        self.planted: list[Planted] = []
        self._group_keys: list[str] = []
        self._composed_keys: list[str] = []

    # -- planting -------------------------------------------------------------------------------------------------

    def plant(self, path: str, *needs: tuple[str, str], never: bool = False) -> str:
        """A marker that occurs nowhere else."""
        marker = f"zq{len(self.planted):06d}"
        self.planted.append(Planted(path, marker, frozenset(needs), never))
        return marker

    def day(self, path: str, *needs: tuple[str, str], never: bool = False) -> str:
        """A date that occurs nowhere else, long before anyone in a school was born."""
        day = (date(1900, 1, 1) + timedelta(days=len(self.planted))).isoformat()
        self.planted.append(Planted(path, day, frozenset(needs), never))
        return day

    def number(self, path: str, digits: int) -> str:
        """A national number that is none, and that is never released."""
        number = f"9870{len(self.planted):0{digits - 4}d}"
        self.planted.append(Planted(path, number, never=True))
        return number

    def released(self, entity: str, name: str) -> str:
        return self.plant(f"{entity}.{name}", (entity, name))

    # -- the school and its groups --------------------------------------------------------------------------------

    def school(
        self, schooljaar: str, brincode: str | None, dependancecode: str | None, schoolkey: str | None
    ) -> Element:
        fields = [
            Element("schooljaar", schooljaar),
            Element("peildatum", self.day("school.peildatum", ("school", "peildatum"))),
            *([Element("brincode", brincode)] if brincode is not None else []),
            *([Element("dependancecode", dependancecode)] if dependancecode is not None else []),
            Element("schoolkey", self.released("school", "schoolkey") if schoolkey is None else schoolkey),
            Element("aanmaakdatum", self.day("school.aanmaakdatum", ("school", "aanmaakdatum")) + "T08:30:00+02:00"),
            Element("auteur", "LAS & Co " + self.released("school", "auteur")),
            Element("xsdversie", "2.2"),
            Element("commentaar", "Gemaakt <nu> " + self.released("school", "commentaar")),
        ]
        if not self.clean:
            fields += [self.never("school", "instellingsnummer"), self.addition("school"), self.block("school")]
        return self.soiled(Element("school", fields), "school")

    def locations(self) -> Element:
        """The school's locations, which the profile has no place for."""
        fields = [self.never("vestiging", name) for name in ("naam", "omschrijving", "mutatiedatum")]
        key = self.plant("vestiging.@key", never=True)
        return Element("vestigingen", [Element("vestiging", fields, {"key": key})])

    def groups(self, number: int) -> Element:
        made = [self.group(nth) for nth in range(number)] + [self.composed_group(nth) for nth in range(number)]
        if not self.clean:
            self.chance.shuffle(made)
        return Element("groepen", made)

    def group(self, nth: int) -> Element:
        key = f"{self.released('groep', '@key')} & \"<{nth}>'"
        self._group_keys.append(key)
        fields = [
            Element("naam", f"Groep {nth} & meer {self.released('groep', 'naam')}"),
            Element("jaargroep", _GRADES[nth % len(_GRADES)]),
        ]
        if not self.clean:
            fields += [self.never("groep", name) for name in ("omschrijving", "mutatiedatum")]
            fields += [self.addition("groep"), self.block("groep")]
        return self.soiled(Element("groep", fields, {"key": key}), "groep")

    def composed_group(self, nth: int) -> Element:
        key = f"{self.released('groep', 'samengestelde_groep/@key')} & \"<{nth}>'"
        self._composed_keys.append(key)
        fields = [Element("naam", f"Niveau {nth} {self.released('groep', 'samengestelde_groep/naam')}")]
        if not self.clean:
            fields += [self.never("samengestelde_groep", name) for name in ("omschrijving", "mutatiedatum")]
            fields += [self.addition("samengestelde_groep"), self.block("samengestelde_groep")]
        return self.soiled(Element("samengestelde_groep", fields, {"key": key}), "samengestelde_groep")

    def groups_elsewhere(self, number: int) -> None:
        """The groups that a stepwise answer refers to and doesn't hold: their keys stand in references only."""
        self._group_keys = [f"stamgroep {nth}" for nth in range(number)]
        self._composed_keys = [f"niveaugroep {nth}" for nth in range(number)]

    # -- pupils and teachers --------------------------------------------------------------------------------------

    def pupils(self, number: int, *, in_full: bool) -> list[Element]:
        return [self.pupil(nth, in_full=in_full) for nth in range(number)]

    def pupil(self, nth: int, *, in_full: bool) -> Element:
        with_eckid = nth % 4 != 3
        attributes = {"key": self.plant("leerling.@key", ("leerling", "@key"), never=with_eckid) + ' "&<'}
        if with_eckid:
            attributes["eckid"] = self.eckid("leerling")
        fields = [
            *self.names("leerling", nth),
            Element("geboortedatum", self.birthday(nth)),
            Element("jaargroep", self.grade(nth)),
            *self.groups_of_pupil(nth, in_full=in_full),
        ]
        if not self.clean:
            fields += self.unreleased_of_pupil()
        return self.soiled(Element("leerling", fields, attributes), "leerling")

    def birthday(self, nth: int) -> str:
        """A date; of some of the unclean, nothing or what is no date."""
        if not self.clean and nth % 5 == 0:
            return ""
        if not self.clean and nth % 5 == 3:
            return "in 2016 of " + self.unreleasable("leerling", "geboortedatum")
        return self.day("leerling.geboortedatum", ("leerling", "geboortedatum"))

    def grade(self, nth: int) -> str:
        if not self.clean and nth % 5 == 2:
            return "groep " + self.unreleasable("leerling", "jaargroep")
        return _GRADES[nth % len(_GRADES)]

    def groups_of_pupil(self, nth: int, *, in_full: bool) -> list[Element]:
        """Every third pupil of an unclean answer is in groups that nobody knows, and the next in some of both."""
        composed = [self.reference(key, "leerling", composed=True, in_full=in_full) for key in self._composed_keys]
        group = self.reference(self._group_keys[nth % len(self._group_keys)], "leerling", in_full=in_full)
        if not self.clean and in_full and nth % 3 == 1:
            group = self.dangling("groep", "leerling.groep")
            composed = [self.dangling("samengestelde_groep", "leerling.samengestelde_groepen")]
        if not self.clean and in_full and nth % 3 == 2:
            composed.insert(1, self.dangling("samengestelde_groep", "leerling.samengestelde_groepen"))
        return [group, Element("samengestelde_groepen", composed)]

    def unreleased_of_pupil(self) -> list[Element]:
        texts = (
            "voornamen voorletters-1 geslacht gebruikersnaam emailadres fotourl etniciteit land land_vader land_moeder "
            "bsn_ondwnr-4 gewicht_nieuw gewicht postcodenl postnummerbe postcodeoverig"
        )
        days = ("start_ondw_jgr3", "instroomdatum", "uitstroomdatum", "mutatiedatum")
        numbers = {"sofinummer": 9, "bsn": 9, "onderwijsnummer": 9, "rijksregisternummer": 11}
        location = Element("vestiging", [], {"key": self.plant("leerling.vestiging/@key", never=True)})
        return [
            *(self.never("leerling", name) for name in texts.split()),
            *(Element(name, self.day(f"leerling.{name}", never=True)) for name in days),
            *(Element(name, self.number(f"leerling.{name}", digits)) for name, digits in numbers.items()),
            location,
            self.addition("leerling"),
            self.block("leerling"),
        ]

    def teachers(self, number: int, *, in_full: bool) -> list[Element]:
        return [self.teacher(nth, in_full=in_full) for nth in range(number)]

    def teacher(self, nth: int, *, in_full: bool) -> Element:
        attributes = {"key": f'{self.released("docent", "@key")} "&<'}
        if nth % 3 != 2:
            attributes["eckid"] = self.eckid("docent")
        fields = [
            *self.names("docent", nth),
            Element("emailadres", self.released("docent", "emailadres") + "@school.voorbeeld.example"),
            Element("groepen", self.groups_of_teacher(nth, in_full=in_full)),
        ]
        if not self.clean:
            never = ("voornamen", "voorletters-1", "gebruikersnaam", "rol", "rolomschrijving", "mutatiedatum")
            fields += [self.never("docent", name) for name in never]
            fields += [self.addition("docent"), self.block("docent")]
        return self.soiled(Element("leerkracht", fields, attributes), "docent")

    def groups_of_teacher(self, nth: int, *, in_full: bool) -> list[Element]:
        made = [self.reference(key, "docent", in_full=in_full, role=nth) for key in self._group_keys]
        made += [
            self.reference(key, "docent", composed=True, in_full=in_full, role=nth + 1) for key in self._composed_keys
        ]
        if self.clean or not in_full:
            return made
        if nth % 3 == 1:
            return [self.dangling("groep", "docent.groepen"), self.dangling("samengestelde_groep", "docent.groepen")]
        return [self.dangling("groep", "docent.groepen"), *made]

    def names(self, entity: str, nth: int) -> list[Element]:
        """The three parts of a name; of some of the unclean, one is empty, absent or too long."""
        surname = Element("achternaam", f"{self.chance.choice(_SURNAMES)} {self.released(entity, 'achternaam')}")
        infix = Element("voorvoegsel", self.released(entity, "voorvoegsel"))
        called = Element("roepnaam", f"Zoë {self.released(entity, 'roepnaam')}")
        if self.clean:
            return [[surname, infix, called], [surname], [called], [surname, infix]][nth % 4]
        odd = [
            [surname, Element("voorvoegsel"), called],
            [surname, Element("voorvoegsel", self.unreleasable(entity, "voorvoegsel") + " te lang"), called],
            [Element("achternaam"), infix, called],
            [],
            [infix],
        ]
        return odd[nth % 5]

    def eckid(self, entity: str) -> str:
        """An ECK iD, which has no room for a marker: it is traced by the last of its digits."""
        digits = "".join(self.chance.choice("0123456789abcdef") for _ in range(128))
        self.planted.append(Planted(f"{entity}.@eckid", digits[-24:], frozenset({(entity, "@eckid")})))
        return ECKID_HOST + digits

    def reference(
        self, key: str, entity: str, *, composed: bool = False, in_full: bool, role: int | None = None
    ) -> Element:
        """A reference to a group; where the answer doesn't hold the group, its key was planted here."""
        kind = "samengestelde_groep" if composed else "groep"
        inside = "groepen/" if entity == "docent" else "samengestelde_groepen/" if composed else ""
        path = f"{inside}{kind}"
        if not in_full:
            granted = ("groep", "samengestelde_groep/@key" if composed else "@key")
            key = f"{key} {self.plant(f'{entity}.{path}/@key', (entity, f'{path}/@key'), granted)}"
        return self.soiled(
            Element(kind, self.roles(entity, path, role) if role is not None else [], {"key": key}), f"{entity}.{path}"
        )

    def roles(self, entity: str, path: str, nth: int) -> list[Element]:
        described = Element("rolomschrijving", self.released(entity, f"{path}/rolomschrijving"))
        role = Element("rol", _ROLES[nth % len(_ROLES)])
        if self.clean:
            return [[role, described], [described, role, role], [role], []][nth % 4]
        odd = Element("rol", self.unreleasable(entity, f"{path}/rol"))
        return [[described, odd], [role, odd, described], [Element("rolomschrijving"), role]][nth % 3]

    # -- what isn't released --------------------------------------------------------------------------------------

    def dangling(self, kind: str, path: str) -> Element:
        return Element(kind, [], {"key": self.plant(f"{path}: a reference to nothing", never=True)})

    def unreleasable(self, entity: str, name: str) -> str:
        """A value that the schema doesn't allow in its field, so that it isn't released even where that is granted."""
        return self.plant(f"{entity}.{name}: not valid", never=True)

    def never(self, entity: str, name: str) -> Element:
        return Element(name, self.plant(f"{entity}.{name}", never=True))

    def addition(self, entity: str) -> Element:
        return Element("toevoegingen", [self.block(entity), self.block(entity)])

    def block(self, entity: str) -> Element:
        """A block of additions; what it holds is named as if it might be released."""
        inside = [self.never(f"{entity}.blok", name) for name in ("code", "achternaam", "naam", "jaargroep")]
        nested = Element("leerling", [self.never(f"{entity}.blok/leerling", "roepnaam")], {"key": "0"})
        return Element("blok", [*inside, nested], {f"{{{XSI}}}type": self.plant(f"{entity}.blok/@type", never=True)})

    def soiled(self, element: Element, path: str) -> Element:
        """The element, in an unclean answer with unknown things in and on it, and out of order."""
        if self.clean:
            return element
        assert isinstance(element.content, list)
        foreign = {
            f"{{{FOREIGN}}}key": self.plant(f"{path}/@vreemd:key", never=True),
            f"{{{UWLR}}}eckid": self.plant(f"{path}/@uwlr:eckid", never=True),
            "bsn": self.plant(f"{path}/@bsn", never=True),
            f"{{{XSI}}}nil": "false",
        }
        element.attributes |= dict(self.chance.sample(sorted(foreign.items()), 2))
        element.content += self.unknown(path)
        self.chance.shuffle(element.content)
        return element

    def unknown(self, path: str) -> list[Element]:
        """Elements that the standard doesn't know, or knows elsewhere."""
        makers: Sequence[Callable[[], Element]] = (
            lambda: self.never(path, "onbekend"),
            lambda: Element("naam", self.plant(f"{path}/vreemd:naam", never=True), namespace=FOREIGN),
            lambda: Element("achternaam", self.plant(f"{path}/vreemd:achternaam", never=True), namespace=FOREIGN),
            lambda: Element("roepnaam", self.plant(f"{path}/roepnaam of no namespace", never=True), namespace=""),
            lambda: Element("groep", [self.never(f"{path}/vreemd:groep", "naam")], {"key": "1"}, FOREIGN),
            lambda: Element("extra", [self.never(f"{path}/extra", name) for name in ("achternaam", "emailadres")]),
        )
        return [make() for make in self.chance.sample(makers, 2)]

    def soil_the_sections(self, inner: Element) -> None:
        assert isinstance(inner.content, list)
        inner.content.append(Element("resultaten", [self.never("resultaten", "naam")]))
        inner.content.append(
            Element("leerlingen", [Element("leerling", [self.never("vreemd", "achternaam")])], namespace=FOREIGN)
        )
        inner.attributes |= {
            f"{{{XSI}}}schemaLocation": f"{UWLR} {self.plant('@schemaLocation', never=True)}.xsd",
            "gemaakt": self.plant("@gemaakt", never=True),
        }
        self.chance.shuffle(inner.content)
