"""Fonts, paragraph styles, headings and tables of a PDF (A4). No text is read as markup."""

import io
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import pymupdf_fonts
from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph
from reportlab.platypus.paraparser import ParaFrag

from api.printable_text import BREAKS, UNSEEN

# Streams are written as binary: in ASCII85 they are a quarter longer, and encoding them takes a quarter of the time.
rl_config.useA85 = 0

MARGIN: Final = 18 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
HEIGHT: Final = A4[1] - 2 * MARGIN
INK, DIM, BLUE = (HexColor(code) for code in ("#16202c", "#5b6673", "#1d3f66"))
_RULE, _SHADE = (HexColor(code) for code in ("#c3cad2", "#eef2f6"))
REGULAR, BOLD = "Noto Sans", "Noto Sans Bold"
#: The fonts' names in the package `pymupdf_fonts`.
_FONTS: Final = {REGULAR: "notos", BOLD: "notosbo"}

TEXT: Final = ParagraphStyle("text", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=INK)
SMALL: Final = ParagraphStyle("small", TEXT, fontSize=7.5, leading=10)
NOTE: Final = ParagraphStyle("note", SMALL, textColor=DIM, spaceBefore=6)
H1: Final = ParagraphStyle("h1", TEXT, fontName=BOLD, fontSize=19, leading=25, textColor=BLUE)
H2: Final = ParagraphStyle("h2", H1, fontSize=13, leading=17, spaceBefore=14, spaceAfter=4)
H3: Final = ParagraphStyle("h3", H1, fontSize=10, leading=13, spaceBefore=12, spaceAfter=4)

#: Padding of a cell: at its sides, above and below.
SIDE, _ABOVE, _BELOW = 5, 2.5, 3.5


class Text(Paragraph):  # type: ignore[misc]
    """A paragraph that caches its line breaks for a width, and its drawing operators for a canvas.

    Long documents repeat most of their texts, so one object is placed many times.
    """

    _broken: tuple[float, tuple[float, float]] | None = None
    _drawn: tuple[Canvas, list[str]] | None = None

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        if self._broken is None or self._broken[0] != width:
            self._broken, self._drawn = (width, super().wrap(width, height)), None
        return self._broken[1]

    def draw(self) -> None:
        # The operators can be reused: they are relative to the paragraph's position, and restore the state they change.
        written = self.canv._code
        if self._drawn is None or self._drawn[0] is not self.canv:
            begin = len(written)
            super().draw()
            self._drawn = self.canv, written[begin:]
        else:
            written.extend(self._drawn[1])


class Heading(Text):
    """A heading with an entry in the outline, at a level from 0 on. `Row.leads_to` refers to it by its key."""

    #: All three are set by `Typesetter.heading`.
    key: str
    title: str
    level: int

    def split(self, width: float, height: float) -> list[Flowable]:
        return []

    def draw(self) -> None:
        super().draw()
        self.canv.bookmarkHorizontal(self.key, 0, self.height)
        self.canv.addOutlineEntry(self.title, self.key, self.level, closed=True)


class Row(NamedTuple):
    """Cells from left to right; `leads_to` is the key of the heading that the row links to."""

    cells: Sequence[Text | None]
    leads_to: str | None = None


