"""What a released answer must be, a second time: on trees, slow and plain, sharing no code with the release layer.

It knows the standard's own schemas, from the folder that `UWLR_STANDARD_DIR` names, and the catalogue as JSON.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from lxml import etree

from tests.exchange.peers.invented import SOAP, UWLR, CallName, Invented, inner_name

CATALOGUE: Final = json.loads((Path(__file__).parents[2] / "models/catalogue/scopes.json").read_text("utf-8"))
NEVER_RELEASED: Final = frozenset((entry["type"], entry["field"]) for entry in CATALOGUE["neverReleased"])

#: The variable that names the folder with the standard.
STANDARD: Final = "UWLR_STANDARD_DIR"
#: Marks a test that holds something against the standard's own files, or asks with its service description.
needs_standard: Final = pytest.mark.skipif(
    not os.environ.get(STANDARD),
    reason=f"{STANDARD} is not set: it names the folder with the standard's Schemas and wsdl, no part of this project",
)
STAND_IN: Final = "-"

Release = Mapping[str, frozenset[str]]

#: The type in the catalogue and the complex type in the schema of each entity, by the section it stands in.
_ENTITIES: Final = {
    "school": ("school", "SchoolType"),
    "groep": ("groep", "GroepType"),
    "samengestelde_groep": ("groep", "SamengesteldeGroepType"),
    "leerling": ("leerling", "LeerlingType"),
    "leerkracht": ("docent", "LeerkrachtType"),
}
_KINDS: Final = {"groep": "@key", "samengestelde_groep": "samengestelde_groep/@key"}
_SCHOOLJAAR: Final = "EDEXSchooljaarType"
_XS: Final = "{http://www.w3.org/2001/XMLSchema}"


class Node(NamedTuple):
    """An element without its looks: no prefixes, no comments, no space between elements."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    text: str = ""
    children: "tuple[Node, ...]" = ()


def standard_folder() -> Path:
    """The folder with the standard's schemas and service description, for a test that `needs_standard`."""
    named = os.environ.get(STANDARD)
    assert named, f"{STANDARD} names no folder with the standard: the test is not marked as one that needs it"
    return Path(named)


def findings(source: Invented, release: Release, released: bytes, xsdversie: str = "2.2") -> list[str]:
    """All that is wrong with what was released of `source`; nothing, where it is right."""
    unsafe = breaches(source, release, released, xsdversie)
    if unsafe:
        return unsafe
    return list(differences(expected(source, release, xsdversie), _tree(released)))


def breaches(source: Invented, release: Release, released: bytes, xsdversie: str = "2.2") -> list[str]:
    """What was released and shouldn't be, or isn't valid; it doesn't say what is missing."""
    try:
        envelope = etree.fromstring(released, _parser())
    except etree.XMLSyntaxError as problem:
        return [f"not XML: {problem}"]
    outside = list(_outside_the_data(envelope, source.call))
    if outside:
        return outside
    tree = _tree(released)
    return [
        *_invalid(envelope[0][0][0]),
        *_ungranted(source, tree, release, xsdversie),
        *_leaked(source, release, released, xsdversie),
        *_dangling(tree, release, in_full=source.call == "leerlinggegevens"),
    ]


# -- what must be there ---------------------------------------------------------------------------------------------


def expected(source: Invented, release: Release, xsdversie: str) -> Node:
    """The data that the release layer must let through, all of it and nothing else."""
    return _Expectation(_parsed(source.content), release, xsdversie).answer(inner_name(source.call))


