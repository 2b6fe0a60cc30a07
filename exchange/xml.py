"""XML as it is read here: one reading, in bounded memory, with nothing in it that points elsewhere.

Whatever XML knows beyond elements, attributes and text is refused: a DTD and with it every entity, processing
instructions, XInclude, another encoding than UTF-8; and depth, attributes and single pieces beyond any message's need.
"""

import re
from collections.abc import Callable
from typing import Any, Final
from xml.parsers import expat

MOST_DEPTH: Final = 64
#: Attributes of one element, names and values counted apart.
MOST_IN_A_TAG: Final = 128
#: Of one tag, comment or the like, which is held whole until its end is there.
MOST_BYTES_OF_A_PIECE: Final = 16 * 1024
#: Read at once, so that a piece that is too long is seen before it was read to its end.
AT_ONCE: Final = 8 * 1024

MOST_NAMES: Final = 5_000
#: Every name in a namespace is handed over with the whole of it in front.
MOST_IN_A_NAMESPACE: Final = 256

XINCLUDE: Final = "http://www.w3.org/2001/XInclude"

#: Called with `namespace name` and the attributes as a flat list of names and values.
OnStart = Callable[[str, list[str]], None]
OnEnd = Callable[[str], None]


class XmlRefused(Exception):
    """Not XML, or XML that is not read here. The text says why, and nothing of what was in it."""


class Reading:
    """One document, read piece by piece. Every method raises `XmlRefused`."""

    def __init__(self, on_start: OnStart, on_end: OnEnd) -> None:
        # The encoding is ours: a declaration of another one is refused, and so is a byte that is not of it.
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.buffer_size = 32 * 1024
        parser.ordered_attributes = True
        parser.StartElementHandler = on_start
        parser.EndElementHandler = on_end
        parser.XmlDeclHandler = _require_utf_8
        parser.StartDoctypeDeclHandler = _refuse("a document type")
        parser.ProcessingInstructionHandler = _refuse("a processing instruction")
        parser.StartNamespaceDeclHandler = _require_plain_namespace
        self._fed = 0

    def feed(self, chunk: bytes) -> None:
        for start in range(0, len(chunk), AT_ONCE):
            part = chunk[start : start + AT_ONCE]
            self._fed += len(part)
            self._parse(part, last=False)
            if self._fed - max(self.parser.CurrentByteIndex, 0) > len(part) + MOST_BYTES_OF_A_PIECE:
                raise XmlRefused("a piece that is too long")
            # The parser keeps every name that it saw.
            if len(self.parser.intern) > MOST_NAMES:
                raise XmlRefused("too many different names")

    def close(self) -> None:
        self._parse(b"", last=True)

    def _parse(self, chunk: bytes, *, last: bool) -> None:
        try:
            self.parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise XmlRefused(f"not well-formed: {expat.ErrorString(error.code)}") from None
        except (ValueError, RecursionError) as error:
            raise XmlRefused(f"not read: {type(error).__name__}") from None


def escaped(text: str) -> str:
    """The text as it stands between tags, or in an attribute's double quotes."""
    return text.translate(_REFERENCES) if _SPECIAL(text) else text


_SPECIAL: Final = re.compile('[&<>"\n\t\r]').search
_REFERENCES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}
)


def _require_utf_8(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise XmlRefused("another encoding than UTF-8")


def _require_plain_namespace(_prefix: str | None, namespace: str | None) -> None:
    if namespace == XINCLUDE:
        raise XmlRefused("an inclusion")
    if namespace is not None and len(namespace) > MOST_IN_A_NAMESPACE:
        raise XmlRefused("a namespace that is too long")


def _refuse(what: str) -> Callable[..., Any]:
    def refuse(*_: object) -> None:
        raise XmlRefused(what)

    return refuse
