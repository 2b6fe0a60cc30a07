"""A partner's request: parsed strictly and serialised again for the LAS, so that both read the same request."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from exchange.uwlr import (
    AUTORISATIE,
    MOST_IN_A_KEY,
    SOAP,
    UWLR,
    VERSIONS,
    Call,
    Expected,
    Fault,
    Valid,
    is_brin,
    is_location,
    is_moment,
    is_school_year,
    place_of,
    text,
)
from exchange.xml import MOST_DEPTH, MOST_IN_A_TAG, Reading, XmlRefused, escaped

MOST_BYTES: Final = 256 * 1024
MOST_GROUPS: Final = 2_000

_CREDENTIAL: Final = ("autorisatiesleutel", "klantcode", "klantnaam")
#: Simple members of a request, in the schema's order.
_MEMBERS: Final[dict[str, Valid]] = {
    "schooljaar": is_school_year,
    "brincode": is_brin,
    "dependancecode": is_location,
    "schoolkey": text(64),
    "xsdversie": text(32),
    "gegevenssetid": text(64),
    "laatstontvangengegevens": is_moment,
}
_GROUPS: Final = ("groep", "samengestelde_groep")
_OF_GROUPS: Final = frozenset({Call.PUPILS, Call.TEACHERS})
_NEVER: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search


class RequestRefused(Exception):
    """The request gets this fault. The message gives the reason, without content of the request."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True)
class Credential:
    """The `autorisatie` header. Its `repr` omits the key."""

    klantcode: str
    klantnaam: str
    autorisatiesleutel: str = field(repr=False)


@dataclass(frozen=True)
class UwlrRequest:
    """A request: one call for one school and school year and, for two of the calls, some groups."""

    call: Call
    credential: Credential | None
    values: Mapping[str, str]
    groups: tuple[tuple[str, str | None], ...] = ()

    def expected(self, place: str) -> Expected:
        """Values that the answer must state, when `place` is the requested school."""
        return Expected(
            schooljaar=self.values["schooljaar"],
            brincode=place[:4],
            dependancecode=place[4:] or None,
            schoolkey=self.schoolkey,
            xsdversie=self.values["xsdversie"],
        )

    @property
    def schoolkey(self) -> str | None:
        """The schoolkey, if the school is not given by its BRIN."""
        return self.values.get("schoolkey")

    @property
    def place(self) -> str | None:
        """The BRIN4 of a school or BRIN6 of a location; None when the school is given by a schoolkey."""
        brin = self.values.get("brincode")
        return None if brin is None else place_of(brin + self.values.get("dependancecode", ""))

    def message(self) -> bytes:
        """The request for the LAS: only what was parsed."""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{SOAP}">'
            f"{self._header()}<soap:Body>"
            f'<{self.call.value}_verzoek xmlns="{UWLR}">{"".join(self._content())}</{self.call.value}_verzoek>'
            "</soap:Body></soap:Envelope>\n"
        ).encode()

    def _header(self) -> str:
        if self.credential is None:
            return ""
        values = ((name, getattr(self.credential, name)) for name in _CREDENTIAL)
        inner = "".join(f"<{name}>{escaped(value)}</{name}>" for name, value in values)
        return f'<soap:Header><autorisatie xmlns="{AUTORISATIE}">{inner}</autorisatie></soap:Header>'

    def _content(self) -> Iterator[str]:
        for name in _MEMBERS:
            if name in self.values:
                yield f"<{name}>{escaped(self.values[name])}</{name}>"
        if self.groups:
            yield "<groepen>"
            for name, key in self.groups:
                yield f"<{name}/>" if key is None else f'<{name} key="{escaped(key)}"/>'
            yield "</groepen>"


def parse_request(body: bytes) -> UwlrRequest:
    """Parses a request. Raises `RequestRefused`."""
    envelope = _Tree.of(body)
    if envelope.name != f"{SOAP} Envelope":
        raise _malformed("not a SOAP 1.1 envelope")
    headers = [each for each in envelope.children if each.name == f"{SOAP} Header"]
    bodies = [each for each in envelope.children if each.name == f"{SOAP} Body"]
    if len(headers) > 1 or len(bodies) != 1 or len(headers) + 1 != len(envelope.children):
        raise _malformed("an envelope has one body, and one header at most before it")
    if headers and envelope.children[0] is not headers[0]:
        raise _malformed("the header comes first")
    credential = _credential(headers[0]) if headers else None
    if len(bodies[0].children) != 1:
        raise _malformed("a body has one request")
    return _request(bodies[0].children[0], credential)