class _Expectation:
    def __init__(self, inner: Any, release: Release, xsdversie: str) -> None:
        self._sections = {_name(section): section for section in inner}
        self._release = release
        self._birthdays = xsdversie == "2.2"
        self._in_full = _name(inner) == "leerlinggegevens"
        self._groups = self._released_groups()

    def answer(self, name: str) -> Node:
        sections = (
            self._school(),
            Node("groepen", children=tuple(self._groups.values())),
            Node("leerlingen", children=tuple(map(self._pupil, self._entities("leerlingen", "leerling")))),
            Node("leerkrachten", children=tuple(map(self._teacher, self._entities("leerkrachten", "leerkracht")))),
        )
        return Node(name, children=tuple(section for section in sections if section.children))

    def _entities(self, section: str, *names: str) -> list[Any]:
        if section not in self._sections:
            return []
        return [each for each in self._sections[section] if _name(each) in names and self._granted(_name(each), "@key")]

    def _granted(self, entity: str, name: str) -> bool:
        kind = _ENTITIES[entity][0]
        if entity == "samengestelde_groep":
            name = f"{entity}/{name}"
        if entity == "leerling" and name == "geboortedatum" and not self._birthdays:
            return False
        return name in self._release.get(kind, frozenset())

    def _school(self) -> Node:
        return Node("school", children=tuple(self._fields(self._sections["school"], "school")))

    def _released_groups(self) -> dict[tuple[str, str], Node]:
        groups = self._entities("groepen", "groep", "samengestelde_groep")
        return {
            (_name(group), group.get("key")): Node(
                _name(group), (("key", group.get("key")),), children=tuple(self._fields(group, _name(group)))
            )
            for group in groups
        }

    def _pupil(self, pupil: Any) -> Node:
        eckid = pupil.get("eckid")
        attributes = (("eckid", eckid), ("key", eckid)) if eckid else (("key", pupil.get("key")),)
        composed = _children(pupil, "samengestelde_groepen")
        parts = {
            "groep": [self._reference(each) for each in self._references(pupil, "leerling", "groep")],
            "samengestelde_groepen": [
                Node("samengestelde_groepen", children=references)
                for each in composed
                if (
                    references := tuple(map(self._reference, self._references(each, "leerling", "samengestelde_groep")))
                )
            ],
        }
        return Node("leerling", attributes, children=tuple(self._fields(pupil, "leerling", parts)))

    def _teacher(self, teacher: Any) -> Node:
        attributes = tuple(
            (name, teacher.get(name))
            for name in ("eckid", "key")
            if teacher.get(name) and self._granted("leerkracht", f"@{name}")
        )
        groups = [
            Node("groepen", children=references)
            for each in _children(teacher, "groepen")
            if (references := tuple(self._with_roles(group) for group in self._references(each, "leerkracht", *_KINDS)))
        ]
        return Node("leerkracht", attributes, children=tuple(self._fields(teacher, "leerkracht", {"groepen": groups})))

    def _references(self, element: Any, entity: str, *kinds: str) -> Iterator[Any]:
        """The references that lead to something that is released."""
        for each in element:
            kind = _name(each)
            if kind not in kinds:
                continue
            path = {
                ("leerling", "groep"): "groep/@key",
                ("leerling", "samengestelde_groep"): "samengestelde_groepen/samengestelde_groep/@key",
            }.get((entity, kind), f"groepen/{kind}/@key")
            known = (kind, each.get("key")) in self._groups if self._in_full else self._granted(kind, "@key")
            if known and self._granted(entity, path):
                yield each

    @staticmethod
    def _reference(element: Any) -> Node:
        return Node(_name(element), (("key", element.get("key")),))

    def _with_roles(self, element: Any) -> Node:
        types = {"rol": "EDEXLeerkrachtRolType", "rolomschrijving": "EDEXRolOmschtijvingType"}
        roles = tuple(
            Node(_name(each), text=each.text)
            for each in element
            if _name(each) in types
            and self._granted("leerkracht", f"groepen/{_name(element)}/{_name(each)}")
            and _valid(types[_name(each)], each.text)
        )
        return self._reference(element)._replace(children=roles)

    def _fields(self, element: Any, entity: str, parts: Mapping[str, list[Node]] | None = None) -> Iterator[Node]:
        """What is released of an entity, in the order of the schema; `parts` are its fields that have parts."""
        found: dict[str, list[Node]] = {}
        for name, type_name in _schema_fields(_ENTITIES[entity][1]).items():
            if parts is not None and name in parts:
                found[name] = parts[name]
            elif self._granted(entity, name):
                values = [each.text for each in _children(element, name) if _valid(type_name, each.text)]
                found[name] = [Node(name, text=value) for value in values]
        if "roepnaam" in _schema_fields(_ENTITIES[entity][1]) and not found.get("achternaam"):
            # Without a surname the schema has no place for its infix, and demands that something is called.
            found["voorvoegsel"] = []
            found["roepnaam"] = found.get("roepnaam") or [Node("roepnaam", text=STAND_IN)]
        for name in _schema_fields(_ENTITIES[entity][1]):
            yield from found.get(name, [])


def differences(wanted: Node, found: Node, path: str = "") -> Iterator[str]:
    """Where `found` isn't `wanted`."""
    path = f"{path}/{wanted.name}"
    if wanted[:3] != found[:3]:
        yield f"{path} is {found[:3]} and should be {wanted[:3]}"
    if [each.name for each in wanted.children] != [each.name for each in found.children]:
        names = ([each.name for each in node.children] for node in (found, wanted))
        yield "{} holds {} and should hold {}".format(path, *names)
        return
    for number, pair in enumerate(zip(wanted.children, found.children, strict=True)):
        yield from differences(*pair, f"{path}[{number}]")


