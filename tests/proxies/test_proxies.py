"""Real gateways, with the files of `docs/gateways`, before the real privacy manager.

Always: what reached the LAS is exactly what was asked about and permitted, with the consent that was answered, and
nothing that only a gateway may say.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.proxies.breakable_line import Fault
from tests.proxies.cases import CASES, PUPILS, TEACHERS, Case, Token
from tests.proxies.clients import Told, request, send
from tests.proxies.las import Reached
from tests.proxies.proxies import GATEWAYS
from tests.proxies.site import Asked, Site
from tests.worlds.stores import SQLITE, Templates

CONSENT: Final = ("x-consent-scopes", "x-consent-fields", "x-consent-grant", "x-consent-revision")
NOT_FOR_THE_LAS: Final = (
    "x-gateway-authorization",
    "x-partner-client-id",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-original-uri",
    "x-original-method",
    "upgrade",
)
#: Traefik cannot be told to take only a 200 for a permit, but it does want the grant.
LETS_THROUGH: Final = {("traefik", Fault.OTHER_2XX)}
#: Nor not to tell the client what it was told.
TELLS_ON: Final = {("traefik", Fault.REDIRECT)}
MENDING_SECONDS: Final = 10
#: What a gateway is given to refuse while no answer comes: its own limit is two seconds, and Traefik has none to set.
SILENT_SECONDS: Final = 5


@dataclass
class Gate:
    """A gateway that runs, and the site behind it."""

    name: str
    port: int
    site: Site

    def headers_of(self, token: Token) -> list[tuple[str, str]]:
        if token is Token.NONE:
            return []
        world = self.site.world
        shown = {
            Token.GRANTED: lambda: world.token("partner", client_id="rekenrijk"),
            Token.OTHER: lambda: world.token("partner", client_id="taalmaat"),
            Token.GATEWAY: lambda: world.token("gateway"),
            Token.INVALID: lambda: world.token("partner", client_id="rekenrijk")[:-6] + "AAAAAA",
        }[token]()
        return [("Authorization", f"Bearer {shown}")]

    def send(self, case: Case = Case(), *, seconds: float = 10) -> Told:  # noqa: B008 - a frozen value
        sent = request(case.method, case.target, [*self.headers_of(case.token), *case.headers])
        (told,) = send(self.port, sent, methods=[case.method], seconds=seconds)
        return told

    def passed(self) -> list[Reached]:
        """What reached the LAS, each of which is held against what was asked and permitted."""
        asked, reached = self.site.take(), self.site.las.take()
        permitted = [each for each in asked if each.status == 200]
        assert [(each.method, _address(each.target)) for each in reached] == [
            (each.method, _address(each.target)) for each in permitted[: len(reached)]
        ], (asked, reached)
        for through, permit in zip(reached, permitted, strict=False):
            _holds(through, permit)
        return reached

    def mend(self) -> None:
        """Waits until the gateway has found the privacy manager again."""
        deadline = time.monotonic() + MENDING_SECONDS
        while (told := self.send()).status != 200:
            assert time.monotonic() < deadline, (told, self.site.take())
            time.sleep(0.05)
        self.passed()


def _address(target: str) -> str:
    """Envoy says by its own path what it asks about, where an empty query cannot be told from none."""
    return target.removesuffix("?")


def _holds(through: Reached, permit: Asked) -> None:
    for name in CONSENT:
        assert through.all(name) == [permit.consent[name]], (name, through.headers)
    for name in NOT_FOR_THE_LAS:
        assert not through.all(name), (name, through.headers)


@pytest.fixture(scope="module")
def site(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Site(templates.empty(SQLITE, folder), folder).running() as running:
        yield running


@pytest.fixture(scope="module", params=list(GATEWAYS))
def gate(request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with GATEWAYS[request.param].running(tmp_path_factory.mktemp(request.param), site.values()) as port:
        running = Gate(request.param, port, site)
        running.mend()
        yield running


@pytest.mark.parametrize("name", list(CASES))
def test_a_request_goes_on_only_as_it_was_permitted(gate: Gate, name: str) -> None:
    case = CASES[name]
    told = gate.send(case)
    reached = gate.passed()
    assert told.status in case.expected(gate.name), told
    assert len(reached) == ("x-las" in told.headers)


def test_a_refusal_says_nothing_of_the_data(gate: Gate) -> None:
    told = gate.send(Case(TEACHERS))
    assert not [name for name in told.headers if name.startswith("x-consent-")]
    assert not gate.passed()


def test_each_request_of_a_connection_is_asked_about(gate: Gate) -> None:
    token = gate.headers_of(Token.GRANTED)
    wanted = [PUPILS, TEACHERS, PUPILS, TEACHERS]
    told = send(gate.port, *(request("GET", target, token) for target in wanted))
    assert [each.status for each in told] == [200, 403, 200, 403]
    assert [each.target for each in gate.passed()] == [PUPILS, PUPILS]


def test_a_body_is_not_taken_for_a_request(gate: Gate) -> None:
    inner = request("GET", PUPILS, gate.headers_of(Token.GRANTED))
    headers = [*gate.headers_of(Token.OTHER), ("Content-Length", str(len(inner)))]
    told = send(gate.port, request("GET", PUPILS, headers) + inner)
    assert [each.status for each in told] == [403]
    assert not gate.passed()


def test_two_lengths_of_a_body_are_not_taken(gate: Gate) -> None:
    headers = [*gate.headers_of(Token.GRANTED), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    told = send(gate.port, request("GET", PUPILS, headers) + b"0\r\n\r\n" + request("GET", TEACHERS, headers[:1]))
    assert {each.status for each in told} <= {200, 400, 403}
    assert all(each.target == PUPILS for each in gate.passed())


def test_after_a_revocation_the_very_next_request_is_refused(gate: Gate) -> None:
    site = gate.site
    grant = site.do(site.world.granted("taalmaat"))
    case = Case(token=Token.OTHER)
    try:
        assert gate.send(case).status == 200
        assert len(gate.passed()) == 1
    finally:
        revoked = site.do(site.world.step(grant["grantId"], "revoke"))
    assert revoked.status_code == 200, revoked.text
    assert gate.send(case).status == 403
    assert not gate.passed()


@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_the_privacy_manager_meets_nothing_goes_on(gate: Gate, fault: Fault) -> None:
    with gate.site.broken(fault):
        for case in (Case(), Case(TEACHERS), Case(headers=(("X-Consent-Grant", "mine"), ("X_Consent_Grant", "mine")))):
            status = _told_during(gate, fault, case)
            reached = gate.site.las.take()
            if (gate.name, fault) in LETS_THROUGH:
                assert (status, len(reached)) == (200, 1)
                assert reached[0].all("X-Consent-Grant") == ["g"]
                continue
            assert not reached
            assert status is None or status >= 400 or (gate.name, fault) in TELLS_ON
            if fault is Fault.SILENT:
                break
    gate.site.take()
    gate.mend()


def _told_during(gate: Gate, fault: Fault, case: Case) -> int | None:
    begun = time.monotonic()
    try:
        status = gate.send(case, seconds=SILENT_SECONDS).status
    except TimeoutError:
        status = None
    if fault is Fault.SILENT:
        assert (status is None) == (gate.name == "traefik"), status
        assert status is None or time.monotonic() - begun < SILENT_SECONDS
    else:
        assert status is not None
    return status
