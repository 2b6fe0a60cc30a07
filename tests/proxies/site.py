"""The privacy manager as gateways meet it, on a port of its own, in a thread of its own; and whom it knows."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from api.edge.server import StrictConnection
from api.gateways.forward_auth import PATH
from tests.proxies.breakable_line import Fault, Line
from tests.proxies.las import Las
from tests.worlds.world import World, world_on

ROUTES: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "gateways" / "routes.txt"
SECONDS: Final = 30

_T = TypeVar("_T")


@dataclass(frozen=True)
class Asked:
    """What the privacy manager was asked, and what it answered."""

    method: str
    target: str
    status: int
    consent: dict[str, str]


class Site:
    """The privacy manager behind a line, with the LAS beside it."""

    def __init__(self, store_url: str, folder: Path) -> None:
        self.las = Las()
        self.world: World
        self._line: Line
        self._asked: list[Asked] = []
        self._store_url, self._folder = store_url, folder
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._begun = threading.Event()
        self._failure: BaseException | None = None

    def values(self) -> dict[str, str]:
        """What fills in a gateway's files."""
        return {
            "CONSENT_HOST": "127.0.0.1",
            "CONSENT_PORT": str(self._line.port),
            "LAS_HOST": "127.0.0.1",
            "LAS_PORT": str(self.las.port),
            "GATEWAY_TOKEN": self.world.token("gateway"),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator["Site"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            assert self._begun.wait(SECONDS)
            if self._failure is not None:
                raise self._failure
            with self.las.answering():
                yield self
        finally:
            if self._failure is None:
                self._loop.call_soon_threadsafe(self._end.set)
            thread.join()

    def do(self, call: Coroutine[Any, Any, _T]) -> _T:
        """What this call on the world gives."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(SECONDS)

    @contextlib.contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """While this lasts, gateways meet the fault."""
        self.do(self._line.become(fault))
        try:
            yield
        finally:
            self.do(self._line.become(None))

    def take(self) -> list[Asked]:
        """What was asked since this was asked last."""
        taken, self._asked = self._asked, []
        return taken

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._begun.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self._line = Line(listening.getsockname()[1])
            async with world_on(self._store_url, self._folder, route_table=ROUTES) as self.world, self._line.open():
                await people(self.world)
                config = uvicorn.Config(
                    self._noting,
                    interface="asgi3",
                    http=StrictConnection,
                    lifespan="off",
                    proxy_headers=False,
                    log_level="error",
                )
                server = uvicorn.Server(config)
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                while not server.started:  # noqa: ASYNC110 - the server offers nothing to wait for
                    await asyncio.sleep(0.01)
                self._begun.set()
                await self._end.wait()
                self._line.cut()
                server.should_exit = True
                await serving

    async def _noting(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The service; what forward-auth is asked, and answers, is written down."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith(PATH):
                self._asked.append(_asked(scope, message))
            await send(message)

        await self.world.service(scope, receive, noted)


def _asked(scope: Scope, answer: Message) -> Asked:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    behind = scope["raw_path"].decode("latin-1").removeprefix(PATH)
    if behind:
        query = scope["query_string"].decode("latin-1")
        method, target = scope["method"], f"{behind}?{query}" if query else behind
    else:
        method = headers.get("x-original-method") or headers.get("x-forwarded-method", "")
        target = headers.get("x-original-uri") or headers.get("x-forwarded-uri", "")
    answered = {name.decode().lower(): value.decode() for name, value in answer["headers"]}
    consent = {name: value for name, value in answered.items() if name.startswith("x-consent-")}
    return Asked(method, target, answer["status"], consent)


async def people(world: World) -> None:
    """`rekenrijk` may read the pupils of 16SW and those of location 17TX00; `taalmaat` nothing."""
    await world.register()
    await world.register("taalmaat", kvk_number="90000002")
    await world.granted()
    await world.granted(brin="17TX", location="17TX00")
