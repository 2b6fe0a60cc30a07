"""Refusals as SOAP 1.1 faults of the standard, never `geengegevens`."""

from typing import Final

from exchange.uwlr import SOAP, Fault
from exchange.xml import escaped

_TEXTS: Final = {
    Fault.INVALID_MESSAGE: "Het bericht is niet geldig.",
    Fault.UNKNOWN_CUSTOMER: "De klant is niet bekend.",
    Fault.NOT_AUTHORISED: "De autorisatie is niet geldig voor deze gegevens.",
    Fault.INVALID_VERSION: "De versie van het schema wordt niet ondersteund.",
    Fault.UNAVAILABLE: "De dienst is tijdelijk niet beschikbaar.",
    Fault.INTERNAL: "Er is een interne fout opgetreden.",
}


def fault_message(fault: Fault, reason: str | None = None) -> bytes:
    """The fault as a message. `reason` says what was wrong with the request, without its content."""
    text = _TEXTS[fault] if reason is None else f"{_TEXTS[fault]} ({reason})"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{SOAP}"><soap:Body><soap:Fault>'
        f"<faultcode>soap:{fault.value}</faultcode><faultstring>{escaped(text)}</faultstring>"
        "</soap:Fault></soap:Body></soap:Envelope>\n"
    ).encode()
