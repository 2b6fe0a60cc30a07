"""A LAS that answers wrongly, late or not at all: whoever asked gets a fault, and nothing of what the LAS said."""

import contextlib
import socket
import time
from urllib.parse import urlsplit

import psutil
import pytest

from tests.exchange import oracle
from tests.exchange.conftest import CUSTOMERS, TELLING, Scene
from tests.exchange.peers import las
from tests.exchange.peers.invented import CALLS, CallName
from tests.exchange.peers.large_answers import FORBIDDEN, GRANTABLE
from tests.exchange.peers.las import SECRET, answer_to
from tests.exchange.peers.las_faults import FAULTY, ODD, SILENT
from tests.exchange.peers.raw import soap, verzoek
from tests.exchange.peers.running import wait_until

ALL = CUSTOMERS["allesrijk"]


@pytest.mark.parametrize("name", FAULTY)
@oracle.needs_standard
def test_nothing_is_released_of_an_answer_that_is_wrong(scene: Scene, name: str) -> None:
    scene.behaves(FAULTY[name])
    call = CALLS[list(FAULTY).index(name) % len(CALLS)]
    assert scene.partner.fault(call, ALL).startswith("Server.")
    assert TELLING.search(scene.partner.received.decode()) is None
    assert len(scene.las.requests) == 1, "the LAS is asked once, and nowhere else"


@pytest.mark.parametrize("name", ODD)
@oracle.needs_standard
def test_nothing_beyond_the_grant_is_released_of_an_odd_answer(scene: Scene, name: str) -> None:
    scene.behaves(ODD[name])
    status, content = soap(scene.exchange.url, verzoek("leerlinggegevens", ALL))
    assert SECRET.encode() not in content
    if status == 200:
        source = answer_to(scene.las.requests[0])
        assert oracle.breaches(source, scene.release_of("allesrijk"), content) == []
    else:
        assert b"Server." in content
        assert TELLING.search(content.decode()) is None


@pytest.mark.parametrize("name", SILENT)
def test_nothing_is_released_of_an_answer_that_does_not_end(scene: Scene, name: str) -> None:
    scene.behaves(SILENT[name])
    address = urlsplit(scene.exchange.url)
    body = verzoek("leerlingen", ALL)
    with socket.create_connection((address.hostname, address.port or 0), timeout=3) as connection:
        head = f"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
    assert TELLING.search(received.decode()) is None
    assert b"200 OK" not in received
    # And it still answers others.
    scene.behaves(las.clean)
    assert soap(scene.exchange.url, verzoek("structuur", ALL))[0] == 200


def test_a_large_answer_is_released_in_bounded_memory(scene: Scene) -> None:
    """Or it is refused for its size; but the release layer does not grow with it."""
    scene.behaves(las.huge(30))
    process = psutil.Process(scene.exchange.process.pid)
    before, most = process.memory_info().rss, 0
    address = urlsplit(scene.exchange.url)
    body = verzoek("leerlinggegevens", CUSTOMERS["leerlingrijk"])
    head = f"POST /uwlr HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    tail, pupils, begun = b"", 0, time.monotonic()
    with socket.create_connection((address.hostname, address.port or 0), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        while piece := connection.recv(1 << 20):
            window = tail + piece
            assert FORBIDDEN.encode() not in window
            assert GRANTABLE.encode() not in window
            pupils += window.count(b"<leerling ") - tail.count(b"<leerling ")
            tail = window[-20:]
            most = max(most, process.memory_info().rss)
    assert pupils > 10_000 or b"Envelope>" in tail
    assert most - before < 60_000_000, f"it grew by {(most - before) // 1_000_000} MB"
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("call", CALLS)
def test_a_partner_that_goes_away_takes_nothing_along(scene: Scene, call: CallName) -> None:
    scene.behaves(las.slow)
    address = urlsplit(scene.exchange.url)
    body = verzoek(call, ALL)
    for seconds in (0.0, 0.1, 0.3):
        with socket.create_connection((address.hostname, address.port or 0), timeout=3) as connection:
            connection.sendall(f"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            time.sleep(seconds)
    scene.behaves(las.clean)
    assert soap(scene.exchange.url, verzoek(call, ALL))[0] == 200


def test_partners_that_went_away_hold_up_nobody(scene: Scene) -> None:
    """More of them than answers are taken in at once, and a LAS that would be waited for a minute."""
    scene.behaves(SILENT["hangs before the first byte"])
    address = urlsplit(scene.exchange.url)
    body = verzoek("leerlingen", ALL)
    request = f"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = socket.create_connection((address.hostname, address.port or 0), timeout=3)
            stack.enter_context(connection).sendall(request)
        wait_until(lambda: len(scene.las.requests) == 32, 10)
    scene.behaves(las.clean)
    begun = time.monotonic()
    assert soap(scene.exchange.url, verzoek("structuur", ALL))[0] == 200
    assert time.monotonic() - begun < 10
