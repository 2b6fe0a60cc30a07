"""Files over HTTP: uploads are received in parts and checked, stored in the transaction of a write, sent as downloads.

An upload goes to an unnamed temporary file, outside of any transaction. It is stored only when it arrived whole and its
content is of its declared type; a failure before that leaves nothing behind.
"""

import asyncio
import base64
import hashlib
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Annotated, cast
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints
from starlette.requests import ClientDisconnect

from api.edge.request_context import BodyTooLarge, Bound
from api.queries import registry_rows
from api.security import sealing
from api.store.outage import StoreUnreachable
from api.store.store import Store
from api.web.callers import Caller
from api.web.idempotency import IdempotencyKey
from api.web.preconditions import require_once
from api.web.schemas import PRINTABLE, Moment, Wire
from api.web.services import provided
from api.web.write_request import WriteRequest, write_transaction
from models.consents.files import (
    ATTACHMENTS,
    CHUNK_BYTES,
    DOCUMENTS,
    MOST_FILE_BYTES,
    FileChunk,
    StoredFile,
    check_of,
    require_file_name,
)
from models.vocabulary.refusals import InvalidInput, UploadIncomplete, WrongFileType

#: Bytes of an upload that are held in memory; beyond these it goes to disk.
_BYTES_IN_MEMORY = 1024 * 1024

FileName = Annotated[
    str,
    Query(description="The file's own name, with the ending of its type."),
    StringConstraints(min_length=1, max_length=120, pattern=PRINTABLE),
]


class FileView(Wire):
    """A file that is kept: its type as it was checked, and the digest by which anyone can tell it."""

    file_id: str
    name: str
    media_type: str
    size: int
    sha256: str
    uploaded_by_role: str
    created_at: Moment


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that arrived whole and whose content is of its type. `size` is in bytes, `sha256` in hexadecimal."""

    name: str
    media_type: str
    size: int
    sha256: str
    content: IO[bytes]

    def parts(self) -> Iterator[bytes]:
        self.content.seek(0)
        while part := self.content.read(CHUNK_BYTES):
            yield part


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """An upload for a route: the file, and a write transaction that began after the file had arrived."""

    writing: WriteRequest
    received: ReceivedFile

    async def keep(
        self, caller: Caller, *, agreement_id: str | None = None, incident_id: str | None = None
    ) -> StoredFile:
        """Stores the file, chunk by chunk, with the agreement or the incident that it belongs to."""
        write, received = self.writing.write, self.received
        kept = StoredFile(
            file_id=str(uuid.uuid4()),
            agreement_id=agreement_id,
            incident_id=incident_id,
            name=received.name,
            media_type=received.media_type,
            size=received.size,
            sha256=received.sha256,
            chunks=-(-received.size // CHUNK_BYTES),
            uploaded_by=await sealing.person(write.session, caller.claims.subject),
            uploaded_by_role=caller.role,
            revision=write.revision,
            created_at=write.now,
        )
        write.session.add(kept)
        await write.session.flush()
        for number, part in enumerate(received.parts()):
            chunk = FileChunk(file_id=kept.file_id, number=number, content=part)
            write.session.add(chunk)
            await write.session.flush()
            write.session.expunge(chunk)
        return kept


class FileWriteLock(asyncio.Semaphore):
    """A lock: one file is stored at a time, so that another write waits for one file at most, however many arrive."""

    def __init__(self) -> None:
        super().__init__(1)


def download(request: Request, file: StoredFile) -> Response:
    """The stored file as a download (`attachment`, sandboxed). Each chunk is read from the store when it is sent."""
    parts = _parts(provided(request, Store), file)
    headers = _attachment_headers(file.name, file.size, bytes.fromhex(file.sha256))
    return StreamingResponse(parts, headers=headers, media_type=file.media_type)


def attachment(content: bytes, name: str, media_type: str) -> Response:
    """Content that was made for this request as a download, with the headers of a stored file's."""
    headers = _attachment_headers(name, len(content), hashlib.sha256(content).digest())
    return Response(content, headers=headers, media_type=media_type)


def _attachment_headers(name: str, size: int, digest: bytes) -> dict[str, str]:
    ending = name.rpartition(".")[2]
    return {
        "Content-Disposition": f"attachment; filename=\"file.{ending}\"; filename*=UTF-8''{quote(name)}",
        "Content-Length": str(size),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
    }


async def _parts(store: Store, file: StoredFile) -> AsyncIterator[bytes]:
    for number in range(file.chunks):
        # One transaction a chunk: a slow reader must not hold one open.
        async with store.reading() as session:
            part = await registry_rows.file_part(session, file, number)
        yield part


def _upload_of(allowed: frozenset[str]) -> Callable[..., AsyncIterator[UploadRequest]]:
    async def begin(
        request: Request, response: Response, name: FileName, idempotency_key: IdempotencyKey = None
    ) -> AsyncIterator[UploadRequest]:
        async with _received_file(request, name, allowed) as received:
            content = "\0".join((received.name, received.media_type, received.sha256))
            lock = provided(request, FileWriteLock)
            async with lock, write_transaction(request, response, idempotency_key, content) as writing:
                yield UploadRequest(writing, received)

    return begin


DocumentUpload = Annotated[UploadRequest, Depends(_upload_of(DOCUMENTS), scope="function")]
AttachmentUpload = Annotated[UploadRequest, Depends(_upload_of(ATTACHMENTS), scope="function")]


@asynccontextmanager
async def _received_file(request: Request, name: str, allowed: frozenset[str]) -> AsyncIterator[ReceivedFile]:
    require_once(request, "content-type", "content-length")
    if len(request.query_params.getlist("name")) != 1:
        raise InvalidInput("Send name once.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise WrongFileType("Send the file as it is, without a Content-Encoding.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    require_file_name(name, media_type, allowed)
    declared = _declared_size(request)
    if declared is not None and declared > MOST_FILE_BYTES:
        raise BodyTooLarge(MOST_FILE_BYTES)
    cast(Bound, request.state.bound).most = MOST_FILE_BYTES
    with tempfile.SpooledTemporaryFile(_BYTES_IN_MEMORY) as content:
        try:
            size, digest = await _stream(request, media_type, content)
        except OSError as error:
            raise StoreUnreachable(f"a file could not be received: {error}") from error
        if declared not in (None, size):
            raise UploadIncomplete(f"{declared} bytes were announced, {size} arrived.")
        yield ReceivedFile(name, media_type, size, digest, cast(IO[bytes], content))


async def _stream(
    request: Request, media_type: str, content: "tempfile.SpooledTemporaryFile[bytes]"
) -> tuple[int, str]:
    """Writes the body to `content`; returns its bytes and its SHA-256. Raises `UploadIncomplete`, `InvalidInput`, and
    what the check of the media type raises."""
    check, digest, size = check_of(media_type), hashlib.sha256(), 0
    try:
        async for part in request.stream():
            check(part, False)
            digest.update(part)
            size += len(part)
            content.write(part)
    except ClientDisconnect:
        raise UploadIncomplete(f"The request ended after {size} bytes.") from None
    if not size:
        raise InvalidInput("The file is empty.")
    check(b"", True)
    return size, digest.hexdigest()


def _declared_size(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    if not (value.isascii() and value.isdigit()):
        return None
    # Python refuses to parse a number of too many digits; 18 are more than any size that is accepted.
    return int(value) if len(value) < 18 else MOST_FILE_BYTES + 1
