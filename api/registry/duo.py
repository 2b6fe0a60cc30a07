"""Parser of DUO's open data of schools and locations: the bytes of one file become its rows, or a refusal.

A file is accepted or refused as a whole, and the refusal names its bad lines as an editor numbers them. The parser
shortens, guesses and repairs nothing: a value that does not fit its column is refused.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import inspect

from models.consents.schools import Board, Location
from models.vocabulary.identifiers import is_brin, is_place

MAX_BYTES: Final = 64 * 1024 * 1024

#: Refused lines that a message names; the others are counted.
NAMED_LINES: Final = 20

REQUIRED: Final = ("INSTELLINGSCODE", "VESTIGINGSCODE", "VESTIGINGSNAAM")
BOARD_NUMBER: Final = "BEVOEGD GEZAG NUMMER"
BOARD_NAME: Final = "BEVOEGD GEZAG NAAM"

#: Columns that a file may leave out or leave empty, each with the field of `ListedLocation` that it fills.
OPTIONAL: Final[Mapping[str, str]] = {
    "STRAATNAAM": "street",
    "HUISNUMMER-TOEVOEGING": "house_number",
    "POSTCODE": "postcode",
    "PLAATSNAAM": "city",
    "GEMEENTENAAM": "municipality",
    "PROVINCIE": "province",
    "DENOMINATIE": "denomination",
    "INTERNETADRES": "website",
}

COLUMNS: Final = (*REQUIRED, BOARD_NUMBER, BOARD_NAME, *OPTIONAL)

_KIND_WORDS: Final[Mapping[str, str]] = {
    "bo": "bo",
    "basisonderwijs": "bo",
    "so": "so",
    "speciaal": "so",
    "vo": "vo",
    "voortgezet": "vo",
}
_BOM: Final = b"\xef\xbb\xbf"
_ARCHIVES: Final = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")
_LINE_BREAK = re.compile(r"[\r\n]+")
_BOARD_NUMBER = re.compile(r"[0-9]{5}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """The refusal of one line of a file; `line` counts from 1, and is None where the whole file is refused."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{where}: {self.message}"


class ImportRefused(Exception):
    """An import that changed nothing. `refused` has every refused line of all files.

    `str()` is a text for people: the summary, the first `NAMED_LINES` lines, and the number of the others.
    """

    def __init__(self, summary: str, refused: Sequence[RefusedLine] = ()) -> None:
        super().__init__(summary)
        self.summary = summary
        self.refused = tuple(refused)

    def __str__(self) -> str:
        unnamed = len(self.refused) - NAMED_LINES
        more = [f"... and {unnamed:,} more"] if unnamed > 0 else []
        return "\n".join([self.summary, *map(str, self.refused[:NAMED_LINES]), *more])


@dataclass(frozen=True, slots=True)
class ListedLocation:
    """A location in a row; the fields have the names of those of `Location`."""

    code: str
    brin: str
    name: str
    street: str | None = None
    house_number: str | None = None
    postcode: str | None = None
    city: str | None = None
    municipality: str | None = None
    province: str | None = None
    denomination: str | None = None
    website: str | None = None


@dataclass(frozen=True, slots=True)
class ListedBoard:
    """A board in a row."""

    number: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line that it begins on, its location and, where the row names one, the school's board."""

    line: int
    location: ListedLocation
    board: ListedBoard | None


def refusal(refused: Sequence[RefusedLine]) -> ImportRefused:
    """The `ImportRefused` of these lines, with a summary that counts them."""
    lines = sum(each.line is not None for each in refused)
    counted = f" Refused lines: {lines:,}." if lines else ""
    return ImportRefused(f"Nothing was imported.{counted}", refused)


def kind_of(file: str, kind: str | None = None) -> str:
    """The kind of a file: `kind` if given, else the kind (bo, so, vo) in the file's name, else the name without digits.

    Raises `ImportRefused` for a name that has no letters, or has several kinds.
    """
    if kind is not None:
        if _KIND.fullmatch(kind) is None:
            raise _refused_file(file, f"{_shown(kind)} is no kind of file, such as bo, so or vo")
        return kind
    words = re.findall(r"[a-z]+", file.lower().rpartition(".")[0] or file.lower())
    found = {_KIND_WORDS[word] for word in words if word in _KIND_WORDS}
    if "speciaal" in words:
        found.discard("vo")  # voortgezet speciaal onderwijs is listed with the speciaal onderwijs
    guessed = "".join(words)[:40] if not found else found.pop()
    if found or not guessed:
        raise _refused_file(file, "its name does not tell its kind (bo, so, vo): say which it is")
    return guessed


def parse(data: bytes, file: str) -> tuple[Row, ...]:
    """The rows of the file named `file`, in the file's order, repeated ones included.

    `data` is Windows-1252 or UTF-8 text with `;` or `,` as delimiter. Raises `ImportRefused`, and nothing else,
    whatever the bytes are.
    """
    text = _text(data, file)
    records = _records(text, _delimiter(text))
    header = next(records, _Record(1, []))
    columns = _columns(header, file)
    rows: list[Row] = []
    refused: list[RefusedLine] = []
    for record in records:
        try:
            rows.append(_row(record, columns, len(header.cells)))
        except _LineRefused as reason:
            refused.append(RefusedLine(file, record.line, str(reason)))
    if not rows and not refused:
        raise _refused_file(file, "it has a header and no rows")
    if refused:
        raise refusal(refused)
    return tuple(rows)


