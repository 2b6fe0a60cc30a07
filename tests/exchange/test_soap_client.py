"""What a partner's SOAP client gets through the release layer: what was granted, or a fault that says why not."""

import threading
import time
from typing import Any

import pytest

from tests.exchange import oracle
from tests.exchange.conftest import CUSTOMERS, GRANTED, PROFILE, TELLING, Scene
from tests.exchange.peers import las
from tests.exchange.peers.invented import CALLS, CallName, inner_name, invented
from tests.exchange.peers.las import Behaviour, Request, answer_to
from tests.exchange.peers.las_faults import FAULTY
from tests.exchange.peers.partner import Partner
from tests.exchange.peers.raw import soap, verzoek
from tests.exchange.peers.running import Customer, free_port, hanging_server, release_layer_in
from tests.exchange.subsets import release_of

pytestmark = oracle.needs_standard

ALL = CUSTOMERS["allesrijk"]

INVALID = "Client.OngeldigBericht"
UNKNOWN = "Client.OngeldigeKlantIdentificatie"
UNAUTHORISED = "Client.AutorisatieOngeldig"
VERSION = "Client.XsdVersieOngeldig"
UNAVAILABLE = "Server.TijdelijkNietBeschikbaar"
BROKEN = "Server.InterneFout"


# -- what was granted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("xsdversie", ["2.2", "2.3"])
@pytest.mark.parametrize("behaviour", [las.clean, las.unclean, las.in_pieces, las.slow])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_answered_with_what_was_granted(
    scene: Scene, call: CallName, behaviour: Behaviour, xsdversie: str
) -> None:
    scene.behaves(behaviour)
    assert scene.partner.ask(call, ALL, xsdversie=xsdversie) == inner_name(call)
    [asked] = scene.las.requests
    source = answer_to(asked, clean=behaviour is las.clean)
    assert oracle.findings(source, scene.release_of("allesrijk"), scene.partner.received, xsdversie) == []


@pytest.mark.parametrize(
    ("client_id", "call"),
    [
        ("leerlingrijk", "leerlinggegevens"),
        ("leerlingrijk", "structuur"),
        ("leerlingrijk", "leerlingen"),
        ("docentrijk", "structuur"),
        ("docentrijk", "leerkrachten"),
    ],
)
def test_a_narrow_grant_releases_its_own_fields(scene: Scene, client_id: str, call: CallName) -> None:
    scene.behaves(las.unclean)
    scene.partner.ask(call, CUSTOMERS[client_id])
    source = answer_to(scene.las.requests[0])
    assert oracle.findings(source, scene.release_of(client_id), scene.partner.received) == []


@pytest.mark.parametrize("call", CALLS)
def test_no_changes_and_no_data_pass(scene: Scene, call: CallName) -> None:
    for behaviour, name in ((las.without_changes, "geenwijzigingen"), (las.without_data, "geengegevens")):
        scene.behaves(behaviour)
        assert scene.partner.ask(call, ALL, laatstontvangengegevens="2026-09-01T08:00:00Z") == name
        assert scene.las.requests[0].value("laatstontvangengegevens"), "the LAS is asked what the partner asked"


def test_the_location_that_was_granted_is_released_and_no_other(scene: Scene) -> None:
    located = CUSTOMERS["locatierijk"]
    scene.partner.ask("leerlingen", located, dependancecode="01")
    source = answer_to(scene.las.requests[0], clean=True)
    assert source.dependancecode == "01"
    assert oracle.findings(source, scene.release_of("locatierijk"), scene.partner.received) == []
    for more in ({}, {"dependancecode": "00"}, {"dependancecode": "02"}):
        scene.behaves(las.clean)
        assert scene.partner.fault("leerlingen", located, **more) == UNAUTHORISED
        assert scene.las.requests == []


# -- every fault --------------------------------------------------------------------------------------------------

FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("a BRIN in small letters", INVALID, {"brincode": "16sw"}),
    ("a BRIN that is too long", INVALID, {"brincode": "16SW00"}),
    ("a BRIN with spaces", INVALID, {"brincode": " 16SW "}),
    ("a BRIN of other digits", INVALID, {"brincode": "١٦SW"}),
    ("no BRIN in it", INVALID, {"brincode": ""}),
    ("a location of one digit", INVALID, {"dependancecode": "1"}),
    ("a location of letters", INVALID, {"dependancecode": "AB"}),
    ("a location of three digits", INVALID, {"dependancecode": "001"}),
    ("half a school year", INVALID, {"schooljaar": "2026"}),
    ("a school year in words", INVALID, {"schooljaar": "dit jaar"}),
    ("a school year with a slash", INVALID, {"schooljaar": "2026/2027"}),
    ("a date that is none", INVALID, {"laatstontvangengegevens": "gisteren"}),
    ("the thirty-first of February", INVALID, {"laatstontvangengegevens": "2026-02-31T00:00:00Z"}),
    ("another version", VERSION, {"xsdversie": "9.9"}),
    ("a version that is long gone", VERSION, {"xsdversie": "1.0"}),
    ("a wrong key", UNAUTHORISED, {"sleutel": "zqsleutel-verkeerd"}),
    ("the key of another", UNAUTHORISED, {"sleutel": CUSTOMERS["docentrijk"].sleutel}),
    ("a school that nobody granted", UNAUTHORISED, {"brincode": "17TX"}),
    ("a school that doesn't exist", UNAUTHORISED, {"brincode": "99ZZ"}),
    ("a location that doesn't exist", UNAUTHORISED, {"dependancecode": "99"}),
    ("a school by a key", UNAUTHORISED, {"brincode": None, "schoolkey": "sleutel-van-school"}),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("name", "code", "more"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_refusal_is_a_fault(scene: Scene, call: CallName, name: str, code: str, more: dict[str, Any]) -> None:
    assert scene.partner.fault(call, ALL, **more) == code
    assert scene.las.requests == [], "what is refused is not asked of the LAS"


@pytest.mark.parametrize(
    ("klantcode", "klantnaam"),
    [
        ("K-niemand", ALL.klantnaam),
        (ALL.klantcode, "Iemand anders"),
        (ALL.klantcode, ALL.klantnaam.upper()),
        ("K-niemand", "Iemand anders"),
        (CUSTOMERS["docentrijk"].klantcode, ALL.klantnaam),
    ],
)
def test_an_unknown_customer_is_told_so(scene: Scene, klantcode: str, klantnaam: str) -> None:
    assert scene.partner.fault("structuur", Customer("", klantcode, klantnaam, ALL.sleutel)) == UNKNOWN
    assert scene.las.requests == []


def test_a_customer_that_the_privacy_manager_does_not_know_is_told_so(scene: Scene) -> None:
    assert scene.partner.fault("structuur", CUSTOMERS["onbekend"]) == UNKNOWN
    assert scene.las.requests == []


@pytest.mark.parametrize(
    ("client_id", "call"),
    [
        *(("nietsrijk", call) for call in CALLS),
        ("leerlingrijk", "leerkrachten"),
        ("docentrijk", "leerlingen"),
        ("docentrijk", "leerlinggegevens"),
    ],
)
def test_a_call_for_what_was_not_granted_is_refused(scene: Scene, client_id: str, call: CallName) -> None:
    assert scene.partner.fault(call, CUSTOMERS[client_id]) == UNAUTHORISED
    assert scene.las.requests == []


def test_empty_and_too_long_authorisation_is_a_malformed_message(scene: Scene) -> None:
    for customer in (
        Customer("", "", ALL.klantnaam, ALL.sleutel),
        Customer("", ALL.klantcode, "", ALL.sleutel),
        Customer("", ALL.klantcode, ALL.klantnaam, ""),
        Customer("", "k" * 65, ALL.klantnaam, ALL.sleutel),
        Customer("", ALL.klantcode, ALL.klantnaam, "s" * 65),
    ):
        assert scene.partner.fault("structuur", customer) == INVALID


@pytest.mark.parametrize("call", CALLS)
def test_a_las_that_answers_for_another_school_is_an_internal_fault(scene: Scene, call: CallName) -> None:
    scene.behaves(FAULTY["another school"])
    assert scene.partner.fault(call, ALL) == BROKEN


# -- what fails ---------------------------------------------------------------------------------------------------


def test_without_the_privacy_manager_nothing_is_released(scene: Scene) -> None:
    with release_layer_in(
        scene.folder,
        las=scene.las.url,
        manager=f"http://127.0.0.1:{free_port()}",
        token="een-token",
        customers=CUSTOMERS.values(),
        name="no-manager",
    ) as exchange:
        partner = Partner(oracle.standard_folder(), exchange.url)
        assert {partner.fault(call, ALL) for call in CALLS} == {UNAVAILABLE}
    assert scene.las.requests == []
    assert TELLING.search(exchange.written()) is None
    assert "een-token" not in exchange.written()


def test_a_privacy_manager_that_says_nothing_is_not_waited_for_long(scene: Scene) -> None:
    with (
        hanging_server() as manager,
        release_layer_in(
            scene.folder,
            las=scene.las.url,
            manager=manager,
            token="een-token",
            customers=CUSTOMERS.values(),
            name="slow-manager",
        ) as exchange,
    ):
        begun = time.monotonic()
        assert Partner(oracle.standard_folder(), exchange.url).fault("leerlingen", ALL) == UNAVAILABLE
        assert time.monotonic() - begun < 30
    assert scene.las.requests == []


def test_a_privacy_manager_that_refuses_the_release_layer_releases_nothing(scene: Scene) -> None:
    with release_layer_in(
        scene.folder,
        las=scene.las.url,
        manager=scene.manager.url,
        token=scene.manager.token("school", school="16SW"),
        customers=CUSTOMERS.values(),
        name="no-gateway",
    ) as exchange:
        assert Partner(oracle.standard_folder(), exchange.url).fault("leerlingen", ALL).startswith("Server.")
    assert scene.las.requests == []


def test_without_the_las_nothing_is_released(scene: Scene) -> None:
    with release_layer_in(
        scene.folder,
        las=f"http://127.0.0.1:{free_port()}/uwlr",
        manager=scene.manager.url,
        token=scene.manager.token("gateway"),
        customers=CUSTOMERS.values(),
        name="no-las",
    ) as exchange:
        partner = Partner(oracle.standard_folder(), exchange.url)
        assert {partner.fault(call, ALL) for call in CALLS} == {UNAVAILABLE}
        # It says first what is wrong with the request.
        assert partner.fault("structuur", ALL, brincode="16sw") == INVALID


# -- revoking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_revocation_holds_for_the_next_request(scene: Scene, call: CallName) -> None:
    changing = CUSTOMERS["wisselrijk"]
    for _ in range(5):
        grant_id = scene.manager.grant("wisselrijk", PROFILE)
        scene.partner.ask(call, changing)
        scene.manager.revoke(grant_id)
        scene.behaves(las.clean)
        assert scene.partner.fault(call, changing) == UNAUTHORISED
        assert scene.las.requests == []


@pytest.mark.parametrize("call", CALLS)
def test_a_revocation_while_the_las_answers_holds_for_its_answer(scene: Scene, call: CallName) -> None:
    grant_id = scene.manager.grant("wisselrijk", PROFILE)

    def revoked_meanwhile(request: Request) -> las.Reply:
        scene.manager.revoke(grant_id)
        return las.clean(request)

    scene.behaves(revoked_meanwhile)
    assert scene.partner.fault(call, CUSTOMERS["wisselrijk"]) == UNAUTHORISED
    assert b"zq" not in scene.partner.received


def test_a_narrower_grant_while_the_las_answers_holds_for_its_answer(scene: Scene) -> None:
    granted = [scene.manager.grant("wisselrijk", PROFILE)]
    narrow = ["school.basis", "leerling.pseudoniem"]

    def narrowed_meanwhile(request: Request) -> las.Reply:
        scene.manager.revoke(granted[-1])
        granted.append(scene.manager.grant("wisselrijk", narrow))
        return las.unclean(request)

    scene.behaves(narrowed_meanwhile)
    try:
        scene.partner.ask("leerlingen", CUSTOMERS["wisselrijk"])
        source = answer_to(scene.las.requests[0])
        assert oracle.breaches(source, release_of(narrow), scene.partner.received) == []
    finally:
        scene.manager.revoke(granted[-1])


# -- many at once, and large --------------------------------------------------------------------------------------


def test_partners_at_the_same_time_each_get_their_own(scene: Scene) -> None:
    scene.behaves(las.unclean)
    wrong: list[object] = []

    def ask(client_id: str, call: CallName) -> None:
        # Written by hand: what zeep remembers of a schema locks threads against one another.
        for _ in range(5):
            try:
                _, received = soap(scene.exchange.url, verzoek(call, CUSTOMERS[client_id]))
                source = invented(call, clean=False)
                wrong.extend(oracle.findings(source, scene.release_of(client_id), received))
            except Exception as problem:
                wrong.append(problem)

    asking = [
        threading.Thread(target=ask, args=each)
        for each in (
            ("allesrijk", "leerlinggegevens"),
            ("allesrijk", "leerkrachten"),
            ("leerlingrijk", "leerlingen"),
            ("leerlingrijk", "leerlinggegevens"),
            ("docentrijk", "leerkrachten"),
            ("docentrijk", "structuur"),
        )
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert wrong == []


def test_others_are_answered_while_one_waits_for_the_las(scene: Scene) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def waits_with_pupils(request: Request) -> las.Reply:
        if request.call == "leerlingen":
            waiting.set()
            go_on.wait(20)
        return las.clean(request)

    scene.behaves(waits_with_pupils)
    received: list[bytes] = []

    def ask() -> None:
        received.append(soap(scene.exchange.url, verzoek("leerlingen", ALL))[1])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert waiting.wait(10)
        scene.partner.ask("structuur", ALL)
    finally:
        go_on.set()
        thread.join()
    assert oracle.findings(invented("leerlingen"), scene.release_of("allesrijk"), received[0]) == []


# -- what is told -------------------------------------------------------------------------------------------------


def test_the_log_tells_no_value_and_no_key(scene: Scene) -> None:
    scene.behaves(las.unclean)
    for call in CALLS:
        scene.partner.ask(call, ALL)
        scene.partner.fault(call, ALL, sleutel="zqsleutel-verkeerd")
    assert TELLING.search(scene.exchange.written()) is None
    assert scene.manager.token("gateway").rpartition(".")[0] not in scene.exchange.written()


def test_a_fault_tells_no_value_and_no_key(scene: Scene) -> None:
    for more in ({"brincode": "zq123456"}, {"schooljaar": "zq123456"}, {"sleutel": "zqsleutel-verkeerd"}):
        scene.partner.fault("structuur", ALL, **more)
        assert TELLING.search(scene.partner.received.decode()) is None


def test_every_granted_connection_is_asked_for(scene: Scene) -> None:
    """The grants that these tests rest on are there: without them a refusal would prove nothing."""
    for client_id in GRANTED:
        more = {"dependancecode": "01"} if client_id == "locatierijk" else {}
        scene.partner.ask("structuur", CUSTOMERS[client_id], **more)
