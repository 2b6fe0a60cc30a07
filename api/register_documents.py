"""A register of processing as a table for spreadsheets (CSV), and as a document to hand over (PDF, A4)."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final

import pymupdf_fonts
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, CondPageBreak, Flowable, Frame, PageTemplate, Paragraph, Spacer, Table
from reportlab.platypus.paraparser import ParaFrag

from api.register_lines import SAID, STATUS, TITLE, Line, moment, of_processing, of_register, place
from models.processing_register import Processing, Register

# -- the table --------------------------------------------------------------------------------------------------------

#: A spreadsheet takes what begins with one of these for a formula, or for the start of one.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_BREAKS: Final = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: What a reader does not see: spaces, controls and marks of format.
_UNSEEN: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def csv_of(register: Register) -> bytes:
    """A row for each processing, those that have ended too, under a row of headings. UTF-8 with a BOM, for Excel."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    of_all = of_register(register)
    writer.writerow([*(line.nl for line in of_all), *(nl for nl, _, _ in SAID)])
    for each in (*register.processings, *register.ended):
        lines = [*of_all, *of_processing(register.controller, each)]
        writer.writerow(cell(" | ".join(line.values)) for line in lines)
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8")


def cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula, on one line."""
    seen = text.lstrip("".join({char for char in text if unicodedata.category(char) in _UNSEEN}))
    guard = "'" if text.startswith(_FORMULA) or seen.startswith(_FORMULA) else ""
    return guard + _BREAKS.sub(" ", text)


# -- the document -----------------------------------------------------------------------------------------------------

_MARGIN: Final = 20 * mm
_WIDTH: Final = A4[0] - 2 * _MARGIN
_INK, _DIM, _RULE, _SHADE = (HexColor(code) for code in ("#16202c", "#5b6673", "#c3cad2", "#eef2f6"))
_BLUE: Final = HexColor("#1d3f66")
_REGULAR, _BOLD = "Noto Sans", "Noto Sans Bold"
#: By their names in PyMuPDF's collection of fonts.
_FONTS: Final = {_REGULAR: "notos", _BOLD: "notosbo"}
#: A row of a table is not parted, so it must fit on a page: what has more characters than this goes on in the next.
_MOST_IN_ROW: Final = 1200
_MOST_IN_SUMMARY: Final = 90
#: What a value takes at least of that, since it has a line of its own.
_LEAST_OF_VALUE: Final = 30
#: The form with the number of pages, which is known when all of them are drawn.
_TOTAL: Final = "total"

_TEXT: Final = ParagraphStyle("text", fontName=_REGULAR, fontSize=8.5, leading=11.5, textColor=_INK)
_SMALL: Final = ParagraphStyle("small", _TEXT, fontSize=7.5, leading=10)
_NOTE: Final = ParagraphStyle("note", _SMALL, textColor=_DIM, spaceBefore=6)
_H1: Final = ParagraphStyle("h1", _TEXT, fontName=_BOLD, fontSize=19, leading=25, textColor=_BLUE)
_H2: Final = ParagraphStyle("h2", _H1, fontSize=13, leading=17, spaceBefore=14, spaceAfter=4)
_H3: Final = ParagraphStyle("h3", _H1, fontSize=10, leading=13, spaceBefore=12, spaceAfter=4)

_GRID: Final = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
    ("LEFTPADDING", (0, 0), (-1, -1), 5),
    ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ("TOPPADDING", (0, 0), (-1, -1), 2.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
]
_SHADED_LEFT: Final = ("BACKGROUND", (0, 0), (0, -1), _SHADE)
_SHADED_TOP: Final = ("BACKGROUND", (0, 0), (-1, 0), _SHADE)
_SUMMARY: Final = (9 * mm, 43 * mm, 37 * mm, 33 * mm, 27 * mm, 21 * mm)

SOURCE: Final = (
    "Dit register is opgemaakt uit het logboek van de privacymanager tot en met de genoemde gebeurtenis. De namen van"
    " school, bestuur en vestigingen zijn die van het moment van opmaken, alle andere gegevens die van de genoemde"
    " stand. Tijden zijn die van Europe/Amsterdam. / Made of the privacy manager's log up to the named event. The names"
    " of the school, its board and its locations are those of when it was drawn up; everything else is as of the named"
    " instant. Times are those of Europe/Amsterdam."
)


class _Pages(Canvas):  # type: ignore[misc]
    """Pages that say of how many they are."""

    def save(self) -> None:
        pages = self.getPageNumber() - 1
        self.beginForm(_TOTAL)
        self.setFont(_REGULAR, 7.5)
        self.setFillColor(_DIM)
        self.drawString(0, 0, str(pages))
        self.endForm()
        super().save()


class _Text(Paragraph):  # type: ignore[misc]
    """A paragraph that breaks its lines once for each width: a table asks for it three times."""

    _known: tuple[float, tuple[float, float]] | None = None

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        if self._known is None or self._known[0] != width:
            self._known = width, super().wrap(width, height)
        return self._known[1]


def pdf_of(register: Register) -> bytes:
    """The document, with its text as text, whatever characters it has."""
    _require_fonts()
    content = io.BytesIO()
    about = {
        "title": f"{TITLE} {_printed(register.controller.school_name)} ({register.controller.brin})",
        "subject": "AVG art. 30 lid 1 / GDPR art. 30(1)",
        "author": _printed(register.controller.board_name or register.controller.school_name),
        "creator": "School privacy manager",
        "lang": "nl",
    }
    document = BaseDocTemplate(content, pagesize=A4, initialFontName=_REGULAR, **about)
    frame = Frame(_MARGIN, _MARGIN, _WIDTH, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=_margins_of(register)))
    document.build(list(_story(register)), canvasmaker=_Pages)
    return content.getvalue()


def _story(register: Register) -> Iterator[Flowable]:
    yield _paragraph(_H1, TITLE)
    yield _paragraph(_NOTE, "AVG art. 30 lid 1 / Record of processing activities, GDPR art. 30(1)")
    yield Spacer(0, 10)
    yield _of_lines(of_register(register))
    yield _paragraph(_NOTE, SOURCE)
    going_on = len(register.processings)
    yield from _part(register, ("Verwerkingen", "Processing activities", "Tot / Until"), register.processings, 1)
    yield from _part(register, ("Beëindigd", "Ended", "Op / On"), register.ended, going_on + 1)
    yield from _annex(register)


def _part(
    register: Register, headings: tuple[str, str, str], processings: Sequence[Processing], first: int
) -> Iterator[Flowable]:
    """A summary of these, and then each of them."""
    nl, en, end = headings
    yield CondPageBreak(50 * mm)
    yield _headed(_H2, nl, f"{en} ({len(processings)})")
    if not processings:
        yield _paragraph(_TEXT, "Er zijn er op dit moment geen. / There are none at this instant.")
        return
    yield _summary(register, end, processings, first)
    for number, each in enumerate(processings, first):
        yield CondPageBreak(50 * mm)
        yield _paragraph(_H3, f"{number}. {each.recipient.connection} – {each.recipient.name}")
        yield _of_lines([line for line in of_processing(register.controller, each) if line.values])


def _annex(register: Register) -> Iterator[Flowable]:
    """What each scope is that is named, once."""
    named = {data.scope: data.description for each in (*register.processings, *register.ended) for data in each.data}
    if named:
        yield CondPageBreak(50 * mm)
        yield _headed(_H2, "Toelichting op de gegevens", "What the data are")
        yield _of_lines([Line(scope, "", (named[scope],)) for scope in sorted(named)])


def _summary(register: Register, end: str, processings: Sequence[Processing], first: int) -> Flowable:
    headings = ("Nr.", "Ontvanger / Recipient", "Koppeling / Connection", "Plaats / Place", "Status", end)
    rows = [[_paragraph(_SMALL, heading, bold=True) for heading in headings]]
    for number, each in enumerate(processings, first):
        until = each.ended_at or each.valid_until
        cells = (
            str(number),
            f"{each.recipient.name} (KvK {each.recipient.kvk_number})",
            each.recipient.connection,
            place(register.controller, each),
            STATUS[each.status],
            "–" if until is None else moment(until),
        )
        rows.append([_paragraph(_SMALL, _brief(text)) for text in cells])
    return Table(rows, _SUMMARY, repeatRows=1, style=[*_GRID, _SHADED_TOP])


def _brief(text: str) -> str:
    """As much as the summary has room for; the rest stands with the processing itself."""
    printed = _printed(text)
    return printed if len(printed) <= _MOST_IN_SUMMARY else printed[: _MOST_IN_SUMMARY - 1] + "…"


def _of_lines(lines: Sequence[Line]) -> Flowable:
    """Headings at the left, values at the right."""
    rows = []
    for line in lines:
        heading: Flowable | str = _headed(_SMALL, line.nl, line.en)
        for part in _parts(line.values):
            rows.append([heading, _paragraph(_TEXT, *part)])
            heading = ""
    return Table(rows, (46 * mm, _WIDTH - 46 * mm), style=[*_GRID, _SHADED_LEFT])


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """The values in parts that fit on a page each."""
    part: list[str] = []
    size = 0
    for value in map(_printed, values):
        for start in range(0, len(value), _MOST_IN_ROW):
            piece = value[start : start + _MOST_IN_ROW]
            taken = max(len(piece), _LEAST_OF_VALUE)
            if part and size + taken > _MOST_IN_ROW:
                yield part
                part, size = [], 0
            part.append(piece)
            size += taken
    yield part


def _paragraph(style: ParagraphStyle, *lines: str, bold: bool = False) -> Flowable:
    """Lines of text, in which nothing is markup."""
    name = _BOLD if bold else style.fontName
    frags: list[ParaFrag] = []
    for line in lines:
        frags += [_frag(style, "", name, line_break=True)] if frags else []
        frags.append(_frag(style, _printed(line), name))
    return _Text("", style, frags=frags)


def _headed(style: ParagraphStyle, nl: str, en: str) -> Flowable:
    """A heading in Dutch, with a small one in English below."""
    frags = [_frag(style, nl, _BOLD)]
    if en:
        frags.append(_frag(style, "", _REGULAR, line_break=True))
        frags.append(_frag(style, en, _REGULAR, size=min(style.fontSize, 9) - 0.5, color=_DIM))
    return _Text("", style, frags=frags)


def _frag(
    style: ParagraphStyle,
    text: str,
    font: str,
    *,
    size: float | None = None,
    color: Any = None,
    line_break: bool = False,
) -> ParaFrag:
    shown = ParaFrag(
        fontName=font,
        fontSize=size or style.fontSize,
        textColor=color or style.textColor,
        text=text,
        rise=0,
        bold=0,
        italic=0,
        greek=0,
        link=[],
        us_lines=[],
    )
    if line_break:
        shown.lineBreak = True
    return shown


def _margins_of(register: Register) -> Callable[[Canvas, BaseDocTemplate], None]:
    """What stands around the text of every page."""
    left = f"{register.controller.brin} · stand per {moment(register.at)} · logboek t/m nr. {register.last_event}"
    right, bottom = A4[0] - _MARGIN - 7 * mm, _MARGIN - 8 * mm

    def draw(canvas: Canvas, _: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setFont(_REGULAR, 7.5)
        canvas.setFillColor(_DIM)
        canvas.drawString(_MARGIN, bottom, left)
        canvas.drawRightString(right, bottom, f"Pagina {canvas.getPageNumber()} van ")
        canvas.translate(right, bottom)
        canvas.doForm(_TOTAL)
        canvas.restoreState()

    return draw


@cache
def _require_fonts() -> frozenset[str]:
    """Makes the fonts known, once; returns the characters that they both have."""
    fonts = [TTFont(name, io.BytesIO(pymupdf_fonts.myfont(key))) for name, key in _FONTS.items()]
    for font in fonts:
        registerFont(font)
    both = set.intersection(*(set(font.face.charToGlyph) for font in fonts))
    return frozenset(char for char in map(chr, both) if unicodedata.category(char) not in _UNSEEN) | {" ", "\u00a0"}


def _printed(text: str) -> str:
    """The text as the fonts have it: of a character that they lack, or that nobody would see, its number."""
    known = _require_fonts()
    composed = unicodedata.normalize("NFC", text)
    if known.issuperset(composed):
        return composed
    return "".join(char if char in known else _instead(char) for char in _BREAKS.sub(" ", composed))


def _instead(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else f"[U+{ord(char):04X}]"
