"""A register of processing as a document to hand over (PDF, A4)."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, CondPageBreak, Flowable, Frame, PageTemplate, Spacer

from api.register_lines import PLACES, SOURCE, STATUS, TITLE, Line, moment, of_processing, of_register, place
from api.typesetting import (
    DIM,
    H1,
    H2,
    H3,
    HEIGHT,
    MARGIN,
    NOTE,
    REGULAR,
    SIDE,
    SMALL,
    TEXT,
    WIDTH,
    Row,
    Rows,
    Typesetter,
    printed,
)
from models.processing_register import Processing, Register

#: A row is not parted, so it must fit on a page: what has more characters than this goes on in the next.
_MOST_IN_ROW: Final = 1200
_MOST_IN_BRIEF: Final = 90
#: What a value takes at least of that, since it has a line of its own.
_LEAST_OF_VALUE: Final = 30
#: The form with the number of pages, which is known when all of them are drawn.
_TOTAL: Final = "total"

#: The least that stands below a heading before the page ends.
_BELOW_HEADING: Final = 50 * mm
_LEFT: Final = 46 * mm
_SUMMARY: Final = (9 * mm, 43 * mm, 37 * mm, 33 * mm, 27 * mm, 21 * mm)


class _Pages(Canvas):  # type: ignore[misc]
    """Pages that say of how many they are."""

    def save(self) -> None:
        pages = self.getPageNumber() - 1
        self.beginForm(_TOTAL)
        self.setFont(REGULAR, 7.5)
        self.setFillColor(DIM)
        self.drawString(0, 0, str(pages))
        self.endForm()
        self.setViewerPreference("DisplayDocTitle", "true")
        super().save()


def pdf_of(register: Register) -> bytes:
    """The document, with its text as text, whatever characters it has."""
    content = io.BytesIO()
    story = list(_Story(register).told())
    about = {
        "title": f"{TITLE} {printed(register.controller.school_name)} ({register.controller.brin})",
        "subject": "AVG art. 30 lid 1 / GDPR art. 30(1)",
        "author": printed(register.controller.board_name or register.controller.school_name),
        "creator": "School privacy manager",
        "lang": "nl",
    }
    document = BaseDocTemplate(content, pagesize=A4, initialFontName=REGULAR, **about)
    frame = Frame(MARGIN, MARGIN, WIDTH, HEIGHT, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=_margins_of(register)))
    document.build(story, canvasmaker=_Pages)
    return content.getvalue()


class _Story:
    """What stands in the document, from beginning to end."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._set = Typesetter()
        self._rows: dict[Line, list[Row]] = {}

    def told(self) -> Iterator[Flowable]:
        register, going_on = self._register, len(self._register.processings)
        yield self._set.text(H1, TITLE)
        yield self._set.text(NOTE, "AVG art. 30 lid 1 / Record of processing activities, GDPR art. 30(1)")
        yield Spacer(0, 10)
        yield self._of_lines(of_register(register))
        yield self._set.text(NOTE, SOURCE.nl)
        yield self._set.text(NOTE, SOURCE.en)
        yield self._set.text(NOTE, PLACES.nl)
        yield self._set.text(NOTE, PLACES.en)
        yield from self._part("Verwerkingen", "Processing activities", "Tot / Until", register.processings, 1)
        yield from self._part("Beëindigd", "Ended", "Op / On", register.ended, going_on + 1)
        yield from self._annex()

    def _part(self, nl: str, en: str, end: str, processings: Sequence[Processing], first: int) -> Iterator[Flowable]:
        """A summary of these, and then each of them."""
        yield CondPageBreak(_BELOW_HEADING)
        yield self._set.heading(H2, nl, f"{en} ({len(processings)})", key=nl, level=0)
        if not processings:
            yield self._set.text(TEXT, "Er zijn er op dit moment geen. / There are none at this instant.")
            return
        yield self._summary(end, processings, first)
        for number, each in enumerate(processings, first):
            yield from self._one(number, each)

    def _one(self, number: int, processing: Processing) -> Iterator[Flowable]:
        """One processing, on one page where that has room for it."""
        recipient = processing.recipient
        title = f"{number}. {_brief(recipient.connection)} – {_brief(recipient.name)}"
        heading = self._set.heading(H3, title, "", key=_key(number), level=1)
        rows = self._of_lines([line for line in of_processing(self._register.controller, processing) if line.values])
        needed = H3.spaceBefore + heading.wrap(WIDTH, HEIGHT)[1] + H3.spaceAfter + rows.height
        yield CondPageBreak(needed if needed <= HEIGHT else _BELOW_HEADING)
        yield heading
        yield rows

    def _annex(self) -> Iterator[Flowable]:
        """What each scope is that is named, once."""
        every = (*self._register.processings, *self._register.ended)
        named = {data.scope: data.description for each in every for data in each.data}
        if named:
            yield CondPageBreak(_BELOW_HEADING)
            yield self._set.heading(H2, "Toelichting op de gegevens", "What the data are", key="annex", level=0)
            yield self._of_lines([Line(scope, "", (named[scope],)) for scope in sorted(named)])

    def _summary(self, end: str, processings: Sequence[Processing], first: int) -> Flowable:
        headings = ("Nr.", "Ontvanger / Recipient", "Koppeling / Connection", "Plaats / Place", "Status", end)
        rows = [Row([self._set.text(SMALL, heading, bold=True) for heading in headings])]
        for number, each in enumerate(processings, first):
            until = each.ended_at or each.valid_until
            cells = (
                str(number),
                f"{each.recipient.name} (KvK {each.recipient.kvk_number})",
                each.recipient.connection,
                place(self._register.controller, each),
                STATUS[each.status],
                "–" if until is None else moment(until),
            )
            rows.append(Row([self._set.text(SMALL, _brief(text)) for text in cells], _key(number)))
        return Rows(rows, _SUMMARY, headed=True)

    def _of_lines(self, lines: Sequence[Line]) -> Rows:
        """Headings at the left, values at the right."""
        rows: list[Row] = []
        for line in lines:
            if line not in self._rows:
                self._rows[line] = list(self._of_line(line))
            rows += self._rows[line]
        return Rows(rows, (_LEFT, WIDTH - _LEFT))

    def _of_line(self, line: Line) -> Iterator[Row]:
        heading = self._set.in_both(SMALL, line.nl, line.en, _LEFT - 2 * SIDE)
        for number, part in enumerate(_parts(line.values)):
            yield Row([None if number else heading, self._set.text(TEXT, *part)])