def _credential(header: "_Element") -> Credential | None:
    credentials = [each for each in header.children if each.name == f"{AUTORISATIE} autorisatie"]
    others = [each for each in header.children if each.name != f"{AUTORISATIE} autorisatie"]
    if any(each.attributes.get(f"{SOAP} mustUnderstand") not in (None, "0") for each in others):
        raise _malformed("a header that must be understood")
    if not credentials:
        return None
    if len(credentials) > 1:
        raise _malformed("more than one autorisatie")
    values = _texts(credentials[0], AUTORISATIE, dict.fromkeys(_CREDENTIAL, text(64)))
    if len(values) != len(_CREDENTIAL):
        raise _malformed("autorisatie lacks something")
    return Credential(**values)


def _request(request: "_Element", credential: Credential | None) -> UwlrRequest:
    call = next((call for call in Call if request.name == f"{UWLR} {call.value}_verzoek"), None)
    if call is None:
        raise _malformed("not a request of UWLR 2")
    groups: tuple[tuple[str, str | None], ...] = ()
    if call in _OF_GROUPS:
        groups = _groups(request)
    values = _texts(request, UWLR, _MEMBERS, beside="groepen" if call in _OF_GROUPS else "")
    for name in ("schooljaar", "xsdversie"):
        if name not in values:
            raise _malformed(f"{name} is missing")
    if ("brincode" in values) == ("schoolkey" in values) or ("dependancecode" in values and "brincode" not in values):
        raise _malformed("a school is named by brincode or by schoolkey")
    first, second = values["schooljaar"].split("-")
    if int(second) != int(first) + 1:
        raise _malformed("schooljaar is not of two years that follow one another")
    if values["xsdversie"] not in VERSIONS:
        raise RequestRefused(Fault.INVALID_VERSION, f"xsdversie is one of {', '.join(VERSIONS)}")
    return UwlrRequest(call, credential, values, groups)


def _groups(request: "_Element") -> tuple[tuple[str, str | None], ...]:
    listed = [each for each in request.children if each.name == f"{UWLR} groepen"]
    if len(listed) != 1 or not 0 < len(listed[0].children) <= MOST_GROUPS:
        raise _malformed("groepen lists the groups that are asked about, once")
    groups: list[tuple[str, str | None]] = []
    for group in listed[0].children:
        name = _local(group, UWLR)
        key = group.attributes.get("key")
        if name not in _GROUPS or group.children or (key is not None and not 0 < len(key) <= MOST_IN_A_KEY):
            raise _malformed("groepen lists groups by their keys")
        groups.append((name, key))
    return tuple(groups)


def _texts(parent: "_Element", namespace: str, known: Mapping[str, Valid], beside: str = "") -> dict[str, str]:
    """The texts of an element's children. Raises `RequestRefused` for an unknown, invalid or repeated one."""
    texts: dict[str, str] = {}
    for child in parent.children:
        name = _local(child, namespace)
        if name == beside:
            continue
        if name not in known or name in texts or child.children:
            raise _malformed("an element that is not known, or there twice")
        if not child.text or not known[name](child.text) or _NEVER(child.text):
            raise _malformed(f"{name} is not valid")
        texts[name] = child.text
    return texts


def _local(element: "_Element", namespace: str) -> str:
    """The local name of an element in this namespace. Raises `RequestRefused` for any other namespace."""
    actual, _, local = element.name.rpartition(" ")
    if actual != namespace:
        raise _malformed("an element that is not known, or there twice")
    return local


def _malformed(reason: str) -> RequestRefused:
    return RequestRefused(Fault.INVALID_MESSAGE, reason)


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list["_Element"] = field(default_factory=list)


class _Tree:
    """Parses a small document into a tree."""

    def __init__(self) -> None:
        self._open: list[_Element] = [_Element("", {})]
        self._reading = Reading(self._start, self._end)
        self._reading.parser.CharacterDataHandler = self._text

    @classmethod
    def of(cls, body: bytes) -> _Element:
        tree = cls()
        try:
            tree._reading.feed(body)
            tree._reading.close()
        except XmlRefused as refused:
            raise _malformed(str(refused)) from None
        return tree._open[0].children[0]

    def _start(self, name: str, attributes: list[str]) -> None:
        if len(attributes) > MOST_IN_A_TAG or len(self._open) > MOST_DEPTH:
            raise XmlRefused("too many attributes, or elements too deep in one another")
        element = _Element(name, dict(zip(attributes[::2], attributes[1::2], strict=True)))
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text += text
