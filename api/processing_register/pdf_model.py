"""A document as plain data: its text, without any layout. A text may have any characters."""

from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
    """One line: its heading in both languages, and its values."""

    nl: str
    en: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a part. `brief` is its row in the summary of the part, by column."""

    names: tuple[str, ...]
    brief: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part with entries, which are numbered through all parts, and a summary before them with five columns."""

    nl: str
    en: str
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    #: The text of a part without entries.
    none: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document in Dutch, with English beside it. `name` is the title that PDF viewers show, `margin` is the footer of
    every page, and `annex` explains the values of the lines."""

    name: str
    author: str
    subject: str
    title: str
    subtitle: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    parts: tuple[Part, ...]
    annex: tuple[Line, ...]
    margin: str
