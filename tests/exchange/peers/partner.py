"""A partner's own SOAP client: zeep, from the standard's service description and nothing else.

It asks with zeep, and zeep reads the faults. What answers hold zeep (4.3) can't read, whoever wrote them: where a
sequence has a choice in it, as a school and a name have, it wants every branch of it. They are read as XML.
"""

from pathlib import Path
from typing import Any, Final

import pytest
import requests
import zeep
import zeep.exceptions
import zeep.transports
from lxml import etree

from tests.exchange.peers.invented import BRIN, SCHOOLJAAR, UWLR, CallName
from tests.exchange.peers.running import Customer

AUTORISATIE: Final = "http://www.edustandaard.nl/leerresultaten/2/autorisatie"
SERVICE_DESCRIPTION: Final = "wsdl/UWLR_Leerlinggegevens_v2p2.wsdl"
GROUPS: Final = {"_value_1": [{"groep": {"key": "1"}}, {"samengestelde_groep": {"key": "2"}}]}

_OPERATIONS: Final[dict[CallName, tuple[str, str]]] = {
    "leerlinggegevens": ("bndLeerlinggegevens", "HaalLeerlinggegevens"),
    "structuur": ("bndLeerlinggegevens-getrapt", "HaalStructuur"),
    "leerlingen": ("bndLeerlinggegevens-getrapt", "HaalLeerlingen"),
    "leerkrachten": ("bndLeerlinggegevens-getrapt", "HaalLeerkrachten"),
}


class _Recording(zeep.transports.Transport):
    """Keeps the last answer as it was received."""

    received = b""
    status = 0

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> requests.Response:
        self.received, self.status = b"", 0
        response: requests.Response = super().post(address, message, headers)  # type: ignore[no-untyped-call]
        self.received, self.status = response.content, response.status_code
        return response


class Partner:
    """Who asks the release layer. After a call, `received` is the whole of what came back."""

    def __init__(self, standard: Path, url: str, seconds: float = 60) -> None:
        session = requests.Session()
        session.trust_env = False
        # zeep says that it has types, and has hardly any.
        recording: Any = _Recording
        client: Any = zeep.Client
        self._transport = recording(session=session, timeout=seconds, operation_timeout=seconds)
        self._client = client(str(standard / SERVICE_DESCRIPTION), transport=self._transport)
        self._url = url

    @property
    def received(self) -> bytes:
        received: bytes = self._transport.received
        return received

    @property
    def status(self) -> int:
        status: int = self._transport.status
        return status

    def ask(
        self,
        call: CallName,
        customer: Customer,
        *,
        brincode: str | None = BRIN,
        sleutel: str | None = None,
        **more: Any,
    ) -> str:
        """The name of what was answered: of the data, or that there are none. Raises `zeep.exceptions.Fault`."""
        binding, operation = _OPERATIONS[call]
        service = self._client.create_service(f"{{{UWLR}}}{binding}", f"{self._url}/uwlr")
        asked: dict[str, Any] = {"schooljaar": SCHOOLJAAR, "xsdversie": "2.2", **more}
        if brincode is not None:
            asked["brincode"] = brincode
        if call in {"leerlingen", "leerkrachten"}:
            asked["groepen"] = GROUPS
        header = self._client.get_element(f"{{{AUTORISATIE}}}autorisatie")(
            autorisatiesleutel=customer.sleutel if sleutel is None else sleutel,
            klantcode=customer.klantcode,
            klantnaam=customer.klantnaam,
        )
        with self._client.settings(raw_response=True):
            response = getattr(service, operation)(_soapheaders=[header], **asked)
        if response.status_code != 200:
            known = self._client.wsdl.bindings[f"{{{UWLR}}}{binding}"]
            known.process_reply(self._client, known.get(operation), response)
        [[[data]]] = etree.fromstring(response.content)
        return str(etree.QName(data).localname)

    def fault(self, call: CallName, customer: Customer, **more: Any) -> str:
        """The code of the fault that this is answered with. Fails when it isn't one."""
        with pytest.raises(zeep.exceptions.Fault) as raised:
            self.ask(call, customer, **more)
        prefix, _, code = str(raised.value.code).rpartition(":")
        assert prefix, raised.value.code
        assert self.status == 500
        assert b"geengegevens" not in self.received, "a refusal is never an answer"
        return code