def _refused_file(file: str, message: str) -> ImportRefused:
    return refusal([RefusedLine(file, None, message)])


class _LineRefused(Exception):
    """Raised while a line is parsed; its text is the reason."""


@dataclass(frozen=True, slots=True)
class _Record:
    """The unchecked cells of one row, or the fault for which they could not be read."""

    line: int
    cells: list[str]
    fault: str | None = None


def _text(data: bytes, file: str) -> str:
    fault = _fault_of(data)
    if fault is not None:
        raise _refused_file(file, fault)
    # UTF-8 is tried first, since Windows-1252 decodes nearly any bytes. A file with a UTF-8 BOM must be UTF-8.
    for encoding in ("utf-8-sig",) if data.startswith(_BOM) else ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            return data.decode(encoding)
    raise _refused_file(file, "it is neither UTF-8 nor Windows-1252 text")


def _fault_of(data: bytes) -> str | None:
    """The reason why the file as a whole cannot be a list of schools; None where there is none."""
    if len(data) > MAX_BYTES:
        return f"it is larger than {MAX_BYTES // 1024 // 1024} MiB"
    if data.startswith(_ARCHIVES):
        return "it is a spreadsheet or an archive: save or unpack it as CSV first"
    if b"\0" in data:
        return "it is a binary file, not CSV"
    return None if data.removeprefix(_BOM).strip() else "it is empty"


def _records(text: str, delimiter: str) -> Iterator[_Record]:
    """The rows that are not blank. A row with a fault is the last: no row after it can be trusted."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Record(line, [], f"cannot be read; is a quote opened here and never closed? ({error})")
            return
        if cells:
            yield _Record(line, cells)


def _delimiter(text: str) -> str:
    """The delimiter by which the header has most of the known columns."""
    known = set(map(_plain, COLUMNS))

    def columns_found(delimiter: str) -> int:
        header = next(_records(text, delimiter), _Record(1, []))
        return len(known.intersection(map(_plain, header.cells)))

    return max(";,", key=columns_found)


def _plain(name: str) -> str:
    return "".join(name.split()).upper()


def _columns(header: _Record, file: str) -> dict[str, int]:
    """The index of each known column. Raises `ImportRefused` for a missing or a repeated one."""
    names = [_plain(cell) for cell in header.cells]
    missing = [column for column in REQUIRED if column not in names]
    twice = [column for column in COLUMNS if names.count(_plain(column)) > 1]
    if missing:
        message = header.fault or f"the header lacks {', '.join(missing)}"
        raise refusal([RefusedLine(file, header.line, message)])
    if twice:
        raise refusal([RefusedLine(file, header.line, f"the header has {', '.join(twice)} more than once")])
    return {column: names.index(_plain(column)) for column in COLUMNS if _plain(column) in names}


def _row(record: _Record, columns: Mapping[str, int], width: int) -> Row:
    if record.fault is not None:
        raise _LineRefused(record.fault)
    if len(record.cells) != width:
        raise _LineRefused(f"the header has {width} columns and this row {len(record.cells)}")
    values = {column: _value(column, record.cells[at]) for column, at in columns.items()}
    brin, code, name = (_required(column, values[column]) for column in REQUIRED)
    _check_codes(brin, code)
    optional = {field: values.get(column) for column, field in OPTIONAL.items()}
    return Row(record.line, ListedLocation(code, brin, name, **optional), _board(values))


def _value(column: str, cell: str) -> str | None:
    """The value of a cell; None when it is blank. A line break inside a quoted cell becomes a space."""
    value = _LINE_BREAK.sub(" ", cell)
    if not value.isprintable() and any(unicodedata.category(character) == "Cc" for character in value):
        raise _LineRefused(f"{column} {_shown(value)} holds a control character")
    value = value.strip()
    limit = _LIMITS.get(column)
    if limit is not None and len(value) > limit:
        raise _LineRefused(f"{column} has {len(value):,} characters, more than {limit}")
    return value or None


def _required(column: str, value: str | None) -> str:
    if value is None:
        raise _LineRefused(f"{column} is empty")
    return value


def _check_codes(brin: str, code: str) -> None:
    if not is_brin(brin):
        raise _LineRefused(f"INSTELLINGSCODE {_shown(brin)} is not a BRIN4")
    if not is_place(code) or is_brin(code):
        raise _LineRefused(f"VESTIGINGSCODE {_shown(code)} is not a BRIN6")
    if not code.startswith(brin):
        raise _LineRefused(f"VESTIGINGSCODE {code!r} is not a location of INSTELLINGSCODE {brin!r}")


def _board(values: Mapping[str, str | None]) -> ListedBoard | None:
    number = values.get(BOARD_NUMBER)
    if number is None:
        return None
    if _BOARD_NUMBER.fullmatch(number) is None:
        raise _LineRefused(f"{BOARD_NUMBER} {_shown(number)} is not 5 digits")
    return ListedBoard(number, values.get(BOARD_NAME))


def _shown(value: str) -> str:
    """A value for a message: on one line, and at most 40 characters of it."""
    return repr(value if len(value) <= 40 else f"{value[:40]}…")


def _limit(table: type[Any], field: str) -> int:
    length: int = inspect(table).columns[field].type.length
    return length


#: The longest text, in characters, of each column in the store; codes and numbers are checked by their patterns.
_LIMITS: Final[Mapping[str, int]] = {
    "VESTIGINGSNAAM": _limit(Location, "name"),
    BOARD_NAME: _limit(Board, "name"),
    **{column: _limit(Location, field) for column, field in OPTIONAL.items()},
}
