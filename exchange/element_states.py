"""The parser states for the elements of a LAS's answer: each knows its child elements and which may be released.

From the outside in: envelope, answer, data, section, element of a section, groups of a person. Children are matched by
name in any order; unknown ones are dropped.
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

#: Fields that may be released of each type, named as in the catalogue of scopes.
Release = Mapping[str, frozenset[str]]
#: A field's name, and the check of its values.
Field = tuple[str, Valid]

#: Placeholder where the schema requires a name, and none is granted or known.
NO_NAME: Final = "-"
#: Limits for one person: groups, and roles in one of them.
MOST_GROUPS: Final = 1_000
MOST_ROLES: Final = 100


class AnswerRefused(Exception):
    """The answer does not match the request. The message says why, without any content."""


def named(local: str) -> str:
    """The name of a UWLR element as `Reading` reports it."""
    return f"{UWLR} {local}"


def attribute(attributes: list[str], name: str) -> str:
    """The value of an attribute, or an empty text."""
    names = attributes[::2]
    return attributes[2 * names.index(name) + 1] if name in names else ""


class Filter(Protocol):
    """The interface of the filter to its parser states: facts that they need, and methods to release content."""

    call: Call
    expected: Expected
    release: Release
    #: Name of the data element, or of the element that says that there is no data, once seen.
    content_name: str | None
    groups_are_known: bool

    def drop(self, name: str) -> None: ...
    def keep(self, entity: Entity, text: str) -> None: ...
    def flush(self, section: str) -> None: ...
    def add_group(self, group: Entity, key: str) -> None: ...
    def reference(self, group: Entity, attributes: list[str]) -> str | None: ...
    def require_school(self, values: dict[str, str]) -> None: ...


class ElementState:
    """The parser state within one element.

    Children in `fields` are simple: `take` gets their text, empty unless valid. For another child `begin` returns its
    state, or None to drop it with its content.
    """

    __slots__ = ()

    fields: "Mapping[str, Field]" = MappingProxyType({})
    #: Names of other children that `begin` may accept; None to call it for each.
    nested: frozenset[str] | None = None

    def take(self, name: str, text: str) -> None:
        """Receives the text of a field."""

    def begin(self, name: str, attributes: list[str]) -> "ElementState | None":
        return None

    def end(self) -> None:
        """Called at the end of the element."""


class SingleChildState(ElementState):
    """An element with exactly one child: the document, the envelope, the body."""

    __slots__ = ("ignored", "inner", "name", "seen")

    def __init__(self, name: str, inner: ElementState, ignored: str | None = None) -> None:
        self.name = name
        self.inner = inner
        self.ignored = ignored
        self.seen = False

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        if name == self.ignored and not self.seen:
            return None
        if name != self.name or self.seen:
            raise AnswerRefused("not the envelope of the answer to this call, and nothing else")
        self.seen = True
        return self.inner

    def end(self) -> None:
        if not self.seen:
            raise AnswerRefused("an envelope without an answer")


class AnswerState(ElementState):
    """`..._antwoord`: the data, or an element that says that there is none."""

    __slots__ = ("answer", "data")

    def __init__(self, answer: Filter) -> None:
        self.answer = answer
        self.data = DataState(answer)

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        if self.answer.content_name is not None:
            raise AnswerRefused("more than one answer")
        for known in (self.answer.call.data, *NOTHING):
            if name == named(known):
                self.answer.content_name = known
                return self.data if known == self.answer.call.data else ElementState()
        raise AnswerRefused("neither the data of this call nor that there are none")

    def end(self) -> None:
        if self.answer.content_name is None:
            raise AnswerRefused("an answer that says nothing")


class DataState(ElementState):
    """The school, and the sections of this call."""

    __slots__ = ("answer", "seen", "states")

    def __init__(self, answer: Filter) -> None:
        self.answer = answer
        self.states: dict[str, ElementState] = {named("school"): EntityState(answer, EntityKind(SCHOOL, answer))}
        for section in SECTIONS_OF[answer.call]:
            kinds = [EntityKind(entity, answer) for entity in SECTIONS[section]]
            if any(kind.is_released for kind in kinds):
                self.states[named(section)] = SectionState(answer, section, kinds)
        self.seen: set[str] = set()

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        state = self.states.get(name)
        if state is None:
            return None
        if name in self.seen:
            raise AnswerRefused("a section twice")
        self.seen.add(name)
        return state

    def end(self) -> None:
        if named("school") not in self.seen:
            raise AnswerRefused("data of no school")


class SectionState(ElementState):
    """A section: elements of one or two kinds."""

    __slots__ = ("answer", "entities", "name")

    def __init__(self, answer: Filter, name: str, kinds: "list[EntityKind]") -> None:
        self.answer = answer
        self.name = name
        # One object per kind, reused for all its elements: only one is open at a time.
        self.entities = {named(kind.entity.name): EntityState(answer, kind) for kind in kinds if kind.is_released}

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        entity = self.entities.get(name)
        return entity.reset(attributes) if entity is not None else None

    def end(self) -> None:
        self.answer.flush(self.name)
        if self.name == "groepen":
            self.answer.groups_are_known = True


class EntityKind:
    """A kind of element, and the part of it that is released."""

    __slots__ = ("entity", "fields", "group", "groups", "released", "written")

    def __init__(self, entity: Entity, answer: Filter) -> None:
        self.entity = entity
        self.released = frozenset(
            name.removeprefix(entity.prefix)
            for name in answer.release.get(entity.resource_type, frozenset())
            if name.startswith(entity.prefix)
        )
        if answer.expected.xsdversie != WITH_DATE_OF_BIRTH:
            self.released -= {"geboortedatum"}
        # Fields that identify the school are read in any case.
        read = self.released | (set(entity.fields) if entity is SCHOOL else set())
        self.fields: dict[str, Field] = {
            named(name): (name, valid) for name, valid in entity.fields.items() if name in read
        }
        if entity is SCHOOL:
            # An invalid location counts as another one than requested, so it must be read.
            self.fields[named("dependancecode")] = ("dependancecode", lambda _: True)
        #: A person always has a name.
        written = self.released | (set(NAME) if entity.is_person else set())
        self.written = [(name, f"<{name}>", f"</{name}>") for name in entity.fields if name in written]
        self.group = named(entity.group) if entity.group and f"{entity.group}/@key" in self.released else None
        self.groups = named(entity.groups) if entity.groups else None

    @property
    def is_released(self) -> bool:
        return "@key" in self.released


class EntityState(ElementState):
    """One school, group, pupil or teacher."""

    __slots__ = ("answer", "attributes", "fields", "group", "groups", "kind", "nested", "values")

    def __init__(self, answer: Filter, kind: EntityKind) -> None:
        self.answer = answer
        self.kind = kind
        self.fields = kind.fields
        self.nested = frozenset(name for name in (kind.group, kind.groups) if name is not None)
        self.groups = GroupsState(answer, kind)
        self.reset([])

    def reset(self, attributes: list[str]) -> "EntityState":
        self.attributes = attributes
        self.values: dict[str, str] = {}
        self.group: str | None = None
        self.groups.references = None
        return self

    def take(self, name: str, text: str) -> None:
        if name in self.values:
            raise AnswerRefused("a field twice")
        self.values[name] = text

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        if name == self.kind.group:
            if self.group is not None:
                raise AnswerRefused("a field twice")
            self.group = self.answer.reference(GROUP, attributes) or ""
            return ElementState()
        if name == self.kind.groups:
            if self.groups.references is not None:
                raise AnswerRefused("a field twice")
            self.groups.references = []
            return self.groups
        return None

    def end(self) -> None:
        if self.kind.entity is SCHOOL:
            self.answer.require_school(self.values)
            if not self.values.get("brincode"):
                # The schema has a location only together with the school's BRIN.
                self.values["dependancecode"] = ""
        attributes = self._attributes()
        entity, values = self.kind.entity, self.values
        if attributes is None or not all(values.get(name) for name in entity.required):
            self.answer.drop(entity.name)
            return
        if entity.is_person and not values.get("achternaam"):
            # The schema does not allow an infix alone, and requires a name of a person.
            values["voorvoegsel"] = ""
            values["roepnaam"] = values.get("roepnaam") or NO_NAME
        if entity.resource_type == "groep":
            self.answer.add_group(entity, attribute(self.attributes, "key"))
        self.answer.keep(entity, f"<{entity.name}{attributes}>{self._parts()}</{entity.name}>")

    def _attributes(self) -> str | None:
        """The attributes of the element; None when a required one is missing, so that it must be dropped."""
        entity, released = self.kind.entity, self.kind.released
        if entity is SCHOOL:
            return ""
        key, eckid = attribute(self.attributes, "key"), attribute(self.attributes, "eckid")
        if len(key) > MOST_IN_A_KEY or len(eckid) > MOST_IN_A_KEY:
            return None
        if eckid and "@eckid" in released and entity.is_person:
            # The schema requires a key. A pupil's own key is for those without an ECK iD, which replaces it.
            eckid = escaped(eckid)
            return f' eckid="{eckid}" key="{escaped(key) if entity.roles and key else eckid}"'
        if not key or (eckid and entity.is_person and not entity.roles):
            return None
        return f' key="{escaped(key)}"'

    def _parts(self) -> str:
        """The content of the element, in the schema's order."""
        values, text = self.values, ""
        for name, opening, closing in self.kind.written:
            if value := values.get(name):
                text += opening + escaped(value) + closing
        if self.group:
            text += f"<groep{self.group}/>"
        if self.groups.references:
            text += f"<{self.kind.entity.groups}>{''.join(self.groups.references)}</{self.kind.entity.groups}>"
        return text


