"""The privacy manager's client: asks over HTTP what may be released of a place to a connection now.

An answer that is late, or not exactly in the contract's format, is no permit.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic.alias_generators import to_camel

from exchange.element_states import Release
from exchange.requests import RequestRefused
from exchange.uwlr import Call, Fault, place_of
from models.vocabulary.identifiers import is_place, is_schoolkey
from models.vocabulary.scopes import CATALOGUE

TYPES: Final = ("school", "groep", "leerling", "docent")
_KNOWN: Final = {
    kind: frozenset(name for resource_type, name in CATALOGUE.fields if resource_type == kind) for kind in TYPES
}
_KEYS: Final = "/v1/school-keys/"
#: Limit of an answer by the privacy manager; its decisions need far less. Answers are not decompressed.
MOST_ANSWER_BYTES: Final = 256 * 1024
_FAULTS: Final = {fault.value: fault for fault in Fault}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class _Context(_Answer):
    reason: StrictStr
    revision: StrictInt
    fields: list[StrictStr] = []
    uwlr_fault: StrictStr | None = None


class _Decision(_Answer):
    decision: StrictBool
    context: _Context


class _Decisions(_Answer):
    evaluations: list[_Decision]


class _Identity(_Answer):
    client_id: StrictStr


class _Key(_Answer):
    schoolkey: StrictStr
    brin: StrictStr
    location: StrictStr | None


class PrivacyManager:
    """Asks for decisions with a gateway's token, which `token` returns for each question.

    An answer after more than `deadline` seconds does not count.
    """

    def __init__(self, client: httpx2.AsyncClient, address: str, token: Callable[[], str], deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._address = address.rstrip("/")
        self._token = token

    async def release(self, client_id: str, place: str, call: Call) -> Release:
        """The fields of each type that may be released, decided at one instant.

        Raises `RequestRefused` with the decision's fault when a type that the call requires is denied.
        """
        questions = {
            "subject": {"type": "partner", "id": client_id},
            "action": {"name": "release"},
            "evaluations": [{"resource": {"type": kind, "id": place}} for kind in TYPES],
        }
        answer = await self._ask(
            "POST", "/access/v1/evaluations", json=questions, headers={"Authorization": self._bearer()}
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
        """The school or location of a schoolkey. Raises `RequestRefused`."""
        if not is_schoolkey(schoolkey):
            raise _unknown_key()
        path = _KEYS + quote(schoolkey, safe="")
        answer = await self._ask("GET", path, headers={"Authorization": self._bearer()})
        try:
            key = _Key.model_validate_json(answer)
        except ValidationError:
            raise _unavailable("an answer that names no school") from None
        code = key.location or key.brin
        if key.schoolkey != schoolkey or not is_place(code) or code[:4] != key.brin:
            raise _unavailable("an answer about another schoolkey")
        return place_of(code)

    async def client_id_of(self, authorization: str) -> str:
        """The client id of a partner's token. Raises `RequestRefused`."""
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

    async def _ask(self, method: str, path: str, **options: Any) -> bytes:
        options["headers"]["Accept-Encoding"] = "identity"
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._deadline),
                self._client.stream(method, self._address + path, **options) as answer,
            ):
                if "content-encoding" in answer.headers:
                    raise _unavailable("an answer that is packed")
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MOST_ANSWER_BYTES:
                        raise _unavailable("an answer that is too large")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            raise _unavailable(type(error).__name__) from None
        if answer.status_code in (401, 403) and path == "/gateway/v1/partner":
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "the partner's token is not valid")
        if answer.status_code == 404 and path.startswith(_KEYS):
            raise _unknown_key()
        if answer.status_code != 200:
            raise _unavailable(f"status {answer.status_code}")
        return bytes(content)


def _fields(kind: str, decision: _Decision) -> frozenset[str]:
    return frozenset(decision.context.fields) & _KNOWN[kind] if decision.decision else frozenset()


def _unknown_key() -> RequestRefused:
    return RequestRefused(Fault.NOT_AUTHORISED, "no such schoolkey")


def _unavailable(reason: str) -> RequestRefused:
    return RequestRefused(Fault.UNAVAILABLE, f"the privacy manager gave no decision: {reason}")
