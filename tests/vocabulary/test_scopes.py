"""The catalogue of scopes: names, dependencies, narrowing, fields, its file, and the standard's list of fields."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.vocabulary.refusals import ScopeDependencyMissing, UnknownScope
from models.vocabulary.scopes import (
    CATALOGUE,
    RESOURCE_TYPES,
    catalogue_from,
    closed,
    fields_of,
    require_dependencies,
    require_known,
    scopes_of_type,
    scopes_releasing,
)

ALL = frozenset(CATALOGUE.scopes)
LEERLING = frozenset({"school.basis", "leerling.pseudoniem"})

sets_of_scopes = st.frozensets(st.sampled_from(sorted(ALL)))


def has_what_it_needs(name: str, beside: frozenset[str]) -> bool:
    return all(alternatives & beside for alternatives in CATALOGUE.scopes[name].needs)


# --- names


def test_every_scope_of_the_catalogue_is_known() -> None:
    require_known(ALL)


def test_a_refusal_names_each_unknown_scope_and_no_known_one() -> None:
    with pytest.raises(UnknownScope) as refusal:
        require_known(["leerling.cijfers", "leerling.naam", "Leerling.Naam"])
    assert "'leerling.cijfers'" in refusal.value.detail
    assert "'Leerling.Naam'" in refusal.value.detail
    assert "'leerling.naam'" not in refusal.value.detail


@pytest.mark.parametrize(
    ("name", "data_class"),
    [
        ("leerling.bsn", "nationaal-nummer"),
        ("LEERLING.BSN", "nationaal-nummer"),
        ("leerling.fotourl", "beeldmateriaal"),
        ("leerling.etniciteit", "bijzonder/gevoelig"),
        ("docent.rol", "persoonsgegeven"),
        ("leerkracht.voornamen", "persoonsgegeven"),
        ("groep.samengestelde_groep/omschrijving", "organisatie"),
        ("samengestelde_groep.omschrijving", "organisatie"),
    ],
)
def test_a_field_that_is_never_released_is_refused_by_name_and_class(name: str, data_class: str) -> None:
    with pytest.raises(UnknownScope) as refusal:
        require_known([name])
    assert refusal.value.detail == f"{name!r} is a UWLR field ({data_class}) that is never released"


def test_an_over_long_name_is_truncated_in_the_refusal() -> None:
    with pytest.raises(UnknownScope) as refusal:
        require_known(["x" * 10_000])
    assert len(refusal.value.detail) < 200


@given(st.text())
def test_whatever_is_asked_for_is_known_or_refused_in_one_printable_line(name: str) -> None:
    if name in CATALOGUE.scopes:
        require_known([name])
        return
    with pytest.raises(UnknownScope) as refusal:
        require_known([name])
    assert refusal.value.detail.isprintable()


# --- dependencies


def test_a_scope_without_the_scope_that_it_needs_is_refused() -> None:
    with pytest.raises(ScopeDependencyMissing) as refusal:
        require_dependencies(LEERLING | {"leerling.groepsindeling"})
    assert refusal.value.detail == (
        "leerling.groepsindeling needs leerling.pseudoniem and groep.basis or groep.samengesteld; "
        "missing: groep.basis or groep.samengesteld"
    )


@pytest.mark.parametrize("group", ["groep.basis", "groep.samengesteld"])
def test_either_kind_of_group_satisfies_the_groepsindeling(group: str) -> None:
    require_dependencies(LEERLING | {"leerling.groepsindeling", group})


def test_an_unknown_scope_is_refused_before_a_missing_one() -> None:
    with pytest.raises(UnknownScope):
        require_dependencies({"leerling.naam", "leerling.bsn"})


@given(sets_of_scopes)
def test_a_set_of_scopes_is_refused_exactly_when_something_is_missing(scopes: frozenset[str]) -> None:
    incomplete = {name for name in scopes if not has_what_it_needs(name, scopes)}
    if not incomplete:
        require_dependencies(scopes)
        return
    with pytest.raises(ScopeDependencyMissing) as refusal:
        require_dependencies(scopes)
    assert {sentence.split(" needs ")[0] for sentence in refusal.value.detail.split(". ")} == incomplete


# --- narrowing


def test_narrowing_drops_what_loses_its_pseudonym() -> None:
    assert closed(ALL - {"leerling.pseudoniem"}) == {name for name in ALL if not name.startswith("leerling.")}


def test_without_the_school_nothing_holds() -> None:
    assert closed(ALL - {"school.basis"}) == frozenset()


def test_narrowing_drops_a_scope_that_the_catalogue_does_not_know() -> None:
    assert closed(LEERLING | {"leerling.bsn"}) == LEERLING


@given(sets_of_scopes)
def test_after_narrowing_every_scope_has_what_it_needs(scopes: frozenset[str]) -> None:
    narrowed = closed(scopes)
    assert narrowed <= scopes
    assert all(has_what_it_needs(name, narrowed) for name in narrowed)
    require_dependencies(narrowed)


@given(sets_of_scopes)
def test_narrowing_twice_drops_nothing_more(scopes: frozenset[str]) -> None:
    assert closed(closed(scopes)) == closed(scopes)


@given(sets_of_scopes)
def test_nothing_that_was_dropped_can_come_back(scopes: frozenset[str]) -> None:
    narrowed = closed(scopes)
    dropped = scopes - narrowed
    for size in range(1, len(dropped) + 1):
        for back in combinations(dropped, size):
            beside = narrowed | set(back)
            assert not all(has_what_it_needs(name, beside) for name in beside)


@given(sets_of_scopes, sets_of_scopes)
def test_asking_less_never_gives_more(scopes: frozenset[str], others: frozenset[str]) -> None:
    assert closed(scopes & others) <= closed(scopes)


# --- fields


def test_the_fields_of_a_type_come_in_catalogue_order() -> None:
    scopes = frozenset({"leerling.groepsindeling", "leerling.naam", "leerling.pseudoniem", "docent.email"})
    assert scopes_of_type(scopes, "leerling") == (
        "leerling.pseudoniem",
        "leerling.naam",
        "leerling.groepsindeling",
    )
    assert fields_of(scopes, "leerling") == (
        "@eckid",
        "@key",
        "achternaam",
        "voorvoegsel",
        "roepnaam",
        "groep/@key",
        "samengestelde_groepen/samengestelde_groep/@key",
    )


def test_an_unknown_scope_or_type_releases_no_field() -> None:
    assert fields_of(frozenset({"leerling.bsn"}), "leerling") == ()
    assert fields_of(ALL, "ouder") == ()


@given(sets_of_scopes, st.sampled_from(RESOURCE_TYPES))
def test_a_field_is_released_exactly_by_the_scopes_that_hold_it(scopes: frozenset[str], resource_type: str) -> None:
    every_field = {name for type_, name in CATALOGUE.fields if type_ == resource_type}
    released = {name for name in every_field if (scopes_releasing(resource_type, name) or frozenset()) & scopes}
    assert set(fields_of(scopes, resource_type)) == released


def test_no_scope_releases_a_field_that_is_unknown_or_never_released() -> None:
    assert scopes_releasing("leerling", "roepnaam") == frozenset({"leerling.naam"})
    assert scopes_releasing("leerling", "bsn") is None
    assert scopes_releasing("leerling", "schoenmaat") is None
    assert scopes_releasing("ouder", "roepnaam") is None
    assert not CATALOGUE.never_released.keys() & CATALOGUE.fields.keys()


def test_the_key_of_a_leerling_goes_out_only_where_there_is_no_eckid() -> None:
    assert CATALOGUE.scopes["leerling.pseudoniem"].conditions.keys() == {"@key"}


# --- the file


def catalogue_file() -> Any:
    return json.loads((resources.files("models") / "catalogue" / "scopes.json").read_text("utf-8"))


SCHOOL, VESTIGING = 0, 1


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("scopes", VESTIGING, "name"), "school.basis", "school.basis is defined twice"),
        (
            ("scopes", VESTIGING, "name"),
            "gebouw.basis",
            "gebouw.basis is not named after its type, vestiging",
        ),
        (("scopes", VESTIGING, "fields"), [], "vestiging.basis releases nothing"),
        (("scopes", VESTIGING, "fields"), ["naam", "naam"], "vestiging.basis lists naam twice"),
        (("scopes", VESTIGING, "needs"), [["school.x"]], "vestiging.basis needs school.x, which is no scope"),
        (("scopes", VESTIGING, "needs"), [[]], "vestiging.basis needs one of nothing"),
        (("scopes", SCHOOL, "conditions"), {"bsn": "nooit"}, "school.basis has a condition on bsn"),
        (("profiles", "p"), ["leerling.bsn"], "p lists leerling.bsn, which is no scope"),
        (("profiles", "p"), ["vestiging.basis"], "p lists vestiging.basis without what it needs"),
        (("profiles", "p"), ["school.basis", "school.basis"], "p lists school.basis twice"),
        (("neverReleased", 0, "field"), "brincode", "brincode of school is listed as never released, yet"),
        (("neverReleased", 1, "field"), "instellingsnummer", "instellingsnummer of school is listed twice"),
        (("neverReleased", 0, "class"), "onschuldig", "neverReleased.0.class"),
        (("neverReleased", 0, "type"), "ouder", "neverReleased.0.type"),
        (("scopes", SCHOOL, "type"), "ouder", "scopes.0.type"),
        (("scopes", SCHOOL, "unknown"), "key", "scopes.0.unknown"),
        (("version",), "", "version"),
    ],
)
def test_an_inconsistent_catalogue_does_not_load(path: tuple[str | int, ...], value: Any, problem: str) -> None:
    content = catalogue_file()
    part = content
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(ValueError) as error:
        catalogue_from(json.dumps(content))
    assert problem in str(error.value)


def test_adding_a_profile_changes_no_code() -> None:
    content = catalogue_file()
    content["profiles"]["eigen-set@1"] = ["school.basis", "groep.basis"]
    assert catalogue_from(json.dumps(content)).profiles["eigen-set@1"] == {"school.basis", "groep.basis"}


def test_the_profiles_differ_by_the_date_of_birth_only() -> None:
    assert CATALOGUE.profiles["smalle-set@2.2"] == ALL
    assert CATALOGUE.profiles["smalle-set@2.3"] == ALL - {"leerling.geboortedatum"}


# --- the standard

CATALOGUE_TYPE = {
    "leerkracht": "docent",
    "samengestelde_groep": "groep",
    "leerkracht.groepsrelatie": "docent",
}
GROUP_RELATIONS = ("groepen/groep/", "groepen/samengestelde_groep/")
XSD_TYPE = {
    "school": "SchoolType",
    "vestiging": "VestigingType",
    "groep": "GroepType",
    "leerling": "LeerlingType",
    "docent": "LeerkrachtType",
}
XS = "{http://www.w3.org/2001/XMLSchema}"


@dataclass(frozen=True)
class StandardField:
    """A field as the standard lists it, and the catalogue's possible paths of it or a part of it."""

    entity: str
    name: str
    data_class: str
    in_smalle_2_3: bool

    @property
    def type(self) -> str:
        return CATALOGUE_TYPE.get(self.entity, self.entity)

    @property
    def paths(self) -> tuple[str, ...]:
        if self.entity == "leerkracht.groepsrelatie":
            return tuple(relation + self.name for relation in GROUP_RELATIONS)
        if self.entity == "samengestelde_groep":
            return (f"samengestelde_groep/{self.name}",)
        if (self.entity, self.name) == ("leerkracht", "groepen"):
            return tuple(f"{relation}@key" for relation in GROUP_RELATIONS)
        return (self.name,)

    def covers(self, resource_type: str, field: str) -> bool:
        return resource_type == self.type and any(field == p or field.startswith(f"{p}/") for p in self.paths)


