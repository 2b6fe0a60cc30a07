"""Makes the PDF (A4) of a document: a first page, the parts with a summary and their entries, and an annex."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, CondPageBreak, Flowable, Frame, PageTemplate, Spacer

from api.processing_register.pdf_model import Document, Entry, Line, Part
from api.processing_register.pdf_style import (
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

#: The most characters of a row. A row is not split, so it must fit on a page; longer text continues in the next row.
_MOST_IN_ROW: Final = 1200
_MOST_IN_BRIEF: Final = 90
#: The least characters that a value counts for in its row, since it has a line of its own.
_LEAST_OF_VALUE: Final = 30
#: Name of the PDF form with the number of pages, which is known once all pages are drawn.
_TOTAL: Final = "total"

#: The least space below a heading; with less, the heading moves to the next page.
_BELOW_HEADING: Final = 50 * mm
_LEFT: Final = 50 * mm
_SUMMARY: Final = (10 * mm, 44 * mm, 38 * mm, 34 * mm, 27 * mm, 21 * mm)


class _Pages(Canvas):  # type: ignore[misc]
    """A canvas that writes the number of pages into the form `_TOTAL` when it is saved."""

    def save(self) -> None:
        pages = self.getPageNumber() - 1
        self.beginForm(_TOTAL)
        self.setFont(REGULAR, 7.5)
        self.setFillColor(DIM)
        self.drawString(0, 0, str(pages))
        self.endForm()
        self.setViewerPreference("DisplayDocTitle", "true")
        super().save()


def pdf_of(document: Document) -> bytes:
    """The PDF of the document, with its text as text (not as images), whatever characters it has."""
    content = io.BytesIO()
    about = {"title": document.name, "subject": document.subject, "author": document.author}
    template = BaseDocTemplate(
        content,
        pagesize=A4,
        initialFontName=REGULAR,
        creator="School privacy manager",
        lang="nl",
        **{name: printed(text) for name, text in about.items()},
    )
    frame = Frame(MARGIN, MARGIN, WIDTH, HEIGHT, 0, 0, 0, 0)
    template.addPageTemplates(PageTemplate(frames=[frame], onPage=_page_footer(document)))
    template.build(list(_Content(document).flowables()), canvasmaker=_Pages)
    return content.getvalue()


class _Content:
    """Makes the content of the document, in order."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._set = Typesetter()
        self._rows: dict[Line, list[Row]] = {}

    def flowables(self) -> Iterator[Flowable]:
        document, first = self._document, 1
        yield self._set.text(H1, document.title)
        yield self._set.text(NOTE, document.subtitle)
        yield Spacer(0, 10)
        yield self._of_lines(document.lines)
        for note in document.notes:
            yield self._set.text(NOTE, note)
        for part in document.parts:
            yield from self._part(part, first)
            first += len(part.entries)
        if document.annex:
            yield CondPageBreak(_BELOW_HEADING)
            yield self._set.heading(H2, "Toelichting op de gegevens", "What the data are", key="annex", level=0)
            yield self._of_lines(document.annex)

    def _part(self, part: Part, first: int) -> Iterator[Flowable]:
        """The summary of a part, and then each of its entries."""
        yield CondPageBreak(_BELOW_HEADING)
        yield self._set.heading(H2, part.nl, f"{part.en} ({len(part.entries)})", key=part.nl, level=0)
        if not part.entries:
            yield self._set.text(TEXT, part.none)
            return
        yield self._summary(part, first)
        for number, entry in enumerate(part.entries, first):
            yield from self._entry(number, entry)

    def _entry(self, number: int, entry: Entry) -> Iterator[Flowable]:
        """One entry, on a single page if it fits on one."""
        title = f"{number}. {' – '.join(map(_brief, entry.names))}"
        heading = self._set.heading(H3, title, "", key=_key(number), level=1)
        rows = self._of_lines(entry.lines)
        needed = H3.spaceBefore + heading.wrap(WIDTH, HEIGHT)[1] + H3.spaceAfter + rows.height
        yield CondPageBreak(needed if needed <= HEIGHT else _BELOW_HEADING)
        yield heading
        yield rows

    def _summary(self, part: Part, first: int) -> Flowable:
        rows = [Row([self._set.text(SMALL, column, bold=True) for column in ("Nr.", *part.columns)])]
        for number, entry in enumerate(part.entries, first):
            texts = str(number), *map(_brief, entry.brief)
            rows.append(Row([self._set.text(SMALL, text) for text in texts], _key(number)))
        return Rows(rows, _SUMMARY, headed=True)

    def _of_lines(self, lines: Sequence[Line]) -> Rows:
        """The lines as rows, with headings at the left and values at the right."""
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
    return f"entry-{number}"


def _brief(text: str) -> str:
    """The text cut to the room of a heading and of the summary; the entry itself has the whole text."""
    whole = printed(text)
    return whole if len(whole) <= _MOST_IN_BRIEF else whole[: _MOST_IN_BRIEF - 1] + "…"


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """The values in parts of at most `_MOST_IN_ROW` characters, each of which fits on a page."""
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


def _page_footer(document: Document) -> Callable[[Canvas, BaseDocTemplate], None]:
    """The function that draws the footer of a page: the document's margin text, the page and the number of pages."""
    left = printed(document.margin)
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