# -- what must not be there -------------------------------------------------------------------------------------------


def _outside_the_data(envelope: Any, call: CallName) -> Iterator[str]:
    """What is wrong around the data: anything but one body with one answer with one element of data."""
    if any(not isinstance(each.tag, str) for each in envelope.iter()):
        yield "a comment or a processing instruction was released"
        return
    if envelope.getroottree().docinfo.doctype:
        yield "a document type was released"
    path = (f"{{{SOAP}}}Envelope", f"{{{SOAP}}}Body", f"{{{UWLR}}}{call}_antwoord", f"{{{UWLR}}}{inner_name(call)}")
    element = envelope
    for depth, tag in enumerate(path):
        if element.tag != tag:
            yield f"{element.tag} stands where {tag} should"
            return
        if element.attrib:
            yield f"{tag} has attributes: {dict(element.attrib)}"
        if depth + 1 < len(path):
            if len(element) != 1 or (element.text or "").strip() or (element[0].tail or "").strip():
                yield f"{tag} doesn't hold one element and nothing else"
                return
            element = element[0]


def _invalid(inner: Any) -> Iterator[str]:
    """What the schema of the profile objects to. It names the elements of data the same for every call."""
    inner = deepcopy(inner)
    for schooljaar in inner.iter(f"{{{UWLR}}}schooljaar"):
        # The schema lists the school years one by one, and its list ends with 2024-2025: no later year is valid.
        if _valid(_SCHOOLJAAR, schooljaar.text):
            schooljaar.text = "2024-2025"
    schema = _profile()
    if not schema.validate(inner):
        errors: Any = schema.error_log
        yield from (f"not valid: {error.message}" for error in errors)


def _ungranted(source: Invented, tree: Node, release: Release, xsdversie: str) -> Iterator[str]:
    keys = _keys_of_pupils_without_eckid(source)
    for entity in _entities_of(tree):
        if entity.name not in _ENTITIES:
            yield f"{entity.name} is no entity"
            continue
        kind = _ENTITIES[entity.name][0]
        start = "samengestelde_groep/" if entity.name == "samengestelde_groep" else ""
        attributes = dict(entity.attributes)
        for path, value in _paths(entity, start):
            if kind == "leerling" and path == "@key" and value not in {attributes.get("eckid"), *keys}:
                yield f"the key of a pupil with an ECK iD was released: {value}"
            if path == "roepnaam" and value == STAND_IN:
                continue
            if (kind, path) in NEVER_RELEASED:
                yield f"{kind} {path} is never released: {value}"
            if path not in release.get(kind, frozenset()):
                yield f"{kind} {path} isn't granted: {value}"
            if (kind, path) == ("leerling", "geboortedatum") and xsdversie != "2.2":
                yield f"a date of birth was released under {xsdversie}: {value}"


def _leaked(source: Invented, release: Release, released: bytes, xsdversie: str) -> Iterator[str]:
    """Planted values that occur anywhere in what was released, in whatever role, without a grant for their field."""
    # In the bytes a value may be broken up by a comment or a reference to a character: they are looked at parsed, too.
    text = released + b"\0" + "".join(_all_text(released)).encode()
    for planted in source.planted:
        granted = all(field in release.get(kind, frozenset()) for kind, field in planted.needs)
        if planted.needs == {("leerling", "geboortedatum")} and xsdversie != "2.2":
            granted = False
        if (planted.never or not granted) and planted.marker.encode() in text:
            yield f"{planted.path} leaked: {planted.marker}"


def _dangling(tree: Node, release: Release, *, in_full: bool) -> Iterator[str]:
    groups = {
        (group.name, dict(group.attributes).get("key"))
        for section in tree.children
        if section.name == "groepen"
        for group in section.children
    }
    for entity in _entities_of(tree):
        if entity.name in {"leerling", "leerkracht"}:
            for reference in _references_in(entity):
                key = dict(reference.attributes).get("key")
                if in_full and (reference.name, key) not in groups:
                    yield f"a {entity.name} refers to a {reference.name} that isn't released: {key}"
                if _KINDS[reference.name] not in release.get("groep", frozenset()):
                    yield f"a {entity.name} refers to a {reference.name}, a kind that isn't granted: {key}"


