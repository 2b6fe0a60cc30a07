"""A register of processing as a table for spreadsheets (CSV)."""

import csv
import io
import unicodedata
from typing import Final

from api.printable_text import BREAKS, UNSEEN
from api.processing_register.document_lines import SAID, of_processing, of_register
from models.past.processing_register import Register

#: A spreadsheet takes what begins with one of these for a formula, or for the start of one.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


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
    seen = text.lstrip("".join({char for char in text if unicodedata.category(char) in UNSEEN}))
    guard = "'" if text.startswith(_FORMULA) or seen.startswith(_FORMULA) else ""
    return guard + BREAKS.sub(" ", text)
