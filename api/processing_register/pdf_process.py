"""Documents drawn in a process of their own: decisions need this one's processor, and a large document takes seconds.

Document -> Drawing.draw -> api/processing_register/pdf_worker.py -> PDF
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

#: How long a document may take, with the wait for its turn.
DRAWING_SECONDS: Final = 60.0
#: How many may wait while one is drawn; each keeps all its text in memory.
MOST_WAITING: Final = 8
#: How many of one school may be under way, of which one may be the one that is drawn: the others' places are theirs.
MOST_OF_ONE: Final = 2

# Modules are found where they are installed, and not in the folder that the server happens to be started in.
_COMMAND: Final = (sys.executable, "-P", "-m", "api.processing_register.pdf_worker")

#: All that goes along of the server's environment: where programs, modules and folders are, and in which language.
_GOES_ALONG: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|PYTHON(HOME|PATH|USERBASE|PYCACHEPREFIX|DONTWRITEBYTECODE|UTF8)"
)


class DrawingFailed(Exception):
    """A document that cannot be drawn at all: the process that tried has said why, where the server logs."""


class Drawing:
    """Draws one document after another, in one process that is started when it is first needed.

    One that has died, or that was ended because it took too long, is replaced when the next document is asked for.
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
        """Of the process that draws, if there is one."""
        return self._process.pid if self._process is not None else None

    async def draw(self, document: Document, school: str | None = None) -> bytes:
        """The document, which is of this school (BRIN4) if it is of one, as a PDF.

        Raises `Refused` (503) when too many wait already, or too many of this school, when it takes too long, and when
        the process dies of it; `DrawingFailed` when it would never succeed.
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
            # It may have died long ago; a new one that dies as well does so by this document.
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
            # An answer that nobody waits for any more would be taken for that to the next question.
            if content is None:
                await self.aclose()
        return content

    async def _running(self) -> Process:
        if self._process is not None and self._process.returncode is not None:
            await self.aclose()
        if self._process is None:
            # Nothing of the server's goes along: no socket, no setting or secret, and no signal from its terminal.
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND, stdin=PIPE, stdout=PIPE, env=_environment(os.environ), start_new_session=True
            )
        return self._process

    async def aclose(self) -> None:
        """Ends the process, whatever it is at."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Whoever asked may be gone: it is waited for all the same, and what it still wrote is thrown away.
        await asyncio.shield(process.communicate())


def _environment(servers: Mapping[str, str]) -> dict[str, str]:
    # Only what is known to be needed: a secret may have any name, in capitals or not, and not only ours.
    return {name: value for name, value in servers.items() if _GOES_ALONG.fullmatch(name)}


def _refused(detail: str, *, retry_after: int) -> Refused:
    return Refused(DOCUMENT_NOT_DRAWN, detail, {"Retry-After": str(retry_after)})