@pytest.fixture
def standard_dir() -> Path:
    folder = os.environ.get("UWLR_STANDARD_DIR")
    if not folder:
        pytest.skip("UWLR_STANDARD_DIR is not set: the folder with the standard's fields.json and Schemas")
    return Path(folder)


@pytest.fixture
def standard(standard_dir: Path) -> list[StandardField]:
    listed = json.loads((standard_dir / "fields.json").read_text("utf-8"))["fields"]
    return [StandardField(f["entity"], f["field"], f["class"], f["smalle_2_3"]) for f in listed]


def test_every_field_of_the_standard_is_in_one_scope_or_never_released(standard: list[StandardField]) -> None:
    for field in standard:
        scopes = {s for key, names in CATALOGUE.fields.items() if field.covers(*key) for s in names}
        classes = [c for key, c in CATALOGUE.never_released.items() if field.covers(*key)]
        assert (len(scopes), classes) in [(1, []), (0, [field.data_class])], field


def test_the_catalogue_names_no_field_that_the_standard_lacks(standard: list[StandardField]) -> None:
    for key in [*CATALOGUE.fields, *CATALOGUE.never_released]:
        assert sum(field.covers(*key) for field in standard) == 1, key


def test_every_other_field_of_the_standard_is_refused_by_name(standard: list[StandardField]) -> None:
    released = {key for field in standard for key in CATALOGUE.fields if field.covers(*key)}
    for field in standard:
        if not any(field.covers(*key) for key in released):
            with pytest.raises(UnknownScope, match=r"is a UWLR field \(.+\) that is never released"):
                require_known([f"{field.entity}.{field.name}"])


