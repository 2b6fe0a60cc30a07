"""Where files are handed in, and what must be left of one that was refused: nothing."""

import contextlib
import os
import random
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx2
import pytest
from sqlmodel import func, select
from starlette.types import Message, Receive, Scope

from models.consents.files import FileChunk, StoredFile
from tests.store.test_transactions import contents
from tests.worlds.world import Answer, World

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
        return self.token("partner")

    def token(self, role: str) -> str:
        """The token of someone with this role whom the connection concerns."""
        return self.world.token(
            role,
            school="16SW" if role == "school" else None,
            client_id="rekenrijk" if role == "partner" else None,
        )

    def headers(self, media_type: str = "application/pdf", token: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token or self.token('operator')}", "Content-Type": media_type}

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
        return await self.world.call("GET", path, token or self.token("operator"))

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


async def desk_of(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk of this world, with a temporary folder of its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (agreement,) = (await world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"]
    made = Desk(world, agreement["agreementId"], await an_incident(world), temporary)
    made.before = await made.state()
    return made
