"""What may pass of a LAS's answer: the granted fields of the granted things, in valid order, and nothing else.

An answer is read as it comes, and what may pass is kept aside, on disk where it is large; nothing leaves before the
last byte was read and the whole of it was found to be what was asked for. So the memory that it takes is bounded by
the largest single pupil, and a wrong answer is refused before any of it is out.

From the top: the places of a document, each of which knows what may stand in it; then `AnswerFilter`, which walks
through them; then what is released. Elements are known by name, whatever their order; what is not known is dropped.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import Final

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
    SOAP,
    UWLR,
    WITH_DATE_OF_BIRTH,
    Call,
    Entity,
    Expected,
    Valid,
)
from exchange.xml import MOST_DEPTH, MOST_IN_A_TAG, Reading, XmlRefused, escaped

#: The fields that may be released of each type, named as in the catalogue of scopes.
Release = Mapping[str, frozenset[str]]

#: Stands where the schema demands a name, and none is granted or known.
NO_NAME: Final = "-"
HELD_IN_MEMORY: Final = 256 * 1024
CHUNK: Final = 64 * 1024
#: Things that are written out together.
KEPT_AT_ONCE: Final = 64
#: Of names that the profile does not know, so many are told apart.
MOST_NAMES: Final = 100
OTHERS: Final = "andere"

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][\w.-]{0,39}", re.ASCII)
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{SOAP}"><soap:Body>'
_TAIL: Final = "</soap:Body></soap:Envelope>\n"


class AnswerRefused(Exception):
    """The answer is not what was asked for. The text says why, and nothing of what was in it."""


#: A field's name, and whether a text is a value of it.
Field = tuple[str, Valid]


def named(local: str) -> str:
    """An element of UWLR, as a `Reading` names it."""
    return f"{UWLR} {local}"


def attribute(attributes: list[str], name: str) -> str:
    """The value of an attribute, or nothing."""
    names = attributes[::2]
    return attributes[2 * names.index(name) + 1] if name in names else ""


# -- the places of a document -----------------------------------------------------------------------------------------


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

    def __init__(self, answer: "AnswerFilter") -> None:
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

    def __init__(self, answer: "AnswerFilter") -> None:
        self.answer = answer
        self.places: dict[str, Place] = {named("school"): Thing(answer, Kind(SCHOOL, answer))}
        for section in SECTIONS_OF[answer.call]:
            kinds = [Kind(entity, answer) for entity in SECTIONS[section]]
            if any(kind.is_released for kind in kinds):
                self.places[named(section)] = Section(answer, section, kinds)
        self.seen: set[str] = set()

    def begin(self, name: str, attributes: list[str]) -> Place | None:
        place = self.places.get(name)
        if place is not None and name in self.seen:
            raise AnswerRefused("a section twice")
        self.seen.add(name)
        return place

    def end(self) -> None:
        if named("school") not in self.seen:
            raise AnswerRefused("data of no school")


class Section(Place):
    """All things of one or two kinds."""

    __slots__ = ("answer", "name", "things")

    def __init__(self, answer: "AnswerFilter", name: str, kinds: "list[Kind]") -> None:
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

    def __init__(self, entity: Entity, answer: "AnswerFilter") -> None:
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

    def __init__(self, answer: "AnswerFilter", kind: Kind) -> None:
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
        attributes = self._attributes()
        entity, values = self.kind.entity, self.values
        if attributes is None or not all(values.get(name) for name in entity.required):
            self.answer.drop(entity.name)
            return
        if entity.is_person and not values.get("achternaam"):
            # The schema has no place for an infix alone, and demands that a person is called something.
            values["voorvoegsel"] = ""
            values["roepnaam"] = values.get("roepnaam") or NO_NAME
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
        if not key:
            return None
        if entity.resource_type == "groep":
            self.answer.groups.add((entity.name, key))
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

    __slots__ = ("answer", "found", "kinds", "roles")

    def __init__(self, answer: "AnswerFilter", kind: Kind) -> None:
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
        self.found = [*(self.found or ()), reference]


class Roles(Place):
    """One reference to a group, with what is done there."""

    __slots__ = ("answer", "fields", "found", "group", "groups", "reference")

    def __init__(self, answer: "AnswerFilter", groups: Groups, group: Entity, names: frozenset[str]) -> None:
        self.answer = answer
        self.groups = groups
        self.group = group
        self.fields = {named(name): (name, ROLES[name]) for name in names}
        self.opened("")

    def opened(self, reference: str) -> "Roles":
        self.reference = reference
        self.found = ""
        return self

    def take(self, name: str, text: str) -> None:
        if text:
            self.found += f"<{name}>{escaped(text)}</{name}>"

    def end(self) -> None:
        tag = self.group.name
        self.groups.add(f"<{tag}{self.reference}>{self.found}</{tag}>")


# -- the walk through them --------------------------------------------------------------------------------------------


class AnswerFilter:
    """Reads the answer to `call` piece by piece, and lets `release` of it through.

    `groups` are the ones that are released, where they are known beforehand. `feed` and `close` raise `AnswerRefused`.
    """

    def __init__(
        self,
        call: Call,
        expected: Expected,
        release: Release,
        groups: frozenset[tuple[str, str]] | None = None,
    ) -> None:
        self.call = call
        self.expected = expected
        self.release = release
        #: The data's element, or that there is nothing, once it was seen.
        self.found: str | None = None
        self.groups: set[tuple[str, str]] = set(groups or ())
        self.groups_are_known = groups is not None or call is not Call.ALL
        self.has_loose_references = False
        self.counts: Counter[str] = Counter()
        self._dropped: dict[str, int] = {}
        self._school = ""
        self._spools: dict[str, SpooledTemporaryFile[bytes]] = {}
        self._kept: list[str] = []
        body = Path(named(f"{call.value}_antwoord"), Answer(self))
        envelope = Path(f"{SOAP} Body", body, ignored=f"{SOAP} Header")
        self._places: list[Place] = [Path(f"{SOAP} Envelope", envelope)]
        #: How deep we are in something that is dropped.
        self._skipped = 0
        #: The field whose text is being read.
        self._field: Field | None = None
        self._text = ""
        self._add = self._add_text
        self._reading = Reading(self._start, self._end)
        self._parser = self._reading.parser

    def feed(self, chunk: bytes) -> None:
        with self._refusing():
            self._reading.feed(chunk)

    def close(self) -> "Released":
        """What is released. Raises `AnswerRefused` when the answer is not complete."""
        with self._refusing():
            self._reading.close()
        released = Released(self.call, self.found, self._school, self._spools, self.dropped, self.counts)
        if self.has_loose_references:
            # The groups came after who is in them: now that they are known, those who are in others can be told.
            return released.narrowed(self.expected, self.release, frozenset(self.groups))
        return released

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """What was kept aside of an answer that is refused is let go of."""
        try:
            yield
        except BaseException as error:
            self.discard()
            if isinstance(error, XmlRefused):
                raise AnswerRefused(str(error)) from None
            raise

    def discard(self) -> None:
        """Lets go of what was kept aside."""
        for spool in self._spools.values():
            spool.close()

    # -- what the places say ----------------------------------------------------------------------------------------

    def drop(self, name: str) -> None:
        """Counts what is not let through, by its name alone."""
        if name not in self._dropped and len(self._dropped) >= MOST_NAMES:
            name = OTHERS
        self._dropped[name] = self._dropped.get(name, 0) + 1

    @property
    def dropped(self) -> Counter[str]:
        """How many elements of which name were not let through. A name may be as odd as an answer is."""
        counted: Counter[str] = Counter()
        for name, times in self._dropped.items():
            local = name.rpartition(" ")[2]
            counted[local if _PLAIN_NAME.fullmatch(local) else OTHERS] += times
        return counted

    def keep(self, entity: Entity, text: str) -> None:
        self.counts[entity.name] += 1
        if entity is SCHOOL:
            self._school = text
            return
        self._kept.append(text)
        if len(self._kept) >= KEPT_AT_ONCE:
            self.put_aside(_SECTION_OF[entity.name])

    def put_aside(self, section: str) -> None:
        """What was kept of a section goes to where it is held until the end."""
        if not self._kept:
            return
        spool = self._spools.get(section)
        if spool is None:
            spool = self._spools[section] = SpooledTemporaryFile(max_size=HELD_IN_MEMORY)  # noqa: SIM115
        spool.write("".join(self._kept).encode())
        self._kept.clear()

    def reference(self, group: Entity, attributes: list[str]) -> str | None:
        """The attribute of a reference to a group, if that is released too."""
        key = attribute(attributes, "key")
        is_kind_released = f"{group.prefix}@key" in self.release.get("groep", frozenset())
        if not key or len(key) > MOST_IN_A_KEY or not is_kind_released:
            self.drop(group.name)
            return None
        if self.call is Call.ALL:
            if not self.groups_are_known:
                self.has_loose_references = True
            elif (group.name, key) not in self.groups:
                self.drop(group.name)
                return None
        return f' key="{escaped(key)}"'

    def require_school(self, values: dict[str, str]) -> None:
        """Raises `AnswerRefused` unless the data are of the school and the year that were asked for."""
        expected = self.expected
        if values.get("schooljaar") != expected.schooljaar:
            raise AnswerRefused("another school year")
        if expected.brincode is None:
            if not expected.schoolkey or values.get("schoolkey") != expected.schoolkey or values.get("brincode"):
                raise AnswerRefused("another school")
            return
        location = values.get("dependancecode") or "00"
        if values.get("brincode") != expected.brincode or location != (expected.dependancecode or "00"):
            raise AnswerRefused("another school")

    # -- what the reading says --------------------------------------------------------------------------------------

    def _start(self, name: str, attributes: list[str]) -> None:
        if len(attributes) > MOST_IN_A_TAG or self._skipped > MOST_DEPTH:
            raise AnswerRefused("too many attributes, or elements too deep in one another")
        if self._skipped:
            self._skipped += 1
            return
        if self._field is None:
            top = self._places[-1]
            field = top.fields.get(name)
            if field is not None:
                self._field, self._text = field, ""
                self._parser.CharacterDataHandler = self._add
                return
            if top.nested is None or name in top.nested:
                place = top.begin(name, attributes)
                if place is not None:
                    self._places.append(place)
                    return
        self._skipped = 1
        self._parser.CharacterDataHandler = None
        if name in self._dropped:
            self._dropped[name] += 1
        else:
            self.drop(name)

    def _add_text(self, text: str) -> None:
        self._text += text

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            if self._field is not None and not self._skipped:
                self._parser.CharacterDataHandler = self._add
            return
        field = self._field
        if field is None:
            self._places.pop().end()
            return
        self._field = self._parser.CharacterDataHandler = None
        name, is_valid = field
        text = self._text if is_valid(self._text) else ""
        self._places[-1].take(name, text)
        if not text:
            self.drop(name)


_SECTION_OF: Final = {entity.name: section for section, entities in SECTIONS.items() for entity in entities}


class Released:
    """A whole answer, to be sent once. It lets go of what it holds when it was iterated over, or discarded."""

    def __init__(
        self,
        call: Call,
        found: str | None,
        school: str,
        spools: "dict[str, SpooledTemporaryFile[bytes]]",
        dropped: Counter[str],
        counts: Counter[str],
    ) -> None:
        self.call = call
        self.dropped = dropped
        self.counts = counts
        self._found = found
        self._school = school
        self._spools = spools

    def __iter__(self) -> Iterator[bytes]:
        answer, data = f"{self.call.value}_antwoord", self._found
        try:
            if data != self.call.data:
                yield f'{_HEAD}<{answer} xmlns="{UWLR}"><{data}/></{answer}>{_TAIL}'.encode()
                return
            yield f'{_HEAD}<{answer} xmlns="{UWLR}"><{data}>{self._school}'.encode()
            for section in SECTIONS_OF[self.call]:
                if (spool := self._spools.get(section)) is not None:
                    yield f"<{section}>".encode()
                    spool.seek(0)
                    while chunk := spool.read(CHUNK):
                        yield chunk
                    yield f"</{section}>".encode()
            yield f"</{data}></{answer}>{_TAIL}".encode()
        finally:
            self.discard()

    def discard(self) -> None:
        for spool in self._spools.values():
            spool.close()

    @property
    def has_data(self) -> bool:
        """Whether it holds the data that the schema demands of it, or says that there are none."""
        needed = {Call.ALL: PUPILS, Call.PUPILS: PUPILS}.get(self.call)
        return self._found != self.call.data or needed is None or needed in self._spools

    def narrowed(
        self, expected: Expected, release: Release, groups: frozenset[tuple[str, str]] | None = None
    ) -> "Released":
        """The same, with only `release` of it. Raises `AnswerRefused`."""
        again = AnswerFilter(self.call, expected, release, groups)
        for chunk in self:
            again.feed(chunk)
        narrowed = again.close()
        narrowed.dropped.update(self.dropped)
        return narrowed


PUPILS: Final = "leerlingen"