def test_the_profile_of_2_3_releases_nothing_outside_its_smalle_set(standard: list[StandardField]) -> None:
    for name in CATALOGUE.profiles["smalle-set@2.3"]:
        scope = CATALOGUE.scopes[name]
        for path in scope.fields:
            assert [f.in_smalle_2_3 for f in standard if f.covers(scope.type, path)] == [True], (name, path)


def test_every_released_field_is_a_path_in_the_schema_of_the_smalle_set(standard_dir: Path) -> None:
    folder = standard_dir / "Schemas" / "Profiel smalle set"
    schema = ElementTree.parse(folder / "Profiel_Smalle_set_EDEXML.elementen.xsd").getroot()
    for resource_type, path in CATALOGUE.fields:
        *elements, last = path.split("/")
        of_type = XSD_TYPE[resource_type]
        if resource_type == "groep" and elements[:1] == ["samengestelde_groep"]:
            of_type, elements = "SamengesteldeGroepType", elements[1:]
        holder = named_type(schema, of_type)
        for element in elements:
            holder = type_of_child(schema, holder, element)
        assert last in content_of(schema, holder), (resource_type, path)


def named_type(schema: ElementTree.Element, name: str) -> ElementTree.Element:
    found = schema.find(f"{XS}complexType[@name='{name}']")
    assert found is not None, name
    return found


def with_bases(schema: ElementTree.Element, holder: ElementTree.Element) -> Iterator[ElementTree.Element]:
    yield holder
    extension = holder.find(f"{XS}complexContent/{XS}extension")
    if extension is not None:
        yield from with_bases(schema, named_type(schema, extension.attrib["base"]))


def type_of_child(schema: ElementTree.Element, holder: ElementTree.Element, name: str) -> ElementTree.Element:
    [child] = holder.findall(f".//{XS}element[@name='{name}']")
    inline = child.find(f"{XS}complexType")
    return named_type(schema, child.attrib["type"]) if inline is None else inline


def content_of(schema: ElementTree.Element, holder: ElementTree.Element) -> set[str]:
    parts = [part for base in with_bases(schema, holder) for part in base.iter()]
    elements = {part.attrib["name"] for part in parts if part.tag == f"{XS}element"}
    return elements | {"@" + part.attrib["name"] for part in parts if part.tag == f"{XS}attribute"}
