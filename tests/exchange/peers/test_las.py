"""The LAS of the tests does what it says."""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.exchange.peers import las
from tests.exchange.peers.invented import BRIN, CALLS, SCHOOLJAAR, UWLR, CallName, enveloped, invented
from tests.exchange.peers.las import Behaviour, Las, Request
from tests.exchange.peers.las_faults import FAULTY, ODD


def verzoek(call: CallName, brincode: str = BRIN) -> bytes:
    school = f"<schooljaar>{SCHOOLJAAR}</schooljaar><brincode>{brincode}</brincode><xsdversie>2.2</xsdversie>"
    return enveloped(f'<{call}_verzoek xmlns="{UWLR}">{school}</{call}_verzoek>')


def asked(service: Las, call: CallName, brincode: str = BRIN) -> tuple[int, bytes]:
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=10)
    try:
        connection.request("POST", address.path, verzoek(call, brincode))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("behaviour", [las.clean, las.unclean, las.in_pieces, las.slow])
def test_it_answers_what_was_asked(behaviour: Behaviour) -> None:
    with Las(behaviour) as service:
        for call in CALLS:
            status, content = asked(service, call, "17TX")
            assert status == 200
            assert content == invented(call, clean=behaviour is las.clean, brincode="17TX").content
        assert [request.call for request in service.requests] == list(CALLS)
        assert service.requests[0].value("brincode") == "17TX"


def test_it_is_as_large_as_it_is_told() -> None:
    with Las(las.huge(3)) as service:
        status, content = asked(service, "leerlingen")
    assert (status, len(content) // 1_000_000) == (200, 3)


@pytest.mark.parametrize("name", [*FAULTY, *ODD])
def test_a_wrong_answer_is_wrong(name: str) -> None:
    """Each differs from the right one, in what it holds or in how it is sent."""
    request = Request("POST", "/", {}, verzoek("leerlinggegevens"))
    reply, right = (FAULTY | ODD)[name](request), las.unclean(request)
    assert reply != right
