"""A document as plain data: all its text, and nothing of how it is printed. Every text may have any characters."""

from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
    """One line: its headings, and each of its values."""

    nl: str
    en: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One of what a part lists. `brief` is what the summary of the part says of it, by column."""

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
    #: What it says where it has none.
    none: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document in Dutch, with English beside it. `name` is what readers of PDF show, `margin` stands below
    every page, and `annex` tells what the values of the lines mean."""

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