def _key(number: int) -> str:
    return f"processing-{number}"


def _brief(text: str) -> str:
    """As much as a heading and the summary have room for; the rest stands with the processing itself."""
    whole = printed(text)
    return whole if len(whole) <= _MOST_IN_BRIEF else whole[: _MOST_IN_BRIEF - 1] + "…"


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """The values in parts that fit on a page each."""
    part: list[str] = []
    size = 0
    for value in map(printed, values):
        for start in range(0, len(value), _MOST_IN_ROW):
            piece = value[start : start + _MOST_IN_ROW]
            taken = max(len(piece), _LEAST_OF_VALUE)
            if part and size + taken > _MOST_IN_ROW:
                yield part
                part, size = [], 0
            part.append(piece)
            size += taken
    yield part


def _margins_of(register: Register) -> Callable[[Canvas, BaseDocTemplate], None]:
    """What stands around the text of every page."""
    left = (
        f"{register.controller.brin} · stand per {moment(register.at)} · logboek t/m nr. {register.last_event}"
        f" · opgemaakt {moment(register.drawn_up_at)}"
    )
    right, bottom = A4[0] - MARGIN - 7 * mm, MARGIN - 8 * mm

    def draw(canvas: Canvas, _: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setFont(REGULAR, 7.5)
        canvas.setFillColor(DIM)
        canvas.drawString(MARGIN, bottom, left)
        canvas.drawRightString(right, bottom, f"Pagina {canvas.getPageNumber()} van ")
        canvas.translate(right, bottom)
        canvas.doForm(_TOTAL)
        canvas.restoreState()

    return draw