def _references_in(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.name in _KINDS:
            yield child
        yield from _references_in(child)


def _entities_of(tree: Node) -> Iterator[Node]:
    for section in tree.children:
        if section.name == "school":
            yield section
        else:
            yield from section.children


def _paths(node: Node, start: str = "") -> Iterator[tuple[str, str]]:
    """Every attribute, and every element with text or without anything, by its path; as the catalogue names fields."""
    for name, value in node.attributes:
        yield f"{start}@{name}", value
    for child in node.children:
        if child.text or not (child.attributes or child.children):
            yield f"{start}{child.name}", child.text
        yield from _paths(child, f"{start}{child.name}/")


# -- reading ----------------------------------------------------------------------------------------------------------


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Any:
    """The element with the data of a source, without comments."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    body = etree.fromstring(content, parser)[-1]
    return body[0][0]


@lru_cache(maxsize=64)
def _keys_of_pupils_without_eckid(source: Invented) -> frozenset[str]:
    pupils = (pupil for section in _children(_parsed(source.content), "leerlingen") for pupil in section)
    return frozenset(pupil.get("key") for pupil in pupils if not pupil.get("eckid"))


def _all_text(released: bytes) -> Iterator[str]:
    for element in etree.fromstring(released, _parser()).iter():
        yield element.text or ""
        yield "\0".join(str(value) for value in element.attrib.values())
        yield element.tail or ""


def _tree(released: bytes) -> Node:
    return _node(etree.fromstring(released, _parser())[0][0][0])


def _name(element: Any) -> str:
    """The local name of a UWLR element; of any other its full name, which is no name of UWLR."""
    name = etree.QName(element)
    return name.localname if name.namespace == UWLR else f"{{{name.namespace or ''}}}{name.localname}"


def _children(element: Any, name: str) -> list[Any]:
    return [each for each in element if _name(each) == name]


def _node(element: Any) -> Node:
    children = tuple(_node(each) for each in element)
    text = element.text or ""
    if children:
        text = "".join([text, *(each.tail or "" for each in element)]).strip()
    return Node(_name(element), tuple(sorted(element.attrib.items())), text, children)


# -- the standard -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Standard:
    folder: Path

    @property
    def profile(self) -> Path:
        return self.folder / "Schemas/Profiel smalle set/Profiel_Smalle_set_UWLR_Leerlinggegevens_v2p2.xsd"

    @property
    def elements(self) -> Path:
        return self.folder / "Schemas/Profiel smalle set/Profiel_Smalle_set_EDEXML.elementen.xsd"


@lru_cache(maxsize=1)
def _standard() -> _Standard:
    return _Standard(standard_folder())


@lru_cache(maxsize=1)
def _profile() -> etree.XMLSchema:
    return etree.XMLSchema(file=str(_standard().profile))


@lru_cache(maxsize=16)
def _schema_fields(complex_type: str) -> dict[str, str]:
    """The elements of a complex type with the type of each, in order; each once, though a choice may offer it twice."""
    root = etree.parse(str(_standard().elements)).getroot()
    [found] = [each for each in root.findall(f"{_XS}complexType") if each.get("name") == complex_type]
    return {str(each.get("name")): str(each.get("type")) for each in found.iter(f"{_XS}element")}


@lru_cache(maxsize=1)
def _types() -> etree.XMLSchema:
    """A schema in which an element `_T` exists for every simple type `T` that a field may have."""
    used = {name for _, complex_type in _ENTITIES.values() for name in _schema_fields(complex_type).values()}
    used |= {"EDEXLeerkrachtRolType", "EDEXRolOmschtijvingType"}
    simple = sorted(name for name in used if not name.endswith("ReferentieType"))
    elements = "".join(f'<xs:element name="_{name.replace(":", "_")}" type="{name}"/>' for name in simple)
    written = (
        f'<xs:schema xmlns:xs="{_XS[1:-1]}" xmlns="{UWLR}" targetNamespace="{UWLR}" elementFormDefault="qualified">'
        f'<xs:include schemaLocation="{_standard().elements.resolve().as_uri()}"/>{elements}</xs:schema>'
    )
    return etree.XMLSchema(etree.fromstring(written))


@lru_cache(maxsize=100_000)
def _valid(type_name: str, value: str | None) -> bool:
    """Whether a field of this type may have this value. Nothing is no value, whatever the schema says of it."""
    if not value:
        return False
    if type_name == _SCHOOLJAAR:
        return re.fullmatch("[12][0-9]{3}-[12][0-9]{3}", value) is not None
    element = etree.Element(f"{{{UWLR}}}_{type_name.replace(':', '_')}")
    element.text = value
    return bool(_types().validate(element))
