"""Requests that are wrong, or meant to do harm: a fault, and nothing is asked of the LAS."""

import socket
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import pytest
import requests
from lxml import etree

from tests.exchange import oracle
from tests.exchange.conftest import CUSTOMERS, TELLING, Scene
from tests.exchange.peers import las
from tests.exchange.peers.invented import BRIN, CALLS, SCHOOLJAAR, SOAP, UWLR, XSI, CallName, enveloped
from tests.exchange.peers.las import answer_to
from tests.exchange.peers.partner import AUTORISATIE
from tests.exchange.peers.raw import ASKED, asking, autorisatie, soap, verzoek

ALL = CUSTOMERS["allesrijk"]
RIGHT: Final = verzoek("leerlingen", ALL)
HEADER: Final = f"<soap:Header>{autorisatie(ALL)}</soap:Header>"


def with_doctype(doctype: str, reference: str = "") -> bytes:
    return RIGHT.replace(b"?>\n", b"?>\n" + doctype.encode(), 1).replace(
        b"<xsdversie>", f"<xsdversie>{reference}".encode()
    )


def nested_entities() -> str:
    levels = "".join(f'<!ENTITY e{nth} "{f"&e{nth - 1};" * 10}">' for nth in range(1, 10))
    return f'<!DOCTYPE a [<!ENTITY e0 "2.2">{levels}]>'


def asked(fields: str) -> bytes:
    return verzoek("leerlingen", ALL, fields)


_YEAR: Final = f"<schooljaar>{SCHOOLJAAR}</schooljaar>"
_SCHOOL: Final = f"<brincode>{BRIN}</brincode>"
_VERSION: Final = "<xsdversie>2.2</xsdversie>"

