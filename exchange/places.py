"""The places of a LAS's answer, each of which knows what may stand in it and what of that may pass.

From the outside in: the envelope, the answer, its data, a section, a thing in it, the groups that someone is in.
Elements are known by name, whatever their order; what is not known is dropped.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from exchange.uwlr import (
    COMPOSED_GROUP,
    GROUP,
    MOST_IN_A_KEY,
    NAME,
    NOTHING,
    ROLES,
    SCHOOL,
    SECTIONS,
    SECTIONS_OF,
    UWLR,
    WITH_DATE_OF_BIRTH,
    Call,
    Entity,
    Expected,
    Valid,
)
from exchange.xml import escaped

#: The fields that may be released of each type, named as in the catalogue of scopes.
Release = Mapping[str, frozenset[str]]
#: A field's name, and whether a text is a value of it.
Field = tuple[str, Valid]

#: Stands where the schema demands a name, and none is granted or known.
NO_NAME: Final = "-"
#: One person is in no more groups than this, and does no more in one of them.
MOST_GROUPS: Final = 1_000
MOST_ROLES: Final = 100


class AnswerRefused(Exception):
    """The answer is not what was asked for. The text says why, and nothing of what was in it."""


def named(local: str) -> str:
    """An element of UWLR, as a `Reading` names it."""
    return f"{UWLR} {local}"


def attribute(attributes: list[str], name: str) -> str:
    """The value of an attribute, or nothing."""
    names = attributes[::2]
    return attributes[2 * names.index(name) + 1] if name in names else ""


class Filtering(Protocol):
    """What the places need to know of the answer that is filtered, and where they hand in what may pass."""

    call: Call
    expected: Expected
    release: Release
    #: The data's element, or that there is nothing, once it was seen.
    found: str | None
    groups_are_known: bool

    def drop(self, name: str) -> None: ...
    def keep(self, entity: Entity, text: str) -> None: ...
    def put_aside(self, section: str) -> None: ...
    def know(self, group: Entity, key: str) -> None: ...
    def reference(self, group: Entity, attributes: list[str]) -> str | None: ...
    def require_school(self, values: dict[str, str]) -> None: ...


class Place:
    """Where in the document something stands.

    Of a child that `fields` names, `take` gets the text: empty when it has none that is valid. For any other child
    `begin` gives its place; None drops it with all it holds.
    """

    __slots__ = ()

    fields: "Mapping[str, Field]" = MappingProxyType({})
    #: The other children that `begin` may know; None where it has to be asked about each.
    nested: frozenset[str] | None = None

    def take(self, name: str, text: str) -> None:
        """The text of a field."""

    def begin(self, name: str, attributes: list[str]) -> "Place | None":
        return None

    def end(self) -> None:
        """The element is complete."""


class Path(Place):
    """An element that is there for the one that it holds: the document, the envelope, the body."""

    __slots__ = ("ignored", "inner", "name", "seen")

    def __init__(self, name: str, inner: Place, ignored: str | None = None) -> None:
        self.name = name
        self.inner = inner
        self.ignored = ignored
        self.seen = False

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        if name == self.ignored and not self.seen:
            return None
        if name != self.name or self.seen:
            raise AnswerRefused("not the envelope of the answer to this call, and nothing else")
        self.seen = True
        return self.inner

    def end(self) -> None:
        if not self.seen:
            raise AnswerRefused("an envelope without an answer")


class Answer(Place):
    """`..._antwoord`: the data, or that there is none."""

    __slots__ = ("answer", "data")

    def __init__(self, answer: Filtering) -> None:
        self.answer = answer
        self.data = Data(answer)

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        if self.answer.found is not None:
            raise AnswerRefused("more than one answer")
        for known in (self.answer.call.data, *NOTHING):
            if name == named(known):
                self.answer.found = known
                return self.data if known == self.answer.call.data else Place()
        raise AnswerRefused("neither the data of this call nor that there are none")

    def end(self) -> None:
        if self.answer.found is None:
            raise AnswerRefused("an answer that says nothing")


class Data(Place):
    """The school, and the sections of this call."""

    __slots__ = ("answer", "places", "seen")

    def __init__(self, answer: Filtering) -> None:
        self.answer = answer
        self.places: dict[str, Place] = {named("school"): Thing(answer, Kind(SCHOOL, answer))}
        for section in SECTIONS_OF[answer.call]:
            kinds = [Kind(entity, answer) for entity in SECTIONS[section]]
            if any(kind.is_released for kind in kinds):
                self.places[named(section)] = Section(answer, section, kinds)
        self.seen: set[str] = set()

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        place = self.places.get(name)
        if place is None:
            return None
        if name in self.seen:
            raise AnswerRefused("a section twice")
        self.seen.add(name)
        return place

    def end(self) -> None:
        if named("school") not in self.seen:
            raise AnswerRefused("data of no school")


class Section(Place):
    """All things of one or two kinds."""

    __slots__ = ("answer", "name", "things")

    def __init__(self, answer: Filtering, name: str, kinds: "list[Kind]") -> None:
        self.answer = answer
        self.name = name
        # One at a time is open: each is used for all of its kind.
        self.things = {named(kind.entity.name): Thing(answer, kind) for kind in kinds if kind.is_released}

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        thing = self.things.get(name)
        return thing.opened(attributes) if thing is not None else None

    def end(self) -> None:
        self.answer.put_aside(self.name)
        if self.name == "groepen":
            self.answer.groups_are_known = True


class Kind:
    """One kind of thing, and what of it this release lets through."""

    __slots__ = ("entity", "fields", "group", "groups", "released", "written")

    def __init__(self, entity: Entity, answer: Filtering) -> None:
        self.entity = entity
        self.released = frozenset(
            name.removeprefix(entity.prefix)
            for name in answer.release.get(entity.resource_type, frozenset())
            if name.startswith(entity.prefix)
        )
        if answer.expected.xsdversie != WITH_DATE_OF_BIRTH:
            self.released -= {"geboortedatum"}
        # What tells which school it is is read in any case.
        read = self.released | (set(entity.fields) if entity is SCHOOL else set())
        self.fields: dict[str, Field] = {
            named(name): (name, valid) for name, valid in entity.fields.items() if name in read
        }
        if entity is SCHOOL:
            # Of another location than was asked for is also what is no location at all.
            self.fields[named("dependancecode")] = ("dependancecode", lambda _: True)
        #: A person is always called something.
        written = self.released | (set(NAME) if entity.is_person else set())
        self.written = [(name, f"<{name}>", f"</{name}>") for name in entity.fields if name in written]
        self.group = named(entity.group) if entity.group and f"{entity.group}/@key" in self.released else None
        self.groups = named(entity.groups) if entity.groups else None

    @property
    def is_released(self) -> bool:
        return "@key" in self.released


class Thing(Place):
    """One school, group, pupil or teacher."""

    __slots__ = ("answer", "attributes", "fields", "group", "groups", "kind", "nested", "values")

    def __init__(self, answer: Filtering, kind: Kind) -> None:
        self.answer = answer
        self.kind = kind
        self.fields = kind.fields
        self.nested = frozenset(name for name in (kind.group, kind.groups) if name is not None)
        self.groups = Groups(answer, kind)
        self.opened([])

    def opened(self, attributes: list[str]) -> "Thing":
        self.attributes = attributes
        self.values: dict[str, str] = {}
        self.group: str | None = None
        self.groups.found = None
        return self

    def take(self, name: str, text: str) -> None:
        if name in self.values:
            raise AnswerRefused("a field twice")
        self.values[name] = text

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        if name == self.kind.group:
            if self.group is not None:
                raise AnswerRefused("a field twice")
            self.group = self.answer.reference(GROUP, attributes) or ""
            return Place()
        if name == self.kind.groups:
            if self.groups.found is not None:
                raise AnswerRefused("a field twice")
            self.groups.found = []
            return self.groups
        return None

    def end(self) -> None:
        if self.kind.entity is SCHOOL:
            self.answer.require_school(self.values)
            if not self.values.get("brincode"):
                # The schema has a location only beside its school.
                self.values["dependancecode"] = ""
        attributes = self._attributes()
        entity, values = self.kind.entity, self.values
        if attributes is None or not all(values.get(name) for name in entity.required):
            self.answer.drop(entity.name)
            return
        if entity.is_person and not values.get("achternaam"):
            # The schema has no place for an infix alone, and demands that a person is called something.
            values["voorvoegsel"] = ""
            values["roepnaam"] = values.get("roepnaam") or NO_NAME
        if entity.resource_type == "groep":
            self.answer.know(entity, attribute(self.attributes, "key"))
        self.answer.keep(entity, f"<{entity.name}{attributes}>{self._parts()}</{entity.name}>")

    def _attributes(self) -> str | None:
        """The attributes that go with it; None when it cannot go without the ones that it lacks."""
        entity, released = self.kind.entity, self.kind.released
        if entity is SCHOOL:
            return ""
        key, eckid = attribute(self.attributes, "key"), attribute(self.attributes, "eckid")
        if len(key) > MOST_IN_A_KEY or len(eckid) > MOST_IN_A_KEY:
            return None
        if eckid and "@eckid" in released and entity.is_person:
            # The schema demands a key. A pupil's own is for those without an ECK iD, which takes its place.
            eckid = escaped(eckid)
            return f' eckid="{eckid}" key="{escaped(key) if entity.roles and key else eckid}"'
        if not key or (eckid and entity.is_person and not entity.roles):
            return None
        return f' key="{escaped(key)}"'

    def _parts(self) -> str:
        """What stands in it, in the schema's order."""
        values, text = self.values, ""
        for name, opening, closing in self.kind.written:
            if value := values.get(name):
                text += opening + escaped(value) + closing
        if self.group:
            text += f"<groep{self.group}/>"
        if self.groups.found:
            text += f"<{self.kind.entity.groups}>{''.join(self.groups.found)}</{self.kind.entity.groups}>"
        return text


