"""The register of processing as a document: its title, lines, parts and annex, independent of PDF."""

from collections.abc import Iterable
from typing import Final

from api.processing_register.document_lines import (
    PLACES,
    SOURCE,
    STATUS,
    TITLE,
    TO_STATE,
    moment,
    place,
    processing_lines,
    register_lines,
)
from api.processing_register.pdf_model import Document, Entry, Line, Part
from models.past.processing_register import Controller, Processing, Register
from models.past.register_texts import RETENTION

#: Dotted lines for handwriting.
_WRITING_LINE, _SHORT_WRITING_LINE = "." * 120, " " + "." * 36
_NONE: Final = "Er zijn er op dit moment geen. / There are none at this instant."


def document_of(register: Register) -> Document:
    """The document: a part for present processings, one for ended ones, and an annex that describes the scopes."""
    controller = register.controller
    return Document(
        name=f"{TITLE} {controller.school_name} ({controller.brin})",
        author=controller.board_name or controller.school_name,
        subject="AVG art. 30 lid 1 / GDPR art. 30(1)",
        title=TITLE,
        subtitle="AVG art. 30 lid 1 / Record of processing activities, GDPR art. 30(1)",
        lines=tuple(_with_room(line, "", _WRITING_LINE) for line in register_lines(register)),
        notes=tuple(text for note in (SOURCE, RETENTION, PLACES) for text in (note.nl, note.en)),
        parts=(
            _part("Verwerkingen", "Processing activities", "Tot / Until", controller, register.processings),
            _part("Beëindigd", "Ended", "Op / On", controller, register.ended),
        ),
        annex=tuple(_annex(register)),
        margin=(
            f"{controller.brin} · stand per {moment(register.at)} · logboek t/m nr. {register.last_event}"
            f" · opgemaakt {moment(register.drawn_up_at)}"
        ),
    )


def _part(nl: str, en: str, end: str, controller: Controller, processings: Iterable[Processing]) -> Part:
    columns = ("Ontvanger / Recipient", "Koppeling / Connection", "Plaats / Place", "Status", end)
    return Part(nl, en, columns, tuple(_entry(controller, each) for each in processings), _NONE)


def _entry(controller: Controller, processing: Processing) -> Entry:
    recipient, until = processing.recipient, processing.ended_at or processing.valid_until
    return Entry(
        names=(recipient.connection, recipient.name),
        brief=(
            f"{recipient.name} (KvK {recipient.kvk_number})",
            recipient.connection,
            place(controller, processing),
            STATUS[processing.status],
            "–" if until is None else moment(until),
        ),
        lines=tuple(
            _with_room(line, _SHORT_WRITING_LINE) for line in processing_lines(controller, processing) if line.values
        ),
    )


def _with_room(line: Line, suffix: str, *further_values: str) -> Line:
    """A line that the school must fill in, with room for handwriting; any other line as it is."""
    return line._replace(values=(TO_STATE + suffix, *further_values)) if line.values == (TO_STATE,) else line


def _annex(register: Register) -> Iterable[Line]:
    every = (*register.processings, *register.ended)
    named = {data.scope: data.description for each in every for data in each.data}
    return (Line(scope, "", (named[scope],)) for scope in sorted(named))
