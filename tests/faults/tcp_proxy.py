"""A line to PostgreSQL that can go dead without a word, be slow, be cut, or break off half-way through an answer."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import make_url

#: What connections are called in the packet that begins each: those that decisions are read on, those of the pool that
#: serves everybody else, and those of the unprotected build that listen.
DECISIONS, POOL, LISTENING = "privacy-manager-decisions", "privacy-manager", "unprotected"
_NAME = re.compile(rb"application_name\0([^\0]*)\0")
#: The message by which a backend tells its process id (PostgreSQL's protocol 3.0, BackendKeyData).
_BACKEND = re.compile(rb"K\x00\x00\x00\x0c(.{4})", re.DOTALL)


class Call:
    """One connection over the line, both ways."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.name = ""
        #: The process of PostgreSQL at the other end.
        self.backend: int | None = None

    def cut(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()


class Line:
    """Listens on a port of its own and carries what comes to the PostgreSQL of `url`."""

    def __init__(self, url: str) -> None:
        address = make_url(url)
        self._folder, self._port = address.query.get("host"), address.port or 5432
        self._host = address.host or "127.0.0.1"
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._delay = 0.0
        self._left: int | None = None
        self._held: set[str] = set()
        self._none_held = asyncio.Event()
        self._calls: set[Call] = set()
        self._near: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()
            for near in self._near:
                near.transport.abort()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def backends_of_decisions(self) -> list[int]:
        return [call.backend for call in self._calls if call.name == DECISIONS and call.backend is not None]

    def names(self) -> list[str]:
        """What the connections of now are called."""
        return sorted(call.name for call in self._calls)

    def stall(self, only: str | None = None) -> None:
        """From now on nothing passes, or nothing on the connections of one name; and nobody is told."""
        if only is None:
            self._flows.clear()
        else:
            self._held.add(only)
            self._none_held.clear()

    def swallow(self) -> None:
        """What is connected now never carries anything again; what connects later, once the line is restored, does."""
        self._flows.clear()
        self._flows = asyncio.Event()

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._delay = seconds

    def cut(self, only: str | None = None) -> None:
        for call in list(self._calls):
            if only in (None, call.name):
                call.cut()

    def refuse(self) -> None:
        self._refuses = True
        self.cut()

    def cut_after(self, received: int) -> None:
        """Cuts the decisions' connection once so many bytes more have come over it."""
        self._left = received

    def restore(self) -> None:
        self._refuses, self._delay, self._left = False, 0.0, None
        self._flows.set()
        self._held.clear()
        self._none_held.set()

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        flows = self._flows
        self._near = {near, *(each for each in self._near if not each.is_closing())}
        if self._refuses:
            near.transport.abort()
            return
        try:
            await flows.wait()
            far_reader, far = await self._connect()
        except OSError:
            near.transport.abort()
            return
        call = Call(near, far)
        self._calls.add(call)
        for way in (self._carry_up(call, reader, flows), self._carry_down(call, far_reader, flows)):
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._folder, str):
            return await asyncio.open_unix_connection(f"{self._folder}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _carry_up(self, call: Call, reader: asyncio.StreamReader, flows: asyncio.Event) -> None:
        with self._until_cut(call):
            while data := await reader.read(65536):
                if not call.name and (found := _NAME.search(data)):
                    call.name = found[1].decode()
                await self._pass(call, call.far, data, flows)

    async def _carry_down(self, call: Call, reader: asyncio.StreamReader, flows: asyncio.Event) -> None:
        with self._until_cut(call):
            while data := await reader.read(65536):
                if call.backend is None and (found := _BACKEND.search(data)):
                    call.backend = int.from_bytes(found[1], "big")
                if self._left is not None and call.name == DECISIONS:
                    data, self._left = data[: self._left], self._left - len(data)
                    await self._pass(call, call.near, data, flows)
                    if self._left <= 0:
                        self._left = None
                        return
                else:
                    await self._pass(call, call.near, data, flows)

    async def _pass(self, call: Call, writer: asyncio.StreamWriter, data: bytes, flows: asyncio.Event) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        await flows.wait()
        while call.name in self._held:
            await self._none_held.wait()
        writer.write(data)
        await writer.drain()

    @contextlib.contextmanager
    def _until_cut(self, call: Call) -> Iterator[None]:
        try:
            with contextlib.suppress(OSError):
                yield
        finally:
            call.cut()
            self._calls.discard(call)