class Groups(Place):
    """The groups that someone is in, each with the roles there."""

    __slots__ = ("answer", "found", "kinds")

    def __init__(self, answer: Filtering, kind: Kind) -> None:
        self.answer = answer
        self.found: list[str] | None = None
        self.kinds: dict[str, tuple[Entity, Roles]] = {}
        for group in (GROUP, COMPOSED_GROUP):
            path = f"{kind.entity.groups}/{group.name}"
            if f"{path}/@key" in kind.released:
                roles = frozenset(name for name in ROLES if f"{path}/{name}" in kind.released)
                self.kinds[named(group.name)] = group, Roles(answer, self, group, roles)

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        if name not in self.kinds:
            return None
        group, roles = self.kinds[name]
        reference = self.answer.reference(group, attributes)
        return roles.opened(reference) if reference is not None else Place()

    def add(self, reference: str) -> None:
        if self.found is None or len(self.found) >= MOST_GROUPS:
            raise AnswerRefused("someone in too many groups")
        self.found.append(reference)


class Roles(Place):
    """One reference to a group, with what is done there."""

    __slots__ = ("answer", "fields", "found", "group", "groups", "reference")

    def __init__(self, answer: Filtering, groups: Groups, group: Entity, names: frozenset[str]) -> None:
        self.answer = answer
        self.groups = groups
        self.group = group
        self.fields = {named(name): (name, ROLES[name]) for name in names}
        self.opened("")

    def opened(self, reference: str) -> "Roles":
        self.reference = reference
        self.found: list[str] = []
        return self

    def take(self, name: str, text: str) -> None:
        if len(self.found) >= MOST_ROLES:
            raise AnswerRefused("someone with too many roles")
        if text:
            self.found.append(f"<{name}>{escaped(text)}</{name}>")

    def end(self) -> None:
        tag = self.group.name
        self.groups.add(f"<{tag}{self.reference}>{''.join(self.found)}</{tag}>")
