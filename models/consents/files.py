"""Files stored with agreements and incidents: their tables, and the checks of names and contents."""

import codecs
import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.vocabulary.refusals import InvalidInput, WrongFileType

MOST_FILE_BYTES: Final = 10 * 1024 * 1024
MOST_FILES_OF_INCIDENT: Final = 20
#: Total of all attachments of one connection.
MOST_BYTES_OF_CONNECTION: Final = 500 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024

#: First bytes of the content and endings of the name, by media type. `PlainText` checks plain text.
KINDS: Final[dict[str, tuple[bytes, tuple[str, ...]]]] = {
    "application/pdf": (b"%PDF-", (".pdf",)),
    "image/png": (b"\x89PNG\r\n\x1a\n", (".png",)),
    "image/jpeg": (b"\xff\xd8\xff", (".jpg", ".jpeg")),
    "text/plain": (b"", (".txt", ".log")),
}
DOCUMENTS: Final = frozenset({"application/pdf"})
ATTACHMENTS: Final = frozenset(KINDS)


#: Control characters but tab, line feed, form feed and carriage return; with those that begin a terminal escape.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
#: Character categories that make a name look like another: invisible, direction-changing, or no character.
_MISLEADING: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class StoredFile(SQLModel, table=True):
    """A completely uploaded file of one agreement or incident. It never changes."""

    __tablename__ = "files"

    file_id: str = Field(primary_key=True, max_length=36)
    agreement_id: str | None = Field(default=None, foreign_key="agreements.agreement_id", index=True, max_length=36)
    incident_id: str | None = Field(default=None, foreign_key="incidents.incident_id", index=True, max_length=36)
    name: str = Field(max_length=120)
    media_type: str = Field(max_length=40)
    size: int
    sha256: str = Field(max_length=64)
    chunks: int
    uploaded_by: str = Field(max_length=255)
    uploaded_by_role: str = Field(max_length=16)
    revision: int
    created_at: datetime = Field(sa_type=Instant)


class FileChunk(SQLModel, table=True):
    """A part of a file's content, so that neither upload nor download holds it in memory whole."""

    __tablename__ = "file_chunks"

    file_id: str = Field(primary_key=True, foreign_key="files.file_id", max_length=36)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    content: bytes


def require_file_name(name: str, media_type: str, allowed: frozenset[str]) -> None:
    """Raises unless `name` is a plain file name of this media type, and the type is allowed.

    Raises `WrongFileType` for the type, `InvalidInput` for a name with a path, a drive or a leading dot.
    """
    if media_type not in allowed:
        raise WrongFileType(f"Send one of: {', '.join(sorted(allowed))}.")
    if name != PurePosixPath(name).name or set(name) & set('\\/:*?"<>|%') or name.startswith("."):
        raise InvalidInput(
            'The name of a file is a name alone: no folders, none of \\ / : * ? " < > | %, no dot first.'
        )
    if "\ufffd" in name or any(unicodedata.category(character) in _MISLEADING for character in name):
        raise InvalidInput("The name of a file is UTF-8, without invisible or direction-changing characters.")
    if name != name.strip() or name.endswith("."):
        raise InvalidInput("The name of a file neither begins nor ends with a space, nor ends with a dot.")
    _, endings = KINDS[media_type]
    if not name.lower().endswith(endings):
        raise WrongFileType(f"The name of {media_type} ends with {' or '.join(endings)}.")


def check_of(media_type: str) -> Callable[[bytes, bool], None]:
    """The content check for this media type: called with each part in order, and true for the last.

    It raises `WrongFileType` when the content is not of this type.
    """
    if media_type == "text/plain":
        return PlainText()
    return Beginning(media_type)


class Beginning:
    """Checks the first bytes of a file and, for a PDF, that its end is there."""

    def __init__(self, media_type: str) -> None:
        self._media_type = media_type
        self._expected = KINDS[media_type][0]
        self._head = b""
        self._tail = b""

    def __call__(self, part: bytes, last: bool) -> None:
        if len(self._head) < len(self._expected):
            self._head = (self._head + part)[: len(self._expected)]
        self._tail = (self._tail + part)[-1024:]
        wrong_start = not self._expected.startswith(self._head) or (last and self._head != self._expected)
        cut_short = last and self._media_type == "application/pdf" and b"%%EOF" not in self._tail
        if wrong_start or cut_short:
            raise WrongFileType(f"The content is not {self._media_type}.")


class PlainText:
    """Checks that a file is UTF-8 text without control characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __call__(self, part: bytes, last: bool) -> None:
        try:
            text = self._decoder.decode(part, last)
        except UnicodeDecodeError:
            raise WrongFileType("The content is not plain text in UTF-8.") from None
        if _CONTROLS.search(text):
            raise WrongFileType("The content is not plain text: it holds control characters.")