WRONG: Final[dict[str, bytes]] = {
    "nothing": b"",
    "no XML": b"Mag ik de gegevens?",
    "half a message": RIGHT[: len(RIGHT) // 2],
    "a message without its last byte": RIGHT.rstrip()[:-1],
    "more after the message": RIGHT + b"<a/>",
    "two messages": RIGHT + RIGHT[RIGHT.index(b"<soap") :],
    "a document type": with_doctype("<!DOCTYPE a>"),
    "an entity": with_doctype('<!DOCTYPE a [<!ENTITY e "2.2">]>', "&e;"),
    "an entity from a file": with_doctype('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]>', "&e;"),
    "an entity from elsewhere": with_doctype('<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>', "&e;"),
    "a parameter entity": with_doctype('<!DOCTYPE a [<!ENTITY % e SYSTEM "http://127.0.0.1:9/a.dtd"> %e;]>'),
    "entities in entities": with_doctype(nested_entities(), "&e9;"),
    "an undeclared entity": RIGHT.replace(b"2.2", b"&eacute;"),
    "an inclusion": asked(
        f'{_YEAR}{_SCHOOL}<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="/etc/hostname"/>'
        f"{_VERSION}"
    ),
    "UTF-16": RIGHT.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
    "Latin-1 that says it is UTF-8": RIGHT.replace(b"Leermiddel", b"Leermiddel\xe9"),
    "a null": RIGHT.replace(b"Leermiddel", b"Leermiddel\0"),
    "an encoding that nobody knows": RIGHT.replace(b"UTF-8", b"UTF-7", 1),
    "depth": asked(f"{_YEAR}{_SCHOOL}{_VERSION}" + "<a>" * 50_000 + "</a>" * 50_000),
    "no envelope": asking("leerlingen").encode(),
    "an envelope of SOAP 1.2": RIGHT.replace(SOAP.encode(), b"http://www.w3.org/2003/05/soap-envelope"),
    "an envelope of nothing": RIGHT.replace(f' xmlns:soap="{SOAP}"'.encode(), b' xmlns:soap="urn:niets"'),
    "no body": enveloped("").replace(b"<soap:Body></soap:Body>", HEADER.encode()),
    "an empty body": enveloped("", header=HEADER),
    "two bodies": enveloped(f"{asking('leerlingen')}</soap:Body><soap:Body>{asking('leerlingen')}", header=HEADER),
    "two questions": enveloped(asking("structuur") + asking("leerlingen"), header=HEADER),
    "a question in a question": enveloped(f"<a>{asking('leerlingen')}</a>", header=HEADER),
    "a question in the header": enveloped(
        "", header=f"<soap:Header>{autorisatie(ALL)}{asking('leerlingen')}</soap:Header>"
    ),
    "an answer": enveloped(f'<leerlingen_antwoord xmlns="{UWLR}">{ASKED}</leerlingen_antwoord>', header=HEADER),
    "a question that nobody knows": enveloped(f'<alles_verzoek xmlns="{UWLR}">{ASKED}</alles_verzoek>', header=HEADER),
    "a question of no namespace": enveloped(asking("structuur").replace(f' xmlns="{UWLR}"', ""), header=HEADER),
    "a question of another version": enveloped(
        asking("structuur").replace("resultaten/2/", "resultaten/3/"), header=HEADER
    ),
    "the name as the profile writes it": enveloped(
        f'<Structuur_verzoek xmlns="{UWLR}">{ASKED}</Structuur_verzoek>', header=HEADER
    ),
    "no authorisation": enveloped(asking("leerlingen")),
    "an empty header": enveloped(asking("leerlingen"), header="<soap:Header/>"),
    "two authorisations": enveloped(
        asking("leerlingen"),
        header=f"<soap:Header>{autorisatie(CUSTOMERS['nietsrijk'])}{autorisatie(ALL)}</soap:Header>",
    ),
    "two headers": enveloped(asking("leerlingen"), header=HEADER * 2),
    "a header after the body": enveloped(f"{asking('leerlingen')}</soap:Body>{HEADER}<soap:Body>"),
    "an authorisation in the body": enveloped(autorisatie(ALL) + asking("leerlingen")),
    "an authorisation of no namespace": enveloped(
        asking("leerlingen"), header=HEADER.replace(f' xmlns="{AUTORISATIE}"', "")
    ),
    "two customer codes": RIGHT.replace(b"<klantcode>", b"<klantcode>K-nietsrijk</klantcode><klantcode>", 1),
    "no school year": asked(_SCHOOL + _VERSION),
    "no school": asked(_YEAR + _VERSION),
    "no version": asked(_YEAR + _SCHOOL),
    "two school years": asked(_YEAR * 2 + _SCHOOL + _VERSION),
    "two schools": asked(f"{_YEAR}{_SCHOOL}<brincode>17TX</brincode>{_VERSION}"),
    "two schools the other way": asked(f"{_YEAR}<brincode>17TX</brincode>{_SCHOOL}{_VERSION}"),
    "two locations": asked(
        f"{_YEAR}{_SCHOOL}<dependancecode>00</dependancecode><dependancecode>01</dependancecode>{_VERSION}"
    ),
    "a school in a school": asked(f"{_YEAR}<brincode>{BRIN}<brincode>17TX</brincode></brincode>{_VERSION}"),
    "a school and a key": asked(f"{_YEAR}{_SCHOOL}<schoolkey>x</schoolkey>{_VERSION}"),
    "two versions": asked(_YEAR + _SCHOOL + _VERSION + "<xsdversie>2.3</xsdversie>"),
    "a school of another namespace": asked(f'{_YEAR}<brincode xmlns="urn:elders">{BRIN}</brincode>{_VERSION}'),
    "a school of no namespace": asked(f'{_YEAR}<brincode xmlns="">{BRIN}</brincode>{_VERSION}'),
    "a group of no namespace": asked(f'{_YEAR}{_SCHOOL}{_VERSION}<groepen><groep xmlns="" key="1"/></groepen>'),
    "more groups of no namespace": asked(
        f'{_YEAR}{_SCHOOL}{_VERSION}<groepen xmlns=""><groep key="2"/></groepen><groepen><groep key="1"/></groepen>'
    ),
    "a key of no namespace": RIGHT.replace(b"<klantcode>", b'<klantcode xmlns="">'),
    "a version of thirty-three characters": asked(f"{_YEAR}{_SCHOOL}<xsdversie>{'2' * 33}</xsdversie>"),
    "a school year of other digits": asked(f"<schooljaar>٢٠٢٦-٢٠٢٧</schooljaar>{_SCHOOL}{_VERSION}"),
    "a school with a line in it": asked(f"{_YEAR}<brincode>{BRIN}\n</brincode>{_VERSION}"),
    "ten megabytes": asked(_YEAR + _SCHOOL + _VERSION + "<groepen>" + '<groep key="1"/>' * 625_000 + "</groepen>"),
    "ten megabytes of nothing": RIGHT + b" " * 10_000_000,
    "a key of a megabyte": verzoek("leerlingen", ALL).replace(ALL.sleutel.encode(), b"x" * 1_000_000),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_request_that_is_wrong_is_refused_and_not_passed_on(scene: Scene, name: str) -> None:
    begun = time.monotonic()
    status, content = soap(scene.exchange.url, WRONG[name])
    assert scene.las.requests == [], content
    assert status in {400, 411, 413, 415, 500}
    if status == 500:
        fault = etree.fromstring(content).find(f".//{{{SOAP}}}Fault")
        assert fault is not None
        code = fault.findtext("faultcode") or ""
        assert code.partition(":")[2].startswith("Client."), code
    assert b"geengegevens" not in content
    assert TELLING.search(content.decode()) is None
    assert time.monotonic() - begun < 5


#: Requests that may be refused; where they are not, they are what they say to everyone who reads them.
ODD: Final[dict[str, bytes]] = {
    "a comment in the school": RIGHT.replace(BRIN.encode(), BRIN[:2].encode() + b"<!-- 17TX -->" + BRIN[2:].encode()),
    "CDATA": RIGHT.replace(BRIN.encode(), b"<![CDATA[" + BRIN.encode() + b"]]>"),
    "a reference to a character": RIGHT.replace(BRIN.encode(), b"&#x31;6SW"),
    "a byte order mark": b"\xef\xbb\xbf" + RIGHT,
    "an attribute": RIGHT.replace(b"<brincode>", b'<brincode waarde="17TX">'),
    "nil": RIGHT.replace(b"<brincode>", f'<brincode xmlns:xsi="{XSI}" xsi:nil="true">'.encode()),
    "a header that must be understood": RIGHT.replace(
        b"<soap:Header>", b'<soap:Header><x xmlns="urn:x" soap:mustUnderstand="1">17TX</x>'
    ),
    "another header": RIGHT.replace(b"<soap:Header>", b'<soap:Header><brincode xmlns="urn:x">17TX</brincode>'),
    "fields in another order": verzoek("leerlingen", ALL, _VERSION + _SCHOOL + _YEAR),
    "an unknown field": verzoek("leerlingen", ALL, ASKED + "<brin>17TX</brin>"),
    "a processing instruction": RIGHT.replace(b"<brincode>", b"<?brincode 17TX?><brincode>"),
    "a flood of attributes": RIGHT.replace(
        b"<brincode>", b"<brincode %b>" % b" ".join(b'a%d="17TX"' % nth for nth in range(5_000))
    ),
    "a flood of comments": RIGHT.replace(b"<brincode>", b"<!-- 17TX -->" * 5_000 + b"<brincode>"),
}


@pytest.mark.parametrize("name", ODD)
@oracle.needs_standard
def test_an_odd_request_is_passed_on_as_it_was_understood_or_not_at_all(scene: Scene, name: str) -> None:
    status, content = soap(scene.exchange.url, ODD[name])
    if status != 200:
        assert scene.las.requests == []
        return
    [passed_on] = scene.las.requests
    assert b"17TX" not in passed_on.body
    assert oracle.findings(answer_to(passed_on, clean=True), scene.release_of("allesrijk"), content) == []


@pytest.mark.parametrize("call", CALLS)
def test_the_las_is_asked_what_was_asked_and_nothing_more(scene: Scene, call: CallName) -> None:
    """In particular, nobody else's header reaches it, nor anything of HTTP that a partner might send."""
    sent = verzoek(call, ALL).replace(b"<soap:Header>", b'<soap:Header><x xmlns="urn:x">17TX</x>')
    soap(
        scene.exchange.url,
        sent,
        Authorization="Bearer 17TX",
        Cookie="a=17TX",
        X_Forwarded_For="17TX",
        X_Partner_Client_Id="17TX",
        SOAPAction='"17TX"',
    )
    for request in scene.las.requests:
        assert b"17TX" not in request.body
        assert "17TX" not in "".join(request.headers.values())
        assert request.value("brincode") == BRIN
        assert request.value("schooljaar") == SCHOOLJAAR


def test_a_session_that_a_las_began_for_one_partner_is_not_anothers(scene: Scene) -> None:
    """A LAS that checks the authorisation once a session would take the next partner for the first."""
    scene.behaves(las.with_cookie)
    for client_id in ("allesrijk", "leerlingrijk"):
        assert soap(scene.exchange.url, verzoek("leerlingen", CUSTOMERS[client_id]))[0] == 200
    assert ["cookie" in request.headers for request in scene.las.requests] == [False, False]


@pytest.mark.parametrize("action", ["HaalStructuur", "HaalLeerkrachten", f"{UWLR}/leerkrachten_verzoek", "", "'"])
def test_what_is_released_goes_by_the_message_and_not_by_the_action(scene: Scene, action: str) -> None:
    """A partner that was granted pupils only can't have teachers by calling them pupils, nor the other way round."""
    docent = CUSTOMERS["docentrijk"]
    status, content = soap(scene.exchange.url, verzoek("leerlingen", docent), SOAPAction=f'"{action}"')
    assert status >= 400
    assert scene.las.requests == []
    assert TELLING.search(content.decode()) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Partner_Client_Id": "allesrijk"},
        {"x_partner_client_id": "allesrijk", "X_Forwarded_For": "127.0.0.1"},
        {"Authorization": "Bearer allesrijk"},
        {"Authorization": "Basic YWxsZXNyaWprOg=="},
        {"X_Forwarded_Client_Cert": 'Subject="CN=allesrijk"'},
        {"X_Gateway_Authorization": "Bearer allesrijk"},
    ],
)
@pytest.mark.parametrize("with_credential", [True, False])
def test_nobody_becomes_another_by_a_header(scene: Scene, headers: dict[str, str], with_credential: bool) -> None:
    sent = verzoek("leerlingen", CUSTOMERS["docentrijk"]) if with_credential else enveloped(asking("leerlingen"))
    status, content = soap(scene.exchange.url, sent, **headers)
    assert status == 500
    assert b"Client." in content
    assert scene.las.requests == []


