"""A register of processing as a document to hand over."""

from collections.abc import Iterable
from typing import Final

from api.processing_register.document_lines import (
    PLACES,
    SOURCE,
    STATUS,
    TITLE,
    TO_STATE,
    moment,
    of_processing,
    of_register,
    place,
)
from api.processing_register.pdf_model import Document, Entry, Line, Part
from models.past.processing_register import Controller, Processing, Register
from models.past.register_texts import RETENTION

#: What one can write on.
_ROOM, _LITTLE_ROOM = "." * 120, " " + "." * 36
_NONE: Final = "Er zijn er op dit moment geen. / There are none at this instant."


def document_of(register: Register) -> Document:
    """All that the document says: a part for what goes on, one for what has ended, and what each scope named is."""
    controller = register.controller
    return Document(
        name=f"{TITLE} {controller.school_name} ({controller.brin})",
        author=controller.board_name or controller.school_name,
        subject="AVG art. 30 lid 1 / GDPR art. 30(1)",
        title=TITLE,
        subtitle="AVG art. 30 lid 1 / Record of processing activities, GDPR art. 30(1)",
        lines=tuple(_with_room(line, "", _ROOM) for line in of_register(register)),
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
        lines=tuple(_with_room(line, _LITTLE_ROOM) for line in of_processing(controller, processing) if line.values),
    )


def _with_room(line: Line, behind: str, *below: str) -> Line:
    """What the school must state itself, with room to do so by hand."""
    return line._replace(values=(TO_STATE + behind, *below)) if line.values == (TO_STATE,) else line


def _annex(register: Register) -> Iterable[Line]:
    every = (*register.processings, *register.ended)
    named = {data.scope: data.description for each in every for data in each.data}
    return (Line(scope, "", (named[scope],)) for scope in sorted(named))
