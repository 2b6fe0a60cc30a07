"""Each method of the proxy has its effect on the connections that it names, and on no other."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.faults.tcp_proxy import DECISIONS, LISTENING, POOL, TcpProxy

PATIENCE = 0.2


@dataclass
class Client:
    """One connection through the proxy to a server that echoes everything."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, text: bytes) -> bytes:
        self.writer.write(text)
        await self.writer.drain()
        return await self.hear(len(text))

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readexactly(count)

    async def hears_nothing(self) -> bool:
        """Not even that the connection ended."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def is_cut(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


@dataclass
class Ends:
    proxy: TcpProxy
    port: int
    clients: list[Client] = field(default_factory=list)

    async def called(self, name: str) -> Client:
        """A connection that begins as PostgreSQL's do."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        begin = b"\x00\x03\x00\x00user\0postgres\0application_name\0" + name.encode() + b"\0\0"
        client.writer.write(begin)
        await client.writer.drain()
        return client

    async def talking(self, name: str) -> Client:
        client = await self.called(name)
        await client.hear(len(b"\x00\x03\x00\x00user\0postgres\0application_name\0\0\0") + len(name))
        assert await client.say(b"hello") == b"hello"
        return client


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def both_ends() -> AsyncIterator[Ends]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = TcpProxy(f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres")
    async with server, proxy.listening() as proxy_port:
        ends = Ends(proxy, proxy_port)
        try:
            yield ends
        finally:
            proxy.restore()
            for client in ends.clients:
                client.writer.transport.abort()
            await asyncio.sleep(0.05)


async def test_what_is_said_passes_and_each_connection_is_known_by_its_name() -> None:
    async with both_ends() as ends:
        for name in (LISTENING, DECISIONS, POOL):
            await ends.talking(name)
        assert ends.proxy.names() == sorted([DECISIONS, POOL, LISTENING])


async def test_a_cut_ends_the_connections_of_now_and_none_that_come_later() -> None:
    async with both_ends() as ends:
        client = await ends.talking(POOL)
        ends.proxy.cut()
        assert await client.is_cut()
        await ends.talking(POOL)


@pytest.mark.parametrize("name", [DECISIONS, POOL, LISTENING])
async def test_the_connections_of_one_name_can_be_cut_alone(name: str) -> None:
    async with both_ends() as ends:
        clients = {each: await ends.talking(each) for each in (DECISIONS, POOL, LISTENING)}
        ends.proxy.cut(only=name)
        assert [each for each, client in clients.items() if await client.is_cut()] == [name]


async def test_a_stalled_line_carries_nothing_and_tells_nobody_until_it_is_restored() -> None:
    async with both_ends() as ends:
        client = await ends.talking(POOL)
        ends.proxy.stall()
        client.writer.write(b"held")
        newer = await ends.called(POOL)
        assert await client.hears_nothing()
        assert await newer.hears_nothing()
        ends.proxy.restore()
        assert await client.hear(4) == b"held"


async def test_the_connections_of_one_name_can_be_stalled_alone() -> None:
    async with both_ends() as ends:
        decisions, pool = await ends.talking(DECISIONS), await ends.talking(POOL)
        ends.proxy.stall(only=DECISIONS)
        decisions.writer.write(b"held")
        newer = await ends.called(DECISIONS)
        assert await pool.say(b"passes") == b"passes"
        assert await decisions.hears_nothing()
        assert await newer.hears_nothing()
        ends.proxy.restore()
        assert await decisions.hear(4) == b"held"


async def test_what_was_swallowed_never_comes_and_who_connects_later_is_served() -> None:
    async with both_ends() as ends:
        client = await ends.talking(POOL)
        ends.proxy.swallow()
        client.writer.write(b"lost")
        ends.proxy.restore()
        assert await client.hears_nothing()
        await ends.talking(POOL)


async def test_a_line_that_refuses_cuts_who_is_there_and_lets_nobody_in() -> None:
    async with both_ends() as ends:
        client = await ends.talking(POOL)
        ends.proxy.refuse()
        assert await client.is_cut()
        assert await (await ends.called(POOL)).is_cut()
        ends.proxy.restore()
        await ends.talking(POOL)


async def test_a_slow_line_takes_so_much_longer_each_way() -> None:
    async with both_ends() as ends:
        client = await ends.talking(POOL)
        ends.proxy.delay(0.1)
        begun = time.monotonic()
        assert await client.say(b"slow") == b"slow"
        assert time.monotonic() - begun >= 0.2


async def test_an_answer_breaks_off_after_so_many_bytes_on_the_decisions_connection_alone() -> None:
    async with both_ends() as ends:
        decisions, pool = await ends.talking(DECISIONS), await ends.talking(POOL)
        ends.proxy.cut_after(4)
        assert await pool.say(b"unharmed") == b"unharmed"
        decisions.writer.write(b"half-way")
        async with asyncio.timeout(5):
            received = b""
            try:
                while data := await decisions.reader.read(100):
                    received += data
            except ConnectionError:
                pass
        assert received == b"half"
        await ends.talking(DECISIONS)
