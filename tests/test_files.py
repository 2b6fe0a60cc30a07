"""Files that are handed in: the signed agreement, and what goes with an incident. Kept whole and as they are, or not.

Whatever is refused leaves nothing behind: no file, no part of one, no revision, nothing in the temporary folder.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import socket
import struct
import tempfile
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import httpx2
import pytest
import uvicorn
from sqlalchemy.exc import OperationalError
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from api.files import Received
from models.files import CHUNK_BYTES, MOST_FILE_BYTES, FileChunk, StoredFile
from tests.test_grants import problem
from tests.test_transactions import contents
from tests.world import BASIS, PURPOSE, Answer, World

PDF: Final = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\xff\xd9"
TEXT: Final = "Om 10:12 faalde één koppeling.\tDe melding: “geen antwoord” 🙈\r\n".encode()
HTML: Final = b"<!doctype html><script>alert(document.domain)</script>%%EOF"
TEN_GIGABYTES: Final = 10 * 1024**3
MEGABYTE: Final = 1024 * 1024

Content = bytes | AsyncIterable[bytes]


def a_pdf_of(size: int) -> bytes:
    """A PDF of exactly so many bytes, no part of which is like another."""
    return b"%PDF-1.7\n" + random.Random(size).randbytes(size - 15) + b"%%EOF\n"


async def in_parts(content: bytes, size: int) -> AsyncIterator[bytes]:
    """A body that comes in parts of so many bytes, of a length that nobody announced."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


@dataclass
class Desk:
    """Where files are handed in: for an agreement and for an incident of the connection rekenrijk."""

    world: World
    agreement_id: str
    incident_id: str
    temporary: Path
    before: tuple[int, ...] = ()

    @property
    def document(self) -> str:
        return f"/v1/connections/rekenrijk/agreements/{self.agreement_id}/document"

    @property
    def attachments(self) -> str:
        return f"/v1/incidents/{self.incident_id}/attachments"

    @property
    def partner(self) -> str:
        return self.world.token("partner", client_id="rekenrijk")

    def headers(self, media_type: str = "application/pdf", token: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token or self.world.token('operator')}", "Content-Type": media_type}

    async def hand_in(
        self,
        path: str,
        content: Content,
        name: str = "x.pdf",
        media_type: str = "application/pdf",
        *,
        token: str | None = None,
        **more: str,
    ) -> Answer:
        headers = {**self.headers(media_type, token), **{key.replace("_", "-"): value for key, value in more.items()}}
        return await self.world.client.post(path, params={"name": name}, content=content, headers=headers)

    async def fetch(self, path: str, token: str | None = None) -> Answer:
        return await self.world.call("GET", path, token or self.world.token("operator"))

    async def attached(self) -> list[str]:
        """The names of the incident's attachments."""
        shown = (await self.fetch(f"/v1/incidents/{self.incident_id}")).json()
        return [each["name"] for each in shown["attachments"]]

    async def state(self) -> tuple[int, ...]:
        """The revision, what there is of everything that a write adds to, and how many files and parts are kept."""
        async with self.world.store.reading() as session:
            files = (await session.exec(select(func.count()).select_from(StoredFile))).one()
            chunks = (await session.exec(select(func.count()).select_from(FileChunk))).one()
        return *await contents(self.world.store), files, chunks

    def under_way(self) -> list[str]:
        """What is in the temporary folder, and what this process holds open there that has no name."""
        held = []
        for link in Path("/proc/self/fd").glob("*"):
            with contextlib.suppress(OSError):
                held.append(os.readlink(link))
        return [*map(str, self.temporary.iterdir()), *(name for name in held if name.startswith(str(self.temporary)))]

    async def require_nothing_left(self) -> None:
        """Nothing is left of what was refused, and it stands in nobody's way."""
        assert await self.state() == self.before
        assert self.before[-2:] == (0, 0)
        assert self.under_way() == []
        assert (await self.hand_in(self.document, PDF)).status_code == 201
        assert (await self.fetch(self.document)).content == PDF
        assert (await self.hand_in(self.attachments, TEXT, "x.txt", "text/plain")).status_code == 201
        assert (await self.world.ask()).status_code == 200


