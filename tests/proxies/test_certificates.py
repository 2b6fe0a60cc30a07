"""nginx, for partners that are known by their client certificate."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.proxies.cases import PUPILS, TEACHERS
from tests.proxies.certificates import Authority, key_of
from tests.proxies.clients import Told, request, send
from tests.proxies.proxies import NGINX_MTLS
from tests.proxies.site import Site
from tests.worlds.stores import SQLITE, Templates


@dataclass
class Gate:
    """nginx, the site behind it, and the authority of its partners."""

    port: int
    site: Site
    authority: Authority

    def send(self, certificate: Path | None, target: str = PUPILS, **headers: str) -> Told:
        shown = ssl.create_default_context(cafile=self.authority.certificate)
        if certificate is not None:
            shown.load_cert_chain(certificate, key_of(certificate))
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        (told,) = send(self.port, request("GET", target, given), shown=shown)
        return told

    def reached(self) -> list[str]:
        return [each.target for each in self.site.las.take()]


@pytest.fixture(scope="module")
def gate(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder, site_folder = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("site")
    authority = Authority(folder, "authority")
    certificate = authority.issue("gateway")
    with Site(templates.empty(SQLITE, site_folder), site_folder).running() as site:
        values = {
            **site.values(),
            "CERTIFICATE": str(certificate),
            "CERTIFICATE_KEY": str(key_of(certificate)),
            "PARTNER_AUTHORITY": str(authority.certificate),
        }
        with NGINX_MTLS.running(folder, values) as port:
            yield Gate(port, site, authority)


def test_a_partner_is_known_by_its_certificate(gate: Gate) -> None:
    partner = gate.authority.issue("rekenrijk", "Rekenrijk B.V.")
    assert gate.send(partner).status == 200
    assert gate.send(partner, TEACHERS).status == 403
    assert gate.reached() == [PUPILS]


def test_a_token_changes_nothing(gate: Gate) -> None:
    token = gate.site.world.token("partner", client_id="taalmaat")
    assert gate.send(gate.authority.issue("rekenrijk", "Rekenrijk B.V."), Authorization=f"Bearer {token}").status == 200
    (reached,) = gate.site.las.take()
    assert not reached.all("Authorization")
    assert not reached.all("X-Partner-Client-Id")


@pytest.mark.parametrize(
    ("name", "company"), [("taalmaat", "Taalmaat B.V."), ("rekenrijk", "Een ander"), ("rekenrijk", None)]
)
def test_a_certificate_that_is_not_listed_is_nobodys(gate: Gate, name: str, company: str | None) -> None:
    stranger = gate.authority.issue(name, company)
    token = gate.site.world.token("partner", client_id="rekenrijk")
    told = gate.send(stranger, X_Partner_Client_Id="rekenrijk", Authorization=f"Bearer {token}")
    assert told.status in (401, 403)
    assert not gate.reached()


def test_without_a_certificate_nothing_is_asked(gate: Gate) -> None:
    gate.site.take()
    assert gate.send(None, X_Partner_Client_Id="rekenrijk").status == 400
    assert not gate.site.take()
    assert not gate.reached()


def test_a_certificate_of_another_authority_is_not_taken(gate: Gate, tmp_path: Path) -> None:
    forged = Authority(tmp_path, "authority").issue("rekenrijk", "Rekenrijk B.V.")
    assert gate.send(forged).status == 400
    assert not gate.reached()
