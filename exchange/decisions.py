"""The privacy manager, asked over HTTP: what may be released of a place to a connection, now?

What it does not say in time, or not in the very shape that the contract gives it, is no permit.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic.alias_generators import to_camel

from exchange.places import Release
from exchange.requests import RequestRefused
from exchange.uwlr import Call, Fault, place_of
from models.vocabulary.identifiers import is_place, is_schoolkey
from models.vocabulary.scopes import CATALOGUE

TYPES: Final = ("school", "groep", "leerling", "docent")
_KNOWN: Final = {
    kind: frozenset(name for resource_type, name in CATALOGUE.fields if resource_type == kind) for kind in TYPES
}
_KEYS: Final = "/v1/school-keys/"
#: Of the privacy manager; much more than its decisions need. It is read as it comes, and not unpacked.
MOST_ANSWER_BYTES: Final = 256 * 1024
_FAULTS: Final = {fault.value: fault for fault in Fault}


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class _Context(_Told):
    reason: StrictStr
    revision: StrictInt
    fields: list[StrictStr] = []
    uwlr_fault: StrictStr | None = None


class _Decision(_Told):
    decision: StrictBool
    context: _Context


class _Decisions(_Told):
    evaluations: list[_Decision]


class _Identity(_Told):
    client_id: StrictStr


class _Key(_Told):
    schoolkey: StrictStr
    brin: StrictStr
    location: StrictStr | None


class PrivacyManager:
    """Asks for decisions with a gateway's token, which `token` gives anew for each question.

    An answer that takes longer than `deadline` seconds is none.
    """

    def __init__(self, client: httpx2.AsyncClient, address: str, token: Callable[[], str], deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._address = address.rstrip("/")
        self._token = token

    async def release(self, client_id: str, place: str, call: Call) -> Release:
        """The fields of each type that may be released, decided at one instant.

        Raises `RequestRefused` with the decision's fault when something that the call cannot do without is denied.
        """
        asked = {
            "subject": {"type": "partner", "id": client_id},
            "action": {"name": "release"},
            "evaluations": [{"resource": {"type": kind, "id": place}} for kind in TYPES],
        }
        answer = await self._ask(
            "POST", "/access/v1/evaluations", json=asked, headers={"Authorization": self._bearer()}
        )
        try:
            decisions = _Decisions.model_validate_json(answer).evaluations
        except ValidationError:
            raise _unavailable("an answer that is no decision") from None
        if len(decisions) != len(TYPES):
            raise _unavailable("an answer to other questions")
        decided = dict(zip(TYPES, decisions, strict=True))
        for kind in call.needs:
            if not decided[kind].decision:
                fault = _FAULTS.get(decided[kind].context.uwlr_fault or "", Fault.NOT_AUTHORISED)
                raise RequestRefused(fault, decided[kind].context.reason[:64])
        return {kind: _fields(kind, decision) for kind, decision in decided.items()}

    async def place_of(self, schoolkey: str) -> str:
        """The school or location that a schoolkey stands for. Raises `RequestRefused`."""
        if not is_schoolkey(schoolkey):
            raise _unknown_key()
        path = _KEYS + quote(schoolkey, safe="")
        answer = await self._ask("GET", path, headers={"Authorization": self._bearer()})
        try:
            found = _Key.model_validate_json(answer)
        except ValidationError:
            raise _unavailable("an answer that names no school") from None
        code = found.location or found.brin
        if found.schoolkey != schoolkey or not is_place(code) or code[:4] != found.brin:
            raise _unavailable("an answer about another schoolkey")
        return place_of(code)

    async def client_id_of(self, authorization: str) -> str:
        """The connection of a partner's token. Raises `RequestRefused`."""
        if not (authorization.isascii() and authorization.isprintable()):
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "the partner's token is not valid")
        headers = {"X-Gateway-Authorization": self._bearer(), "Authorization": authorization}
        answer = await self._ask("GET", "/gateway/v1/partner", headers=headers)
        try:
            return _Identity.model_validate_json(answer).client_id
        except ValidationError:
            raise _unavailable("an answer that names nobody") from None

    def _bearer(self) -> str:
        try:
            return f"Bearer {self._token()}"
        except OSError:
            raise _unavailable("no token of our own") from None

    async def _ask(self, method: str, path: str, **more: Any) -> bytes:
        more["headers"]["Accept-Encoding"] = "identity"
        said = bytearray()
        try:
            async with (
                asyncio.timeout(self._deadline),
                self._client.stream(method, self._address + path, **more) as answer,
            ):
                if "content-encoding" in answer.headers:
                    raise _unavailable("an answer that is packed")
                async for piece in answer.aiter_bytes():
                    said += piece
                    if len(said) > MOST_ANSWER_BYTES:
                        raise _unavailable("an answer that is too large")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            raise _unavailable(type(error).__name__) from None
        if answer.status_code in (401, 403) and path == "/gateway/v1/partner":
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "the partner's token is not valid")
        if answer.status_code == 404 and path.startswith(_KEYS):
            raise _unknown_key()
        if answer.status_code != 200:
            raise _unavailable(f"status {answer.status_code}")
        return bytes(said)


def _fields(kind: str, decision: _Decision) -> frozenset[str]:
    return frozenset(decision.context.fields) & _KNOWN[kind] if decision.decision else frozenset()


def _unknown_key() -> RequestRefused:
    return RequestRefused(Fault.NOT_AUTHORISED, "no such schoolkey")


def _unavailable(reason: str) -> RequestRefused:
    return RequestRefused(Fault.UNAVAILABLE, f"the privacy manager gave no decision: {reason}")