@pytest.fixture
async def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    await world.register(rules=())
    (agreement,) = (await world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"]
    made = Desk(world, agreement["agreementId"], await an_incident(world), temporary)
    made.before = await made.state()
    return made


async def an_incident(world: World, client_id: str = "rekenrijk") -> str:
    report = {"title": "Geen antwoord", "description": "Sinds vanochtend.", "severity": "high"}
    made = await world.call("POST", "/v1/incidents", world.token("partner", client_id=client_id), report)
    assert made.status_code == 201, made.text
    return str(made.json()["incidentId"])


async def told(desk: Desk, path: str, receive: Receive, name: str = "x.pdf", **headers: str) -> Answer:
    """What the service says to a request as a server would pass it on, of which every message is in our hand."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    given = {**desk.headers(), **{key.replace("_", "-"): value for key, value in headers.items()}}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("127.0.0.1", 123),
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"name={quote(name)}".encode(),
        "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in given.items() if value],
    }
    await desk.world.service(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


def arriving(*parts: bytes, cut: bool = False) -> Receive:
    """A body in these parts; with `cut` the client is gone after the last of them."""
    end: Message = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
    messages = iter([*({"type": "http.request", "body": part, "more_body": True} for part in parts), end])

    async def receive() -> Message:
        return next(messages)

    return receive


async def never() -> Message:
    pytest.fail("The body was asked for.")


# -- a good file is kept ----------------------------------------------------------------------------------------------


async def test_a_signed_agreement_is_kept_as_it_is_and_shown_with_its_agreement(desk: Desk) -> None:
    answer = await desk.hand_in(desk.document, PDF, "Verwerkersovereenkomst 2026.pdf")
    shown = answer.json()
    assert answer.status_code == 201
    assert (shown["name"], shown["mediaType"]) == ("Verwerkersovereenkomst 2026.pdf", "application/pdf")
    assert (shown["size"], shown["sha256"]) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    assert (shown["uploadedByRole"], shown["createdAt"]) == ("operator", "2026-09-01T08:00:00Z")
    (agreement,) = (await desk.fetch("/v1/connections/rekenrijk/agreements")).json()["items"]
    assert agreement["document"] == shown
    assert (await desk.fetch(desk.document)).content == PDF
    assert desk.under_way() == []


async def test_the_document_handed_in_last_is_the_document(desk: Desk) -> None:
    later = a_pdf_of(1000)
    assert (await desk.hand_in(desk.document, PDF)).status_code == 201
    assert (await desk.hand_in(desk.document, later, "y.pdf")).status_code == 201
    assert (await desk.fetch(desk.document)).content == later


async def test_an_agreement_without_a_document_has_none(desk: Desk) -> None:
    (agreement,) = (await desk.fetch("/v1/connections/rekenrijk/agreements")).json()["items"]
    assert agreement["document"] is None
    assert problem(await desk.fetch(desk.document)) == (404, "not_found")


GOOD: Final[dict[str, tuple[str, str, bytes]]] = {
    "a PDF": ("x.pdf", "application/pdf", PDF),
    "a PDF whose name shouts": ("X.PDF", "application/pdf", PDF),
    "a PDF with parameters to its type": ("x.pdf", "Application/PDF; version=1.7", PDF),
    "a PDF with something after its end": ("x.pdf", "application/pdf", PDF + b"\n" * 900),
    "a PNG": ("scherm.png", "image/png", PNG),
    "a JPEG": ("scherm.jpg", "image/jpeg", JPEG),
    "a JPEG with the longer ending": ("scherm.jpeg", "image/jpeg", JPEG),
    "plain text": ("melding.txt", "text/plain", TEXT),
    "plain text that says its encoding": ("melding.txt", "text/plain; charset=utf-8", TEXT),
    "a log": ("server.log", "text/plain", TEXT * 5000),
    "text that could be taken for a page": ("pagina.txt", "text/plain", HTML),
}


@pytest.mark.parametrize("kind", GOOD)
async def test_a_file_comes_back_byte_for_byte_as_a_download_and_never_in_place(desk: Desk, kind: str) -> None:
    name, media_type, content = GOOD[kind]
    kept = (await desk.hand_in(desk.attachments, content, name, media_type, token=desk.partner)).json()
    digest = hashlib.sha256(content)
    assert (kept["size"], kept["sha256"], kept["uploadedByRole"]) == (len(content), digest.hexdigest(), "partner")
    answer = await desk.fetch(f"{desk.attachments}/{kept['fileId']}", desk.partner)
    headers = answer.headers
    assert (answer.status_code, answer.content) == (200, content)
    assert headers.get_list("Content-Type") == [
        {"text/plain": "text/plain; charset=utf-8"}.get(kept["mediaType"], kept["mediaType"])
    ]
    assert headers["Content-Disposition"].startswith("attachment;")
    assert headers["Content-Length"] == str(len(content))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert headers["Cache-Control"] == "no-store"


async def test_an_attachment_is_in_the_course_of_its_incident(desk: Desk) -> None:
    kept = (await desk.hand_in(desk.attachments, TEXT, "melding.txt", "text/plain", token=desk.partner)).json()
    incident = (await desk.fetch(f"/v1/incidents/{desk.incident_id}", desk.partner)).json()
    assert incident["attachments"] == [kept]
    assert (incident["version"], incident["course"][-1]["step"]) == (2, "attach")
    assert incident["course"][-1]["text"] == "melding.txt"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["a PDF", "a PNG", "a JPEG", "plain text"])
async def test_how_a_body_is_cut_into_parts_makes_no_difference(desk: Desk, kind: str, size: int) -> None:
    name, media_type, content = GOOD[kind]
    answer = await desk.hand_in(desk.attachments, in_parts(content, size), name, media_type)
    assert answer.status_code == 201, answer.text
    assert (await desk.fetch(f"{desk.attachments}/{answer.json()['fileId']}")).content == content


SIZES: Final = {
    "less than a part": CHUNK_BYTES - 1,
    "one part": CHUNK_BYTES,
    "one byte more than a part": CHUNK_BYTES + 1,
    "more than stays in memory": MEGABYTE + 1,
    "9.9 MiB": int(9.9 * MEGABYTE),
    "all that is allowed": MOST_FILE_BYTES,
}


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_of_any_size_that_is_allowed_comes_back_whole(desk: Desk, size: str) -> None:
    content = a_pdf_of(SIZES[size])
    kept = (await desk.hand_in(desk.document, content)).json()
    assert (kept["size"], kept["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    answer = await desk.fetch(desk.document)
    assert hashlib.sha256(answer.content).hexdigest() == kept["sha256"]
    assert answer.headers["Content-Length"] == str(len(content))
    assert (await desk.state())[-2:] == (1, -(-len(content) // CHUNK_BYTES))
    assert desk.under_way() == []


async def test_a_file_that_arrives_slowly_holds_up_no_other_write_and_is_not_there_before_its_end(desk: Desk) -> None:
    content, seen = a_pdf_of(3 * MEGABYTE), list[list[str]]()
    body = arriving(content[: 2 * MEGABYTE], content[2 * MEGABYTE :])

    async def receive() -> Message:
        message = await body()
        if not message["more_body"]:
            made = await desk.world.operate("POST", "/v1/partners", {"kvkNumber": "90000009", "name": "Een ander"})
            assert made.status_code == 201
            assert (await desk.state())[-2:] == (0, 0)
            seen.append(desk.under_way())
        return message

    assert (await told(desk, desk.document, receive)).status_code == 201
    assert len(seen) == 1
    if Path("/proc/self/fd").exists():
        assert len(seen[0]) == 1, "what is under way is on disk, in a file without a name"
        assert not Path(seen[0][0]).exists()
    assert (await desk.fetch(desk.document)).content == content


# -- the wrong type under a right name --------------------------------------------------------------------------------

WRONG_DOCUMENTS: Final[dict[str, tuple[str, str, bytes]]] = {
    "a picture": ("x.pdf", "application/pdf", PNG),
    "a page": ("x.pdf", "application/pdf", HTML),
    "a program for Windows": ("x.pdf", "application/pdf", b"MZ\x90\x00" + PDF),
    "a program for Linux": ("x.pdf", "application/pdf", b"\x7fELF\x02" + PDF),
    "an archive with a PDF in it": ("x.pdf", "application/pdf", b"PK\x03\x04" + PDF),
    "a PDF that was compressed": ("x.pdf", "application/pdf", b"\x1f\x8b\x08\x00" + PDF),
    "a PDF without its end": ("x.pdf", "application/pdf", PDF.replace(b"%%EOF", b"")),
    "a PDF that goes on long after its end": ("x.pdf", "application/pdf", PDF + b" " * 1024),
    "a PDF after something else": ("x.pdf", "application/pdf", b"\n" + PDF),
    "a PDF after a byte order mark": ("x.pdf", "application/pdf", b"\xef\xbb\xbf" + PDF),
    "a PDF in small letters": ("x.pdf", "application/pdf", PDF.lower()),
    "the beginning of a beginning": ("x.pdf", "application/pdf", b"%PD"),
    "a PDF said to be a picture": ("x.pdf", "image/png", PDF),
    "a PDF said to be a page": ("x.pdf", "text/html", PDF),
    "a PDF said to be anything": ("x.pdf", "application/octet-stream", PDF),
    "a PDF said to be two things": ("x.pdf", "application/pdf, text/html", PDF),
    "a PDF said to be nothing": ("x.pdf", "", PDF),
    "a form": ("x.pdf", "multipart/form-data; boundary=x", b"--x\r\n\r\n" + PDF + b"\r\n--x--\r\n"),
    "the name of a program": ("x.exe", "application/pdf", PDF),
    "the name of a program behind that of a PDF": ("x.pdf.exe", "application/pdf", PDF),
    "a name without an ending": ("x", "application/pdf", PDF),
    "a picture that is one": ("x.png", "image/png", PNG),
    "plain text that is it": ("x.txt", "text/plain", TEXT),
}
WRONG_ATTACHMENTS: Final[dict[str, tuple[str, str, bytes]]] = {
    "a page as a PDF": ("x.pdf", "application/pdf", HTML),
    "a JPEG as a PNG": ("x.png", "image/png", JPEG),
    "a PNG as a JPEG": ("x.jpg", "image/jpeg", PNG),
    "a PNG without its last magic byte": ("x.png", "image/png", PNG[:7]),
    "a PNG whose line ends were changed": ("x.png", "image/png", PNG.replace(b"\r\n", b"\n")),
    "a PNG under the name of a JPEG": ("x.jpg", "image/png", PNG),
    "a PDF as text": ("x.pdf", "text/plain", PDF),
    "a page": ("x.html", "text/html", HTML),
    "a page under the name of a text": ("x.txt", "text/html", HTML),
    "a drawing with a script": ("x.svg", "image/svg+xml", b"<svg onload='alert(1)'/>"),
    "a moving picture": ("x.gif", "image/gif", b"GIF89a"),
    "text with a NUL": ("x.txt", "text/plain", TEXT + b"\x00" + TEXT),
    "text with an escape": ("x.txt", "text/plain", b"\x1b]0;hallo\x07"),
    "a program as text": ("x.txt", "text/plain", b"MZ\x90\x00\x03"),
    "text in latin-1": ("x.txt", "text/plain", "één".encode("latin-1")),
    "text in UTF-16": ("x.txt", "text/plain", "één".encode("utf-16")),
    "text cut in the middle of a character": ("x.txt", "text/plain", "één 🙈".encode()[:-1]),
    "text with half a pair": ("x.txt", "text/plain", b"\xed\xa0\x80"),
    "text with a slash in too many bytes": ("x.txt", "text/plain", b"\xc0\xaf"),
    "text with the name of a program": ("x.bat", "text/plain", TEXT),
}


@pytest.mark.parametrize("kind", WRONG_DOCUMENTS)
async def test_what_is_no_pdf_is_not_taken_for_a_signed_agreement(desk: Desk, kind: str) -> None:
    name, media_type, content = WRONG_DOCUMENTS[kind]
    assert problem(await desk.hand_in(desk.document, content, name, media_type)) == (400, "wrong_file_type")
    await desk.require_nothing_left()


@pytest.mark.parametrize("kind", WRONG_ATTACHMENTS)
async def test_an_attachment_that_is_not_what_it_is_said_to_be_is_refused(desk: Desk, kind: str) -> None:
    name, media_type, content = WRONG_ATTACHMENTS[kind]
    refused = await desk.hand_in(desk.attachments, content, name, media_type, token=desk.partner)
    assert problem(refused) == (400, "wrong_file_type")
    await desk.require_nothing_left()


@pytest.mark.parametrize("kind", ["a picture", "a PDF without its end", "a PDF that goes on long after its end"])
async def test_a_wrong_type_is_seen_however_the_body_is_cut_into_parts(desk: Desk, kind: str) -> None:
    name, media_type, content = WRONG_DOCUMENTS[kind]
    refused = await desk.hand_in(desk.document, in_parts(content, 1), name, media_type)
    assert problem(refused) == (400, "wrong_file_type")
    await desk.require_nothing_left()


async def test_what_begins_wrongly_is_refused_before_the_rest_arrives(desk: Desk) -> None:
    body = iter([{"type": "http.request", "body": HTML, "more_body": True}])

    async def receive() -> Message:
        message = next(body, None)
        return message if message is not None else await never()

    assert problem(await told(desk, desk.document, receive)) == (400, "wrong_file_type")
    await desk.require_nothing_left()


async def test_text_that_turns_out_to_be_none_at_its_end_leaves_nothing(desk: Desk) -> None:
    content = b"regel\n" * 400_000 + b"\xff"
    refused = await desk.hand_in(desk.attachments, in_parts(content, 65_536), "x.log", "text/plain")
    assert problem(refused) == (400, "wrong_file_type")
    await desk.require_nothing_left()


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_empty_file_is_no_file(desk: Desk, chunked: bool) -> None:
    for path, name, media_type in (
        (desk.document, "x.pdf", "application/pdf"),
        (desk.attachments, "x.txt", "text/plain"),
    ):
        nothing: Content = in_parts(b"", 1) if chunked else b""
        assert problem(await desk.hand_in(path, nothing, name, media_type)) == (400, "invalid_input")
    await desk.require_nothing_left()


# -- too large --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_of_one_byte_too_many_is_too_large(desk: Desk, chunked: bool) -> None:
    content = a_pdf_of(MOST_FILE_BYTES + 1)
    for path in (desk.document, desk.attachments):
        body: Content = in_parts(content, MEGABYTE) if chunked else content
        assert problem(await desk.hand_in(path, body)) == (413, "too_large")
    await desk.require_nothing_left()


@pytest.mark.parametrize(
    "declared", [str(MOST_FILE_BYTES + 1), str(TEN_GIGABYTES), "9" * 17, "9" * 18, "9" * 5000, "0" * 5000 + "1"]
)
async def test_a_length_that_is_too_large_is_refused_before_a_byte_is_read(desk: Desk, declared: str) -> None:
    for path in (desk.document, desk.attachments):
        assert problem(await told(desk, path, never, Content_Length=declared)) == (413, "too_large")
    await desk.require_nothing_left()


@pytest.mark.parametrize("declared", ["-1", "+5", "1e9", "0x10", "5, 5", "\xb2", "vijf", "5" * 5000 + "x", "1_0"])
async def test_a_length_that_is_no_number_is_never_an_error_of_ours(desk: Desk, declared: str) -> None:
    answer = await told(desk, desk.document, arriving(PDF), Content_Length=declared)
    assert answer.status_code in (201, 400, 413)
    assert (await desk.fetch(desk.document)).status_code == (200 if answer.status_code == 201 else 404)


async def test_a_body_without_an_end_is_cut_off(desk: Desk) -> None:
    arrived = 0

    async def receive() -> Message:
        nonlocal arrived
        part = PDF if arrived == 0 else bytes(MEGABYTE)
        arrived += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    assert problem(await told(desk, desk.document, receive)) == (413, "too_large")
    assert arrived <= MOST_FILE_BYTES + MEGABYTE
    await desk.require_nothing_left()


# -- path tricks in the name ------------------------------------------------------------------------------------------

TRICKS: Final = {
    "a folder up": "../x.pdf",
    "many folders up": "../" * 12 + "etc/passwd.pdf",
    "a folder up in Windows": "..\\x.pdf",
    "a path from the root": "/etc/passwd.pdf",
    "a drive": "C:\\x.pdf",
    "a drive alone": "C:x.pdf",
    "a share": "\\\\server\\x.pdf",
    "a folder": "x/y.pdf",
    "the folder itself": "./x.pdf",
    "an address": "file:///etc/passwd.pdf",
    "a hidden file": ".hidden.pdf",
    "an ending alone": ".pdf",
    "a dot": ".",
    "two dots": "..",
    "a slash at the end": "x.pdf/",
    "a slash and a dot at the end": "x.pdf/.",
    "a dot at the end": "x.pdf.",
    "a space at the end": "x.pdf ",
    "a space at the beginning": " x.pdf",
    "a wide space at the end": "x.pdf\u2003",
    "encoded twice": "%2e%2e%2fx.pdf",
    "a NUL encoded twice": "x.exe%00.pdf",
    "a NUL": "x\x00.pdf",
    "a NUL before another ending": "x.exe\x00.pdf",
    "a new line": "x\n.pdf",
    "a new line at the end": "x.pdf\n",
    "a header of its own": 'x.pdf\r\nSet-Cookie: a=b; ".pdf',
    "a tab": "x\t.pdf",
    "a delete": "x\x7f.pdf",
    "a next line": "x\u0085.pdf",
    "a next line at the end": "x.pdf\u0085",
    "quotes": '"x".pdf',
    "a quote that ends the name": 'x.pdf"; filename="y.exe',
    "a wildcard": "*.pdf",
    "a question": "x?.pdf",
    "a pipe": "x|y.pdf",
    "a redirection": "<x>.pdf",
    "a stream of Windows": "x.pdf::$DATA",
    "121 characters": "x" * 117 + ".pdf",
    "10,000 characters": "x" * 10_000 + ".pdf",
    "nothing": "",
}


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_name_that_is_no_name_alone_is_refused_before_the_body_is_read(desk: Desk, trick: str) -> None:
    for path in (desk.document, desk.attachments):
        assert problem(await told(desk, path, never, TRICKS[trick])) == (400, "invalid_input")
    await desk.require_nothing_left()


QUERIES: Final = {
    "none": "",
    "an empty one": "name=",
    "one without a value": "name",
    "another parameter": "filename=x.pdf",
    "dots and a slash, encoded": "name=%2e%2e%2fx.pdf",
    "dots and a slash, encoded twice": "name=%252e%252e%252fx.pdf",
    "dots and a slash in too many bytes": "name=%c0%ae%c0%ae%c0%afx.pdf/",
    "a NUL, encoded": "name=x%00.pdf",
    "two, of which one leads up": "name=x.pdf&name=../x.pdf",
}


@pytest.mark.parametrize("query", QUERIES)
async def test_a_file_has_a_name_that_was_sent_as_one(desk: Desk, query: str) -> None:
    for path in (desk.document, desk.attachments):
        address = f"{path}?{QUERIES[query]}"
        assert problem(await desk.world.client.post(address, content=PDF, headers=desk.headers())) == (
            400,
            "invalid_input",
        )
    await desk.require_nothing_left()


@pytest.mark.parametrize(
    "name",
    [
        "CON.pdf",
        "a..b.pdf",
        "-rf.pdf",
        "x; y='z'.pdf",
        "überéénkomst.pdf",
        "合意.pdf",
        "🙈.pdf",
        "100 procent + €5 & meer.pdf",
        "x" * 116 + ".pdf",
        "🙈" * 116 + ".pdf",
    ],
)
async def test_a_name_that_is_merely_unusual_comes_back_in_one_line_of_ascii(desk: Desk, name: str) -> None:
    kept = await desk.hand_in(desk.document, PDF, name)
    assert (kept.status_code, kept.json()["name"]) == (201, name)
    disposition = (await desk.fetch(desk.document)).headers["Content-Disposition"]
    plain, _, encoded = disposition.partition("; filename*=UTF-8''")
    assert disposition.isascii()
    assert disposition.isprintable()
    assert (plain, unquote(encoded)) == ('attachment; filename="file.pdf"', name)
    assert not set(encoded) & set(" ;\"',")


# -- a body that is cut half-way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(PDF), 4 * MEGABYTE])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_cut_half_way_is_incomplete(desk: Desk, size: int, declared: bool) -> None:
    content = a_pdf_of(size)
    headers = {"Content_Length": str(size)} if declared else {}
    for path in (desk.document, desk.attachments):
        half = arriving(content[: size // 2], cut=True)
        assert problem(await told(desk, path, half, **headers)) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_client_that_goes_before_the_first_byte_leaves_nothing(desk: Desk) -> None:
    assert problem(await told(desk, desk.document, arriving(cut=True))) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_whole_body_whose_client_goes_before_its_end_was_said_is_incomplete(desk: Desk) -> None:
    assert problem(await told(desk, desk.document, arriving(PDF, cut=True))) == (400, "upload_incomplete")
    await desk.require_nothing_left()


@pytest.mark.parametrize("declared", [0, 1, len(PDF) - 1, len(PDF) + 1, 2 * len(PDF), MOST_FILE_BYTES])
async def test_a_length_that_differs_from_what_arrived_is_incomplete(desk: Desk, declared: int) -> None:
    answer = await told(desk, desk.document, arriving(PDF), Content_Length=str(declared))
    assert problem(answer) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_file_that_was_cut_is_sent_again_whole_under_the_same_key(desk: Desk) -> None:
    cut = await told(desk, desk.document, arriving(PDF[:30], cut=True), Idempotency_Key="a-key")
    assert problem(cut) == (400, "upload_incomplete")
    again = await desk.hand_in(desk.document, PDF, Idempotency_Key="a-key")
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)
    assert (await desk.state())[-2:] == (1, 1)


# -- over a real line -------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """The service behind a port of this machine, and what it answered to each request once it was done with it."""

    port: int
    done: "asyncio.Queue[list[int]]"

    async def answered(self) -> list[int]:
        return await asyncio.wait_for(self.done.get(), 30)

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Line]:
    done = asyncio.Queue[list[int]]()

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        statuses: list[int] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        try:
            await world.service(scope, receive, sending)
        finally:
            done.put_nowait(statuses)

    with socket.create_server(("127.0.0.1", 0)) as port:
        config = uvicorn.Config(listening, lifespan="off", log_config=None, access_log=False, server_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[port]))
        try:
            yield Line(port.getsockname()[1], done)
        finally:
            server.should_exit = True
            await serving


def head(desk: Desk, path: str, **headers: str) -> bytes:
    """The first lines of a request, as they go over the line."""
    given = {**desk.headers(), "Host": "test", "Connection": "close"}
    lines = [f"{key.replace('_', '-')}: {value}" for key, value in {**given, **headers}.items()]
    return "\r\n".join([f"POST {path}?name=x.pdf HTTP/1.1", *lines, "", ""]).encode()


def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _pull_the_plug(writer: asyncio.StreamWriter) -> None:
    line: socket.socket = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


ENDS: Final[dict[str, Callable[[asyncio.StreamWriter], None]]] = {"hangs up": _hang_up, "is cut off": _pull_the_plug}


@pytest.mark.parametrize("size", [len(PDF), 4 * MEGABYTE])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("end", ENDS)
async def test_a_client_that_is_gone_half_way_leaves_nothing(desk: Desk, end: str, chunked: bool, size: int) -> None:
    half = a_pdf_of(size)[: size // 2]
    async with served(desk.world) as line:
        for path in (desk.document, desk.attachments):
            _, writer = await line.opened()
            if chunked:
                writer.write(head(desk, path, Transfer_Encoding="chunked") + f"{len(half):x}\r\n".encode() + half)
            else:
                writer.write(head(desk, path, Content_Length=str(size)) + half)
            await writer.drain()
            ENDS[end](writer)
            assert await line.answered() == [400]
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await desk.require_nothing_left()


async def test_a_declared_length_of_10_gb_is_answered_while_the_body_is_still_to_come(desk: Desk) -> None:
    async with served(desk.world) as line:
        for path in (desk.document, desk.attachments):
            reader, writer = await line.opened()
            writer.write(head(desk, path, Content_Length=str(TEN_GIGABYTES)) + PDF)
            answer = await asyncio.wait_for(reader.read(), 30)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"problems/too_large" in answer
            assert await line.answered() == [413]
            writer.close()
            await writer.wait_closed()
        await desk.require_nothing_left()


@pytest.mark.parametrize("declared", ["9" * 5000, "-1", "5, 5", "vijf", f"{len(PDF)}\r\nContent-Length: 5"])
async def test_a_length_that_no_server_understands_is_an_error_of_the_client(desk: Desk, declared: str) -> None:
    async with served(desk.world) as line:
        reader, writer = await line.opened()
        writer.write(head(desk, desk.document, Content_Length=declared) + PDF)
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer.split(b" ", 2)[1] in (b"400", b"413")
        writer.close()
        await writer.wait_closed()
        await desk.require_nothing_left()


async def test_a_file_of_many_parts_goes_over_a_real_line_and_back(desk: Desk) -> None:
    content = a_pdf_of(int(9.9 * MEGABYTE))
    async with served(desk.world) as line:
        address = f"http://127.0.0.1:{line.port}"
        async with httpx2.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
            desk.world.client = client
            assert (await desk.hand_in(desk.document, in_parts(content, 100_000))).status_code == 201
            assert (await desk.fetch(desk.document)).content == content
            too_much: Content = in_parts(a_pdf_of(MOST_FILE_BYTES + 1), 100_000)
            with contextlib.suppress(httpx2.WriteError):
                assert problem(await desk.hand_in(desk.document, too_much)) == (413, "too_large")
    assert (await desk.state())[-2:] == (1, -(-len(content) // CHUNK_BYTES))
    assert desk.under_way() == []


# -- what goes wrong here ---------------------------------------------------------------------------------------------


async def test_a_file_whose_commit_fails_is_neither_acknowledged_nor_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: AsyncSession) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    content = a_pdf_of(2 * MEGABYTE)
    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", fail)
        for path in (desk.document, desk.attachments):
            refused = await desk.hand_in(path, content, Idempotency_Key=path[-36:])
            assert problem(refused) == (503, "store_unreachable")
    await desk.require_nothing_left()
    assert (await desk.hand_in(desk.document, content, Idempotency_Key=desk.document[-36:])).status_code == 201


async def test_a_file_of_which_one_part_cannot_be_read_again_is_not_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Received) -> Iterator[bytes]:
        yield PDF
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Received, "parts", broken)
        for path in (desk.document, desk.attachments):
            assert problem(await desk.hand_in(path, a_pdf_of(2 * MEGABYTE))) == (503, "store_unreachable")
    await desk.require_nothing_left()


# -- the same file again ----------------------------------------------------------------------------------------------


async def test_the_same_file_under_the_same_key_gets_the_same_answer_and_is_kept_once(desk: Desk) -> None:
    content = a_pdf_of(2 * MEGABYTE)
    for path in (desk.document, desk.attachments):
        first = await desk.hand_in(path, content, Idempotency_Key=f"key-of-{path[:6]}")
        state = await desk.state()
        again = await desk.hand_in(path, in_parts(content, 65_536), Idempotency_Key=f"key-of-{path[:6]}")
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert [answer.headers.get("Idempotency-Replayed") for answer in (first, again)] == [None, "true"]
        assert await desk.state() == state
    assert (await desk.state())[-2:] == (2, 16)
    assert desk.under_way() == []


async def test_the_same_file_sent_twice_at_once_under_one_key_is_kept_once(desk: Desk) -> None:
    answers = await asyncio.gather(
        *(desk.hand_in(desk.attachments, PDF, token=desk.partner, Idempotency_Key="a-key") for _ in range(3))
    )
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1
    assert (await desk.state())[-2:] == (1, 1)
    assert await desk.attached() == ["x.pdf"]


OTHERS: Final[dict[str, tuple[str, str, bytes]]] = {
    "another content": ("x.txt", "text/plain", TEXT + b"\n"),
    "another name": ("y.txt", "text/plain", TEXT),
    "another type": ("x.pdf", "application/pdf", PDF),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_another_file_under_the_same_key_is_refused(desk: Desk, other: str) -> None:
    first = await desk.hand_in(desk.attachments, TEXT, "x.txt", "text/plain", Idempotency_Key="a-key")
    assert first.status_code == 201
    state = await desk.state()
    name, media_type, content = OTHERS[other]
    refused = await desk.hand_in(desk.attachments, content, name, media_type, Idempotency_Key="a-key")
    assert problem(refused) == (409, "idempotency_key_reused")
    assert await desk.state() == state
    assert desk.under_way() == []


async def test_a_refused_file_does_not_use_up_its_key(desk: Desk) -> None:
    refused = await desk.hand_in(desk.document, HTML, Idempotency_Key="a-key")
    assert problem(refused) == (400, "wrong_file_type")
    assert (await desk.hand_in(desk.document, PDF, Idempotency_Key="a-key")).status_code == 201
    assert (await desk.state())[-2:] == (1, 1)


async def test_without_a_key_the_same_file_twice_is_two_files(desk: Desk) -> None:
    ids = {(await desk.hand_in(desk.attachments, PDF)).json()["fileId"] for _ in range(2)}
    assert len(ids) == 2
    assert (await desk.state())[-2:] == (2, 2)


# -- so many and no more ----------------------------------------------------------------------------------------------


async def test_an_incident_takes_so_many_attachments_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.incidents.MOST_FILES_OF_INCIDENT", 2)
    for name in ("een.pdf", "twee.pdf"):
        assert (await desk.hand_in(desk.attachments, PDF, name, Idempotency_Key=name)).status_code == 201
    state = await desk.state()
    for token in (desk.partner, None):
        refused = await desk.hand_in(desk.attachments, PDF, "drie.pdf", token=token)
        assert problem(refused) == (409, "too_many_files")
    assert (await desk.hand_in(desk.attachments, PDF, "twee.pdf", Idempotency_Key="twee.pdf")).status_code == 201
    assert await desk.state() == state
    assert desk.under_way() == []
    assert await desk.attached() == ["een.pdf", "twee.pdf"]
    desk.incident_id = await an_incident(desk.world)
    assert (await desk.hand_in(desk.attachments, PDF)).status_code == 201


async def test_of_several_files_at_once_for_the_last_place_one_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.incidents.MOST_FILES_OF_INCIDENT", 1)
    answers = await asyncio.gather(*(desk.hand_in(desk.attachments, PDF, f"{number}.pdf") for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert (await desk.state())[-2:] == (1, 1)


# -- who may ----------------------------------------------------------------------------------------------------------

DOORS: Final = {
    "the document of an agreement": ("document", ("school", "partner", "gateway")),
    "an attachment": ("attachments", ("school", "gateway")),
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_file_of_who_may_not_hand_it_in_is_not_even_read(desk: Desk, door: str) -> None:
    where, others = DOORS[door]
    path = getattr(desk, where)
    assert problem(await told(desk, path, never, Authorization="")) == (401, "unauthenticated")
    assert problem(await told(desk, path, never, Authorization="Bearer x.y.z")) == (401, "unauthenticated")
    for role in others:
        token = desk.world.token(role, school="16SW", client_id="rekenrijk")
        refused = await told(desk, path, never, Authorization=f"Bearer {token}")
        assert problem(refused) == (403, "forbidden")
    await desk.require_nothing_left()


async def test_a_file_is_downloaded_with_a_token_of_the_right_role(desk: Desk) -> None:
    await desk.hand_in(desk.document, PDF)
    kept = (await desk.hand_in(desk.attachments, PDF)).json()
    for path in (desk.document, f"{desk.attachments}/{kept['fileId']}"):
        assert problem(await desk.world.call("GET", path, None)) == (401, "unauthenticated")
        for role in ("school", "gateway"):
            token = desk.world.token(role, school="16SW", client_id="rekenrijk")
            assert problem(await desk.fetch(path, token)) == (403, "forbidden")
        for allowed in (desk.partner, desk.world.token("operator")):
            assert (await desk.fetch(path, allowed)).content == PDF
    path = f"/v1/schools/16SW/agreements/{desk.agreement_id}/document"
    for token in (desk.partner, desk.world.token("operator"), desk.world.token("gateway")):
        assert problem(await desk.fetch(path, token)) == (403, "forbidden")


async def test_a_partner_reads_the_document_of_its_own_agreement_and_not_anothers(desk: Desk) -> None:
    await desk.hand_in(desk.document, PDF)
    await desk.world.register("taalhuis", kvk_number="90000002", rules=())
    other = desk.world.token("partner", client_id="taalhuis")
    assert (await desk.fetch(desk.document, desk.partner)).content == PDF
    unknown = await desk.fetch(f"/v1/connections/nobody/agreements/{desk.agreement_id}/document", other)
    foreign = await desk.fetch(desk.document, other)
    assert problem(foreign) == problem(unknown) == (404, "not_found")
    assert foreign.json() == unknown.json()
    unknown = await desk.fetch(f"/v1/connections/taalhuis/agreements/{uuid.uuid4()}/document", other)
    foreign = await desk.fetch(f"/v1/connections/taalhuis/agreements/{desk.agreement_id}/document", other)
    assert problem(foreign) == problem(unknown) == (404, "not_found")
    assert foreign.json() == unknown.json()


async def test_anothers_incident_and_its_attachments_are_the_same_as_none(desk: Desk) -> None:
    kept = (await desk.hand_in(desk.attachments, PDF, token=desk.partner)).json()
    await desk.world.register("taalhuis", kvk_number="90000002", rules=())
    other, state = desk.world.token("partner", client_id="taalhuis"), await desk.state()
    none = f"/v1/incidents/{uuid.uuid4()}/attachments"
    for foreign, unknown in (
        (await desk.fetch(f"{desk.attachments}/{kept['fileId']}", other), await desk.fetch(f"{none}/{kept['fileId']}")),
        (await desk.hand_in(desk.attachments, PDF, token=other), await desk.hand_in(none, PDF, token=other)),
    ):
        assert problem(foreign) == problem(unknown) == (404, "not_found")
        assert foreign.json() == unknown.json()
    assert await desk.state() == state
    assert desk.under_way() == []


async def test_an_attachment_is_found_under_its_own_incident_alone(desk: Desk) -> None:
    attached = (await desk.hand_in(desk.attachments, PDF, token=desk.partner)).json()["fileId"]
    signed = (await desk.hand_in(desk.document, PDF)).json()["fileId"]
    second = await an_incident(desk.world)
    for token in (desk.partner, desk.world.token("operator")):
        unknown = await desk.fetch(f"{desk.attachments}/{uuid.uuid4()}", token)
        elsewhere = await desk.fetch(f"/v1/incidents/{second}/attachments/{attached}", token)
        no_attachment = await desk.fetch(f"{desk.attachments}/{signed}", token)
        assert problem(unknown) == problem(elsewhere) == problem(no_attachment) == (404, "not_found")
        assert unknown.json() == elsewhere.json() == no_attachment.json()
        assert (await desk.fetch(f"{desk.attachments}/{attached}", token)).content == PDF


async def test_a_file_for_what_is_not_there_is_not_kept(desk: Desk) -> None:
    for path, status, slug in (
        (f"/v1/connections/rekenrijk/agreements/{uuid.uuid4()}/document", 404, "not_found"),
        (f"/v1/connections/nobody/agreements/{desk.agreement_id}/document", 404, "not_found"),
        ("/v1/connections/rekenrijk/agreements/first/document", 400, "invalid_input"),
        (f"/v1/incidents/{uuid.uuid4()}/attachments", 404, "not_found"),
        ("/v1/incidents/first/attachments", 400, "invalid_input"),
    ):
        assert problem(await desk.hand_in(path, a_pdf_of(2 * MEGABYTE), Idempotency_Key="a-key")) == (status, slug)
    await desk.require_nothing_left()


# -- what a school reads ----------------------------------------------------------------------------------------------


async def agreed(world: World, client_id: str = "rekenrijk", **more: str) -> str:
    """The id of an agreement of which the signed document is kept."""
    made = await world.agree(client_id, BASIS, [PURPOSE], **more)
    assert made.status_code == 201, made.text
    agreement_id = str(made.json()["agreementId"])
    address = f"/v1/connections/{client_id}/agreements/{agreement_id}/document?name=x.pdf"
    headers = {"Authorization": f"Bearer {world.token('operator')}", "Content-Type": "application/pdf"}
    kept = await world.client.post(address, content=PDF + agreement_id.encode(), headers=headers)
    assert kept.status_code == 201, kept.text
    return agreement_id


async def read_by(world: World, brin: str, agreement_id: str) -> Answer:
    return await world.administer("GET", f"/agreements/{agreement_id}/document", brin=brin)


async def test_a_school_reads_the_agreement_that_a_grant_of_its_own_rests_on(world: World) -> None:
    await world.register()
    agreement_id = await agreed(world)
    nothing_there = await read_by(world, "16SW", str(uuid.uuid4()))
    without_grant = await read_by(world, "16SW", agreement_id)
    assert problem(nothing_there) == problem(without_grant) == (404, "not_found")
    assert nothing_there.json() == without_grant.json()
    await world.granted(scopes=BASIS)
    answer = await read_by(world, "16SW", agreement_id)
    assert (answer.status_code, answer.content) == (200, PDF + agreement_id.encode())
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert problem(await read_by(world, "17TX", agreement_id)) == (404, "not_found")


async def test_a_school_does_not_read_with_the_token_of_another_school(world: World) -> None:
    await world.register()
    agreement_id = await agreed(world)
    await world.granted(scopes=BASIS)
    path, token = f"/v1/schools/16SW/agreements/{agreement_id}/document", world.token("school", school="17TX")
    assert problem(await world.call("GET", path, token)) == (404, "not_found")


async def test_the_agreement_of_a_board_is_read_by_its_own_schools_alone(world: World) -> None:
    await world.register()
    own = await agreed(world, boardNumber="10002")
    await world.granted(scopes=BASIS)
    await world.granted(brin="17TX", scopes=BASIS)
    assert (await read_by(world, "17TX", own)).content == PDF + own.encode()
    foreign, none = await read_by(world, "16SW", own), await read_by(world, "16SW", str(uuid.uuid4()))
    assert problem(foreign) == (404, "not_found")
    assert foreign.json() == none.json()


async def test_the_agreement_of_another_connection_is_not_read(world: World) -> None:
    await world.register()
    await world.register("taalhuis", kvk_number="90000002")
    other = await agreed(world, "taalhuis")
    await world.granted(scopes=BASIS)
    assert problem(await read_by(world, "16SW", other)) == (404, "not_found")
    await world.granted("taalhuis", scopes=BASIS)
    assert (await read_by(world, "16SW", other)).content == PDF + other.encode()
