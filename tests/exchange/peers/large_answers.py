"""Answers of many megabytes, made while they are sent."""

from collections.abc import Iterator
from typing import Final

from tests.exchange.peers.invented import BRIN, ECKID_HOST, SCHOOLJAAR, SOAP, UWLR, CallName, inner_name

#: What every value of a large answer holds that may be released, and that may not be under any grant.
GRANTABLE: Final = "zqmag"
FORBIDDEN: Final = "zqnooit"


class Large:
    """An answer of about so many megabytes, in chunks, which is never held as a whole. Its pupils are all alike."""

    def __init__(self, megabytes: float, call: CallName = "leerlinggegevens") -> None:
        assert call in {"leerlinggegevens", "leerlingen"}
        self.call = call
        self.pupils = 0
        self._size = int(megabytes * 1_000_000)

    def __iter__(self) -> Iterator[bytes]:
        self.pupils = 0
        start = (
            f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{SOAP}"><soap:Body>'
            f'<{self.call}_antwoord xmlns="{UWLR}"><{inner_name(self.call)}>'
            f"<school><schooljaar>{SCHOOLJAAR}</schooljaar><brincode>{BRIN}</brincode></school><leerlingen>"
        )
        yield start.encode()
        written = len(start)
        while written < self._size:
            chunk = "".join(self._pupil(self.pupils + nth) for nth in range(100)).encode()
            self.pupils += 100
            written += len(chunk)
            yield chunk
        end = f"</leerlingen></{inner_name(self.call)}></{self.call}_antwoord></soap:Body></soap:Envelope>"
        yield end.encode()

    @staticmethod
    def _pupil(nth: int) -> str:
        return (
            f'<leerling key="{FORBIDDEN}-{nth}" eckid="{ECKID_HOST}{nth:0128x}">'
            f"<achternaam>{GRANTABLE} {nth}</achternaam><voornamen>{FORBIDDEN} {nth}</voornamen>"
            f"<roepnaam>{GRANTABLE} {nth}</roepnaam><jaargroep>5</jaargroep><bsn>{FORBIDDEN}{nth}</bsn>"
            f"<toevoegingen><blok><code>{FORBIDDEN}</code><omschrijving>{FORBIDDEN} {nth}</omschrijving></blok>"
            "</toevoegingen></leerling>\n"
        )


def large(megabytes: float, call: CallName = "leerlinggegevens") -> Iterator[bytes]:
    """The chunks of an answer of about so many megabytes."""
    return iter(Large(megabytes, call))
