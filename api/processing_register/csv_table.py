"""The register of processing as CSV for spreadsheets."""

import csv
import io
import unicodedata
from typing import Final

from api.printable_text import BREAKS, UNSEEN
from api.processing_register.document_lines import PROCESSING_LINES, processing_lines, register_lines
from models.past.processing_register import Register

#: The characters with which a spreadsheet begins a formula.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def csv_of(register: Register) -> bytes:
    """A header row, and one row a processing, ended ones too; `;` as delimiter, UTF-8 with a BOM for Excel."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    of_all = register_lines(register)
    writer.writerow([*(line.nl for line in of_all), *(nl for nl, _, _ in PROCESSING_LINES)])
    for each in (*register.processings, *register.ended):
        lines = [*of_all, *processing_lines(register.controller, each)]
        writer.writerow(cell(" | ".join(line.values)) for line in lines)
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8")


def cell(text: str) -> str:
    """The text as a cell on one line, with a leading `'` where a spreadsheet would take it for a formula."""
    visible = text.lstrip("".join({char for char in text if unicodedata.category(char) in UNSEEN}))
    guard = "'" if text.startswith(_FORMULA) or visible.startswith(_FORMULA) else ""
    return guard + BREAKS.sub(" ", text)
