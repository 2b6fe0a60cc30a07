"""No body is lost, no byte of one request is read as another, and no header comes from behind a head."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from tests.edge.connections import Got, sent
from tests.edge.framings import FRAMINGS, HIDDEN, LAST, TAKEN, Door, Framing
from tests.effort import turns
from tests.worlds.served_app import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY: Final = b'{"grantId": "een", "reason": "Niet meer nodig."}'
#: Values of trailers and bodies, none of which may be believed as that of a header.
FROM_BEHIND: Final = (b"another", b"10.1.2.3", b"elsewhere.test")


@dataclass
class Seen:
    """An application that notes what it is asked, and reads every body to its end."""

    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body, more = body + message["body"], message["more_body"]
        self.headers += scope["headers"]
        self.requests.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


def segments_of(framing: Framing, door: Door) -> Iterator[tuple[str, list[bytes]]]:
    """The bytes of a framing in one segment, in two cut at every place that matters, and one byte at a time."""
    whole = framing.bytes_for(door)
    yield "one segment", [whole]
    ends = [at + 4 for at in range(len(whole)) if whole.startswith(b"\r\n\r\n", at)]
    places = {1, 3, *ends, *(end - 1 for end in ends), *(end - 2 for end in ends), *(end + 1 for end in ends)}
    for at in sorted(place for place in places if 0 < place < len(whole)):
        yield f"two segments, cut at {at}", [whole[:at], whole[at:]]
    if len(whole) < 1_000:
        yield "a byte at a time", [whole[at : at + 1] for at in range(len(whole))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded() -> AsyncIterator[tuple[Seen, tuple[str, int]]]:
    seen = Seen()
    async with serving(seen) as address:
        yield seen, address


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.name)
async def test_a_framing_is_read_as_it_was_meant_or_not_at_all(
    framing: Framing, recorded: tuple[Seen, tuple[str, int]]
) -> None:
    door, (seen, address) = Door(b"/asked", BODY), recorded
    [whole, *cut] = segments_of(framing, door)
    for how, segments in [whole, *turns(cut, FRAMINGS.index(framing))]:
        seen.requests.clear()
        seen.headers.clear()
        got = await sent(address, segments)
        assert_answered(framing, got, how)
        assert_meant(framing, seen, how)


def assert_answered(framing: Framing, got: Got, how: str) -> None:
    wanted = [*framing.answers, *([] if framing.ends else [TAKEN])]
    told = [status if by_edge else TAKEN for (status, _), by_edge in zip(got.answers, got.by_edge(), strict=True)]
    assert told == wanted, (how, got)


def assert_meant(framing: Framing, seen: Seen, how: str) -> None:
    """The application saw the requests that were meant: each whole, and none that stood in a body."""
    taken = [answer for answer in framing.answers if answer == TAKEN]
    assert len(seen.requests) >= len(taken), how
    for method, path, body in seen.requests:
        assert path in {"/asked", LAST}, how
        assert body in ({BODY} if path == "/asked" else {b"", HIDDEN}), how
        assert method in {"GET", "POST"}, how
    values = b"\n".join(value for _, value in seen.headers)
    assert not [each for each in FROM_BEHIND if each in values], how
