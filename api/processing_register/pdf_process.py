"""Draws documents in a separate process: a large document takes seconds of processor time, which decisions need here.

Document -> PdfProcess.draw -> api/processing_register/pdf_worker.py -> PDF
"""

import asyncio
import contextlib
import logging
import os
import pickle
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, cast

from api.edge.problems import DOCUMENT_NOT_DRAWN, Refused
from api.processing_register import pipe_frames
from api.processing_register.pdf_model import Document

log = logging.getLogger("privacy_manager.drawing")

#: Time limit of a document, including the wait for the documents before it.
DRAWING_SECONDS: Final = 60.0
#: Limit of documents that wait while another is drawn; each keeps all its text in memory.
MOST_WAITING: Final = 8
#: Limit of documents of one school, the one that is being drawn included, so that other schools find room.
MOST_OF_ONE: Final = 2

# `-P`: modules are imported from where they are installed, not from the server's working directory.
_COMMAND: Final = (sys.executable, "-P", "-m", "api.processing_register.pdf_worker")

#: Variables of the server's environment that the process gets: paths of programs, modules and folders, language.
_PASSED_ON: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|PYTHON(HOME|PATH|USERBASE|PYCACHEPREFIX|DONTWRITEBYTECODE|UTF8)"
)


class DrawingFailed(Exception):
    """The document cannot be drawn at all. The process has written the traceback to the server's standard error."""


class PdfProcess:
    """Draws one document at a time in one process, which is started for the first document.

    A process that died, or was killed because it took too long, is replaced when the next document is requested.
    """

    def __init__(self, seconds: float = DRAWING_SECONDS, most_waiting: int = MOST_WAITING) -> None:
        self._seconds = seconds
        self._most = most_waiting + 1
        self._under_way = 0
        self._of = Counter[str | None]()
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    @property
    def process_id(self) -> int | None:
        """The id of the process, or None while there is none."""
        return self._process.pid if self._process is not None else None

    async def draw(self, document: Document, school: str | None = None) -> bytes:
        """The document as a PDF; `school` (BRIN4) is the school that it is about, if any.

        Raises `Refused` (503) when too many documents wait already, or too many of this school, when it takes too long,
        and when the process dies while drawing it; `DrawingFailed` when drawing it would never succeed.
        """
        with self._place(school):
            return await self._in_turn(document)

    @contextlib.contextmanager
    def _place(self, school: str | None) -> Iterator[None]:
        if school is not None and self._of[school] >= MOST_OF_ONE:
            raise _refused("Documents of this school are waiting to be drawn already.", retry_after=10)
        if self._under_way >= self._most:
            raise _refused("Too many documents are waiting to be drawn.", retry_after=10)
        self._under_way += 1
        self._of[school] += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._of -= Counter([school])

    async def _in_turn(self, document: Document) -> bytes:
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                content = await self._drawn(pickle.dumps(document))
        except TimeoutError:
            raise _refused("The document took too long to draw.", retry_after=60) from None
        except (OSError, EOFError) as error:
            log.warning("the process that draws has died: %r", error)
            raise _refused("The document could not be drawn just now.", retry_after=1) from None
        if not content:
            raise DrawingFailed
        return content

    async def _drawn(self, message: bytes) -> bytes:
        was_there = self._process is not None
        try:
            return await self._answered(message)
        except (OSError, EOFError):
            if not was_there:
                raise
            # The process may have died before this document. If a new one dies too, the document is the cause.
            return await self._answered(message)

    async def _answered(self, message: bytes) -> bytes:
        process = await self._running()
        to, answers = cast(asyncio.StreamWriter, process.stdin), cast(asyncio.StreamReader, process.stdout)
        content: bytes | None = None
        try:
            to.write(pipe_frames.framed(message))
            await to.drain()
            content = await pipe_frames.received(answers)
        finally:
            # Without a whole answer the process is ended, or its late answer would be read as that of the next one.
            if content is None:
                await self.aclose()
        return content

    async def _running(self) -> Process:
        if self._process is not None and self._process.returncode is not None:
            await self.aclose()
        if self._process is None:
            # The process inherits nothing of the server: no socket, no setting, no secret, no signal of its terminal.
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND, stdin=PIPE, stdout=PIPE, env=_environment(os.environ), start_new_session=True
            )
        return self._process

    async def aclose(self) -> None:
        """Kills the process, also while it draws."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Shielded: the process is reaped even if the caller was cancelled. Its remaining output is discarded.
        await asyncio.shield(process.communicate())


def _environment(servers: Mapping[str, str]) -> dict[str, str]:
    # An allowlist: a secret may have any name, in capitals or not, and not only ours are secret.
    return {name: value for name, value in servers.items() if _PASSED_ON.fullmatch(name)}


def _refused(detail: str, *, retry_after: int) -> Refused:
    return Refused(DOCUMENT_NOT_DRAWN, detail, {"Retry-After": str(retry_after)})