HTTP: Final[dict[str, Callable[[bytes], bytes]]] = {
    "less than it says": lambda body: (
        b"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 9, body)
    ),
    "two lengths": lambda body: (
        b"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Length: 5\r\n\r\n%b" % (len(body), body)
    ),
    "a length and chunks": lambda body: (
        b"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    ),
    "no chunk but a word": lambda body: (
        b"POST /uwlr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nveel\r\n" + body
    ),
    "half a line": lambda body: b"POST /uwlr",
    "a gzip that is none": lambda body: (
        b"POST /uwlr HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body) - 9, body)
    ),
}


@pytest.mark.parametrize("name", HTTP)
def test_what_is_no_http_releases_nothing(scene: Scene, name: str) -> None:
    address = urlsplit(scene.exchange.url)
    received = b""
    with socket.create_connection((address.hostname, address.port or 0), timeout=2) as connection:
        connection.sendall(HTTP[name](RIGHT))
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
    assert b"200 OK" not in received
    assert TELLING.search(received.decode(errors="replace")) is None
    scene.behaves(las.clean)
    assert soap(scene.exchange.url, verzoek("structuur", ALL))[0] == 200


def test_what_is_not_posted_is_not_answered(scene: Scene) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert requests.request(method, f"{scene.exchange.url}/uwlr", timeout=10).status_code >= 400
    assert scene.las.requests == []


def test_a_wrong_key_tells_nothing_about_the_school_or_the_grant(scene: Scene) -> None:
    """Whoever has no key learns neither which schools there are nor what they granted."""
    answers = set()
    for customer in ("allesrijk", "nietsrijk"):
        known = CUSTOMERS[customer]
        for brin in (BRIN, "17TX", "99ZZ"):
            sent = verzoek("leerlingen", known, ASKED.replace(BRIN, brin)).replace(known.sleutel.encode(), b"raden")
            answers.add(soap(scene.exchange.url, sent))
    assert len(answers) == 1
