"""The filter of a LAS's answer: passes on the granted fields of granted elements, in valid order, and nothing else.

An answer is parsed as it arrives, and its released part is buffered, on disk if large. Nothing is sent before the last
byte was read and the answer found to match the request. So memory is bounded by the largest single pupil, and a wrong
answer is refused before any of it is sent.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Final

from exchange.element_states import (
    AnswerRefused,
    AnswerState,
    ElementState,
    Field,
    Release,
    SingleChildState,
    attribute,
    named,
)
from exchange.uwlr import MOST_IN_A_KEY, SCHOOL, SECTIONS, SECTIONS_OF, SOAP, UWLR, Call, Entity, Expected
from exchange.xml import MOST_DEPTH, MOST_IN_A_TAG, Reading, XmlRefused, escaped

HELD_IN_MEMORY: Final = 256 * 1024
CHUNK: Final = 64 * 1024
#: Elements that are written to the buffer together, as long as they are small.
MOST_PENDING: Final = 64
MOST_PENDING_CHARACTERS: Final = 64 * 1024
#: Distinct unknown names that are counted separately.
MOST_NAMES: Final = 100
OTHERS: Final = "andere"
MOST_IN_A_FIELD: Final = 64 * 1024
MOST_GROUPS_OF_A_SCHOOL: Final = 100_000

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][\w.-]{0,39}", re.ASCII)
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{SOAP}"><soap:Body>'
_TAIL: Final = "</soap:Body></soap:Envelope>\n"


class AnswerFilter:
    """Parses the answer to `call` piece by piece, and keeps the part in `release`.

    `groups` are the released groups if known beforehand. `feed` and `close` raise `AnswerRefused`.
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
        #: Name of the data element, or of the element that says that there is no data, once seen.
        self.content_name: str | None = None
        self.groups: set[tuple[str, str]] = set(groups or ())
        self.groups_are_known = groups is not None or call is not Call.ALL
        self.has_unchecked_references = False
        self.counts: Counter[str] = Counter()
        self._dropped: dict[str, int] = {}
        self._school = ""
        self._spools: dict[str, SpooledTemporaryFile[bytes]] = {}
        self._pending: list[str] = []
        self._pending_characters = 0
        body = SingleChildState(named(f"{call.value}_antwoord"), AnswerState(self))
        envelope = SingleChildState(f"{SOAP} Body", body, ignored=f"{SOAP} Header")
        self._states: list[ElementState] = [SingleChildState(f"{SOAP} Envelope", envelope)]
        #: Depth within a dropped element; 0 outside.
        self._dropped_depth = 0
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
        """The released answer. Raises `AnswerRefused` when the answer is not complete."""
        with self._refusing():
            self._reading.close()
        released = Released(self.call, self.content_name, self._school, self._spools, self.dropped, self.counts)
        if self.has_unchecked_references:
            # Pupils came before groups: now that the released groups are known, references to others can be removed.
            return released.narrowed(self.expected, self.release, frozenset(self.groups))
        return released

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Discards the buffers when the answer is refused."""
        try:
            yield
        except BaseException as error:
            self.discard()
            if isinstance(error, XmlRefused):
                raise AnswerRefused(str(error)) from None
            raise

    def discard(self) -> None:
        """Discards the buffers."""
        for spool in self._spools.values():
            spool.close()

    # -- calls of the element states ----------------------------------------------------------------------------------

    def drop(self, name: str) -> None:
        """Counts a dropped element, by its name alone."""
        if name not in self._dropped and len(self._dropped) >= MOST_NAMES:
            name = OTHERS
        self._dropped[name] = self._dropped.get(name, 0) + 1

    @property
    def dropped(self) -> Counter[str]:
        """The number of dropped elements by name. Names that are not plain count as `OTHERS`."""
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
        self._pending.append(text)
        self._pending_characters += len(text)
        if len(self._pending) >= MOST_PENDING or self._pending_characters > MOST_PENDING_CHARACTERS:
            self.flush(_SECTION_OF[entity.name])

    def flush(self, section: str) -> None:
        """Writes the pending elements of a section to its buffer."""
        if not self._pending:
            return
        spool = self._spools.get(section)
        if spool is None:
            spool = self._spools[section] = SpooledTemporaryFile(max_size=HELD_IN_MEMORY)  # noqa: SIM115
        spool.write("".join(self._pending).encode())
        self._pending.clear()
        self._pending_characters = 0

    def add_group(self, group: Entity, key: str) -> None:
        """Marks a group as released, so that references to it may be."""
        if len(self.groups) >= MOST_GROUPS_OF_A_SCHOOL:
            raise AnswerRefused("too many groups")
        self.groups.add((group.name, key))

    def reference(self, group: Entity, attributes: list[str]) -> str | None:
        """The attribute of a reference to a group, or None if the group is not released."""
        key = attribute(attributes, "key")
        is_kind_released = f"{group.prefix}@key" in self.release.get("groep", frozenset())
        if not key or len(key) > MOST_IN_A_KEY or not is_kind_released:
            self.drop(group.name)
            return None
        if self.call is Call.ALL:
            if not self.groups_are_known:
                self.has_unchecked_references = True
            elif (group.name, key) not in self.groups:
                self.drop(group.name)
                return None
        return f' key="{escaped(key)}"'

    def require_school(self, values: dict[str, str]) -> None:
        """Raises `AnswerRefused` unless the data are of the requested school and school year."""
        expected = self.expected
        if values.get("schooljaar") != expected.schooljaar:
            raise AnswerRefused("another school year")
        if expected.schoolkey is not None:
            if values.get("schoolkey") != expected.schoolkey:
                raise AnswerRefused("another school")
            if "brincode" not in values and not values.get("dependancecode"):
                return
        location = values.get("dependancecode") or "00"
        if values.get("brincode") != expected.brincode or location != (expected.dependancecode or "00"):
            raise AnswerRefused("another school")

    # -- events of the XML reading ------------------------------------------------------------------------------------

    def _start(self, name: str, attributes: list[str]) -> None:
        if len(attributes) > MOST_IN_A_TAG or self._dropped_depth > MOST_DEPTH:
            raise AnswerRefused("too many attributes, or elements too deep in one another")
        if self._dropped_depth:
            self._dropped_depth += 1
            return
        if self._field is None:
            top = self._states[-1]
            field = top.fields.get(name)
            if field is not None:
                self._field, self._text = field, ""
                self._parser.CharacterDataHandler = self._add
                return
            if top.nested is None or name in top.nested:
                state = top.begin(name, attributes)
                if state is not None:
                    self._states.append(state)
                    return
        self._dropped_depth = 1
        self._parser.CharacterDataHandler = None
        if name in self._dropped:
            self._dropped[name] += 1
        else:
            self.drop(name)

    def _add_text(self, text: str) -> None:
        self._text += text
        if len(self._text) > MOST_IN_A_FIELD:
            raise AnswerRefused("a field that is too long")

    def _end(self, name: str) -> None:
        if self._dropped_depth:
            self._dropped_depth -= 1
            if self._field is not None and not self._dropped_depth:
                self._parser.CharacterDataHandler = self._add
            return
        field = self._field
        if field is None:
            self._states.pop().end()
            return
        self._field = self._parser.CharacterDataHandler = None
        name, is_valid = field
        text = self._text if is_valid(self._text) else ""
        self._states[-1].take(name, text)
        if not text:
            self.drop(name)


_SECTION_OF: Final = {entity.name: section for section, entities in SECTIONS.items() for entity in entities}


class Released:
    """A released answer, to be sent once. Its buffers are discarded after iteration, or by `discard`."""

    def __init__(
        self,
        call: Call,
        content_name: str | None,
        school: str,
        spools: "dict[str, SpooledTemporaryFile[bytes]]",
        dropped: Counter[str],
        counts: Counter[str],
    ) -> None:
        self.call = call
        self.dropped = dropped
        self.counts = counts
        self._content_name = content_name
        self._school = school
        self._spools = spools

    def __iter__(self) -> Iterator[bytes]:
        answer, data = f"{self.call.value}_antwoord", self._content_name
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
        """Whether it contains the data that the schema requires, or says that there is none."""
        needed = {Call.ALL: PUPILS, Call.PUPILS: PUPILS}.get(self.call)
        return self._content_name != self.call.data or needed is None or needed in self._spools

    def narrowed(
        self, expected: Expected, release: Release, groups: frozenset[tuple[str, str]] | None = None
    ) -> "Released":
        """This answer filtered again by `release`. Raises `AnswerRefused`."""
        filtering = AnswerFilter(self.call, expected, release, groups)
        for chunk in self:
            filtering.feed(chunk)
        narrowed = filtering.close()
        narrowed.dropped.update(self.dropped)
        return narrowed


PUPILS: Final = "leerlingen"
