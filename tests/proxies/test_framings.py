"""The framings of `tests/edge` through real gateways: whatever a gateway makes of one, nothing of a body is a request.

A gateway may refuse what the service would take, may take what the service would refuse, and may frame anew what it
passes on. A framing that means one thing reaches what stands behind the gateway as that, whole or not at all; and no
header comes from behind a head.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from api.edge.server import StrictConnection
from tests.edge.connections import sent
from tests.edge.framings import FRAMINGS, HIDDEN, LAST, RIGHT, Door
from tests.edge.test_framings import BODY, FROM_BEHIND, Seen
from tests.effort import turns
from tests.proxies.cases import PUPILS
from tests.proxies.proxies import GATEWAYS
from tests.proxies.site import SECONDS, Site
from tests.worlds.stores import SQLITE, Templates


@contextlib.contextmanager
def standing_behind() -> Iterator[tuple[Seen, int]]:
    """An application behind the server that we serve with, in a thread of its own, in the place of the LAS."""
    seen, begun = Seen(), threading.Event()
    config = uvicorn.Config(seen, http=StrictConnection, lifespan="off", proxy_headers=False, log_level="critical")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))

        async def serve() -> None:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:  # noqa: ASYNC110 - the server offers nothing to wait for
                await asyncio.sleep(0.01)
            begun.set()
            await serving

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            assert begun.wait(SECONDS)
            yield seen, int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def site(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Site(templates.empty(SQLITE, folder), folder).running() as running:
        yield running


@pytest.mark.parametrize("name", list(GATEWAYS))
def test_no_gateway_makes_a_request_of_a_body_or_a_header_of_a_trailer(
    name: str, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    token = site.world.token("partner", client_id="rekenrijk")
    door = Door(PUPILS.encode(), BODY, b"Authorization: Bearer " + token.encode() + b"\r\n")
    # The gateways' routes are for GET, which may have a body like any other.
    framed = {framing.name: framing.bytes_for(door).replace(b"POST ", b"GET ") for framing in FRAMINGS}
    reached, wrong = 0, []
    with (
        standing_behind() as (seen, port),
        GATEWAYS[name].running(tmp_path_factory.mktemp(name), {**site.values(), "LAS_PORT": str(port)}) as listening,
    ):
        until = time.monotonic() + SECONDS
        while not seen.requests:
            assert time.monotonic() < until, f"{name} passes nothing on"
            asyncio.run(_sent(listening, framed["a length"]))
        for framing in turns(FRAMINGS, list(GATEWAYS).index(name)):
            seen.requests.clear()
            seen.headers.clear()
            site.take()
            asyncio.run(_sent(listening, framed[framing.name]))
            requests, headers, targets = list(seen.requests), list(seen.headers), [each.target for each in site.take()]
            reached += len(requests)
            wrong += [
                f"{framing.name}: {what}"
                for what in (
                    *(target for target in targets if "hidden" in target),
                    *(path for _, path, _ in requests if path not in {PUPILS.split("?")[0], LAST}),
                    *(body for *_, body in requests if framing in RIGHT and body not in {BODY, HIDDEN, b""}),
                    *(
                        each
                        for each in headers
                        if each[0] != b"host" and any(value in each[1] for value in FROM_BEHIND)
                    ),
                    *requests[framed[framing.name].count(b"GET ") :],
                )
            ]
    assert not wrong, "\n".join(wrong)
    assert reached > 0


async def _sent(port: int, content: bytes) -> None:
    """Sends it. A gateway may answer as it likes, and keep the connection."""
    with contextlib.suppress(Exception):  # also an answer that is none: it is the gateway's
        async with asyncio.timeout(0.5):
            await sent(("127.0.0.1", port), [content])