class Rows(Flowable):  # type: ignore[misc]
    """A table of texts with a rule below each row; `widths` are in points.

    With `headed` the first row is shaded and repeated on every page, else the first column is shaded. The table is
    split between rows only, so each row must fit on a page.
    """

    def __init__(self, rows: Sequence[Row], widths: Sequence[float], *, headed: bool = False) -> None:
        super().__init__()
        self._rows, self._widths, self._headed = rows, widths, headed
        self._heights = [
            max(cell.wrap(width - 2 * SIDE, HEIGHT)[1] for cell, width in zip(row.cells, widths, strict=True) if cell)
            + _ABOVE
            + _BELOW
            for row in rows
        ]
        self.width, self.height = sum(widths), sum(self._heights)

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return self.width, self.height

    def split(self, width: float, height: float) -> list[Flowable]:
        fitting, left = 0, height
        while fitting < len(self._rows) and self._heights[fitting] <= left:
            left -= self._heights[fitting]
            fitting += 1
        if fitting <= self._headed:
            return []
        rest = [*self._rows[: self._headed], *self._rows[fitting:]]
        return [self._of(self._rows[:fitting]), self._of(rest)]

    def _of(self, rows: Sequence[Row]) -> "Rows":
        return Rows(rows, self._widths, headed=self._headed)

    def draw(self) -> None:
        canvas, top = self.canv, self.height
        canvas.setFillColor(_SHADE)
        if self._headed:
            canvas.rect(0, top - self._heights[0], self.width, self._heights[0], stroke=0, fill=1)
        else:
            canvas.rect(0, 0, self._widths[0], top, stroke=0, fill=1)
        canvas.setStrokeColor(_RULE)
        canvas.setLineWidth(0.4)
        for row, height in zip(self._rows, self._heights, strict=True):
            canvas.line(0, top - height, self.width, top - height)
            left = 0.0
            for cell, width in zip(row.cells, self._widths, strict=True):
                if cell is not None:
                    cell.drawOn(canvas, left + SIDE, top - _ABOVE - cell.height)
                left += width
            if row.leads_to is not None:
                canvas.linkRect("", row.leads_to, (0, top - height, self.width, top), relative=1)
            top -= height


class Typesetter:
    """Makes the paragraphs of one document; equal texts share one object."""

    def __init__(self) -> None:
        _require_fonts()
        self._made: dict[tuple[Any, ...], Text] = {}

    def text(self, style: ParagraphStyle, *lines: str, bold: bool = False) -> Text:
        """A paragraph of these lines, in which nothing is markup."""
        key = id(style), bold, lines
        if key not in self._made:
            self._made[key] = Text("", style, frags=_of_lines(style, lines, BOLD if bold else style.fontName))
        return self._made[key]

    def in_both(self, style: ParagraphStyle, nl: str, en: str, width: float = 0) -> Text:
        """Dutch, with English after it if both fit on one line of `width` points, else below it."""
        key = id(style), nl, en, width
        if key not in self._made:
            self._made[key] = Text("", style, frags=_in_both(style, nl, en, width))
        return self._made[key]

    def heading(self, style: ParagraphStyle, nl: str, en: str, *, key: str, level: int) -> Heading:
        """A heading in both languages, in Dutch in the outline."""
        made = Heading("", style, frags=_in_both(style, printed(nl), en, 0))
        made.key, made.title, made.level = key, printed(nl), level
        return made


def _of_lines(style: ParagraphStyle, lines: Sequence[str], font: str) -> list[ParaFrag]:
    frags: list[ParaFrag] = []
    for line in lines:
        frags += [_frag(style, "", font, line_break=True)] if frags else []
        frags.append(_frag(style, printed(line), font))
    return frags


def _in_both(style: ParagraphStyle, nl: str, en: str, width: float) -> list[ParaFrag]:
    frags, size = [_frag(style, nl, BOLD)], min(style.fontSize, 9) - 0.5
    if en:
        beside = f" {en}"
        fits = stringWidth(nl, BOLD, style.fontSize) + stringWidth(beside, REGULAR, size) < width
        frags += [] if fits else [_frag(style, "", REGULAR, line_break=True)]
        frags.append(_frag(style, beside if fits else en, REGULAR, size=size, color=DIM))
    return frags


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


@cache
def _require_fonts() -> frozenset[str]:
    """Registers the fonts, once; returns the characters that both fonts have."""
    fonts = [TTFont(name, io.BytesIO(pymupdf_fonts.myfont(key))) for name, key in _FONTS.items()]
    for font in fonts:
        registerFont(font)
    both = set.intersection(*(set(font.face.charToGlyph) for font in fonts))
    return frozenset(char for char in map(chr, both) if unicodedata.category(char) not in UNSEEN) | {" ", "\u00a0"}


def printed(text: str) -> str:
    """The text in characters of the fonts. Characters that they lack or that are invisible become `[U+0007]` etc."""
    known = _require_fonts()
    composed = unicodedata.normalize("NFC", text)
    if known.issuperset(composed):
        return composed
    return "".join(char if char in known else _instead(char) for char in BREAKS.sub(" ", composed))


def _instead(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else f"[U+{ord(char):04X}]"
