"""Files that are handed in: what is kept comes back as it is; the wrong type, size or name is refused."""

import base64
import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest
from starlette.types import Message

from models.consents.files import CHUNK_BYTES, MOST_FILE_BYTES
from tests.grants.test_grants import problem
from tests.web.upload_desk import (
    HTML,
    JPEG,
    MEGABYTE,
    PDF,
    PNG,
    TEN_GIGABYTES,
    TEXT,
    Content,
    Desk,
    a_pdf_of,
    arriving,
    desk_of,
    in_parts,
    never,
    told,
)
from tests.worlds.world import World


@pytest.fixture
async def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return await desk_of(world, tmp_path, monkeypatch)


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


@pytest.mark.parametrize("kind", ["a PDF", "a PNG", "a JPEG", "plain text"])
async def test_how_a_body_is_cut_into_parts_makes_no_difference(desk: Desk, kind: str) -> None:
    name, media_type, content = GOOD[kind]
    for size in (1, 2, 3, 7):
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
    "text with an escape of one byte": ("x.txt", "text/plain", "\x9b31m".encode()),
    "text with a delete": ("x.txt", "text/plain", b"x\x7f"),
    "a program as text": ("x.txt", "text/plain", b"MZ\x90\x00\x03"),
    "text in latin-1": ("x.txt", "text/plain", "één".encode("latin-1")),
    "text in UTF-16": ("x.txt", "text/plain", "één".encode("utf-16")),
    "text cut in the middle of a character": ("x.txt", "text/plain", "één 🙈".encode()[:-1]),
    "text with half a pair": ("x.txt", "text/plain", b"\xed\xa0\x80"),
    "text with a slash in too many bytes": ("x.txt", "text/plain", b"\xc0\xaf"),
    "text with the name of a program": ("x.bat", "text/plain", TEXT),
}


async def test_what_is_no_pdf_is_not_taken_for_a_signed_agreement(desk: Desk) -> None:
    for kind, (name, media_type, content) in WRONG_DOCUMENTS.items():
        refused = await desk.hand_in(desk.document, content, name, media_type)
        assert (kind, *problem(refused)) == (kind, 400, "wrong_file_type")
    await desk.require_nothing_left()


async def test_an_attachment_that_is_not_what_it_is_said_to_be_is_refused(desk: Desk) -> None:
    for kind, (name, media_type, content) in WRONG_ATTACHMENTS.items():
        refused = await desk.hand_in(desk.attachments, content, name, media_type, token=desk.partner)
        assert (kind, *problem(refused)) == (kind, 400, "wrong_file_type")
    await desk.require_nothing_left()


async def test_a_file_is_sent_as_it_is_with_one_type(desk: Desk) -> None:
    compressed = await desk.hand_in(desk.document, PDF, Content_Encoding="gzip")
    assert problem(compressed) == (400, "wrong_file_type")
    types = [("Content-Type", "application/pdf"), ("Content-Type", "text/html")]
    headers = [("Authorization", desk.headers()["Authorization"]), *types]
    twice = await desk.world.client.post(f"{desk.document}?name=x.pdf", content=PDF, headers=headers)
    assert problem(twice) == (400, "invalid_input")
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
    "a name read from right to left": "x\u202efdp.pdf",
    "an isolate": "x\u2066.pdf",
    "a space that is not seen": "x\u200b.pdf",
    "a line separator": "x\u2028y.pdf",
    "what was no character": "x\ufffd.pdf",
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


async def test_a_name_that_is_no_name_alone_is_refused_before_the_body_is_read(desk: Desk) -> None:
    for trick, name in TRICKS.items():
        for path in (desk.document, desk.attachments):
            assert (trick, *problem(await told(desk, path, never, name))) == (trick, 400, "invalid_input")
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
    "two, of which the first leads up": "name=../x.pdf&name=x.pdf",
    "bytes that are not UTF-8": "name=x%ff.pdf",
}


async def test_a_file_has_a_name_that_was_sent_as_one(desk: Desk) -> None:
    for query, sent in QUERIES.items():
        for path in (desk.document, desk.attachments):
            refused = await desk.world.client.post(f"{path}?{sent}", content=PDF, headers=desk.headers())
            assert (query, *problem(refused)) == (query, 400, "invalid_input")
    await desk.require_nothing_left()


UNUSUAL: Final = (
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
)


async def test_a_name_that_is_merely_unusual_comes_back_in_one_line_of_ascii(desk: Desk) -> None:
    for name in UNUSUAL:
        kept = await desk.hand_in(desk.document, PDF, name)
        assert (kept.status_code, kept.json()["name"]) == (201, name)
        disposition = (await desk.fetch(desk.document)).headers["Content-Disposition"]
        plain, _, encoded = disposition.partition("; filename*=UTF-8''")
        assert disposition.isascii()
        assert disposition.isprintable()
        assert (plain, unquote(encoded)) == ('attachment; filename="file.pdf"', name)
        assert not set(encoded) & set(" ;\"',")
