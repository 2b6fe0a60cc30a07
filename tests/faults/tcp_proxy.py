"""A TCP proxy before PostgreSQL that can stop forwarding, delay, cut connections, or cut one within an answer."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import make_url

#: Names of connections (`application_name` in the startup packet): those for decisions, those of the pool for all other
#: work, and those on which the unprotected build listens.
DECISIONS, POOL, LISTENING = "privacy-manager-decisions", "privacy-manager", "unprotected"
_NAME = re.compile(rb"application_name\0([^\0]*)\0")
#: The message by which a backend tells its process id (PostgreSQL's protocol 3.0, BackendKeyData).
_BACKEND = re.compile(rb"K\x00\x00\x00\x0c(.{4})", re.DOTALL)


class ProxiedConnection:
    """One connection through the proxy, in both directions."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.name = ""
        #: The process of PostgreSQL at the other end.
        self.backend: int | None = None

    def cut(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()


class TcpProxy:
    """Listens on a port of its own and forwards each connection to the PostgreSQL of `url`."""

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
        self._connections: set[ProxiedConnection] = set()
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
        return [
            connection.backend
            for connection in self._connections
            if connection.name == DECISIONS and connection.backend is not None
        ]

    def names(self) -> list[str]:
        """The names of the present connections."""
        return sorted(connection.name for connection in self._connections)

    def stall(self, only: str | None = None) -> None:
        """From now on nothing is forwarded, or nothing on the connections named `only`; no connection is closed."""
        if only is None:
            self._flows.clear()
        else:
            self._held.add(only)
            self._none_held.clear()

    def swallow(self) -> None:
        """Present connections never carry anything again; connections made after `restore` do."""
        self._flows.clear()
        self._flows = asyncio.Event()

    def delay(self, seconds: float) -> None:
        """Delays all data by so many seconds, in each direction."""
        self._delay = seconds

    def cut(self, only: str | None = None) -> None:
        for connection in list(self._connections):
            if only in (None, connection.name):
                connection.cut()

    def refuse(self) -> None:
        self._refuses = True
        self.cut()

    def cut_after(self, received: int) -> None:
        """Cuts the decisions' connection once it has received so many bytes more."""
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
        connection = ProxiedConnection(near, far)
        self._connections.add(connection)
        for way in (self._carry_up(connection, reader, flows), self._carry_down(connection, far_reader, flows)):
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._folder, str):
            return await asyncio.open_unix_connection(f"{self._folder}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _carry_up(
        self, connection: ProxiedConnection, reader: asyncio.StreamReader, flows: asyncio.Event
    ) -> None:
        with self._until_cut(connection):
            while data := await reader.read(65536):
                if not connection.name and (found := _NAME.search(data)):
                    connection.name = found[1].decode()
                await self._pass(connection, connection.far, data, flows)

    async def _carry_down(
        self, connection: ProxiedConnection, reader: asyncio.StreamReader, flows: asyncio.Event
    ) -> None:
        with self._until_cut(connection):
            while data := await reader.read(65536):
                if connection.backend is None and (found := _BACKEND.search(data)):
                    connection.backend = int.from_bytes(found[1], "big")
                if self._left is not None and connection.name == DECISIONS:
                    data, self._left = data[: self._left], self._left - len(data)
                    await self._pass(connection, connection.near, data, flows)
                    if self._left <= 0:
                        self._left = None
                        return
                else:
                    await self._pass(connection, connection.near, data, flows)

    async def _pass(
        self, connection: ProxiedConnection, writer: asyncio.StreamWriter, data: bytes, flows: asyncio.Event
    ) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        await flows.wait()
        while connection.name in self._held:
            await self._none_held.wait()
        writer.write(data)
        await writer.drain()

    @contextlib.contextmanager
    def _until_cut(self, connection: ProxiedConnection) -> Iterator[None]:
        try:
            with contextlib.suppress(OSError):
                yield
        finally:
            connection.cut()
            self._connections.discard(connection)
