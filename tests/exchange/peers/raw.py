"""SOAP requests written by hand, right or in any wrong way."""

from typing import Final
from xml.sax.saxutils import escape

import requests

from tests.exchange.peers.invented import BRIN, SCHOOLJAAR, UWLR, CallName, enveloped
from tests.exchange.peers.partner import AUTORISATIE
from tests.exchange.peers.running import Customer

ASKED: Final = f"<schooljaar>{SCHOOLJAAR}</schooljaar><brincode>{BRIN}</brincode><xsdversie>2.2</xsdversie>"
GROUPS: Final = '<groepen><groep key="1"/></groepen>'


def soap(url: str, body: bytes, content_type: str = "text/xml; charset=utf-8", **headers: str) -> tuple[int, bytes]:
    """The status and the body of the answer."""
    sent = {"Content-Type": content_type, "SOAPAction": '""', **{k.replace("_", "-"): v for k, v in headers.items()}}
    with requests.Session() as session:
        session.trust_env = False
        response = session.post(f"{url}/uwlr", data=body, headers=sent, timeout=30, allow_redirects=False)
        return response.status_code, response.content


def autorisatie(customer: Customer) -> str:
    return (
        f'<autorisatie xmlns="{AUTORISATIE}"><autorisatiesleutel>{escape(customer.sleutel)}</autorisatiesleutel>'
        f"<klantcode>{escape(customer.klantcode)}</klantcode><klantnaam>{escape(customer.klantnaam)}</klantnaam>"
        "</autorisatie>"
    )


def asking(call: CallName, asked: str = ASKED) -> str:
    """The element that asks."""
    groups = GROUPS if call in {"leerlingen", "leerkrachten"} and "<groepen>" not in asked else ""
    return f'<{call}_verzoek xmlns="{UWLR}">{asked}{groups}</{call}_verzoek>'


def verzoek(call: CallName, customer: Customer, asked: str = ASKED) -> bytes:
    """A request that is right, but for what is `asked`."""
    return enveloped(asking(call, asked), header=f"<soap:Header>{autorisatie(customer)}</soap:Header>")
