"""A strict XML parser: unambiguous, in bounded memory, without external references.

Everything beyond elements, attributes and text is refused: a DTD and so every entity, processing instructions,
XInclude, encodings other than UTF-8; also depth, attributes and tokens beyond any message's need.
"""

import re
from collections.abc import Callable
from typing import Any, Final
from xml.parsers import expat

MOST_DEPTH: Final = 64
#: Names and values of one element's attributes, counted separately.
MOST_IN_A_TAG: Final = 128
#: Size of one token (a tag, a comment, ...), which the parser buffers until its end.
MOST_BYTES_OF_A_PIECE: Final = 16 * 1024
#: Bytes parsed per step, so that a token that is too long is detected before its end.
BYTES_PER_STEP: Final = 8 * 1024

MOST_NAMES: Final = 5_000
#: Every name is reported with its whole namespace in front.
MOST_IN_A_NAMESPACE: Final = 256

XINCLUDE: Final = "http://www.w3.org/2001/XInclude"

#: Called with `namespace name`, and the attributes as a flat list of names and values.
OnStart = Callable[[str, list[str]], None]
OnEnd = Callable[[str], None]


class XmlRefused(Exception):
    """Not XML, or XML that is not accepted here. The message says why, without any content."""


class Reading:
    """Parses one document piece by piece. Every method raises `XmlRefused`."""

    def __init__(self, on_start: OnStart, on_end: OnEnd) -> None:
        # A fixed encoding: a declaration of another one, and bytes that are not UTF-8, are refused.
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
        for start in range(0, len(chunk), BYTES_PER_STEP):
            part = chunk[start : start + BYTES_PER_STEP]
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
    """The text escaped for element content, or for an attribute in double quotes."""
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


def _refuse(reason: str) -> Callable[..., Any]:
    def refuse(*_: object) -> None:
        raise XmlRefused(reason)

    return refuse