class GroupsState(ElementState):
    """The groups of a person, each with the roles there."""

    __slots__ = ("answer", "kinds", "references")

    def __init__(self, answer: Filter, kind: EntityKind) -> None:
        self.answer = answer
        self.references: list[str] | None = None
        self.kinds: dict[str, tuple[Entity, RolesState]] = {}
        for group in (GROUP, COMPOSED_GROUP):
            path = f"{kind.entity.groups}/{group.name}"
            if f"{path}/@key" in kind.released:
                roles = frozenset(name for name in ROLES if f"{path}/{name}" in kind.released)
                self.kinds[named(group.name)] = group, RolesState(answer, self, group, roles)

    def begin(self, name: str, attributes: list[str]) -> ElementState | None:
        if name not in self.kinds:
            return None
        group, roles = self.kinds[name]
        reference = self.answer.reference(group, attributes)
        return roles.reset(reference) if reference is not None else ElementState()

    def add(self, reference: str) -> None:
        if self.references is None or len(self.references) >= MOST_GROUPS:
            raise AnswerRefused("someone in too many groups")
        self.references.append(reference)


class RolesState(ElementState):
    """One reference to a group, with the person's roles there."""

    __slots__ = ("answer", "fields", "group", "groups", "reference", "roles")

    def __init__(self, answer: Filter, groups: GroupsState, group: Entity, names: frozenset[str]) -> None:
        self.answer = answer
        self.groups = groups
        self.group = group
        self.fields = {named(name): (name, ROLES[name]) for name in names}
        self.reset("")

    def reset(self, reference: str) -> "RolesState":
        self.reference = reference
        self.roles: list[str] = []
        return self

    def take(self, name: str, text: str) -> None:
        if len(self.roles) >= MOST_ROLES:
            raise AnswerRefused("someone with too many roles")
        if text:
            self.roles.append(f"<{name}>{escaped(text)}</{name}>")

    def end(self) -> None:
        tag = self.group.name
        self.groups.add(f"<{tag}{self.reference}>{''.join(self.roles)}</{tag}>")
